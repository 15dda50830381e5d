"""Members as integers: the digits of an E.164 number, and its calling code.

The registry stores a member as the integer of its digits; the identifier of `491512345678` is
`tel:+491512345678`. Calling codes are free of prefixes and have at most three digits, so the first three
digits of a number tell its code, and the numbers of a code are one range of integers for each length.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]

MAX_DIGITS: Final = 15  # ITU-T E.164 §6: calling code and national number together

_PREFIX: Final = b"tel:+"
_POWERS: Final = 10 ** np.arange(MAX_DIGITS + 1, dtype=np.uint64)


def number_of(identifier: bytes) -> int:
    """The integer of a `tel:` identifier as `identifiers.normalise` gives it."""
    return int(identifier.removeprefix(_PREFIX))


def identifiers_of(numbers: Numbers) -> list[bytes]:
    """The identifiers of numbers, in order."""
    return [_PREFIX + b"%d" % number for number in numbers.tolist()]


@functools.cache
def _code_by_lead() -> NDArray[np.uint16]:
    """The calling code by a number's first three digits; 0 where there is none."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE  # noqa: PLC0415 - 20 ms that not every command needs

    table = np.zeros(1000, np.uint16)
    for code in COUNTRY_CODE_TO_REGION_CODE:
        width = 10 ** (3 - len(str(code)))
        table[code * width : (code + 1) * width] = code
    return table


def codes() -> list[int]:
    """All calling codes, ascending."""
    return [int(code) for code in np.unique(_code_by_lead()) if code]


def codes_of(numbers: Numbers) -> NDArray[np.uint16]:
    """The calling code of each number, uint16[n]; 0 where there is none. O(n), vectorised."""
    length = np.searchsorted(_POWERS, numbers, side="right")  # digits
    lead = numbers // _POWERS[np.maximum(length, 3) - 3]
    found: NDArray[np.uint16] = _code_by_lead()[np.minimum(lead, np.uint64(999))]
    return found


def ranges_of(code: int) -> list[tuple[int, int]]:
    """The numbers of a calling code as inclusive ranges, one for each length, ascending."""
    length = len(str(code))
    powers = [10 ** (digits - length) for digits in range(max(3, length + 1), MAX_DIGITS + 1)]
    return [(code * power, (code + 1) * power - 1) for power in powers]
