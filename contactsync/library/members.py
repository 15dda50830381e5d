"""The members of a server: who can be found, what is stored about them, and how it is erased."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput
from contactsync.foundation.progress import Progress, silent
from contactsync.identifiers import KINDS, Rejected, default_region, identify, kind_of
from contactsync.labels import check_label
from contactsync.library.books import checked_numbers
from contactsync.phones import Columns, Refusal
from contactsync.publication.tuf.repository import Repository
from contactsync.server.members import (
    MOST_REJECTED,
    MOST_REMOVED,
    ImportOptions,
    ImportReport,
    Share,
    import_members,
    read_members,
)
from contactsync.server.presence import Presence, everything, presences
from contactsync.server.receipts import Removal
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_members
from contactsync.server.storage.ports import Members, MemberStore
from contactsync.server.storage.records import NOT_STATED, Added, Consented, MemberEntry, MemberRecord, Origin

__all__ = [
    "MOST_REJECTED",
    "MOST_REMOVED",
    "About",
    "Added",
    "Columns",
    "Consented",
    "Erasure",
    "ImportOptions",
    "ImportReport",
    "MemberEntry",
    "MemberRecord",
    "MemberRegister",
    "Members",
    "Numbers",
    "Origin",
    "Refusal",
    "Share",
    "batches_of",
    "members_of",
    "number_of",
    "read_members",
]

Numbers = NDArray[np.uint64] | Iterable[str] | Iterable[Members]
"""Telephone numbers: an array of their digits with the country code, uint64[n]; or texts as people write.

Texts with an @ are e-mail addresses. What is done to one identifier of a member is done to both.

Or batches, as `read_members` gives them: each is changed as it comes.
"""

_PAGE: Final = 1 << 14


def number_of(identifier: bytes) -> str:
    """`+491512345678` of `tel:+491512345678`; any other identifier as it is."""
    return identifier.removeprefix(KINDS["tel"].prefix).decode("utf-8", "backslashreplace")


def members_of(numbers: NDArray[np.uint64] | Iterable[str], region: str | None = None) -> Members:
    """A batch of members, by numbers or by addresses. Raises BadInput.

    `region` is the country of texts without a country code.
    """
    if isinstance(numbers, np.ndarray):
        return Members("tel", checked_numbers(numbers))
    found = _identified(numbers, region)
    return Members.of(found) if found else Members("tel", np.empty(0, np.uint64))


def batches_of(texts: Iterable[str], region: str | None = None) -> list[Members]:
    """A batch for each kind: texts with an @ are addresses, the others numbers. Raises BadInput."""
    found = _identified(texts, region)
    return [
        Members.of(some)
        for kind in KINDS.values()
        if (some := [one for one in found if one.startswith(kind.prefix)])
    ]


def _identified(texts: Iterable[str], region: str | None) -> list[bytes]:
    found = []
    for place, text in enumerate(texts, 1):
        try:
            found.append(identify(text, region or default_region()))
        except Rejected as error:
            what = "address" if "@" in text else "number"
            raise BadInput(f"{what} {place} cannot be used: {error.reason}", hint=error.hint) from None
    return found


@dataclass(frozen=True, slots=True)
class Erasure:
    """What a removal did. `receipt` is that of docs/operations.md, if one was asked for; it has no number.

    `kept` says why something is not overwritten yet; empty if all is. The next publish does it then.
    """

    removed: int
    receipt: dict[str, Any] | None = None
    kept: str = ""


@dataclass(frozen=True, slots=True)
class About:
    """All that is stored and published about a number. `record` None: nothing."""

    number: str
    record: MemberRecord | None
    published: tuple[Presence, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As docs/operations.md says of `members show --json`."""
        if self.record is None:
            return {"number": self.number, "stored": False}
        found = everything(self.record, self.published)
        other = self.record.other
        return {
            "number": self.number,
            "stored": True,
            **found,
            "other": None if other is None else number_of(other),
        }


