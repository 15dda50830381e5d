"""The vCard reader: three versions, and what programs make of them."""

import pytest

from contactsync.contacts.book import MAX_LINE, MAX_NESTED, Entry, Fault
from contactsync.contacts.vcard import read_vcards


def cards(text):
    data = text if isinstance(text, bytes) else text.encode()
    return [
        (found.name, [number.text for number in found.numbers])
        for found in read_vcards(data)
        if isinstance(found, Entry)
    ]


def problems(text):
    data = text if isinstance(text, bytes) else text.encode()
    return [found for found in read_vcards(data) if isinstance(found, Fault)]


def card(*lines, end="\r\n"):
    return end.join(["BEGIN:VCARD", *lines, "END:VCARD", ""])


@pytest.mark.parametrize(
    ("lines", "number"),
    [
        (["VERSION:2.1", "TEL;HOME;VOICE:+49 30 1"], "+49 30 1"),
        (["VERSION:2.1", "TEL;CELL;PREF;ENCODING=QUOTED-PRINTABLE:=2B49=2030 1"], "+49 30 1"),
        (["VERSION:2.1", "TEL;CELL;QUOTED-PRINTABLE:=2B49=", "=2030 1"], "+49 30 1"),
        (["VERSION:3.0", "TEL;TYPE=HOME,VOICE:+49 30 1"], "+49 30 1"),
        (["VERSION:3.0", "TEL;TYPE=HOME;type=pref:+49 3", " 0 1"], "+49 30 1"),
        (["VERSION:3.0", "TEL;TYPE=HO", " ME:+49", "\t 30 1"], "+49 30 1"),
        (["VERSION:3.0", "item1.TEL:+49 30 1", "item1.X-ABLabel:_$!<HomePage>!$_"], "+49 30 1"),
        (["VERSION:3.0", "tel;type=cell:+49 30 1"], "+49 30 1"),
        (["VERSION:3.0", 'TEL;X-LABEL="a:b;c":+49 30 1'], "+49 30 1"),
        (["VERSION:3.0", 'TEL;X-LABEL="never closed:+49 30 1'], "+49 30 1"),
        (["VERSION:4.0", "TEL;VALUE=uri;TYPE=cell:tel:+49-30-1;ext=5"], "tel:+49-30-1;ext=5"),
        (["VERSION:4.0", 'TEL;VALUE=uri;TYPE="voice,home":tel:+49-30-1'], "tel:+49-30-1"),
        (["VERSION:4.0", r"TEL;VALUE=uri:tel:301\;phone-context=+49"], "tel:301;phone-context=+49"),
        (["VERSION:3.0", r"TEL:+49 30 1\,\,5"], "+49 30 1,,5"),
        (["TEL:+49 30 1"], "+49 30 1"),
        (["VERSION:3.0", "ITEMTEL30_1.TEL:+49 30 1"], "+49 30 1"),
        (["VERSION:2.1", "TEL;X-CUSTOM(CHARSET=UTF-8,ENCODING=QUOTED-PRINTABLE,=41):+49 30 1"], "+49 30 1"),
        (["VERSION:3.0", "TEL : +49 30 1 "], "+49 30 1"),
    ],
)
def test_a_number_in_every_dress(lines, number):
    assert cards(card("FN:Ada", *lines)) == [("Ada", [number])]


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (["FN:Ada Lovelace"], "Ada Lovelace"),
        (["FN:", "N:Lovelace;Ada;King;Lady;FRS"], "Lady Ada King Lovelace FRS"),
        (["N:Lovelace;Ada"], "Ada Lovelace"),
        ([r"N:Love\;lace;Ada;;;"], "Ada Love;lace"),
        (["N:;;;;", "ORG:Analytical Engines;Mills"], "Analytical Engines, Mills"),
        (["NICKNAME:Ada"], "Ada"),
        (["EMAIL;TYPE=INTERNET:ada@example.org"], "ada@example.org"),
        (["item2.FN:Ada"], "Ada"),
        ([r"FN:Ada\, Countess \\ of"], "Ada, Countess \\ of"),
        (["VERSION:2.1", "FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:J=C3=B6rg"], "Jörg"),
        (["VERSION:2.1", "FN;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:J=F6rg"], "Jörg"),
        (["VERSION:2.1", "FN;ENCODING=QUOTED-PRINTABLE:J=F6rg=", " Meier"], "Jörg Meier"),
        (["VERSION:2.1", "FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:J=C3=", "=B6rg"], "Jörg"),
        (["VERSION:2.1", "FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:J=C3", "=B6rg"], "Jörg"),
        (["VERSION:2.1", "FN;ENCODING=QUOTED-PRINTABLE:Ada=", ""], "Ada"),
        (["FN:Ada", "", "Lovelace", "N:Lovelace;Ada"], "Ada"),
        (["VERSION:2.1", "FN;CHARSET=X-KLINGON:Jörg"], "Jörg"),
        (["VERSION:2.1", "FN;CHARSET=rot13:Jörg"], "Jörg"),
        (["VERSION:2.1", "FN;CHARSET=us-ascii:Jörg"], "Jörg"),
        (["VERSION:2.1", "FN:Ada", "  Lovelace"], "Ada  Lovelace"),
        (["VERSION:3.0", "FN:Ada", "  Lovelace"], "Ada Lovelace"),
        ([r"FN:Ada\nLovelace"], "Ada\nLovelace"),
        (["FN:Ada\\"], "Ada\\"),
    ],
)
def test_a_name_or_what_stands_for_it(lines, name):
    assert cards(card(*lines, "TEL:1")) == [(name, ["1"])]


