"""Numbered migrations: bring what an earlier version wrote to the version of this program.

Each kind of storage has a list of steps. Step i (from 0) leads from version i + 1 to version i + 2. The
number of steps + 1 is the version that this program writes. Storage of a later version is refused with
advice. Storage of an earlier version is migrated step by step; each step is done completely or not at all.

| storage | its version is in | steps run |
|---|---|---|
| a database | `PRAGMA user_version` | in a transaction each (`foundation.databases`) |
| a folder | a JSON record in it | under its lock, repeatable; the record comes last (`migrate_folder`) |
| a file that its owner edits | a key in it | in memory at each reading; never written (`migrate_record`) |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from contactsync.foundation import durable
from contactsync.foundation.errors import OurError

RecordStep = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes a record (from JSON or TOML) of one version, and returns that of the next version."""

FolderStep = Callable[[Path, dict[str, Any]], dict[str, Any]]
"""Changes a folder and returns its record for the next version. If it is killed in the middle, it runs again,
so it must accept what it left behind. What it writes must be durable when it returns."""


def newest(steps: Sequence[object]) -> int:
    """The version that these steps lead to."""
    return len(steps) + 1


def check_version(what: str, version: object, steps: Sequence[object]) -> int:
    """The version, if this program knows it or can migrate it. Raises OurError."""
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise OurError(f"{what} has no valid version", hint="restore it from a backup")
    if version > newest(steps):
        raise OurError(
            f"{what} has version {version}; this contactsync knows versions up to {newest(steps)}",
            hint="a newer contactsync wrote it: update contactsync",
        )
    return version


def migrate_folder(
    folder: Path,
    name: str,
    what: str,
    steps: Sequence[FolderStep],
    lock: Callable[[], AbstractContextManager[None]],
) -> dict[str, Any]:
    """Bring a folder to the newest version, and return its JSON record `name`.

    If it has that version already, nothing is locked or written. Otherwise the record is replaced durably
    after each step: a folder has a version as soon as its record says so. Raises OurError (newer, or no
    version), ValueError (not a JSON object), OSError, and what `lock` raises.
    """

    def read() -> tuple[dict[str, Any], int]:
        record = json.loads((folder / name).read_bytes())
        if not isinstance(record, dict):
            raise ValueError(f"{name} is not a JSON object")  # noqa: TRY004 - like any other malformed JSON
        return record, check_version(what, record.get("version"), steps)

    record, found = read()
    if found == newest(steps):
        return record
    with lock():
        record, found = read()  # another process may have been faster
        for at in range(found, newest(steps)):
            record = {**steps[at - 1](folder, record), "version": at + 1}
            durable.write(folder / name, json.dumps(record, indent=1).encode())
    return record


def migrate_record(
    record: dict[str, Any], what: str, steps: Sequence[RecordStep], *, key: str = "version"
) -> dict[str, Any]:
    """The record, migrated to the newest version, which is stored under `key`. Raises OurError."""
    found = check_version(what, record.get(key), steps)
    for at in range(found, newest(steps)):
        record = {**steps[at - 1](record), key: at + 1}
    return record
