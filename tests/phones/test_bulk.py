"""The bulk reader against `identifiers.normalise` and libphonenumber, its two scanners against each other."""

import csv
import io
import random
import re

import numpy as np
import phonenumbers
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneMetadata, PhoneNumberFormat, PhoneNumberType

from contactsync.foundation.errors import BadInput
from contactsync.identifiers import RULES, SCHEME, Rejected, calling_codes, normalise
from contactsync.kernels import phones as kernel
from contactsync.phones import bulk, plans, read_numbers, records
from contactsync.phones.layout import NONE, RecordLayout, recognise
from contactsync.phones.prefixes import may_match, may_take, whole_lengths

CODES = sorted(calling_codes())
REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
LIST = RecordLayout(NONE, NONE, 0, 0, 1)


def fast(texts, region=None):
    """What the kernel alone makes of lines: 0 where it asks."""
    assert not any("\n" in text or not text.strip(" \t\r") for text in texts)
    # A line that begins with # is a comment; a blank before it makes it text again.
    data = "\n".join(text if text[0] != "#" else " " + text for text in texts).encode()
    numbers = []
    scanner, start = records.Scanner(LIST, region), 0
    while start < len(data):
        scanned = scanner.scan(data, start, final=True)
        numbers += scanned.numbers.tolist()
        start = scanned.stop
    assert len(numbers) == len(texts)
    return numbers


def by_profile(text, region=None):
    try:
        return int(normalise(text, region)[len(SCHEME) :])
    except Rejected:
        return 0


def by_library(text, region=None):
    """parse + is_possible, and nothing of ours."""
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return 0
    possible = not number.extension and phonenumbers.is_possible_number(number)
    return int(phonenumbers.format_number(number, PhoneNumberFormat.E164)[1:]) if possible else 0


def disagreements(texts, region=None):
    """(text, kernel, profile, library) where a hit of the kernel is not what the others say."""
    return [
        (text, number, by_profile(text, region), by_library(text, region))
        for text, number in zip(texts, fast(texts, region), strict=True)
        if number and not number == by_profile(text, region) == by_library(text, region)
    ]


def written(number):
    forms = (PhoneNumberFormat.E164, PhoneNumberFormat.INTERNATIONAL, PhoneNumberFormat.NATIONAL)
    return [phonenumbers.format_number(number, form) for form in forms] + [str(number.national_number)]


def sprinkled(rng, text, signs=(" ", "-", ".", "/", " (", ") ", "")):
    """The text with separators between some of its characters."""
    return "".join(c + (rng.choice(signs) if rng.random() < 0.3 else "") for c in text) or text


@pytest.mark.slow
def test_it_agrees_on_every_example_number_of_every_region():
    hits = total = 0
    for region in REGIONS:
        kinds = [phonenumbers.example_number_for_type(region, kind) for kind in PhoneNumberType.values()]
        examples = [number for number in kinds if number is not None]
        texts = [text for number in examples for text in written(number)]
        assert disagreements(texts, region) == []
        assert disagreements(texts, None) == []
        international = fast([phonenumbers.format_number(n, PhoneNumberFormat.E164) for n in examples])
        hits += np.count_nonzero(international)
        total += len(international)
    # What falls through costs time only; most of it is Argentina, and codes whose small regions renumber.
    assert total > 1200
    assert hits > 0.9 * total


def test_it_agrees_on_the_examples_of_codes_without_a_region():
    codes = [
        code for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items() if regions == ("001",)
    ]
    examples = [phonenumbers.example_number_for_non_geo_entity(code) for code in codes]
    assert len(examples) >= 9
    assert disagreements([text for n in examples for text in written(n)[:2]]) == []


@pytest.mark.slow
def test_it_agrees_on_the_invalid_example_of_every_region():
    invalid = {region: phonenumbers.invalid_example_number(region) for region in REGIONS}
    assert sum(number is not None for number in invalid.values()) >= 240
    for region, number in invalid.items():
        if number is not None:
            assert disagreements(written(number), region) == []


