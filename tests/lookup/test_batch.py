"""Batches: permutations against the twin, plans that are right, as full as can be, and say nothing."""

import hashlib
import re
from pathlib import Path

import numba
import numpy as np
import pytest
import row_twin

from contactsync.foundation.errors import BadInput
from contactsync.kernels import placing
from contactsync.lookup import batch
from contactsync.lookup.batch import (
    GROUPS,
    SIZES,
    STEPS,
    Sharing,
    batch_sizes,
    permute,
    plan_batch,
    plan_batches,
)

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "lookup.md"


# Permutations


@numba.njit
def by_kernel(first, bits, steps, out):
    for group in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[group, j] = placing.permuted(first + j, bits, steps, group)


@pytest.mark.slow
@pytest.mark.parametrize("bits", range(6, 21))
def test_permutations_are_permutations_in_numpy_and_in_the_kernel(bits):
    rows = np.arange(1 << bits, dtype=np.uint32)
    kernel = np.empty((GROUPS, rows.size), np.uint32)
    by_kernel(0, bits, STEPS, kernel)
    for group in range(GROUPS):
        permuted = permute(rows, bits, group)
        assert np.array_equal(np.sort(permuted), rows)
        assert np.array_equal(permuted, kernel[group])
        some = np.random.default_rng(bits).integers(0, rows.size, 50).tolist()
        assert permuted[some].tolist() == [row_twin.permuted(group, i, bits) for i in some]


@pytest.mark.parametrize("bits", [5, 22, 26])
def test_permutations_of_many_rows_agree_with_the_twin(bits):
    rows = np.random.default_rng(bits).integers(0, 1 << bits, 300).astype(np.uint32)
    first = int(rows[0]) // 2
    kernel = np.empty((GROUPS, 300), np.uint32)
    by_kernel(first, bits, STEPS, kernel)
    for group in range(GROUPS):
        assert permute(rows, bits, group).tolist() == [row_twin.permuted(group, int(i), bits) for i in rows]
        if first + 300 <= 1 << bits:
            assert kernel[group].tolist() == [row_twin.permuted(group, first + j, bits) for j in range(300)]


def test_the_figures_of_the_document():
    text = DOCUMENT.read_text()
    found = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    assert len(found) >= 3
    in_blocks = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    assert len(in_blocks) >= 3
    for bits, fold, i, *places in [list(map(int, line)) for line in in_blocks]:
        assert places == [row_twin.permuted(group, i, bits, fold) for group in range(3)]
    for bits, i, *permuted in [list(map(int, line)) for line in found]:
        assert permuted == [row_twin.permuted(group, i, bits) for group in range(3)]
        assert permuted == [int(permute(np.array([i], np.uint32), bits, group)[0]) for group in range(3)]


