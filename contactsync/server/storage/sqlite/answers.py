"""Answers to requests that may be sent again, in a table of the register that they change.

So a change and its answer are on the disk together or not at all. The table is made when the register is
opened: one without it was written by an earlier version.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from contactsync.server.storage.ports import KeptAnswer
from contactsync.server.storage.sqlite.database import Database

ANSWERS_TABLE: Final = "answers"

_TABLE: Final = (
    """
    CREATE TABLE IF NOT EXISTS answers (
        name BLOB PRIMARY KEY,
        request BLOB NOT NULL,
        answer BLOB,
        at INTEGER NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS answers_at ON answers (at)",
)


def create_answers(connection: sqlite3.Connection) -> None:
    """Make the table, if it is not there, in the transaction of the caller."""
    for statement in _TABLE:
        connection.execute(statement)


class SqliteAnswers:
    """An `AnswerStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, name: bytes) -> KeptAnswer | None:
        """See `AnswerStore.find`."""
        rows = self._database.all("SELECT request, answer, at FROM answers WHERE name = ?", name)
        return KeptAnswer(*rows[0]) if rows else None

    def keep(self, name: bytes, kept: KeptAnswer) -> None:
        """See `AnswerStore.keep`."""
        row = (name, kept.request, kept.answer, kept.at)
        self._database.change("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", *row)

    def drop(self, name: bytes) -> None:
        """See `AnswerStore.drop`."""
        self._database.change("DELETE FROM answers WHERE name = ?", name)

    def sweep(self, before: int) -> None:
        """See `AnswerStore.sweep`."""
        self._database.change("DELETE FROM answers WHERE at < ?", before)
