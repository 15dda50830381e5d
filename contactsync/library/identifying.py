"""What a number or an e-mail address becomes: the identifier that is looked up, or why it is rejected.

Nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from contactsync import identifiers
from contactsync.contacts.lines import all_forms
from contactsync.identifiers import Step, check_region, default_region, mail, shown, title_of

__all__ = [
    "ANY_REGION", "Explained", "Possible", "Step", "check_region", "default_region", "explain", "forms_of",
    "is_address", "shown", "title_of",
]  # fmt: skip

ANY_REGION: Final = "auto"


@dataclass(frozen=True, slots=True)
class Possible:
    """An identifier that a number without a country code may be: in which regions, and if it is allotted."""

    identifier: str
    regions: tuple[str, ...]
    allotted: bool


@dataclass(frozen=True, slots=True)
class Explained:
    """How a text becomes an identifier: `steps`, each with its result and why.

    A text with an @ is an e-mail address, which has no `region` and a `profile` of its own.

    `identifier` is None if the text is rejected; then `reason` and `hint` say why, and what to do. `profile`
    is the number of the rules. `forms` are the further identifiers that are looked up, and why each.
    `possible` has what it may be, if that was asked for and the text is rejected.
    """

    text: str
    region: str | None
    profile: int
    identifier: str | None
    reason: str | None
    hint: str | None
    steps: tuple[Step, ...]
    forms: tuple[tuple[str, str], ...] = ()
    possible: tuple[Possible, ...] = ()


def explain(text: str, region: str | None = None) -> Explained:
    """Say what a number or an e-mail address becomes.

    `region` (`"DE"`) is the country of a number without a country code. None: that of the locale. `"auto"`:
    no country, and `possible` says what it would be in each. A sync never guesses. Raises BadInput if there
    is no such region.
    """
    in_any = region is not None and region.lower() == ANY_REGION
    known = None
    if not in_any:
        known = default_region() if region is None else check_region(region)
    is_mail = mail.looks_like(text)
    steps = identifiers.explain(text, known)
    last = steps[-1]
    is_rejected = last.name == "rejected"
    return Explained(
        text=text,
        region=None if is_mail else known,
        profile=mail.PROFILE if is_mail else identifiers.PROFILE,
        identifier=None if is_rejected else last.result,
        reason=last.result if is_rejected else None,
        hint=last.why if is_rejected else None,
        steps=tuple(steps[1:-1]),
        forms=() if is_rejected else _forms(last.result),
        possible=_possible(text) if in_any and is_rejected and not is_mail else (),
    )


def forms_of(texts: Iterable[str]) -> set[str]:
    """Identifiers and their further forms: what a sync looks up for them."""
    return {one.decode("ascii") for one in all_forms(text.encode("ascii") for text in texts)}


def is_address(text: str) -> bool:
    """Whether a text is read as an e-mail address, not as a number."""
    return mail.looks_like(text)


def _forms(identifier: str) -> tuple[tuple[str, str], ...]:
    found = identifiers.explain_forms(identifier.encode("ascii"))
    return tuple((one.identifier.decode("ascii"), one.why) for one in found)


def _possible(number: str) -> tuple[Possible, ...]:
    from contactsync.identifiers.tel.candidates import candidates  # noqa: PLC0415 - it reads all plans

    return tuple(Possible(one.identifier, one.regions, one.allotted) for one in candidates(number))
