"""From one version of the databases to the next.

registry.sqlite
:   1. Members as integers, in one pair of tables; accounts beside them.
:   2. A pair of tables for each kind of identifier; partitions by name; accounts elsewhere.

accounts.sqlite
:   1. Accounts.

Accounts move in three steps, each of which a killed process may be the last to take. First registry.sqlite
becomes version 2, with its accounts set aside as `accounts_moving`: from here on no older program changes
them. Then accounts.sqlite appears, with all of them, unless there is one. Then what was set aside is dropped.
An accounts.sqlite that is there always counts, so that no backup of a registry brings back who was revoked.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from contactsync.foundation.databases import SqlStep

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


REGISTRY_STEPS: Final[tuple[SqlStep, ...]] = (_kinds,)
ACCOUNTS_STEPS: Final[tuple[SqlStep, ...]] = ()
