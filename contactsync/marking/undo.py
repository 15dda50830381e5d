"""The list of cards that were marked: a JSON file (0600) that `contactsync unmark` reads.

It names files, paths on servers and UIDs, but no contact and no number. Still, it tells who matched.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from contactsync.foundation import durable, migrations
from contactsync.foundation.errors import BadInput

LIST_STEPS: Final[tuple[migrations.RecordStep, ...]] = ()
"""Lead a list that an earlier version wrote to the one of this version."""

_KEY: Final = "format"
_LIMIT: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class MarkedCard:
    """A card that was marked. `file`, or `origin`, `user` and `path`, say where; `after` is its SHA-256."""

    uid: str = ""
    after: str = ""
    file: str = ""
    origin: str = ""
    user: str = ""
    path: str = ""

    @property
    def place(self) -> str:
        """Where it is, for a person."""
        return self.file or self.origin + self.path


@dataclass(frozen=True, slots=True)
class UndoList:
    """Which category was added to which cards."""

    category: str
    cards: tuple[MarkedCard, ...]

    def write(self, path: Path) -> None:
        """Write it, durably."""
        value = {
            _KEY: migrations.newest(LIST_STEPS),
            "category": self.category,
            "cards": [{key: text for key, text in asdict(card).items() if text} for card in self.cards],
        }
        durable.write(path, json.dumps(value, indent=1, ensure_ascii=False).encode(), erase=True)

    @classmethod
    def read(cls, path: Path) -> UndoList:
        """Read it. Raises BadInput, OurError (of a newer version).

        It says to which servers a password may go, so nobody else may have written it.
        """
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                    raise BadInput(
                        f"others may have changed {path}", hint=f"look at it, then run: chmod 600 {path}"
                    )
                value: dict[str, Any] = json.loads(file.read(_LIMIT))
            value = migrations.migrate_record(value, f"the undo list {path}", LIST_STEPS, key=_KEY)
            cards = tuple(MarkedCard(**card) for card in value["cards"])
            if not all(isinstance(text, str) for card in cards for text in asdict(card).values()):
                raise TypeError("texts are expected")  # noqa: TRY301 - like any other malformed JSON
            found = cls(str(value["category"]), cards)
            texts = (found.category, *(text for card in cards for text in asdict(card).values()))
            "".join(texts).encode()  # half a surrogate pair is in no card, and could not be written again
            return found  # noqa: TRY300 - of what was read
        except OSError as error:
            raise BadInput(
                f"cannot read {path}: {error.strerror}", hint="give the file that sync named"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadInput(f"{path} is not an undo list", hint="give the file that sync named") from error


def new_path(folder: Path) -> Path:
    """A name for a new list in a folder, which is made."""
    durable.private_folder(folder)
    now = datetime.now(UTC)
    return folder / f"marked-{now:%Y%m%dT%H%M%S}-{now.microsecond:06d}.json"


def digest_of(card: bytes) -> str:
    """How a list recognises a card."""
    return hashlib.sha256(card).hexdigest()
