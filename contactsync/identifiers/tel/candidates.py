"""What a number without a country code would be in every country. Nobody is looked up by such a guess."""

from __future__ import annotations

from dataclasses import dataclass

import phonenumbers

from contactsync.identifiers.steps import Rejected
from contactsync.identifiers.tel import SCHEME, normalise


@dataclass(frozen=True, slots=True)
class Candidate:
    """An identifier, the regions in which the number is it, and whether it is allotted in one of them.

    What is allotted changes every week; that a number is not on the list does not say that nobody has it.
    """

    identifier: str
    regions: tuple[str, ...]
    allotted: bool


def candidates(text: str) -> list[Candidate]:
    """Those of all regions: first what is allotted, then by identifier."""
    found: dict[bytes, list[str]] = {}
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        try:
            found.setdefault(normalise(text, region), []).append(region)
        except Rejected:
            continue
    made = [
        Candidate(identifier.decode(), tuple(regions), _is_allotted(identifier))
        for identifier, regions in found.items()
    ]
    return sorted(made, key=lambda one: (not one.allotted, one.identifier))


def _is_allotted(identifier: bytes) -> bool:
    number = phonenumbers.parse("+" + identifier.removeprefix(SCHEME).decode(), None)
    return bool(phonenumbers.is_valid_number(number))