def test_a_shift_jis_name():
    data = b"BEGIN:VCARD\r\nFN;CHARSET=SHIFT_JIS:" + "山田".encode("shift_jis") + b"\r\nTEL:1\r\nEND:VCARD"
    assert cards(data) == [("山田", ["1"])]


def test_windows_1252_without_a_word():
    assert cards("BEGIN:VCARD\r\nFN:Jörg\r\nTEL:1\r\nEND:VCARD".encode("cp1252")) == [("Jörg", ["1"])]


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\r\r\n", "\n\n"])
def test_line_ends(end):
    text = card("VERSION:3.0", "FN:Ada", " Lovelace", "TEL:1", end=end)
    assert cards(text + text) == [("AdaLovelace", ["1"])] * 2


def test_a_nested_agent_is_a_contact_of_its_own_and_gives_nothing_to_the_outer_one():
    agent = ["AGENT:", *card("FN:Agent", "TEL:2", end="\n").split("\n")]
    assert cards(card("FN:Boss", *agent, "TEL:1", end="\n")) == [("Agent", ["2"]), ("Boss", ["1"])]
    one_line = ["AGENT:BEGIN:VCARD", "FN:Agent", "TEL:2", "END:VCARD"]
    assert cards(card("FN:Boss", *one_line, "TEL:1")) == [("Agent", ["2"]), ("Boss", ["1"])]
    folded = ["AGENT:BEGIN:VCARD", " VERSION:3.0", " FN:Agent", " TEL:2", " END:VCARD"]
    assert cards(card("FN:Boss", *folded, "TEL:1")) == [("Boss", ["1"])]
    inline = r"AGENT:BEGIN:VCARD\nFN:Agent\nTEL:2\nEND:VCARD\n"
    assert cards(card("FN:Boss", inline, "TEL:1")) == [("Boss", ["1"])]


def test_nesting_has_an_end():
    deep = "BEGIN:VCARD\nFN:x\nTEL:1\nAGENT:\n" * (MAX_NESTED + 1) + "END:VCARD\n" * (MAX_NESTED + 1)
    assert len(cards(deep)) == 1
    assert {p.reason for p in problems(deep)} == {
        "the card is cut off: it has no END:VCARD",
        "an END:VCARD without a BEGIN:VCARD",
    }


PHOTO = "/9j/4AAQSkZJRgABAQEAYABgAAD/2wBDAAIBAQIBAQICAgICAgICAwUDAwMDAwYEBAMFBwYHBwcG"


