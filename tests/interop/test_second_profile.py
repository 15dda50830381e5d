"""docs/identifiers.md says enough to make the same bytes of the same text."""

import json
import random
import re
from pathlib import Path

import phonenumbers
import pytest
import second_mail
import second_profile
from cases import each

import contactsync
from contactsync import identifiers
from contactsync.identifiers import mail

VECTORS = Path(contactsync.__file__).parent / "vectors" / "normalisation-1.json"
GROUPS = json.loads(VECTORS.read_text())["groups"]
MAIL = json.loads(VECTORS.with_name("mail-1.json").read_text())["groups"]
REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)


def second(text: str, region: str | None) -> bytes | None:
    try:
        return second_profile.identifier(text, region)
    except second_profile.Rejected:
        return None


def first(text: str, region: str | None) -> bytes | None:
    try:
        return identifiers.normalise(text, region)
    except identifiers.Rejected:
        return None


def examples() -> list:
    """The page's own table of URIs: text, and the identifier or the reason for its rejection."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "identifiers.md").read_text()
    rows = page.partition("### Examples for step 3")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `(\S+)` \| (?:`(\S+)`|rejected: ([a-z ]+?)(?: \(.*\))?) \|$", rows, re.MULTILINE)
    assert len(found) == rows.count("\n| `") > 10
    return [pytest.param(*row, id=row[0]) for row in found]


@pytest.mark.parametrize(("text", "expected", "reason"), examples())
def test_the_examples_of_the_page(text, expected, reason) -> None:
    assert first(text, None) == second(text, None) == (expected.encode() or None)
    if reason:
        with pytest.raises(identifiers.Rejected, match=f"^{reason}$"):
            identifiers.normalise(text, None)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group["name"])
def test_vectors(group) -> None:
    cases = [(case["reason"], case["given"], case["expected"]["identifier"]) for case in group["cases"]]
    each(cases, agrees)


def agrees(given, expected) -> None:
    assert second(given["text"], given["region"]) == (expected.encode() if expected else None)


@pytest.mark.slow
def test_written_in_every_country() -> None:
    """Examples of each country, as people write them there and elsewhere."""
    kinds = (phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE)
    taken = 0
    for region in REGIONS:
        for kind in kinds:
            number = phonenumbers.example_number_for_type(region, kind)
            if number is None:
                continue
            national = phonenumbers.national_significant_number(number)
            texts = [phonenumbers.format_number(number, style) for style in range(4)]
            texts += [national, f"{number.country_code}{national}", f"00{number.country_code}{national}"]
            for text in texts:
                found = first(text, region)
                assert found == second(text, region), (text, region)
                taken += found is not None
    assert taken > 2000


@pytest.mark.slow
def test_random_text() -> None:
    rng = random.Random(11)
    signs = "0123456789" * 4 + "+-() ./;,xpw#*ext:\uff0e\uff0b\u0663\u200e\u2013A"
    for _ in range(6000):
        region = rng.choice([rng.choice(REGIONS), "DE", "BR", "AR", "MX", "US", "IT"])
        if rng.random() < 0.6:
            prefix = rng.choice(["", "0", "00", "+", "8", f"+{phonenumbers.country_code_for_region(region)}"])
            text = prefix + "".join(rng.choices("0123456789", k=rng.randint(3, 12)))
        else:
            text = "".join(rng.choices(signs, k=rng.randint(5, 18)))
        assert first(text, region) == second(text, region), (text, region)


# --- e-mail addresses ------------------------------------------------------------------------------------


def second_address(text: str) -> bytes | None:
    try:
        return second_mail.normalise_mail(text)
    except second_profile.Rejected:
        return None


def first_address(text: str) -> bytes | None:
    try:
        return mail.normalise(text)
    except identifiers.Rejected:
        return None


@pytest.mark.parametrize("group", MAIL, ids=lambda group: group["name"])
def test_vectors_of_addresses(group) -> None:
    each(
        [(case["reason"], case["given"], case["expected"]["identifier"]) for case in group["cases"]],
        same_address,
    )


def same_address(given, expected) -> None:
    assert second_address(given["text"]) == (expected.encode() if expected else None)


def test_no_vector_of_an_address_is_left_out() -> None:
    assert sum(len(group["cases"]) for group in MAIL) == 105


# Escapes, quotes, brackets, white space, and characters that Unicode treats in a way of their own.
PIECES = [
    *'aabbAZ0189..--_+@@<>""\\(),;%?#:\' \t/!~',
    "mailto:",
    "xn--",
    "XN--",
    "mnchen-3ya",
    "r3---",
    "ann@b.c",
]
PIECES += [
    "%C3%BC",
    "%41",
    "%20",
    "%FF",
    "%00",
    "%E2%80%8B",
    "\ud800",
    "\x00",
    "\x1c",
    "\x85",
    "\u2028",
    "\u3000",
    "\u1680",
]
PIECES += [
    *"üÜßẞςΣıİﬃǆⅧ²½℀≠ﷺ﹫аאاین例え·・゠׳😀❤",
    "u\u0308",
    "\u0301",
    "=\u0338",
    "\u0375",
    "\u0378",
    "\u0663",
    "\u06f3",
]
PIECES += [
    "\u200b",
    "\u200c",
    "\u200d",
    "\xad",
    "\ufeff",
    "\u202a",
    "\u2060",
    "\ufe0f",
    "\uff20",
    "\uff41",
    "\uff0e",
    "\u3002",
]
FRAMES = [
    "{}@example.org",
    "a@{}.com",
    "a@{}",
    "mailto:{}@b.c",
    "mailto:a@{}.d",
    "{} <a@b.c>",
    "{} <a@b.c>\u200b",
    "{}",
]


@pytest.mark.slow
def test_random_addresses() -> None:
    rng = random.Random(15)
    taken = 0
    for _ in range(20_000):
        text = rng.choice(FRAMES).format("".join(rng.choices(PIECES, k=rng.randint(1, 6))))
        found = first_address(text)
        assert found == second_address(text), ascii(text)
        taken += found is not None
    assert 3000 < taken < 15_000
