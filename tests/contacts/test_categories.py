"""A category is added and removed; every other octet of the card stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contactsync.contacts.categories import (
    MAX_CATEGORY,
    add_category,
    cards_in,
    check_category,
    remove_category,
    uid_of,
)
from contactsync.foundation.errors import BadInput


def card(*lines, end="\r\n", version="3.0"):
    return end.join(["BEGIN:VCARD", f"VERSION:{version}", "FN:Ada", *lines, "END:VCARD", ""]).encode()


LONG = "CATEGORIES:" + ",".join(f"Group {number}" for number in range(8))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (card("TEL:1"), card("TEL:1", "CATEGORIES:On it")),
        (card("TEL:1", end="\n"), card("TEL:1", "CATEGORIES:On it", end="\n")),
        (card("TEL:1", end="\r"), card("TEL:1", "CATEGORIES:On it", end="\r")),
        (card("CATEGORIES:Work", "TEL:1"), card("CATEGORIES:Work,On it", "TEL:1")),
        (card("categories;PREF=1:Work\\, too"), card("categories;PREF=1:Work\\, too,On it")),
        (card("item1.CATEGORIES:Work"), card("item1.CATEGORIES:Work,On it")),
        (card("CATEGORIES:A", "TEL:1", "CATEGORIES:B"), card("CATEGORIES:A", "TEL:1", "CATEGORIES:B,On it")),
        (card("CATEGORIES:A\r\n ,B"), card("CATEGORIES:A\r\n ,B,On it")),
        (card(LONG), card(LONG + "\r\n ,On it")),
        (card("CATEGORIES:"), card("CATEGORIES:", "CATEGORIES:On it")),
        (
            card("CATEGORIES;ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:B=C3=BCro", version="2.1"),
            card(
                "CATEGORIES;ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:B=C3=BCro",
                "CATEGORIES:On it",
                version="2.1",
            ),
        ),
        (card("NOTE:x\r\n  CATEGORIES:no"), card("NOTE:x\r\n  CATEGORIES:no", "CATEGORIES:On it")),
        (
            card("NOTE;ENCODING=QUOTED-PRINTABLE:a=\r\nCATEGORIES:no"),
            card("NOTE;ENCODING=QUOTED-PRINTABLE:a=\r\nCATEGORIES:no", "CATEGORIES:On it"),
        ),
        (
            card("AGENT:", *card("CATEGORIES:His").decode().splitlines()),
            card("AGENT:", *card("CATEGORIES:His").decode().splitlines(), "CATEGORIES:On it"),
        ),
        (card("CATEGORIES:ends\\"), card("CATEGORIES:ends\\", "CATEGORIES:On it")),
    ],
)
def test_added_and_removed_again(before, after):
    assert add_category(before, "On it") == after
    assert remove_category(after, "On it") == before
    assert add_category(after, "on IT") is None


def test_a_line_in_another_encoding_is_left_alone():
    before = card("CATEGORIES:B@ro").replace(b"@", b"\xfc")
    after = add_category(before, "Büro")
    assert after == before.replace(b"END:VCARD", "CATEGORIES:Büro\r\nEND:VCARD".encode())
    assert remove_category(after, "Büro") == before


def test_what_a_list_needs_is_escaped():
    after = add_category(card(), "a,b;c\\d")
    assert b"CATEGORIES:a\\,b\\;c\\\\d\r\n" in after
    assert add_category(after, "a,b;c\\d") is None
    assert remove_category(after, "a,b;c\\d") == card()
    with pytest.raises(BadInput, match=r"2\.1"):
        add_category(card(version="2.1"), "a,b")


def test_a_vcard_2_1_names_its_charset():
    assert b"CATEGORIES;CHARSET=UTF-8:B\xc3\xbcro\r\n" in add_category(card(version="2.1"), "Büro")
    assert b"CATEGORIES:Work,On it" in add_category(card("CATEGORIES:Work", version="2.1"), "On it")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("CATEGORIES:On it,Work", "CATEGORIES:Work"),
        ("CATEGORIES:A,On it,B", "CATEGORIES:A,B"),
        ("CATEGORIES:A,On\r\n  it,B", "CATEGORIES:A,B"),
        ("CATEGORIES:A, On it ,B", "CATEGORIES:A,B"),
    ],
)
def test_removed_from_a_list_that_somebody_has_changed(before, after):
    assert remove_category(card(before), "On it") == card(after)


def test_nothing_to_remove():
    for line in ("CATEGORIES:Only it", "NOTE:On it", "X-CATEGORIES:On it"):
        assert remove_category(card(line), "On it") is None


def test_the_cards_of_a_file():
    one, other = card("UID:1"), card("AGENT:", *card().decode().splitlines(), "UID:2")
    data = b"\xef\xbb\xbf" + one + b"\r\n" + b"BEGIN:VCARD\r\nFN:cut off\r\n" + other + b"END:VCARD\r\n"
    spans = cards_in(data)
    assert [data[start:end] for start, end in spans] == [one, other]
    assert [uid_of(data[start:end]) for start, end in spans] == ["1", "2"]
    assert cards_in(b"name,phone\nAda,1\n") == []


def test_what_can_be_a_category():
    assert check_category("  On it ") == "On it"
    for text in ("", " ", "a\nb", "a\x1bb", "x" * (MAX_CATEGORY + 1), "ü" * 31):
        with pytest.raises(BadInput):
            check_category(text)


PIECES = st.sampled_from(
    ["CATEGORIES:", "categories;x=y:", "a", ",", "\\", "\\,", "\r\n", "\r\n ", "\n", "\n\t", ";", "ü", "=",
     " ", "X", '"', ":", "NOTE;ENCODING=QUOTED-PRINTABLE:", "BEGIN:VCARD\r\n", "END:VCARD\r\n",
     "AGENT:\r\n", "VERSION:2.1\r\n"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=30), st.sampled_from(["X", "On it", "a,b", "Büro", "y" * 60]))
def test_whatever_a_card_holds_only_the_category_changes(pieces, category):
    data = b"BEGIN:VCARD\r\n" + "".join(pieces).encode() + b"\r\nEND:VCARD\r\n"
    for start, end in cards_in(data):
        before = data[start:end]
        try:
            after = add_category(before, category)
        except BadInput:
            continue
        if after is None:
            continue
        added = len(after) - len(before)
        place = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(before))
        back = [
            at for at in range(max(0, place - added), place + 1) if after[:at] + after[at + added :] == before
        ]
        assert back, "something else was changed"
        assert cards_in(after) == [(0, len(after))]
        assert add_category(after, category) is None
        assert remove_category(after, category) == before
