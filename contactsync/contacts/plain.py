"""Reads a plain list: one number or e-mail address per line.

`#` begins a comment, at the start of a line or after a space.

This module also decides what looks like a number in every format without markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from contactsync.contacts.book import MAX_LINE, Entry, Fault, Number
from contactsync.contacts.mails import address_in

_COMMENT = re.compile(r"(?:^|\s)#(?!\s*\d).*")  # `030 1234 #12` is an extension
_INVISIBLE = r"\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069"
_NUMBER = re.compile(
    rf"\s*(?:tel:)?[\s+(\[{_INVISIBLE}]*\d"
    rf"(?:[\d\s()\[\]./:,;#*~\\+\u2010-\u2015{_INVISIBLE}-]|ext[.=]?|phone-context=|[xpw](?![a-z]))*",
    re.IGNORECASE,
)
_DATE = re.compile(r"\s*(?:\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.]\d{4})(?:[T\s].*)?", re.DOTALL)
_LEAST_DIGITS = 3

PHONE_WORD = re.compile(
    r"(?<![^\W_])(?:"
    r"(?:i|mobile|home|work|cell|business|office|other|tele)?phones?(?:number|numbers|no|nr)?|tel|mobile|cell(?:ular)?|"
    r"\w*(?:telefon|rufnummer|mobilnummer|handy|mobil)(?:nummern?)?|fon|t[ée]l[ée]phones?|tél|portable|"
    r"tel[ée]fonos?|m[óo]vil|celular|fax|whatsapp|pager"
    r")(?![^\W_])"
)
"""A word for a phone number, in lower-case text of English, German, French or Spanish."""

NUMBER_WORDS = {
    *("number", "numbers", "nummer", "nummern", "numéro", "numero", "número"),
    *("msisdn", "msisdns", "gsm"),
}
"""Lower-case words that mean a phone number only if they stand alone."""

# Digits and what people write between them. Digits may also be part of a label ("Phone 2", "tel +49",
# "Fax 2024"): they are, if no colon precedes them and they are too few for a number that can be looked up.
_RUN = re.compile(rf"(?<!\w)[+(]?\d(?:[\d\s()/.{_INVISIBLE}\u2010-\u2015-]*\d)?(?!\w)")
_LEAST_IN_TEXT = 5
_LABELLED = 256  # characters; in longer text nothing is a label and a number
_LABEL_WORDS = 3
_LAST = re.compile(rf"[+(]?\d[\d\s()/.{_INVISIBLE}\u2010-\u2015-]*\s*$")  # at the end
_LEAST_NAMED = 7
_NAME_WORDS = 6


def looks_like_number(text: str) -> bool:
    """Whether a person would take the text for a phone number, valid or not."""
    digits = sum(map(str.isdigit, text))
    return digits >= _LEAST_DIGITS and bool(_NUMBER.fullmatch(text)) and not _DATE.fullmatch(text)


def holds_number(text: str) -> bool:
    """Whether the text contains a phone number: at its beginning, or after a word such as "phone"."""
    label = _label(text)
    return label is not None and _says_phone(label)


def is_number_line(text: str) -> bool:
    """Whether the text looks like a number, or is a number after a label: `phone 030 1234567`."""
    if looks_like_number(text):
        return True
    label = _label(text)
    return bool(label and _says_phone(label) and len(label.split()) <= _LABEL_WORDS)


def is_name_and_number(text: str) -> bool:
    """Whether a line is some words and a number behind them: `Anna Muster 0176 1234567`."""
    end = _LAST.search(text[-_LABELLED:])
    if end is None or len(text) > _LABELLED or sum(map(str.isdigit, end.group())) < _LEAST_NAMED:
        return False
    words = text[: len(text) - len(end.group())].split()
    named = 0 < len(words) <= _NAME_WORDS and any(map(str.isalpha, words[0]))
    return named and not _DATE.fullmatch(end.group())


def _label(text: str) -> str | None:
    """The text before the first digits that may be a phone number; None if there are none."""
    text = text[:_LABELLED]
    for run in _RUN.finditer(text):
        label = text[: run.start()].strip()
        least = _LEAST_DIGITS if label.endswith(":") else _LEAST_IN_TEXT
        if sum(map(str.isdigit, run.group())) >= least and not _DATE.fullmatch(run.group()):
            return label
    return None


def _says_phone(label: str) -> bool:
    label = label.lower()
    return not label or PHONE_WORD.search(label) is not None or label.strip(" :.") in NUMBER_WORDS


def without_comment(line: str) -> str:
    """The line without its comment, stripped."""
    return _COMMENT.sub("", line).strip()


def read_list(lines: Iterable[str]) -> Iterator[Entry | Fault]:
    """An entry without a name for each line that is not empty."""
    for number, line in enumerate(lines, 1):
        place = f"line {number}"
        if len(line) > MAX_LINE:
            yield Fault(place, f"a line longer than {MAX_LINE >> 10} KiB", "write one number per line")
            continue
        text = without_comment(line)
        if "@" in text and not holds_number(text):
            yield _with_address(text, place)
        elif text:
            yield Entry("", (Number(text, place),), place)


def _with_address(line: str, place: str) -> Entry:
    """A line with an address, and perhaps a name or a number beside it. Several are read, without a name."""
    found = address_in(line)
    if found is None:
        return Entry("", (), place, (), "", (Number(line, place),))
    name, address, rest = found
    numbers = (Number(rest, place),) if sum(map(str.isdigit, rest)) >= _LEAST_IN_TEXT else ()
    return Entry(name, numbers, place, (), "", (Number(address, place),))
