"""jCard (RFC 7095): vCard as JSON, alone or several in an array."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from contactsync.contacts.book import MAX_NESTED, Entry, Fault, Group, Number

MAX_JSON = 64 << 20  # bytes: it is read as a whole, and takes some twenty times as much memory
_BEGIN = re.compile(rb'\s*\[(?:\s*\[)?\s*"vcard"', re.IGNORECASE)


def is_jcard(data: bytes) -> bool:
    """Whether it begins as one card or as an array of cards."""
    return _BEGIN.match(data[:1000]) is not None


def read_jcards(data: bytes) -> Iterator[Entry | Group | Fault]:
    """The cards of a file in UTF-8."""
    if len(data) > MAX_JSON:
        yield Fault("file", f"JSON larger than {MAX_JSON >> 20} MiB", "split it, or export it as vCard")
        return
    try:
        cards = json.loads(data)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        yield Fault("file", "the JSON is broken", "export or download it again")
        return
    for count, card in enumerate([cards] if _is_card(cards) else _flat(cards), 1):
        if _is_card(card):
            yield from _card(card, f"card {count}")
        else:
            yield Fault(f"card {count}", "not a jCard", "export it again")


def _is_card(value: Any) -> bool:
    is_list = isinstance(value, list) and len(value) > 1 and isinstance(value[0], str)
    return is_list and value[0].lower() == "vcard" and isinstance(value[1], list)


def _flat(cards: Any, depth: int = 0) -> Iterator[Any]:
    """The cards of an array, or of arrays in it."""
    if isinstance(cards, list) and not _is_card(cards) and depth < MAX_NESTED:
        for card in cards:
            yield from _flat(card, depth + 1)
    else:
        yield cards


def _card(card: Any, place: str) -> Iterator[Entry | Group | Fault]:
    values: dict[str, list[Any]] = {}
    for one in card[1]:
        if isinstance(one, list) and len(one) > 3 and isinstance(one[0], str):
            values.setdefault(one[0].lower(), []).extend(one[3:])

    def texts(name: str) -> list[str]:
        return [text for value in values.get(name, ()) for text in _texts(value) if text.strip()]

    name = next(iter(texts("fn")), "")
    for value in values.get("n", ()) if not name else ():
        if isinstance(value, list):
            family, given, more, before, after, *_ = [*(" ".join(_texts(part)) for part in value), *[""] * 5]
            name = " ".join(part for part in (before, given, more, family, after) if part)
    name = name or next((text for kind in ("nickname", "org", "email") for text in texts(kind)), "")
    numbers, mails = (tuple(Number(text, place) for text in texts(kind)) for kind in ("tel", "email"))
    if any(kind.lower() == "group" for kind in texts("kind")):
        yield Group(name, tuple(texts("member")))
    elif name or numbers:
        uid = next(iter(texts("uid")), "")
        yield Entry(name, numbers, place, tuple(texts("categories")), uid, mails)
    else:
        yield Fault(place, "the card is empty")


def _texts(value: Any) -> list[str]:
    """The text of a value: of a structured one, its parts."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, int) and not isinstance(value, bool):
        return [str(value)]
    return [text for part in value for text in _texts(part)] if isinstance(value, list) else []
