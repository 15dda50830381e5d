"""The tables, as numbered versions: each store is a schema of its own, with a table `version`.

contactsync_members
:   1. As version 4 of registry.sqlite (storage/migrations.py), with a table for each calling code.
:   2. As version 5: labels, and pairs of number and address.
:   3. As version 6: searches for members without a token, and who is pending since.
:   4. As version 7: a process of an earlier version, which goes on writing, fails.
:   5. As version 8: which tokens joined since a base was made; how many members there are.
:   6. As version 9: which tokens left since then, sealed to the publisher.
:   7. As version 10: whose label changed since a base was made.

contactsync_accounts
:   1. As version 3 of accounts.sqlite.
:   2. With a function that exchanges a code for a credential.

The process that faces the internet needs the second one alone: so one GRANT keeps it from the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from contactsync.foundation.errors import BadInput, OurError
from contactsync.foundation.migrations import check_version, newest
from contactsync.server.storage.counting import COUNTS_SCHEMA

Connection = psycopg.Connection[tuple[Any, ...]]
Step = Callable[[Connection], None]
"""Runs in a transaction of its caller, and never ends it."""

_MEMBERS: Final = """
-- `serial` counts the changes of membership.
CREATE TABLE changes (serial bigint NOT NULL);
INSERT INTO changes VALUES (0);
-- Partitions that have tables of their own.
CREATE TABLE partitions (
    kind text NOT NULL,
    partition text COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, partition)
);
-- Tables in which something was removed since they were last rewritten, and by which transaction.
CREATE TABLE traces (relation text PRIMARY KEY, mark bigint NOT NULL);
CREATE TABLE touched (partition text COLLATE "C" PRIMARY KEY, serial bigint NOT NULL);
CREATE TABLE editions (
    audience integer NOT NULL,
    epoch bigint NOT NULL,
    edition bigint NOT NULL,
    serial bigint NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (audience, epoch, edition)
);
CREATE TABLE published (
    audience integer NOT NULL,
    epoch bigint NOT NULL,
    edition bigint NOT NULL,
    manifest bytea NOT NULL,
    PRIMARY KEY (audience, manifest)
);
CREATE TABLE departures (partition text COLLATE "C" PRIMARY KEY, serial bigint NOT NULL);
CREATE TABLE token_keys (
    audience integer NOT NULL,
    epoch bigint NOT NULL,
    public_key bytea NOT NULL,
    PRIMARY KEY (audience, epoch)
);
CREATE TABLE answers (name bytea PRIMARY KEY, request bytea NOT NULL, answer bytea, at bigint NOT NULL);
CREATE INDEX answers_at ON answers (at);
"""

LABELS_PARENT: Final = """
CREATE TABLE IF NOT EXISTS labels_{kind} (
    key {type} NOT NULL,
    partition text COLLATE "C" NOT NULL,
    label bytea NOT NULL,
    PRIMARY KEY (key, partition)
) PARTITION BY LIST (partition)"""

_PAIRS: Final = """
-- Number and address of one member, as keys.
CREATE TABLE pairs (tel bigint PRIMARY KEY, mail bytea NOT NULL UNIQUE);
"""


def _labels(connection: Connection) -> None:
    connection.execute(_PAIRS)
    _add_table(connection, "labels", LABELS_PARENT)


def _add_table(connection: Connection, table: str, parent: str) -> None:
    """Give each kind a table. Partitions that are inhabited get theirs; others with their first member.

    Every writer changes the serial first and holds it until its end, so a partition that somebody is just
    making is waited for, and seen.
    """
    connection.execute("LOCK TABLE changes IN SHARE ROW EXCLUSIVE MODE")
    kinds = (
        "SELECT substr(relname, 9), format_type(atttypid, NULL) FROM pg_class JOIN pg_attribute "
        "ON attrelid = pg_class.oid AND attname = 'key' WHERE relnamespace = %s::regnamespace "
        "AND relkind = 'p' AND relname LIKE 'members\\_%%'"
    )
    for kind, of_key in connection.execute(kinds, (MEMBERS_SCHEMA.name,)).fetchall():
        connection.execute(parent.format(kind=kind, type=of_key))
        inhabited = "SELECT partition FROM partitions WHERE kind = %s"
        for (name,) in connection.execute(inhabited, (kind,)).fetchall():
            connection.execute(
                f"CREATE TABLE \"{table}_{kind}_{name}\" PARTITION OF {table}_{kind} FOR VALUES IN ('{name}')"
            )


PENDING_PARENT: Final = """
CREATE TABLE IF NOT EXISTS pending_{kind} (
    key {type} NOT NULL,
    epoch bigint NOT NULL,
    audience integer NOT NULL,
    partition text COLLATE "C" NOT NULL,
    PRIMARY KEY (audience, epoch, key, partition)
) PARTITION BY LIST (partition)"""

_SEARCHES: Final = """
-- Partitions that were searched for members without a token of an epoch (storage/pending.py).
CREATE TABLE searches (
    audience integer NOT NULL,
    epoch bigint NOT NULL,
    partition text COLLATE "C" NOT NULL,
    keyed integer NOT NULL,
    ended integer NOT NULL,
    PRIMARY KEY (audience, epoch, partition)
);
"""


def _pending(connection: Connection) -> None:
    connection.execute(_SEARCHES)
    _add_table(connection, "pending", PENDING_PARENT)


_CHECK_WRITER: Final = """
-- A connection says for which version it writes (database.py); an earlier version says nothing. A step after
-- which such a process does harm again asks for its own version.
CREATE OR REPLACE FUNCTION check_writer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(nullif(current_setting('contactsync_members.version', true), '')::integer, 0) < 7 THEN
        RAISE EXCEPTION 'contactsync_members_7: restart_this_process'
            USING ERRCODE = 'CS001', HINT = 'A newer contactsync has upgraded the register of members.';
    END IF;
    RETURN NULL;
