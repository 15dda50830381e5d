"""Further forms: they are the page's table, they lead to identifiers, and never to a stranger."""

import itertools
import json
import random
import re
from pathlib import Path

import digits
import phonenumbers
import pytest
import second_forms
from cases import each
from phonenumbers import PhoneMetadata

from contactsync.contacts.lines import all_forms, lines_of
from contactsync.identifiers import (
    FORMS,
    MOST_FORMS,
    calling_codes,
    explain_forms,
    further_forms,
    normalise,
    numbering_plan,
)
from contactsync.identifiers.tel.forms import FORM_RULES

VECTORS = Path(__file__).resolve().parents[2] / "contactsync" / "vectors" / f"forms-{FORMS}.json"
GROUPS = json.loads(VECTORS.read_text())["groups"]
# Rows in which numbers are in use as they are written: by their plans the same line has both forms.
SAME_LINE = {
    "33596",
    "33269",
    "390549",
    "5411",
    "54911",
    "542",
    "543",
    "5492",
    "5493",
    "2410",
    "24101",
    "35348",
}
SAME_LINE |= {"3780549", "97056", "97059", "97256", "97259"}
KINDS = (
    *("fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "personal_number"),
    *("voip", "pager", "uan", "voicemail"),
)


def form(text):
    return [one.decode() for one in further_forms(text.encode())]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group["name"])
def test_vectors(group):
    each([(case["reason"], case["given"], case["expected"]["forms"]) for case in group["cases"]], agrees)


def agrees(given, expected):
    text = given["identifier"]
    assert form(text) == second_forms.forms(text) == expected
    assert normalise(text.removeprefix("tel:"), None) == text.encode(), "a vector that is no identifier"


@pytest.mark.slow
def test_the_page_has_every_rule_and_no_other():
    """Numbers of each row, and numbers that miss a row by a digit or by one in length."""
    generator, found = random.Random(15), 0
    for row in second_forms.ROWS:
        for _ in range(20):
            more = generator.choice([*row.lengths] * 3 + [row.lengths[0] - 1, row.lengths[-1] + 1])
            text = list(row.written + "".join(generator.choices("0123456789", k=more)))
            if generator.random() < 0.3:
                text[generator.randrange(len(text))] = generator.choice("0123456789")
            identifier = "tel:+" + "".join(text)
            assert form(identifier) == second_forms.forms(identifier), identifier
            found += bool(form(identifier))
    assert found > 2000


def test_rows_that_are_in_use_are_said_to_be():
    said = {row.written for row in second_forms.ROWS if row.reason == "the same line"}
    assert {one for one in said if not any(one.startswith(known) for known in SAME_LINE)} == set()
    assert all(any(one.startswith(known) for one in said) for known in SAME_LINE)


def valid_patterns(code):
    """The patterns of all numbers in use of a calling code, by region and kind, with their lengths."""
    for region in phonenumbers.COUNTRY_CODE_TO_REGION_CODE[int(code)]:
        data = PhoneMetadata.metadata_for_region_or_calling_code(int(code), region)
        for kind in KINDS:
            one = getattr(data, kind)
            if one is not None and one.national_number_pattern:
                yield re.sub(r"\s", "", one.national_number_pattern)


def in_use(code, pattern):
    """How many numbers that match `pattern` are valid; those of several kinds or regions count again."""
    lengths = numbering_plan(code).lengths
    return sum(
        digits.counted(pattern, one, length=length) for one in valid_patterns(code) for length in lengths
    )


def pattern_of(row, code):
    national = row.written.removeprefix(code)
    return rf"{national}\d{{{row.lengths[0]},{row.lengths[-1]}}}"


def code_of(row):
    return next(code for code in FORM_RULES if row.written.startswith(code))


@pytest.mark.slow
@pytest.mark.parametrize("code", FORM_RULES)
def test_no_row_meets_a_number_in_use_unless_it_is_the_same_line(code):
    """Exact counts over libphonenumber's plans: of the strangers whose number a row could take for old."""
    rows = [row for row in second_forms.ROWS if code_of(row) == code]
    assert rows
    for row in rows:
        count = in_use(code, pattern_of(row, code))
        assert (count > 0) == (row.reason == "the same line"), (row, count)


