"""Text to identifier: `"0151 2345678"` in DE becomes `b"tel:+491512345678"` (RFC 3966 global form).

Client and server match only if both turn the same number into the same bytes. So the rules are a numbered
profile (`PROFILE`), specified in docs/identifiers.md and pinned by vectors in
`contactsync/vectors/normalisation-1.json`. A rule may change only together with the profile's number.

The numbering plans come from libphonenumber, through `phonenumbers`. A number is accepted if it is *possible*
(`is_possible`: its length exists in that plan). Whether it is *allotted* (`is_valid`) does not matter: that
list changes every week, and an old client must not lose the numbers of a new range.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import phonenumbers

from contactsync.foundation.errors import BadInput
from contactsync.identifiers.steps import Record, Rejected, Step, no_record
from contactsync.identifiers.tel.countries import check_region, complete
from contactsync.identifiers.tel.plans import (
    MAX_DIGITS,
    RULES,
    NumberingPlan,
    Rule,
    calling_codes,
    numbering_plan,
    split_code,
)
from contactsync.identifiers.tel.quick import quick
from contactsync.identifiers.tel.written import (
    holds_another,
    letters_rejected,
    plain_characters,
    read_written,
)

__all__ = [
    "MAX_DIGITS",
    "PROFILE",
    "RULES",
    "SCHEME",
    "NumberingPlan",
    "Rejected",
    "Rule",
    "Step",
    "calling_code",
    "calling_codes",
    "check_region",
    "default_region",
    "explain",
    "holds_another",
    "normalise",
    "numbering_plan",
    "plain_characters",
]

PROFILE = 1

SCHEME = b"tel:+"


def normalise(text: str, region: str | None) -> bytes:
    """The identifier of a phone number that people write.

    `region` (`"DE"`) is the country of a number without a country code; None: such numbers are rejected.
    Raises Rejected if the text cannot be looked up, BadInput if there is no such region.
    """
    digits = quick(text, region)
    return SCHEME + digits.encode("ascii") if digits else _identifier(text, region, no_record)


def explain(text: str, region: str | None) -> list[Step]:
    """The steps of `normalise`. The last step is named `identifier` or `rejected`."""
    steps = [Step("text", text, f"region {region}" if region else "no region")]

    def record(name: str, result: str, why: str) -> None:
        steps.append(Step(name, result, why))

    try:
        identifier = _identifier(text, region, record)
    except Rejected as rejected:
        record("rejected", rejected.reason, rejected.hint)
    else:
        record("identifier", identifier.decode("ascii"), f"normalisation profile {PROFILE}")
    return steps


def calling_code(identifier: bytes) -> str:
    """`"49"` of `b"tel:+491512345678"`. Raises BadInput if it is not an identifier."""
    if identifier.startswith(SCHEME):
        digits = identifier[len(SCHEME) : len(SCHEME) + 3].decode("ascii", "replace")
        found = split_code(digits)
        if found is not None:
            return found
    raise BadInput("not an identifier of this normalisation profile")


def default_region(environment: Mapping[str, str] = os.environ) -> str | None:
    """The region of the locale, in POSIX order: LC_ALL, LC_TELEPHONE, LANG. None if it names no country."""
    for variable in ("LC_ALL", "LC_TELEPHONE", "LANG"):
        value = environment.get(variable, "")
        if value:
            found = re.match(r"[a-z]{2,3}(?:[_-][A-Z][a-z]{3})?[_-]([A-Z]{2})(?![A-Za-z0-9])", value)
            region = found.group(1) if found else None
            return region if region in phonenumbers.SUPPORTED_REGIONS else None
    return None


def _identifier(text: str, region: str | None, record: Record) -> bytes:
    written = read_written(text, record)
    try:
        code, national = complete(written.digits, written.international, region, record)
    except Rejected:
        if written.keypad:  # the letters are at fault, not their digits on the keypad
            raise letters_rejected() from None
        raise
    if written.keypad and code != "1":
        raise letters_rejected()
    return SCHEME + (code + national).encode("ascii")
