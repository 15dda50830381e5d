"""Imports tables of people: numbers, addresses and labels, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

from contactsync.foundation.progress import Progress
from contactsync.phones import Columns, PeopleBatch, Person, Refusal, read_people
from contactsync.server.storage.pairs import ADDRESS, NUMBER
from contactsync.server.storage.ports import Members, MemberStore
from contactsync.server.storage.records import Added

if TYPE_CHECKING:
    from datetime import date

    from numpy.typing import NDArray

    from contactsync.server.storage.records import Origin

_PREFIX: Final = b"mailto:"
_OTHER_LABEL: Final = "it came before in the file, with another label"
_OTHER_ADDRESS: Final = "it came before in the file, with another address"
_FIRST_COUNTS: Final = "the first row counts"
_TWO_MEMBERS: Final = "its number and its address are not of one member"
_HOW_TO_MERGE: Final = (
    "nothing was changed about either: `members show` says who they are; then `members move`, or `remove` one"
)


@dataclass(slots=True)
class Entered:
    """What came of the rows so far. `twice` have an identifier that came before; `labels` were changed."""

    rows: int = 0
    rejected: int = 0
    twice: int = 0
    used: int = 0
    labels: int = 0
    added: Added = field(default_factory=lambda: Added(0, 0, 0))


@dataclass(slots=True)
class PeopleImport:
    """Puts people into a store, batch by batch, in a transaction of the caller.

    It remembers 24 octets of each identifier, to tell who comes twice with two labels, and with whom.
    """

    store: MemberStore
    audience: str
    verified: date | None
    origin: Origin
    labelled: bool
    on_refusal: Callable[[Refusal], None]
    entered: Entered = field(default_factory=Entered)
    _seen: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=list)
    """Of each batch the marks, sorted, and of each the hash of its label and the mark of its other one."""

    def enter(self, batch: PeopleBatch) -> None:
        """Add the members of a batch. Raises as the store does."""
        found = self.entered
        found.rows += batch.rows
        for refusal in batch.refused:
            self._refuse(refusal)
        people = self._first_of_each(batch.people)
        pairs = {one.number: one for one in people if one.number and one.address}
        numbers = {one.number: one for one in people if one.number and one.number not in pairs}
        addresses = {_key(one): one for one in people if not one.number}
        if pairs:
            conflicts = self._enrol(pairs)
            pairs = {key: one for key, one in pairs.items() if key not in conflicts}
        for kind, some in ((NUMBER, numbers), (ADDRESS, addresses)):
            if some:
                members = Members.from_keys(kind, sorted(some))
                found.added += self.store.add(
                    members, self.audience, verified=self.verified, origin=self.origin
                )
        if self.labelled:
            self._label(NUMBER, pairs | numbers)
            self._label(ADDRESS, addresses)

    def _enrol(self, pairs: dict[int, Person]) -> set[int]:
        """Add who has both; the numbers of those who cannot be."""
        members = Members.from_keys(NUMBER, sorted(pairs))
        numbers = members.keys.tolist()
        enrolled = self.store.enrol(
            members,
            [_key(pairs[number]) for number in numbers],
            self.audience,
            verified=self.verified,
            origin=self.origin,
        )
        self.entered.added += enrolled.added
        for one in sorted((pairs[numbers[place]] for place in enrolled.conflicts), key=lambda one: one.line):
            self._refuse(Refusal(one.line, _TWO_MEMBERS, _HOW_TO_MERGE, one.identity))
        return {numbers[place] for place in enrolled.conflicts}

    def _label(self, kind: str, people: dict[int, Person] | dict[bytes, Person]) -> None:
        of = {key: one.label or None for key, one in people.items() if one.label is not None}
        if of:
            members = Members.from_keys(kind, sorted(of))
            labels = [of[key] for key in members.keys.tolist()]
            self.entered.labels += self.store.label(members, labels).changed

    def _first_of_each(self, people: list[Person]) -> list[Person]:
        """Those who come for the first time. Who comes again with another label or address is refused."""
        marks = [(_marks_of(one), hash(one.label)) for one in people]
        known = self._known([mark for some, _ in marks for mark in some])
        first: list[Person] = []
        new: dict[int, tuple[int, int]] = {}
        address_of: dict[int, bytes] = {}
        for one, (identifiers, label) in zip(people, marks, strict=True):
            before = [known[mark] for mark in identifiers if mark in known]
            self.entered.used += 1
            if self.labelled and any(other != label for other, _ in before):
                # The label is not at fault if the row mixes two members up.
                if _is_of_two(identifiers, known):
                    self._refuse(Refusal(one.line, _TWO_MEMBERS, _HOW_TO_MERGE, one.identity))
                else:
                    self._refuse(Refusal(one.line, _OTHER_LABEL, _FIRST_COUNTS, one.identity))
                continue
            if one.number and one.address and address_of.setdefault(one.number, one.address) != one.address:
                self._refuse(Refusal(one.line, _OTHER_ADDRESS, _FIRST_COUNTS, one.identity))
                continue
            self.entered.twice += bool(before)
            for mark, partner in zip(identifiers, _partners(identifiers), strict=True):
                # Who came with both before, and comes with one, still has the other.
                known[mark] = new[mark] = (label, partner or known.get(mark, (label, 0))[1])
            first.append(one)
        keys = np.fromiter(new.keys(), np.int64, len(new))
        order = np.argsort(keys)
        values = np.array(list(new.values()), np.int64).reshape(-1, 2)
        self._seen.append((keys[order], values[order]))
        return first

    def _known(self, marks: list[int]) -> dict[int, tuple[int, int]]:
        """Of those that came in earlier batches the label, as a hash, and the mark of the other one."""
        asked = np.array(marks, np.int64)
        found: dict[int, tuple[int, int]] = {}
        for keys, values in self._seen:
            if keys.size:
                place = np.minimum(np.searchsorted(keys, asked), keys.size - 1)
                there = keys[place] == asked
                about = map(tuple, values[place[there]].tolist())
                found.update(zip(asked[there].tolist(), about, strict=True))
        return found

    def _refuse(self, refusal: Refusal) -> None:
        self.entered.rejected += 1
        self.on_refusal(refusal)


def batches_of_file(
    stream: BinaryIO, region: str | None, name: str, columns: Columns, progress: Progress
) -> Iterator[PeopleBatch]:
    """The batches of a file, with what a progress bar wants to know. Raises as `read_people`."""
    rows = 0
    for batch in read_people(stream, region, name, columns=columns):
        rows += batch.rows
        yield batch
        progress("reading", rows, 0)


def everybody(batches: Iterable[PeopleBatch]) -> tuple[Members, Members]:
    """All numbers and all addresses that occur."""
    numbers = {one.number for batch in batches for one in batch.people if one.number}
    addresses = {_key(one) for batch in batches for one in batch.people if one.address}
    return Members.from_keys(NUMBER, sorted(numbers)), Members.from_keys(ADDRESS, sorted(addresses))


def _key(person: Person) -> bytes:
    return person.address.removeprefix(_PREFIX)


def _marks_of(person: Person) -> list[int]:
    """A number is its own mark, an address has a hash below 0."""
    marks = [person.number] if person.number else []
    return [*marks, hash(person.address) | -(1 << 63)] if person.address else marks


def _partners(marks: list[int]) -> list[int]:
    """The mark of each one's other identifier, 0 if it has none."""
    return marks[::-1] if len(marks) == 2 else [0]


def _is_of_two(marks: list[int], known: dict[int, tuple[int, int]]) -> bool:
    """Whether a row has a number and an address, and what came before makes them not of one member.

    That is so if one of them had another partner, or both came, each alone.
    """
    if len(marks) < 2:
        return False
    pairs = zip(marks, _partners(marks), strict=True)
    before = [(known[mark][1], partner) for mark, partner in pairs if mark in known]
    is_elsewhere = any(other not in {0, partner} for other, partner in before)
    return is_elsewhere or (len(before) == 2 and not any(other for other, _ in before))
