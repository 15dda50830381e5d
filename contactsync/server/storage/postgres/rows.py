"""Many rows at once between PostgreSQL and arrays, and what statements call kinds and partitions."""

from __future__ import annotations

from typing import Any

import numpy as np

from contactsync.identifiers.kinds import KINDS
from contactsync.server.storage.ports import Members


def type_of(kind: str) -> str:
    """The type of a kind's keys."""
    return "bigint" if KINDS[kind].key_type is int else "bytea"


def child_of(table: str, kind: str, partition: str) -> str:
    """The name of a partition's own table, as it is written in a statement."""
    return f'"{table}_{kind}_{partition}"'


def gathered(kind: str) -> str:
    """All keys of a page as one value: `members_of` reads it."""
    return "string_agg(int8send(key), ''::bytea)" if type_of(kind) == "bigint" else "array_agg(key)"


def members_of(kind: str, page: Any) -> Members:
    """Members from what `gathered` gives in binary."""
    if page is None:
        return Members.from_keys(kind, [])
    if type_of(kind) == "bigint":
        return Members(kind, np.frombuffer(page, ">i8").astype(np.uint64))
    return Members.from_keys(kind, page)


def binary_rows(columns: list[Any]) -> bytes:
    """Rows of columns in COPY's binary format.

    A column is integers[n], octets uint8[n, k], or for all rows the same: (integer, width), or octets.
    """
    count = next(len(column) for column in columns if isinstance(column, np.ndarray))
    fields: list[tuple[str, Any]] = [("fields", ">i2")]
    for i, column in enumerate(columns):
        fields.append((f"length{i:d}", ">i4"))
        if isinstance(column, np.ndarray) and column.ndim == 2:  # octets
            fields.append((f"{i:d}", np.dtype((np.uint8, column.shape[1:]))))
        elif isinstance(column, bytes):
            fields.append((f"{i:d}", f"S{len(column):d}"))
        else:
            fields.append((f"{i:d}", column[1] if isinstance(column, tuple) else ">i8"))
    rows = np.empty(count, np.dtype(fields))
    rows["fields"] = len(columns)
    for i, column in enumerate(columns):
        rows[f"{i:d}"] = column[0] if isinstance(column, tuple) else column
        rows[f"length{i:d}"] = rows.dtype[f"{i:d}"].itemsize
    return rows.tobytes()
