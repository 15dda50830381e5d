"""Migrates the databases from one version to the next.

registry.sqlite
:   1. Members as integers, in one pair of tables; accounts beside them.
:   2. A pair of tables for each kind of identifier; partitions by name; accounts elsewhere.
:   3. Members have a day of verification and a serial. What was published is recorded.
:   4. What is published now, who left since, and which key tokens are of.
:   5. Labels; tokens of 42 octets, with their label keys. Number and address of one member.
:   6. Searches for members without a token, and who is pending since.
:   7. Who writes has to know that: a process of an earlier version, which goes on with it, fails.
:   8. Which tokens joined since a base was made; how many members there are.
:   9. Which tokens left since then, sealed to the publisher.
:   10. Whose label changed since a base was made.

accounts.sqlite
:   1. Accounts.
:   2. Quotas.
:   3. What was evaluated in each epoch and in each minute; grants.

Accounts move in three steps; the process may be killed after any of them. First registry.sqlite becomes
version 2, with its accounts renamed to `accounts_moving`: from then on no older program changes them. Then
accounts.sqlite is created with all of them, unless it exists. Then `accounts_moving` is dropped. If there is
an accounts.sqlite, it always wins, so that a backup of a registry cannot bring back a revoked account.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Final

from contactsync.foundation.databases import SqlStep, run_script
from contactsync.foundation.migrations import newest
from contactsync.server.storage.counting import COUNTS_SCHEMA

MOVING: Final = "accounts_moving"


def _kinds(connection: sqlite3.Connection) -> None:
    for statement in (
        "ALTER TABLE members RENAME TO members_tel",
        "ALTER TABLE members_tel RENAME COLUMN number TO key",
        "ALTER TABLE tokens RENAME TO tokens_tel",
        "ALTER TABLE tokens_tel RENAME COLUMN number TO key",
        "ALTER TABLE touched RENAME TO touched_codes",
        "CREATE TABLE touched (partition TEXT PRIMARY KEY, serial INTEGER NOT NULL) WITHOUT ROWID",
        "INSERT INTO touched SELECT CAST(code AS TEXT), serial FROM touched_codes",
        "DROP TABLE touched_codes",
        f"ALTER TABLE accounts RENAME TO {MOVING}",
    ):
        connection.execute(statement)


EDITIONS_SCHEMA: Final = """
-- What was published: an edition has the changes of membership up to `serial`.
CREATE TABLE editions (
    audience INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    edition INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (audience, epoch, edition)
) WITHOUT ROWID
"""


def _verified(connection: sqlite3.Connection) -> None:
    # Columns with a default are not written into the rows that there are: it takes no time. The tables of
    # consents are made when the registry is opened, like those of a new kind.
    tables = connection.execute("SELECT name FROM sqlite_master WHERE name GLOB 'members_*'").fetchall()
    for (table,) in tables:
        for column in ("verified", "since"):
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")
    connection.execute(EDITIONS_SCHEMA)


PROVENANCE_SCHEMA: Final = """
-- What may be published now, each made from this register: one row for an audience, more while one is made.
CREATE TABLE published (
    audience INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    edition INTEGER NOT NULL,
    manifest BLOB NOT NULL,
    PRIMARY KEY (audience, manifest)
) WITHOUT ROWID;
-- Partitions with somebody who left, and when last, whose files were not expunged since; '*' is all of them.
CREATE TABLE departures (partition TEXT PRIMARY KEY, serial INTEGER NOT NULL) WITHOUT ROWID;
-- The key that the tokens of an epoch are of.
CREATE TABLE token_keys (
    audience INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    public_key BLOB NOT NULL,
    PRIMARY KEY (audience, epoch)
) WITHOUT ROWID;
"""


def _provenance(connection: sqlite3.Connection) -> None:
    run_script(connection, PROVENANCE_SCHEMA)
    # What was removed before may still be read in the file.
    connection.execute("ALTER TABLE changes ADD COLUMN unerased INTEGER NOT NULL DEFAULT 1")
    connection.execute("INSERT INTO departures SELECT '*', serial FROM changes")
    tables = connection.execute("SELECT name FROM sqlite_master WHERE name GLOB 'members_*'").fetchall()
    for (table,) in tables:
        connection.execute(f"ALTER TABLE {table} RENAME TO moving")
        connection.execute(
            f"CREATE TABLE {table} (key {_type_of_key(connection)} PRIMARY KEY, audiences INTEGER NOT NULL,"
            " added INTEGER NOT NULL, verified INTEGER NOT NULL DEFAULT 0, since INTEGER NOT NULL DEFAULT 0)"
            " WITHOUT ROWID"
        )
        connection.execute(
            f"INSERT INTO {table} SELECT key, audiences, added, verified, since FROM moving ORDER BY key"  # noqa: S608
        )
        connection.execute("DROP TABLE moving")


def _type_of_key(connection: sqlite3.Connection) -> str:
    rows = connection.execute("SELECT type FROM pragma_table_info('moving') WHERE name = 'key'").fetchall()
    return str(rows[0][0])


PAIRS_SCHEMA: Final = """
-- Number and address of one member, as keys.
CREATE TABLE pairs (tel INTEGER PRIMARY KEY, mail BLOB NOT NULL UNIQUE) WITHOUT ROWID
"""


def _labels(connection: sqlite3.Connection) -> None:
    # Rows of tokens stay as they are. The tables of labels are made when the registry is opened.
    connection.execute(PAIRS_SCHEMA)


SEARCHES_SCHEMA: Final = """
-- Partitions that were searched for members without a token of an epoch (storage/pending.py).
CREATE TABLE searches (
    audience INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    partition TEXT NOT NULL,
    keyed INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    PRIMARY KEY (audience, epoch, partition)
) WITHOUT ROWID
"""


def _pending(connection: sqlite3.Connection) -> None:
    # Nothing was searched yet. The tables of who is pending are made when the registry is opened.
    connection.execute(SEARCHES_SCHEMA)


WRITERS: Final = "contactsync_registry_"
WRITER: Final = f"{WRITERS}10_restart_this_process"
"""A function in SQL that does nothing, and that each connection has which may write (`let_write`).

