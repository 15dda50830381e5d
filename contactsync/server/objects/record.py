"""What the data folder knows of its store: `store.json`.

It decides nothing about what is put: the store itself is listed for that. It says to `status` how far the
store is, and to `serve` which data files clients may be sent to.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from contactsync.foundation import durable
from contactsync.foundation.errors import OurError

FORMAT: Final = "contactsync-store-1"
NAME: Final = "store.json"


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """The store, the version of timestamp.json that it has (0: none known), since when, and its data files.

    `failed` is when it was last tried in vain (empty: it was not, since), and `why` what was said.
    """

    store: str
    version: int = 0
    at: str = ""
    data: tuple[str, ...] = ()
    failed: str = ""
    why: str = ""

    @classmethod
    def read(cls, folder: Path, store: str) -> Self:
        """What is known of this store; of another one nothing. Raises OurError if the file is damaged."""
        path = folder / NAME
        try:
            value: dict[str, Any] = json.loads(path.read_bytes())
            if value.pop("format") != FORMAT:
                raise OurError(f"a newer contactsync wrote {path}", hint="update contactsync")
            found = cls(**value)
            found = replace(found, version=int(found.version), data=tuple(map(str, found.data)))
        except FileNotFoundError:
            return cls(store)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise OurError(
                f"{path} is damaged", hint="delete it: `server store copy` makes it anew"
            ) from error
        return found if found.store == store else cls(store)

    def write(self, folder: Path) -> None:
        """Keep it. Raises OSError."""
        durable.write(folder / NAME, json.dumps({"format": FORMAT, **asdict(self)}).encode())

    def failing(self, why: str) -> Self:
        """The same, after a vain attempt."""
        return replace(self, failed=now_text(), why=why)


def now_text() -> str:
    """The time in UTC, for people."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
