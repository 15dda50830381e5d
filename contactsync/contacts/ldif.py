"""LDIF (RFC 2849): what Thunderbird, SOGo and directories export."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator

from contactsync.contacts.book import MAX_LINE, MAX_NUMBERS, Entry, Fault, Group, Number
from contactsync.contacts.text import Decoder, byte_lines

# Attributes of RFC 2798, RFC 4519 and Thunderbird, in small letters.
_PHONES = {
    *("telephonenumber", "homephone", "hometelephonenumber", "mobile", "mobiletelephonenumber", "cellphone"),
    *(
        "facsimiletelephonenumber",
        "fax",
        "pager",
        "pagertelephonenumber",
        "workphone",
        "otherphone",
        "carphone",
    ),
    *(
        "primaryphone",
        "companyphone",
        "otherhomephone",
        "othermobile",
        "othertelephone",
        "internationalisdnnumber",
    ),
    *("othermobiletelephonenumber", "mozillahomephone", "ipphone", "mozillaworkphone"),
}
_MAILS = (
    *("mail", "rfc822mailbox", "email", "emailaddress", "mozillasecondemail", "xmozillasecondemail"),
    *("secondemail", "othermailbox", "mailalternateaddress", "alternatemail"),
)
_NAMES = ("cn", "commonname", "displayname")
_INSTEAD = ("mozillanickname", "xmozillanickname", "nickname", "o", "company", "mail")
_GROUPS = {"groupofnames", "groupofuniquenames", "group", "posixgroup", "mozillaablist"}
_USED = (
    _PHONES
    | {*_NAMES, *_INSTEAD, *_MAILS}
    | {
        *(
            "dn",
            "sn",
            "surname",
            "givenname",
            "gn",
            "objectclass",
            "member",
            "uniquemember",
            "category",
            "categories",
        ),
        *("o",),
    }
)
_BEGIN = re.compile(rb"version:[ \t]*\d+[ \t]*|dn::?[ \t].*", re.IGNORECASE)
_LOOKED_AT = 1 << 14  # bytes
_MOST = 4 * MAX_NUMBERS  # attributes kept of one entry

Attributes = dict[str, list[tuple[int, str]]]


def is_ldif(data: bytes) -> bool:
    """Whether the first line that is no comment is LDIF's."""
    lines = (line for line in data[:_LOOKED_AT].splitlines() if line.strip() and not line.startswith(b"#"))
    return _BEGIN.fullmatch(next(lines, b"")) is not None


def read_ldif(data: bytes, decoder: Decoder) -> Iterator[Entry | Group | Fault]:
    """The entries of a file in an ASCII superset. Groups are not contacts."""
    count = kept = 0
    attributes: Attributes = {}
    for line, logical in _unfolded(data):
        if not logical.strip():
            if attributes:
                count += 1
                yield from _entry(attributes, count)
            attributes, kept = {}, 0
            continue
        name, value = _attribute(logical)
        if name not in _USED:
            continue
        if len(logical) > MAX_LINE:
            yield Fault(f"line {line}", f"a line longer than {MAX_LINE >> 10} KiB", "shorten it")
        elif value is None:
            yield Fault(f"line {line}", "not the base64 that it should be", "export it again")
        elif kept < _MOST:
            kept += 1
            attributes.setdefault(name, []).append((line, decoder.decode(value)))
        elif kept == _MOST:
            kept += 1
            yield Fault(f"line {line}", "too many attributes in one entry", f"it may have at most {_MOST:,}")
    if attributes:
        yield from _entry(attributes, count + 1)


def _unfolded(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each logical line with its number: one that begins with a space continues the line before it."""
    first, pieces, size = 0, list[bytes](), 0
    for number, line in enumerate(byte_lines(data), 1):
        if line[:1] == b" " and pieces:
            if size <= MAX_LINE:
                pieces.append(line[1 : MAX_LINE + 2 - size])
                size += len(pieces[-1])
            continue
        if pieces:
            yield first, b"".join(pieces)
        first, pieces, size = number, [line[: MAX_LINE + 1]], min(len(line), MAX_LINE + 1)
    if pieces:
        yield first, b"".join(pieces)
    yield first + 1, b""


def _attribute(line: bytes) -> tuple[str, bytes | None]:
    """The name in small letters, without options, and the value; None if it is broken base64."""
    if line.startswith(b"#"):
        return "", b""
    head, _, value = line.partition(b":")
    name = head.partition(b";")[0].strip().decode("ascii", "replace").lower()
    if value.startswith(b":"):
        try:
            return name, binascii.a2b_base64(value[1:].strip())
        except binascii.Error:
            return name, None
    return ("", b"") if value.startswith(b"<") else (name, value.strip())


def _entry(attributes: Attributes, count: int) -> Iterator[Entry | Group | Fault]:
    def texts(*names: str) -> list[str]:
        return [text.strip() for name in names for _, text in attributes.get(name, ()) if text.strip()]

    line = min((line for values in attributes.values() for line, _ in values), default=0)
    place = f"entry {count}, line {line}"
    given_and_family = " ".join(texts("givenname", "gn")[:1] + texts("sn", "surname")[:1])
    name = next(iter(texts(*_NAMES)), "") or given_and_family or next(iter(texts(*_INSTEAD, *_MAILS)), "")

    def written(kinds: Iterable[str]) -> tuple[Number, ...]:
        lines = sorted(one for kind in kinds for one in attributes.get(kind, ()) if one[1].strip())
        return tuple(Number(text, f"entry {count}, line {number}") for number, text in lines)

    numbers = written(_PHONES)
    distinguished = next(iter(texts("dn")), "")
    if {kind.lower() for kind in texts("objectclass")} & _GROUPS:
        yield Group(name, tuple(texts("member", "uniquemember")))
    elif name or numbers:
        categories = tuple(texts("category", "categories"))
        yield Entry(name, numbers, place, categories, distinguished, written(_MAILS))
    elif set(attributes) - {"dn", "objectclass"}:
        yield Fault(place, "the entry is empty")
