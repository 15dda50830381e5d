"""Numbers as they are dialled where the owner of a book lives. Local ones are completed or reported."""

from __future__ import annotations

import functools
import re

import phonenumbers

from contactsync.foundation.errors import BadInput
from contactsync.identifiers import Rejected, check_region, normalise

_MOST_DIGITS = 9  # no local number has more; only Brazil's mobile numbers have as many
_GUESSED_DIGITS = 8
_LEAST_DIGITS = 4
# Open plans: in them any few digits look like a complete number, so a local number would be a stranger's.
_OPEN = {43, 46, 49, 62, 358}
_LONGEST = 40  # characters of a local number with its label
_SEPARATORS = str.maketrans("", "", " \t()./-[]")
_AMERICAN = re.compile(r"(?:1[ .-])?\(?[2-9]\d\d\)?[ .-]{0,2}[2-9]\d\d[-. ]\d{4}")
_WRITTEN = re.compile(r"[^\d+]*(\+?)([\d\s()./\[\]-]*)")


class Dialling:
    """How the numbers of one book are dialled. `region` None: only those with a country code."""

    def __init__(self, region: str | None, area_code: str | None = None) -> None:
        self.region = check_region(region) if region is not None else None
        self._area_code = None if area_code is None else _check_area_code(area_code, self.region)
        self._trunk = "" if self.region is None else _trunk(self.region)

    def __call__(self, text: str) -> bytes:
        """The identifier of one number. Raises Rejected."""
        digits = self._local_digits(text)
        if not digits:
            found = normalise(text, self.region)
            if self._is_american(text):
                hint = "write + and the country code before it, or 0 if it is dialled with it"
                raise Rejected("written as in North America, without a country code", hint)
            return found
        if self._area_code is not None and self.region is not None:
            completed = _completed(self._area_code, digits, self.region)
            if completed is not None:
                return completed
        found = normalise(text, self.region)
        if len(digits) <= _GUESSED_DIGITS and self._is_guess(found):
            hint = "write its area code, or give --area-code for numbers without one"
            raise Rejected("a local number without its area code", hint)
        return found

    def _local_digits(self, text: str) -> str:
        """The digits of a number that may be local; empty if it is not."""
        if self.region is None or len(text) > _LONGEST or text[:1] == "+" or ";" in text:
            return ""
        match = _WRITTEN.match(text)
        assert match is not None, "the pattern matches an empty string"
        if match.group(1):
            return ""
        digits = match.group(2).translate(_SEPARATORS)
        short = _LEAST_DIGITS <= len(digits) <= _MOST_DIGITS and digits.isascii() and digits.isdecimal()
        return digits if short and not (self._trunk and digits.startswith(self._trunk)) else ""

    def _is_american(self, text: str) -> bool:
        """Whether a number is written as nobody does where numbers begin with the trunk prefix."""
        if self.region is None or not self._trunk or text[:1] == "+" or len(text) > _LONGEST:
            return False
        match = _WRITTEN.match(text)
        written = match.group(2).strip() if match is not None and not match.group(1) else ""
        country = phonenumbers.country_code_for_region(self.region)
        return country in _OPEN and _AMERICAN.fullmatch(written) is not None

    def _is_guess(self, identifier: bytes) -> bool:
        """Whether a number that was written without a trunk prefix is one that is dialled with it."""
        number = phonenumbers.parse(identifier.decode("ascii").removeprefix("tel:"))
        if not self._trunk or number.country_code in _OPEN:
            return bool(self._trunk)
        national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
        prefixed = re.sub(r"\D", "", national).startswith(self._trunk)
        return prefixed and not phonenumbers.is_valid_number(number)


def _check_area_code(area_code: str, region: str | None) -> str:
    digits = re.sub(r"[ ()/-]", "", area_code)
    if not re.fullmatch(r"\d{1,7}", digits):
        raise BadInput(f"{area_code!r} is not an area code", hint="give it as it is dialled, like 030 or 212")
    if region is None:
        raise BadInput("an area code needs a country", hint="give --region too, like --region DE")
    return digits


def _completed(area_code: str, digits: str, region: str) -> bytes | None:
    """The identifier of a local number in this area; None if it is not one."""
    try:
        whole = normalise(digits, region)
    except Rejected as rejected:
        if rejected.reason.startswith("a short code"):
            return None
        whole = None
    trunk = _trunk(region)
    if whole is not None and len(digits) > _GUESSED_DIGITS:
        return None
    if whole is not None and not (trunk and area_code.startswith(trunk)):
        number = phonenumbers.parse(whole.decode("ascii").removeprefix("tel:"))
        if phonenumbers.is_valid_number(number):  # complete as it stands, as in Italy or Spain
            return None
    try:
        return normalise(area_code + digits, region)
    except Rejected:
        return None


@functools.cache
def _trunk(region: str) -> str:
    """What is dialled before national numbers in a region; empty if nothing is."""
    data = phonenumbers.PhoneMetadata.metadata_for_region(region)
    prefix = None if data is None else data.national_prefix
    return prefix if prefix and prefix.startswith("0") else ""
