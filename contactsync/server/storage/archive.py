"""Both stores as one file, to move them from one kind of storage to another.

```
{"format": "contactsync-stores-2", "kinds": ["tel"]}
{"table": "members_tel", "rows": [[...], ...]}     as many as it takes, tables in the order of `tables`
{"sha256": "..."}                                  of all lines before
```

Octets are written in hexadecimal digits. The file has telephone numbers and hashes of credentials: 0600.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput
from contactsync.identifiers.kinds import KINDS

STORES: Final = "contactsync-stores-2"
STORES_1: Final = "contactsync-stores-1"
"""Before labels: no table of them, nor of pairs."""
PAGE: Final = 8192
"""Rows of a line."""

Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A table of a store. `octets` are the columns that hold bytes; `kind` is set if it is of one kind."""

    store: str
    name: str
    columns: tuple[str, ...]
    octets: frozenset[str] = frozenset()
    kind: str = ""


def tables() -> list[StoredTable]:
    """What is moved. Traces of what was removed are not: a new store has none."""
    found = [
        _table("members", "changes", "serial"),
        _table("members", "touched", "partition serial"),
        _table("members", "editions", "audience epoch edition serial at"),
        _table("members", "published", "audience epoch edition manifest", "manifest"),
        _table("members", "departures", "partition serial"),
        _table("members", "token_keys", "audience epoch public_key", "public_key"),
        _table("members", "answers", "name request answer at", "name request answer"),
        _table("members", "pairs", "tel mail", "mail"),
    ]
    for kind in KINDS.values():
        key = "" if kind.key_type is int else " key"
        found += [
            _table("members", f"members_{kind.name}", "key audiences added verified since", key, kind.name),
            _table("members", f"tokens_{kind.name}", "audience epoch key token", f"token{key}", kind.name),
            _table(
                *("members", f"consents_{kind.name}", "key serial audience at granted source made_by", key),
                kind.name,
            ),
            _table("members", f"labels_{kind.name}", "key label", f"label{key}", kind.name),
        ]
    found += [
        _table(
            "accounts",
            "accounts",
            "id name audience added class burst per_day last_used level at outcome batches points_today"
            " points_total refused epoch epoch_points granted granted_at granted_before full_batches",
        ),
        _table("accounts", "credentials", "hash account until", "hash"),
        _table("accounts", "batches", "account slot batch at", "batch"),
        _table("accounts", "minutes", "minute points new_points"),
        _table("accounts", "epochs", "audience epoch points since"),
        _table("accounts", "state", "revision secret", "secret"),
        LAST_ACCOUNT,
    ]
    return found


def _table(store: str, name: str, columns: str, octets: str = "", kind: str = "") -> StoredTable:
    return StoredTable(store, name, tuple(columns.split()), frozenset(octets.split()), kind)


LAST_ACCOUNT: Final = _table("accounts", "last_account", "id")
"""Not a table: the identity that was given last, even if that account is gone. It is never given again."""

Pages = Iterable[tuple[StoredTable, Sequence[Row]]]


def write_archive(path: Path, pages: Pages) -> dict[str, int]:
    """Write what a store reads, durably; the number of rows by table. BadInput: there is such a file."""
    if path.exists():
        raise BadInput(f"{path} already exists", hint="give another name")
    counts = {table.name: 0 for table in tables()}
    digest = hashlib.sha256()
    try:
        with durable.replacing(path) as file:

            def put(record: dict[str, Any]) -> None:
                line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
                digest.update(line)
                file.write(line)

            put({"format": STORES, "kinds": sorted(KINDS)})
            for table, rows in pages:
                counts[table.name] += len(rows)
                put({"table": table.name, "rows": _texts(table, rows)})
            file.write(json.dumps({"sha256": digest.hexdigest()}).encode() + b"\n")
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}", hint="check the folder") from error
    return counts


def read_archive(path: Path) -> Iterator[tuple[StoredTable, list[list[Any]]]]:
    """The pages of an archive. Commit when it ends: BadInput comes last if it is damaged, or not whole."""
    by_name = {table.name: table for table in tables()}
    digest, ended = hashlib.sha256(), False
    try:
        with path.open("rb") as file:
            head = json.loads(file.readline() or b"{}")
            if not isinstance(head, dict) or head.get("format") not in {STORES, STORES_1}:
                raise BadInput(
                    f"{path} is not an archive of stores that this contactsync knows",
                    hint="`server export` makes one; if it is of a newer contactsync, update this one",
                )
            file.seek(0)
            for number, line in enumerate(file):
                record = json.loads(line)
                if "sha256" in record:
                    ended = record["sha256"] == digest.hexdigest()
                    break
                digest.update(line)
                if number:
                    table = by_name[record["table"]]
                    yield table, _values(table, record["rows"])
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", hint="check the path") from error
    except (ValueError, KeyError, TypeError, RecursionError):
        ended = False
    if not ended:
        raise BadInput(f"{path} is damaged, or not whole", hint="make it again with `server export`")


def _texts(table: StoredTable, rows: Sequence[Row]) -> Sequence[Row]:
    places = [i for i, name in enumerate(table.columns) if name in table.octets]
    if not places:
        return rows
    found = [list(row) for row in rows]
    for row in found:
        for i in places:
            row[i] = None if row[i] is None else bytes(row[i]).hex()
    return found


def _values(table: StoredTable, rows: list[list[Any]]) -> list[list[Any]]:
    places = [i for i, name in enumerate(table.columns) if name in table.octets]
    for row in rows:
        if len(row) != len(table.columns):
            raise ValueError(table.name)
        for i in places:
            row[i] = None if row[i] is None else bytes.fromhex(row[i])
    return rows
