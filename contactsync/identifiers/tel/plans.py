"""The numbering plans of profile 1: those of libphonenumber, with the profile's additions."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

import phonenumbers
from phonenumbers import PhoneMetadata

MAX_DIGITS = 15  # ITU-T E.164 §6: country code and national number together

# Calling codes in which a subscriber's number may begin with 0 (fixed lines, mobiles). Anywhere else the zero
# is left over from a dialled prefix: `0049 89 1234` in a US address book is not a US number.
LEADING_ZERO = frozenset({"39", "225", "226", "229", "241", "242", "250", "378", "881", "992"})

# Open numbering plans, in which `4915112345678`, written without + or trunk prefix, could be a national
# number that begins with 49. In all other plans its length shows that it is not.
WITHOUT_PLUS = frozenset({"49", "62", "383"})


@dataclass(frozen=True, slots=True)
class Rule:
    """Rewrites a national number that `pattern` matches fully, or rejects it if there is no replacement."""

    pattern: re.Pattern[str]
    replacement: str | None
    why: str


# Old and new forms of a number, by calling code. The patterns apply to national significant numbers.
RULES: Mapping[str, tuple[Rule, ...]] = {
    "52": (
        Rule(
            re.compile(r"(?:1|01|04[45])([2-9]\d{9})"),
            r"\1",
            "Mexico dropped the mobile 1 and the prefixes 01, 044 and 045 in 2019",
        ),
    ),
    "54": (Rule(re.compile(r"15\d{8}"), None, "an Argentine mobile number without its area code"),),
    "55": (
        Rule(
            re.compile(r"([1-9][1-9])([689]\d{7})"),
            r"\g<1>9\2",
            "Brazil put a 9 before every mobile number by 2016",
        ),
        Rule(re.compile(r"[2-9]\d{7}|9\d{8}"), None, "a Brazilian number without its area code"),
    ),
    "229": (Rule(re.compile(r"\d{8}"), r"01\g<0>", "Benin put 01 before every number in 2024"),),
}


@dataclass(frozen=True, slots=True)
class NumberingPlan:
    """What profile 1 needs to know about one calling code.

    `lengths` are those of complete national numbers (area code included). `prefix` matches what is dialled
    before a national number and is not part of it.
    """

    calling_code: str
    lengths: frozenset[int]
    prefix: re.Pattern[str] | None
    leading_zero: bool
    rules: tuple[Rule, ...]

    def is_plain(self, national: str) -> bool:
        """Whether `national`, written after `+` and the calling code, stays unchanged.

        True only if the library would change nothing either (tests check this over all plans).
        """
        return (
            len(national) in self.lengths
            and len(national) + len(self.calling_code) <= MAX_DIGITS
            and (self.leading_zero or national[0] != "0")
            and (self.prefix is None or self.prefix.match(national) is None)
            and not any(rule.pattern.fullmatch(national) for rule in self.rules)
        )


@functools.cache
def numbering_plan(calling_code: str) -> NumberingPlan | None:
    """The plan of a calling code (`"49"`); None if the code is not in use.

    Keeps its compiled patterns: `re`'s own cache of 512 thrashes over all countries.
    """
    code = int(calling_code)
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(code)
    if regions is None:
        return None
    data = PhoneMetadata.metadata_for_region_or_calling_code(code, regions[0])
    assert data is not None, "libphonenumber describes every code that it lists"
    assert data.general_desc is not None, "libphonenumber describes every code that it lists"
    prefix = data.national_prefix_for_parsing
    return NumberingPlan(
        calling_code,
        frozenset(data.general_desc.possible_length),
        re.compile(prefix) if prefix else None,
        calling_code in LEADING_ZERO,
        RULES.get(calling_code, ()),
    )


@functools.cache
def calling_codes() -> frozenset[str]:
    """Every calling code that has a numbering plan, shared services (`800`, `881`, …) included."""
    return frozenset(str(code) for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE)


def split_code(digits: str) -> str | None:
    """The calling code that these digits begin with. Codes are prefix-free and have one to three digits."""
    for length in (1, 2, 3):
        if digits[:length] in calling_codes():
            return digits[:length]
    return None