def dialled(region):
    """Numbers as people of a region might dial them, right and wrong."""
    rng = random.Random(region)
    data = PhoneMetadata.metadata_for_region(region)
    starts = ["", data.national_prefix or "0", "0", "00", "011", "00" + str(data.country_code), "+", "1", "8"]
    starts += [str(data.country_code), data.preferred_international_prefix or "810", "06", "(0"]
    texts = []
    for _ in range(150):
        size = rng.choice(data.general_desc.possible_length) + rng.choice((-1, 0, 0, 0, 1, 2))
        digits = "".join(rng.choices("0123456789", k=max(3, size)))
        text = rng.choice(starts) + digits
        texts.append(sprinkled(rng, text) if rng.random() < 0.3 else text)
    return texts


@pytest.mark.slow
def test_it_agrees_on_numbers_as_dialled_in_every_region():
    found = {region: disagreements(dialled(region), region) for region in REGIONS}
    assert {region: texts for region, texts in found.items() if texts} == {}


def looks_like_e164(rng):
    digits = rng.choice(CODES) + "".join(rng.choices("0123456789", k=rng.randrange(3, 14)))
    text = "+" + digits
    kind = rng.random()
    if kind < 0.2:
        return sprinkled(rng, text)
    if kind < 0.25:
        return (
            "".join(rng.choices("0123456789+-()./ *#,;xp~\t\u00a0\u0661", k=rng.randrange(1, 20))).strip()
            or "+"
        )
    return text


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_it_agrees_on_a_million_random_texts(part):
    # Half a million each, so that two processes share the work; the library sees the hits, about 40 %.
    rng = random.Random(part)
    texts = [looks_like_e164(rng) for _ in range(500_000)]
    numbers = fast(texts)
    hits = [(text, number) for text, number in zip(texts, numbers, strict=True) if number]
    assert len(hits) > 50_000
    assert [(text, number) for text, number in hits if number != by_profile(text)] == []
    # The profile takes a plain number by the same table as we do, so libphonenumber itself has to say.
    assert [(text, number) for text, number in hits if number != by_library(text)] == []


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789+-()./ *#,;:[]xXpwe~\t\r\u00a0\u0661\uff0b", min_size=1, max_size=24))
def test_it_agrees_on_junk(text):
    if text.strip(" \t\r"):
        assert disagreements([text], None) == []
        assert disagreements([text], "US") == []


@pytest.mark.parametrize(
    "text",
    [
        "+4902234811656",  # a trunk 0 after the calling code
        "+551187654321",  # Brazil: the 9 is added
        "+5215512345678",  # Mexico: the 1 is dropped
        "+541151234567",  # Argentina: 11 15 may follow
        "+22997123456",  # Benin: 01 is added
        "+4915123456789p123",
        "+4915123456789,123",
        "49151234567.0",  # what a spreadsheet makes of a number
        "+-4915123456789",  # a plus that stands alone is no plus
        "+999123456789",
        "+49 151 2345678 ext 5",
        "++4915123456789",
        "110",
    ],
)
def test_what_would_change_or_is_doubtful_is_left_to_the_library(text):
    assert fast([text], "DE") == [0]


@pytest.mark.parametrize(
    ("text", "region", "number"),
    [
        ("+4915123456789", None, 4915123456789),
        ("+1 (415) 555-2671", None, 14155552671),
        (" + (49) 151/234.567-89 \r", None, 4915123456789),
        ("+390612345678", None, 390612345678),
        ("+5491123456789", None, 5491123456789),  # the prefix of Argentina matches, and takes nothing
        ("0151 23456789", "DE", 4915123456789),
        ("004915123456789", "DE", 4915123456789),
        ("(415) 555-2671", "US", 14155552671),
        ("0612345678", "IT", 390612345678),
        ("06 20 123 4567", "HU", 36201234567),
    ],
)
def test_what_is_plain_is_taken(text, region, number):
    assert fast([text], region) == [number]
    assert by_profile(text, region) == number


