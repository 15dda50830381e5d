"""Any bytes at all give entries and problems, never an exception, in time that grows with their length."""

import io
import random
import re
import time
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contactsync.contacts.formats import entries_of
from contactsync.sources import read_address_books

EXAMPLE = (files("contactsync.commands") / "example" / "contacts.vcf").read_bytes()
ROW = b"Ada,Ada,Mobile,+49 151 12345678 ::: 030 1234567\n"
GOOGLE = b"Name,Given Name,Phone 1 - Type,Phone 1 - Value\n" + ROW * 3
LIST = b"# friends\n+49 151 12345678\n0151 23456789 # Bob\ntel:+46-70-174-06-05;ext=1\n"
UTF16 = GOOGLE.decode().encode("utf-16")
SEEDS = [EXAMPLE[:6000], EXAMPLE[-6000:], GOOGLE, LIST, UTF16]

WORDS = [
    *(b"BEGIN:VCARD\r\n", b"END:VCARD\n", b"FN", b"TEL", b"N", b"AGENT:\n", b";CHARSET=", b"utf-16", b"idna"),
    *(b";ENCODING=QUOTED-PRINTABLE", b"=\r\n", b"=C3", b":", b";", b",", b"\\", b'"', b"\n ", b"\r", b"\0"),
    *(b"name,phone\n", b"sep=;\n", b" ::: ", b"+49 151 12345678", b"0151", b"#", b"\xff", b"\xef\xbb\xbf"),
]


def check(data):
    book = read_address_books(["-"], region="DE", stdin=io.BytesIO(data))
    for unreadable in book.unreadable:
        assert unreadable.reason
        assert not re.search(r"\d{5}", unreadable.reason + unreadable.hint + unreadable.place)
    for contact in book.contacts:
        assert contact.name
        assert contact.name.replace("\u200c", "").replace("\u200d", "").isprintable()
        for identifier in contact.identifiers:
            assert re.fullmatch(rb"tel:\+\d{5,15}|mailto:[!-~]+@[!-~]+", identifier)


@given(st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(WORDS), max_size=30).map(b"".join)))
def test_any_bytes(data):
    check(data)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_flipped_cut_and_doubled_bytes(seed):
    rng = random.Random(seed)
    for _ in range(120):
        data = bytearray(SEEDS[seed])
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(data))
            what = rng.randrange(4)
            if what == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif what == 1:
                del data[at : at + rng.randint(1, 40)]
            elif what == 2:
                data[at:at] = rng.choice(WORDS)
            else:
                data[at:at] = data[at : at + rng.randint(1, 200)]
            if not data:
                break
        check(bytes(data))


NASTY = {
    "open quotes": b"name,phone\n" + b'"x,030 1\n' * 20_000,
    "one line of quotes": b'name,phone\n"' + b'""' * 500_000,
    "separators": b"name,phone\n" + b"," * 1_000_000,
    "cards that never end": b"BEGIN:VCARD\nFN:x\n" * 40_000,
    "nested agents": b"BEGIN:VCARD\nAGENT:\n" * 40_000,
    "one folded line": b"BEGIN:VCARD\nFN:x" + b"\n x" * 400_000 + b"\nEND:VCARD",
    "parameters": b"BEGIN:VCARD\nTEL" + b";A" * 30_000 + b"\nTEL" + b';"' * 30_000 + b":1\nEND:VCARD",
    "soft breaks": b"BEGIN:VCARD\nFN;QUOTED-PRINTABLE:" + b"=\n" * 400_000 + b"END:VCARD",
    "backslashes": b"BEGIN:VCARD\nN:" + b"\\;" * 30_000 + b"\nFN:" + b"\\" * 60_000 + b"\nEND:VCARD",
    "one long number": b"+" + b"1" * 1_000_000,
    "lists of numbers": b"name,phone\nAda," + b"030 1 ::: " * 12_000,
    "carriage returns": b"\r" * 1_000_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NASTY)
def test_nothing_takes_more_than_linear_time(name):
    started = time.process_time()
    for _ in entries_of(NASTY[name]):
        pass
    assert time.process_time() - started < 5


@pytest.mark.slow
def test_ten_thousand_contacts_are_read_in_seconds():
    card = "BEGIN:VCARD\r\nVERSION:3.0\r\nN:L{0};F{0};;;\r\nFN:F{0} L{0}\r\nTEL;TYPE=CELL:0176 {0:08d}\r\n"
    photo = "PHOTO;ENCODING=b:" + "\r\n ".join(["A" * 74] * 40) + "\r\n"
    data = "".join(card.format(i) + photo + "END:VCARD\r\n" for i in range(10_000)).encode()
    started = time.process_time()
    book = read_address_books(["-"], region="DE", stdin=io.BytesIO(data))
    took = time.process_time() - started
    assert len(book.contacts) == len(book.identifiers) == 10_000
    assert took < 10
