"""What becomes of a member's consent: the rules, whatever the storage.

A store adds how rows are read and written. A member is in the audiences whose bits are set, and has objected
to those whose bits are set OBJECTION bits higher.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput
from contactsync.identifiers.kinds import KINDS
from contactsync.server.storage.erasing import Watch, unwatched
from contactsync.server.storage.labelling import checked_labels
from contactsync.server.storage.ports import Members
from contactsync.server.storage.records import (
    NOT_STATED,
    Added,
    ConsentChange,
    Consented,
    Difference,
    MemberEntry,
    MemberRecord,
    Origin,
    audience_of,
    bit_of,
    day_number,
    day_of_number,
    today,
)
from contactsync.tokens import TOKEN_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from contactsync.identifiers.kinds import Keys

CHUNK: Final = 1 << 16
"""Rows at once."""

OBJECTION: Final = 16
"""The bit of an objection is that of its audience, shifted by so many."""

FIRST: Final = bit_of(AUDIENCES[0])
DAY: Final = 86400
VERIFIED: Final = f"CASE verified WHEN 0 THEN added / {DAY} ELSE verified END"
"""The day since 1970 on which somebody was verified: 0 stands for that of `added`. In SQL."""

JOINED, LEFT, OBJECTED = 1, 0, -1
"""What a row of `consents` says; OBJECTED: and was not in it."""

ALL: Final = (1 << len(AUDIENCES)) - 1


class Membership:
    """The part of a `MemberStore` that changes who is in it."""

    def together(self) -> AbstractContextManager[None]:
        """See `MemberStore.together`."""
        raise NotImplementedError

    # What a storage does. All of it is called in a transaction; the keys are of one partition, and not many,
    # but for `_join`.

    def _join(self, members: Members, bit: int, day: int, origin: Origin) -> Added:
        """Add members to an audience, as `MemberStore.add` says, verified on a day."""
        raise NotImplementedError

    def _write(self) -> AbstractContextManager[int]:
        """A transaction that changes membership, or the one that is open. Yields its serial."""
        raise NotImplementedError

    def _standing(self, kind: str, partition: str, keys: Keys) -> dict[Any, int]:
        """The bits of those keys that are there."""
        raise NotImplementedError

    def _note_strangers(self, kind: str, partition: str, keys: Sequence[Any], now: int) -> None:
        """Begin to keep something about keys that are not there, in no audience."""
        raise NotImplementedError

    def _forget(self, kind: str, partition: str, keys: Sequence[Any]) -> None:
        """Delete these members and what they consented to."""
        raise NotImplementedError

    def _labels(self, kind: str, partition: str, keys: Keys) -> dict[Any, bytes]:
        """The labels of those keys that have one."""
        raise NotImplementedError

    def _set_labels(self, kind: str, partition: str, labels: Mapping[Any, bytes | None]) -> None:
        """Give keys these labels; None: it has none any more."""
        raise NotImplementedError

    def _set_bits(
        self, kind: str, partition: str, rows: Sequence[tuple[int, bool, Any]], serial: int
    ) -> None:
        """Set bits, and the serial of the first audience if that is said: (bits, whether, key)."""
        raise NotImplementedError

    def _log(
        self, kind: str, partition: str, keys: Sequence[Any], entry: tuple[int, int, int], origin: Origin
    ) -> None:
        """Keep a change of consents: its audience's bit, what it is, and its serial."""
        raise NotImplementedError

    def _drop_tokens_of(self, kind: str, partition: str, changed: Mapping[Any, int], serial: int) -> None:
        """Delete tokens of members, those of the audiences whose bits are given. They are not pending."""
        raise NotImplementedError

    def _note_pending(self, kind: str, partition: str, keys: Keys, bit: int) -> None:
        """Note that members who have just joined an audience have no tokens (pending.py)."""
        raise NotImplementedError

    def _leave_traces(self, kind: str, partition: str) -> None:
        """Note that something is removed from here which `erase` has to overwrite."""
        raise NotImplementedError

    def _count_more(self, bit: int, more: int) -> None:
        """Note that an audience has so many members more; less if negative (counting.py)."""
        raise NotImplementedError

    def _touch(self, partition: str, serial: int) -> None:
        raise NotImplementedError

    def _depart(self, partition: str, serial: int) -> None:
        raise NotImplementedError

    def _keys(self, kind: str, condition: str) -> Iterator[Keys]:
        """The keys of members for whom a condition holds, ascending, in arrays."""
        raise NotImplementedError

    # The rules

    def add(
        self,
        members: Members,
        audience: str = AUDIENCES[0],
        *,
        verified: date | None = None,
        origin: Origin = NOT_STATED,
    ) -> Added:
        """See `MemberStore.add`."""
        bit = bit_of(audience)
        with self.together():
            found = self._join(members, bit, checked_day(verified), origin)
            self._count_more(bit, found.new)
        return found

    def remove(self, members: Members, audience: str | None = None, *, origin: Origin = NOT_STATED) -> int:
        """See `MemberStore.remove`."""
        kind, removed = members.kind, 0
        with self._write() as serial:
            for partition, keys in pieces(members):
                before = self._standing(kind, partition, keys)
                bits = ALL if audience is None else bit_of(audience)
                after = {key: 0 if audience is None else old & ~bits for key, old in before.items()}
                changed = [key for key in before if audience is None or before[key] & bits]
                states = {key: (before[key], after[key]) for key in changed}
                self._change(kind, partition, states, serial, origin)
                if any(before[key] & ~after[key] & ALL for key in changed):
                    self._depart(partition, serial)
                if changed:
                    removed += len(changed)
                    self._touch(partition, serial)
        return removed

    def consent(
        self, members: Members, audience: str, *, granted: bool, origin: Origin, only: bool = False
    ) -> Consented:
        """See `MemberStore.consent`."""
        bit, kind, found = bit_of(audience), members.kind, Consented(0, 0, 0)
        bits = bit if granted or only or bit != FIRST else ALL
        with self._write() as serial:
            for partition, keys in pieces(members):
                before = self._standing(kind, partition, keys)
                unknown = 0
                if granted:
                    unknown = keys.size - len(before)
                    after = {key: (old | bit) & ~(bit << OBJECTION) for key, old in before.items()}
                else:
                    strangers = [key for key in keys.tolist() if key not in before]
                    self._note_strangers(kind, partition, strangers, int(time.time()))
                    before.update((key, 0) for key in strangers)
                    after = {key: old & ~bits | bits << OBJECTION for key, old in before.items()}
                changed = {key: (old, after[key]) for key, old in before.items() if after[key] != old}
                self._change(kind, partition, changed, serial, origin)
                if any((old ^ new) & ALL for old, new in changed.values()):
                    self._touch(partition, serial)
                if any(old & ~new & ALL for old, new in changed.values()):
                    self._depart(partition, serial)
                found += Consented(len(changed), keys.size - unknown - len(changed), unknown)
        return found

    def label(self, members: Members, labels: Sequence[bytes | None]) -> Consented:
        """See `LabelStore.label`."""
        checked_labels(labels, len(members))
        kind, found = members.kind, Consented(0, 0, 0)
        given = dict(zip(members.keys.tolist(), labels, strict=True))
        with self._write() as serial:
            for partition, keys in pieces(members):
                standing = self._standing(kind, partition, keys)
                inside = [key for key, bits in standing.items() if bits & ALL]
                before = self._labels(kind, partition, keys)
                changed = {key: given[key] for key in inside if before.get(key) != given[key]}
                self._set_labels(kind, partition, changed)
                if changed:
                    self._touch(partition, serial)
                if any(key in before for key in changed):
                    # What was there is withdrawn like a member: from the files, and from what is served.
                    self._leave_traces(kind, partition)
                    self._depart(partition, serial)
                found += Consented(len(changed), len(inside) - len(changed), keys.size - len(inside))
        return found

    def _change(
        self, kind: str, partition: str, changed: Mapping[Any, tuple[int, int]], serial: int, origin: Origin
    ) -> None:
        """Bring members from one state of their bits to another; who has none any more is forgotten."""
        left = {key: old & ~new for key, (old, new) in changed.items() if old & ~new}
        kept = {key: bits for key, bits in changed.items() if bits[1]}
        if left:
            self._leave_traces(kind, partition)
        self._forget(kind, partition, [key for key, (_, new) in changed.items() if not new])
        unlabelled = [key for key, (old, new) in kept.items() if old & ALL and not new & ALL]
        self._set_labels(kind, partition, dict.fromkeys(unlabelled))
        rows = [(new, bool((old ^ new) & FIRST), key) for key, (old, new) in kept.items()]
        self._set_bits(kind, partition, rows, serial)
        for bit in map(bit_of, AUDIENCES):
            for what, then, now in ((JOINED, 0, bit), (LEFT, bit, 0), (OBJECTED, 0, bit << OBJECTION)):
                either = bit | now
                keys = [
                    key for key, (old, new) in kept.items() if old & either == then and new & either == now
                ]
                self._log(kind, partition, keys, (bit, what, serial), origin)
            if joined := [key for key, (old, new) in kept.items() if new & ~old & bit]:
                self._note_pending(kind, partition, Members.from_keys(kind, joined).keys, bit)
            gone = sum(1 for old, new in changed.values() if old & ~new & bit)
            self._count_more(bit, len(joined) - gone)
        if left:
            self._drop_tokens_of(kind, partition, left, serial)

    def replace(
        self,
        members: Members,
        audience: str,
        *,
        also: Members | None = None,
        enter: Callable[[], None] | None = None,
        verified: date | None = None,
        origin: Origin = NOT_STATED,
        allow: Callable[[Difference], None],
        watch: Watch = unwatched,
    ) -> Difference:
        """See `MemberStore.replace`."""
        if not len(members) and not also:
            raise BadInput("an audience cannot be replaced by nobody", hint="use `members remove`")
        bit, found, leaving = bit_of(audience), Difference(0, 0, 0, 0), list[Members]()
        with self.together():
            for group in self._groups(members, also):
                difference, missing = self._difference(group, bit, among_all=also is None)
                found += difference
                leaving += [missing] if len(missing) else []
            allow(found)
            of = None if bit == FIRST else audience
            for missing in leaving:
                watch(missing, of)
                self.remove(missing, of, origin=origin)
            if enter is not None:
                enter()
            else:
                self.add(members, audience, verified=verified, origin=origin)
        return found

    def _difference(self, members: Members, bit: int, *, among_all: bool) -> tuple[Difference, Members]:
        """What replacing those of a kind who are in an audience by these changes, and who is missing."""
        kind, before, kept, objected = members.kind, 0, 0, 0
        missing: list[Any] = []
        for page in self._keys(kind, f"audiences & {bit:d} <> 0"):
            keys = page if among_all else self._alone(kind, page)
            there = _among(members.keys, keys)
            before += keys.size
            kept += int(np.count_nonzero(there))
            missing += keys[~there].tolist()
        for keys in self._keys(kind, f"audiences & {bit << OBJECTION:d} <> 0"):
            objected += int(np.count_nonzero(_among(members.keys, keys)))
        difference = Difference(before, len(missing), len(members) - kept - objected, objected)
        return difference, Members.from_keys(kind, missing)

    def _groups(self, members: Members, also: Members | None) -> list[Members]:
        """Members by kind who replace others of their kind."""
        return [members] if also is None else [members, also]

    def _alone(self, kind: str, keys: Keys) -> Keys:  # noqa: ARG002
        """Those keys that are not, as another identifier of a member, counted already."""
        return keys

    def expire(self, before: date, *, dry_run: bool = False, watch: Watch = unwatched) -> int:
        """See `MemberStore.expire`."""
        expired = 0
        with self.together():
            for kind in KINDS:
                old = self._keys(kind, f"{VERIFIED} < {day_number(before):d}")
                pages = [self._alone(kind, keys) for keys in old]
                expired += sum(keys.size for keys in pages)
                for keys in pages if not dry_run else ():
                    watch(Members(kind, keys), None)
                    self.remove(Members(kind, keys))
        return expired


