"""Every reader, fed with damaged books: no exception, nothing but text that is fit to print, in bounded time.

The books of all cases are cut, flipped, doubled and spliced with one another.
"""

import io
import random
import re
import time
import tracemalloc

import pytest

from books.test_books import CASES
from contactsync.contacts.dialling import Dialling
from contactsync.contacts.fields import read_field
from contactsync.contacts.formats import entries_of
from contactsync.sources import read_address_books

SECONDS = 2.0
SPLICES = [
    *(b"\r\n", b"\n\n", b"\r", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b",", b";", b"\t", b"|", b"'", b'="', b"=\r\n", b"="),
    *(b"BEGIN:VCARD\r\n", b"END:VCARD\r\n", b"AGENT:\r\n", b";ENCODING=b:", b";CHARSET=x-sjis:", b"TEL:", b"dn:: ", b" ::: "),
    *(b"<contact>", b"</contact>", b"<!DOCTYPE x>", b"&amp;", b"<![CDATA[", b'["vcard",[', b"]]", b"{", b"PK\x03\x04", b"\x1f\x8b\x08"),
    *(b"SQLite format 3\0", b" oder ", b"/", b"*31#", b"ext. 5", b"+", b"(", b")", b"0176 04069001", b"\xe4\xf6", b"\x82\xa0", b"#"),
]  # fmt: skip


def contents():
    for case in CASES:
        files = case.content.values() if isinstance(case.content, dict) else [case.content]
        for content in files:
            yield case.name, case.region, content.encode() if isinstance(content, str) else content


BOOKS = list(contents())


def damaged(rng, data):
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(out)) if out else 0
        what = rng.randrange(6)
        if what == 0 and out:
            out[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            del out[at : at + rng.randint(1, 60)]
        elif what == 2:
            out[at:at] = rng.choice(SPLICES)
        elif what == 3:
            out[at:at] = out[at : at + rng.randint(1, 200)]
        elif what == 4:
            other = rng.choice(BOOKS)[2]
            start = rng.randrange(len(other) + 1)
            out[at:at] = other[start : start + rng.randint(1, 300)]
        else:
            del out[at:]
    return bytes(out)


def check(data, region):
    started = time.process_time()
    book = read_address_books(["-"], region=region, stdin=io.BytesIO(data), grouped=True)
    assert time.process_time() - started < SECONDS
    for entry in book.unreadable:
        assert entry.reason
        assert not re.search(r"\d{5}", entry.reason + entry.hint + entry.place)
        assert (entry.reason + entry.hint + entry.place + entry.file).isprintable()
    for contact in book.contacts:
        assert contact.name.replace("\u200c", "").replace("\u200d", "").isprintable()
        for identifier in contact.identifiers:
            assert re.fullmatch(rb"tel:\+\d{5,15}|mailto:[!-~]+@[a-z0-9.-]+", identifier)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_books(seed):
    rng = random.Random(seed)
    for _name, region, data in rng.sample(BOOKS, 40):
        check(damaged(rng, data), region)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 116))
def test_many_damaged_books(seed):
    rng = random.Random(seed)
    for _name, region, data in BOOKS * 6:
        check(damaged(rng, damaged(rng, data)), region)


FIELD = "0123456789+++00(( ))//--,,;;..##**xXpPwW  \t\n|<>[]'\"?ßé٣４ー、oOlI@:=&abcMobil ext und oder tel:"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_any_field(seed):
    rng = random.Random(seed)
    dials = [
        Dialling(region, code) for region, code in (("DE", None), ("DE", "030"), ("US", "212"), (None, None))
    ]
    for _ in range(1500):
        text = "".join(rng.choice(FIELD) for _ in range(rng.randint(1, 40)))
        for one in read_field(text, rng.choice(dials)):
            assert not isinstance(one, bytes) or re.fullmatch(rb"tel:\+\d{5,15}", one)


def quadrupled(data):
    """CPU seconds for data and for four times as much, the least of three, taken in turns."""

    def spent(content):
        started = time.process_time()
        for _ in entries_of(content, "DE"):
            pass
        return time.process_time() - started

    turns = [(spent(data), spent(4 * data)) for _ in range(3)]
    return tuple(map(min, zip(*turns, strict=True)))


UNITS = {
    "cards": b"BEGIN:VCARD\r\nFN:A\r\nTEL:0176 04069001\r\nEND:VCARD\r\n",
    "cut cards": b"BEGIN:VCARD\r\nFN:A\r\nTEL:0176 04069001\r\n",
    "folds": b" x\r\n",
    "quoted lines": b"FN;ENCODING=QUOTED-PRINTABLE:=C3=\r\n",
    "rows": b"Ada,0176 04069001,x\n",
    "quotes": b'"a\n',
    "list": b"0176 04069001\n",
    "names": b"Ada Lovelace 0176 04069001\n",
    "ldif": b"dn: x\ncn: A\nmobile: 0176\n 04069001\n\n",
    "cyrillic": "FN:Жанна\r\n".encode("cp1251"),
    "kanji": "名前,電話\n".encode("cp932"),
    "xml": b"<contact><number>1</number></contact>",
    "utf-16": "Ada,0176 04069001\n".encode("utf-16-le"),
    "commas": b"1,",
    "carriage returns": b"\r",
    "nulls": b"\0",
}  # fmt: skip
HEADS = {
    "rows": b"Name,Phone,Note\n",
    "quotes": b"Name,Phone\n",
    "ldif": b"version: 1\n",
    "xml": b"<phonebooks>",
    "folds": b"BEGIN:VCARD\nFN:A\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_four_times_as_much_takes_four_times_as_long(unit):
    """What is quadratic takes 16 times as long; noise alone made three of twice."""
    data = HEADS.get(unit, b"") + UNITS[unit] * (150_000 // len(UNITS[unit]))
    once, four_times = quadrupled(data)
    assert four_times < 8 * once + 0.1, (once, four_times)
    assert four_times < 8


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_memory_is_a_small_multiple_of_the_input(unit):
    data = HEADS.get(unit, b"") + UNITS[unit] * (400_000 // len(UNITS[unit]))
    tracemalloc.start()
    for _ in entries_of(data, "DE"):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 * len(data) + (8 << 20), f"{peak / len(data):.0f} times the input"
