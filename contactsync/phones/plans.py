"""The numbering plans as tables for the kernel.

`contactsync.kernels.phones` accepts a number only if these tables prove the result of
`identifiers.normalise`. The proof follows the steps of the profile and of libphonenumber's `parse`:

- `+` and digits: the calling code is the first of the 1, 2 or 3 leading digits that is a known code. The
  number stays unchanged if its length is possible, no rule of the profile applies to that length, the
  national prefix cannot remove anything from its start, and it does not begin with a 0 that the profile
  refuses (`NumberingPlan.is_plain`, except for Argentina). The default region has no effect.
- digits alone, with a default region: an international prefix is removed if the region's is a plain string of
  digits, the number starts with it, and no 0 follows (`_parse_prefix_as_idd`); then as above. If no
  international prefix can match, and the number cannot start with the calling code, it is a national number.
  A national prefix that is a plain string of digits, or has such an alternative, is removed if the number
  starts with it, no alternative before it can match, and `general_desc` cannot match the whole number, by its
  beginning or its length (`_maybe_strip_national_prefix_carrier_code`). If no prefix can match, all digits
  stay. Then the length must be possible in the plan of the region. The result is accepted
  only if it would also be accepted unchanged after a plus. Numbers as short as a short code are left to the
  library.

The tables are computed from the installed library when they are first needed (about 0.3 s), so that no copy
can become outdated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from phonenumbers import SUPPORTED_REGIONS, PhoneMetadata

from contactsync.identifiers import NumberingPlan, calling_codes, numbering_plan
from contactsync.kernels.phones import (
    ASK,
    KEEP,
    MAX_DIGITS,
    STRIP_BY_LENGTH,
    STRIP_INTERNATIONAL,
    STRIP_NATIONAL,
)
from contactsync.phones.prefixes import DEPTH, may_match, may_take, whole_lengths

_BEGINNINGS = 10**DEPTH
_LETTERS = 26
_MOST_LENGTH = 18  # digits that the kernel looks at, prefixes included


@dataclass(frozen=True, slots=True)
class International:
    """The plans of all calling codes, one row each.

    `row` int16[1000] and `code_digits` uint8[1000], by the first three digits after the plus: the row (-1: no
    such code) and the length of the calling code. `lengths` int64[rows]: bit n is set if n national digits
    are possible. `ask` bool[rows, 1000], by the first three digits of the national number: whether the
    library might change it.
    """

    row: NDArray[np.int16]
    code_digits: NDArray[np.uint8]
    lengths: NDArray[np.int64]
    ask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class National:
    """What digits without a plus mean in one region.

    `action` uint8[1000], by the first three digits: a constant of `contactsync.kernels.phones`. `plan`
    int64[6]: the lengths that are possible (bit n for n digits); the calling code; how many digits it has,
    the national prefix, and the international one; the lengths at which the national prefix may belong to the
    number.
    """

    action: NDArray[np.uint8]
    plan: NDArray[np.int64]


@cache
def international() -> International:
    """The table of all calling codes."""
    codes = sorted(calling_codes())
    row = np.full(_BEGINNINGS, -1, np.int16)
    code_digits = np.zeros(_BEGINNINGS, np.uint8)
    lengths = np.zeros(len(codes), np.int64)
    ask = np.zeros((len(codes), _BEGINNINGS), np.bool_)
    for index, code in enumerate(codes):
        plan = numbering_plan(code)
        assert plan is not None, "calling_codes() are those that have a plan"
        row[_begins_with(code)] = index
        code_digits[_begins_with(code)] = len(code)
        lengths[index] = _mask(plan.lengths - _rewritten(plan))
        ask[index] = may_take(plan.prefix.pattern if plan.prefix else None)
        if not plan.leading_zero:
            ask[index] |= _begins_with("0")
    return International(row, code_digits, lengths, ask)


@cache
def national(region: str | None) -> National:
    """The table of a region (in capitals). Without one, the library gets all digits without a plus."""
    if region is None:
        return National(np.full(_BEGINNINGS, ASK, np.uint8), np.zeros(6, np.int64))
    here = PhoneMetadata.metadata_for_region(region)
    assert here is not None, "the caller has checked the region"
    assert here.general_desc is not None, "libphonenumber describes every region that it lists"
    code = str(here.country_code)
    prefix = here.national_prefix_for_parsing or ""
    abroad = here.international_prefix or ""

    action = np.full(_BEGINNINGS, KEEP, np.uint8)
    action[may_take(prefix)] = ASK
    strip = strip_abroad = 0
    general = here.general_desc.national_number_pattern or ""
    before, plain = _plain_alternative(prefix)
    if plain:
        # Nothing is captured, so a rule that transforms what is does not apply.
        strip = len(plain)
        first = _begins_with(plain) & ~may_match(before)
        action[first] = STRIP_BY_LENGTH
        action[first & ~may_match(general)] = STRIP_NATIONAL
    action[_begins_with(code)] = ASK
    action[may_match(abroad)] = ASK
    if _is_plain(abroad):
        strip_abroad = len(abroad)
        action[_begins_with(abroad) & ~_begins_with(abroad + "0")] = STRIP_INTERNATIONAL
    lengths = _mask(frozenset(here.general_desc.possible_length))
    whole = sum(1 << n for n in whole_lengths(general, _MOST_LENGTH))
    return National(action, np.array([lengths, int(code), len(code), strip, strip_abroad, whole], np.int64))


def _plain_alternative(pattern: str) -> tuple[str, str]:
    """The first alternative of an expression that is a plain string of digits, after those before it.

    Both are "" if there is none.
    """
    depth, alternatives = 0, [""]
    for sign in pattern:
        depth += (sign in "([") - (sign in ")]")
        if sign == "|" and not depth:
            alternatives.append("")
        else:
            alternatives[-1] += sign
    for place, alternative in enumerate(alternatives):
        if _is_plain(alternative):
            return "|".join(alternatives[:place]), alternative
    return "", ""


@dataclass(frozen=True, slots=True)
class Regions:
    """What digits without a plus mean in each region.

    `row` int16[676], by two letters (26 * first + second): the row in `actions` uint8[rows, 1000] and `plans`
    int64[rows, 6], as in `National`; -1: no such region. Row 0 is for numbers without a region.
    """

    row: NDArray[np.int16]
    actions: NDArray[np.uint8]
    plans: NDArray[np.int64]


@cache
def by_region(default: str | None, *, every: bool) -> Regions:
    """The tables of a default region (in capitals, or None) and, if `every`, of all regions (0.2 s)."""
    regions = sorted(SUPPORTED_REGIONS) if every else []
    row = np.full(_LETTERS * _LETTERS, -1, np.int16)
    for index, letters in enumerate(regions, 1):
        first, second = (ord(letter) - ord("A") for letter in letters)
        row[_LETTERS * first + second] = index
    tables = [national(default), *map(national, regions)]
    return Regions(row, np.stack([one.action for one in tables]), np.stack([one.plan for one in tables]))


def _rewritten(plan: NumberingPlan) -> frozenset[int]:
    """The lengths of national numbers that a rule of the profile may rewrite or refuse."""
    return frozenset(n for rule in plan.rules for n in whole_lengths(rule.pattern.pattern, MAX_DIGITS))


def _mask(lengths: frozenset[int]) -> int:
    """Bit n for each length n, except lengths of fewer than three digits."""
    return sum(1 << n for n in lengths if DEPTH <= n <= MAX_DIGITS)


def _is_plain(prefix: str) -> bool:
    """Whether a prefix is so simple that three digits contain it and the digit after it."""
    return prefix.isascii() and prefix.isdigit() and len(prefix) < DEPTH


def _begins_with(prefix: str) -> NDArray[np.bool_]:
    """bool[1000]: the beginnings that start with these digits, at most three."""
    table = np.zeros(_BEGINNINGS, np.bool_)
    span = 10 ** (DEPTH - len(prefix))
    table[int(prefix) * span : (int(prefix) + 1) * span] = True
    return table
