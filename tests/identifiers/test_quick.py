"""The quick way to an identifier gives what all steps give, or gives nothing."""

import random

import phonenumbers
import pytest

from contactsync.identifiers.steps import no_record
from contactsync.identifiers.tel import Rejected, _identifier, normalise
from contactsync.identifiers.tel.quick import quick

REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)


def by_all_steps(text, region):
    try:
        return _identifier(text, region, no_record)
    except Rejected as rejected:
        return rejected


def written(rng, region):
    """A number as it may stand in a book of this region: right, nearly right, or any digits."""
    data = phonenumbers.PhoneMetadata.metadata_for_region(region)
    number = phonenumbers.example_number_for_type(region, rng.randrange(11))
    if number is None or rng.random() < 0.2:
        return rng.choice(["", "+"]) + "".join(rng.choice("0123456789") for _ in range(rng.randint(5, 16)))
    digits = list(phonenumbers.national_significant_number(number))
    for _ in range(rng.randint(0, 2)):
        digits[rng.randrange(len(digits))] = rng.choice("0123456789")
    code, trunk = str(data.country_code), data.national_prefix or ""
    before = rng.choice(["", trunk, "0", "00", "1", "8", code, "+" + code, f"+{code} 0", f"+{code} (0)"])
    digits[3:3] = rng.choice(["", " ", "-", "/", " (", "  "])
    return before + rng.choice(["", " "]) + "".join(digits) + rng.choice(["", "", "", "7", " "])


@pytest.mark.parametrize("seed", range(4))
def test_quick_and_thorough_agree_in_every_region(seed):
    rng, answered = random.Random(seed), 0
    for region in REGIONS * 4:
        text = written(rng, region)
        found = quick(text, region)
        if found is not None:
            answered += 1
            assert b"tel:+" + found.encode() == by_all_steps(text, region), (text, region)
    assert answered > 150


def test_ordinary_numbers_take_the_quick_way():
    for text, region in [
        ("0176 04069001", "DE"),
        ("+49 30 23125001", None),
        ("(212) 555-0143", "US"),
        ("06 39 98 00 75", "FR"),
        ("8 900 555-00-21", "RU"),
        ("06 5555 0001", "IT"),
    ]:
        assert b"tel:+" + quick(text, region).encode() == normalise(text, region)


@pytest.mark.parametrize("text", ["", "112", "110", "+", "0", "17604069001", "4917604069001", "0176 0406 x9"])
def test_whatever_is_not_ordinary_takes_all_steps(text):
    assert quick(text, "DE") is None
    assert quick(text, "XX") is None
    assert quick(text, None) is None


@pytest.mark.parametrize("between", ["", " ", "(", " (", "-", ".", "/", " /", ")", "()", " -"])
@pytest.mark.parametrize("before", ["+", "(+", " +"])
def test_only_blanks_and_opening_parentheses_stand_between_a_plus_and_its_number(before, between):
    """With others the plus is not part of the number: the quick way took it for one."""
    text = f"{before}{between}4917604069018"
    try:
        found = _identifier(text, "DE", no_record)
    except Rejected:
        assert quick(text, "DE") is None
    else:
        assert quick(text, "DE") in {None, found.decode().removeprefix("tel:+")}