END $$;
"""
_WRITERS: Final = f"""
{_CHECK_WRITER}
-- Each change of membership begins with its serial, and each publish with its key and what it will publish.
CREATE TRIGGER writer_changes BEFORE UPDATE OF serial ON changes
    FOR EACH STATEMENT EXECUTE FUNCTION check_writer();
CREATE TRIGGER writer_keys BEFORE INSERT OR DELETE ON token_keys
    FOR EACH STATEMENT EXECUTE FUNCTION check_writer();
CREATE TRIGGER writer_publishes BEFORE INSERT ON published
    FOR EACH STATEMENT EXECUTE FUNCTION check_writer();
"""


def _writers(connection: Connection) -> None:
    # Whoever writes now is waited for. What such a process did since step 3 is not known: each partition is
    # searched once more.
    connection.execute("LOCK TABLE changes IN SHARE ROW EXCLUSIVE MODE")
    connection.execute("DELETE FROM searches")
    pending = (
        "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace "
        "AND relkind = 'p' AND relname LIKE 'pending\\_%%'"
    )
    for (table,) in connection.execute(pending, (MEMBERS_SCHEMA.name,)).fetchall():
        connection.execute(f"TRUNCATE {table}")
    connection.execute(_WRITERS)


_BASES: Final = """
-- Bases that hold exactly the tokens that there were at a serial, and since when changes are kept: in a row
-- without a base (storage/token_log.py).
CREATE TABLE bases (
    audience integer NOT NULL,
    epoch bigint NOT NULL,
    partition text COLLATE "C" NOT NULL,
    base bytea NOT NULL,
    serial bigint NOT NULL,
    tokens bigint NOT NULL,
    PRIMARY KEY (audience, epoch, partition, base)
);
"""
_LOGS: Final = """
-- Tokens that were stored, and those that were deleted: `tokens` of them, sealed (storage/departed.py) to the
-- key that was the row of `departed_key` then.
CREATE TABLE token_changes (
    audience integer NOT NULL,
    epoch bigint NOT NULL,
    partition text COLLATE "C" NOT NULL,
    serial bigint NOT NULL,
    token bytea NOT NULL,
    PRIMARY KEY (audience, epoch, partition, token)
);
CREATE TABLE departed_tokens (
    audience integer NOT NULL,
    epoch bigint NOT NULL,
    partition text COLLATE "C" NOT NULL,
    serial bigint NOT NULL,
    tokens bigint NOT NULL,
    public bytea NOT NULL,
    sealed bytea NOT NULL
);
CREATE INDEX departed_of ON departed_tokens (audience, epoch, partition, serial);
CREATE TABLE departed_key (public bytea NOT NULL);
"""


def _token_log(connection: Connection) -> None:
    # Whoever writes now is waited for. A process of step 4 would change tokens and keep nothing of it.
    connection.execute("LOCK TABLE changes IN SHARE ROW EXCLUSIVE MODE")
    connection.execute(_BASES)
    connection.execute("CREATE TABLE token_changes (serial bigint)")  # the next step makes it anew
    connection.execute(COUNTS_SCHEMA)
    connection.execute(_CHECK_WRITER)


def _departed(connection: Connection) -> None:
    # Whoever writes now is waited for. A process of step 5 would remove members and keep nothing of it here.
    connection.execute("LOCK TABLE changes IN SHARE ROW EXCLUSIVE MODE")
    connection.execute("DELETE FROM bases")  # the next publish reads all tokens once
    connection.execute("DROP TABLE token_changes")
    connection.execute(_LOGS)
    connection.execute(_CHECK_WRITER)


LABEL_CHANGES_PARENT: Final = """
CREATE TABLE IF NOT EXISTS label_changes_{kind} (
    key {type} NOT NULL,
    epoch bigint NOT NULL,
    serial bigint NOT NULL,
    audience integer NOT NULL,
    partition text COLLATE "C" NOT NULL,
    PRIMARY KEY (audience, epoch, key, partition)
) PARTITION BY LIST (partition)"""


def _label_log(connection: Connection) -> None:
    # A process of step 6 would change labels and keep nothing of it. Whoever writes now is waited for.
    _add_table(connection, "label_changes", LABEL_CHANGES_PARENT)
    connection.execute(_CHECK_WRITER)


# The meaning of the columns is that of storage/sqlite: members' bits, days and serials as in registry.py, an
# account's bucket and grants as in migrations.py.
_ACCOUNTS: Final = """
CREATE TABLE accounts (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    audience integer NOT NULL,
    added bigint NOT NULL,
    class text NOT NULL,
    burst bigint,
    per_day bigint,
    last_used bigint,
    level bigint NOT NULL DEFAULT 0,
    at bigint NOT NULL DEFAULT 0,
    outcome integer NOT NULL DEFAULT 0,
    batches bigint NOT NULL DEFAULT 0,
    points_today bigint NOT NULL DEFAULT 0,
    points_total bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    epoch_points bigint NOT NULL DEFAULT 0,
    granted bigint NOT NULL DEFAULT 0,
    granted_at bigint NOT NULL DEFAULT 0,
    granted_before bigint NOT NULL DEFAULT 0,
    full_batches bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);  -- so that a charge finds room beside the row that it replaces
