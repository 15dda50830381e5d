"""E-mail profile 1: its vectors, its short way against all steps, only Rejected for what is written."""

import json
import random
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote

import pytest
from cases import each
from hypothesis import example, given
from hypothesis import strategies as st

from contactsync.foundation.errors import BadInput
from contactsync.identifiers import KINDS, Rejected, identify, mail, shown, tel
from contactsync.identifiers.mail.address import quick
from contactsync.identifiers.steps import no_record

VECTORS = Path(__file__).resolve().parents[2] / "contactsync" / "vectors" / f"mail-{mail.PROFILE}.json"
GROUPS = json.loads(VECTORS.read_text())["groups"]
KIND = KINDS["mailto"]


def outcome(text):
    try:
        return mail.normalise(text).decode(), "", ""
    except Rejected as rejected:
        return None, rejected.reason, rejected.hint


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group["name"])
def test_vectors(group):
    each([(case["reason"], case) for case in group["cases"]], agrees)


def agrees(case):
    text, expected = case["given"]["text"], case["expected"]
    identifier, reason, hint = outcome(text)
    assert (identifier, reason) == (expected["identifier"], expected.get("reason", ""))
    last = mail.explain(text)[-1]
    assert (last.name, last.result) == (("rejected", reason) if reason else ("identifier", identifier))
    assert bool(reason) == bool(hint), "who is refused is told what to do"
    if identifier is not None:
        assert mail.normalise(identifier) == identifier.encode(), "an identifier gives itself"
        assert KIND.partition_of(identifier.encode()) == "mail"
        (key,) = KIND.keys_of([identifier.encode()])
        assert KIND.identifiers_of([key]) == [identifier.encode()]


WORDS = st.text(
    st.sampled_from("abzABZ019.+-_%äÄßẞσςΣıİﬁａ＠@ .\u200c\u200d\u00ad\u202e\u0308א١مकー・·l"), max_size=12
)
DOMAINS = st.sampled_from(
    ["x.org", "MÜNCHEN.de", "ex-ample.org.", "βόλος.com", "xn--fa-hia.de", "x。jp", "I.TR"]
)


@given(
    st.one_of(
        st.text(max_size=80), st.builds("{}@{}".format, WORDS, DOMAINS), st.builds("a@{}".format, WORDS)
    )
)
@example("mailto:%EF%BC%A0@x.org")
@example("a" * 1000 + "@x.org")
@example("<" * 999)
@example('"' * 999 + "<a@x.org>")
@example("@" * 1000)
@example("\ud800@x.org")
@example("a@" + "xn--" * 60 + ".org")
def test_whatever_is_written_is_an_identifier_that_gives_itself_or_is_rejected(text):
    identifier, reason, _ = outcome(text)
    if identifier is None:
        assert reason
        return
    assert re.fullmatch(r"mailto:(?:[a-z0-9!$'*+._~-]|%[0-9A-F]{2})+@[a-z0-9.-]+", identifier)
    assert mail.normalise(identifier) == identifier.encode()
    local, _, domain = identifier.removeprefix("mailto:").rpartition("@")
    written = unquote(local, errors="strict")
    assert len(written.encode()) <= 64
    assert len(written.encode()) + 1 + len(domain) <= 254
    assert unicodedata.is_normalized("NFC", written)
    assert not any(unicodedata.category(c) in {"Cc", "Cs", "Zs", "Lu", "Cn", "Co"} for c in written)
    assert KIND.partition_of(identifier.encode()) == "mail"
    # What a person sees of it is read as the same again.
    assert mail.normalise(shown(identifier)) == identifier.encode()


@given(st.builds("{}@{}".format, WORDS, DOMAINS))
def test_case_does_not_matter_where_it_can_be_undone(text):
    """But of letters that have no capital of one letter, such as ß, and of those that several share."""
    assert outcome(text.upper().lower())[0] == outcome(text.lower())[0] or any(
        c.upper().lower() != c for c in text.lower()
    )
    assert outcome(text)[0] == outcome("".join(c.lower() if c.isascii() else c for c in text))[0]


def test_the_short_way_gives_what_all_steps_give():
    chance = random.Random(1)
    letters, taken = "aB0.-_+~@%x'/", 0
    for _ in range(30_000):
        text = "".join(chance.choice(letters) for _ in range(chance.randrange(3, 14)))
        text += chance.choice(["", "@x.org", "@X.o1", "@a-b.c", "@1.2", "@xn--a.de", "@x.123"])
        if quick(text) is not None:
            taken += 1
            assert mail._identifier(text, no_record) == mail.SCHEME + quick(text).encode()
    assert taken > 1500
    for text in ("a" * 64 + "@x.org", "a@" + "b" * 63 + ".org", "a@b." + "c" * 63):
        assert quick(text) is not None
    for text in ("a" * 65 + "@x.org", "a@" + "b" * 64 + ".org", "a@b." + "c" * 64, "a@b.c\n"):
        assert quick(text) is None


def test_hostile_text_takes_no_time():
    for text in (
        "<" * 1000,
        '"' * 1000,
        "a." * 500,
        "%41" * 333,
        "mailto:" + "%" * 900,
        "a@" + "b." * 499,
        "\u0308" * 999,
    ):
        outcome(text)
    assert outcome("a" * (1 << 24))[1] == "too long for an e-mail address"


def test_a_rejection_says_nothing_of_the_address():
    for group in GROUPS:
        for case in group["cases"]:
            _, reason, hint = outcome(case["given"]["text"])
            assert "@example.org" not in reason
            assert not re.search(r"ann@|lee", reason + hint.replace("name@example.org", ""))


def test_what_has_an_at_sign_is_an_address_and_all_else_a_number():
    assert identify("Ann <ann@example.org>", None) == b"mailto:ann@example.org"
    assert identify("ann＠example.org", None) == b"mailto:ann@example.org"
    assert identify("030 1234567", "DE") == tel.normalise("030 1234567", "DE")
    for text in ("mailto:ann", "a@b", "ann"):
        with pytest.raises(Rejected):
            identify(text, "DE")


def test_the_kind_refuses_what_is_no_identifier_of_it():
    for bad in (
        b"mailto:",
        b"mailto:a",
        b"mailto:@",
        b"mailto:A@x.org",
        b"tel:+49",
        b"mailto:a@x.org\n",
        b"mailto:%c3@x",
    ):
        with pytest.raises(BadInput):
            KIND.partition_of(bad)


def test_identifiers_are_shown_as_people_write_them():
    assert shown("tel:+491512345678") == "+491512345678"
    assert shown("mailto:%C3%BCmit%25@x.org") == "ümit%@x.org"
    assert shown("mailto:a%E2%80%8C@x.org") == "mailto:a%E2%80%8C@x.org", "nothing that cannot be seen"
    assert shown("acct:ann") == "acct:ann"
