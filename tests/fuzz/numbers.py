"""Telephone numbers: the profile, its short cut, and tables of members in the formats of an import."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace

import numpy as np

from contactsync.contacts.mails import address_in, read_mails
from contactsync.foundation.errors import BadInput
from contactsync.identifiers import KINDS, Rejected, mail, normalise, partition_of, shown
from contactsync.identifiers.mail.address import quick as quick_address
from contactsync.identifiers.tel import explain
from contactsync.identifiers.tel.quick import quick
from contactsync.labels import check_label
from contactsync.phones.bulk import read_numbers
from contactsync.phones.layout import Columns
from contactsync.phones.people import read_people
from contactsync.server.admin.reading import identifier_of
from fuzz.target import Target

_REGIONS = ("DE", "US", "IT", "AR", "JP", None)
_COLUMNS = (
    Columns(),
    Columns("phone", region="country"),
    Columns("2", identity="1"),
    Columns("phone", identity="id", tables=("users",)),
)
_PEOPLE = (
    Columns("phone", label="handle", email="mail"),
    Columns("phone", label="handle", identity="id"),
    Columns("", email="mail", label="handle"),
)
_PEOPLE_TABLES = (
    b'id,phone,mail,handle\n1,+4917604069001,Ann@Example.org,"@a, ""n"""\n2,,b@example.org,\n3,x,c@,\xff\n',
    b'{"phone": "+4917604069001", "mail": "a@example.org", "handle": "\\ud800", "id": "1"}\n',
    b"-- PostgreSQL database dump\nCOPY u (id, phone, mail, handle) FROM stdin;\n"
    b"1\t+4917604069001\t\\N\ta\\tb\n\\.\n",
)
_LINES = b"+49 176 04069001\n0176-04069002\n# note\n\n030 1234567 ext 5\n"
_DUMP = (
    b"-- PostgreSQL database dump\nSET x = 'a;b';\nCOPY public.users (id, phone, country) FROM stdin;\n"
    b"1\t+4917604069001\tDE\n2\t\\N\tUS\n3\ta\\tb\tDE\n\\.\n"
)
_TABLES = (
    b"phone\n" + _LINES,
    b'id,phone,country\n1,+4917604069001,DE\n2,"0176 0406,9002",\n3,"open,DE\n',
    b"id;phone\r\n1;+1 212 555 0131\r\n",
    b'{"id": 1, "phone": "+4917604069001", "country": "DE"}\n{"phone": 4917604069001}\n',
    _DUMP,
    _LINES,
    "id\tphone\n1\t+4917604069001\n".encode("utf-16"),
)
_WORDS = (
    *(
        b"phone",
        b"country",
        b"id",
        b",",
        b";",
        b"\t",
        b'"',
        b'""',
        b"\n",
        b"\r\n",
        b"\\N",
        b"\\.\n",
        b"\\t",
        b"DE",
        b"+49",
    ),
    *(
        b"COPY public.users (id, phone) FROM stdin;\n",
        b'{"phone": "',
        b'"}\n',
        b"PGDMP",
        b"--",
        b"/*",
        b"*/",
        b"$$",
        b"'",
    ),
    *(b"17604069001", b" ", b"(0)", b"\xff\xfe", b"\xef\xbb\xbf", b"[", b"ext 5"),
)


def _number(data: bytes) -> None:
    """The short cut gives what all steps give; an identifier is its own normal form."""
    region = _REGIONS[data[0] % len(_REGIONS)] if data else None
    text = data[1:].decode("utf-8", "replace")
    try:
        found = normalise(text, region)
    except Rejected as error:
        assert quick(text, region) is None, "the short cut takes what is rejected"
        assert not any(part in error.reason + error.hint for part in text.split() if len(part) > 6)
        explain(text, region)
        return
    fast = quick(text, region)
    assert fast is None or b"tel:+" + fast.encode() == found, (fast, found)
    assert explain(text, region)[-1].result.encode() in (found, found.removeprefix(b"tel:")), explain(
        text, region
    )[-1]
    assert normalise(found.decode(), None) == found
    assert identifier_of(found.decode()) == found
    kind = KINDS["tel"]
    assert kind.identifiers_of(kind.keys_of([found])) == [found]
    assert partition_of(found) in kind.partitions()


def _address(data: bytes) -> None:
    """The short cut gives what all steps give; an identifier and what is shown of it normalise to it."""
    text = data.decode("utf-8", "replace")
    list(read_mails(text))
    address_in(text)
    try:
        found = mail.normalise(text)
    except Rejected as error:
        assert quick_address(text) is None, "the short cut takes what is rejected"
        assert mail.explain(text)[-1].result == error.reason
        return
    assert mail.explain(text)[-1].result.encode() == found
    assert mail.normalise(found.decode()) == mail.normalise(shown(found.decode())) == found
    assert identifier_of(found.decode()) == found
    assert partition_of(found) == "mail"


def _identifier(data: bytes) -> None:
    found = identifier_of(data.decode("utf-8", "replace"))
    assert identifier_of(found.decode()) == found


