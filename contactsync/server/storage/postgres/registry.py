"""The register of members in the schema `contactsync_members`: its tables, its transactions, and the tokens.

Each kind of identifier has the tables `members_KIND`, `tokens_KIND`, `consents_KIND`, `labels_KIND`,
`pending_KIND`, `label_changes_KIND`. They are partitioned as what is published is, so by the calling code of
a number: what is done to one, such as erasing, does not concern the others. A partition gets its tables with
its first member (`_inhabit`). How labels are read is in labels.py.

Many rows travel in COPY's binary format, as numpy makes and reads it. Who is in the register is the matter of
`PostgresMembers` (members.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.errors import OurError
from contactsync.identifiers.kinds import KINDS, kind_of_partition
from contactsync.labels import KEYED_BYTES
from contactsync.server.settings import Busy
from contactsync.server.storage.membership import CHUNK
from contactsync.server.storage.ports import WAIT, Members
from contactsync.server.storage.postgres.address import DatabaseUrl
from contactsync.server.storage.postgres.answers import PostgresAnswers
from contactsync.server.storage.postgres.database import LOCKS, PUBLISHING, PostgresSession
from contactsync.server.storage.postgres.erasing import PostgresErasing
from contactsync.server.storage.postgres.labels import SchemaLabels
from contactsync.server.storage.postgres.rows import binary_rows, child_of, gathered, members_of, type_of
from contactsync.server.storage.postgres.schema import (
    LABEL_CHANGES_PARENT,
    LABELS_PARENT,
    MEMBERS_SCHEMA,
    PENDING_PARENT,
)
from contactsync.server.storage.records import bit_of
from contactsync.server.storage.register import Register
from contactsync.tokens import TOKEN_BYTES, Tokens

if TYPE_CHECKING:
    from contactsync.identifiers.kinds import Keys

_FEW: Final = 1000
"""Up to so many rows travel as parameters of a statement, more by COPY."""

# The columns are those of sqlite/registry.py. The key is first in all indexes: members of all partitions are
# asked for in its order, and the partition of a key is always known.
_PARENTS: Final = (
    """
    CREATE TABLE IF NOT EXISTS members_{kind} (
        key {type} NOT NULL,
        added bigint NOT NULL,
        since bigint NOT NULL DEFAULT 0,
        audiences integer NOT NULL,
        verified integer NOT NULL DEFAULT 0,
        partition text COLLATE "C" NOT NULL,
        PRIMARY KEY (key, partition)
    ) PARTITION BY LIST (partition)""",
    """
    CREATE TABLE IF NOT EXISTS tokens_{kind} (
        key {type} NOT NULL,
        epoch bigint NOT NULL,
        audience integer NOT NULL,
        partition text COLLATE "C" NOT NULL,
        token bytea NOT NULL,
        PRIMARY KEY (audience, epoch, key, partition)
    ) PARTITION BY LIST (partition)""",
    """
    CREATE TABLE IF NOT EXISTS consents_{kind} (
        key {type} NOT NULL,
        serial bigint NOT NULL,
        at bigint NOT NULL,
        audience integer NOT NULL,
        granted integer NOT NULL,
        partition text COLLATE "C" NOT NULL,
        source text NOT NULL,
        made_by text NOT NULL,
        PRIMARY KEY (key, serial, audience, partition)
    ) PARTITION BY LIST (partition)""",
    LABELS_PARENT,
    PENDING_PARENT,
    LABEL_CHANGES_PARENT,
)
TABLES: Final = ("members", "tokens", "consents", "labels", "pending", "label_changes")

# ruff: noqa: S608 - the only text put into a statement is the name of a kind or partition, and integers


class RegistrySchema(SchemaLabels, Register, PostgresErasing):
    """The part of a `MemberStore` that does not say who a member is. An object is for one thread."""

    MARK = "%s"
    _database: PostgresSession

    def __init__(self, address: DatabaseUrl, *, wait: float = WAIT) -> None:
        super().__init__()
        self._database = PostgresSession(address, MEMBERS_SCHEMA, wait=wait)
        try:
            self._make_tables()
        except BaseException:
            self._database.close()
            raise

    def _make_tables(self) -> None:
        there = {
            name
            for (name,) in self._database.all(
                "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'p'",
                MEMBERS_SCHEMA.name,
            )
        }
        known = {f"{table}_{kind}" for table in TABLES for kind in KINDS}
        if unknown := {name for name in there - known if name.startswith("members_")}:
            kinds = ", ".join(sorted(name.removeprefix("members_") for name in unknown))
            raise OurError(
                f"the register contains identifiers of an unknown kind: {kinds}",
                hint="a newer contactsync wrote it: update contactsync",
            )
        if known - there:
            with self._database.transaction():
                for kind in KINDS.values():
                    for table in _PARENTS:
                        self._database.run(table.format(kind=kind.name, type=type_of(kind.name)))

    # Tokens

    def partitions(self, audience: str) -> list[str]:
        """See `MemberStore.partitions`."""
        found, bit = list[str](), bit_of(audience)
        for kind in KINDS:
            names = self._database.all("SELECT partition FROM partitions WHERE kind = %s", kind)
            some = f"SELECT FROM members_{kind} WHERE partition = %s AND audiences & {bit:d} <> 0"
            found += [name for (name,) in names if self._database.one(f"SELECT EXISTS ({some})", name)]
        return sorted(found)

    def unevaluated(
        self, audience: str, epoch: int, partition: str, after: Any, limit: int, *, keyed: bool = False
    ) -> Members:
        """See `MemberStore.unevaluated`."""
        whole = f"AND octet_length(token) = {KEYED_BYTES:d}" if keyed else ""
        kind, bit = kind_of_partition(partition).name, bit_of(audience)
        beyond, values = ("", ()) if after is None else ("AND {}.key > %s", (after,))
        if self._is_searched(bit, epoch, partition, keyed=keyed):
            ((page, serial),) = self._database.all(
                f"SELECT {gathered(kind)}, (SELECT serial FROM changes) FROM "
                f"(SELECT key FROM pending_{kind} AS p WHERE partition = %s {beyond.format('p')} "
                # Who is no member is not published, however the row came to be there. The subquery is
                # scalar: see `_end_stored`.
                f"AND audience = {bit:d} AND epoch = {epoch:d} AND (SELECT audiences & {bit:d} <> 0 "
                f"FROM members_{kind} AS m WHERE m.partition = %s AND m.key = p.key LIMIT 1) "
                f"ORDER BY key LIMIT {limit:d}) AS page",
                *(partition, *values, partition),
                binary=True,
            )
            return Members(kind, members_of(kind, page).keys, (audience, int(serial)))
        # The bound stands twice: PostgreSQL would read all tokens before the page.
        ((page, serial),) = self._database.all(
            f"SELECT {gathered(kind)}, (SELECT serial FROM changes) FROM "
            f"(SELECT key FROM members_{kind} AS m WHERE partition = %s {beyond.format('m')} "
            f"AND audiences & {bit:d} <> 0 AND NOT EXISTS "
            f"(SELECT FROM tokens_{kind} AS t WHERE t.partition = %s {beyond.format('t')} "
            f"AND audience = {bit:d} AND epoch = {epoch:d} AND t.key = m.key {whole}) "
            f"ORDER BY m.key LIMIT {limit:d}) AS page",
            *(partition, *values, partition, *values),
            binary=True,
        )
        found = members_of(kind, page)
        return Members(kind, found.keys, (audience, int(serial)))

    def store_tokens(self, audience: str, epoch: int, members: Members, tokens: NDArray[np.uint8]) -> None:
        """See `MemberStore.store_tokens`."""
        kind, bit, keyed = members.kind, bit_of(audience), tokens.shape[1] == KEYED_BYTES
        with self._database.transaction():
            known = members.read == (audience, self.serial())
            for partition, keys in KINDS[kind].by_partition(members.keys):
                some = tokens[np.searchsorted(members.keys, keys)]
                if known and keys.size > _FEW and self._copied(kind, partition, (bit, epoch), (keys, some)):
                    self._end_stored(kind, partition, (bit, epoch), keys, keyed=keyed)
                    continue
                given, values = self._given(kind, keys, some)
                insert = (
                    f"INSERT INTO tokens_{kind} (key, epoch, audience, partition, token) "
                    f"SELECT key, {epoch:d}, {bit:d}, partition, token FROM members_{kind} "
                    f"JOIN {given} USING (key) WHERE partition = %s AND audiences & {bit:d} <> 0 "
                    "ORDER BY key "
                    "ON CONFLICT (audience, epoch, key, partition) DO UPDATE SET token = excluded.token"
                )
                if self._is_logged(bit, epoch, partition):
                    ((stored, kept),) = self._database.all(
                        f"WITH stored AS ({insert} RETURNING token), kept AS (INSERT INTO token_changes "
                        f"SELECT {bit:d}, {epoch:d}, %s, (SELECT serial FROM changes), "
                        f"substr(token, 1, {TOKEN_BYTES:d}) FROM stored ON CONFLICT DO NOTHING RETURNING 1) "
                        "SELECT (SELECT count(*) FROM stored), (SELECT count(*) FROM kept)",
                        *(*values, partition, partition),
                    )
                    self._check_logged((bit, epoch, partition), changed=stored, kept=kept)
                else:
                    self._database.run(insert, (*values, partition))
                self._end_stored(kind, partition, (bit, epoch), keys, keyed=keyed)
            if tokens.shape[1] == TOKEN_BYTES:
                names = [name for name, _ in KINDS[kind].by_partition(members.keys)]
                self._note_without_keys(bit, epoch, names)

    def _end_stored(self, kind: str, partition: str, of: tuple[int, int], keys: Keys, *, keyed: bool) -> None:
        """Note that these have been stored, with their label keys if `keyed`.

        Who is pending and has a token got it now: no key need be named.

        The subquery is scalar: it is looked up in the index for each key. As EXISTS it would become a join,
        and without statistics of such a table the planner has compared all with all.
        """
        (bit, epoch), (first, last) = of, keys[[0, -1]].tolist()
        self._database.run(
            f"DELETE FROM pending_{kind} AS p WHERE p.partition = %s AND p.audience = {bit:d} "
            f"AND p.epoch = {epoch:d} AND p.key >= %s AND p.key <= %s AND "
            f"(SELECT true FROM tokens_{kind} AS t WHERE t.partition = %s AND t.audience = {bit:d} "
            f"AND t.epoch = {epoch:d} AND t.key = p.key LIMIT 1)",
            (partition, first, last, partition),
        )
        if keyed:
            self._log_keyed(kind, (*of, partition), keys.tolist())

    def _copied(
        self, kind: str, partition: str, of: tuple[int, int], rows: tuple[Keys, NDArray[np.uint8]]
    ) -> bool:
        """Store tokens of members as they come, four times as fast; not if there is one of them already."""
        if type_of(kind) != "bigint":
            return False
        (bit, epoch), (keys, tokens) = of, rows
        octets = binary_rows([keys, (epoch, ">i8"), (bit, ">i4"), partition.encode(), tokens])
        target = f"COPY {child_of('tokens', kind, partition)} (key, epoch, audience, partition, token)"
        log = "COPY token_changes (audience, epoch, partition, serial, token)"
        try:
            with self._database.transaction():
                self._database.copy(f"{target} FROM STDIN (FORMAT BINARY)", octets)
                if self._is_logged(bit, epoch, partition):
                    serial, some = self.serial(), np.ascontiguousarray(tokens[:, :TOKEN_BYTES])
                    fixed = [(bit, ">i4"), (epoch, ">i8"), partition.encode(), (serial, ">i8")]
                    self._database.copy(f"{log} FROM STDIN (FORMAT BINARY)", binary_rows([*fixed, some]))
        except OurError:  # if the connection was lost, so what follows says
            return False
        return True

    def tokens(self, audience: str, epoch: int, partition: str) -> Generator[Tokens, None, None]:
        """See `MemberStore.tokens`."""
        kind, bit, after = kind_of_partition(partition).name, bit_of(audience), None
        while True:
            beyond, values = ("", ()) if after is None else ("AND key > %s", (after,))
            (row,) = self._database.all(
                f"SELECT string_agg(substr(token, 1, {TOKEN_BYTES:d}), ''::bytea), "
                "(array_agg(key))[count(*)] FROM "
                f"(SELECT key, token FROM tokens_{kind} WHERE partition = %s AND audience = {bit:d} "
                f"AND epoch = {epoch:d} {beyond} ORDER BY key LIMIT {CHUNK:d}) AS page",
                *(partition, *values),
                binary=True,
            )
            octets, after = row
            if octets is None:
                return
            yield Tokens.from_bytes(np.frombuffer(octets, np.uint8).reshape(-1, TOKEN_BYTES))

    def _count_without_key(self, bit: int, epoch: int, partition: str) -> int:
        kind = kind_of_partition(partition).name
        return int(
            self._database.one(
                f"SELECT count(*) FROM tokens_{kind} WHERE partition = %s AND audience = %s AND epoch = %s "
                f"AND octet_length(token) <> {KEYED_BYTES:d}",
                *(partition, bit, epoch),
            )
        )

    def _delete_tokens(self, bit: int, epochs: range) -> int:
        dropped = 0
        for kind in KINDS:
            delete = f"DELETE FROM tokens_{kind} WHERE partition = %s AND audience = %s AND epoch = %s"
            for partition, epoch in self._tokens_of(kind, bit) if epochs else ():
                if epoch in epochs:
                    dropped += self._database.change(delete, partition, bit, epoch)
                    self._mark(f"tokens_{kind}_{partition}")
        return dropped

    def snapshot(self) -> contextlib.AbstractContextManager[None]:
        """See `MemberStore.snapshot`."""
        return self._database.snapshot()

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """See `MemberStore.publishing`. The lock ends with the connection, and with it what holds it."""
        database = self._database
        if not database.one(f"SELECT pg_try_advisory_lock({LOCKS:d}, {PUBLISHING:d})"):
            raise Busy(
                f"another process is publishing from this database: {self._publisher()}",
                hint="wait until it ends",
            )
        database.pinned = True
        try:
            yield
        finally:
            database.pinned = False
            with contextlib.suppress(OurError):
                database.all(f"SELECT pg_advisory_unlock({LOCKS:d}, {PUBLISHING:d})")

    def _publisher(self) -> str:
        rows = self._database.all(
            "SELECT application_name, usename, coalesce(host(client_addr), 'this machine') "
            "FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' "
            f"AND classid = {LOCKS:d} AND objid = {PUBLISHING:d} AND granted"
        )
        if not rows:
            return "it has just ended"
        name, user, address = rows[0]
        return f"{name or 'a process'} (user {user}, from {address})"

    # How

    def _note_pending(self, kind: str, partition: str, keys: Keys, bit: int) -> None:
        if not self._epochs_searched(bit, partition):
            return
        given, values = self._given(kind, keys)
        self._database.run(
            f"INSERT INTO pending_{kind} (key, epoch, audience, partition) "
            f"SELECT key, epoch, {bit:d}, partition FROM {given} CROSS JOIN searches "
            f"WHERE audience = {bit:d} AND partition = %s ON CONFLICT DO NOTHING",
            (*values, partition),
        )

    def answers(self) -> PostgresAnswers:
        """See `MemberStore.answers`."""
        return PostgresAnswers(self._database)

    def _leave_traces(self, kind: str, partition: str) -> None:
        for table in TABLES:
            self._mark(f"{table}_{kind}_{partition}")
        self._mark("token_changes")  # of those who joined before, and whose rows are gone

    def _is_inhabited(self, kind: str, partition: str) -> bool:
        """Whether a partition has tables."""
        there = "SELECT EXISTS (SELECT FROM partitions WHERE kind = %s AND partition = %s)"
        return bool(self._database.one(there, kind, partition))

    def _inhabit(self, kind: str, partition: str, rows: bytes | None = None) -> bool:
        """Give a partition its tables, unless it has some; whether it got them.

        `rows` are then its members, for COPY: they are indexed when they are there. To attach tables that are
        ready holds nobody up who reads or writes others.
        """
        if self._is_inhabited(kind, partition):
            return False
        run = self._database.run
        for table in TABLES:
            parent, child = f"{table}_{kind}", child_of(table, kind, partition)
            run(f"CREATE TABLE {child} (LIKE {parent} INCLUDING DEFAULTS)")
            if table == "members" and rows:
                self._database.copy(f"COPY {child} FROM STDIN (FORMAT BINARY)", rows)
            run(f"ALTER TABLE {child} ADD PRIMARY KEY {_PRIMARY[table]}")
            run(f"ALTER TABLE {parent} ATTACH PARTITION {child} FOR VALUES IN ('{partition}')")
            if table == "members" and rows:
                run(f"ANALYZE {child}")
        self._database.change("INSERT INTO partitions VALUES (%s, %s)", kind, partition)
        return True

    def _given(
        self, kind: str, keys: Keys, tokens: NDArray[np.uint8] | None = None
    ) -> tuple[str, tuple[Any, ...]]:
        """Rows (key) or (key, token) as what a statement can read from, `given`, and its values."""
        key = type_of(kind)
        if keys.size <= _FEW or KINDS[kind].key_type is not int:
            if tokens is None:
                return f"unnest(%s::{key}[]) AS given(key)", (keys.tolist(),)
            listed = [row.tobytes() for row in tokens]
            return f"unnest(%s::{key}[], %s::bytea[]) AS given(key, token)", (keys.tolist(), listed)
        self._database.run("CREATE TEMP TABLE IF NOT EXISTS staged (key bigint, token bytea) ON COMMIT DROP")
        self._database.run("TRUNCATE staged")
        self._database.copy(
            f"COPY staged (key{'' if tokens is None else ', token'}) FROM STDIN (FORMAT BINARY)",
            binary_rows([keys] if tokens is None else [keys, tokens]),
        )
        self._database.run("ANALYZE staged")
        return "staged AS given", ()

    def _tokens_of(self, kind: str, bit: int, partition: str | None = None) -> list[tuple[str, int]]:
        """Partitions and epochs of which an audience has tokens. One step in an index for each."""
        names = (
            [name for (name,) in self._database.all("SELECT partition FROM partitions WHERE kind = %s", kind)]
            if partition is None
            else [partition]
        )
        found: list[tuple[str, int]] = []
        query = (
            f"SELECT epoch FROM tokens_{kind} WHERE partition = %s AND audience = %s AND epoch > %s "
            "ORDER BY epoch LIMIT 1"
        )
        for name in names:
            last = 0
            while rows := self._database.all(query, name, bit, last):
                last = int(rows[0][0])
                found.append((name, last))
        return found


_PRIMARY: Final = {
    "members": "(key, partition)",
    "tokens": "(audience, epoch, key, partition)",
    "consents": "(key, serial, audience, partition)",
    "labels": "(key, partition)",
    "pending": "(audience, epoch, key, partition)",
    "label_changes": "(audience, epoch, key, partition)",
}
