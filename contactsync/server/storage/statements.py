"""Statements that are the same for all databases, but for the mark that stands for a value."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol


class StoreDatabase(Protocol):
    """A connection of one thread. Raises OurError."""

    def all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows of a query."""

    def one(self, query: str, *values: object) -> Any:
        """The single value of a query."""

    def change(self, statement: str, *values: object) -> int:
        """Run one statement. Returns how many rows it changed."""

    def transaction(self) -> AbstractContextManager[None]:
        """One transaction that writes, or a part of the one that is open."""

    def close(self) -> None:
        """Release the connection."""


class Statements:
    """Statements are written with `?` for a value; a store whose database has another mark names it."""

    MARK: ClassVar = "?"

    def _sql(self, statement: str) -> str:
        """A statement with the database's own mark."""
        return statement if self.MARK == "?" else statement.replace("?", self.MARK)
