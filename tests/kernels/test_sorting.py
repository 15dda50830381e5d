"""Grouping, sorting and joining kernels against NumPy, with inputs that are not uniform too."""

import itertools

import numpy as np
import pytest

from contactsync.kernels import merging, sorting


def sort(codes: np.ndarray, common: int) -> bool:
    bins = np.empty((2, sorting.MAX_BINS), np.int64)
    return bool(sorting.sort_uniform(codes, common, np.empty_like(codes), bins[0], bins[1]))


@pytest.mark.parametrize("common", [0, 8])
@pytest.mark.parametrize(
    "count", [0, 1, 2, 3, 10, 1000, 4097, 100_000, pytest.param(9_000_000, marks=pytest.mark.slow)]
)
def test_sort_uniform(count: int, common: int) -> None:
    rng = np.random.default_rng(count)
    codes = rng.integers(0, 1 << (64 - common) if common else 2**64, count, dtype=np.uint64)
    codes |= np.uint64(0xA5 << 56 if common else 0)
    codes[: count // 10] = codes[count - count // 10 :]  # duplicates
    expected = np.sort(codes)
    assert sort(codes, common)
    assert (codes == expected).all()


@pytest.mark.parametrize(
    "codes",
    [
        np.zeros(1000, np.uint64),
        np.full(1000, 2**64 - 1, np.uint64),
        np.arange(5000, dtype=np.uint64)[::-1].copy(),
        np.repeat(np.arange(50, dtype=np.uint64) << np.uint64(56), 100),
        np.append(
            np.random.default_rng(1).integers(0, 2**64, 5000, dtype=np.uint64), np.zeros(500, np.uint64)
        ),
    ],
)
def test_codes_that_are_not_uniform(codes: np.ndarray) -> None:
    """Refused, but all still there."""
    expected = np.sort(codes)
    assert not sort(codes, 0)
    assert (np.sort(codes) == expected).all()


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("drop", [0, 7, 8, 20])
def test_group_and_back(drop: int, wide: bool) -> None:
    rng = np.random.default_rng(1)
    head = rng.integers(0, 2**64, 20_000, dtype=np.uint64)
    tail = rng.integers(0, 2**16, head.size, dtype=np.uint16)
    offsets = np.zeros(257, np.int64)
    sorting.count_parts(head, 56, offsets)
    assert offsets[-1] == head.size
    codes = np.empty_like(head)
    sorting.group(head, tail, drop, wide, 56, offsets, codes)
    order = np.argsort(head >> np.uint64(56), kind="stable")
    whole = [h << 16 | t for h, t in zip(head.tolist(), tail.tolist(), strict=True)]
    # 80 bits, of which 32 - drop + 40 or 32 stay; the low 64 of those.
    expected = np.array([(w >> (8 if wide else 16) + drop) % 2**64 for w in whole], np.uint64)
    assert (codes == expected[order]).all()
    back = np.empty(head.size, np.bool_)
    sorting.ungroup(head, 56, offsets, (codes & np.uint64(1)).astype(bool), back)
    assert (back == (expected & np.uint64(1)).astype(bool)).all()


def test_ascending() -> None:
    for values, expected in (
        ([], True),
        ([5], True),
        ([1, 1, 2], True),
        ([1, 0], False),
        ([0, 2**63, 5], False),
    ):
        assert sorting.ascending(np.array(values, np.uint64)) is expected


@pytest.mark.parametrize("spread", [8, 10_000, 2**64])
def test_join(spread: int) -> None:
    """Every size against every size; few distinct values, so that both sides repeat, and many."""
    for m, n in itertools.product([0, 1, 3, 50, 5000], [0, 1, 3, 4, 7, 60, 4000]):
        rng = np.random.default_rng(m * 7919 + n)
        a = np.sort(rng.integers(0, spread, m, dtype=np.uint64))
        b = np.sort(rng.integers(0, spread, n, dtype=np.uint64))
        if m and n:
            a[:: max(1, m // 9)] = b[rng.integers(0, n, len(a[:: max(1, m // 9)]))]
            a.sort()
        found = np.ones(m, np.bool_)
        merging.join(a, b, found)
        assert (found == np.isin(a, b)).all(), (m, n)


def test_join_of_extremes() -> None:
    top = np.uint64(2**64 - 1)
    for a, b in (
        ([0, 0, top], [0, top]),
        ([top] * 9, [top]),
        ([1] * 20, [0] * 20),
        ([5], [1, 2, 3, 4, 5, 6, 7, 8]),
    ):
        x, y = np.array(a, np.uint64), np.array(b, np.uint64)
        found = np.zeros(x.size, np.bool_)
        merging.join(x, y, found)
        assert found.tolist() == [v in b for v in a]
