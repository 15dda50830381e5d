"""The file `registry.sqlite`: its tables, transactions, what changed and was published, and tokens.

Each kind of identifier has tables of its own: `members_KIND`, `tokens_KIND`, `consents_KIND`, `labels_KIND`,
`pending_KIND`, `label_changes_KIND`. Their key is an integer if the kind's key is. When the file is opened,
kinds that are new to it get their tables. Who is in it is the matter of `SqliteMembers` (members.py).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Collection, Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.errors import OurError
from contactsync.foundation.migrations import newest
from contactsync.identifiers.kinds import KINDS, Kind, kind_of_partition
from contactsync.labels import KEYED_BYTES
from contactsync.server.storage.counting import COUNTS_SCHEMA
from contactsync.server.storage.label_log import label_log
from contactsync.server.storage.labelling import Outputs
from contactsync.server.storage.migrations import (
    BASES_SCHEMA,
    EDITIONS_SCHEMA,
    PAIRS_SCHEMA,
    PROVENANCE_SCHEMA,
    REGISTRY_STEPS,
    SEARCHES_SCHEMA,
    WRITERS_SCHEMA,
)
from contactsync.server.storage.ports import Members
from contactsync.server.storage.records import bit_of
from contactsync.server.storage.register import Register
from contactsync.server.storage.sqlite.answers import ANSWERS_TABLE, SqliteAnswers, create_answers
from contactsync.server.storage.sqlite.bulk import (
    log_stored,
    read_outputs,
    read_pending,
    read_tokens,
    read_unevaluated,
    write_pending,
    write_tokens,
)
from contactsync.server.storage.sqlite.database import Database, sqlite_errors
from contactsync.server.storage.sqlite.erasing import SqliteErasing
from contactsync.tokens import TOKEN_BYTES, Tokens

if TYPE_CHECKING:
    from contactsync.identifiers.kinds import Keys

_WHAT: Final = "registry"

_SCHEMA: Final = f"""
BEGIN;
CREATE TABLE changes (serial INTEGER NOT NULL, unerased INTEGER NOT NULL DEFAULT 1);
INSERT INTO changes VALUES (0, 0);
CREATE TABLE touched (partition TEXT PRIMARY KEY, serial INTEGER NOT NULL) WITHOUT ROWID;
{EDITIONS_SCHEMA};
{PROVENANCE_SCHEMA}
{PAIRS_SCHEMA};
{SEARCHES_SCHEMA};
{BASES_SCHEMA}
{COUNTS_SCHEMA};
{WRITERS_SCHEMA}
PRAGMA user_version = {newest(REGISTRY_STEPS)};
COMMIT;
"""

# `verified` is a day since 1970, 0 for the day of `added`; `since` the serial of the last change in
# the first audience: so a member takes about 20 octets. Tokens have their own table, in the order in which a
# publish writes and reads them. The tokens of a new epoch are added beside those of the current one.
# No table has rowids: the inner pages of such a tree keep the keys of rows that are gone.
_TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS members_{kind} (
        key {type} PRIMARY KEY,
        audiences INTEGER NOT NULL,
        added INTEGER NOT NULL,
        verified INTEGER NOT NULL DEFAULT 0,
        since INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID""",
    """
    CREATE TABLE IF NOT EXISTS tokens_{kind} (
        audience INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        key {type} NOT NULL,
        token BLOB NOT NULL,
        PRIMARY KEY (audience, epoch, key)
    ) WITHOUT ROWID""",
    """
    CREATE TABLE IF NOT EXISTS consents_{kind} (
        key {type} NOT NULL,
        serial INTEGER NOT NULL,
        audience INTEGER NOT NULL,
        at INTEGER NOT NULL,
        granted INTEGER NOT NULL,
        source TEXT NOT NULL,
        made_by TEXT NOT NULL,
        PRIMARY KEY (key, serial, audience)
    ) WITHOUT ROWID""",
    # Only who has a label.
    "CREATE TABLE IF NOT EXISTS labels_{kind} (key {type} PRIMARY KEY, label BLOB NOT NULL) WITHOUT ROWID",
    """
    CREATE TABLE IF NOT EXISTS pending_{kind} (
        audience INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        key {type} NOT NULL,
        PRIMARY KEY (audience, epoch, key)
    ) WITHOUT ROWID""",
    """
    CREATE TABLE IF NOT EXISTS label_changes_{kind} (
        audience INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        partition TEXT NOT NULL,
        key {type} NOT NULL,
        serial INTEGER NOT NULL,
        PRIMARY KEY (audience, epoch, partition, key)
    ) WITHOUT ROWID""",
)
# ruff: noqa: S608 - the only text put into a statement is the name of a kind, and integers


