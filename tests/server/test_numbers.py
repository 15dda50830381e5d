"""Members as integers."""

import numpy as np
import phonenumbers
import pytest

from contactsync.identifiers import normalise
from contactsync.server.numbers import codes, codes_of, identifiers_of, number_of, ranges_of


def examples():
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        number = phonenumbers.example_number(region)
        if number is not None:
            yield number.country_code, phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def test_the_example_of_every_region_has_its_calling_code():
    expected, texts = zip(*examples(), strict=True)
    identifiers = [normalise(text, None) for text in texts]
    values = np.array([number_of(identifier) for identifier in identifiers], np.uint64)
    assert identifiers_of(values) == identifiers
    assert codes_of(values).tolist() == list(expected)


def test_codes_are_all_calling_codes_and_free_of_prefixes():
    known = codes()
    assert known == sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
    texts = [str(code) for code in known]
    assert not [(a, b) for a in texts for b in texts if a != b and b.startswith(a)]


@pytest.mark.parametrize("code", [1, 7, 49, 354, 998])
def test_ranges_hold_the_numbers_of_a_code_and_no_others(code):
    spans = ranges_of(code)
    edges = np.array([n for low, high in spans for n in (low, high, high + 1)], np.uint64)
    inside = [any(low <= n <= high for low, high in spans) for n in edges.tolist()]
    assert (codes_of(edges) == code).tolist() == inside
    assert spans == sorted(spans)
    assert len(str(spans[-1][1])) == 15


def test_no_calling_code():
    assert codes_of(np.array([0, 1, 49, 210123456, 999123456], np.uint64)).tolist() == [0, 0, 0, 0, 0]
