"""Digits to calling code and national number, with libphonenumber and the rules of the profile."""

from __future__ import annotations

import phonenumbers

from contactsync.foundation.errors import BadInput
from contactsync.identifiers.steps import Record, Rejected
from contactsync.identifiers.tel.plans import (
    MAX_DIGITS,
    WITHOUT_PLUS,
    NumberingPlan,
    numbering_plan,
    split_code,
)

_WITHOUT_PLUS_DIGITS = 10  # with fewer, too few digits follow the country code to be a number
_SHORT_DIGITS = 6  # no short number has more


def check_region(region: str) -> str:
    """The region in capitals. Raises BadInput if libphonenumber does not have it."""
    upper = region.strip().upper()
    if upper in phonenumbers.SUPPORTED_REGIONS:
        return str(upper)
    raise BadInput(
        f"unknown region {region!r}",
        hint="give the two letters of ISO 3166, like DE or US (the United Kingdom is GB)",
    )


def complete(digits: str, international: bool, region: str | None, record: Record) -> tuple[str, str]:
    """Calling code and national number: steps 7 to 11. Raises Rejected, or BadInput for the region.

    `international`: the digits followed a plus. Otherwise they are what is dialled in `region`.
    """
    return _international(digits, record) if international else _national(digits, region, record)


def _international(digits: str, record: Record) -> tuple[str, str]:
    """Calling code and national number of digits that were written after a plus."""
    code = split_code(digits)
    if code is None:
        raise Rejected("no such country code", "check the digits after +")
    national = digits[len(code) :]
    plan = numbering_plan(code)
    assert plan is not None, "calling_codes() are those that have a plan"
    if national and plan.is_plain(national):
        record("country", f"+{code} {national}", "complete")
        return code, national
    return _by_library("+" + digits, None, record)


def _national(digits: str, region: str | None, record: Record) -> tuple[str, str]:
    """Calling code and national number of digits as they are dialled in a region."""
    if region is None:
        raise Rejected("no country code", "give --region, or write the number with + and its country code")
    region = check_region(region)
    # The list of short numbers changes, but no subscriber has one: client and server may differ here.
    if len(digits) <= _SHORT_DIGITS and _is_short(digits, region):
        raise Rejected("a short code or an emergency number", "only subscribers can be looked up")
    code, national = _by_library(digits, region, record)
    plain = national == digits  # no trunk or international prefix was dialled
    if plain and code in WITHOUT_PLUS and digits.startswith(code) and len(digits) >= _WITHOUT_PLUS_DIGITS:
        raise Rejected("its own country code without +", "write + before it, or 0 and the area code")
    return code, national


def _is_short(digits: str, region: str) -> bool:
    """Whether the digits are a short number as they stand, without a trunk prefix (000 in AU is not one)."""
    if phonenumbers.is_emergency_number(digits, region):
        return True
    try:
        number = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return False
    as_it_stands = phonenumbers.national_significant_number(number) == digits
    return as_it_stands and bool(phonenumbers.is_valid_short_number_for_region(number, region))


def _by_library(text: str, region: str | None, record: Record) -> tuple[str, str]:
    """Calling code and national number: libphonenumber's parse, is_possible, and the profile's rules."""
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as error:
        kind = error.error_type
        if kind == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE:
            raise Rejected("no such country code", "check what follows the international prefix") from None
        if kind == phonenumbers.NumberParseException.TOO_LONG:
            raise Rejected("too long for a phone number", "is it two numbers?") from None
        raise Rejected("too short for its country", "add the area code, and check the region") from None
    code = str(number.country_code)
    national = str(phonenumbers.national_significant_number(number))
    record("country", f"+{code} {national}", "removed prefixes that are only dialled inside a country")
    plan = numbering_plan(code)
    assert plan is not None, "the library parses to codes that it has a plan for"
    for rule in plan.rules:
        if rule.pattern.fullmatch(national):
            if rule.replacement is None:
                raise Rejected(rule.why, "write it with its country code and area code")
            national = rule.pattern.sub(rule.replacement, national)
            record("renumbered", f"+{code} {national}", rule.why)
            break
    if national.startswith("0") and not plan.leading_zero:
        raise Rejected("a prefix that is not dialled there", "write the number with + and its country code")
    _check_length(code, national, plan)
    if not plan.is_plain(national) and _significant("+" + code + national) != national:
        # The rest begins with that prefix again: read as text, it would be another number.
        raise Rejected("a prefix that is not dialled there", "write the number with + and its country code")
    return code, national


def _significant(e164: str) -> str:
    return str(phonenumbers.national_significant_number(phonenumbers.parse(e164, None)))


def _check_length(code: str, national: str, plan: NumberingPlan) -> None:
    """Raises Rejected unless a complete number of this plan may have that length."""
    length = len(national)
    if length > max(plan.lengths) or length + len(code) > MAX_DIGITS:
        raise Rejected("too long for its country", "is it two numbers, or is the region wrong?")
    if length < min(plan.lengths):
        raise Rejected("too short for its country", "add the area code, and check the region")
    if length not in plan.lengths:
        raise Rejected("no number of its country has this length", "check the digits and the region")