def checked_day(verified: date | None) -> int:
    """The day as a number. Raises BadInput if it is in the future, or before 1970."""
    day, now = day_number(verified or today()), day_number(today())
    if not 0 < day <= now:
        raise BadInput(
            f"{verified} is not a day on which numbers can have been verified", hint="give a day up to today"
        )
    return day


def entry_of(kind: str, identifier: bytes, row: Sequence[Any]) -> MemberEntry:
    """A member, from their key, bits, `added`, and day."""
    key, bits, added, verified = row
    return MemberEntry(
        kind=kind,
        key=key,
        identifier=identifier,
        audiences=tuple(one for one in AUDIENCES if bits & bit_of(one)),
        objections=tuple(one for one in AUDIENCES if bits & bit_of(one) << OBJECTION),
        added=added,
        verified=day_of_number(verified),
    )


def entries_of(kind: str, rows: Sequence[Sequence[Any]]) -> list[MemberEntry]:
    """The same of many."""
    if not rows:
        return []
    identifiers = Members.from_keys(kind, [row[0] for row in rows]).identifiers()
    return [entry_of(kind, identifier, row) for identifier, row in zip(identifiers, rows, strict=True)]


def record_of(
    entry: MemberEntry,
    since: int,
    consents: Iterable[Sequence[Any]],
    tokens: Iterable[tuple[int, int, bytes]],
    *,
    label: bytes | None,
    other: bytes | None,
) -> MemberRecord:
    """All about a member. Consents are (serial, bit, at, what, source, by), tokens (bit, epoch, token)."""
    changed = dict.fromkeys(entry.audiences, 0)
    if since and (AUDIENCES[0] in entry.audiences or AUDIENCES[0] in entry.objections):
        changed[AUDIENCES[0]] = since
    kept = list(consents)
    for serial, bit, _, what, *_ in kept:
        audience = audience_of(bit)
        if audience != AUDIENCES[0] and what != OBJECTED:
            changed[audience] = max(changed.get(audience, 0), serial)
    return MemberRecord(
        entry=entry,
        consents=tuple(
            ConsentChange(audience_of(bit), what == JOINED, at, source, by)
            for _, bit, at, what, source, by in kept
        ),
        tokens={(audience_of(bit), epoch): bytes(token[:TOKEN_BYTES]) for bit, epoch, token in tokens},
        changed=changed,
        label=label,
        other=other,
    )


def _among(these: Keys, keys: Keys) -> NDArray[np.bool_]:
    """Which of the keys are among these, which are ascending."""
    if not these.size:
        return np.zeros(keys.size, np.bool_)
    found: NDArray[np.bool_] = these[np.minimum(np.searchsorted(these, keys), these.size - 1)] == keys
    return found


def pieces(members: Members) -> Iterator[tuple[str, Keys]]:
    """Their keys by partition, never too many at once: a Python object takes much more room than a key."""
    for partition, keys in KINDS[members.kind].by_partition(members.keys):
        for first in range(0, keys.size, CHUNK):
            yield partition, keys[first : first + CHUNK]
