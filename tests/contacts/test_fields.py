"""One field: several numbers, words around them, and what is reported rather than guessed."""

import time

import pytest

from contactsync.contacts.dialling import Dialling
from contactsync.contacts.fields import read_field
from contactsync.foundation.errors import BadInput
from contactsync.identifiers import Rejected


def read(text, region="DE", area_code=None):
    """The numbers, `?` for each part that is reported."""
    found = read_field(text, Dialling(region, area_code))
    return ["?" if isinstance(one, Rejected) else one.decode().removeprefix("tel:") for one in found]


MOBILE, HOME = "+4917604069001", "+493023125002"

BOTH = [
    *("0176 04069001;030 23125002", "017604069001,03023125002", "0176 04069001, 030 23125002"),
    *("0176/04069001 / 030/23125002", "0176 04069001/030 23125002", "0176 04069001 oder 030 23125002"),
    *("0176 04069001 or 030 23125002", "0176-04069001 und 030-23125002", "0176 04069001 & 030 23125002"),
    *("0176 04069001\n030 23125002", "0176 04069001\r\n030 23125002", "0176 04069001 | 030 23125002"),
    *("0176 04069001 ::: 030 23125002", "+49 176 04069001; +49 30 23125002", "0176 04069001\\n030 23125002"),
    *("Mobil: 0176 04069001, Büro: 030 23125002", "0176 04069001 (mobil), 030 23125002 (privat)"),
    *("Mobil 0176 04069001 Festnetz 030 23125002", "0176 04069001 <tel:03023125002>"),
    *(
        "0176 04069001 (030 23125002)",
        "0176 04069001 privat / 030 23125002 Büro",
        "0176 04069001、030 23125002",
    ),
    *("0176 04069001 bzw. 030 23125002", "0176 04069001 et 030 23125002", "0176 04069001 / 030 23125002 / "),
]


@pytest.mark.parametrize("text", BOTH)
def test_two_numbers_in_one_field_are_both_read(text):
    assert read(text) == [MOBILE, HOME]


ONE = [
    *(
        "0176 04069001 (privat)",
        "0176-04069001 Büro",
        "0176 04069001?",
        "?0176 04069001?",
        "++49 176 04069001",
    ),
    *(
        "+00 49 176 04069001",
        "00+49 176 04069001",
        "+0049 176 04069001",
        "*31#017604069001",
        "#31#0176 04069001",
    ),
    *("*31#+4917604069001", "mobil: 0176 04069001", "0176 04069001 - nur abends", "0176/04069001 Vodafone"),
    *("0176 04069001,,12345#", "0176 04069001p123w456", "0176 04069001,123*", "0176 04069001;1*2#"),
    *("0176 04069001;;,;", "0176 04069001\\;\\;\\,\\;", "0176 04069001#10,2,2;2*", "0176 04069001;ext=12"),
    *("0176 04069001; ext. 12", "0176 04069001 Durchwahl 12", "0176 04069001 x12", "Mobil 2: 0176 04069001"),
    *("Handy2: 0176 04069001", "1) 0176 04069001", "0176 04069001 ab 18 Uhr", "0176 04069001 (Raum 12)"),
    *(
        "Zimmer 12 Tel 0176 04069001",
        "0176 04069001 <tel:017604069001>",
        '"0176 04069001"',
        "«0176 04069001»",
    ),
    *(
        "https://wa.me/4917604069001",
        "0176 04069001 / privat",
        "0176 04069001, privat",
        "Büro, 0176 04069001",
    ),
    *(
        "+49/176/04069001",
        "0049/176/04069001",
        "+49 (0) 176 / 040 690 01",
        "(0176) 04069001 (Oma)",
        "0176/0406/9001",
    ),
    *("0176 04069001\nnur abends", "0176 04069001 privat", "\u202a+49 176 04069001\u202c", "☎ 0176 04069001"),
    *(
        "Tel ++49 176 04069001",
        "tel:%2B49%2017604069001",
        "tel:04069001;phone-context=+49176",
        "*31*017604069001#",
    ),
]


@pytest.mark.parametrize("text", ONE)
def test_what_stands_around_a_number_costs_nothing(text):
    assert set(read(text)) == {MOBILE}


