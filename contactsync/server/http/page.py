"""The page for people at `/`: a small table of files, read once at the start (docs/web.md).

It has nothing to do with accounts or evaluations: each reply is one of a few that are held in memory.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Self

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contactsync.server.page import (
    CONTENT_SECURITY_POLICY,
    FILES,
    SERVICE_FILE,
    PageSettings,
    page_files,
)

_HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    # Kept, and asked for each time: files of two versions must not meet in one page.
    "cache-control": "no-cache",
    "vary": "Accept-Encoding",
}


@dataclass(frozen=True, slots=True)
class _File:
    """One file, as it is and compressed. It is public, so that its length may depend on its content."""

    media_type: str
    plain: bytes
    packed: bytes
    etag: str

    @classmethod
    def of(cls, content: bytes, media_type: str) -> Self:
        packed = gzip.compress(content, mtime=0)
        return cls(media_type, content, packed, hashlib.sha256(content).hexdigest()[:32])

    def reply(self, request: Request) -> Response:
        encodings = {one.partition(";")[0].strip() for one in _values(request, "accept-encoding")}
        is_packed = "gzip" in encodings and len(self.packed) < len(self.plain)
        etag = f'"{self.etag}{"-gzip" if is_packed else ""}"'
        headers = {**_HEADERS, "etag": etag}
        if etag in {one.removeprefix("W/") for one in _values(request, "if-none-match")}:
            return Response(status_code=304, headers=headers)
        if is_packed:
            headers["content-encoding"] = "gzip"
        return Response(self.packed if is_packed else self.plain, headers=headers, media_type=self.media_type)


class Page:
    """Answers requests for the page's files."""

    def __init__(self, settings: PageSettings, root: bytes) -> None:
        """`root`: the metadata that the page trusts. Raises OurError if a file is not installed."""
        self._files = {path: _File.of(content, FILES[path][1]) for path, content in page_files().items()}
        self._files[SERVICE_FILE] = _File.of(settings.service(root), "application/json")

    def routes(self) -> list[Route]:
        """One for each file; that of `index.html` is `/`."""
        return [
            Route("/" if path == "index.html" else f"/{path}", _answer(file))
            for path, file in self._files.items()
        ]


def _answer(file: _File) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return file.reply(request)

    return answer


def _values(request: Request, name: str) -> list[str]:
    return [one.strip() for one in request.headers.get(name, "").split(",")]
