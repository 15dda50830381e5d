"""CORS: pages of origins that the operator has named may read replies (https://fetch.spec.whatwg.org, §3.2).

Off unless origins are named. Each is compared as a whole, so no pattern can match more than was meant. No
reply allows credentials of the browser: the credential of an account is a header that the page sets itself.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS: Final = b"GET, HEAD, POST"
REQUEST_FIELDS: Final = b"authorization, content-type, if-range, range"
EXPOSED: Final = b"accept-ranges, content-range, etag, ratelimit, ratelimit-policy, retry-after"
"""Fields of a reply that a page may read, beyond those that every page may."""

PREFLIGHT_SECONDS: Final = b"7200"
"""How long a browser need not ask again. No browser keeps it much longer."""


class CrossOrigin:
    """An application whose replies say who else may read them. A preflight needs no credential."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        """`origins` as a browser writes them: see `origins.check_origin`."""
        self._app = app
        self._origins = frozenset(origin.encode("ascii") for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight; pass anything else on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = [value for name, value in scope["headers"] if name == b"origin"]
        origin = asked[0] if len(asked) == 1 and asked[0] in self._origins else None
        if origin is not None and _is_preflight(scope):
            await send({"type": "http.response.start", "status": 204, "headers": _preflight(origin)})
            await send({"type": "http.response.body"})
            return

        async def send_with_origin(message: Message) -> None:
            if message["type"] == "http.response.start":
                # A cache must not give a page the reply to another, whoever asked first.
                message["headers"] = [*message["headers"], (b"vary", b"Origin"), *_allowed(origin)]
            await send(message)

        await self._app(scope, receive, send_with_origin)


def _is_preflight(scope: Scope) -> bool:
    names = {name for name, _ in scope["headers"]}
    return scope["method"] == "OPTIONS" and b"access-control-request-method" in names


def _allowed(origin: bytes | None) -> list[tuple[bytes, bytes]]:
    if origin is None:
        return []
    return [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", EXPOSED)]


def _preflight(origin: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-methods", METHODS),
        (b"access-control-allow-headers", REQUEST_FIELDS),
        (b"access-control-max-age", PREFLIGHT_SECONDS),
        (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        (b"x-content-type-options", b"nosniff"),
    ]
