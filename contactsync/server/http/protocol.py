"""HTTP/1.1 by httptools, with a bound on the head of a request, and without a word to the log about requests.

httptools parses a request in a third of the time of h11, but keeps a head of any size.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_LIMIT: Final = 16 << 10
"""Octets of a request's head, from its first line to the empty one."""

_SILENT: Final = logging.getLogger("contactsync.silent")
_SILENT.disabled = True  # uvicorn would write a line for each malformed request, and quote some


_VERSIONS: Final = ("1.1", "1.0")


class _NotServed(Exception):
    """Raised in a callback of the parser, which turns it into one of its own errors."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logger = self.access_logger = _SILENT
        self._in_head = True
        self._received = 0  # octets since the request before, at least
        self._head = 0

    def data_received(self, data: bytes) -> None:
        """Parse; give up a head that is not complete yet and too long already."""
        self._received += len(data)
        super().data_received(data)
        if self._in_head and self._received > HEADER_LIMIT and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head, self._head = True, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of its target came."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field is complete."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head is complete. HTTP/0.9 and what is yet to come are not spoken."""
        self._in_head = False
        if self.parser.get_http_version() not in _VERSIONS:
            raise _NotServed
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """It is complete; what follows is the head of the next one."""
        self._in_head, self._received = True, 0
        super().on_message_complete()

    def _count(self, octets: int) -> None:
        self._head += octets + 4  # ": " and the end of the line
        if self._head > HEADER_LIMIT:
            raise _NotServed
