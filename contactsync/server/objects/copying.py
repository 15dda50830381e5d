"""Brings a store to what is published in the data folder, and removes from it what the folder removed.

The folder is the source: it is complete before the store is touched, it is what `serve` answers from where
the store is behind, and each copy begins from a list of what the store has. So a copy may stop anywhere, be
repeated, or meet a store in which objects are missing or cut off.

First come the files whose names say what they hold, then the roots in turn, then what changes: the log's
checkpoint, root.json, and last timestamp.json, each put over the version that was read. Whatever a reader
sees leads to files that are there. What nothing leads to any more is removed after that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contactsync.foundation.errors import ContactSyncError, OurError
from contactsync.foundation.progress import Progress, silent
from contactsync.server.objects.cloud import PART
from contactsync.server.objects.files import (
    BELOW,
    CHECKPOINT,
    DATA,
    METADATA,
    TIMESTAMP,
    PublicFile,
    PublicFiles,
    public_files,
    to_copy,
)
from contactsync.server.objects.lease import SECONDS, Lease, leased, owner_of
from contactsync.server.objects.opening import open_objects
from contactsync.server.objects.ports import SMALL_LIMIT, Conflict, Objects
from contactsync.server.objects.record import StoreRecord, now_text
from contactsync.server.settings import DataFolder

_PUTS_AT_ONCE: Final = 8  # puts of small files
_DELETED_AT_ONCE: Final = 500
_BEHIND: Final = (
    "this data folder is of another or an older state than what is in the store: restore the newest backup;"
    " or, to replace what is there, `server store copy --replace`"
)


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did: files put (without the switches) and removed, octets, the lease's generation.

    `timestamp` is the version of timestamp.json that the store has now.
    """

    put: int
    octets: int
    removed: int
    timestamp: int
    generation: int


def copy_published(
    folder: DataFolder,
    progress: Progress = silent,
    *,
    replace: bool = False,
    opened: Callable[[str], Objects] = open_objects,
    seconds: float = SECONDS,
) -> Copied | None:
    """Bring the store of a data folder up to date; None if it names no store, or nothing is published.

    The caller holds the lock of the folder. `replace` overwrites what another history has left in the store.
    Raises what `Objects` raises, Busy and LeaseLost; `store.json` then says so.
    """
    if (found := to_copy(folder)) is None:
        return None
    store, published = found
    record = StoreRecord.read(folder.path, store)
    try:
        objects = opened(store)
        files = public_files(folder.public, published)
        with leased(objects, owner_of(folder.path), seconds=seconds) as lease:
            done = Copy(objects, lease, files, published.timestamp.signed.version, progress).run(
                replace=replace, damaged=record.damaged
            )
    except ContactSyncError as error:
        record.failing(str(error)).write(folder.path)
        raise
    data = tuple(one.path.name for one in files.fixed if one.name.startswith(f"{DATA}/"))
    StoreRecord(store, done.timestamp, now_text(), data).write(folder.path)
    return done


