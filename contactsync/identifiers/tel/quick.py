"""The identifiers of ordinary numbers, without libphonenumber's parser: ten times as fast as all steps.

Most numbers are a plus, a calling code and a complete number, or a complete number as it is dialled in its
country, with separators between digits. For these the steps of the profile do nothing unusual. `quick`
answers only where `normalise` certainly gives the same (tests compare the two over all regions).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import phonenumbers
from phonenumbers import PhoneMetadata

from contactsync.identifiers.tel.plans import WITHOUT_PLUS, NumberingPlan, numbering_plan, split_code

_LEAST_DIGITS = 7  # fewer may be a short code
_TEXT = re.compile(r" *(?:\(?\+[ (]*(?=[0-9]))?[0-9 ()./-]{7,40}")
_SEPARATORS = str.maketrans("", "", " ()./-+")


@dataclass(frozen=True, slots=True)
class _Dialling:
    """How numbers are dialled in one region, where that is simple: `trunk` is dialled before all of them."""

    code: str
    trunk: str
    abroad: re.Pattern[str]
    shape: re.Pattern[str]
    lengths: frozenset[int]
    plan: NumberingPlan

    def complete(self, digits: str) -> str | None:
        """Code and national number of digits as they are dialled; None if their reading is not simple."""
        if self.abroad.match(digits):
            return None
        if self.trunk and digits.startswith(self.trunk):
            national = digits[len(self.trunk) :]
            simple = not self.shape.fullmatch(digits)
        else:
            national = digits
            simple = not digits.startswith(self.code) and self.code not in WITHOUT_PLUS
        fits = simple and len(national) in self.lengths and self.shape.fullmatch(national) is not None
        if not fits or not self.plan.is_plain(national):
            return None
        return self.code + national


def quick(text: str, region: str | None) -> str | None:
    """The digits that `normalise` finds in an ordinary number; None if all steps must be taken."""
    if _TEXT.fullmatch(text) is None:
        return None
    digits = text.translate(_SEPARATORS)
    if "+" in text:
        code = split_code(digits)
        plan = None if code is None else numbering_plan(code)
        plain = code is not None and plan is not None and plan.is_plain(digits[len(code) :])
        return digits if plain else None
    dialling = _dialling(region) if region is not None and len(digits) >= _LEAST_DIGITS else None
    return None if dialling is None else dialling.complete(digits)


@functools.cache
def _dialling(region: str) -> _Dialling | None:
    """How numbers are dialled in a region; None if it is not simple, or if there is no such region."""
    if region not in phonenumbers.SUPPORTED_REGIONS:
        return None
    data = PhoneMetadata.metadata_for_region(region)
    if data is None or data.general_desc is None or data.national_prefix_transform_rule:
        return None
    trunk = data.national_prefix_for_parsing or ""
    code = str(data.country_code)
    plan = numbering_plan(code)
    if plan is None or (trunk and not trunk.isdecimal()):
        return None
    return _Dialling(
        code,
        trunk,
        re.compile(data.international_prefix or "(?!)"),
        re.compile(data.general_desc.national_number_pattern or "(?!)"),
        frozenset(data.general_desc.possible_length),
        plan,
    )
