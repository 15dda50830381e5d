"""Answers to requests that may be sent again, in a table of the register that they change.

So a change and its answer are on the disk together or not at all. The table is made when the register is
opened: one without it was written by an earlier version.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from contactsync.server.storage.answers import KeptAnswer
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

    def find(self, names: Sequence[bytes]) -> dict[bytes, KeptAnswer]:
        """See `AnswerStore.find`."""
        marks = ", ".join("?" * len(names))
        query = f"SELECT name, request, answer, at FROM answers WHERE name IN ({marks})"  # noqa: S608
        return {name: KeptAnswer(*row) for name, *row in self._database.all(query, *names)}

    def keep(self, answers: Mapping[bytes, KeptAnswer]) -> None:
        """See `AnswerStore.keep`."""
        with self._database.transaction():
            self._database.connection.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)",
                ((name, kept.request, kept.answer, kept.at) for name, kept in sorted(answers.items())),
            )

    def drop(self, name: bytes) -> None:
        """See `AnswerStore.drop`."""
        self._database.change("DELETE FROM answers WHERE name = ?", name)

    def sweep(self, before: int) -> None:
        """See `AnswerStore.sweep`."""
        self._database.change("DELETE FROM answers WHERE at < ?", before)
