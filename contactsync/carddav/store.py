"""The cards of an account on this machine: what was fetched is not fetched again.

```
STATE/books/HOST-HASH16/       one folder for each account, 0700
  lock                         held while its books are brought up to date
  HASH16/                      one for each address book
    book.json                  URL, sync-token, and which cards the server has that are not here yet
    00000001.cards             some cards: for each a line of JSON (path, ETag, octets), then the card
```

A cache: what is damaged is fetched again. Cards that are removed or replaced are overwritten (`durable.write`
with `erase`). Pack files are written before `book.json` names a newer token, so a run that is killed has
what it fetched, and the next one goes on.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contactsync.carddav.address import Address, key_of
from contactsync.foundation import durable, erasure, migrations
from contactsync.foundation.errors import OurError

BOOK_STEPS: Final[tuple[migrations.RecordStep, ...]] = ()
"""Lead the record of a book that an earlier version wrote to the one above."""

_RECORD: Final = "book.json"
_PACK: Final = ".cards"
_PACK_CARDS: Final = 200
_FEW: Final = 20
_PACK_OCTETS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Card:
    """A card as it came: its path on the server, its ETag, its octets."""

    path: str
    etag: str
    data: bytes


@contextmanager
def open_account(folder: Path, address: Address) -> Iterator[Path]:
    """Hold the folder of an account, below that of all, for one process. Raises OurError if it is held."""
    place = folder / address.folder_name
    durable.private_folder(place)
    with _locked(place, address.account):
        yield place


def forget_books(folder: Path) -> erasure.Erased:
    """Erase the cards of all accounts. Raises OurError if a process uses one of them."""
    erased = erasure.Erased()
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()):
        with _locked(place, place.name):
            erased.add(erasure.erase(place))
    erased.add(erasure.erase(folder))
    return erased


@contextmanager
def _locked(place: Path, name: str) -> Iterator[None]:
    """Hold the lock of an account. Raises OurError if another process does, or has just erased it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(place / "lock", flags, durable.PRIVATE_FILE)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_held = os.fstat(handle).st_nlink == 0
        except BlockingIOError:
            is_held = True
        if is_held:
            raise OurError(
                f"another contactsync process uses the copies of the address books of {name}",
                hint="wait until it ends, or use another --state",
            )
        yield
    finally:
        os.close(handle)


def forget_others(account: Path, urls: list[str]) -> None:
    """Erase the books of an account that the server no longer has. Raises OurError if one cannot be."""
    names = {_name(url) for url in urls}
    for path in account.iterdir():
        if path.is_dir() and path.name not in names:
            _erase(path)


