"""Files of members: what phones.read_numbers finds, sorted and in pieces."""

import io

import numpy as np
import pytest

from contactsync.foundation.errors import BadInput
from contactsync.server import members
from contactsync.server.members import read_members


def read(text, region="DE"):
    bad, told = [], []
    chunks = list(read_members(io.BytesIO(text.encode()), region, "f", bad.append, lambda *a: told.append(a)))
    return [int(n) for chunk in chunks for n in chunk.keys], [(r.line, r.reason) for r in bad], told


def test_a_list():
    found, bad, _ = read("\ufeff+49 151 1234567\n\n# staff\n0151 1234567\nnonsense\n+1 (212) 555-0100\r\n")
    assert found == [12125550100, 491511234567]
    assert bad == [(5, "not a phone number")]


def test_csv():
    text = (
        'name,Phone ,note\n"Müller, Jo",0151 1234567,"two\nlines"\n,,\nnobody,,x\nshort\nlast,+12125550100,\n'
    )
    found, bad, _ = read(text)
    assert found == [12125550100, 491511234567]
    assert bad == [(line, "the column phone is empty") for line in (5, 6)]


def test_csv_with_other_separators():
    for separator in ";\t|":
        assert read(f"id{separator}phone\n7{separator}+491511234567\n")[0] == [491511234567]


def test_only_a_header_or_nothing():
    assert read("")[:2] == ([], [])
    assert read("phone\n")[:2] == ([], [])


def test_pieces_are_ascending_and_distinct(monkeypatch):
    rng = np.random.default_rng(1)
    numbers = (4915100000000 + rng.integers(0, 20_000, 30_000)).tolist()
    text = "".join(f"+{number}\n" for number in numbers).encode()
    monkeypatch.setattr(members, "_PIECE", 4096)
    batches = list(read_members(io.BytesIO(text), None, "f", pytest.fail))
    assert {batch.kind for batch in batches} == {"tel"}
    pieces = [batch.keys for batch in batches]
    assert all(piece.dtype == np.uint64 and 0 < piece.size <= 4096 for piece in pieces)
    assert np.concatenate(pieces).tolist() == sorted(set(numbers))
    # What is sorted in parts comes out in one order all the same.
    monkeypatch.setattr(members, "_SORTED_AT_ONCE", 1)
    monkeypatch.setattr("contactsync.phones.bulk.SMALL", 0)
    monkeypatch.setattr("contactsync.phones.records._MOST_RECORDS", 10_000)
    tally, told = members.Tally(), []
    found = read_members(io.BytesIO(text), None, "f", pytest.fail, lambda *a: told.append(a), tally=tally)
    parts = [batch.keys for batch in found]
    assert np.concatenate(parts).tolist() == sorted(set(numbers))
    assert all(0 < part.size <= 4096 + 3 * 4 for part in parts)
    assert (tally.accepted, tally.distinct) == (30_000, len(set(numbers)))
    assert [(what, done) for what, done, total in told][:3] == [("reading", n * 10_000) for n in (1, 2, 3)]
    assert all(what == "storing" and done <= total for what, done, total in told[3:])
    assert told[-1][1] == told[-1][2]
    # With less room there is one such order after the other.
    monkeypatch.setattr(members, "_HELD", 10_000)
    parts = [batch.keys for batch in read_members(io.BytesIO(text), None, "f", pytest.fail)]
    assert all((np.diff(part.astype(np.int64)) > 0).all() for part in parts)
    assert sum(part.size for part in parts) > len(set(numbers))
    assert set(np.concatenate(parts).tolist()) == set(numbers)


def test_one_number_in_every_run_is_one_member():
    runs = [np.full(1, 4915112345678, np.uint64) for _ in range(5)]
    ((many, numbers),) = members._merged(runs)
    assert (many, numbers.tolist()) == (5, [4915112345678])
    assert list(members._merged([np.empty(0, np.uint64)])) == []


def test_progress_tells_both_halves():
    told = read("+491511234567\n+491511234568\n")[2]
    assert told == [("reading", 2, 0), ("storing", 2, 2)]


def test_a_file_that_is_no_text():
    with pytest.raises(BadInput, match="f is not a text file"):
        read("PK\0\0")
