"""The routes of members: one, batches, and consent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Final

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput
from contactsync.identifiers import kind_of
from contactsync.publication.tuf.repository import Repository
from contactsync.server.admin.calls import ERRORS_SHOWN, AdminAnswer, Call, Fields
from contactsync.server.admin.idempotency import Change, Repeats
from contactsync.server.admin.problems import AdminProblem
from contactsync.server.admin.reading import (
    IN_A_BATCH,
    Readers,
    audience_in,
    identifier_in,
    read_identifiers,
    refusal,
)
from contactsync.server.admin.writer import Fate, Single
from contactsync.server.presence import everything, presences
from contactsync.server.storage.ports import Members, MemberStore
from contactsync.server.storage.records import NOT_STATED, Added, Origin

_READ_AT_ONCE: Final = 64
"""A batch of so few is read at once; a larger one in a thread, so that nobody waits for it."""

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ABOUT: Final = ("verified", "source", "by")


@dataclass(frozen=True, slots=True)
class Details:
    """What a request says about those whom it puts."""

    audience: str | None
    verified: date | None
    origin: Origin

    def add(self, store: MemberStore, members: Members) -> Added:
        """Add members, as is said."""
        audience = self.audience or AUDIENCES[0]
        return store.add(members, audience, verified=self.verified, origin=self.origin)


class MemberRoutes:
    """`/v1/members/…`."""

    def __init__(self, repository: Repository, repeats: Repeats, readers: Readers) -> None:
        self._repository = repository
        self._repeats = repeats
        self._readers = readers

    async def show(self, call: Call) -> AdminAnswer:
        """Everything that is stored about a member."""
        call.query()
        identifier = identifier_in(call.segments[2])

        def show(store: MemberStore) -> AdminAnswer:
            with store.snapshot():
                for record in store.show(Members.of([identifier])):
                    published = presences(store, self._repository, record)
                    about = everything(record, published)
                    return AdminAnswer(200, {"identifier": identifier.decode(), **about})
            raise unknown_member()

        return await self._readers.run(show)

    async def put(self, call: Call) -> AdminAnswer:
        """Let a member be found by an audience, unless they objected."""
        identifier = identifier_in(call.segments[2])
        call.query()
        body = await call.fields("audience", *_ABOUT)
        details = read_details(body)
        body.finish()
        single = _single(identifier, details.audience or AUDIENCES[0], put=True)
        if not body.values or body.values.keys() == {"audience"}:
            return await self._change(call, identifier, single)

        def put(store: MemberStore) -> AdminAnswer:
            return _told(identifier, single, Fate.of(details.add(store, Members.of([identifier]))))

        return await self._repeats.change(call, put)

    async def delete(self, call: Call) -> AdminAnswer:
        """Forget a member, and all that is stored about them; or take them out of one audience only."""
        identifier = identifier_in(call.segments[2])
        audience = audience_in(call)
        await call.read()
        return await self._change(call, identifier, _single(identifier, audience, put=False))

    async def consent(self, call: Call) -> AdminAnswer:
        """Note that a member opted in, or objects."""
        identifier, audience = identifier_in(call.segments[2]), call.segments[4]
        call.query()
        if audience not in AUDIENCES:
            raise AdminProblem("not-found", "there is no such audience")
        body = await call.fields("granted", "only", "source", "by", needed=("granted", "source"))
        granted, only, origin = body.flag("granted"), body.flag("only"), _read_origin(body)
        body.finish()

        def consent(store: MemberStore) -> AdminAnswer:
            members = Members.of([identifier])
            found = store.consent(members, audience, granted=granted, origin=origin, only=only)
            if found.unknown:
                raise unknown_member()
            return AdminAnswer(200, {"identifier": identifier.decode(), "changed": found.changed > 0})

        return await self._repeats.change(call, consent)

    async def batch(self, call: Call) -> AdminAnswer:
        """Put and delete many, all or none, or (`partial`) those that can be used."""
        call.query()
        body = await call.fields("put", "delete", "audience", "partial", *_ABOUT)
        puts, deletes = body.texts("put", IN_A_BATCH), body.texts("delete", IN_A_BATCH)
        details, partial = read_details(body), body.flag("partial")
        if not body.errors and not 0 < len(puts) + len(deletes) <= IN_A_BATCH:
            body.wrong("", f"must name 1 to {IN_A_BATCH} members in `put` and `delete`")
        body.finish()

        def read() -> Change:
            return _read_batch(puts, deletes, details, partial=partial)

        small = len(puts) + len(deletes) <= _READ_AT_ONCE
        return await self._repeats.change(call, read() if small else await self._readers.apart(read))

    async def _change(self, call: Call, identifier: bytes, single: Single) -> AdminAnswer:
        return await self._repeats.single(call, single, lambda fate: _told(identifier, single, fate))


def _told(identifier: bytes, single: Single, fate: Fate) -> AdminAnswer:
    changed = fate is Fate.CHANGED
    told = {"identifier": identifier.decode(), "changed": changed}
    if single.put:
        told["objected"] = fate is Fate.OBJECTED
    return AdminAnswer(201 if changed and single.put else 200, told)


def _single(identifier: bytes, audience: str | None, *, put: bool) -> Single:
    kind = kind_of(identifier)
    (key,) = kind.keys_of([identifier]).tolist()
    return Single(put, kind.name, key, audience)


def read_details(body: Fields) -> Details:
    """What a body says about a change; what is wrong is noted in it."""
    audience = body.choice("audience", AUDIENCES, AUDIENCES[0]) if "audience" in body else None
    verified, text = None, body.text("verified", pattern=_DAY)
    if text:
        try:
            verified = date.fromisoformat(text)
        except ValueError:
            body.wrong("/verified", "is no day")
    return Details(audience, verified, _read_origin(body))


def _read_origin(body: Fields) -> Origin:
    source, by = body.text("source", default=NOT_STATED.source), body.text("by")
    if not body.errors:
        try:
            return Origin(source, by)
        except BadInput as error:
            body.wrong("/source", str(error))
    return NOT_STATED


def _read_batch(puts: Sequence[str], deletes: Sequence[str], details: Details, *, partial: bool) -> Change:
    """What carries a batch out. Raises AdminProblem: some cannot be used, and `partial` is not wanted."""
    put, refused = read_identifiers(puts, "/put")
    delete, also = read_identifiers(deletes, "/delete")
    refused += also
    if not {*put}.isdisjoint(delete):
        detail = "the same member stands in `put` and in `delete`"
        raise AdminProblem("not-valid", detail, "say which of the two it is to be")
    if refused and not partial:
        raise refusal(refused)

    def apply(store: MemberStore) -> AdminAnswer:
        deleted = sum(store.remove(some, details.audience, origin=details.origin) for some in by_kind(delete))
        added = sum((details.add(store, some) for some in by_kind(put)), Added(0, 0, 0))
        counts = {
            "added": added.new,
            "known": added.known,
            "objected": added.objected,
            "deleted": deleted,
            "absent": len(delete) - deleted,
            "refused": len(refused),
        }
        return AdminAnswer(200, {**counts, "errors": refused[:ERRORS_SHOWN]})

    return apply


def by_kind(identifiers: Sequence[bytes]) -> list[Members]:
    """The members with these identifiers, those of each kind together."""

    def name(identifier: bytes) -> str:
        return kind_of(identifier).name

    return [Members.of(list(some)) for _, some in groupby(sorted(identifiers, key=name), name)]


def unknown_member() -> AdminProblem:
    """Nothing is known."""
    return AdminProblem("no-such-member", "nothing is stored about this member")
