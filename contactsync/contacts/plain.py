"""A plain list: one number a line; `#` at the start of a line, or after a space, begins a comment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from contactsync.contacts.book import MAX_LINE, Entry, Number, Problem

_COMMENT = re.compile(r"(?:^|\s)#(?!\s*\d).*")  # `030 1234 #12` is an extension
_INVISIBLE = r"\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069"
_NUMBER = re.compile(
    rf"\s*(?:tel:)?[\s+(\[{_INVISIBLE}]*\d"
    rf"(?:[\d\s()\[\]./:,;#*~\\+\u2010-\u2015{_INVISIBLE}-]|ext[.=]?|phone-context=|[xpw](?![a-z]))*",
    re.IGNORECASE,
)
_DATE = re.compile(r"\s*(?:\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.]\d{4})(?:[T\s].*)?", re.DOTALL)
_LEAST_DIGITS = 3


def looks_like_number(text: str) -> bool:
    """Whether a person would take it for a phone number, possible or not."""
    digits = sum(map(str.isdigit, text))
    return digits >= _LEAST_DIGITS and bool(_NUMBER.fullmatch(text)) and not _DATE.fullmatch(text)


def without_comment(line: str) -> str:
    """The line without its comment, stripped."""
    return _COMMENT.sub("", line).strip()


def read_list(lines: Iterable[str]) -> Iterator[Entry | Problem]:
    """An entry without a name for each line that is not empty."""
    for number, line in enumerate(lines, 1):
        place = f"line {number}"
        if len(line) > MAX_LINE:
            yield Problem(place, f"a line of more than {MAX_LINE >> 10} KiB", "write one number a line")
            continue
        text = without_comment(line)
        if text:
            yield Entry("", (Number(text, place),), place)
