"""Reads multistatus documents (RFC 4918 §13) piece by piece, whatever a server puts into them.

A document type declaration is refused, so there are no entities to expand. What one response may hold is
bounded; a response is handed on as soon as it is complete, so what came before a break is not lost.
"""

from __future__ import annotations

import xml.parsers.expat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from contactsync.foundation.errors import BadReply

DAV: Final = "{DAV:}"
CARDS: Final = "{urn:ietf:params:xml:ns:carddav}"
MAX_CARD: Final = 8 << 20
"""Octets of a card, photo included; a longer one is reported."""

_MAX_ELEMENTS: Final = 10_000  # of one response
_MAX_LEVELS: Final = 32


@dataclass(slots=True)
class Element:
    """An XML element. Its name is `{namespace}name`; text beyond MAX_CARD is cut, and `is_cut` says so."""

    name: str
    text: str = ""
    children: list[Element] = field(default_factory=list)
    is_cut: bool = False

    def find(self, *path: str) -> Element | None:
        """The first descendant along these names."""
        found: Element | None = self
        for name in path:
            if found is None:
                return None
            found = next((child for child in found.children if child.name == name), None)
        return found

    def hrefs(self) -> list[str]:
        """The addresses in it."""
        return [child.text.strip() for child in self.children if child.name == f"{DAV}href"]


@dataclass(frozen=True, slots=True)
class Response:
    """What a server says of one resource: its status, 200 if none is stated, and the properties it has."""

    href: str
    status: int
    properties: dict[str, Element]

    def text(self, name: str) -> str:
        """The text of a property; "" if there is none."""
        found = self.properties.get(name)
        return "" if found is None else found.text.strip()

    def kinds(self) -> set[str]:
        """What DAV:resourcetype says."""
        found = self.properties.get(f"{DAV}resourcetype")
        return set() if found is None else {child.name for child in found.children}


class MultistatusReader:
    """Feed it a document; it calls `on_response` for each response.

    `token` is the sync-token, if there is one. `conditions` are the names in a DAV:error document.
    """

    def __init__(self, where: str, on_response: Callable[[Response], None]) -> None:
        self.token: str | None = None
        self.conditions: set[str] = set()
        self._where = where
        self._on_response = on_response
        self._stack: list[Element] = []
        self._pieces: list[str] = []
        self._size = 0
        self._elements = 0
        parser = xml.parsers.expat.ParserCreate(namespace_separator="}")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        self._parser = parser

    def feed(self, data: bytes, *, last: bool = False) -> None:
        """Read the next piece. Raises BadReply if it is not such a document."""
        try:
            self._parser.Parse(data, last)
        except xml.parsers.expat.ExpatError as error:
            raise self._malformed("is not well-formed XML") from error
        except (ValueError, LookupError) as error:  # an encoding that Python does not know
            raise self._malformed("has an unknown encoding") from error

    def _malformed(self, why: str) -> BadReply:
        return BadReply(
            f"the reply of {self._where} {why}", hint="check that this is the address of a CardDAV server"
        )

    def _doctype(self, *_: object) -> None:
        raise self._malformed("has a document type declaration, which no CardDAV server needs")

    def _start(self, name: str, _: object) -> None:
        self._elements += 1
        if self._elements > _MAX_ELEMENTS or len(self._stack) >= _MAX_LEVELS:
            raise self._malformed("is nested too deeply, or too long")
        self._take_text()
        element = Element(f"{{{name}" if "}" in name else name)
        if not self._stack and element.name not in {f"{DAV}multistatus", f"{DAV}error"}:
            raise self._malformed("is not a WebDAV document")
        if self._stack:
            self._stack[-1].children.append(element)
        self._stack.append(element)

    def _end(self, _: str) -> None:
        self._take_text()
        element = self._stack.pop()
        if len(self._stack) != 1:
            return
        root = self._stack[0]
        root.children.clear()
        root.text = ""
        self._elements = 0
        if root.name == f"{DAV}error":
            self.conditions.add(element.name)
        elif element.name == f"{DAV}response":
            for one in _responses(element):
                self._on_response(one)
        elif element.name == f"{DAV}sync-token":
            self.token = element.text.strip()

    def _text(self, text: str) -> None:
        room = MAX_CARD - self._size
        if len(text) > room:
            self._stack[-1].is_cut = True
            text = text[:room]
        self._pieces.append(text)
        self._size += len(text)

    def _take_text(self) -> None:
        if self._pieces:
            self._stack[-1].text += "".join(self._pieces)
            self._pieces.clear()
        self._size = len(self._stack[-1].text) if self._stack else 0


def _responses(element: Element) -> list[Response]:
    """One response; several if it states one status for several addresses."""
    properties: dict[str, Element] = {}
    stated = element.find(f"{DAV}status")
    status = 200 if stated is None else _code(stated.text)
    for child in element.children:
        if child.name != f"{DAV}propstat":
            continue
        of, found = child.find(f"{DAV}status"), child.find(f"{DAV}prop")
        if found is not None and (of is None or 200 <= _code(of.text) < 300):
            properties |= {one.name: one for one in found.children}
    return [Response(href, status, properties) for href in element.hrefs()]


def _code(line: str) -> int:
    """The number in `HTTP/1.1 404 Not Found`."""
    words = line.split()
    return int(words[1]) if len(words) > 1 and words[1].isascii() and words[1].isdigit() else 500
