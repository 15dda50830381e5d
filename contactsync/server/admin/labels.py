"""The routes of a member's label, and of the other identifier that the same member has."""

from __future__ import annotations

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput
from contactsync.identifiers import Rejected, kind_of
from contactsync.labels import check_label
from contactsync.server.admin.calls import AdminAnswer, Call, Fields
from contactsync.server.admin.idempotency import Repeats
from contactsync.server.admin.members import read_details, unknown_member
from contactsync.server.admin.problems import AdminProblem
from contactsync.server.admin.reading import Readers, identifier_in, identifier_of
from contactsync.server.storage.pairs import NUMBER
from contactsync.server.storage.ports import Members, MemberStore


class LabelRoutes:
    """`/v1/members/…/label`, `/v1/members/…/other`, `/v1/members/…/move`."""

    def __init__(self, repeats: Repeats, readers: Readers) -> None:
        self._repeats = repeats
        self._readers = readers

    async def show(self, call: Call) -> AdminAnswer:
        """The label of a member, null if they have none."""
        call.query()
        identifier = identifier_in(call.segments[2])

        def show(store: MemberStore) -> AdminAnswer:
            for record in store.show(Members.of([identifier])):
                label = None if record.label is None else record.label.decode()
                return AdminAnswer(200, {"identifier": identifier.decode(), "label": label})
            raise unknown_member()

        return await self._readers.run(show)

    async def put(self, call: Call) -> AdminAnswer:
        """Set the label of a member."""
        identifier = identifier_in(call.segments[2])
        call.query()
        body = await call.fields("label", needed=("label",))
        text, label = body.text("label"), b""
        if not body.errors:
            try:
                label = check_label(text)
            except BadInput as error:
                body.wrong("/label", f"is no label: {error}", hint=error.hint)
        body.finish()
        return await self._label(call, identifier, label)

    async def delete(self, call: Call) -> AdminAnswer:
        """Remove the label of a member."""
        identifier = identifier_in(call.segments[2])
        call.query()
        await call.read()
        return await self._label(call, identifier, None)

    async def put_other(self, call: Call) -> AdminAnswer:
        """Add a member with a number and an address."""
        identifier = identifier_in(call.segments[2])
        call.query()
        names = ("identifier", "audience", "verified", "source", "by")
        body = await call.fields(*names, needed=("identifier",))
        other, details = _identifier(body, "identifier"), read_details(body)
        if other and kind_of(other) is kind_of(identifier):
            body.wrong("/identifier", "must be an address, if the member is known by a number, or a number")
        body.finish()
        number, address = identifier, other
        if kind_of(identifier).name != NUMBER:
            number, address = other, identifier

        def enrol(store: MemberStore) -> AdminAnswer:
            found = store.enrol(
                Members.of([number]),
                Members.of([address]).keys.tolist(),
                details.audience or AUDIENCES[0],
                verified=details.verified,
                origin=details.origin,
            )
            if found.conflicts:
                raise AdminProblem(
                    "not-valid",
                    "the number and the address are not of one member, and nothing was changed",
                    "delete one of the two, or move the member",
                )
            told = {"identifier": identifier.decode(), "changed": found.added.new > 0}
            return AdminAnswer(200, {**told, "objected": found.added.objected > 0})

        return await self._repeats.change(call, enrol)

    async def delete_other(self, call: Call) -> AdminAnswer:
        """Let number and address be two members."""
        identifier = identifier_in(call.segments[2])
        call.query()
        await call.read()

        def unpair(store: MemberStore) -> AdminAnswer:
            changed = store.unpair(Members.of([identifier])) > 0
            return AdminAnswer(200, {"identifier": identifier.decode(), "changed": changed})

        return await self._repeats.change(call, unpair)

    async def move(self, call: Call) -> AdminAnswer:
        """Give a member another number, or another address."""
        old = identifier_in(call.segments[2])
        call.query()
        body = await call.fields("to", "source", "by", needed=("to",))
        new, details = _identifier(body, "to"), read_details(body)
        if new and kind_of(new) is not kind_of(old):
            body.wrong("/to", "must be of the same kind as the identifier that it takes the place of")
        body.finish()

        def move(store: MemberStore) -> AdminAnswer:
            if not store.show(Members.of([old])):
                raise unknown_member()
            try:
                store.move(Members.of([old]), Members.of([new]), origin=details.origin)
            except BadInput as error:
                raise AdminProblem("not-valid", str(error), error.hint or "") from None
            return AdminAnswer(200, {"identifier": new.decode(), "changed": True})

        return await self._repeats.change(call, move)

    async def _label(self, call: Call, identifier: bytes, label: bytes | None) -> AdminAnswer:
        def change(store: MemberStore) -> AdminAnswer:
            found = store.label(Members.of([identifier]), [label])
            if found.unknown:
                raise unknown_member()
            return AdminAnswer(200, {"identifier": identifier.decode(), "changed": found.changed > 0})

        return await self._repeats.change(call, change)


def _identifier(body: Fields, name: str) -> bytes:
    """A member that is an identifier; b"" if it cannot be used, which is noted."""
    text = body.text(name)
    if body.errors:
        return b""
    try:
        return identifier_of(text)
    except Rejected as error:
        body.wrong(f"/{name}", error.reason, **({"hint": error.hint} if error.hint else {}))
        return b""
