"""One field of a book → the identifiers in it, and what cannot be told for sure.

People and programs put several numbers into one field, and words around them. A field is split before its
parts are normalised, so the normalisation profile knows nothing of it. Where a part could be a second number
or something else (an extension, a PIN after a pause, the end of another number), it is reported: a guess
would look up a stranger.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator

from contactsync.contacts.words import (
    LEAST_DIGITS,
    NUMBER_DIGITS,
    digits_in,
    is_stale,
    second,
    stale,
    without_dates,
    without_words,
)
from contactsync.identifiers import Rejected, plain_characters

Dial = Callable[[str], bytes]
"""The identifier of one number. Raises Rejected."""

_SPAN_LENGTH = 20
_MOST = 64 << 10  # characters of one field
_LONGEST_DATE = 12
# One number for certain: no list mark (`1) …`), no `+00 49`, and brackets only near the front.
_CLEAN = re.compile(
    r"(?!\s*\d\d?[.)]\s|\s*\+\s*0)[ \t]*\+?[ ]?(?:[0-9][0-9 .-]{0,6})?(?:\([0-9 ]{1,6}\))?[0-9 .-]+"
)
_SPAN = re.compile(r"\d-\d{1,3}\s{1,3}[-\u2013\u2014]\s{0,3}\d{1,3}\s*$")  # `030 231250-01 - 05`
_DECIMAL = re.compile(r"\s*\d(?:[.,]\d+)?E\+?\d+\s*|\s*\d{7,}[.,]0+\s*", re.IGNORECASE)
_LINES = re.compile(r"[\r\n\v\f\x85\u2028\u2029]+")
_CONJUNCTION = (
    r"\s(?:oder|od\.|und|bzw\.?|sowie|or|and|ou|et|o|y|u|e|i|of|en|lub|oraz|nebo|a|eller|och|og|tai|ja|vagy|"
    r"és|sau|și|ili|или|и|або|та|ή|και|או|veya|ve)\s(?=\s*[+(\d])"
)
# Signs that never stand inside a number. `<` and `>` enclose a link: `030 1234567 <tel:0301234567>`.
_ALWAYS = re.compile(
    rf":::|[|<>{{}}•、；\u060c]|\s&\s|{_CONJUNCTION}|\s*(?:または|又は|および|或者?|或|和|또는)\s*",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"[(\[]([^()\[\]]*)[)\]]")
_SOFT = re.compile(r"([,;]+)")
_PARAMETER = re.compile(r";\s*(?:ext|isub|phone-context|postd|tsp|x-[a-z-]+)\s*=", re.IGNORECASE)
_LINK = re.compile(r"(?:wa\.me/|(?:whatsapp:/|api\.whatsapp\.com)/send/?\?phone=)\+?(\d+)", re.IGNORECASE)
_ADDRESS = re.compile(r"@|(?<!callto)(?<!tel)://", re.IGNORECASE)
# Dialled before a number to hide the caller's own, or to show it: GSM, then North America.
_HIDDEN = re.compile(r"[*#]3[01]#\s*(?=[+(\d])|\*(?:67|82)[ ,#-]*(?=[+(\d])|[*#]3[01]\*(?=[+\d]+#$)")
_PLUS = re.compile(r"(?<![\d+])(?:\+\s*\+[\s+]*(?:00)?|\+\s*00|00\s*\+)\s*(?=[1-9(])")
_URI = re.compile(r"(?:tel|callto):\S+", re.IGNORECASE)
_AROUND = " \t\"'`´‘’“”„«»?¿!"
_SECOND = re.compile(r"[( ]*(?:\+|0)")
_EXTENSION_WORD = re.compile(
    r"\s*(?:ext|x|xt|durchwahl|dw|app|nst|poste|int|anexo|ramal|доб|#)\b", re.IGNORECASE
)
_APART = re.compile(r"\s/\s")
_SLASH = re.compile(r"(?<![:/])/(?!/)")
_ABROAD = re.compile(r"[ (\[]*(?:\+|00)[ )\]]*\d{1,3}(?=[\s()/.-]|$)[ )\]]*")


def read_field(text: str, dial: Dial) -> Iterator[bytes | Rejected]:
    """The identifiers in a field, and a rejection for each part that is not a number or not clear."""
    if _SPAN.search(text[-_SPAN_LENGTH:]) is not None:
        yield second()
    elif text.endswith(("0", "0 ")) and _DECIMAL.fullmatch(text[: 2 * _SPAN_LENGTH]):
        yield Rejected("a spreadsheet made a decimal number of it", "format the column as text")
    elif _CLEAN.fullmatch(text) is not None and (len(text) > _LONGEST_DATE or digits_in(without_dates(text))):
        yield _dialled(text, dial)
    elif len(text) > _MOST:
        yield Rejected("too long for a phone number")
    elif _DECIMAL.fullmatch(text):
        yield Rejected("a spreadsheet made a decimal number of it", "format the column as text")
    elif digits_in(text) == 0:
        yield _dialled(text, dial)  # it has the words for that
    else:
        text = text.replace("\\n", "\n").replace("\\;", ";").replace("\\,", ",")
        lines = [line for line in _LINES.split(text) if digits_in(line)]
        read = [list(_line(line, dial)) for line in lines]
        if len(lines) > 1 and _is_wrapped(lines, read, dial):
            yield Rejected(
                "a number over two lines, or two numbers", "write each number in a field of its own"
            )
            return
        yield from itertools.chain.from_iterable(read)


def _dialled(text: str, dial: Dial) -> bytes | Rejected:
    try:
        return dial(text)
    except Rejected as rejected:
        return rejected


def _is_wrapped(lines: list[str], read: list[list[bytes | Rejected]], dial: Dial) -> bool:
    """Whether lines that are not all numbers are one number together."""
    if not any(isinstance(one, Rejected) for found in read for one in found):
        return False
    together = plain_characters(" ".join(lines))
    return _CLEAN.fullmatch(together) is not None and isinstance(_dialled(together, dial), bytes)


def _line(line: str, dial: Dial) -> Iterator[bytes | Rejected]:
    parts = [part for part in _ALWAYS.split(line) if digits_in(part)]
    whole = parts if all(digits_in(part) >= LEAST_DIGITS for part in parts) else None
    if whole is None and len(parts) > 1:  # a remark between the signs, or a number cut in two
        whole = [part for part in parts if digits_in(part) >= LEAST_DIGITS]
        if not whole or any(digits_in(part) > 2 for part in parts if part not in whole):
            yield second()
            return
    for part in whole or parts:
        for text in _part(part, dial):
            yield text if isinstance(text, Rejected) else _dialled(text, dial)


def _part(part: str, dial: Dial) -> Iterator[str | Rejected]:
    """The numbers in a text without separators that always separate."""
    part = plain_characters(part).strip(_AROUND)
    undated = without_dates(part)
    link = _LINK.search(part)
    if link is not None:
        yield "+" + link.group(1)
    elif undated != part and digits_in(undated) < LEAST_DIGITS:
        yield Rejected("a date, not a phone number", "put it into a field for dates")
    elif _ADDRESS.search(part):
        yield Rejected("an address, not a phone number", "write the phone number alone")
    else:
        yield from _numbers(_without_codes(undated.strip(_AROUND)), dial)


def _without_codes(part: str) -> str:
    """The text without what is dialled to hide one's own number, and with one plus for two or `+00`."""
    part = _PLUS.sub("+", part)
    hidden = _HIDDEN.match(part)
    if hidden is not None:
        part = part[hidden.end() :].removesuffix("#" if hidden.group().endswith("*") else "")
    if part.endswith("#") and part.count("#") == 1 and "*" not in part:  # dialled to end a number
        part = part[:-1].rstrip()
    return part


