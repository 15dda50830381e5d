"""The HTTP application: implements docs/http-api.md.

It reads from the disk what `publish` wrote. It needs no restart for a new edition or a revoked credential. It
logs nothing about requests. Internal errors are logged by type and place, without their text.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contactsync.foundation.errors import ContactSyncError, OurError
from contactsync.foundation.roles import ONLINE
from contactsync.publication.tuf.repository import Repository
from contactsync.publication.tuf.signed import NOTICE
from contactsync.server.admission import Overloaded
from contactsync.server.epochs import reminders
from contactsync.server.evaluation import Evaluator
from contactsync.server.http.callers import Callers, bad_credential
from contactsync.server.http.charging import Charging, StoreGuard, fields
from contactsync.server.http.data import data_response
from contactsync.server.http.direct import Direct
from contactsync.server.http.evaluating import PATH, Evaluating
from contactsync.server.http.health import Health
from contactsync.server.http.looking_up import lookup_route
from contactsync.server.http.metrics import Metrics
from contactsync.server.http.page import Page
from contactsync.server.http.problems import (
    HANDLERS,
    Problem,
    wrong_audience,
)
from contactsync.server.http.redirecting import Redirects
from contactsync.server.http.rows_served import RowsServed
from contactsync.server.http.served import Served
from contactsync.server.http.signed_files import log_route, signed_routes
from contactsync.server.http.signing_in import SigningIn
from contactsync.server.http.threads import Threads
from contactsync.server.keyring import Keyring
from contactsync.server.lookups import OpenRows
from contactsync.server.objects.copying import copy_published
from contactsync.server.objects.record import store_status
from contactsync.server.quota import Clock, system_clock
from contactsync.server.settings import Busy, DataFolder
from contactsync.server.storage.ports import Account, AccountStore
from contactsync.server.storage.publications import PublicationStore

REFRESH_INTERVAL: Final = 600.0  # seconds between looks at the age of the signed metadata
SWEEP_INTERVAL: Final = 600.0  # seconds after which what has expired is forgotten
LOOK_INTERVAL: Final = 10.0  # seconds between looks at how many points were evaluated

_PUBLICATION_THREADS: Final = 32  # they read files; each download uses one while a chunk is read

log = logging.getLogger("contactsync.server")


class App:
    """The handlers and what they share. `asgi` is the application to serve, `direct` a short way into it."""

    def __init__(
        self,
        folder: DataFolder,
        accounts: AccountStore,
        publications: PublicationStore,
        keyring: Keyring,
        evaluator: Evaluator,
        *,
        clock: Clock = system_clock,
        metrics: Metrics | None = None,
        page: Page | None = None,
        has_chores: bool = True,
        redirects: bool = False,
        rows: RowsServed | None = None,
    ) -> None:
        """`page`: that for people, if there is to be one. `rows`: those that are looked up, if any are.

        `has_chores`: it signs what expires, and forgets what is over. One process does, of several.
        `redirects`: clients that can are sent to the object store for data files. Raises BadInput.
        """
        self._folder = folder
        self._has_chores = has_chores
        self._publications = publications
        self._keyring = keyring
        self._evaluator = evaluator
        self._accounts = accounts
        self._guard = StoreGuard()
        self._callers = Callers(accounts, clock)
        self._charging = Charging(accounts, folder.settings(), self._guard)
        self._threads = Threads("publications", _PUBLICATION_THREADS)
        self._redirects = Redirects(folder, self._threads) if redirects else None
        self._reminded: date | None = None
        self._served = Served(publications, keyring, self._threads)
        self._signing_in = SigningIn(accounts, self._guard)
        self._healthy = Health(folder, self._served, self._threads)
        self._rows = rows
        evaluating = Evaluating(self._callers, self._charging, self._served, evaluator, self._guard)
        routes = [
            Route("/v1/health", self._health),
            *signed_routes(publications, self._threads),
            log_route(publications, self._threads),
            Route("/v1/account", self._account),
            Route("/v1/sign-in", self._signing_in.answer, methods=["POST"]),
            Route("/v1/data/{sha256}", self._data),
            Route("/v1/evaluate/{audience}/{epoch}", evaluating, methods=["POST"]),
            lookup_route(None if rows is None else rows.room, self._find_rows, self._who_looks_up),
            *(() if page is None else page.routes()),
        ]
        app = Starlette(routes=routes, exception_handlers=HANDLERS, lifespan=self._lifespan)
        app.router.redirect_slashes = False
        self.asgi: ASGIApp = _Guard(app, evaluating)
        self.direct = Direct(evaluating, None if metrics is None else metrics.requests)
        if metrics is not None:
            metrics.tell(lambda: self._healthy.is_well)
            self.asgi = metrics.requests.around(self.asgi)

    # Routes

    async def _health(self, _request: Request) -> Response:
        await self._healthy.check()
        return JSONResponse({"status": "ok"}, headers={"cache-control": "no-store"})

    async def _account(self, request: Request) -> Response:
        account = await self._authenticate(request)
        standing = await self._charging.standing(account)
        if standing is None:
            raise bad_credential()
        allowance = self._charging.allowance(account)
        quota = {
            "left": standing.left(allowance),
            "burst": allowance.burst,
            "per_day": allowance.per_day,
        }
        headers = {"cache-control": "no-store", **fields(standing, allowance)}
        body = {"audience": account.audience, "quota": quota, "grant": standing.granted}
        return JSONResponse(body, headers=headers)

    async def _data(self, request: Request) -> Response:
        sha256 = request.path_params["sha256"]
        account = await self._authenticate(request)
        served = await self._served.current()
        known = sha256 in served.files.get(account.audience, ())
        if known and self._redirects is not None:
            elsewhere = await self._redirects.response(request, sha256)
            if elsewhere is not None:
                return elsewhere
        file = await self._threads.run(self._publications.data, sha256) if known else None
        if file is None:
            raise Problem("not-found", "the editions served contain no such file", "fetch the manifest again")
        try:
            return data_response(request, sha256, file, self._threads)
        except BaseException:
            self._threads.send(file.close)
            raise

    def _find_rows(self, audience: str, root: bytes) -> OpenRows | None:
        return None if self._rows is None else self._rows.find(audience, root)

    async def _who_looks_up(self, request: Request, audience: str) -> int:
        """The account, of which a few look-ups may be here at a time."""
        account = await self._authenticate(request)
        if account.audience != audience:
            raise wrong_audience(account.audience)
        return account.id

    # What they share

    async def _authenticate(self, request: Request) -> Account:
        try:
            return await self._callers.authenticate(request.headers.get("authorization", ""))
        except OurError as error:
            raise self._guard.problem(error) from None

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        await self._served.current()  # so that what is wrong with it is said at the start
        chores = (self._keep_fresh, self._sweep, self._look) if self._has_chores else ()
        tasks = [asyncio.create_task(task()) for task in chores]
        if self._rows is not None:
            await self._rows.begin()
        yield
        for task in tasks:
            task.cancel()
        self._callers.close()
        self._charging.close()
        self._signing_in.close()
        if self._rows is not None:
            self._rows.close()
        self._threads.close()
        self._evaluator.close()

    async def _keep_fresh(self) -> None:
        """Sign the online roles anew before they expire. A publish renews the root and the targets."""
        while True:
            try:
                await asyncio.to_thread(self._refresh)
            except Busy:
                pass  # a publish is running, and signs everything
            except (ContactSyncError, OSError) as error:
                log.warning("the signed metadata could not be renewed: %s", error)
            try:
                await asyncio.to_thread(self._copy)
            except Busy:
                pass  # a publish is running, and copies everything
            except (ContactSyncError, OSError) as error:
                log.warning("the store could not be brought up to date: %s", error)
            await asyncio.sleep(REFRESH_INTERVAL)

    async def _sweep(self) -> None:
        """Forget what was charged longer ago than a repeat is free, and credentials that have ended."""
        while True:
            try:
                await self._charging.sweep()
            except (OurError, Overloaded) as error:
                log.warning("old charges could not be forgotten: %s", error)
            await asyncio.sleep(SWEEP_INTERVAL)

    async def _look(self) -> None:
        """Have the log say in time that a breaker comes near its limit, or that clients refuse the server."""
        while True:
            with contextlib.suppress(Overloaded):
                await self._healthy.watch()
            with contextlib.suppress(Overloaded):
                try:
                    await self._charging.look()
                except OurError as error:
                    self._guard.problem(error)
            await asyncio.sleep(LOOK_INTERVAL)

    def _copy(self) -> None:
        """Bring the store what was signed anew here, and what a publish could not bring there."""
        found = store_status(self._folder)
        if found is not None and found.is_behind:
            with self._folder.lock():
                copy_published(self._folder)
            log.info("the store %s is up to date", found.store)

    def _refresh(self) -> None:
        with self._folder.lock():
            repository = Repository(self._folder.public)
            done = repository.refresh(self._keyring.signers(ONLINE), datetime.now(UTC))
        if done:
            log.info("signed anew: %s", ", ".join(done))
        now = datetime.now(UTC)
        if now.date() != self._reminded:  # once a day is enough
            self._reminded = now.date()
            for role, end in repository.expiries().items():
                if role in NOTICE and end < now + NOTICE[role]:
                    log.warning("the %s metadata expires on %s unless you publish", role, end.date())
            for line in reminders(self._folder, self._accounts, now):
                log.warning("%s", line)


class _Guard:
    """Wraps the application: adds common headers, and logs internal errors without their text."""

    def __init__(self, app: ASGIApp, evaluating: ASGIApp) -> None:
        """`evaluating` answers evaluations, `app` the rest."""
        self._app = app
        self._evaluating = evaluating

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            await send(message)

        try:
            app = self._app
            if scope["type"] == "http" and scope["method"] == "POST" and PATH.fullmatch(scope["path"]):
                app = self._evaluating
            await app(scope, receive, send_with_headers)
        except ClientDisconnect:
            pass
        except Exception as error:  # noqa: BLE001 - the last line of defence
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error("%s in %s, line %d", type(error).__name__, place.filename, place.lineno)  # noqa: TRY400
