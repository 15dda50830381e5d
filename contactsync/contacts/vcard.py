"""vCard 2.1, 3.0 (RFC 2426) and 4.0 (RFC 6350), as programs really write them.

A tolerant reader of what a sync needs: names, numbers, e-mail addresses, groups. Everything else in a card,
such as photos, is skipped and not kept in memory. If something cannot be read, only that number or card
is lost.
"""

from __future__ import annotations

import binascii
import functools
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from contactsync.contacts.book import MAX_LINE, MAX_NESTED, MAX_NUMBERS, Entry, Fault, Group, Number
from contactsync.contacts.charsets import codec_of
from contactsync.contacts.text import Decoder, chunks
from contactsync.contacts.words import LEAST_DIGITS

# The properties that are used. A group (`item1.`) may precede each.
_NEEDED = re.compile(
    rb"(?:[A-Za-z0-9_-]+\.)?"
    rb"(BEGIN|END|VERSION|FN|N|NICKNAME|ORG|EMAIL|TEL|X-MS-TEL|AGENT|KIND|X-ADDRESSBOOKSERVER-KIND|"
    rb"CATEGORIES|UID|MEMBER|X-ADDRESSBOOKSERVER-MEMBER)[ \t]*(?=[;:])",
    re.IGNORECASE,
)
# Properties that programs made up for numbers.
_INVENTED = re.compile(
    rb"(?!X-PHONETIC|PHONETIC|X-ASSISTANT|X-[A-Z-]*ASSISTANT)[A-Z0-9_.-]*"
    rb"(?:PHONE|MOBILE|CELL|TELEFON|HANDY|MOBIL|(?<![A-Z])FAX)(?!TIC)[A-Z0-9_.-]*[ \t]*[;:]",
    re.IGNORECASE,
)
_PROPERTY = re.compile(
    rb"[^:;]*?((?:;(?:[^\":;]|\"[^\"]*\")*)*):(.*)",  # name; parameters, a quoted one may hold : and ;  value
    re.DOTALL,
)
_BEGIN = re.compile(rb"(?:\A|[\r\n])([ \t]*)BEGIN[ \t]*:[ \t]*VCARD", re.IGNORECASE)
_MARKER = re.compile(rb"(?:BEGIN|END)[ \t]*:[ \t]*VCARD[ \t]*", re.IGNORECASE)
_OCTET = re.compile(rb"=[0-9A-Fa-f]{2}")
_MIDDLE_OF_WORD = re.compile(
    rb"(?<=[A-Za-z\x80-\xff])\n[ \t](?=[a-z\x80-\xff])(?!(?:von|van|de|del|der|di|da|und|and|y|zu|of)\b)"
)
_FOLD = re.compile(rb"\n[ \t]?")
_CHARSET = re.compile(rb";\s*charset\s*=\s*\"?([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_BASE64 = re.compile(rb";\s*(?:encoding\s*=\s*\"?)?b(?:ase64)?\"?\s*(?:;|\Z)", re.IGNORECASE)
_WHITE = {b" ", b"\t"}
_NAME_BYTES = 100  # of a property's name
_MARKERS = {"BEGIN", "END"}
_MAX_KEPT = 4 * MAX_NUMBERS  # properties kept of one card
_ALIASES = {
    "X-MS-TEL": "TEL",
    "X-ADDRESSBOOKSERVER-KIND": "KIND",
    "X-ADDRESSBOOKSERVER-MEMBER": "MEMBER",
}


class _Line(NamedTuple):
    """One unfolded line of a property that is used. `content` has a newline where it was folded."""

    number: int
    name: str
    content: bytes
    quoted_printable: bool


class _Card:
    """A card that is being read. `interrupted`: another card began inside it."""

    __slots__ = ("dropped", "interrupted", "line", "lines", "number", "old")

    def __init__(self, number: int, line: int) -> None:
        self.number = number
        self.line = line
        self.lines: list[_Line] = []
        self.dropped = 0
        self.interrupted = False
        self.old = False  # vCard 2.1

    @property
    def place(self) -> str:
        return f"card {self.number}, line {self.line}"


def first_card(data: bytes) -> int | None:
    """The offset of the first card, or of the line end before it; None if there is no card."""
    begin = _BEGIN.search(data)
    return None if begin is None else begin.start()


def read_vcards(data: bytes, decoder: Decoder | None = None) -> Iterator[Entry | Group | Fault]:
    """The cards of a file in an ASCII superset (`to_ascii_superset`), in the order in which they end."""
    decode = (decoder or Decoder(data)).decode
    data = _dedented(data)
    open_cards: list[_Card] = []
    count = 0
    after_agent = False  # the last line was an AGENT that announces a card of its own
    for line in _needed_lines(data):
        name = line.name
        marker = name in _MARKERS and _MARKER.fullmatch(line.content) is not None
        if marker and name == "BEGIN":
            yield from _interrupt(open_cards, agent=after_agent)
            count += 1
            open_cards.append(_Card(count, line.number))
        elif marker and open_cards:
            yield from _card(open_cards.pop(), decode)
        elif marker:
            yield Fault(f"line {line.number}", "an END:VCARD without a BEGIN:VCARD", "export it again")
        elif open_cards:
            card = open_cards[-1]
            card.interrupted = False
            if name == "VERSION":
                card.old = line.content.rstrip().endswith(b"2.1")
            elif len(card.lines) < _MAX_KEPT:
                card.lines.append(line)
            else:
                card.dropped += 1
        after_agent = False
        if name == "AGENT" and open_cards:
            value = line.content.partition(b":")[2].strip()
            after_agent = not value
            if _MARKER.fullmatch(value) and len(open_cards) < MAX_NESTED:  # AGENT:BEGIN:VCARD in one line
                count += 1
                open_cards.append(_Card(count, line.number))
    yield from map(_cut_off, open_cards)


def _dedented(data: bytes) -> bytes:
    """The data without the white space before every line of cards that were quoted somewhere."""
    begin = _BEGIN.search(data)
    if begin is None or not begin.group(1):
        return data
    indentation = re.escape(begin.group(1))
    return re.sub(rb"(?:(?<=[\r\n])|\A)" + indentation, b"", data)


def _interrupt(open_cards: list[_Card], *, agent: bool) -> Iterator[Fault]:
    """A card begins while others are open.

    Without AGENT, either it is nested or the other is cut off. What follows its end tells: another beginning
    shows that the outer card will not go on.
    """
    if len(open_cards) >= MAX_NESTED or (open_cards and open_cards[-1].interrupted):
        yield from map(_cut_off, open_cards)
        open_cards.clear()
    if open_cards and not agent:
        open_cards[-1].interrupted = True


def _cut_off(card: _Card) -> Fault:
    return Fault(card.place, "the card is cut off: it has no END:VCARD", "export or download it again")


def _needed_lines(data: bytes) -> Iterator[_Line]:  # noqa: C901 - one flat loop, for its speed
    """The unfolded lines of the properties that are used.

    A line that begins with white space continues the line before. So does a line after a soft break (`=` at
    the end) in quoted-printable. This applies to skipped lines too, so that nothing inside a note or a photo
    is taken for a property.
    """
    number = size = 0
    start, name, pieces = 0, "", list[bytes]()  # of the line that is being read; no name: it is skipped
    quoted = soft = False
    for chunk in chunks(data):
        for physical in chunk.splitlines():
            number += 1
            folded = physical[:1] in _WHITE
            if folded and not name and not quoted:  # a photo, mostly
                continue
            if not physical and not soft:  # some writers end each line twice
                continue
            broken = soft or (quoted and _OCTET.match(physical))  # some writers omit the = at the end
            if not folded and (not broken or _MARKER.fullmatch(physical)):
                if name:
                    yield _Line(start, name, pieces[0] if len(pieces) == 1 else b"".join(pieces), quoted)
                    name = ""
                quoted = False
                if b":" not in physical and b";" not in physical:
                    soft = False
                    continue
                head = physical[:MAX_LINE].partition(b":")[0]
                quoted = b";" in head and b"quoted-printable" in head.lower()
                match = _NEEDED.match(physical)
                if match is not None:
                    name = _name_of(match.group(1))
                elif _INVENTED.match(physical[:_NAME_BYTES]):
                    name = "INVENTED"
                start, size, pieces = number, 0, []
            elif folded and name:
                pieces.append(b"\n")
            soft = quoted and physical.endswith(b"=")
            if name and size <= MAX_LINE:  # one byte more, so that the excess is noticed
                piece = physical[:-1] if soft else physical
                size += len(piece)
                pieces.append(piece if size <= MAX_LINE else piece[: MAX_LINE + 1 - (size - len(piece))])
    if name:
        yield _Line(start, name, b"".join(pieces), quoted)


@functools.lru_cache(maxsize=256)
def _name_of(written: bytes) -> str:
    """The name of a property in capitals; the usual one where a program has its own."""
    name = written.decode("ascii").upper()
    return _ALIASES.get(name, name)


def _card(card: _Card, decode: Callable[[bytes], str]) -> Iterator[Entry | Group | Fault]:
    """One whole card: an entry or a group, and what could not be read."""
    values: dict[str, list[_Line]] = {}
    written: dict[str, list[Number]] = {"TEL": [], "EMAIL": []}
    number = card.number
    old = card.old
    for line in card.lines:
        if line.name == "INVENTED" or len(line.content) > MAX_LINE:
            yield from _not_read(line, number, decode)
            continue
        values.setdefault(line.name, []).append(line)
        if line.name in written:
            text = _unescape(_value(line, decode, old=old)).strip().strip('"' if line.name == "TEL" else "")
            if text:
                written[line.name].append(Number(text, f"card {number}, line {line.number}"))
    if card.dropped:
        yield Fault(card.place, "too many properties in one card", f"a card may have at most {_MAX_KEPT:,}")

    def texts(name: str) -> Iterator[str]:
        lines = values.get(name)
        return (_value(line, decode, old=old) for line in lines) if lines else iter(())

    name = _name(texts)
    categories = tuple(part for text in texts("CATEGORIES") for part in _parts(text, ",") if part)
    uid = next((text.strip() for text in texts("UID")), "")
    if "KIND" in values and any(kind.strip().lower() == "group" for kind in texts("KIND")):
        yield Group(name, tuple(text.strip() for text in texts("MEMBER")))
    elif name or written["TEL"]:
        yield Entry(name, tuple(written["TEL"]), card.place, categories, uid, tuple(written["EMAIL"]))
    else:
        yield Fault(card.place, "the card is empty")


def _not_read(line: _Line, card: int, decode: Callable[[bytes], str]) -> Iterator[Fault]:
    """What is reported of a line that is too long, or of a property that a program made up for a number."""
    place = f"card {card}, line {line.number}"
    if line.name != "INVENTED":
        yield Fault(place, f"a {line.name} line longer than {MAX_LINE >> 10} KiB", "shorten it")
    elif sum(map(str.isdigit, _value(line, decode, old=False)[:MAX_LINE])) >= LEAST_DIGITS:
        yield Fault(place, "a number in a property that vCard does not have", "name the property TEL")


def _name(texts: Callable[[str], Iterator[str]]) -> str:
    """FN, or else the first other name in the card."""
    for text in texts("FN"):
        full = _unescape(text)
        if full.strip():
            return full
    for text in texts("N"):
        family, given, more, before, after, *_rest = [*_parts(text, ";"), "", "", "", "", ""]
        name = " ".join(part for part in (before, given, more, family, after) if part)
        if name:
            return name
    for property_name in ("NICKNAME", "ORG", "EMAIL"):
        for text in texts(property_name):
            name = ", ".join(part for part in _parts(text, ";") if part)
            if name:
                return name
    return ""


def _value(line: _Line, decode: Callable[[bytes], str], *, old: bool) -> str:
    """The decoded value of a line, with its escapes."""
    content = line.content
    if b"\n" in content:
        content = _unfolded(content, old=old, quoted=line.quoted_printable)
    parameters, colon, value = content.partition(b":")
    if b'"' in parameters or not colon:
        match = _PROPERTY.match(content)
        if match is not None:  # else a quote that is never closed
            parameters, value = match.groups()
    if b";" not in parameters and not line.quoted_printable:
        return decode(value)
    parameters = b";" + parameters.partition(b";")[2]
    if line.quoted_printable or b"quoted-printable" in parameters.lower():
        value = binascii.a2b_qp(value)
    elif _BASE64.search(parameters):
        value = _from_base64(value)
    charset = _CHARSET.search(parameters)
    codec = codec_of(charset.group(1).decode("ascii")) if charset is not None else None
    # Text that is UTF-8 is, even where a program says that it is Western European.
    if codec is not None and not (codec == "cp1252" and _is_utf8(value)):
        try:
            return value.decode(codec)
        except ValueError:  # the text is not in it: ignore the parameter
            pass
    return decode(value)


def _unfolded(content: bytes, *, old: bool, quoted: bool) -> bytes:
    """The content in one line.

    vCard 2.1 folds before white space that belongs to the text. Later versions insert one such character, and
    some writers of 2.1 do too: in quoted-printable that writes spaces as `=20`, or that is no UTF-8 with the
    white space; and before a small letter in the middle of a word.
    """
    inserted = _FOLD.sub(b"", content)
    if not old and not quoted:
        return inserted
    kept = content.replace(b"\n", b"")
    if quoted:
        one, other = (binascii.a2b_qp(text.partition(b":")[2]) for text in (kept, inserted))
        return inserted if b"=20" in content or (_is_utf8(other) and not _is_utf8(one)) else kept
    return _MIDDLE_OF_WORD.sub(b"", content).replace(b"\n", b"")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _from_base64(value: bytes) -> bytes:
    """The decoded value, or the value itself if it is not base64."""
    plain = re.sub(rb"\s+", b"", value).rstrip(b"=")
    try:
        return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4))
    except binascii.Error:
        return value


_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def _unescape(text: str) -> str:
    r"""Remove escapes: `\n` is a line break; before any other character, the backslash is dropped."""
    if "\\" not in text:
        return text
    return _ESCAPED.sub(lambda m: "\n" if m.group(1) in "nN" else m.group(1), text)


def _parts(text: str, separator: str) -> list[str]:
    """The parts between separators that are not escaped."""
    if "\\" not in text:
        return [part.strip() for part in text.split(separator)]
    parts, current = [], []
    pieces = text.split(separator)
    for i, piece in enumerate(pieces):
        current.append(piece)
        escaped = (len(piece) - len(piece.rstrip("\\"))) % 2
        if not escaped or i == len(pieces) - 1:
            parts.append(_unescape(separator.join(current)).strip())
            current = []
    return parts
