"""Address books for a sync: read from files, or made of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from contactsync.contacts import AddressBook
from contactsync.contacts.book import NO_NAME, Contact
from contactsync.foundation.errors import BadInput
from contactsync.identifiers import KINDS, default_region
from contactsync.sources import read_address_books


def address_book(
    *sources: str | Path, region: str | None = None, stdin: BinaryIO | None = None
) -> AddressBook:
    """Read files, folders of vCards, and `-` (standard input) into one address book.

    `region` (`"DE"`) is the country of numbers without a country code; None: that of the locale. What cannot
    be read is in `unreadable`. Raises BadInput: no such file, no such region.
    """
    return read_address_books(sources, region=region or default_region(), stdin=stdin)


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
