"""Telephone numbers in arrays: the digits of an E.164 number as one integer.

The identifier of `491512345678` is `tel:+491512345678`. No calling code is a prefix of another, and none has
more than three digits. So the first three digits of a number tell its code, and the numbers of a code are one
range of integers for each length.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.errors import BadInput
from contactsync.identifiers.tel import SCHEME
from contactsync.identifiers.tel.plans import MAX_DIGITS, calling_codes

Numbers = NDArray[np.uint64]

_POWERS: Final = 10 ** np.arange(MAX_DIGITS + 1, dtype=np.uint64)


def numbers_of(identifiers: Sequence[bytes]) -> Numbers:
    """The integers of identifiers as `identifiers.normalise` gives them, uint64[n], in order."""
    return np.array([int(identifier.removeprefix(SCHEME)) for identifier in identifiers], np.uint64)


def identifiers_of(numbers: Numbers) -> list[bytes]:
    """The identifiers of numbers, in order."""
    return [SCHEME + b"%d" % number for number in numbers.tolist()]


@functools.cache
def _code_by_lead() -> NDArray[np.uint16]:
    """The calling code for the first three digits of a number; 0 where there is none."""
    table = np.zeros(1000, np.uint16)
    for code in map(int, calling_codes()):
        width = 10 ** (3 - len(str(code)))
        table[code * width : (code + 1) * width] = code
    return table


def by_calling_code(numbers: Numbers) -> Iterator[tuple[str, Numbers]]:
    """The numbers of each calling code that occurs, in order. O(n) for each code, vectorised.

    Raises BadInput, before it yields the first, if a number has no calling code.
    """
    found = _codes_of(numbers)
    if not found.all():
        raise BadInput("a number has no known calling code")
    for code in np.unique(found).tolist():
        yield str(code), numbers[found == code]


def _codes_of(numbers: Numbers) -> NDArray[np.uint16]:
    """The calling code of each number, uint16[n]; 0 where there is none."""
    length = np.searchsorted(_POWERS, numbers, side="right")  # digits
    lead = numbers // _POWERS[np.maximum(length, 3) - 3]
    found: NDArray[np.uint16] = _code_by_lead()[np.minimum(lead, np.uint64(999))]
    return found


def spans_of(calling_code: str) -> list[tuple[int, int]]:
    """The numbers of a calling code as half-open ranges, one for each length, ascending."""
    code, length = int(calling_code), len(calling_code)
    powers = [10 ** (digits - length) for digits in range(max(3, length + 1), MAX_DIGITS + 1)]
    return [(code * power, (code + 1) * power) for power in powers]