class BookStore:
    """What is here of one address book. Every change is on the disk when the method returns.

    `wanted` maps the key of each card that is to be fetched to its path and the ETag that the server stated.
    """

    def __init__(self, account: Path, url: str) -> None:
        self._folder = account / _name(url)
        self._url = url
        self._token, self._whole = "", False
        self._listed: dict[str, tuple[str, str]] = {}
        self._cards: dict[str, Card] = {}
        self._packs: dict[int, dict[str, None]] = {}  # the keys in each pack, in order
        self._where: dict[str, int] = {}
        durable.private_folder(self._folder)
        durable.remove_abandoned(self._folder, erase=True)
        if not self._load():
            _erase(self._folder)
            durable.private_folder(self._folder)
            self._reset()

    @property
    def token(self) -> str:
        """The sync-token up to which changes are known; "" before the first."""
        return self._token

    @property
    def cards(self) -> Mapping[str, Card]:
        """The cards that are here, by key."""
        return self._cards

    @property
    def wanted(self) -> dict[str, tuple[str, str]]:
        """What is to be fetched."""
        return {
            key: (path, etag)
            for key, (path, etag) in self._listed.items()
            if key not in self._cards or not etag or tag_of(self._cards[key].etag) != tag_of(etag)
        }

    def begin_listing(self) -> None:
        """A listing of everything begins: what it does not list is gone."""
        self._token, self._whole, self._listed = "", True, {}
        self._save(set())

    def note(self, changed: Mapping[str, tuple[str, str]], gone: set[str], token: str) -> None:
        """A page of a listing: cards that the server has, or no longer has, and the token after it."""
        self._listed |= changed
        self._token = token
        for key in gone:
            self._listed.pop(key, None)
        self._save(gone)

    def end_listing(self) -> None:
        """The listing is complete. If it was one of everything, other cards are erased."""
        gone = set(self._cards) - set(self._listed) if self._whole else set()
        self._whole = False
        self._listed = self.wanted
        self._save(gone)

    @property
    def is_listing(self) -> bool:
        """Whether a listing of everything was begun and is not complete."""
        return self._whole

    def keep(self, cards: list[Card]) -> None:
        """Keep cards that were fetched."""
        fresh = {key_of(card.path): card for card in cards}
        last = max(self._packs, default=0)
        held = self._packs.get(last, {})
        octets = sum(len(self._cards[key].data) for key in held)
        # A few cards join the last pack, so that there are not many small ones; a batch becomes a pack.
        if not held or len(fresh) > _FEW or len(held) >= _PACK_CARDS or octets >= _PACK_OCTETS:
            last, held = last + 1, {}
        # The new ones first. A run that is killed between has both, and those of the last pack count.
        older = {key for key in fresh if self._where.get(key, last) != last}
        self._cards |= fresh
        self._packs[last] = held | dict.fromkeys(fresh)
        self._write(last)
        self._drop_from_packs(older)
        self._where |= dict.fromkeys(fresh, last)
        for key in fresh:
            self._listed.pop(key, None)

    def settle(self, gone: set[str]) -> None:
        """All that could be fetched is here; `gone` were removed meanwhile."""
        for key in gone:
            self._listed.pop(key, None)
        self._listed = self.wanted
        self._save(gone)

    def _drop_from_packs(self, keys: set[str]) -> None:
        """Erase cards from the packs that they are in."""
        touched = {self._where.pop(key) for key in keys}
        for number in sorted(touched):
            left = {key: None for key in self._packs[number] if key not in keys}
            if left:
                self._packs[number] = left
                self._write(number)
            else:
                del self._packs[number]
                _erase(self._path(number))

    def _write(self, number: int) -> None:
        parts = []
        for key in self._packs[number]:
            card = self._cards[key]
            head = {"path": card.path, "etag": card.etag, "octets": len(card.data)}
            parts.append(json.dumps(head).encode() + b"\n" + card.data + b"\n")
        durable.write(self._path(number), b"".join(parts), erase=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}{_PACK}"

    def _save(self, gone: set[str]) -> None:
        """Write the record, then erase cards that are gone. If this is cut short, the next start goes on."""
        gone = gone & set(self._cards)
        for key in gone:
            del self._cards[key]
        record = {
            "version": migrations.newest(BOOK_STEPS),
            "url": self._url,
            "token": self._token,
            "whole": self._whole,
            "listed": self._listed,
            "cards": len(self._cards),
            "gone": sorted(gone),
        }
        durable.write(self._folder / _RECORD, json.dumps(record).encode(), erase=True)
        self._drop_from_packs(gone)

    def _reset(self) -> None:
        self._token, self._whole = "", False
        self._listed.clear()
        self._cards.clear()
        self._packs.clear()
        self._where.clear()

    def _load(self) -> bool:
        """Read what is here. Whether it can be used. Raises OurError if a newer version wrote it."""
        try:
            record = json.loads((self._folder / _RECORD).read_bytes())
            record = migrations.migrate_record(record, f"the copy of {self._url}", BOOK_STEPS)
            self._token, self._whole = _text(record["token"]), record["whole"] is True
            for key, (path, etag) in record["listed"].items():
                self._listed[key] = (_text(path), _text(etag))
            for path in sorted(self._folder.glob(f"*{_PACK}")):
                self._load_pack(int(path.name.removesuffix(_PACK)), path.read_bytes())
            gone = set(map(_text, record["gone"])) & set(self._cards)
            url, count = _text(record["url"]), record["cards"]
        except FileNotFoundError:
            return False
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False
        for key in gone:
            del self._cards[key]
        self._drop_from_packs(gone)
        # Of what was being listed, some cards may be here that the record does not count yet.
        return url == self._url and (bool(self._listed) or count == len(self._cards))

    def _load_pack(self, number: int, data: bytes) -> None:
        at = 0
        self._packs[number] = {}
        while at < len(data):
            end = data.index(b"\n", at)
            head: dict[str, Any] = json.loads(data[at:end])
            octets = head["octets"]
            body = data[end + 1 : end + 1 + octets]
            if len(body) != octets or data[end + 1 + octets : end + 2 + octets] != b"\n":
                raise ValueError("a pack is cut")
            card = Card(_text(head["path"]), _text(head["etag"]), body)
            key = key_of(card.path)
            if key in self._where:  # a run was killed between writing this one and removing that one
                del self._packs[self._where[key]][key]
            self._cards[key], self._where[key] = card, number
            self._packs[number][key] = None
            at = end + 2 + octets


def _name(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _erase(path: Path) -> None:
    for one in erasure.erase(path).remains:
        raise OurError(
            f"a copy of contacts cannot be erased: {one.path}: {one.reason}",
            hint="fix that, and run it again",
        )


def tag_of(etag: str) -> str:
    """An ETag without what some servers add in one reply and leave out in another."""
    return etag.removeprefix("W/").strip('"')


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is expected")
    return value