An earlier version has none of this name, which is what its error says. A step after which such a process
does harm again gives it another name, and makes the triggers anew.
"""

WRITERS_SCHEMA: Final = f"""
-- Each change of membership begins with its serial, and each publish with its key and what it will publish.
CREATE TRIGGER writer_changes BEFORE UPDATE OF serial ON changes BEGIN SELECT {WRITER}(); END;
CREATE TRIGGER writer_keys BEFORE INSERT ON token_keys BEGIN SELECT {WRITER}(); END;
CREATE TRIGGER writer_drops BEFORE DELETE ON token_keys BEGIN SELECT {WRITER}(); END;
CREATE TRIGGER writer_publishes BEFORE INSERT ON published BEGIN SELECT {WRITER}(); END;
"""


def let_write(connection: sqlite3.Connection) -> None:
    """Let a connection write to a registry of this version."""
    # SQLite can be built so that no trigger calls a function of its program unless the file is trusted.
    connection.execute("PRAGMA trusted_schema = ON")
    connection.create_function(WRITER, 0, lambda: None)


def _writers(connection: sqlite3.Connection) -> None:
    # What such a process did since step 6 is not known: each partition is searched once more.
    pending = connection.execute("SELECT name FROM sqlite_master WHERE name GLOB 'pending_*'").fetchall()
    for (table,) in pending:
        if connection.execute(f"DELETE FROM {table}").rowcount:  # noqa: S608
            connection.execute("UPDATE changes SET unerased = 1")
    connection.execute("DELETE FROM searches")
    run_script(connection, WRITERS_SCHEMA)


_BASES: Final = """
-- Bases that hold exactly the tokens that there were at a serial, and since when changes are kept: in a row
-- without a base (storage/token_log.py).
CREATE TABLE bases (
    audience INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    partition TEXT NOT NULL,
    base BLOB NOT NULL,
    serial INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (audience, epoch, partition, base)
) WITHOUT ROWID;
"""
_LOGS: Final = """
-- Tokens that were stored, and those that were deleted: `tokens` of them, sealed (storage/departed.py) to the
-- key that was the row of `departed_key` then.
CREATE TABLE token_changes (
    audience INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    partition TEXT NOT NULL,
    serial INTEGER NOT NULL,
    token BLOB NOT NULL,
    PRIMARY KEY (audience, epoch, partition, token)
) WITHOUT ROWID;
CREATE TABLE departed_tokens (
    audience INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    partition TEXT NOT NULL,
    serial INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    public BLOB NOT NULL,
    sealed BLOB NOT NULL
);
CREATE INDEX departed_of ON departed_tokens (audience, epoch, partition, serial);
CREATE TABLE departed_key (public BLOB NOT NULL);
"""
BASES_SCHEMA: Final = _BASES + _LOGS


def _token_log(connection: sqlite3.Connection) -> None:
    run_script(connection, _BASES)
    connection.execute("CREATE TABLE token_changes (serial INTEGER)")  # the next step makes it anew
    connection.execute(COUNTS_SCHEMA)
    # A process of step 7 would change tokens and keep nothing of it.
    _write_anew(connection)


def _departed(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM bases")  # the next publish reads all tokens once
    connection.execute("DROP TABLE token_changes")
    run_script(connection, _LOGS)
    # A process of step 8 would remove members and keep nothing of it here.
    _write_anew(connection)


def _label_log(connection: sqlite3.Connection) -> None:
    # The tables are made when the registry is opened. The bases that there are were noted without their
    # sidecars: where there are labels, the next publish reads all tokens once.
    # A process of step 9 would change labels and keep nothing of it.
    _write_anew(connection)


def _write_anew(connection: sqlite3.Connection) -> None:
    """Let only those write from now on who say that they write for the newest version."""
    for trigger in ("changes", "keys", "drops", "publishes"):
        connection.execute(f"DROP TRIGGER writer_{trigger}")
    run_script(connection, WRITERS_SCHEMA)


REGISTRY_STEPS: Final[tuple[SqlStep, ...]] = (
    _kinds,
    _verified,
    _provenance,
    _labels,
    _pending,
    _writers,
    _token_log,
    _departed,
    _label_log,
)

_ACCOUNTS_2: Final = """
-- `level` and `at`: the bucket, as server/quota.py says; `last_used` is a day since 1970. `outcome` is what
-- the last charge met with, `batches` how many were charged. The identity of who is revoked is never given
-- to another.
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    audience INTEGER NOT NULL,
    added INTEGER NOT NULL,
    class TEXT NOT NULL,
    burst INTEGER,
    per_day INTEGER,
    last_used INTEGER,
    level INTEGER NOT NULL DEFAULT 0,
    at INTEGER NOT NULL DEFAULT 0,
    outcome INTEGER NOT NULL DEFAULT 0,
    batches INTEGER NOT NULL DEFAULT 0,
    points_today INTEGER NOT NULL DEFAULT 0,
    points_total INTEGER NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0
);
-- `until`: when it ends, in milliseconds since 1970.
CREATE TABLE credentials (
    hash BLOB PRIMARY KEY,
    account INTEGER NOT NULL,
    until INTEGER
) WITHOUT ROWID;
CREATE INDEX credentials_of ON credentials (account);
-- What was charged, by a keyed hash: `slot` after `slot`, and then over the oldest.
CREATE TABLE batches (
    account INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    batch BLOB NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (account, slot)
) WITHOUT ROWID;
CREATE INDEX batches_at ON batches (at);
-- One row. `revision` counts what changes the answer to a look-up, and no charge.
CREATE TABLE state (revision INTEGER NOT NULL, secret BLOB NOT NULL);
CREATE TRIGGER account_removed AFTER DELETE ON accounts BEGIN
    DELETE FROM credentials WHERE account = old.id;
    DELETE FROM batches WHERE account = old.id;