@dataclass(frozen=True, slots=True)
class MemberRegister:
    """The members of one data folder: `Server.members`. Clients see a change after the next publish."""

    _folder: DataFolder = field(repr=False)

    def add(
        self,
        numbers: Numbers,
        audience: str = AUDIENCES[0],
        *,
        label: str | None = None,
        region: str | None = None,
        verified: date | None = None,
        origin: Origin = NOT_STATED,
    ) -> Added:
        """Add members to an audience, except those who objected to it; all or none.

        `verified` is the day on which the numbers were known to be theirs; None: today. All of them get the
        `label`; None: they keep theirs. Raises BadInput if a number cannot be used, or the label is none.
        """
        found = Added(0, 0, 0)
        batches = list(_batches(numbers, region))
        octets = None if label is None else check_label(label)
        with self._opened() as store, store.together():
            for batch in batches:
                found += store.add(batch, audience, verified=verified, origin=origin)
                if octets is not None:
                    store.label(batch, [octets] * len(batch))
        return found

    def remove(
        self,
        numbers: Numbers,
        audience: str | None = None,
        *,
        region: str | None = None,
        origin: Origin = NOT_STATED,
        receipt: bool = False,
        reference: str | None = None,
    ) -> Erasure:
        """Take members out of an audience, or (None) forget everything about them, and overwrite it.

        `reference` is the operator's own, for the receipt.
        """
        removed = 0
        with self._opened() as store:
            erasing = _Erasing(self._folder, store, audience, wanted=receipt, reference=reference)
            for batch in _batches(numbers, region):
                erasing.watch(batch, audience)
                removed += store.remove(batch, audience, origin=origin)
            return erasing.finish(removed)

    def expire(
        self, before: date, *, dry_run: bool = False, receipt: bool = False, reference: str | None = None
    ) -> Erasure:
        """Forget everybody who was last verified before a day: the number may be somebody else's by now."""
        with self._opened() as store:
            if dry_run:
                return Erasure(store.expire(before, dry_run=True))
            erasing = _Erasing(self._folder, store, None, wanted=receipt, reference=reference)
            return erasing.finish(store.expire(before, watch=erasing.watch))

    def consent(
        self,
        numbers: Numbers,
        audience: str,
        *,
        granted: bool,
        origin: Origin,
        only: bool = False,
        region: str | None = None,
        receipt: bool = False,
        reference: str | None = None,
    ) -> tuple[Consented, Erasure]:
        """Note that members opt in to an audience, or object to it; then their tokens are overwritten.

        Who leaves `people` leaves all audiences, unless `only`. All or none.
        """
        found = Consented(0, 0, 0)
        batches = list(_batches(numbers, region))
        left = audience if only or audience != AUDIENCES[0] else None
        with self._opened() as store:
            wanted = receipt and not granted
            erasing = _Erasing(self._folder, store, left, wanted=wanted, reference=reference, objects=True)
            with store.together():
                for batch in batches:
                    if not granted:
                        erasing.watch(batch, left)
                    found += store.consent(batch, audience, granted=granted, origin=origin, only=only)
            return found, Erasure(0) if granted else erasing.finish(found.changed)

    def import_file(
        self,
        stream: BinaryIO,
        name: str,
        options: ImportOptions,
        *,
        on_refusal: Callable[[Refusal], None] = lambda _: None,
        progress: Progress = silent,
        receipt: bool = False,
        reference: str | None = None,
    ) -> tuple[ImportReport, Erasure]:
        """Add the numbers of a list, a table or a dump: one transaction. See `contactsync docs operations`.

        `on_refusal` gets each row that cannot be used; errors call the file `name`. With
        `ImportOptions.replace` the register is equal to the file then, and who was not in it is overwritten.
        Raises BadInput if more is rejected or removed than the options allow; nothing is changed then.
        """
        left = None if options.audience == AUDIENCES[0] else options.audience
        with self._opened() as store:
            wanted = receipt and options.replace
            erasing = _Erasing(self._folder, store, left, wanted=wanted, reference=reference)
            report = import_members(
                store, stream, name, options, on_refusal=on_refusal, progress=progress, watch=erasing.watch
            )
            if report.removed and not options.dry_run:
                return report, erasing.finish(report.removed)
            return report, Erasure(0)

    def enrol(
        self,
        number: str,
        address: str,
        audience: str = AUDIENCES[0],
        *,
        label: str | None = None,
        region: str | None = None,
        verified: date | None = None,
        origin: Origin = NOT_STATED,
    ) -> Added:
        """Add a member with a number and an e-mail address; they stay one member from then on.

        Raises BadInput, and changes nothing, if they belong to two members already.
        """
        members, (key,) = members_of([number], region), members_of([address]).keys.tolist()
        if members.kind != "tel":
            raise BadInput("the number is an address", hint="give the number first")
        labels = [None if label is None else check_label(label)]
        with self._opened() as store, store.together():
            found = store.enrol(members, [key], audience, verified=verified, origin=origin)
            if found.conflicts:
                raise BadInput(
                    "the number and the address are not of one member, and nothing was changed",
                    hint="`members show` says who they are; then `members move`, or `remove` one",
                )
            if label is not None:
                store.label(members, labels)
        return found.added

    def label(self, labels: Mapping[str, str | None], *, region: str | None = None) -> Consented:
        """Give members labels, by number or address; None removes a label. All or none.

        Who is in no audience has none, and is `unknown`. Raises BadInput if one is no label
        (`contactsync docs protocol`), or a number cannot be used.
        """
        checked = [None if label is None else check_label(label) for label in labels.values()]
        found, changed = Consented(0, 0, 0), False
        of = dict(zip(_identified(labels, region), checked, strict=True))
        with self._opened() as store:
            with store.together():
                for kind in KINDS.values():
                    some = [one for one in of if kind_of(one) is kind]
                    if some:
                        members = Members.of(some)
                        found += store.label(members, [of[one] for one in members.identifiers()])
                changed = found.changed > 0
            if changed:
                store.erase()
        return found

    def move(self, old: str, new: str, *, region: str | None = None, origin: Origin = NOT_STATED) -> Erasure:
        """Give a member another number, or another address; audiences, objections and label stay.

        What was stored about the old one is overwritten. Raises BadInput: nothing is known about the old one,
        or something about the new one.
        """
        with self._opened() as store:
            store.move(members_of([old], region), members_of([new], region), origin=origin)
            return Erasure(1, None, store.erase())

    def unpair(self, numbers: Numbers, *, region: str | None = None) -> int:
        """Let number and address be two members from now on, each with all that they had; how many were."""
        batches = list(_batches(numbers, region))
        with self._opened() as store:
            with store.together():
                found = sum(store.unpair(batch) for batch in batches)
            store.erase()
        return found

    def show(self, numbers: Numbers, *, region: str | None = None) -> Iterator[About]:
        """Everything about each number, once, and in which editions it is published."""
        repository = Repository(self._folder.public)
        with self._opened() as store:
            for batch in _batches(numbers, region):
                records = {record.entry.identifier: record for record in store.show(batch)}
                for identifier in batch.identifiers():
                    number, record = number_of(identifier), records.get(identifier)
                    if record is None:
                        yield About(number, None)
                    else:
                        yield About(number, record, tuple(presences(store, repository, record)))

    def count(self, audience: str = AUDIENCES[0]) -> int:
        """The members of an audience."""
        with self._opened() as store:
            return store.count(audience)

    def entries(self, audience: str | None = None) -> Iterator[MemberEntry]:
        """The members of an audience, ascending; None: everybody stored, also who only objected."""
        with self._opened() as store, store.snapshot():
            for kind in KINDS:
                after: Any = None
                while page := store.entries(kind, after, _PAGE, audience):
                    yield from page
                    after = page[-1].key

    def numbers(self, audience: str = AUDIENCES[0]) -> NDArray[np.uint64]:
        """The telephone numbers of an audience, ascending, uint64[n]."""
        pages: list[NDArray[np.uint64]] = []
        after: Any = None
        with self._opened() as store, store.snapshot():
            while page := store.entries("tel", after, 1 << 16, audience):
                after = page[-1].key
                pages.append(np.array([entry.key for entry in page], np.uint64))
        return np.concatenate([np.empty(0, np.uint64), *pages])

    @contextlib.contextmanager
    def _opened(self) -> Iterator[MemberStore]:
        with contextlib.closing(open_members(self._folder)) as store:
            yield store


