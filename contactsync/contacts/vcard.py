"""vCard 2.1, 3.0 (RFC 2426) and 4.0 (RFC 6350), as programs really write them.

A tolerant reader of what a sync needs: names and numbers. Everything else in a card, such as photos, is
skipped and not kept in memory. If something cannot be read, only that number or card is lost.
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from contactsync.contacts.book import MAX_LINE, MAX_NESTED, MAX_NUMBERS, Entry, Fault, Number
from contactsync.contacts.text import byte_lines, decode

# The properties that are used. A group (`item1.`) may precede each.
_NEEDED = re.compile(
    rb"(?:[A-Za-z0-9_-]+\.)?"
    rb"(BEGIN|END|VERSION|FN|N|NICKNAME|ORG|EMAIL|TEL|AGENT|KIND|X-ADDRESSBOOKSERVER-KIND)[ \t]*(?=[;:])",
    re.IGNORECASE,
)
_PROPERTY = re.compile(
    rb"[^:;]*?((?:;(?:[^\":;]|\"[^\"]*\")*)*):(.*)",  # name; parameters, a quoted one may hold : and ;  value
    re.DOTALL,
)
_BEGIN = re.compile(rb"(?:\A|[\r\n])BEGIN[ \t]*:[ \t]*VCARD", re.IGNORECASE)
_MARKER = re.compile(rb"(?:BEGIN|END)[ \t]*:[ \t]*VCARD[ \t]*", re.IGNORECASE)
_OCTET = re.compile(rb"=[0-9A-Fa-f]{2}")
_MAX_KEPT = 4 * MAX_NUMBERS  # properties kept of one card

# Python's codecs include more than charsets (rot13, idna). These are charsets that address books use.
_CHARSETS = re.compile(
    r"ascii|utf-(?:8|16|16-[bl]e)|iso8859-\d+|cp\d+|koi8-[ru]|shift_jis\w*|euc_\w+|iso2022_jp\w*|gb\w+|big5\w*|hz|"
    r"mac-\w+|tis-620"
)


@dataclass(slots=True)
class _Line:
    """One unfolded line of a property that is used. `content` has a newline where it was folded."""

    number: int
    name: str
    chunks: list[bytes]
    size: int
    quoted_printable: bool

    @property
    def content(self) -> bytes:
        return b"".join(self.chunks)


@dataclass(slots=True)
class _Card:
    number: int
    line: int
    lines: list[_Line] = field(default_factory=list)
    dropped: int = 0

    @property
    def place(self) -> str:
        return f"card {self.number}, line {self.line}"


def first_card(data: bytes) -> int | None:
    """The offset of the first card, or of the line end before it; None if there is no card."""
    begin = _BEGIN.search(data)
    return None if begin is None else begin.start()


def read_vcards(data: bytes) -> Iterator[Entry | Fault]:
    """The cards of a file in an ASCII superset (`to_ascii_superset`), in the order in which they end."""
    open_cards: list[_Card] = []
    count = 0
    after_agent = False  # the last line was an AGENT that announces a card of its own
    for line in _needed_lines(data):
        marker = line.name in {"BEGIN", "END"} and _MARKER.fullmatch(line.content) is not None
        if marker and line.name == "BEGIN":
            if open_cards and not (after_agent and len(open_cards) < MAX_NESTED):
                yield from (_cut_off(card) for card in open_cards)
                open_cards.clear()
            count += 1
            open_cards.append(_Card(count, line.number))
        elif marker and open_cards:
            yield from _card(open_cards.pop())
        elif marker:
            yield Fault(f"line {line.number}", "an END:VCARD without a BEGIN:VCARD", "export it again")
        elif open_cards:
            card = open_cards[-1]
            if len(card.lines) < _MAX_KEPT:
                card.lines.append(line)
            else:
                card.dropped += 1
        after_agent = False
        if line.name == "AGENT" and open_cards:
            value = line.content.partition(b":")[2].strip()
            after_agent = not value
            if _MARKER.fullmatch(value) and len(open_cards) < MAX_NESTED:  # AGENT:BEGIN:VCARD in one line
                count += 1
                open_cards.append(_Card(count, line.number))
    yield from (_cut_off(card) for card in open_cards)


def _cut_off(card: _Card) -> Fault:
    return Fault(card.place, "the card is cut off: it has no END:VCARD", "export or download it again")


def _needed_lines(data: bytes) -> Iterator[_Line]:
    """The unfolded lines of the properties that are used.

    A line that begins with white space continues the line before. So does a line after a soft break (`=` at
    the end) in quoted-printable. This applies to skipped lines too, so that nothing inside a note or a photo
    is taken for a property.
    """
    current: _Line | None = None
    quoted = soft = False
    for number, physical in enumerate(byte_lines(data), 1):
        if not physical and not soft:  # some writers end each line twice
            continue
        folded = physical[:1] in {b" ", b"\t"}
        broken = soft or (quoted and _OCTET.match(physical))  # some writers omit the = at the end
        if not folded and (not broken or _MARKER.fullmatch(physical)):
            if current is not None:
                yield current
                current = None
            quoted = b"quoted-printable" in physical[:MAX_LINE].partition(b":")[0].lower()
            match = _NEEDED.match(physical)
            if match is not None:
                current = _Line(number, match.group(1).decode("ascii").upper(), [], 0, quoted)
        elif folded and not soft:
            _extend(current, b"\n")
        soft = quoted and physical.endswith(b"=")
        _extend(current, physical[:-1] if soft else physical)
    if current is not None:
        yield current


def _extend(line: _Line | None, chunk: bytes) -> None:
    """Add to a line, up to one byte more than it may have (so that the excess is noticed)."""
    if line is not None and line.size <= MAX_LINE:
        line.chunks.append(chunk[: MAX_LINE + 1 - line.size])
        line.size += len(line.chunks[-1])


def _card(card: _Card) -> Iterator[Entry | Fault]:
    """One whole card: an entry, and what could not be read. Groups are not contacts."""
    values: dict[str, list[str]] = {}
    numbers: list[Number] = []
    old_folding = any(x.name == "VERSION" and x.content.rstrip().endswith(b"2.1") for x in card.lines)
    for line in card.lines:
        place = f"card {card.number}, line {line.number}"
        if line.size > MAX_LINE:
            yield Fault(place, f"a {line.name} line longer than {MAX_LINE >> 10} KiB", "shorten it")
            continue
        text = _value(line, old_folding=old_folding)
        if line.name == "TEL":
            text = _unescape(text).strip().strip('"')
            if text:
                numbers.append(Number(text, place))
        elif text.strip():
            values.setdefault(line.name, []).append(text)
    if card.dropped:
        yield Fault(card.place, "too many properties in one card", f"a card may have at most {_MAX_KEPT:,}")
    kinds = values.get("KIND", []) + values.get("X-ADDRESSBOOKSERVER-KIND", [])
    if any(kind.strip().lower() == "group" for kind in kinds):
        return
    name = _name(values)
    if name or numbers:
        yield Entry(name, tuple(numbers), card.place)
    else:
        yield Fault(card.place, "the card is empty")


def _name(values: dict[str, list[str]]) -> str:
    """FN, or else the first other name in the card."""
    for text in values.get("FN", []):
        if _unescape(text).strip():
            return _unescape(text)
    for text in values.get("N", []):
        family, given, more, before, after, *_rest = [*_components(text), "", "", "", "", ""]
        name = " ".join(part for part in (before, given, more, family, after) if part)
        if name:
            return name
    for property_name in ("NICKNAME", "ORG", "EMAIL"):
        for text in values.get(property_name, []):
            name = ", ".join(part for part in _components(text) if part)
            if name:
                return name
    return ""


def _value(line: _Line, *, old_folding: bool) -> str:
    """The decoded value of a line, with its escapes."""
    content = line.content
    # vCard 2.1 folds before white space that belongs to the text. Later versions insert one such character.
    content = content.replace(b"\n", b"") if old_folding else re.sub(rb"\n[ \t]", b"", content)
    match = _PROPERTY.match(content)
    if match is not None:
        parameters, value = match.groups()
    else:  # a quote that is never closed
        parameters, _, value = content.partition(b":")
    if line.quoted_printable or b"quoted-printable" in parameters.lower():
        value = binascii.a2b_qp(value)
    charset = re.search(rb";\s*charset\s*=\s*\"?([A-Za-z0-9_.:-]+)", parameters, re.IGNORECASE)
    if charset is not None:
        try:
            codec = codecs.lookup(charset.group(1).decode("ascii")).name
            if _CHARSETS.fullmatch(codec):
                return value.decode(codec)
        except (LookupError, ValueError):  # unknown charset, or the text is not in it: ignore the parameter
            pass
    return decode(value)


_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_COMPONENT = re.compile(r"(?:[^\\;]|\\.|\\\Z)*", re.DOTALL)


def _unescape(text: str) -> str:
    r"""Remove escapes: `\n` is a line break; before any other character, the backslash is dropped."""
    if "\\" not in text:
        return text
    return _ESCAPED.sub(lambda m: "\n" if m.group(1) in "nN" else m.group(1), text)


def _components(text: str) -> list[str]:
    """The parts between semicolons that are not escaped."""
    parts = []
    position = 0
    while True:
        match = _COMPONENT.match(text, position)
        assert match is not None, "the pattern matches an empty component"
        parts.append(_unescape(match.group()).strip())
        position = match.end() + 1
        if position > len(text):
            return parts