def test_lengths_that_a_rule_of_the_profile_touches_are_never_taken():
    rng = random.Random(5)
    texts = [
        "+" + code + "".join(rng.choices("0123456789", k=size))
        for code in RULES
        for size in range(7, 14)
        for _ in range(300)
    ]
    assert disagreements_with_profile(texts) == []


def disagreements_with_profile(texts):
    return [t for t, number in zip(texts, fast(texts), strict=True) if number and number != by_profile(t)]


# ---- the tables --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern",
    [
        "0",
        "1|2?3",
        "12|3{0,2}4",
        "0(?:1|2){2}|9",
        "[13-5]{2,}7|0\\d?8$",
        "0?(?:(11|2)15)?",
        "(1(?:[12]\\d|79)\\d\\d)|0",
        "0{3}",
    ],
)
def test_may_match_is_never_false_where_the_expression_matches(pattern):
    expression = re.compile(pattern)
    table = may_match(pattern)
    rests = ["", *(f"{i:0{n}d}" for n in (1, 2) for i in range(10**n))]
    for i in range(1000):
        if not table[i]:
            assert not any(expression.match(f"{i:03d}{rest}") for rest in rests)
    if "$" not in pattern and pattern != "[13-5]{2,}7|0\\d?8$":
        assert all(any(expression.match(f"{i:03d}{rest}") for rest in rests) for i in np.flatnonzero(table))


@pytest.mark.parametrize("pattern", ["a", "1(?=2)", "\\w", "1*?", "[^1]", "(", "1{x}", "(?i)1"])
def test_an_expression_outside_the_subset_may_match_everything(pattern):
    assert may_match(pattern).all()
    assert whole_lengths(pattern, 15) == frozenset(range(16))


def test_a_match_of_nothing_takes_nothing():
    assert may_match("0?").all()
    assert np.flatnonzero(may_take("0?")).tolist() == list(range(100))
    assert np.flatnonzero(may_take("0?(?:(1)5)?")).tolist() == [*range(100), *range(150, 160)]
    assert may_take("(0?)").all()  # the group takes part even so
    assert may_take("0?(x)").all()


def test_whole_lengths():
    assert whole_lengths("(?:1|01|04[45])([2-9]\\d{9})", 15) == {11, 12, 13}
    assert whole_lengths("[2-9]\\d{7}|9\\d{8}", 15) == {8, 9}


@pytest.mark.slow
def test_every_pattern_of_the_metadata_is_understood():
    for region in REGIONS:
        data = PhoneMetadata.metadata_for_region(region)
        for pattern in (data.international_prefix, data.general_desc.national_number_pattern):
            assert may_match(pattern).any()
        if region != "AR":  # whose national prefix may be nothing at all
            assert not may_match(data.national_prefix_for_parsing).all()
            assert not may_match(data.international_prefix).all()


def test_kernel_and_records_name_things_alike():
    for name in ("ASK_LIBRARY", "NO_FIELD", "OPEN_QUOTE", "TOO_LONG", "MAX_RECORD"):
        assert getattr(kernel, name) == getattr(records, name)


def test_no_region_takes_nothing_without_a_plus():
    assert not plans.national(None).action.any()


# ---- files -------------------------------------------------------------------------------------------------


def read(data, region=None, **options):
    batches = list(read_numbers(io.BytesIO(data), region, "members.csv", **options))
    numbers = np.concatenate([np.empty(0, np.uint64), *(b.numbers for b in batches)])
    lines = np.concatenate([np.empty(0, np.int64), *(b.lines for b in batches)])
    return numbers.tolist(), lines.tolist(), [(r.line, r.reason) for b in batches for r in b.refused]


def both_ways(data, region=None, monkeypatch=None):
    """The file read in Python and by the kernel, in small chunks too: all the same."""
    small = read(data, region)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "SMALL", 0)
        assert read(data, region) == small
        patch.setattr(records, "_MOST_RECORDS", 3)
        assert read(data, region, chunk=records.MAX_RECORD * 2) == small
    return small


