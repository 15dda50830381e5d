"""Numbered migrations: what an earlier version wrote is brought to the version that this program knows.

Each kind of storage has a list of steps. Step i (from 0) leads from version i + 1 to version i + 2; the
number of steps + 1 is the version that this program writes. A storage of a later version is refused with a
way out; one of an earlier version is brought up step by step, each step whole or not at all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from contactsync.foundation.errors import OurError

SqlStep = Callable[[sqlite3.Connection], None]
"""Runs inside a transaction that the caller opened, and never ends it."""

RecordStep = Callable[[dict[str, Any]], dict[str, Any]]
"""A record (of JSON or TOML) of one version in, the same of the next version out."""


def newest(steps: Sequence[object]) -> int:
    """The version that these steps lead to."""
    return len(steps) + 1


def check_version(what: str, version: object, steps: Sequence[object]) -> int:
    """The version, if this program can bring it up or knows it. Raises OurError."""
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise OurError(f"{what} states no version that exists", hint="restore it from a backup")
    if version > newest(steps):
        raise OurError(
            f"{what} has version {version}; this contactsync knows versions up to {newest(steps)}",
            hint="a newer contactsync wrote it: update contactsync",
        )
    return version


def migrate_sqlite(connection: sqlite3.Connection, what: str, steps: Sequence[SqlStep]) -> int:
    """Bring a database to the newest version, counted in `PRAGMA user_version`; returns what it was.

    The connection must be in autocommit mode. Two processes may do this at once: the second finds it done.
    Raises OurError (newer, or none of ours), sqlite3.Error.
    """

    def version() -> int:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])

    found = check_version(what, version(), steps)
    for at in range(found, newest(steps)):
        connection.execute("BEGIN EXCLUSIVE")
        try:
            if version() == at:  # else another process was faster
                steps[at - 1](connection)
                connection.execute(f"PRAGMA user_version = {at + 1:d}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # a full disk has ended it
                connection.execute("ROLLBACK")
            raise
    return found


def migrate_record(
    record: dict[str, Any], what: str, steps: Sequence[RecordStep], *, key: str = "version"
) -> dict[str, Any]:
    """A record brought to the newest version, which stands under `key`. Raises OurError."""
    found = check_version(what, record.get(key), steps)
    for at in range(found, newest(steps)):
        record = {**steps[at - 1](record), key: at + 1}
    return record
