"""Overwrites what was removed from a database, in its file and in its write-ahead log.

`secure_delete` overwrites rows that are deleted, and pages that become free. Two kinds of copies stay. Rows
that SQLite moves to other pages, when it splits and merges them, stay in the unused middle of the pages that
they came from; no later deletion finds them. And the log holds pages as they were, until it is written over.

So first everything in the log is brought into the file. Then, while nobody can write and nobody reads from
the log, the log is overwritten with zeros, and so is the unused middle of each page. No reader ever looks at
either; a crash at any moment leaves a log without frames beside a file that is complete. Last, a small change
is committed: other connections then drop the pages that they keep in memory, and do not write them back.

That takes one reading of the file, less than a second for ten million members. Tables with rowids would need
more, as their inner pages keep the keys of deleted rows; there are none here.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation import erasure
from contactsync.foundation.errors import OurError
from contactsync.server.storage.erasing import ERASING_WAIT
from contactsync.server.storage.sqlite.database import Database

_AT_ONCE: Final = 1 << 22  # octets of the file
_PAUSE: Final = 0.05
_MOST_PAGES: Final = 1 << 25  # beyond, the first octet of a page does not tell what it is

# The header of a page of a tree, https://www.sqlite.org/fileformat2.html section 1.6
_TREE: Final = (2, 5, 10, 13)
_INNER: Final = (2, 5)
_FIRST_HEADER: Final = 100  # where it is in the first page

_STILL_READ: Final = (
    "another process reads or writes the registry, so its write-ahead log still holds what was removed"
)

_DESCRIPTORS: dict[tuple[int, int], int] = {}
"""Files that were opened beside SQLite, by device and inode. They are never closed: that would end all locks
that SQLite has on them in this process (https://www.sqlite.org/howtocorrupt.html section 2.2)."""


class SqliteErasing:
    """An `ErasingStore`, as the part of a register that its database belongs to."""

    _database: Database
    _path: Path

    def unerased(self) -> bool:
        """See `ErasingStore.unerased`."""
        return bool(self._database.one("SELECT unerased FROM changes"))

    def erase(self, wait: float = ERASING_WAIT) -> str:
        """See `ErasingStore.erase`."""
        if not self.unerased():
            return ""
        with (
            self._database.errors(),
            contextlib.closing(sqlite3.connect(self._path, timeout=_PAUSE, isolation_level=None)) as own,
        ):
            own.execute("PRAGMA synchronous = FULL")
            own.execute("PRAGMA wal_autocheckpoint = 0")
            end = time.monotonic() + wait
            while not self._erased(own):
                if time.monotonic() >= end:
                    return _STILL_READ
                time.sleep(_PAUSE)
        return ""

    def beyond(self) -> Sequence[str]:
        """See `ErasingStore.beyond`."""
        return ()

    def _erased(self, own: sqlite3.Connection) -> bool:
        """Whether it could be done now."""
        try:
            (version,) = own.execute("PRAGMA data_version").fetchone()
            # Nobody reads from the log when this returns, and nobody will until something is written.
            if own.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]:
                return False
            own.execute("BEGIN IMMEDIATE")
            try:
                if own.execute("PRAGMA data_version").fetchone() != (version,):
                    return False  # something was written in between
                erasure.blank(self._path.with_name(f"{self._path.name}-wal"))
                _blank_unused(self._path)
                own.execute("UPDATE changes SET unerased = 0")
                own.execute("COMMIT")
            finally:
                if own.in_transaction:
                    own.execute("ROLLBACK")
            own.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                return False
            raise
        except OSError as error:
            raise OurError(
                f"cannot overwrite what was removed from {self._path}: {error.strerror}",
                hint="make the files of the data folder writable, and run the command again",
            ) from error
        return True


def _blank_unused(path: Path) -> None:
    """Overwrite what no cell of a tree uses, in all pages of a database file, durably."""
    file = _descriptor(path)
    head = os.pread(file, _FIRST_HEADER, 0)
    size = int.from_bytes(head[16:18], "big")
    size = 1 << 16 if size == 1 else size
    pages = os.fstat(file).st_size // size
    if pages >= _MOST_PAGES:
        raise OurError(f"{path} is too large for what was removed to be overwritten", hint="use VACUUM")
    at_once = _AT_ONCE // size
    for first in range(0, pages, at_once):
        octets = os.pread(file, min(at_once, pages - first) * size, first * size)
        begins, ends = _unused(np.frombuffer(octets, np.uint8).reshape(-1, size), first)
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            os.pwrite(file, bytes(end - begin), first * size + begin)
    os.fsync(file)


def _unused(pages: NDArray[np.uint8], first: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where, in these pages uint8[n, size], unused octets begin and end that are not all zeros."""
    count, size = pages.shape
    offsets = np.zeros(count, np.int64)
    if first == 0:
        offsets[0] = _FIRST_HEADER
    rows = np.arange(count)
    # Of the first page the header is elsewhere; column 7 is the last that is looked at.
    header = pages[rows[:, None], offsets[:, None] + np.arange(8)].astype(np.int64)
    kinds, cells = header[:, 0], header[:, 3] << 8 | header[:, 4]
    content = header[:, 5] << 8 | header[:, 6]
    content[content == 0] = 1 << 16
    begins = offsets + 8 + 4 * np.isin(kinds, _INNER) + 2 * cells
    chosen = np.isin(kinds, _TREE) & (begins < content) & (content <= size)
    begins, ends = (begins + rows * size)[chosen], (content + rows * size)[chosen]
    if not begins.size:
        return begins, ends
    padded = np.append(pages.reshape(-1), np.uint8(0))  # so that an end may be that of the last page
    bounds = np.stack([begins, ends], axis=1).reshape(-1)
    dirty = np.bitwise_or.reduceat(padded, bounds)[::2] != 0
    return begins[dirty], ends[dirty]


def _descriptor(path: Path) -> int:
    status = path.stat()
    key = status.st_dev, status.st_ino
    if key not in _DESCRIPTORS:
        _DESCRIPTORS[key] = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    return _DESCRIPTORS[key]
