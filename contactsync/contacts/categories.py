"""Adds a category to a vCard, or removes it, and leaves every other octet as it is.

A card is bytes, perhaps one of many in a file. The category joins the last CATEGORIES line of the card if
that is a plain list (RFC 6350 §6.7.1), or else becomes a line before END:VCARD. Removing it undoes exactly
that.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from contactsync.foundation.errors import BadInput

MAX_CATEGORY: Final = 60
"""Octets of a category. With its fold it fits into one line (RFC 6350 §3.2)."""

_LINE: Final = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|\Z)")
_NAME: Final = re.compile(
    rb"\A(?:[A-Za-z0-9_-]+\.)?([A-Za-z0-9-]+)[ \t]*((?:;(?:[^:\"]|\"[^\"]*\")*)?):", re.DOTALL
)
_MARKER: Final = re.compile(rb"\A(BEGIN|END)[ \t]*:[ \t]*VCARD[ \t]*\Z", re.IGNORECASE)
_FOLD: Final = re.compile(rb"(?:\r\n|\n|\r)[ \t]")
_ENCODED: Final = re.compile(rb"ENCODING|CHARSET|QUOTED-PRINTABLE|BASE64", re.IGNORECASE)
_ITEM: Final = re.compile(rb"(?:[^\\,]|\\.|\\\Z)*", re.DOTALL)
_MAX_PHYSICAL: Final = 75  # octets of a line, as RFC 6350 §3.2 wants it


@dataclass(frozen=True, slots=True)
class _Property:
    """One property of a card itself, not of a card in it: where it is, with its line end, what it says."""

    start: int
    end: int
    name: bytes
    parameters: bytes
    value_start: int
    value_end: int


def check_category(text: str) -> str:
    """The category, if it can be one. Raises BadInput."""
    text = text.strip()
    if not text or not text.isprintable() or len(text.encode()) > MAX_CATEGORY:
        raise BadInput(
            "this is not a category that can be written into a card",
            hint=f"give a word or a few, at most {MAX_CATEGORY} bytes",
        )
    return text


def cards_in(data: bytes) -> list[tuple[int, int]]:
    """Where the whole cards of a file are: (start, end) of each, cards within cards left out."""
    found = []
    start, depth, after_agent = 0, 0, False
    for at, end, content in _logical(data):
        marker = _MARKER.match(content.removeprefix(b"\xef\xbb\xbf"))
        agent = content[:6].upper() == b"AGENT:"
        if marker is not None and marker[1].upper() == b"BEGIN":
            if depth and not after_agent:  # the one before was cut off
                depth = 0
            if not depth:
                start = at + (3 if content.startswith(b"\xef\xbb\xbf") else 0)
            depth += 1
        elif marker is not None and depth:
            depth -= 1
            if not depth:
                found.append((start, end))
        elif agent and _MARKER.match(content[6:].strip()):
            depth += 1 if depth else 0
        after_agent = agent and not content[6:].strip()
    return found


def add_category(card: bytes, category: str) -> bytes | None:
    """The card with the category; None if it has it already. Raises BadInput if the card cannot hold it."""
    properties = list(_properties(card))
    lists = [one for one in properties if one.name == b"CATEGORIES"]
    if any(category.casefold() == item.casefold() for one in lists for item in _items_of(card, one)):
        return None
    old = any(one.name == b"VERSION" and _text(card, one).strip() == b"2.1" for one in properties)
    if old and re.search(r"[\\,;]", category):
        raise BadInput("a vCard 2.1 cannot hold a category with a comma, a semicolon or a backslash")
    escaped = re.sub(r"([\\,;])", r"\\\1", category).encode()
    if lists and not (old and not category.isascii()):
        last = lists[-1]
        if _is_plain_list(card, last):
            at = last.value_end
            physical = at - max(card.rfind(b"\n", 0, at), card.rfind(b"\r", 0, at)) - 1
            fold = b"" if old or physical + 1 + len(escaped) <= _MAX_PHYSICAL else _line_end(card) + b" "
            return card[:at] + fold + b"," + escaped + card[at:]
    end = next(at for at, _, content in reversed(list(_logical(card))) if _MARKER.match(content))
    charset = b";CHARSET=UTF-8" if old and not category.isascii() else b""
    return card[:end] + b"CATEGORIES" + charset + b":" + escaped + _line_end(card) + card[end:]


def remove_category(card: bytes, category: str) -> bytes | None:
    """The card without the category, where it is last; None if it does not have it."""
    for one in reversed([one for one in _properties(card) if one.name == b"CATEGORIES"]):
        spans = _spans(card, one)
        for number in range(len(spans) - 1, -1, -1):
            start, end = spans[number]
            if _decoded(_FOLD.sub(b"", card[start:end])).casefold() != category.casefold():
                continue
            if len(spans) == 1:
                return card[: one.start] + card[one.end :]
            if number:  # with the comma before it, and the fold before that
                start -= 1
                fold = re.search(rb"(?:\r\n|\n|\r)[ \t]\Z", card[one.start : start])
                start -= len(fold[0]) if fold else 0
            else:
                end = spans[1][0]
            return card[:start] + card[end:]
    return None


def uid_of(card: bytes) -> str:
    """The UID of a card; "" if it has none."""
    for one in _properties(card):
        if one.name == b"UID":
            return _text(card, one).decode("utf-8", "replace").strip()
    return ""


def _logical(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(start, end, content) of each line with those that continue it; the content is of the first alone."""
    start, content, quoted, soft = 0, None, False, False
    for line in _LINE.finditer(data):
        if line.start() == len(data):
            break
        text = line[1]
        if content is not None and (text[:1] in {b" ", b"\t"} or soft):
            soft = quoted and text.endswith(b"=")
            continue
        if content is not None:
            yield start, line.start(), content
        start, content = line.start(), text
        quoted = b"quoted-printable" in text.partition(b":")[0].lower()
        soft = quoted and text.endswith(b"=")
    if content is not None:
        yield start, len(data), content