REPORTED = [
    "030 231250-01/02",  # the end of another number, or part of this one
    "030 23125001/02",
    "030 23125001 / 23125002",
    "030/231250/51",
    "0176 mobil 4069001",  # cut in two by a word
    "0176 O4069001",  # a letter for a figure
    "0176 0406900l",
    "030 2312 5O01",
    "0176 04069001 (alt)",  # who has it now?
    "030 23125001 ungültig",
    "+49 176\n04069001",  # one number over two lines; the second line alone is somebody in Hamburg
    "0176 oder 4069001",
    "sip:03023125001@example.org",
    "https://example.org/03023125001",
    "4,91760406909E+12",
    "17604069097.0",
    "23125001",  # local: Berlin's, and a number of Dortmund
    "231250",
    "12345678",
    "Herr Müller",
    "**21*03023125001#",
    "01.02.1970",  # a date, and a number of somebody in Germany
    "1970-02-01",
    "geb. 01.02.1970",
]


@pytest.mark.parametrize("text", REPORTED)
def test_what_is_not_clear_is_reported_and_never_guessed(text):
    assert read(text) == ["?"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("030 23125002,017604069001 ext 5", [HOME, MOBILE]),
        ("030 23125002, 231251", ["?", HOME]),  # a local number, or a PIN: the first is sure
        ("030 23125002,123456789", ["?", HOME]),
        ("030 23125002, 112", [HOME]),
        ("030 23125002 und 0176 0406900O", [HOME, "?"]),
        ("030 23125002,,017604069001", ["?", HOME]),
    ],
)
def test_a_doubtful_second_part_leaves_the_first(text, found):
    assert read(text) == found


NANP = [
    ("555-0166 fax", ["?"]),
    ("555-0167 (Mom)", ["?"]),
    ("5550168 Dad", ["?"]),
    ("212 555 HOME", ["?"]),
    ("212-555-0143 fax", ["+12125550143"]),
    ("(212) 555-0143 x12", ["+12125550143"]),
    ("1-800-FLOWERS", ["+18003569377"]),
    ("1 800 FLOWERS", ["+18003569377"]),
    ("1-800-555-1FUN", ["+18005551386"]),
    ("1-888-4AL-ANON (1-888-425-2666)", ["+18884252666", "+18884252666"]),
    ("1-800-THE-CRAVE", ["?"]),
    ("212-555-0143, 212-555-0144", ["+12125550143", "+12125550144"]),
    ("212-555-0143/212-555-0144", ["+12125550143", "+12125550144"]),
    ("212/555/0143", ["+12125550143"]),
    ("*67 212-555-0143", ["+12125550143"]),
    ("(212) 555-0143,,820445398#", ["+12125550143"]),
    ("555-0143", ["?"]),
]


@pytest.mark.parametrize(("text", "found"), NANP)
def test_north_america(text, found):
    assert read(text, "US") == found


LOCAL = [
    ("DE", "030", "23125001", "+493023125001"),
    ("DE", "030", "23125-001", "+493023125001"),
    ("DE", "(030)", "Oma: 231250", "+4930231250"),
    ("DE", "030", "0176 04069001", MOBILE),
    ("DE", "030", "+49 176 04069001", MOBILE),
    ("DE", "030", "17604069001", MOBILE),
    ("DE", "030", "110", "?"),
    ("US", "212", "555-0143", "+12125550143"),
    ("US", "212", "(303) 555-0134", "+13035550134"),
    ("NL", "020", "1234582", "+31201234582"),
    ("IT", "06", "5555 0001", "+390655550001"),
    ("IT", "06", "06 5555 0001", "+390655550001"),
    ("BR", "11", "98765-4321", "+5511987654321"),
    ("ES", "91", "912 345 678", "+34912345678"),
]


@pytest.mark.parametrize(("region", "area_code", "text", "number"), LOCAL)
def test_an_area_code_completes_local_numbers_alone(region, area_code, text, number):
    assert read(text, region, area_code) == [number]


@pytest.mark.parametrize("area_code", ["", "abc", "+4930", "12345678"])
def test_an_area_code_that_is_none(area_code):
    with pytest.raises(BadInput, match="area code"):
        Dialling("DE", area_code)
    with pytest.raises(BadInput, match="needs a country"):
        Dialling(None, "030")


NASTY = [
    "(" * 60_000,
    "0," * 30_000,
    "1/" * 30_000,
    "a1" * 30_000,
    "1 " * 30_000,
    " und " * 12_000 + "1",
    "0;" * 30_000,
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", [*NASTY, "1(a" * 20_000, "[1]" * 20_000, "+ " * 30_000 + "1", "1p" * 30_000, "A1:" * 20_000]
)
def test_a_long_field_takes_linear_time(text):
    started = time.process_time()
    for _ in read_field(text, Dialling("DE")):
        pass
    assert time.process_time() - started < 2
