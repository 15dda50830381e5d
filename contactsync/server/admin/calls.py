"""One request to the admin API, as it is read: path, query, body, and what its members must be."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from starlette.types import Receive, Scope

from contactsync.server.admin.problems import AdminProblem

BODY_LIMIT: Final = 1 << 20
"""Octets of a body: 10,000 identifiers are a fourth of it."""

BODY_SECONDS: Final = 30.0
_CLOSE: Final = {"connection": "close"}  # the rest of the body is not worth reading
_JSON: Final = b"application/json"
_LENGTH_DIGITS: Final = 15
_HEADERS: Final = (b"content-type", b"content-length", b"authorization", b"idempotency-key", b"prefer")


class AdminAnswer(NamedTuple):
    """What a request is answered with: JSON, or nothing if `members` is None."""

    status: int
    members: Mapping[str, Any] | None
    location: str = ""


class Call:
    """A request. Reading it raises AdminProblem."""

    __slots__ = ("_receive", "_scope", "data", "headers", "method", "segments")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self.method: str = scope["method"]
        path = scope.get("raw_path") or scope["path"].encode()
        self.segments: list[str] = [unquote(part) for part in path.decode("latin-1").split("/")[1:]]
        # The last of several: what follows acts on one, whichever it is.
        self.headers: dict[bytes, bytes] = {k: v for k, v in scope["headers"] if k in _HEADERS}
        self.data = b""

    @property
    def target(self) -> bytes:
        """Method, path and query: what is asked for, without the body."""
        path = self._scope.get("raw_path") or self._scope["path"].encode()
        return b"%s %s?%s" % (self.method.encode(), path, self._scope["query_string"])

    def query(self, *names: str) -> dict[str, str]:
        """The parameters of the query, which may have these names, each once."""
        if not self._scope["query_string"]:
            return {}
        pairs = parse_qsl(self._scope["query_string"].decode("latin-1"), keep_blank_values=True)
        found = dict(pairs)
        unknown = sorted(set(found) - set(names))
        if unknown or len(found) < len(pairs):
            known = ", ".join(names) or "there are none"
            raise AdminProblem(
                "not-valid", "a parameter of the query is unknown or is given twice", f"known are: {known}"
            )
        return found

    async def read(self) -> bytes:
        """The body, at most BODY_LIMIT octets. It is kept in `data`."""
        length = self.headers.get(b"content-length")
        if length is not None and (len(length) > _LENGTH_DIGITS or not length.isdigit()):
            raise _too_large()  # what serves HTTP refuses what is no number, before this
        if length is not None and int(length) > BODY_LIMIT:
            raise _too_large()
        message = await self._next()
        data: bytes = message.get("body", b"")
        if message.get("more_body"):
            data = await self._rest(data)
        if len(data) > BODY_LIMIT:
            raise _too_large()
        self.data = data
        return data

    async def _rest(self, begun: bytes) -> bytes:
        parts, more = bytearray(begun), True
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more and len(parts) <= BODY_LIMIT:
                    message = await self._next()
                    parts += message.get("body", b"")
                    more = message.get("more_body", False)
        except TimeoutError:
            detail = f"the body did not arrive within {BODY_SECONDS:.0f} seconds"
            raise AdminProblem("too-slow", detail, "try again", headers=_CLOSE) from None
        return bytes(parts)

    async def _next(self) -> Mapping[str, Any]:
        message = await self._receive()
        if message["type"] != "http.request":
            raise Gone
        return message

    async def fields(self, *names: str, needed: Collection[str] = ()) -> Fields:
        """The body as a JSON object with these members; none is an empty object, unless some are `needed`."""
        data = await self.read()
        if not data and not needed:
            return Fields({}, names)
        media_type = self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if media_type != _JSON:
            raise AdminProblem("wrong-media-type", "the body must be application/json", "set Content-Type")
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            raise AdminProblem("bad-request", "the body is not JSON", "send a JSON object") from None
        return Fields(value, names, needed)


class Gone(Exception):
    """The caller has hung up before the request was complete."""


class Fields:
    """A JSON object whose members are taken one by one. `finish` refuses it if one was wrong."""

    def __init__(
        self, value: Any, names: Collection[str], needed: Collection[str] = (), at: str = ""
    ) -> None:
        self._at = at
        self.errors: list[dict[str, Any]] = []
        self.values: dict[str, Any] = value if isinstance(value, dict) else {}
        if not isinstance(value, dict):
            self.wrong("", "must be a JSON object")
            return
        if value.keys() - set(names):
            self.wrong("", f"has an unknown member; known are {', '.join(names) or 'none'}")
        for name in needed:
            if name not in value:
                self.wrong(f"/{name}", "is missing")

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def wrong(self, pointer: str, detail: str, **more: Any) -> None:
        """Note what is wrong, and where: a JSON pointer (RFC 6901)."""
        self.errors.append({"pointer": self._at + pointer, "detail": detail, **more})

    def text(self, name: str, *, default: str = "", pattern: re.Pattern[str] | None = None) -> str:
        """A member that is text, and matches."""
        value = self.values.get(name, default)
        if not isinstance(value, str) or (name in self.values and pattern and not pattern.fullmatch(value)):
            self.wrong(f"/{name}", "is not text of the form that is asked for")
            return default
        return value

    def choice(self, name: str, allowed: Collection[str], default: str) -> str:
        """A member that is one of some words."""
        value = self.values.get(name, default)
        if not isinstance(value, str) or value not in allowed:
            self.wrong(f"/{name}", f"must be one of {', '.join(allowed)}")
            return default
        return value

    def flag(self, name: str) -> bool:
        """A member that is true or false; false if it is missing."""
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            self.wrong(f"/{name}", "must be true or false")
        return value is True

    def whole(self, name: str, least: int, most: int) -> int | None:
        """A member that is a whole number; None if it is null or missing."""
        value = self.values.get(name)
        if value is not None and (type(value) is not int or not least <= value <= most):
            self.wrong(f"/{name}", f"must be a whole number from {least} to {most}")
            return None
        return value

    def items(self, name: str, most: int) -> list[Any]:
        """A member that is an array of at most `most`; empty if it is missing."""
        value = self.values.get(name, [])
        if not isinstance(value, list):
            self.wrong(f"/{name}", "must be an array")
            return []
        if len(value) > most:
            self.wrong(f"/{name}", f"has more than {most} entries: split it")
            return []
        return value

    def texts(self, name: str, most: int) -> list[str]:
        """A member that is an array of at most `most` texts; empty if it is missing."""
        values = self.items(name, most)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                self.wrong(f"/{name}/{index}", "is not text", index=index)
        return values

    def finish(self) -> None:
        """Raises AdminProblem if anything was wrong."""
        if self.errors:
            first = self.errors[0]
            detail = f"{first['pointer'] or 'the body'} {first['detail']}"
            raise AdminProblem("not-valid", detail, "see `errors`", errors=self.errors[:ERRORS_SHOWN])


ERRORS_SHOWN: Final = 1000
"""How many errors of one request are listed."""


def _too_large() -> AdminProblem:
    detail, hint = f"the body has more than {BODY_LIMIT} octets", "split it"
    return AdminProblem("body-too-large", detail, hint, headers=_CLOSE, limit=BODY_LIMIT)
