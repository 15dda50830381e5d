"""Answers to requests that may be sent again, beside the members that they change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contactsync.server.storage.answers import KeptAnswer
from contactsync.server.storage.postgres.database import PostgresSession


class PostgresAnswers:
    """An `AnswerStore`."""

    def __init__(self, database: PostgresSession) -> None:
        self._database = database

    def find(self, names: Sequence[bytes]) -> dict[bytes, KeptAnswer]:
        """See `AnswerStore.find`."""
        query = "SELECT name, request, answer, at FROM answers WHERE name = ANY (%s::bytea[])"
        return {name: KeptAnswer(*kept) for name, *kept in self._database.all(query, list(names))}

    def keep(self, answers: Mapping[bytes, KeptAnswer]) -> None:
        """See `AnswerStore.keep`."""
        if answers:
            kept = [(one.request, one.answer, one.at) for one in answers.values()]
            self._database.change(
                "INSERT INTO answers"
                " SELECT * FROM unnest(%s::bytea[], %s::bytea[], %s::bytea[], %s::bigint[])"
                " ON CONFLICT (name) DO UPDATE"
                " SET request = excluded.request, answer = excluded.answer, at = excluded.at",
                *(list(answers), *(list(column) for column in zip(*kept, strict=True))),
            )

    def drop(self, name: bytes) -> None:
        """See `AnswerStore.drop`."""
        self._database.change("DELETE FROM answers WHERE name = %s", name)

    def sweep(self, before: int) -> None:
        """See `AnswerStore.sweep`."""
        self._database.change("DELETE FROM answers WHERE at < %s", before)