class Copy:
    """One copy, under a lease."""

    def __init__(
        self, objects: Objects, lease: Lease, files: PublicFiles, version: int, progress: Progress
    ) -> None:
        """`version` is that of timestamp.json in the folder."""
        self._objects = objects
        self._lease = lease
        self._files = files
        self._version = version
        self._progress = progress

    def run(self, *, replace: bool, damaged: Collection[str] = ()) -> Copied:
        """Do it. See `copy_published`; `damaged` are names that hold something else than here."""
        begins_anew = self._check_history(replace=replace)

        def goes_again(name: str) -> bool:
            return name in damaged or begins_anew(name)

        there = {one.name: one.size for one in self._objects.entries(BELOW)}
        missing = [
            one
            for one in self._files.fixed
            if there.get(one.name) != one.path.stat().st_size or goes_again(one.name)
        ]
        octets = self._put_all(missing, there)
        for root in self._files.roots:
            if root.name not in there or goes_again(root.name):
                self._put_small(root, replaces=root.name in there)
                missing.append(root)
        for one in self._files.switches:
            self._lease.check()
            self._switch(one)
        gone = sorted(there.keys() - self._files.names())
        for at in range(0, len(gone), _DELETED_AT_ONCE):
            self._lease.check()  # what another publisher needs may be among them
            self._objects.delete(gone[at : at + _DELETED_AT_ONCE])
        return Copied(len(missing), octets, len(gone), self._version, self._lease.generation)

    def _check_history(self, *, replace: bool) -> Callable[[str], bool]:
        """Raise OurError if the store has another history. Which names hold something else than here.

        A name with a hash never does. One with a version or a place may, in another history or another log.
        """
        doubted: tuple[str, ...] = ()
        for one in (self._files.roots[0], self._files.switches[-1]):
            found, here = self._objects.read(one.name, SMALL_LIMIT), one.path.read_bytes()
            if found is None or found[0] == here:
                continue
            # A copy that ended early may have left a version that was replaced by a restore since.
            doubted = (f"{METADATA}/",)
            why = _fork(one.name, found[0], here, self._files)
            if why and not replace:
                raise OurError(f"the store {why}", hint=_BEHIND)
        if replace or self._log_begins_anew():
            doubted = (f"{METADATA}/", f"{BELOW}/log/")
        return lambda name: name.startswith(doubted)

    def _log_begins_anew(self) -> bool:
        """Whether the log in the store is another one than here (`server log restart`)."""
        here = next((one.path for one in self._files.switches if one.name == CHECKPOINT), None)
        found = self._objects.read(CHECKPOINT, SMALL_LIMIT)
        if here is None or found is None:
            return False
        return found[0].partition(b"\n")[0] != here.read_bytes().partition(b"\n")[0]

    def _put_all(self, files: Sequence[PublicFile], there: dict[str, int]) -> int:
        """Put files whose order does not matter; how many octets they have."""
        total, done, octets = len(files), 0, 0
        self._progress("copying to the store", 0, total)
        small = [one for one in files if one.path.stat().st_size <= PART]
        with ThreadPoolExecutor(_PUTS_AT_ONCE, "copying") as threads:
            puts = [threads.submit(self._put_small, one, replaces=one.name in there) for one in small]
            try:
                for put in puts:
                    octets += put.result()
                    done += 1
                    self._progress("copying to the store", done, total)
            finally:
                for put in puts:
                    put.cancel()
        for one in files:
            if (length := one.path.stat().st_size) > PART:
                _check_hash(one, hash_of(one.path))
                # Only their name decides what they hold: no matter what it is put over, or by whom.
                self._objects.upload(one.name, one.path, one.headers)
                octets, done = octets + length, done + 1
                self._progress("copying to the store", done, total)
        return octets

    def _put_small(self, file: PublicFile, *, replaces: bool) -> int:
        octets = file.path.read_bytes()
        _check_hash(file, hashlib.sha256(octets).hexdigest())
        found = self._objects.read(file.name, max(SMALL_LIMIT, len(octets))) if replaces else None
        if found is not None:
            if found[0] != octets:
                self._objects.replace(file.name, octets, found[1], file.headers)
        else:
            try:
                self._objects.create(file.name, octets, file.headers)
            except Conflict:
                raise OurError(f"the store has another file under {file.name}", hint=_BEHIND) from None
        return len(octets)

    def _switch(self, file: PublicFile) -> None:
        """Put what changes over the version that is there, unless it is the same."""
        octets = file.path.read_bytes()
        found = self._objects.read(file.name, SMALL_LIMIT)
        try:
            if found is None:
                self._objects.create(file.name, octets, file.headers)
            elif found[0] != octets:
                self._objects.replace(file.name, octets, found[1], file.headers)
        except Conflict:
            raise OurError(
                f"{file.name} in the store was changed while it was to be switched",
                hint="let one machine publish into a store; then `server store copy`",
            ) from None


def _fork(name: str, there: bytes, here: bytes, files: PublicFiles) -> str:
    """What is wrong with a file in the store that is not as here; empty if the folder goes on from it."""
    if name != TIMESTAMP:
        return "belongs to another server"
    version, snapshot = _leads_to(there)
    mine, _ = _leads_to(here)
    if version > mine:
        return f"has a newer publication (timestamp version {version}; here it is {mine})"
    if version == mine:
        return f"has another publication of the same version ({version})"
    # What it leads to was published here, too, if it is still kept.
    kept = {one.name: one.path for one in files.fixed}.get(f"{METADATA}/{snapshot[0]}.snapshot.json")
    if kept is not None and hashlib.sha256(kept.read_bytes()).hexdigest() != snapshot[1]:
        return f"has another history (its timestamp version {version} was not published here)"
    return ""


def _leads_to(timestamp: bytes) -> tuple[int, tuple[int, str]]:
    """The version of timestamp.json, and the version and hash of the snapshot that it names."""
    try:
        signed: Any = json.loads(timestamp)["signed"]
        meta = signed["meta"]["snapshot.json"]
        return int(signed["version"]), (int(meta["version"]), str(meta["hashes"]["sha256"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise OurError("timestamp.json in the store is damaged", hint=_BEHIND) from error


def _check_hash(file: PublicFile, sha256: str) -> None:
    if file.sha256 and file.sha256 != sha256:
        raise OurError(
            f"{file.path} is damaged: it was not put into the store",
            hint="run `contactsync audit publication`, and restore the file or `server publish`",
        )


def hash_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