class _Erasing:
    """Counts who is about to be removed from a store, if a receipt is wanted; then erases, and makes it out.

    `audience` is what they are removed from; None: everything about them is forgotten.
    """

    def __init__(
        self,
        folder: DataFolder,
        store: MemberStore,
        audience: str | None,
        *,
        wanted: bool,
        reference: str | None,
        objects: bool = False,
    ) -> None:
        self._folder = folder
        self._store = store
        self._audience = audience
        self._wanted = wanted
        self._reference = reference
        self._objects = objects
        self._removal = Removal()

    def watch(self, members: Members, audience: str | None) -> None:
        """Count them; to be called while they are still stored."""
        if self._wanted:
            self._removal.add(self._store.show(members), audience, objects=self._objects)
            others = self._store.others(members)
            if others is not None:
                records = self._store.show(others)
                self._removal.add(records, audience, objects=self._objects, others=True)

    def finish(self, removed: int) -> Erasure:
        """Overwrite what was removed. No transaction may be open."""
        kept = self._store.erase()
        if not self._wanted:
            return Erasure(removed, None, kept)
        counted = self._removal.members + self._removal.kept
        receipt = self._removal.receipt(
            Repository(self._folder.public),
            removed=counted if self._objects else removed,  # others, who were no members, object only
            audience=self._audience,
            reference=self._reference,
            kept=kept,
            beyond=self._store.beyond(),
        )
        return Erasure(removed, receipt, kept)


def _batches(numbers: Numbers, region: str | None) -> Iterator[Members]:
    if isinstance(numbers, np.ndarray):
        yield members_of(numbers)
        return
    texts: list[str] = []
    for one in numbers:
        if isinstance(one, Members):
            yield one
        else:
            texts.append(one)
    yield from batches_of(texts, region)