@pytest.mark.parametrize(
    "photo",
    [
        ["PHOTO;ENCODING=b;TYPE=JPEG:" + PHOTO, " " + PHOTO, " " + PHOTO],
        ["PHOTO;ENCODING=BASE64;JPEG:", PHOTO, PHOTO, ""],  # not folded
        ["PHOTO;ENCODING=b;TYPE=JPEG:!!!! not base64 ====", " %%%"],
        ["PHOTO;ENCODING=BASE64:" + PHOTO * 4000],
        ["PHOTO;VALUE=uri:https://example.org/a.jpg"],
        ["PHOTO:data:image/jpeg;base64," + PHOTO],
    ],
)
def test_photos_pass_by(photo):
    assert cards(card("FN:Ada", *photo, "TEL:1")) == [("Ada", ["1"])]


def test_nothing_inside_a_note_is_a_property():
    note = ["NOTE;ENCODING=QUOTED-PRINTABLE:a=0D=0A=", "TEL:2=0D=0A=", "TEL:3", "NOTE:b", " TEL:4"]
    assert cards(card("VERSION:2.1", "FN:Ada", *note, "TEL:1")) == [("Ada", ["1"])]


def test_a_stray_soft_break_does_not_eat_the_end_of_the_card():
    text = card("FN:Ada", "TEL:1", "NOTE;ENCODING=QUOTED-PRINTABLE:a=") + card("FN:Bob", "TEL:2")
    assert cards(text) == [("Ada", ["1"]), ("Bob", ["2"])]


def test_a_card_that_is_cut_off_costs_itself():
    text = card("FN:Ada", "TEL:1") + "BEGIN:VCARD\nFN:Bob\nTEL:2"
    assert cards(text) == [("Ada", ["1"])]
    (problem,) = problems(text)
    assert problem.place == "card 2, line 5"
    assert problem.reason == "the card is cut off: it has no END:VCARD"
    middle = "BEGIN:VCARD\nFN:Bob\nTEL:2\n" + card("FN:Ada", "TEL:1")
    assert cards(middle) == [("Ada", ["1"])]
    assert [p.place for p in problems(middle)] == ["card 1, line 1"]


def test_an_end_without_beginning():
    text = "FN:Bob\nTEL:2\nEND:VCARD\n" + card("FN:Ada", "TEL:1")
    assert cards(text) == [("Ada", ["1"])]
    assert [p.place for p in problems(text)] == ["line 3"]


def test_an_empty_card_is_reported_and_a_group_is_no_contact():
    assert [p.reason for p in problems(card("VERSION:3.0"))] == ["the card is empty"]
    for kind in ("KIND:group", "X-ADDRESSBOOKSERVER-KIND:group"):
        assert cards(card("FN:Friends", kind)) == []
        assert problems(card("FN:Friends", kind)) == []


def test_empty_numbers_are_nothing():
    assert cards(card("FN:Ada", "TEL:", "TEL;CELL: ", "TEL:1")) == [("Ada", ["1"])]


def test_a_line_that_is_too_long_costs_that_line():
    text = card("FN:Ada", "TEL:" + "1" * MAX_LINE, "TEL:1")
    assert cards(text) == [("Ada", ["1"])]
    (problem,) = problems(text)
    assert "64 KiB" in problem.reason
    folded = card("FN:Ada", "TEL:1", *[" 1"] * MAX_LINE, "TEL:1")
    assert cards(folded) == [("Ada", ["1"])]


