"""What is done to a number or address is done to both of a member: the rules, whatever the storage."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput
from contactsync.identifiers.kinds import KINDS
from contactsync.server.storage.membership import ALL, Membership, pieces
from contactsync.server.storage.pairs import ADDRESS, NUMBER, OTHER_KIND, Enrolled
from contactsync.server.storage.ports import Members
from contactsync.server.storage.records import (
    NOT_STATED,
    Added,
    Consented,
    MemberEntry,
    Origin,
)

if TYPE_CHECKING:
    from contactsync.identifiers.kinds import Keys


class Pairing(Membership):
    """The rules, upon those for members with one identifier."""

    # What a storage does, in a transaction.

    def _has_pairs(self) -> bool:
        """Whether anybody has two identifiers."""
        raise NotImplementedError

    def _partners(self, kind: str, keys: Keys) -> dict[Any, Any]:
        """The key of the other kind, of those of these keys that have one."""
        raise NotImplementedError

    def _tie(self, pairs: Mapping[Any, Any]) -> None:
        """Note that these numbers and addresses, as keys, are of one member each."""
        raise NotImplementedError

    def _untie(self, kind: str, keys: Sequence[Any]) -> int:
        """Forget whose other identifier these keys are, and note the traces; how many had one."""
        raise NotImplementedError

    # The rules

    def others(self, members: Members) -> Members | None:
        """See `PairStore.others`."""
        other = OTHER_KIND.get(members.kind)
        if other not in KINDS or not self._has_pairs():
            return None
        found: list[Any] = []
        for _, keys in pieces(members):
            found += self._partners(members.kind, keys).values()
        return Members.from_keys(other, sorted(found)) if found else None

    def _other_of(self, entry: MemberEntry) -> bytes | None:
        """The other identifier of a member."""
        others = self.others(Members.from_keys(entry.kind, [entry.key]))
        return None if others is None else others.identifiers()[0]

    def add(
        self,
        members: Members,
        audience: str = AUDIENCES[0],
        *,
        verified: date | None = None,
        origin: Origin = NOT_STATED,
    ) -> Added:
        """See `MemberStore.add`."""
        with self.together():
            others = self.others(members)
            found = super().add(members, audience, verified=verified, origin=origin)
            if others is not None:
                super().add(others, audience, verified=verified, origin=origin)
        return found

    def remove(self, members: Members, audience: str | None = None, *, origin: Origin = NOT_STATED) -> int:
        """See `MemberStore.remove`."""
        with self.together():
            others = self.others(members)
            found = super().remove(members, audience, origin=origin)
            if others is not None:
                super().remove(others, audience, origin=origin)
        return found

    def consent(
        self, members: Members, audience: str, *, granted: bool, origin: Origin, only: bool = False
    ) -> Consented:
        """See `MemberStore.consent`."""
        with self.together():
            others = self.others(members)
            found = super().consent(members, audience, granted=granted, origin=origin, only=only)
            if others is not None:
                super().consent(others, audience, granted=granted, origin=origin, only=only)
        return found

    def label(self, members: Members, labels: Sequence[bytes | None]) -> Consented:
        """See `LabelStore.label`."""
        with self.together():
            found = super().label(members, labels)
            other = OTHER_KIND.get(members.kind)
            if other in KINDS and self._has_pairs():
                of = dict(zip(members.keys.tolist(), labels, strict=True))
                partners = self._partners(members.kind, members.keys)
                theirs = dict(sorted((partner, of[key]) for key, partner in partners.items()))
                if theirs:
                    super().label(Members.from_keys(other, [*theirs]), [*theirs.values()])
        return found

    def _groups(self, members: Members, also: Members | None) -> list[Members]:
        # Who is among them with one identifier stays with both.
        return [members] if also is None else [_united(members, self.others(also)), also]

    def _alone(self, kind: str, keys: Keys) -> Keys:
        if kind != ADDRESS or not self._has_pairs():
            return keys
        partners = self._partners(kind, keys)
        chosen: Keys = keys[[key not in partners for key in keys.tolist()]]
        return chosen

    def enrol(
        self,
        numbers: Members,
        addresses: Sequence[Any],
        audience: str = AUDIENCES[0],
        *,
        verified: date | None = None,
        origin: Origin = NOT_STATED,
    ) -> Enrolled:
        """See `PairStore.enrol`."""
        given = dict(zip(numbers.keys.tolist(), addresses, strict=True))
        bad: list[Any] = []
        with self._write() as serial:
            for partition, keys in pieces(numbers):
                bad += self._match(partition, keys, given, serial, origin)
            places = np.searchsorted(numbers.keys, np.array(sorted(bad), numbers.keys.dtype))
            some: Keys = np.delete(numbers.keys, places)  # type: ignore[assignment]
            found = self.add(Members(NUMBER, some), audience, verified=verified, origin=origin)
        return Enrolled(found, tuple(places.tolist()))

    def _match(
        self, partition: str, numbers: Keys, given: Mapping[Any, Any], serial: int, origin: Origin
    ) -> list[Any]:
        """Pair numbers of a partition with the addresses that are given; the numbers that cannot be."""
        distinct = Members.from_keys(ADDRESS, sorted({given[number] for number in numbers.tolist()}))
        known = self._standing(NUMBER, partition, numbers)
        known_addresses: dict[Any, int] = {}
        labels = self._labels(NUMBER, partition, numbers)
        labels_of_addresses: dict[Any, bytes] = {}
        for name, keys in pieces(distinct):
            known_addresses |= self._standing(ADDRESS, name, keys)
            labels_of_addresses |= self._labels(ADDRESS, name, keys)
        address_of, number_of = self._partners(NUMBER, numbers), self._partners(ADDRESS, distinct.keys)
        pairs: dict[Any, Any] = {}
        conflicts: list[Any] = []
        as_number, as_address = dict[Any, tuple[int, bytes | None]](), dict[Any, tuple[int, bytes | None]]()
        for number in numbers.tolist():
            address = given[number]
            if address_of.get(number) == address:
                continue
            if (
                number in address_of
                or address in number_of
                or (number in known and address in known_addresses)
            ):
                conflicts.append(number)
                continue
            pairs[number] = address
            number_of[address] = number
            if number in known:
                as_number[address] = known[number], labels.get(number)
            elif address in known_addresses:
                as_address[number] = known_addresses[address], labels_of_addresses.get(address)
        self._tie(pairs)
        self._take_over(ADDRESS, as_number, serial, origin)
        self._take_over(NUMBER, as_address, serial, origin)
        return conflicts

    def _take_over(
        self, kind: str, standing: Mapping[Any, tuple[int, bytes | None]], serial: int, origin: Origin
    ) -> None:
        """Begin to keep identifiers with what is known about them: bits and label."""
        if not standing:
            return
        for partition, array in pieces(Members.from_keys(kind, sorted(standing))):
            keys = array.tolist()
            self._note_strangers(kind, partition, keys, int(time.time()))
            changed = {key: (0, standing[key][0]) for key in keys if standing[key][0]}
            self._change(kind, partition, changed, serial, origin)
            self._set_labels(kind, partition, {key: label for key in keys if (label := standing[key][1])})
            if any(new & ALL for _, new in changed.values()):
                self._touch(partition, serial)

    def unpair(self, members: Members) -> int:
        """See `PairStore.unpair`."""
        with self.together():
            return sum(self._untie(members.kind, keys.tolist()) for _, keys in pieces(members))

    def move(self, old: Members, new: Members, *, origin: Origin = NOT_STATED) -> None:
        """See `PairStore.move`."""
        kind = old.kind
        if len(old) != 1 or len(new) != 1 or kind != new.kind:
            raise BadInput("a member moves from one number to another, or from one address to another")
        ((before, _),), ((after, _),) = pieces(old), pieces(new)
        with self._write() as serial:
            found = self._standing(kind, before, old.keys)
            if not found:
                raise BadInput("nothing is stored about the old one", hint="add the new one instead")
            if self._standing(kind, after, new.keys):
                raise BadInput("the new one is stored already", hint="remove one of the two first")
            label = self._labels(kind, before, old.keys).get(old.last)
            partner = self._partners(kind, old.keys).get(old.last) if kind in OTHER_KIND else None
            super().remove(old, origin=origin)
            self._take_over(kind, {new.last: (found[old.last], label)}, serial, origin)
            if partner is not None:
                self._tie({new.last: partner} if kind == NUMBER else {partner: new.last})


def _united(members: Members, more: Members | None) -> Members:
    """All of both, ascending and distinct."""
    if more is None:
        return members
    return Members.from_keys(members.kind, sorted({*members.keys.tolist(), *more.keys.tolist()}))
