"""The kind `tel` behind the interface of all kinds: partitions, keys, spans."""

import numpy as np
import phonenumbers
import pytest

from contactsync.foundation.errors import BadInput
from contactsync.identifiers import (
    KINDS,
    calling_codes,
    is_partition_name,
    kind_of,
    kind_of_partition,
    known_partition,
    normalise,
    partition_of,
)

TEL = KINDS["tel"]


def examples():
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        number = phonenumbers.example_number(region)
        if number is not None:
            yield number.country_code, phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def test_the_example_of_every_region_is_in_the_partition_of_its_calling_code():
    codes, texts = zip(*examples(), strict=True)
    identifiers = [normalise(text, None) for text in texts]
    keys = TEL.keys_of(identifiers)
    assert (keys.dtype, TEL.key_type) == (np.uint64, int)
    assert TEL.identifiers_of(keys) == identifiers
    names = [str(code) for code in codes]
    assert [partition_of(identifier) for identifier in identifiers] == names
    found = {int(key): name for name, some in TEL.by_partition(keys) for key in some}
    assert [found[int(key)] for key in keys] == names


def test_keys_keep_their_order_within_a_partition():
    keys = np.array([4915100000009, 12125550100, 4915100000001], np.uint64)
    parts = {name: some.tolist() for name, some in TEL.by_partition(keys)}
    assert parts == {"1": [12125550100], "49": [4915100000009, 4915100000001]}


def test_partitions_are_the_calling_codes_and_free_of_prefixes():
    names = sorted(TEL.partitions())
    assert set(names) == calling_codes()
    assert names == sorted(map(str, phonenumbers.COUNTRY_CODE_TO_REGION_CODE))
    assert not [(a, b) for a in names for b in names if a != b and b.startswith(a)]
    assert all(map(is_partition_name, names))


@pytest.mark.parametrize("name", ["1", "7", "49", "354", "998"])
def test_spans_hold_the_numbers_of_a_code_and_no_others(name):
    spans = TEL.spans(name)
    assert spans == sorted(spans)
    assert all(low < high for low, high in spans)
    assert len(str(spans[-1][1] - 1)) == 15
    for low, high in spans:
        for edge in (low, high - 1):
            assert [found for found, _ in TEL.by_partition(np.array([edge], np.uint64))] == [name]
        outside = np.array([low - 1, high], np.uint64)
        for edge in outside:
            try:
                ((found, _),) = TEL.by_partition(np.array([edge], np.uint64))
            except BadInput:
                continue
            assert found != name or any(a <= edge < b for a, b in spans)


@pytest.mark.parametrize("number", [0, 1, 49, 210123456, 999123456])
def test_a_number_of_no_partition(number):
    with pytest.raises(BadInput, match="calling code"):
        next(TEL.by_partition(np.array([4915100000001, number], np.uint64)))


def test_a_name_of_the_family_may_be_of_a_code_that_is_newer_than_this_program():
    assert "999" not in TEL.partitions()
    assert kind_of_partition("999") is TEL
    for bad in ("", "0", "049", "1234", "49a", "٤٩", "49\n", "acct.0", "+49"):
        assert not is_partition_name(bad)
        with pytest.raises(BadInput):
            kind_of_partition(bad)


def test_the_kind_of_an_identifier():
    assert kind_of(b"tel:+491511234567") is TEL
    for bad in (b"", b"tel", b"xmpp:a@example.org", b"TEL:+49"):
        with pytest.raises(BadInput):
            kind_of(bad)


@pytest.mark.parametrize("name", ["491", "4", "12", "20000", "049", "0", "1234", "21", "9999"])
def test_digits_that_can_never_be_a_calling_code(name):
    """Calling codes are prefix-free, and have one to three digits."""
    assert TEL.excludes_partition(name)
    with pytest.raises(BadInput, match="no partition"):
        known_partition(name)


@pytest.mark.parametrize("name", ["999", "83", "210", "mailto", "x49", "", "४९"])
def test_names_that_may_be_partitions_of_a_later_day(name):
    assert not TEL.excludes_partition(name)
    assert known_partition(name) is None


def test_every_calling_code_is_known_and_excludes_no_other():
    for code in TEL.partitions():
        assert known_partition(code) is TEL
        assert not TEL.excludes_partition(code)


def test_capacities():
    assert TEL.capacity("1") == 10**10
    assert TEL.capacity("500") == 10**5, "five digits"
    assert TEL.capacity("290") == 10**4 + 10**5, "four or five"
    for code in TEL.partitions():
        assert 10**5 <= TEL.capacity(code) < 1.2 * 10 ** (15 - len(code))
