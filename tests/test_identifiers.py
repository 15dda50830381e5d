"""Normalisation profile 1: its vectors, its own fast way against the library, and nothing but Rejected."""

import re

import phonenumbers
import pytest

from contactsync.errors import BadInput
from contactsync.identifiers import (
    MAX_DIGITS,
    Rejected,
    calling_code,
    calling_codes,
    check_region,
    default_region,
    normalise,
    numbering_plan,
)

REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
KINDS = [phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE]


@pytest.mark.parametrize("region", REGIONS)
def test_every_way_to_write_an_example_number_gives_one_identifier(region):
    for kind in KINDS:
        number = phonenumbers.example_number_for_type(region, kind)
        if number is None:
            continue
        e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        for form in range(4):  # E164, INTERNATIONAL, NATIONAL, RFC3966
            written = phonenumbers.format_number(number, form)
            assert normalise(written, region) == b"tel:" + e164.encode()
        assert calling_code(b"tel:" + e164.encode()) == str(number.country_code)


def test_text_of_an_identifier_is_that_identifier():
    for region in REGIONS:
        number = phonenumbers.example_number(region)
        if number is None:
            continue
        identifier = normalise(phonenumbers.format_number(number, 0), None)
        assert normalise(identifier.decode(), None) == identifier


def test_the_short_way_agrees_with_the_library_in_every_plan(monkeypatch):
    """`is_plain` saves the library's parse; it may never change what comes out."""
    import random

    rng = random.Random(9497)
    cases = [
        "+" + code + "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 14)))
        for code in sorted(calling_codes())
        for _ in range(60)
    ]
    short = [_outcome(text) for text in cases]
    assert sum(outcome.startswith("tel:") for outcome in short) > 1000
    monkeypatch.setattr("contactsync.identifiers.NumberingPlan.is_plain", lambda _self, _national: False)
    assert [_outcome(text) for text in cases] == short


def _outcome(text):
    try:
        return normalise(text, None).decode()
    except Rejected as rejected:
        return rejected.reason


def test_an_identifier_is_never_longer_than_e164_allows():
    with pytest.raises(Rejected, match="too long"):
        normalise("+49" + "1" * (MAX_DIGITS - 1), None)


def test_no_two_calling_codes_share_a_beginning():
    codes = calling_codes()
    assert all(numbering_plan(code) is not None for code in codes)
    assert not [a for a in codes for b in codes if a != b and b.startswith(a)]


@pytest.mark.parametrize(
    "bad", [b"", b"tel:+", b"tel:+999123", b"mailto:x", b"+49151", b"tel:49151", b"tel:+\xff1"]
)
def test_calling_code_of_no_identifier(bad):
    with pytest.raises(BadInput):
        calling_code(bad)


def test_an_unknown_region_is_the_callers_fault():
    assert check_region(" de ") == "DE"
    for region in ("XX", "UK", "", "Germany", "001"):
        with pytest.raises(BadInput) as caught:
            check_region(region)
        assert "ISO 3166" in caught.value.hint
    with pytest.raises(BadInput, match="unknown region"):
        normalise("030 123456", "XX")


@pytest.mark.parametrize(
    ("environment", "region"),
    [
        ({}, None),
        ({"LANG": "C"}, None),
        ({"LANG": "C.UTF-8"}, None),
        ({"LANG": "de_DE.UTF-8"}, "DE"),
        ({"LANG": "de"}, None),
        ({"LANG": "en_GB"}, "GB"),
        ({"LANG": "en-IE"}, "IE"),
        ({"LANG": "de_DE@euro"}, "DE"),
        ({"LANG": "sr_Latn_RS.UTF-8"}, "RS"),
        ({"LANG": "en_150.UTF-8"}, None),
        ({"LANG": "eo_XX"}, None),
        ({"LANG": "en_US.UTF-8", "LC_TELEPHONE": "de_AT.UTF-8"}, "AT"),
        ({"LANG": "en_US.UTF-8", "LC_TELEPHONE": ""}, "US"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "fr_FR.UTF-8", "LC_TELEPHONE": "de_AT"}, "FR"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, None),
        ({"LANG": "\udcff\udcff"}, None),
    ],
)
def test_the_default_region_is_that_of_the_locale(environment, region):
    assert default_region(environment) == region


def test_a_rejection_holds_no_digit_of_the_number():
    for text in ("110", "4155552671", "+999 555 1234", "1.5E+11", "tel:12;phone-context=x.org", "1" * 99):
        with pytest.raises(Rejected) as caught:
            normalise(text, None)
        assert not re.search(r"\d", str(caught.value) + caught.value.hint)