END;
CREATE TRIGGER account_changed AFTER UPDATE OF name, audience, class, burst, per_day ON accounts BEGIN
    UPDATE state SET revision = revision + 1;
END;
CREATE TRIGGER credential_added AFTER INSERT ON credentials BEGIN
    UPDATE state SET revision = revision + 1;
END;
CREATE TRIGGER credential_changed AFTER UPDATE ON credentials BEGIN
    UPDATE state SET revision = revision + 1;
END;
CREATE TRIGGER credential_removed AFTER DELETE ON credentials BEGIN
    UPDATE state SET revision = revision + 1;
END;
"""


def _quotas(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE accounts RENAME TO accounts_1")
    run_script(connection, _ACCOUNTS_2)
    connection.execute("INSERT INTO state VALUES (0, ?)", (os.urandom(32),))
    connection.execute(
        "INSERT INTO accounts (name, audience, added, class)"
        " SELECT name, audience, added, '' FROM accounts_1 ORDER BY name"
    )
    connection.execute(
        "INSERT INTO credentials (hash, account)"
        " SELECT credential_hash, id FROM accounts_1 JOIN accounts USING (name)"
    )
    connection.execute("DROP TABLE accounts_1")


_FLOW: Final = """
-- `epoch` is the newest that was charged for (0: none since version 3), `epoch_points` is what was charged
-- for it; `granted` is left of the last grant, `granted_at` and `granted_before` are when the last two were.
-- `full_batches` were as large as a batch may be.
ALTER TABLE accounts ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN epoch_points INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN granted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN granted_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN granted_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN full_batches INTEGER NOT NULL DEFAULT 0;
UPDATE accounts SET epoch_points = points_total;
-- Points charged in a minute since 1970, and those of them to new accounts: what breakers look at.
CREATE TABLE minutes (minute INTEGER PRIMARY KEY, points INTEGER NOT NULL, new_points INTEGER NOT NULL);
-- Points charged for an epoch of an audience, and when the first were, in milliseconds since 1970.
CREATE TABLE epochs (
    audience INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    points INTEGER NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (audience, epoch)
) WITHOUT ROWID;
"""


def _flow(connection: sqlite3.Connection) -> None:
    run_script(connection, _FLOW)


ACCOUNTS_STEPS: Final[tuple[SqlStep, ...]] = (_quotas, _flow)


def create_accounts(connection: sqlite3.Connection) -> None:
    """Make the tables of the newest version, as they are after all steps. In the caller's transaction."""
    run_script(connection, _ACCOUNTS_2)
    for step in ACCOUNTS_STEPS[1:]:
        step(connection)
    connection.execute(f"PRAGMA user_version = {newest(ACCOUNTS_STEPS)}")
