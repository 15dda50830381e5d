"""What the data folder knows of its store: `store.json`.

What is put, the store itself is listed for; but a list does not show an object that holds something else and
has the right length. What a check has found to be so is kept here until a copy has put it again. Beside that
it says to `status` how far the store is, and to `serve` which data files clients may be sent to.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from contactsync.foundation import durable
from contactsync.foundation.errors import OurError
from contactsync.server.objects.files import to_copy
from contactsync.server.settings import DataFolder

FORMAT: Final = "contactsync-store-1"
NAME: Final = "store.json"


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """The store, the version of timestamp.json that it has (0: none known), since when, and its data files.

    `failed` is when it was last tried in vain (empty: it was not, since), and `why` what was said. `damaged`
    are the names of objects that hold something else than here, by the last check.
    """

    store: str
    version: int = 0
    at: str = ""
    data: tuple[str, ...] = ()
    failed: str = ""
    why: str = ""
    damaged: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path, store: str) -> Self:
        """What is known of this store; of another one nothing. Raises OurError if the file is damaged."""
        path = folder / NAME
        try:
            value: dict[str, Any] = json.loads(path.read_bytes())
            if value.pop("format") != FORMAT:
                raise OurError(f"a newer contactsync wrote {path}", hint="update contactsync")
            found = cls(**value)
            data, damaged = tuple(map(str, found.data)), tuple(map(str, found.damaged))
            found = replace(found, version=int(found.version), data=data, damaged=damaged)
        except FileNotFoundError:
            return cls(store)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise OurError(
                f"{path} is damaged", hint="delete it: `server store copy` makes it anew"
            ) from error
        return found if found.store == store else cls(store)

    def write(self, folder: Path) -> None:
        """Keep it. Raises OSError."""
        value = {"format": FORMAT, **asdict(self)}
        if not self.damaged:  # earlier versions do not know it
            del value["damaged"]
        durable.write(folder / NAME, json.dumps(value).encode())

    def checked(self, missing: Collection[str], different: Collection[str]) -> Self:
        """The same, after a check that found these faults: nobody is sent there for such a data file."""
        faulty = {name.rpartition("/")[2] for name in (*missing, *different)}
        data = tuple(sha256 for sha256 in self.data if sha256 not in faulty)
        return replace(self, data=data, damaged=tuple(different))

    def failing(self, why: str) -> Self:
        """The same, after a vain attempt."""
        return replace(self, failed=now_text(), why=why)


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How far a store is: the version of timestamp.json that it has (0: none known), and that of the folder.

    `at` is when it was last brought up, `behind_since` when the folder went on from there (None: it has not),
    `why` what the last attempt failed by.
    """

    store: str
    version: int
    published: int
    at: str
    behind_since: datetime | None
    why: str

    @property
    def is_behind(self) -> bool:
        """Whether something is published here that it does not have."""
        return self.version != self.published


def store_status(folder: DataFolder) -> StoreStatus | None:
    """How far the store of a data folder is; None if it names none, or nothing is published."""
    if (found := to_copy(folder)) is None:
        return None
    store, published = found
    record, version = StoreRecord.read(folder.path, store), published.timestamp.signed.version
    since = None
    if version != record.version:
        since = datetime.fromtimestamp((folder.public / "metadata" / "timestamp.json").stat().st_mtime, UTC)
    return StoreStatus(store, record.version, version, record.at, since, record.why)


def now_text() -> str:
    """The time in UTC, for people."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
