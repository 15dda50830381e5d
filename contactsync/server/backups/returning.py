"""Who would come back with an older register: those who were removed, left or objected since."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from contactsync.foundation.audiences import AUDIENCES
from contactsync.identifiers.kinds import KINDS
from contactsync.server.storage.ports import Members, MemberStore
from contactsync.server.storage.records import MemberEntry, Origin

_COMPARED_AT_ONCE: Final = 10_000
_ORIGIN: Final = Origin("restore")


@dataclass(slots=True)
class Returning:
    """Members of the older register who are not so in the newer one. Keys are by kind.

    `gone`: nothing is known of them any more. `left` and `objected` are by audience, of those who are known.
    `joined` counts who is in the newer register alone.
    """

    gone: dict[str, list[Any]] = field(default_factory=dict, repr=False)
    left: dict[tuple[str, str], list[Any]] = field(default_factory=dict, repr=False)
    objected: dict[tuple[str, str], list[Any]] = field(default_factory=dict, repr=False)
    joined: int = 0
    people: int = 0
    """How many are in `gone`, `left` or `objected`."""
    accounts: list[str] = field(default_factory=list)
    """Accounts that were revoked since."""


def returning(older: MemberStore, newer: MemberStore) -> Returning:
    """Compare two registers. Who had only objected, and is not known any more, was expired or removed too."""
    found = Returning()
    for kind in KINDS:
        now = _entries(newer, kind)
        there = next(now, None)
        for one in _entries(older, kind):
            while there is not None and there.key < one.key:
                found.joined += 1
                there = next(now, None)
            if there is None or there.key != one.key:
                found.gone.setdefault(kind, []).append(one.key)
                found.people += 1
                continue
            found.people += _differs(found, kind, one, there)
            there = next(now, None)
        while there is not None:
            found.joined += 1
            there = next(now, None)
    return found


def _differs(found: Returning, kind: str, one: MemberEntry, there: MemberEntry) -> bool:
    differs = False
    for audience in AUDIENCES:
        if audience in there.objections and audience not in one.objections:
            found.objected.setdefault((kind, audience), []).append(one.key)
            differs = True
        elif audience in one.audiences and audience not in there.audiences:
            found.left.setdefault((kind, audience), []).append(one.key)
            differs = True
    return differs


def take_out(older: MemberStore, found: Returning) -> None:
    """Bring the older register up to that, in one transaction."""
    with older.together():
        for kind, keys in found.gone.items():
            older.remove(Members.from_keys(kind, keys))
        for (kind, audience), keys in found.objected.items():
            older.consent(Members.from_keys(kind, keys), audience, granted=False, origin=_ORIGIN, only=True)
        for (kind, audience), keys in found.left.items():
            older.remove(Members.from_keys(kind, keys), audience, origin=_ORIGIN)


def _entries(store: MemberStore, kind: str) -> Iterator[MemberEntry]:
    after = None
    while page := store.entries(kind, after, _COMPARED_AT_ONCE):
        yield from page
        after = page[-1].key
