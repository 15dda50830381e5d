"""docs/identifiers.md says enough to make the same bytes of the same text."""

import json
import random
import re
from pathlib import Path

import phonenumbers
import pytest
import second_profile
from cases import each

import contactsync
from contactsync import identifiers

VECTORS = Path(contactsync.__file__).parent / "vectors" / "normalisation-1.json"
GROUPS = json.loads(VECTORS.read_text())["groups"]
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