def _numbers(part: str, dial: Dial) -> Iterator[str | Rejected]:
    if _PARAMETER.search(part) or _URI.fullmatch(part):
        yield part
        return
    part, remarks, others = _without_brackets(part)
    if is_stale(remarks):
        yield stale()
        return
    for piece in _split_softly(part, dial):
        if isinstance(piece, Rejected):
            yield piece
        else:
            yield from _slashes(piece, dial)
    for other in others:
        yield from _part(other, dial)


def _without_brackets(text: str) -> tuple[str, str, list[str]]:
    """The text without remarks in brackets; the remarks; numbers in brackets behind another number."""
    if "(" not in text and "[" not in text:
        return text, "", []
    remarks: list[str] = []
    others: list[str] = []

    def take(match: re.Match[str]) -> str:
        inner, size = match.group(1), digits_in(match.group(1))
        words = any(map(str.isalpha, inner))
        if size >= NUMBER_DIGITS and (words or digits_in(text[: match.start()]) >= LEAST_DIGITS):
            others.append(inner)
            return " "
        if words or not size:
            remarks.append(inner)
            return " "
        return match.group()

    return _BRACKETS.sub(take, text).strip(_AROUND), " ".join(remarks), others


def _split_softly(text: str, dial: Dial) -> Iterator[str | Rejected]:
    """Split at commas and semicolons that separate numbers. What follows a pause is dropped."""
    current, *rest = _SOFT.split(text)
    for sign, following in zip(rest[::2], rest[1::2], strict=True):
        if digits_in(current) <= 2 and any(map(str.isalpha, current)):  # `Office, 030 …`: a label
            current = f"{current}, {following}" if digits_in(current) else following
            continue
        second_one = _is_second(sign, following, dial)
        if second_one is None:
            yield second()
        elif second_one:
            yield current
            current = following
    yield current