def test_the_row_of_an_area_code_without_its_zero_would_meet_strangers_if_it_were_wider():
    assert in_use("39", r"3\d{8,9}") > 10**9
    assert in_use("39", r"0331\d{6}") == 10**6


@pytest.mark.slow
@pytest.mark.parametrize("code", FORM_RULES)
def test_what_a_row_leads_to_is_in_use(code):
    """A row that led to numbers of nobody would be wrong, or of the past."""
    for row in (row for row in second_forms.ROWS if code_of(row) == code):
        target = next(one for one in calling_codes() if row.also.startswith(one))
        national = row.also.removeprefix(target)
        assert in_use(target, rf"{national}\d{{{row.lengths[0]},{row.lengths[-1]}}}") > 0, row


@pytest.mark.slow
def test_in_argentina_a_number_is_in_use_with_the_9_exactly_if_it_is_without():
    """One plan of ten digits for fixed and mobile lines, as the page says: both forms of each are valid."""
    data = PhoneMetadata.metadata_for_region("AR")
    fixed, mobile = data.fixed_line.national_number_pattern, data.mobile.national_number_pattern
    areas = r"(?:11|[23]\d)\d{8}"
    without = digits.counted(fixed, areas, length=10)
    assert without > 2 * 10**8
    assert digits.counted(mobile, f"9{areas}", length=11) == without
    assert digits.counted(mobile, f"9(?:{fixed})", f"9{areas}", length=11) == without


@pytest.mark.parametrize("pattern", [r"1[2-4]\d{1,2}", r"(?:12|3\d)?[0-25]\d", r"9?(?:1(?:2|34)|5\d{0,2})"])
def test_the_counter_agrees_with_trying(pattern):
    for length, other in itertools.product(range(1, 5), (r"\d{1,4}", r"[1-3]\d{0,3}")):
        assert digits.counted(pattern, other, length=length) == digits.brute(pattern, other, length=length)


@pytest.mark.slow
def test_every_form_is_an_identifier():
    """Of the profile: it would be the same bytes if somebody had written it."""
    generator = random.Random(16)
    for row in second_forms.ROWS:
        for _ in range(10):
            more = "".join(generator.choices("0123456789", k=generator.choice(row.lengths)))
            identifier = f"tel:+{row.written}{more}".encode()
            assert normalise(identifier.decode().removeprefix("tel:"), None) == identifier
            for one in further_forms(identifier):
                assert normalise(one.decode().removeprefix("tel:"), None) == one


def test_three_forms_at_most_and_the_written_one_is_none_of_them():
    assert len(explain_forms(b"tel:+39549882345")) == MOST_FORMS - 1
    for row in second_forms.ROWS:
        identifier = f"tel:+{row.written}{'5' * row.lengths[0]}".encode()
        forms = explain_forms(identifier)
        assert 1 <= len(forms) < MOST_FORMS
        assert identifier not in further_forms(identifier)
        assert all(one.why for one in forms)


@pytest.mark.parametrize("text", [b"tel:+54", b"tel:+", b"tel:+5411234567899999", b"mailto:a@b.example", b""])
def test_what_is_no_number_of_the_table_has_no_form(text):
    assert explain_forms(text) == []


def test_numbers_that_share_a_form_are_one_line():
    a, b, c = b"tel:+39549882345", b"tel:+390549882345", b"tel:+3780549882345"
    other = b"tel:+4915112345678"
    assert lines_of([other, a]) == [(other,), (a, b, c)]
    assert lines_of([c, other, a]) == [(c, a, b), (other,)]
    assert lines_of([a, other, b, c]) == [(a, b, c), (other,)]
    old, new = b"tel:+841681234567", b"tel:+84381234567"
    assert lines_of([new, old]) == [(new, old)], "only one of the two has a further form"
    assert lines_of([]) == []
    assert all_forms([old, other]) == {old, new, other}


@pytest.mark.slow
def test_a_contact_with_many_numbers_takes_time_in_proportion():
    """A card may have 1,000 numbers, and a book many such cards."""
    many = [f"tel:+5411{number:08}".encode() for number in range(5_000)]
    assert [line[0] for line in lines_of(many)] == many
    new, old = ([b"tel:+84%s%07d" % (code, i) for i in range(500)] for code in (b"38", b"168"))
    assert lines_of([*new, *old]) == list(zip(new, old, strict=True))
