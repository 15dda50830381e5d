"""What a store of members can do about who has a number and an address.

The two have the same audiences, objections, label and day of verification, from when they are paired on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final, Protocol

from contactsync.server.storage.records import NOT_STATED, Added, Origin

if TYPE_CHECKING:
    from contactsync.server.storage.ports import Members

NUMBER: Final = "tel"
ADDRESS: Final = "mailto"
OTHER_KIND: Final = {NUMBER: ADDRESS, ADDRESS: NUMBER}
COLUMN: Final = {NUMBER: "tel", ADDRESS: "mail"}
"""Where a table of pairs has the keys of a kind."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What came of adding members with number and address.

    `conflicts` are the places of those whose number and address belong to two members already.
    """

    added: Added
    conflicts: tuple[int, ...]


class PairStore(Protocol):
    """The part of a `MemberStore` that knows who has a number and an address. Raises OurError.

    To add, remove, consent, label, replace or expire one is to do so to both; what such a method returns
    counts the identifiers that it was given. Members are of one kind, `tel` or `mailto`.
    """

    def enrol(
        self,
        numbers: Members,
        addresses: Sequence[Any],
        audience: str = "people",
        *,
        verified: date | None = None,
        origin: Origin = NOT_STATED,
    ) -> Enrolled:
        """Add numbers as `add` does, each with the key of an address that is the same member's.

        Of who is a member or has objected with one of the two, the other gets all that is known: audiences,
        objections, label. A conflict changes nothing about either of them: two members are never merged, and
        none gets another address or number (`move` does that).
        """

    def others(self, members: Members) -> Members | None:
        """The other identifiers of those of them who have two; None if none has."""

    def unpair(self, members: Members) -> int:
        """Let number and address be two members from now on, each with all that they had; how many."""

    def move(self, old: Members, new: Members, *, origin: Origin = NOT_STATED) -> None:
        """Give one member another number, or another address: the old one is forgotten as `remove` does.

        Audiences, objections, label and the other identifier stay; the new one is verified today, and has new
        tokens. The consents that are kept say that it has joined with `origin`. Raises BadInput, and changes
        nothing, if the old one is of nobody, or the new one of somebody.
        """