def test_a_list():
    numbers, lines, refused = both_ways(
        b"+4915123456789\r\n\n  \n+1 415 555 2671\nnobody\n0151 23456789", "DE"
    )
    assert numbers == [4915123456789, 14155552671, 0, 4915123456789]
    assert lines == [1, 4, 5, 6]
    assert refused == [(5, "not a phone number")]


def test_a_csv_with_quotes():
    data = (
        '\ufeffname;"Phone";note\r\n'
        'Ann;"+4915123456789";"says ""hi""\nand more"\r\n'
        "Bob;+14155552671;\r\n"
        "Eve\r\n"
        "\r\n"
        'Ida;"";\r\n'
        'Joe;"+49 ""151"" 2345678x";\r\n'
        ';;""\r\n'
    )
    numbers, lines, refused = both_ways(data.encode())
    assert numbers == [4915123456789, 14155552671, 0, 0, 0]
    assert lines == [2, 4, 5, 7, 8]
    assert refused[0] == (5, "the column phone is empty")
    assert [line for line, _ in refused] == [5, 7, 8]


def test_a_quote_that_is_never_closed_costs_its_line():
    data = b'phone,name\n+4915123456789,a\n"+14155552671,b\n+14155552672,c\n' + b"+14155552673,d\n" * 9000
    numbers, lines, refused = both_ways(data)
    assert refused == [(3, "a quotation mark is never closed")]
    assert numbers.count(0) == 1
    assert len(numbers) == len(lines) == 9003
    assert lines == list(range(2, 9005))


def test_an_overlong_line_costs_itself():
    data = b"+4915123456789\n" + b"7" * (3 * records.MAX_RECORD) + b"\n+14155552671\n"
    numbers, lines, refused = both_ways(data)
    assert (numbers, lines) == ([4915123456789, 0, 14155552671], [1, 2, 3])
    assert refused == [(2, "the line is too long")]


def test_an_overlong_last_line():
    numbers, lines, refused = both_ways(b"+4915123456789\n" + b"7" * (3 * records.MAX_RECORD))
    assert (numbers, lines, refused) == ([4915123456789, 0], [1, 2], [(2, "the line is too long")])


@pytest.mark.parametrize("data", [b"", b"\n\n", b"phone\n", b"\xef\xbb\xbf"])
def test_nothing_in_it(data):
    assert both_ways(data) == ([], [], [])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PK\x03\x04\0\0", "not a text file"),
        (b"name,mobile\nAnn,+4915123456789\n", "no column named phone"),
        (b"phone,phone\n", "more than one column"),
    ],
)
def test_a_file_that_cannot_be_read_at_all(data, says):
    with pytest.raises(BadInput, match=says):
        read(data)


def test_an_unknown_region():
    with pytest.raises(BadInput, match="unknown region"):
        read(b"+4915123456789\n", "XX")


def test_a_header_is_not_taken_for_a_number_nor_a_number_for_a_header():
    assert recognise(b"+49 151 2345678, office\n", "f").delimiter == NONE
    assert recognise(b"id|PHONE |x\n1|2|3\n", "f") == RecordLayout(ord("|"), ord('"'), 1, 12, 2)


cells = st.text(alphabet='+0123456789"\n,; x', max_size=12)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(cells, cells, cells), max_size=8))
def test_csv_fields_are_those_of_the_csv_module(rows):
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(["a", "phone", "b"])
    writer.writerows(rows)
    numbers, _, _ = both_ways(buffer.getvalue().encode(), "DE")
    said = [row for row in rows if any(cell.strip(' \r\n\t,"') for cell in row)]
    assert numbers == [by_profile(phone.strip(), "DE") for _, phone, _ in said]


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_octets_give_lines_or_one_error(tail):
    for head in (b"", b"x,phone\n"):
        try:
            both_ways(head + tail.replace(b"\0", b'"'))
        except BadInput:
            continue
