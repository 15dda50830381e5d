"""Address books for a sync: read from files, or made of numbers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from contactsync.carddav.address import is_address
from contactsync.contacts import AddressBook
from contactsync.contacts.book import NO_NAME, Contact
from contactsync.contacts.choice import People, Selection
from contactsync.foundation.errors import BadInput
from contactsync.identifiers import KINDS, default_region
from contactsync.sources import FetchedBook, read_address_books

__all__ = [
    "AddressBook", "Contact", "FetchedBook", "address_book", "as_numbers", "book_of_numbers",
    "checked_numbers", "is_address",
]  # fmt: skip

_MOST_NAMES: Final = 1 << 20  # bytes of a list of names


def address_book(
    *sources: str | Path | FetchedBook,
    region: str | None = None,
    stdin: BinaryIO | None = None,
    area_code: str | None = None,
    groups: Sequence[str] = (),
    only: Sequence[str | Path] = (),
    exclude: Sequence[str | Path] = (),
    kinds: Sequence[str] = (),
) -> AddressBook:
    """Read files, folders of vCards, `-` (standard input) and what was fetched into one address book.

    `region` (`"DE"`) is the country of numbers without a country code; None: that of the locale. `area_code`
    (`"030"`) is dialled before local ones. `groups` keeps the contacts in one of these groups; `only` and
    `exclude` are files of people, who are kept or left out: an address book of any kind, or names, one per
    line. `kinds` (`"tel"`, `"mailto"`) keeps only identifiers of these kinds. What cannot be read is in
    `unreadable`, how many were not chosen in `left_out`. Raises BadInput: no such file, region or area code,
    or a file without people.
    """
    region, stdin = region or default_region(), stdin or sys.stdin.buffer
    book = read_address_books(sources, region=region, area_code=area_code, grouped=bool(groups), stdin=stdin)

    def people(name: str | Path) -> People:
        found = read_address_books([name], region=region, area_code=area_code, stdin=stdin)
        return _people(name, found)

    choice = Selection(tuple(groups), [people(name) for name in only], [people(name) for name in exclude])
    if choice:
        choice.apply(book)
    if kinds:
        if unknown := sorted({*kinds} - {*KINDS}):
            raise BadInput(f"there is no kind {unknown[0]!r}", hint=f"kinds are {', '.join(KINDS)}")
        book.keep(kinds)
    return book


def _people(name: str | Path, found: AddressBook) -> People:
    if found.contacts:
        return People.of(found.contacts)
    names = _names(Path(name))
    if not names:
        raise BadInput(f"{name} holds no people", hint="give an address book, or names, one per line")
    return People.of((), names)


def _names(path: Path) -> list[str]:
    """The lines of a list of names; none if it is something else."""
    if not path.is_file() or path.stat().st_size > _MOST_NAMES:
        return []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except ValueError:
        return []
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return lines if all(line.isprintable() for line in lines) else []


def book_of_numbers(numbers: NDArray[np.uint64]) -> AddressBook:
    """An address book of telephone numbers: their digits with the country code, uint64[n]. No names.

    Raises BadInput if one has no known country code.
    """
    keys = checked_numbers(numbers)
    identifiers = KINDS["tel"].identifiers_of(keys)
    return AddressBook([Contact(NO_NAME, (one,), f"{place}") for place, one in enumerate(identifiers)])


def checked_numbers(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The numbers as the package uses them: ascending and distinct. Raises BadInput."""
    array = np.asarray(numbers)
    if array.ndim != 1 or array.dtype.kind not in "ui" or (array.dtype.kind == "i" and (array < 0).any()):
        raise BadInput("numbers must be an array of one dimension of whole numbers", hint="use numpy.uint64")
    keys = np.unique(array.astype(np.uint64))
    for _ in KINDS["tel"].by_partition(keys):
        break  # it raises before the first, if one of all is in no partition
    return keys


def as_numbers(identifiers: Sequence[bytes]) -> NDArray[np.uint64]:
    """The digits of identifiers of the kind `tel`, uint64[n], in order."""
    found: NDArray[np.uint64] = KINDS["tel"].keys_of(identifiers)
    return found
