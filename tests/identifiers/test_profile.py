"""Normalisation profile 1: its vectors, its own short way against the library, and nothing but Rejected."""

import json
import random
import re
from pathlib import Path

import phonenumbers
import pytest
from cases import each
from hypothesis import example, given
from hypothesis import strategies as st

from contactsync.foundation.errors import BadInput
from contactsync.identifiers import (
    MAX_DIGITS,
    PROFILE,
    Rejected,
    calling_code,
    calling_codes,
    check_region,
    default_region,
    normalise,
    numbering_plan,
)
from contactsync.identifiers.tel import explain

REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
VECTORS = Path(__file__).resolve().parents[2] / "contactsync" / "vectors" / f"normalisation-{PROFILE}.json"
GROUPS = json.loads(VECTORS.read_text())["groups"]
KINDS = [phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE]


def outcome(text, region):
    try:
        return normalise(text, region).decode(), "", ""
    except Rejected as rejected:
        return None, rejected.reason, rejected.hint


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group["name"])
def test_vectors(group):
    each([(case["reason"], case) for case in group["cases"]], agrees)


def agrees(case):
    text, region = case["given"]["text"], case["given"]["region"]
    expected = case["expected"]
    identifier, reason, hint = outcome(text, region)
    assert (identifier, reason) == (expected["identifier"], expected.get("reason", ""))
    last = explain(text, region)[-1]
    assert (last.name, last.result) == (("rejected", reason) if reason else ("identifier", identifier))
    assert not re.search(r"\d\d", reason + hint), "a rejection may go to a log"


def test_every_way_to_write_an_example_number_gives_one_identifier():
    wrong = []
    for region in REGIONS:
        for number in (phonenumbers.example_number_for_type(region, kind) for kind in KINDS):
            if number is None:
                continue
            e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
            for form in range(4):  # E164, INTERNATIONAL, NATIONAL, RFC3966
                written = phonenumbers.format_number(number, form)
                if outcome(written, region)[0] != "tel:" + e164:
                    wrong.append((region, written))
            if calling_code(b"tel:" + e164.encode()) != str(number.country_code):
                wrong.append((region, e164))
    assert wrong == []


def test_text_of_an_identifier_is_that_identifier():
    for region in REGIONS:
        number = phonenumbers.example_number(region)
        if number is None:
            continue
        identifier = normalise(phonenumbers.format_number(number, 0), None)
        assert normalise(identifier.decode(), None) == identifier


@pytest.mark.slow
def test_the_short_way_agrees_with_the_library_in_every_plan(monkeypatch):
    """`is_plain` saves the library's parse; it may never change what comes out."""
    rng = random.Random(9497)
    cases = [
        "+" + code + "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 14)))
        for code in sorted(calling_codes())
        for _ in range(60)
    ]
    short = [outcome(text, None) for text in cases]
    found = [identifier for identifier, _, _ in short if identifier]
    assert len(found) > 1000
    assert [outcome(identifier, None)[0] for identifier in found] == found, "stable"
    monkeypatch.setattr("contactsync.identifiers.NumberingPlan.is_plain", lambda _self, _national: False)
    assert [outcome(text, None) for text in cases] == short


def test_the_docs_name_every_reason():
    docs = (Path(__file__).resolve().parents[2] / "docs" / "identifiers.md").read_text()
    reasons = {case["expected"].get("reason") for group in GROUPS for case in group["cases"]} - {None}
    assert [reason for reason in sorted(reasons) if reason not in docs[docs.index("## Rejections") :]] == []


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


WRITTEN = st.text(st.sampled_from("+0123456789 ()-./,;x#*pwABC=:\\\u202a\u00a0\u0664\uff0b"), max_size=40)


@pytest.mark.slow
@given(st.one_of(st.text(max_size=60), WRITTEN), st.sampled_from([None, "DE", "US", "BR", "IT", "AR", "MX"]))
@example("\ud800\udfff+49", None)
@example("tel:%ff%fe;phone-context=+", "DE")
@example("\u2028+1", "US")
def test_any_text_gives_an_identifier_or_a_rejection(text, region):
    identifier, reason, _ = outcome(text, region)
    if identifier is None:
        assert reason
        assert explain(text, region)[-1].name == "rejected"
    else:
        assert re.fullmatch(r"tel:\+[1-9][0-9]{4,14}", identifier)
        assert calling_code(identifier.encode())
        assert outcome(identifier, None)[0] == identifier, "stable"