@pytest.mark.parametrize(("size", "bits"), [(8, 6), (64, 8), (512, 11), (512, 17)])
def test_places_are_the_twin_s_and_each_has_one_row(size, bits):
    sharing = Sharing(size, bits)
    rows = np.arange(1 << bits, dtype=np.uint32)
    sub, position = sharing.place(rows)
    for i in (0, 1, 5, (1 << bits) - 1):
        theirs = [row_twin.place(group, i, bits, size) for group in range(3)]
        assert list(zip(sub[:, i].tolist(), position[:, i].tolist(), strict=True)) == theirs
    for group in range(GROUPS):
        places = sub[group].astype(np.int64) << sharing.position_bits | position[group]
        assert np.array_equal(np.sort(places), rows)
        one = position[group][sub[group] == 3]
        assert np.array_equal(np.sort(one), np.arange(1 << sharing.position_bits))
    asked = np.random.default_rng(1).integers(0, 1 << sharing.position_bits, (3, size // 2)).astype(np.uint32)
    back, there = sharing.place(sharing.rows_at(asked).ravel())
    for group in range(GROUPS):
        own = slice(group * size // 2, (group + 1) * size // 2)
        assert np.array_equal(back[group, own], np.arange(size // 2))
        assert np.array_equal(there[group, own], asked[group])


@pytest.mark.parametrize("bits", [9, 12, 14, 20])
def test_the_three_places_of_a_row_are_independent(bits):
    """Over all rows, each triple of sub-databases comes as often as by chance."""
    sub, _ = Sharing(8, bits).place(np.arange(1 << bits, dtype=np.uint32))
    triples = np.bincount(sub[0] * 16 + sub[1] * 4 + sub[2], minlength=64)
    expected = (1 << bits) / 64
    assert ((triples - expected) ** 2).sum() / expected < 63 + 6 * (2 * 63) ** 0.5


# Plans


def check(plan, wanted):
    """Whether a plan is right: each answered query gets its row, and each sub-database is asked for one."""
    sharing = plan.sharing
    assert plan.position.shape == plan.row.shape == (3, sharing.size // 2)
    assert plan.position.dtype == plan.row.dtype == np.uint32
    assert (plan.position < 1 << sharing.position_bits).all()
    assert np.array_equal(plan.row, sharing.rows_at(plan.position))
    assert np.array_equal(plan.row.ravel()[plan.answer], wanted[plan.query])
    assert (np.diff(plan.query) > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "bits"), [(8, 6), (8, 20), (64, 8), (64, 20), (512, 11), (512, 14), (512, 26)]
)
def test_a_plan_asks_for_what_is_wanted(size, bits):
    rng = np.random.default_rng(size + bits)
    for count in (0, 1, size // 2, size, size, size, 3 * size // 2):
        wanted = rng.integers(0, 1 << bits, count).astype(np.uint32)
        plan = plan_batch(wanted, Sharing(size, bits), rng.bytes)
        check(plan, wanted)
        if count <= size // 2:
            assert plan.query.size == count


def test_a_row_that_is_wanted_twice_is_asked_once():
    wanted = np.array([9, 5, 9, 9, 5], np.uint32)
    plan = plan_batch(wanted, Sharing(8, 6))
    check(plan, wanted)
    assert plan.query.tolist() == [0, 1, 2, 3, 4]
    assert len(set(plan.answer.tolist())) == 2


def placed_by_search(choices):
    """For each item in order, whether it finds a place beside those before it, by any augmenting path."""
    at = {}

    def find(item, seen):
        for place in choices[item]:
            if place not in seen:
                seen.add(place)
                if place not in at or find(at[place], seen):
                    at[place] = item
                    return True
        return False

    return [find(item, set()) for item in range(len(choices))]


@pytest.mark.slow
def test_as_many_are_placed_as_can_be_and_the_first_come_first():
    rng = np.random.default_rng(6)
    waited = 0
    for _ in range(600):
        groups = int(rng.integers(1, 5))
        count = int(rng.integers(0, 3 * groups + 3))
        choices = (rng.integers(0, groups, (count, 3)) + groups * np.arange(3)).tolist()
        at = batch._assign(choices, 3 * groups)
        taken = [place for place in at if place >= 0]
        assert len(set(taken)) == len(taken)
        assert all(place in choices[item] for item, place in enumerate(at) if place >= 0)
        assert [place >= 0 for place in at] == placed_by_search(choices)
        waited += len(at) - len(taken)
    assert waited > 100


def crowd(sharing):
    """Rows that all stand in sub-database 0 of each group, for as far as there are such."""
    rows = np.arange(1 << sharing.row_bits, dtype=np.uint32)
    sub, _ = sharing.place(rows)
    return rows[(sub == 0).all(axis=0)]


def test_what_does_not_fit_waits_and_the_next_batch_takes_it_first():
    sharing = Sharing(8, 14)
    wanted = crowd(sharing)[:12]
    assert wanted.size == 12
    plan = plan_batch(wanted, sharing)
    check(plan, wanted)
    assert plan.query.tolist() == [0, 1, 2]
    plans = plan_batches(wanted, (8, 8, 8, 8), 14)
    assert [plan.query.tolist() for plan in plans] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    for plan in plans:
        check(plan, wanted)


@pytest.mark.slow
def test_several_batches_take_each_query_once():
    rng = np.random.default_rng(8)
    wanted = rng.integers(0, 1 << 20, 2000).astype(np.uint32)
    sizes = batch_sizes(2000, 14)
    assert sizes == (512,) * 4
    plans = plan_batches(wanted, sizes, 20, rng.bytes)
    queries = np.concatenate([plan.query for plan in plans])
    assert np.array_equal(np.sort(queries), np.arange(2000))
    for plan in plans:
        check(plan, wanted)


def test_batch_sizes():
    sizes = {n: batch_sizes(n, 11) for n in (0, 1, 8, 9, 64, 65, 512, 513, 1024, 1025, 5000)}
    assert {n: s[0] for n, s in sizes.items() if len(s) == 1} == {
        0: 8, 1: 8, 8: 8, 9: 64, 64: 64, 65: 512, 512: 512,
    }  # fmt: skip
    assert {n: len(s) for n, s in sizes.items() if len(s) > 1} == {513: 2, 1024: 2, 1025: 4, 5000: 16}
    assert {size for s in sizes.values() for size in s} == set(SIZES)


def test_batches_are_of_sizes_for_which_there_are_rows():
    """Of few rows, more of the smaller ones; what is sent still follows from the count alone."""
    assert batch_sizes(500, 10) == (64,) * 8
    assert batch_sizes(65, 8) == (64, 64)
    assert batch_sizes(20, 7) == (8,) * 4
    assert batch_sizes(0, 6) == (8,)
    for row_bits in range(5, 27):
        for n in (0, 8, 9, 600):
            for size in batch_sizes(n, row_bits):
                Sharing(size, row_bits)
    with pytest.raises(BadInput, match="not looked up"):
        batch_sizes(1, 4)


@pytest.mark.parametrize(
    ("size", "bits"), [(7, 20), (0, 20), (16, 20), (512, 10), (64, 7), (8, 4), (8, 27), (8, -1)]
)
def test_what_cannot_be_shared_is_refused_with_advice(size, bits):
    with pytest.raises(BadInput) as refused:
        Sharing(size, bits)
    assert refused.value.hint


def test_more_than_a_batch_has_places_is_refused():
    with pytest.raises(BadInput, match="13 queries are too many"):
        plan_batch(np.arange(13, dtype=np.uint32), Sharing(8, 14))


# What is asked says nothing of the book

BITS, SIZE, TRIALS = 8, 64, 2500


def book_rows(names, key):
    """Where a book's contacts are under a key: leading bits of a PRF."""
    digests = [hashlib.blake2b(name.encode(), key=key, digest_size=4).digest() for name in names]
    return np.array([int.from_bytes(d) >> (32 - BITS) for d in digests], np.uint32)


def asked_over_keys(names, seed, plan=plan_batch):
    """How often each position of each sub-database is asked for, over many keys: int64[96, positions]."""
    rng = np.random.default_rng(seed)
    sharing = Sharing(SIZE, BITS)
    counts = np.zeros((sharing.sub_databases, 1 << sharing.position_bits), np.int64)
    for _ in range(TRIALS):
        positions = plan(book_rows(names, rng.bytes(16)), sharing, rng.bytes).position.ravel()
        counts[np.arange(sharing.sub_databases), positions] += 1
    return counts


def deviation(one, other):
    """Standard deviations by which two tables of counts differ more than two samples of one distribution."""
    total = one + other
    chi_squared = float(
        (np.divide((one - other) ** 2, total, where=total > 0, out=np.zeros(total.shape))).sum()
    )
    freedom = one.shape[0] * (one.shape[1] - 1)
    return (chi_squared - freedom) / (2 * freedom) ** 0.5


@pytest.mark.slow
def test_two_chosen_books_are_asked_alike():
    many = [f"+4930{i:06}" for i in range(64)]
    few = ["+12125550131"]
    asked = asked_over_keys(many, 1)
    assert abs(deviation(asked, asked_over_keys(few, 2))) < 4
    assert abs(deviation(asked, asked_over_keys([], 3))) < 4
    even = np.full(asked.shape, TRIALS / asked.shape[1])
    chi_squared = float(((asked - even) ** 2 / even).sum())
    freedom = asked.shape[0] * (asked.shape[1] - 1)
    assert abs(chi_squared - freedom) < 4 * (2 * freedom) ** 0.5

    # The statistic sees a planner that takes its dummies from the first half.
    def lazy(wanted, sharing, random):
        return plan_batch(wanted, sharing, lambda size: bytes(b & 0xFB for b in random(size)))

    assert deviation(asked, asked_over_keys(few, 4, lazy)) > 20


@pytest.mark.slow
def test_dummies_are_uniform_also_beside_rows_that_crowd():
    """Under one key, of a book chosen so that most of it waits."""
    sharing = Sharing(8, 9)
    wanted = crowd(sharing)[:12]
    assert wanted.size > 3
    counts = np.zeros((sharing.sub_databases, 1 << sharing.position_bits), np.int64)
    for seed in range(3000):
        plan = plan_batch(wanted, sharing, np.random.default_rng(seed).bytes)
        assert sorted(plan.answer.tolist()) == [0, 4, 8]
        counts[np.arange(sharing.sub_databases), plan.position.ravel()] += 1
    free = np.delete(counts, [0, 4, 8], axis=0)
    expected = 3000 / free.shape[1]
    chi_squared = float(((free - expected) ** 2 / expected).sum())
    freedom = free.shape[0] * (free.shape[1] - 1)
    assert abs(chi_squared - freedom) < 4 * (2 * freedom) ** 0.5


@pytest.mark.slow
def test_something_waits_as_seldom_as_the_document_says():
    rng = np.random.default_rng(9)
    sharing = Sharing(8, 14)
    waits = 0
    for _ in range(8000):
        wanted = rng.choice(1 << 14, 8, replace=False).astype(np.uint32)
        waits += plan_batch(wanted, sharing, rng.bytes).query.size < 8
    assert 4 <= waits <= 40
    for bits in (11, 21):
        sharing = Sharing(512, bits)
        for _ in range(50):
            wanted = np.unique(rng.integers(0, 1 << bits, 700, dtype=np.uint32))[:512]
            assert plan_batch(rng.permutation(wanted), sharing, rng.bytes).query.size == wanted.size
