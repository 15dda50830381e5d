"""The application of the admin API: implements docs/openapi.yaml.

It is ASGI without a framework: finding the route of a request takes a microsecond, and thousands of single
writes a second leave no room for more. It logs nothing about requests. Internal errors are logged by type and
place, without their text.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hmac
import json
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from starlette.types import Receive, Scope, Send

from contactsync.foundation.errors import ContactSyncError
from contactsync.publication.tuf.repository import Repository
from contactsync.server.admin.accounts import AccountRoutes
from contactsync.server.admin.calls import AdminAnswer, Call, Gone
from contactsync.server.admin.editions import NextEditions
from contactsync.server.admin.idempotency import Repeats
from contactsync.server.admin.labels import LabelRoutes
from contactsync.server.admin.members import MemberRoutes
from contactsync.server.admin.problems import AdminProblem, problem_of
from contactsync.server.admin.publishing import PublishingRoutes
from contactsync.server.admin.reading import Readers
from contactsync.server.admin.writer import Writer
from contactsync.server.admission import Overloaded
from contactsync.server.http.threads import Threads
from contactsync.server.keyring import Keyring
from contactsync.server.quota import Clock, system_clock
from contactsync.server.settings import DataFolder
from contactsync.server.status import status
from contactsync.server.storage.files import PublicFolder
from contactsync.server.storage.opening import open_members
from contactsync.server.storage.ports import AccountStore, MemberStore, credential_hash

SWEEP_SECONDS: Final = 600.0

ERASE_SECONDS: Final = 1.0
"""What was removed is overwritten after so many seconds, or ten times as many as it took the last time."""

_HEAD: Final = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]

Handler = Callable[[Call], Awaitable[AdminAnswer]]

log = logging.getLogger("contactsync.admin")


class AdminApp:
    """An ASGI application. `credential` None: whoever can connect may ask, as on a private socket."""

    def __init__(
        self,
        folder: DataFolder,
        accounts: AccountStore,
        keyring: Keyring,
        credential: str | None,
        *,
        clock: Clock = system_clock,
    ) -> None:
        """Opens the register. Raises OurError."""
        self._folder = folder
        self._accounts = accounts
        self._expected = None if credential is None else credential_hash(credential)
        self._threads = Threads("accounts", 1)
        self._readers = Readers(folder)
        self._writer = Writer(open_members(folder), NextEditions(folder, PublicFolder(folder.public)), clock)
        self._repeats = Repeats(self._writer, clock)
        members = MemberRoutes(Repository(folder.public), self._repeats, self._readers)
        labels = LabelRoutes(self._repeats, self._readers)
        people = AccountRoutes(folder, accounts, self._repeats, self._threads)
        self._publishing = PublishingRoutes(
            folder, lambda: contextlib.closing(open_members(folder)), keyring, self._repeats
        )
        # A star stands for a name, which is no word of the table.
        self._routes: dict[tuple[str, ...], dict[str, Handler]] = {
            ("status",): {"GET": self._status},
            ("members", "batch"): {"POST": members.batch},
            ("members", "*"): {"GET": members.show, "PUT": members.put, "DELETE": members.delete},
            ("members", "*", "consents", "*"): {"PUT": members.consent},
            ("members", "*", "label"): {"GET": labels.show, "PUT": labels.put, "DELETE": labels.delete},
            ("members", "*", "other"): {"PUT": labels.put_other, "DELETE": labels.delete_other},
            ("members", "*", "move"): {"POST": labels.move},
            ("accounts",): {"GET": people.list, "POST": people.add},
            ("accounts", "*"): {"GET": people.show, "PATCH": people.change, "DELETE": people.revoke},
            ("accounts", "*", "credential"): {"POST": people.rotate},
            ("accounts", "*", "sign-in"): {"POST": people.sign_in},
            ("publications",): {"GET": self._publishing.list, "POST": self._publishing.begin},
            ("publications", "*"): {"GET": self._publishing.show},
        }
        self._tasks: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or begin and end with the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        call = Call(scope, receive)
        try:
            answer = await self._answer(call)
        except Gone:
            return
        except AdminProblem as problem:
            await problem.response()(scope, receive, send)
            return
        if answer.members is None:
            await send({"type": "http.response.start", "status": answer.status, "headers": _HEAD[1:]})
            await send({"type": "http.response.body", "body": b""})
            return
        body = json.dumps(answer.members).encode()
        headers = [*_HEAD, (b"content-length", b"%d" % len(body))]
        if answer.location:
            headers.append((b"location", answer.location.encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, call: Call) -> AdminAnswer:
        """Raises AdminProblem, Gone."""
        try:
            if self._expected is not None:
                self._authenticate(call)
            return await self._route(call)(call)
        except (AdminProblem, Gone):
            raise
        except Overloaded:
            detail, hint = "too many requests are waiting", "try again soon"
            raise AdminProblem("overloaded", detail, hint, headers={"retry-after": "1"}) from None
        except ContactSyncError as error:
            raise problem_of(error) from None
        except Exception as error:  # noqa: BLE001 - the last line of defence
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error("%s in %s, line %d", type(error).__name__, place.filename, place.lineno)  # noqa: TRY400
            raise AdminProblem("internal", "the server failed", "see its log") from None

    def _route(self, call: Call) -> Handler:
        version, *rest = call.segments
        found = tuple(rest)
        if len(rest) > 1 and found not in self._routes and all(rest):
            found = tuple("*" if place % 2 else part for place, part in enumerate(rest))
        handlers = self._routes.get(found) if version == "v1" else None
        if handlers is None:
            raise AdminProblem("not-found", "there is no such route", "see `contactsync docs openapi.yaml`")
        handler = handlers.get(call.method)
        if handler is None:
            allowed = ", ".join(handlers)
            raise AdminProblem("method-not-allowed", f"this route has {allowed}", headers={"allow": allowed})
        return handler

    def _authenticate(self, call: Call) -> None:
        assert self._expected is not None
        scheme, _, given = call.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            credential_hash(given.strip()), self._expected
        ):
            raise AdminProblem(
                "bad-credential",
                "there is no valid credential with this request",
                "send what stands in the file that `server admin` names",
                headers={"www-authenticate": "Bearer"},
            )

    async def _status(self, call: Call) -> AdminAnswer:
        call.query()

        def read(register: MemberStore) -> AdminAnswer:
            found = status(self._folder, register, self._accounts, datetime.now(UTC))
            text = json.dumps(dataclasses.asdict(found), default=lambda value: value.isoformat())
            return AdminAnswer(200, json.loads(text))

        return await self._readers.run(read)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._tasks = [asyncio.create_task(self._sweep()), asyncio.create_task(self._erase())]
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.to_thread(self._publishing.close)
        with contextlib.suppress(ContactSyncError, Overloaded):  # then the next process does it, or a publish
            await self._writer.erase()
        await self._writer.close()
        await self._readers.close()
        self._threads.close()

    async def _sweep(self) -> None:
        """Forget answers that are a day old."""
        while True:
            try:
                await self._repeats.sweep()
            except (ContactSyncError, Overloaded) as error:
                log.warning("old answers could not be forgotten: %s", error)
            await asyncio.sleep(SWEEP_SECONDS)

    async def _erase(self) -> None:
        """Overwrite what was removed, soon after it was."""
        told, pause = "", ERASE_SECONDS
        while True:
            await asyncio.sleep(pause)
            begin = time.monotonic()
            try:
                kept = await self._writer.erase()
            except (ContactSyncError, Overloaded) as error:
                kept = str(error)
            if kept and kept != told:
                log.warning("what was removed is not overwritten yet: %s", kept)
            told, pause = kept, max(ERASE_SECONDS, 10 * (time.monotonic() - begin))