CREATE TABLE credentials (
    hash bytea PRIMARY KEY,
    account bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    until bigint
);
CREATE INDEX credentials_of ON credentials (account);
CREATE TABLE batches (
    account bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    slot integer NOT NULL,
    batch bytea NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (account, slot)
);
CREATE INDEX batches_at ON batches (at);
CREATE TABLE minutes (minute bigint PRIMARY KEY, points bigint NOT NULL, new_points bigint NOT NULL);
CREATE TABLE epochs (
    audience integer NOT NULL,
    epoch bigint NOT NULL,
    points bigint NOT NULL,
    since bigint NOT NULL,
    PRIMARY KEY (audience, epoch)
);
-- One row. `revision` counts what changes the answer to a look-up, and no charge.
CREATE TABLE state (revision bigint NOT NULL, secret bytea NOT NULL);
-- Who serves may not change accounts, but its sweep removes credentials that have ended.
CREATE FUNCTION changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = contactsync_accounts, pg_temp AS $$
BEGIN
    UPDATE state SET revision = revision + 1;
    PERFORM pg_notify('contactsync_accounts', (SELECT revision::text FROM state));
    RETURN NULL;
END $$;
CREATE TRIGGER account_changed AFTER UPDATE OF name, audience, class, burst, per_day ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION changed();
CREATE TRIGGER credential_changed AFTER INSERT OR UPDATE OR DELETE ON credentials
    FOR EACH ROW EXECUTE FUNCTION changed();