def _properties(card: bytes) -> Iterator[_Property]:
    """The properties of a card, without those of cards in it."""
    depth = 0
    for start, end, content in _logical(card):
        marker = _MARKER.match(content)
        if marker is not None:
            depth += 1 if marker[1].upper() == b"BEGIN" else -1
            continue
        whole = card[start:end].rstrip(b"\r\n")
        found = _NAME.match(whole) if depth == 1 else None
        if content[:6].upper() == b"AGENT:" and _MARKER.match(content[6:].strip()):
            depth += 1
        if found is not None:
            value = start + found.end()
            yield _Property(start, end, found[1].upper(), found[2], value, max(value, start + len(whole)))


def _text(card: bytes, one: _Property) -> bytes:
    return _FOLD.sub(b"", card[one.value_start : one.value_end])


def _items_of(card: bytes, one: _Property) -> list[str]:
    """The categories in a property, whatever its encoding."""
    text = _text(card, one)
    if re.search(rb"QUOTED-PRINTABLE", one.parameters, re.IGNORECASE):
        text = binascii.a2b_qp(card[one.value_start : one.value_end])
    items, at = [], 0
    while at <= len(text):
        item = _ITEM.match(text, at)
        assert item is not None, "the pattern matches nothing, too"
        items.append(_decoded(item[0]))
        at = item.end() + 1
    return items


def _spans(card: bytes, one: _Property) -> list[tuple[int, int]]:
    """Where each item of a property is. A fold before an item counts to the item before."""
    spans = []
    start = at = one.value_start
    while at < one.value_end:
        if card[at : at + 1] == b"\\":
            at += 1
            fold = _FOLD.match(card, at)
            at = (fold.end() if fold else at) + 1
            continue
        if card[at : at + 1] == b",":
            spans.append((start, at))
            start = at + 1
        at += 1
    return [*spans, (start, one.value_end)]


def _decoded(item: bytes) -> str:
    return re.sub(r"\\(.)", r"\1", item.decode("utf-8", "replace"), flags=re.DOTALL).strip()


def _is_plain_list(card: bytes, one: _Property) -> bool:
    """Whether another item can be put behind a comma, and taken away again."""
    text = _text(card, one)
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    is_open = text.endswith(b"\\") or re.search(rb"(?:\r\n|\n|\r)[ \t]\Z", card[one.start : one.value_end])
    return bool(text.strip()) and not is_open and not _ENCODED.search(one.parameters)


def _line_end(card: bytes) -> bytes:
    """How lines end in this card."""
    found = re.search(rb"\r\n|\n|\r", card)
    return found[0] if found else b"\r\n"
