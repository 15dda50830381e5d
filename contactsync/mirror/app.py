"""The mirror over HTTP: look-ups, the signed files that it verified, levels of rows, and its health.

It asks for no credential, and reads none: a request that has one is refused before anything else is looked
at, so that who sends it in error is told. Nothing of a request is logged. Bases are not served: the operator
gives them to accounts alone.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import traceback
from collections.abc import AsyncIterator, Hashable, Sequence
from datetime import UTC, datetime
from typing import Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contactsync.foundation.errors import OurError
from contactsync.mirror.folder import MirrorFolder
from contactsync.mirror.keeping import MirrorKeeper
from contactsync.publication.tuf.repository import Repository
from contactsync.server.http.data import data_response
from contactsync.server.http.looking_up import lookup_route
from contactsync.server.http.problems import (
    HANDLERS,
    Problem,
    not_published,
)
from contactsync.server.http.signed_files import signed_routes
from contactsync.server.http.threads import Threads
from contactsync.server.lookups import LookupRoom, OpenRows
from contactsync.server.storage.files import LocalFile, PublicFolder
from contactsync.serving.limits import Network, caller_of

LOOKUP_MEMORY: Final = 256 << 20
"""Octets that all look-ups that wait may take together."""

LOOKUPS_A_CALLER: Final = 8
"""Look-ups of one address at a time."""

KEYS_SECONDS: Final = 10.0
"""Seconds for the keys of a batch to arrive: nobody is known here, and a batch has its memory meanwhile."""

EXPIRIES_SECONDS: Final = 10.0
"""So long the dates of metadata that is not replaced are not read again."""

_READERS: Final = 8  # threads: they read small files

log = logging.getLogger("contactsync.mirror")


class MirrorApp:
    """The handlers and what they share. `asgi` is the application to serve."""

    def __init__(
        self, folder: MirrorFolder, keeper: MirrorKeeper, every: float, trusted: Sequence[Network] = ()
    ) -> None:
        """`every`: seconds between looks at the publication; `trusted`: proxies, whose word is believed."""
        self._folder = folder
        self._keeper = keeper
        self._every = every
        self._trusted = trusted
        self._threads = Threads("mirror", _READERS)
        self._room = LookupRoom(LOOKUP_MEMORY, LOOKUPS_A_CALLER)
        self._room.warm_up()  # or the first client would wait for the compiler
        self._repository = Repository(folder.public)
        self._dates: tuple[int, float, dict[str, datetime]] | None = None
        routes = [
            Route("/v1/health", self._health),
            *signed_routes(PublicFolder(folder.public), self._threads),
            Route("/v1/data/{sha256}", self._data),
            lookup_route(self._room, self._find, self._who, keys_seconds=KEYS_SECONDS),
        ]
        app = Starlette(routes=routes, exception_handlers=HANDLERS, lifespan=self._lifespan)
        app.router.redirect_slashes = False
        self.asgi: ASGIApp = _MirrorGuard(app)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        # A daemon: what it has not finished when the process ends is begun again.
        threading.Thread(target=self._keeper.run, args=(self._every,), name="mirror", daemon=True).start()
        yield
        self._keeper.stop()
        self._room.close()
        self._threads.close()

    def _find(self, audience: str, root: bytes) -> OpenRows | None:
        if audience != self._folder.audience:
            return None
        return next((one.rows for one in self._keeper.editions if one.stated.root == root), None)

    async def _who(self, request: Request, _audience: str) -> Hashable:
        peer = request.client
        said = [value for name, value in request.scope["headers"] if name == b"x-forwarded-for"]
        return caller_of(peer.host if peer else "", said, self._trusted)

    async def _data(self, request: Request) -> Response:
        sha256 = request.path_params["sha256"]
        file = None
        if any(one.root == sha256 for one in self._keeper.editions):
            with contextlib.suppress(FileNotFoundError):
                file = await self._threads.run(LocalFile, self._folder.data / sha256)
        if file is None:
            raise Problem(
                "not-found",
                "this mirror serves no file of this name, but levels of rows alone",
                "fetch data files from the server that it mirrors",
            )
        try:
            return data_response(request, sha256, file, self._threads)
        except BaseException:
            self._threads.send(file.close)
            raise

    def _expiries(self) -> dict[str, datetime]:
        """When the metadata that is served expires. Raises OurError, OSError.

        Anybody may ask for health as often as they like: what it reads is kept, while no file was replaced
        or removed.
        """
        stamp = (self._folder.public / "metadata").stat().st_mtime_ns
        now = time.monotonic()
        kept = self._dates
        if kept is None or kept[0] != stamp or now - kept[1] > EXPIRIES_SECONDS:
            self._dates = kept = stamp, now, self._repository.expiries()
        return kept[2]

    async def _health(self, _request: Request) -> Response:
        editions, now = self._keeper.editions, datetime.now(UTC)
        if not editions:
            raise not_published(self._folder.audience)
        try:
            expiries = await self._threads.run(self._expiries)
        except (OurError, OSError) as error:
            problem = "the metadata that was verified is damaged on the mirror's disk"
            raise Problem("files-missing", problem, "the mirror writes it again at its next look") from error
        for role, end in expiries.items():
            if end <= now:
                raise Problem(
                    "expired",
                    f"the {role} metadata expired at {end:%Y-%m-%d %H:%M:%S} UTC: clients refuse it",
                    self._keeper.problem or "the mirror fetches it again soon",
                    role=role,
                )
        newest = editions[0].manifest
        body = {
            "status": "ok",
            "audience": newest.audience,
            "epoch": newest.epoch,
            "edition": newest.edition,
            "rows": list(dict.fromkeys(one.root for one in editions)),
            "problem": self._keeper.problem,
        }
        return JSONResponse(body, headers={"cache-control": "no-store"})


class _MirrorGuard:
    """Refuses credentials, adds common headers, and logs internal errors without their text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            await send(message)

        app = self._app
        if scope["type"] == "http" and any(name == b"authorization" for name, _ in scope["headers"]):
            app = Problem(
                "bad-request",
                "a mirror asks for no credential, and this request has one",
                "send it to its own server alone: who runs a mirror could use it",
                headers={"connection": "close"},
            ).response()
        try:
            await app(scope, receive, send_with_headers)
        except ClientDisconnect:
            pass
        except Exception as error:  # noqa: BLE001 - the last line of defence
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error("%s in %s, line %d", type(error).__name__, place.filename, place.lineno)  # noqa: TRY400
