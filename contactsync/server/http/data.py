"""A data file as a response: the whole file, or the ranges that were requested (RFC 9110 §14)."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncGenerator, Sequence
from email.utils import formatdate
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from contactsync.foundation.errors import OurError
from contactsync.server.http.problems import Problem
from contactsync.server.http.threads import Threads
from contactsync.server.storage.publications import OpenFile

MAX_RANGES: Final = 100  # if more are requested, the whole file is sent
MEDIA_TYPE: Final = "application/octet-stream"

_CHUNK: Final = 64 << 10  # each costs a thread hop; a caller that stalls holds two of them
_RANGE: Final = re.compile(r"\s*([0-9]{1,19})?\s*-\s*([0-9]{1,19})?\s*")

Span = tuple[int, int]
"""The first octet of a range, and the one after its last."""


def data_response(request: Request, sha256: str, file: OpenFile, threads: Threads) -> Response:
    """The response to a GET or HEAD of a data file. The file is closed when the response has ended.

    Raises Problem for a range that cannot be read or begins beyond the end. The file then stays open.
    """
    etag, modified = f'"{sha256}"', formatdate(file.modified, usegmt=True)
    headers = {
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=31536000, immutable",
        "etag": etag,
        "last-modified": modified,
    }
    value = request.headers.get("range")
    spans: list[Span] = []
    # Ranges are ignored (RFC 9110 §14.2) if the method is not GET, or if If-Range names another file.
    applies = request.method == "GET" and request.headers.get("if-range", etag) in {etag, modified}
    if value is not None and applies:
        spans = _spans(value, file.size)
    whole = (0, file.size)
    if not spans:
        parts, status, length, kind = [(b"", whole)], 200, file.size, MEDIA_TYPE
    elif len(spans) == 1:
        (first, end), status, kind = spans[0], 206, MEDIA_TYPE
        parts, length = [(b"", (first, end))], end - first
        headers["content-range"] = f"bytes {first}-{end - 1}/{file.size}"
    else:
        boundary, status = secrets.token_hex(13), 206
        parts = _multipart(boundary, spans, file.size)
        length = sum(len(head) + end - first for head, (first, end) in parts)
        kind = f"multipart/byteranges; boundary={boundary}"
    headers |= {"content-length": str(length), "content-type": kind}
    if request.method == "HEAD":
        threads.send(file.close)
        return Response(status_code=status, headers=headers)
    return _DataResponse(_Body(file, parts, threads), status, headers)


def _spans(value: str, size: int) -> list[Span]:
    """The ranges of a Range header, ascending, adjacent ones joined. None of them: send the whole file.

    Raises Problem: bad-range, range-not-satisfiable.
    """
    unit, _, ranges = value.partition("=")
    if unit.strip().lower() != "bytes":
        return []
    found: list[Span] = []
    for part in ranges.split(","):
        match = _RANGE.fullmatch(part)
        first, last = match.groups() if match else (None, None)
        if first is None and last is None:
            raise Problem("bad-range", "a range has the form bytes=FIRST-LAST", "correct the Range header")
        if first is not None and last is not None and int(first) > int(last):
            raise Problem("bad-range", "a range ends before it begins", "correct the Range header")
        if (int(first) >= size) if first is not None else (int(last or 0) == 0):
            raise Problem(
                "range-not-satisfiable",
                "a range begins beyond the end of the file",
                "the file's length is in the manifest",
                headers={"content-range": f"bytes */{size}"},
            )
        if first is None:  # the last so many octets
            found.append((max(size - int(last or 0), 0), size))
        else:
            found.append((int(first), size if last is None else min(int(last) + 1, size)))
    if len(found) > MAX_RANGES:
        return []
    found.sort()
    joined = found[:1]
    for first_octet, end in found[1:]:
        if first_octet <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((first_octet, end))
    return joined


def _multipart(boundary: str, spans: Sequence[Span], size: int) -> list[tuple[bytes, Span]]:
    """The parts of a multipart/byteranges body (RFC 9110 §14.6): the octets before each range, the range."""
    parts, before = [], ""
    for first, end in spans:
        head = (
            f"{before}--{boundary}\r\nContent-Type: {MEDIA_TYPE}\r\n"
            f"Content-Range: bytes {first}-{end - 1}/{size}\r\n\r\n"
        )
        parts.append((head.encode("ascii"), (first, end)))
        before = "\r\n"
    return [*parts, (f"\r\n--{boundary}--".encode("ascii"), (0, 0))]


class _Body:
    """Parts of a file, each after some octets of its own. They are read as they are sent."""

    def __init__(self, file: OpenFile, parts: Sequence[tuple[bytes, Span]], threads: Threads) -> None:
        self._file = file
        self._parts = parts
        self._threads = threads

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The octets to send."""
        for head, (first, end) in self._parts:
            if head:
                yield head
            at = first
            while at < end:
                chunk = await self._threads.run(self._read, at, min(_CHUNK, end - at))
                at += len(chunk)
                yield chunk

    def _read(self, start: int, length: int) -> bytes:
        try:
            chunk = self._file.read(start, length)
        except OSError as error:  # Starlette would take it for a disconnected client
            raise OurError(f"cannot read a data file: {error.strerror}") from error
        if not chunk:
            raise OurError("a data file has become shorter")
        return chunk

    def close(self) -> None:
        """Close the file, without waiting."""
        self._threads.send(self._file.close)


class _DataResponse(StreamingResponse):
    """A body that is read as it is sent. The protocol ends the connection of a caller that stops reading."""

    def __init__(self, body: _Body, status: int, headers: dict[str, str]) -> None:
        self._body = body
        self._pieces = body.pieces()
        super().__init__(self._pieces, status, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._pieces.aclose()
            self._body.close()