def _is_second(sign: str, text: str, dial: Dial) -> bool | None:
    """Whether the text after a comma or semicolon is a number of its own; None if that is not clear."""
    size = digits_in(text)
    if not size or "#" in text or "*" in text or _EXTENSION_WORD.match(text):
        return False
    first = next(i for i, character in enumerate(text) if character.isdigit())
    while first and text[first - 1] in "+( ":
        first -= 1
    number, labelled = text[first:], any(map(str.isalpha, text[:first]))
    marked = _SECOND.match(number) is not None
    if len(sign) > 1:  # more than one: dialled after a pause
        return None if marked and size > NUMBER_DIGITS + 1 else False
    if size >= NUMBER_DIGITS:
        spaced = labelled or text[0] == " " or re.search(r"\d[ ./()-]+\d", number) is not None
        if marked or (spaced and isinstance(_dialled(number, dial), bytes)):
            return True
        return None
    return None if size > 3 and text[0] == " " else False


def _slashes(text: str, dial: Dial) -> Iterator[str | Rejected]:
    """Split at slashes between numbers. Elsewhere they stand between an area code and a number."""
    apart = _APART.split(text)
    if len(apart) > 1 and all(digits_in(one) >= NUMBER_DIGITS and _starts_number(one) for one in apart):
        for one in apart:
            yield from _slashes(one, dial)
        return
    current, *rest = _SLASH.split(text)
    groups = [current, *rest]
    if rest and not (max(map(digits_in, groups)) <= 4 and not any(map(str.isalpha, text))):
        for following in rest:
            size, before = digits_in(following), _national_digits(current)
            whole = size >= NUMBER_DIGITS and before >= NUMBER_DIGITS
            if whole and (_starts_number(following) or _are_numbers(current, following, dial)):
                yield from without_words(current)
                current = following
            elif size and before >= NUMBER_DIGITS:  # `030 231250-01/02`: the end of another number
                yield second()
                return
            elif size > NUMBER_DIGITS + 2 and before > 0 and _starts_number(following):
                yield second()  # `030 / 0176 1234567`
                return
            else:
                current = f"{current}/{following}" if size else f"{current} {following}"
    else:
        current = text
    yield from without_words(current)


def _are_numbers(one: str, other: str, dial: Dial) -> bool:
    """Whether each of two texts is a number, and both together are none."""
    alone = all(isinstance(_dialled(text, dial), bytes) for text in (one, other))
    return alone and isinstance(_dialled(f"{one} {other}", dial), Rejected)


def _starts_number(text: str) -> bool:
    """Whether the first digits of a text begin as a number does that stands alone, maybe behind a word."""
    return _SECOND.match(re.sub(r"^[^\d+(]*", "", text)) is not None


def _national_digits(text: str) -> int:
    """The digits of a text without a country code in front."""
    abroad = _ABROAD.match(text)
    return digits_in(text[abroad.end() :] if abroad is not None else text)