"""


_REDEEM: Final = """
-- Who serves may not add credentials, but may exchange a code for one.
CREATE FUNCTION redeem(code bytea, at bigint, new bytea, ends bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = contactsync_accounts, pg_temp AS $$
DECLARE found_account bigint;
BEGIN
    DELETE FROM credentials WHERE hash = code AND until > at RETURNING account INTO found_account;
    IF found_account IS NULL THEN
        RETURN false;
    END IF;
    INSERT INTO credentials VALUES (new, found_account, ends);
    RETURN true;
END $$;
"""


def _codes(connection: Connection) -> None:
    connection.execute(_REDEEM)


@dataclass(frozen=True, slots=True)
class Schema:
    """A store in the database: the name of its schema, and what it is called in errors.

    `idle_ms` is for how long a transaction may wait for its own process, 0 for ever.
    """

    name: str
    what: str
    lock: int
    script: str
    steps: Sequence[Step] = ()
    idle_ms: int = 0


MEMBERS_SCHEMA: Final = Schema(
    "contactsync_members",
    "register of members",
    1,
    _MEMBERS + _PAIRS + _SEARCHES + _WRITERS + _BASES + _LOGS + COUNTS_SCHEMA,
    steps=(_labels, _pending, _writers, _token_log, _departed, _label_log),
)
ACCOUNTS_SCHEMA: Final = Schema(
    "contactsync_accounts", "accounts database", 2, _ACCOUNTS + _REDEEM, steps=(_codes,), idle_ms=15_000
)
SCHEMAS: Final = (MEMBERS_SCHEMA, ACCOUNTS_SCHEMA)


def create_schema(connection: Connection, schema: Schema, secret: bytes = b"") -> None:
    """Make the tables of the newest version, in the caller's transaction. BadInput: they are there."""
    there = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
    if connection.execute(there, (schema.name,)).fetchone():
        raise BadInput(
            f"the database has a schema {schema.name} already",
            hint="it belongs to another data folder, or a killed command left it: give a new database",
        )
    connection.execute(f"CREATE SCHEMA {schema.name}")
    connection.execute(f"SET LOCAL search_path = {schema.name}, pg_temp")
    connection.execute(schema.script)
    connection.execute("CREATE TABLE version (version integer NOT NULL)")
    connection.execute("INSERT INTO version VALUES (%s)", (newest(schema.steps),))
    if secret:
        connection.execute("INSERT INTO state VALUES (0, %s)", (secret,))


def check_or_migrate(connection: Connection, schema: Schema) -> None:
    """Bring a schema to the newest version, step by step, each in a transaction. Raises OurError: newer."""
    found = check_schema(connection, schema)
    for at in range(found, newest(schema.steps)):
        with connection.transaction():
            connection.execute("LOCK TABLE version IN ACCESS EXCLUSIVE MODE")
            if _version(connection) == at:  # else another process was faster
                schema.steps[at - 1](connection)
                connection.execute("UPDATE version SET version = %s", (at + 1,))
    # A newer program may have been faster.
    check_version(f"the {schema.what}", _version(connection), schema.steps)


def check_schema(connection: Connection, schema: Schema) -> int:
    """The version of the schema that is first in the search path. Raises OurError: there is none; newer."""
    if connection.execute("SELECT to_regclass(%s)", (f"{schema.name}.version",)).fetchone() == (None,):
        raise OurError(
            f"the database has no {schema.what}",
            hint="run `server init --database`, or restore it from a backup",
        )
    return check_version(f"the {schema.what}", _version(connection), schema.steps)


def _version(connection: Connection) -> object:
    rows = connection.execute("SELECT version FROM version").fetchall()
    return rows[0][0] if rows else None