def test_too_many_properties():
    text = card("FN:Ada", *["TEL:1"] * 5000)
    assert len(cards(text)[0][1]) < 5000
    assert [p.reason for p in problems(text)] == ["too many properties in one card"]


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (["FN;ENCODING=b:UnV0aCDDhHBmZWw="], "Ruth Äpfel"),
        (["FN;ENCODING=B;CHARSET=UTF-8:UnV0aCDDhHBm", " ZWw="], "Ruth Äpfel"),
        (["VERSION:2.1", "N;CHARSET=UTF-8;ENCODING=BASE64:w4RwZmVsO1JpYTs7Ow=="], "Ria Äpfel"),
        (["VERSION:2.1", "N;BASE64;CHARSET=UTF-8:w4RwZmVsO1JpYTs7Ow"], "Ria Äpfel"),
        (["FN;ENCODING=b:not base64!"], "not base64!"),
        (["VERSION:2.1", "FN;ENCODING=QUOTED-PRINTABLE:=D0=A2=D0=", " =B0=D0=BD=D1=8F"], "Таня"),
        (
            ["VERSION:2.1", "FN;ENCODING=QUOTED-PRINTABLE:Ada=20King=20of=", " =20Lovelace"],
            "Ada King of Lovelace",
        ),
        (["VERSION:2.1", "FN:Katharina Wil", " helmine"], "Katharina Wilhelmine"),
        (["VERSION:2.1", "FN:Katharina", " Wilhelmine"], "Katharina Wilhelmine"),
        (["VERSION:2.1", "FN:Ludwig", " van Beethoven"], "Ludwig van Beethoven"),
        (["VERSION:2.1", "FN;CHARSET=x-sjis;ENCODING=QUOTED-PRINTABLE:=97=E9=96=D8"], "鈴木"),
        (["VERSION:2.1", "FN;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:J=C3=B6rg"], "Jörg"),
        (["VERSION:2.1", "FN;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:=8Aar"], "Šar"),
    ],
)
def test_a_name_in_every_dress(lines, name):
    assert cards(card(*lines, "TEL:1"))[-1] == (name, ["1"])


def test_a_card_inside_a_card_without_agent():
    inner = card("FN:Child", "TEL:2")
    text = card("FN:Parent", *inner.strip().split("\r\n"), "TEL:1")
    assert cards(text) == [("Child", ["2"]), ("Parent", ["1"])]
    assert problems(text) == []
    cut_off = "BEGIN:VCARD\r\nFN:Cut\r\nTEL:3\r\n" + inner + inner
    assert cards(cut_off) == [("Child", ["2"])] * 2
    assert [p.place for p in problems(cut_off)] == ["card 1, line 1"]


@pytest.mark.parametrize(
    "line",
    [
        "PHONE.WORK:070-174 06 06",
        "X-MOBILE:070-174 06 06",
        "MOBILE;TYPE=x:+46701740606",
        "item1.X-PHONE:070 1740606",
    ],
)
def test_a_number_in_a_property_of_no_vcard_is_reported(line):
    text = card("FN:Ada", line)
    assert cards(text) == [("Ada", [])]
    assert [p.place for p in problems(text)] == ["card 1, line 3"]


@pytest.mark.parametrize(
    "line",
    [
        "X-PHONETIC-FIRST-NAME:12345678",
        "X-ASSISTANT-PHONE:030 1234567",
        "X-PHONE-LABEL:home",
        "NOTE:PHONE:030 1234567",
    ],
)
def test_what_is_nobodys_own_number_is_not(line):
    assert problems(card("FN:Ada", line)) == []


def test_cards_that_are_indented():
    text = "".join(f"    {line}\n" for line in card("FN:Ada", " Lovelace", "TEL:1").strip().split("\r\n") * 2)
    assert cards(text) == [("AdaLovelace", ["1"])] * 2


def test_what_outlook_adds_is_read():
    assert cards(card("FN:Ada", "X-MS-TEL;TYPE=CALLBACK:030 1")) == [("Ada", ["030 1"])]


def test_groups_categories_and_members():
    text = card("FN:Ada", "UID:a", "CATEGORIES:Family,Work\\, old", "TEL:1")
    text += card("KIND:group", "FN:Choir", "MEMBER:urn:uuid:a", "MEMBER:b")
    ada, choir = read_vcards(text.encode())
    assert (ada.uid, ada.categories) == ("a", ("Family", "Work, old"))
    assert (choir.name, choir.members) == ("Choir", ("urn:uuid:a", "b"))
