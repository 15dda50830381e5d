"""The tables of a client's cache, and how one of an earlier version is brought up."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from contactsync.foundation import databases

_TOKENS: Final = """
CREATE TABLE tokens (
    audience TEXT NOT NULL, epoch INTEGER NOT NULL, identifier BLOB NOT NULL,
    token BLOB NOT NULL CHECK (length(token) IN (10, 42)), -- and the label key, but for rows of version 4
    member INTEGER,   -- 0, 1, or NULL when it was never matched in this epoch
    edition INTEGER,  -- of the partition for which `member` holds
    label TEXT,       -- of a member who has one
    labelled INTEGER, -- the edition of the labels in which that was looked at; NULL: in none
    PRIMARY KEY (audience, epoch, identifier)
) WITHOUT ROWID;
"""
SCHEMA: Final = f"""{_TOKENS}CREATE TABLE findings (
    audience TEXT NOT NULL, identifier BLOB NOT NULL, member INTEGER NOT NULL,
    PRIMARY KEY (audience, identifier)
) WITHOUT ROWID;
CREATE TABLE holdings (
    audience TEXT NOT NULL, epoch INTEGER NOT NULL, code TEXT NOT NULL, kind TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (audience, epoch, code, kind)
) WITHOUT ROWID;
CREATE TABLE asked ( -- buckets that were asked for, until what came of it is recorded
    audience TEXT NOT NULL, epoch INTEGER NOT NULL, code TEXT NOT NULL,
    slot_bits INTEGER NOT NULL, buckets TEXT NOT NULL,
    PRIMARY KEY (audience, epoch, code)
) WITHOUT ROWID;
"""
_ROUNDS = """
CREATE TABLE rounds ( -- batches of a round that are to be sent, or were sent and not answered
    audience TEXT NOT NULL, epoch INTEGER NOT NULL, name TEXT NOT NULL,
    size INTEGER NOT NULL, identifiers TEXT NOT NULL,
    PRIMARY KEY (audience, epoch, name)
) WITHOUT ROWID;
"""


_EPOCHS = """
CREATE TABLE epochs ( -- the key of an epoch's tokens; where it was announced only, what the last sync used
    audience TEXT NOT NULL, epoch INTEGER NOT NULL, public_key TEXT NOT NULL,
    announced TEXT, -- by partition: edition, SHA-256 of the base; NULL if the epoch is in force
    PRIMARY KEY (audience, epoch)
) WITHOUT ROWID;
"""


_SEEN = """
CREATE TABLE seen ( -- the last month (12 * year + month) in which a book that was synced had an identifier
    audience TEXT NOT NULL, identifier BLOB NOT NULL, month INTEGER NOT NULL,
    PRIMARY KEY (audience, identifier)
) WITHOUT ROWID;
"""


def _to_2(db: sqlite3.Connection) -> None:
    """Rounds are remembered; what chooses decoys is in the ledger now."""
    db.execute("DROP TABLE secret")
    databases.run_script(db, _ROUNDS)


def _to_3(db: sqlite3.Connection) -> None:
    """Epochs may overlap: it is stored which key tokens belong to."""
    databases.run_script(db, _EPOCHS)


def _to_4(db: sqlite3.Connection) -> None:
    """It is stored when an identifier was last in a book. Of those that are there, the next sync says so."""
    databases.run_script(db, _SEEN)


def _to_5(db: sqlite3.Connection) -> None:
    """Label keys are kept, and labels of members."""
    db.execute("ALTER TABLE tokens RENAME TO earlier")
    databases.run_script(db, _TOKENS)
    db.execute(
        "INSERT INTO tokens"
        " SELECT audience, epoch, identifier, token, member, edition, NULL, NULL FROM earlier"
    )
    db.execute("DROP TABLE earlier")


CACHE_STEPS: Final[Sequence[databases.SqlStep]] = (_to_2, _to_3, _to_4, _to_5)
"""Lead a cache of an earlier version to the one above."""


def create(db: sqlite3.Connection) -> None:
    """Make the tables of the newest version."""
    databases.run_script(db, SCHEMA + _ROUNDS + _EPOCHS + _SEEN)
