"""What a witness keeps: its key, and for each log the checkpoint that it cosigned last.

```
DIR/witness.json   name and Ed25519 key, 0600; written once, last of all
DIR/logs.sqlite    the last cosigned checkpoint of each log, and forks that were seen
```

A witness that forgets may cosign a second history. So its record is never made anew beside a key that exists,
and each row is read with the witness's own signature of it.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contactsync.foundation import durable
from contactsync.foundation.databases import SqlStep, migrate_sqlite, open_sqlite, run_script
from contactsync.foundation.errors import BadInput, ContactSyncError, OurError
from contactsync.foundation.migrations import RecordStep, migrate_record
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.notes import COSIGNATURE, NoteSigner, Verifier, open_note

MAX_FORKS: Final = 16
"""Contradicting checkpoints that are kept of one log: one is proof enough."""

_KEY: Final = "witness.json"
_RECORD: Final = "logs.sqlite"
_BUSY_SECONDS: Final = 5.0  # seconds that another process may hold the record
_KEY_STEPS: Final[Sequence[RecordStep]] = ()
_RECORD_STEPS: Final[Sequence[SqlStep]] = ()
_NEW_KEY: Final = "begin anew with another --state and --name: this key could cosign a second tree"

_TABLES: Final = """
CREATE TABLE witness (vkey TEXT NOT NULL);
CREATE TABLE log (
    origin TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    note BLOB NOT NULL  -- the checkpoint with the signatures of the log and of this witness
) STRICT;
CREATE TABLE fork (
    origin TEXT NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    cosigned BLOB NOT NULL,  -- the note with the other root that this witness had cosigned
    note BLOB NOT NULL,
    PRIMARY KEY (origin, size, root)
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The last checkpoint of a log that was cosigned: `when`, in seconds since 1970, and its note."""

    checkpoint: Checkpoint
    when: int
    note: bytes


@dataclass(frozen=True, slots=True)
class Fork:
    """Two notes of one size that a log has signed, with different root hashes: nobody can deny them."""

    origin: str
    size: int
    cosigned: bytes
    note: bytes


class WitnessFolder:
    """An open folder, for one thread at a time. Several processes may have it open: each change is one step.

    Raises OurError from every method: what is kept cannot be used.
    """

    def __init__(self, path: Path, name: str, key: Ed25519PrivateKey, connection: sqlite3.Connection) -> None:
        """For `create` and `open`."""
        self.path = path
        self.name = name
        self._key = key
        self._connection = connection
        self._file = _identity(path / _RECORD)

    @classmethod
    def exists(cls, path: Path) -> bool:
        """Whether there is a witness, or what is left of one."""
        return (path / _KEY).exists() or (path / _RECORD).exists()

    @classmethod
    def create(cls, path: Path, name: str) -> Self:
        """A new witness, whose key has this name. It is on the disk when this returns.

        Raises BadInput: no name for a key, or there is a witness already; OurError.
        """
        key = Ed25519PrivateKey.generate()
        vkey = NoteSigner.of(name, COSIGNATURE, key).verifier.vkey()
        taken = BadInput(f"there is a witness in {path} already", hint="choose another --state")
        if (path / _KEY).exists():
            raise taken
        try:
            durable.private_folder(path)
        except OSError as error:
            raise BadInput(f"cannot make {path}: {error.strerror}", hint="choose another --state") from error
        secret = {"version": 1, "name": name, "key": key.private_bytes_raw().hex()}
        with _explained(path), contextlib.closing(_connect(path)) as connection:
            (path / _RECORD).chmod(durable.PRIVATE_FILE)
            open_sqlite(connection, "the record of the witness", _create, _RECORD_STEPS)
            with _transaction(connection):  # two that create at once: the second finds the first one's key
                if (path / _KEY).exists():
                    raise taken
                if connection.execute("SELECT count(*) FROM log").fetchone()[0]:
                    raise OurError(f"the key of the witness in {path} is missing", hint=_NEW_KEY)
                connection.execute("DELETE FROM witness")
                connection.execute("INSERT INTO witness VALUES (?)", (vkey,))
                durable.write(path / _KEY, json.dumps(secret).encode())
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The witness that is there. Raises BadInput: there is none."""
        if not cls.exists(path):
            hint = "make one: contactsync witness init --state DIR --name NAME"
            raise BadInput(f"there is no witness in {path}", hint=hint)
        for file in (_KEY, _RECORD):
            if not (path / file).exists():
                raise OurError(f"{path / file} is missing", hint=_NEW_KEY)
        name, key = _read_key(path / _KEY)
        with _explained(path):
            connection = _connect(path)
            try:
                return cls._checked(path, name, key, connection)
            except BaseException:
                connection.close()
                raise

    @classmethod
    def _checked(cls, path: Path, name: str, key: Ed25519PrivateKey, connection: sqlite3.Connection) -> Self:
        migrate_sqlite(connection, f"the record of the witness in {path}", _RECORD_STEPS)
        if connection.execute("PRAGMA quick_check").fetchall() != [("ok",)]:
            raise _damaged(path)
        folder = cls(path, name, key, connection)
        found = [vkey for (vkey,) in connection.execute("SELECT vkey FROM witness")]
        if not found and not folder.logs():  # `create` was killed when it had written the key
            connection.execute("INSERT INTO witness VALUES (?)", (folder.verifier.vkey(),))
        elif found != [folder.verifier.vkey()]:
            raise OurError(f"key and record in {path} are not of the same witness", hint=_NEW_KEY)
        return folder

    def close(self) -> None:
        """Release the files."""
        self._connection.close()

    @property
    def verifier(self) -> Verifier:
        """The public key."""
        return self.signer(0).verifier

    def signer(self, when: int) -> NoteSigner:
        """What cosigns, and states `when` as the time."""
        return NoteSigner.of(self.name, COSIGNATURE, self._key, lambda: when)

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """A block that no other change comes between. What it stored is on the disk when it has ended."""
        with _explained(self.path):
            file = self.path / _RECORD
            if _identity(file) != self._file:  # SQLite would go on writing into a file without a name
                raise OurError(f"{file} was removed or replaced", hint="stop the witness, and put it back")
            with _transaction(self._connection):
                yield

    def last(self, origin: str) -> Cosigned | None:
        """What was cosigned last of a log; None: nothing yet."""
        with _explained(self.path):
            rows = self._connection.execute(
                "SELECT origin, size, root, note FROM log WHERE origin = ?", (origin,)
            ).fetchall()
        return self._read(rows[0]) if rows else None

    def logs(self) -> Sequence[Cosigned]:
        """What was cosigned last of each log, by origin."""
        with _explained(self.path):
            rows = self._connection.execute("SELECT origin, size, root, note FROM log ORDER BY origin")
            return [self._read(row) for row in rows.fetchall()]

    def store(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Replace what was cosigned last of a log. Inside `change`."""
        self._connection.execute(
            "INSERT OR REPLACE INTO log VALUES (?, ?, ?, ?)",
            (checkpoint.origin, checkpoint.size, checkpoint.root, note),
        )

    def note_fork(self, checkpoint: Checkpoint, cosigned: bytes, note: bytes) -> bool:
        """Keep a checkpoint that contradicts the one that was cosigned; False if it is known. In `change`."""
        count = self._connection.execute(
            "SELECT count(*) FROM fork WHERE origin = ?", (checkpoint.origin,)
        ).fetchone()[0]
        if count >= MAX_FORKS:
            return False
        row = checkpoint.origin, checkpoint.size, checkpoint.root, cosigned, note
        return self._connection.execute("INSERT OR IGNORE INTO fork VALUES (?, ?, ?, ?, ?)", row).rowcount > 0

    def forks(self) -> Sequence[Fork]:
        """The contradictions that were seen."""
        with _explained(self.path):
            rows = self._connection.execute(
                "SELECT origin, size, cosigned, note FROM fork ORDER BY origin, size"
            )
            return [Fork(*row) for row in rows.fetchall()]

    def _read(self, row: tuple[Any, ...]) -> Cosigned:
        """A row, if it is what this witness has signed. Raises OurError."""
        origin, size, root, note = row
        try:
            opened = open_note(note, [self.verifier])
            checkpoint, when = Checkpoint.parse(opened.text), opened.verified.get(self.verifier)
        except (ContactSyncError, AttributeError, TypeError) as error:
            raise _damaged(self.path) from error
        if checkpoint != Checkpoint(origin, size, root) or when is None:
            raise _damaged(self.path)
        return Cosigned(checkpoint, when, note)


def _create(connection: sqlite3.Connection) -> None:
    run_script(connection, _TABLES)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path / _RECORD, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = EXTRA")  # the journal's end is on the disk as well
    return connection


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have ended it
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            raise _damaged(path) from error
        raise OurError(
            f"the record of the witness in {path} cannot be used: {error}",
            hint="check the free space, the permissions, and whether another process holds it",
        ) from error


def _damaged(path: Path) -> OurError:
    return OurError(f"the record of the witness in {path} is damaged", hint=_NEW_KEY)


def _read_key(file: Path) -> tuple[str, Ed25519PrivateKey]:
    """Name and key. Raises BadInput: others can read it; OurError."""
    damaged = OurError(f"{file} is damaged", hint=_NEW_KEY)
    try:
        if file.stat().st_mode & 0o077:
            raise BadInput(f"other users can read {file}", hint=f"chmod 600 {file}")
        value = json.loads(file.read_bytes())
    except OSError as error:
        raise OurError(f"cannot read {file}: {error.strerror}", hint="check its permissions") from error
    except (ValueError, RecursionError):
        raise damaged from None
    if not isinstance(value, dict):
        raise damaged
    record = migrate_record(value, f"the key of the witness, {file},", _KEY_STEPS)
    match record:
        case {"name": str(name), "key": str(secret)}:
            try:
                key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
                NoteSigner.of(name, COSIGNATURE, key)
            except (ValueError, BadInput):
                raise damaged from None
            return name, key
    raise damaged