class RegistryFile(Register, SqliteErasing):
    """The part of a `MemberStore` that does not say who a member is. An object is for one thread."""

    _database: Database

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._database = Database(path, _WHAT, REGISTRY_STEPS)
        try:
            self._make_tables()
        except BaseException:
            self._database.close()
            raise

    @classmethod
    def create(cls, path: Path) -> Self:
        """Create a new, empty register, readable only by its owner."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with (
            sqlite_errors(path, _WHAT),
            contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection,
        ):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
        return cls(path)

    def _make_tables(self) -> None:
        there = {
            name for (name,) in self._database.all("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        if unknown := {name for name in there if name.startswith("members_")} - {*map(members_table, KINDS)}:
            kinds = ", ".join(sorted(name.removeprefix("members_") for name in unknown))
            raise OurError(
                f"the registry contains identifiers of an unknown kind: {kinds}",
                hint="a newer contactsync wrote it: update contactsync",
            )
        missing = [
            kind for kind in KINDS.values() if not {table(kind.name) for table in _TABLES_OF_KINDS} <= there
        ]
        if missing or ANSWERS_TABLE not in there:
            with self._database.transaction():
                create_answers(self._database.connection)
                for kind in missing:
                    key = "INTEGER" if kind.key_type is int else "BLOB"
                    for table in _TABLES:
                        self._database.connection.execute(table.format(kind=kind.name, type=key))

    # Tokens

    def partitions(self, audience: str) -> list[str]:
        """See `MemberStore.partitions`."""
        return sorted(
            name
            for kind in KINDS.values()
            for name in kind.partitions()
            if self._is_inhabited(kind, name, bit_of(audience))
        )

    def _is_inhabited(self, kind: Kind, partition: str, bit: int) -> bool:
        some = f"SELECT 1 FROM {members_table(kind.name)} WHERE key >= ? AND key < ? AND audiences & ?"
        return any(
            self._database.one(f"SELECT EXISTS ({some})", *span, bit) for span in kind.spans(partition)
        )

    def unevaluated(
        self, audience: str, epoch: int, partition: str, after: Any, limit: int, *, keyed: bool = False
    ) -> Members:
        """See `MemberStore.unevaluated`."""
        kind, of = kind_of_partition(partition), (bit_of(audience), epoch)
        found: list[Keys] = []
        read = audience, self.serial()  # before they are: what changes meanwhile has a later one
        pending = self._is_searched(*of, partition, keyed=keyed)
        for low, high in kind.spans(partition):
            if after is not None and high <= after:
                continue
            # Only one lower bound: of two, SQLite would search by the first.
            span = (">=", low, high) if after is None or after < low else (">", after, high)
            if pending:
                found.append(read_pending(self._database, kind, of, span, limit))
            else:
                found.append(read_unevaluated(self._database, kind, of, span, limit, keyed=keyed))
            limit -= found[-1].size
            if limit <= 0:
                break
        keys: Keys = np.concatenate(found) if found else kind.keys_of(())  # type: ignore[assignment]
        return Members(kind.name, keys, read)

    def store_tokens(self, audience: str, epoch: int, members: Members, tokens: NDArray[np.uint8]) -> None:
        """See `MemberStore.store_tokens`."""
        with self._database.transaction():
            known, of = members.read == (audience, self.serial()), (bit_of(audience), epoch)
            write_tokens(self._database, of, members, tokens, known=known)
            for name, keys in KINDS[members.kind].by_partition(members.keys):
                if self._is_logged(*of, name):
                    changed, kept = log_stored(self._database, (*of, name), members.kind, keys)
                    self._check_logged((*of, name), changed=changed, kept=kept)
                    if tokens.shape[1] == KEYED_BYTES:
                        self._log_keyed(members.kind, (*of, name), keys.tolist())
            if tokens.shape[1] == TOKEN_BYTES:
                names = [name for name, _ in KINDS[members.kind].by_partition(members.keys)]
                self._note_without_keys(*of, names)

    def tokens(self, audience: str, epoch: int, partition: str) -> Generator[Tokens, None, None]:
        """See `MemberStore.tokens`."""
        kind = kind_of_partition(partition)
        for span in kind.spans(partition):
            yield from read_tokens(self._database, kind, (bit_of(audience), epoch), span)

    def outputs(self, audience: str, epoch: int, partition: str) -> Generator[Outputs, None, None]:
        """See `LabelStore.outputs`."""
        kind = kind_of_partition(partition)
        for span in kind.spans(partition):
            yield from read_outputs(self._database, kind, (bit_of(audience), epoch), span, partition)

    def labelled(self, audience: str, partitions: Collection[str] | None = None) -> Mapping[str, int]:
        """See `LabelStore.labelled`."""
        found: dict[str, int] = {}
        for kind in KINDS.values():
            if not self._database.one(f"SELECT EXISTS (SELECT 1 FROM {labels_table(kind.name)})"):
                continue
            query = (
                f"SELECT ifnull(max(length(label)), 0) FROM {labels_table(kind.name)} AS l "
                f"CROSS JOIN {members_table(kind.name)} AS m ON m.key = l.key "
                f"WHERE l.key >= ? AND l.key < ? AND audiences & {bit_of(audience):d}"
            )
            for name in kind.partitions():
                if partitions is None or name in partitions:
                    longest = max(self._database.one(query, *span) for span in kind.spans(name))
                    found.update({name: longest} if longest else {})
        return found

    def with_labels(self, audience: str, partitions: Collection[str]) -> Collection[str]:
        """See `LabelStore.with_labels`."""
        return {name for name in partitions if self._has_labels(kind_of_partition(name), name, audience)}

    def _has_labels(self, kind: Kind, partition: str, audience: str) -> bool:
        some = (
            f"SELECT 1 FROM {labels_table(kind.name)} AS l CROSS JOIN {members_table(kind.name)} AS m "
            f"ON m.key = l.key WHERE l.key >= ? AND l.key < ? AND audiences & {bit_of(audience):d}"
        )
        return any(self._database.one(f"SELECT EXISTS ({some})", *span) for span in kind.spans(partition))

    def _count_without_key(self, bit: int, epoch: int, partition: str) -> int:
        kind = kind_of_partition(partition)
        query = (
            f"SELECT count(*) FROM {tokens_table(kind.name)} WHERE audience = ? AND epoch = ? "
            f"AND key >= ? AND key < ? AND length(token) <> {KEYED_BYTES:d}"
        )
        return sum(int(self._database.one(query, bit, epoch, *span)) for span in kind.spans(partition))

    def _delete_tokens(self, bit: int, epochs: range) -> int:
        which = "audience = ? AND epoch >= ? AND epoch < ?"
        dropped = sum(
            self._database.change(
                f"DELETE FROM {tokens_table(kind)} WHERE {which}", bit, epochs.start, epochs.stop
            )
            for kind in KINDS
        )
        if dropped:
            self._leave_traces()
        return dropped

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """See `MemberStore.snapshot`."""
        connection = self._database.connection
        with self._database.errors():
            connection.execute("BEGIN")
            connection.execute("SELECT serial FROM changes").fetchone()  # this read fixes the moment
        try:
            yield
        finally:
            connection.execute("ROLLBACK")

    def publishing(self) -> contextlib.AbstractContextManager[None]:
        """See `MemberStore.publishing`."""
        return contextlib.nullcontext()

    def answers(self) -> SqliteAnswers:
        """See `MemberStore.answers`."""
        return SqliteAnswers(self._database)

    def _leave_traces(self, kind: str = "", partition: str = "") -> None:  # noqa: ARG002 - it is one file
        """Note, in the open transaction, that something is removed which `erase` has to overwrite."""
        self._database.connection.execute("UPDATE changes SET unerased = 1 WHERE unerased = 0")

    def _note_pending(self, kind: str, partition: str, keys: Keys, bit: int) -> None:
        for epoch in self._epochs_searched(bit, partition):
            write_pending(self._database, KINDS[kind], (bit, epoch), keys)

    def _evaluated(self, kind: str) -> list[tuple[int, int]]:
        """The audiences (as bits) and epochs of which there are tokens."""
        return self._epochs_in(tokens_table(kind))

    def _epochs_in(self, table: str) -> list[tuple[int, int]]:
        """The audiences (as bits) and epochs in a table. One step in its index for each."""
        found: list[tuple[int, int]] = []
        # Two queries: SQLite goes to (audience, epoch) > (?, ?) by the audience alone, and walks from there.
        first = f"SELECT audience, epoch FROM {table} WHERE"
        ordered = "ORDER BY audience, epoch LIMIT 1"
        rows = self._database.all(f"{first} audience > ? {ordered}", 0)
        while rows:
            found.append((int(rows[0][0]), int(rows[0][1])))
            rows = self._database.all(f"{first} audience = ? AND epoch > ? {ordered}", *found[-1])
            rows = rows or self._database.all(f"{first} audience > ? {ordered}", found[-1][0])
        return found


def members_table(kind: str) -> str:
    """Its name."""
    return f"members_{kind}"


def tokens_table(kind: str) -> str:
    """Its name."""
    return f"tokens_{kind}"


def consents_table(kind: str) -> str:
    """Its name."""
    return f"consents_{kind}"


def labels_table(kind: str) -> str:
    """Its name."""
    return f"labels_{kind}"


def pending_table(kind: str) -> str:
    """Its name."""
    return f"pending_{kind}"


_TABLES_OF_KINDS: Final = (
    *(members_table, tokens_table, consents_table, labels_table, pending_table, label_log),
)