def _table(data: bytes) -> None:
    """Small pieces and the whole give the same; so do the kernel and the library."""
    first = data[0] if data else 0
    columns, region = _COLUMNS[first % len(_COLUMNS)], _REGIONS[first // 4 % len(_REGIONS)]
    results = []
    is_short = max(map(len, data[1:].split(b"\n"))) < 256  # no record is longer than a piece
    for chunk in (1 << 18, max(1024, len(data) // 3)) if is_short else (1 << 18,):
        try:
            batches = list(read_numbers(io.BytesIO(data[1:]), region, "table", columns=columns, chunk=chunk))
        except BadInput as error:
            results.append((str(error), None, None))
            refusal = error
            continue
        results.append(
            (
                "",
                np.concatenate([one.numbers for one in batches] or [[]]).tolist(),
                [(one.line, one.reason) for batch in batches for one in batch.refused],
            )
        )
    assert all(one == results[0] for one in results), results
    if results[0][0]:
        raise refusal


def _people(data: bytes) -> None:
    """Small pieces and the whole give the same people; numbers are those that are read alone."""
    columns = _PEOPLE[(data[0] if data else 0) % len(_PEOPLE)]
    is_short = max(map(len, data[1:].split(b"\n"))) < 256
    found = []
    for chunk in (1 << 18, max(1024, len(data) // 3)) if is_short else (1 << 18,):
        batches = list(read_people(io.BytesIO(data[1:]), "DE", "table", columns=columns, chunk=chunk))
        refused = [(one.line, one.reason) for batch in batches for one in batch.refused]
        found.append(([one for batch in batches for one in batch.people], refused))
    assert all(one == found[0] for one in found), found
    for one in found[0][0]:
        assert one.number or one.address
        assert not one.label or check_label(one.label.decode()) == one.label
    if columns.number:
        alone = replace(columns, label=None, email=None)
        batches = list(read_numbers(io.BytesIO(data[1:]), "DE", "table", columns=alone))
        accepted = [n for batch in batches for n in batch.accepted.tolist()]
        assert [one.number for one in found[0][0] if one.number] == accepted


def _kernel(data: bytes) -> None:
    """The kernel finds the records that Python finds, and no number that the library does not give."""
    from contactsync.phones.records import Scanner, scan_small
    from contactsync.phones.tables import parts_of

    first = data[0] if data else 0
    columns, region = _COLUMNS[first % 3], _REGIONS[first // 4 % len(_REGIONS)]
    for part in parts_of(io.BytesIO(data[1:]), "table", columns, region, 1 << 18):
        octets = part.head + part.rest.read(1 << 18)
        fast, slow = (
            Scanner(part.layout, region).scan(octets, part.layout.start, final=True),
            scan_small(octets, part.layout),
        )
        assert fast.lines.tolist() == slow.lines.tolist()
        late = {entry: (why, start, end) for entry, why, start, end in fast.late.tolist()}
        other = {entry: (why, start, end) for entry, why, start, end in slow.late.tolist()}
        assert all(other.get(entry, (0,))[0] == why for entry, (why, *_) in late.items() if why), (
            late,
            other,
        )
        if part.rest.read(1):
            return


TARGETS = (
    Target(
        "number",
        _number,
        lambda: [bytes([i]) + text for i, text in enumerate(_LINES.split(b"\n"))],
        words=_WORDS + (b"tel:", b";phone-context=+49", b"+4", b"00", b"011", b"E+11"),
        longest=300,
    ),
    Target(
        "identifier",
        _identifier,
        lambda: [b"tel:+4917604069001", b"tel:+12125550131"],
        (Rejected,),
        words=(b"tel:", b"+", b"0", b"mailto:", b"%25", b"@x.org"),
        longest=100,
    ),
    Target(
        "address",
        _address,
        lambda: [
            b"Ann <Ann@Example.org>",
            b"mailto:%C3%BCmit@m%C3%BCnchen.de?subject=x",
            "ümit@例え.テスト, b@xn--fa-hia.de".encode(),
        ],
        words=(
            *(b"mailto:", b"%", b"%C3%BC", b"<", b">", b'"', b"@", b".", b",", b"xn--", b"@x.org", b"\\n"),
            *map(
                str.encode,
                (
                    "ß",
                    "ς",
                    "İ",
                    "ı",
                    "ａ",
                    "＠",
                    "。",
                    "\u200c",
                    "\u200d",
                    "\u202e",
                    "\u00ad",
                    "ﬁ",
                    "\u0308",
                    "א",
                ),
            ),
        ),
        longest=300,
    ),
    Target(
        "members-table",
        _table,
        lambda: [bytes([i]) + one for i, one in itertools.product(range(4), _TABLES)],
        (BadInput,),
        words=_WORDS,
    ),
    Target(
        "members-people",
        _people,
        lambda: [bytes([i]) + one for i, one in itertools.product(range(3), _PEOPLE_TABLES)],
        (BadInput,),
        words=(*_WORDS, b"mail", b"handle", b"ann@example.org", b"@ann", b"x" * 65, b"\xe2\x80\xae"),
    ),
    Target(
        "members-kernel",
        _kernel,
        lambda: [bytes([i]) + one for i, one in itertools.product(range(2), _TABLES)],
        (BadInput,),
        words=_WORDS,
    ),
)
