"""That the bench of sizes runs, and that what it computes is what is measured."""

import itertools

import pytest

from bench import sizes
from bench.directory import chunks_of
from contactsync.directory import build
from contactsync.directory.format import slot_bits_for


def test_no_code_is_below_the_least_and_ours_is_above_rice():
    rows = sizes.run((20_000,), 1)
    assert [row["r"] for row in rows] == [32, 40]
    for row in rows:
        found = [float(row[name]) for name in ("least", "Golomb-Rice", "in buckets", "file")]
        assert all(below < above for below, above in itertools.pairwise(found)), row
        assert float(row["decode, ns"]) > 0
        assert float(row["Golomb-Rice, ns"]) > 0


def test_the_fullest_directory_of_its_slots():
    assert (slot_bits_for(sizes.FULLEST), slot_bits_for(sizes.FULLEST + 1)) == (19, 20)


@pytest.mark.parametrize("r", [32, 40])
def test_what_is_computed_for_other_slots_is_what_ours_are_measured_to_take(tmp_path, r):
    for n in (20_000, 40_000):
        info = build(tmp_path / f"{n}", chunks_of(n), remainder_bits=r)
        assert sizes.other_slots(n, info.slot_bits, r) == pytest.approx(info.bits_per_token, abs=0.02)


def test_changes():
    (row,) = sizes.changes(1_000_000, (500,))
    assert float(row["least"]) < float(row["Golomb-Rice"]) < float(row["delta"])
