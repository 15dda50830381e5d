"""The SIMD vocabulary at both widths against Python ints."""

import random

import numba
import numpy as np
import pytest

from contactsync.kernels import lanes as simd
from contactsync.kernels import policy
from contactsync.kernels.lanes import (
    WIDTHS,
    barrier,
    bswap,
    empty,
    gather,
    lane_count,
    load,
    madhi,
    madlo,
    mulwide,
    narrow,
    rotr,
    row_width,
    scatter,
    splat,
    spread,
    store,
    width_of,
    zero_mask,
)

M64, M52 = 2**64 - 1, 2**52 - 1


@numba.njit
def operations(width, x, out):
    n = lane_count(width)
    a, b, c = load(width, x, 0), load(width, x, n), load(width, x, 2 * n)
    results = (
        a + b, a - b, a * b, a & b, a | b, a ^ b, a >> 13, a << 13, a + 18446744073709551615, 5 - a, a - 1,
        a ^ -1, 0 - (a & 1), a & 9223372036854775808, madlo(c, a, b), madhi(c, a, b), rotr(a, 41), bswap(a),
        zero_mask(a & b), barrier(a), splat(width_of(a), 18446744073709551557), gather(width, x, 1, 2),
    )  # fmt: skip
    for k in range(len(results)):
        store(out, k * n, results[k])
    scatter(out, len(results) * n + 1, 3, a)
    return len(results)


@numba.njit
def wide_operations(width, x, out):
    a, b = load(width, x, 0), load(width, x, 1)
    product = mulwide(a, b)
    results = narrow(product), narrow(product >> 64), narrow((product + product) >> 51), narrow(product * 3)
    for k in range(4):
        store(out, k, results[k])


@numba.njit
def row_operations(width, x, out):
    row = row_width(width)
    mask = spread(zero_mask(load(width, x, 0)))
    store(out, 0, mask & load(row, x, 0))
    return lane_count(row)


@pytest.fixture(params=[8, 1])
def width(request):
    if request.param == 8 and not policy.has_ifma():
        pytest.skip("this CPU has no AVX-512 IFMA")
    return WIDTHS[request.param]


@pytest.mark.slow
def test_operations(width) -> None:
    n, rng = width.lanes, random.Random(1)
    for _ in range(40):
        corners = [0, 1, M52, M52 + 1, 2**63, M64, rng.getrandbits(64), rng.getrandbits(52)]
        values = [rng.choice(corners) for _ in range(3 * n)]
        x = empty(8 * n + 8)
        x[:] = 0
        x[: 3 * n] = np.array(values, np.uint64)
        out = empty(60 * n)
        out[:] = 77
        count = operations(width, x, out)
        for lane in range(n):
            a, b, c = (values[k * n + lane] for k in range(3))
            product = (a & M52) * (b & M52)
            expected = [
                a + b, a - b, a * b, a & b, a | b, a ^ b, a >> 13, a << 13, a - 1, 5 - a, a - 1, ~a, -(a & 1),
                a & 2**63, c + (product & M52), c + (product >> 52), (a >> 41) | (a << 23),
                int.from_bytes(a.to_bytes(8, "little"), "big"), 0 if a & b else M64, a, 18446744073709551557,
                int(x[1 + 2 * lane]),
            ]  # fmt: skip
            assert [int(out[k * n + lane]) for k in range(count)] == [value & M64 for value in expected]
            assert int(out[count * n + 1 + 3 * lane]) == a
        assert int(out[count * n]) == 77


@pytest.mark.slow
def test_wide_operations() -> None:
    rng = random.Random(2)
    for _ in range(20):
        a, b = rng.getrandbits(60), rng.getrandbits(60)
        x, out = empty(2), empty(4)
        x[:] = a, b
        wide_operations(WIDTHS[1], x, out)
        expected = a * b, a * b >> 64, 2 * a * b >> 51, 3 * a * b
        assert [int(word) for word in out] == [number & M64 for number in expected]


def test_rows(width) -> None:
    x, out = empty(8), empty(8)
    for first in (0, 5):
        x[:] = np.arange(first, first + 8)
        n = row_operations(width, x, out)
        if width.lanes == 1:
            assert n == 4
            assert list(out[:4]) == ([0, 0, 0, 0] if first else list(x[:4]))
        else:
            assert n == 8
            assert list(out) == [0] * 8


def test_storage_begins_at_a_cache_line() -> None:
    for count in (1, 7, 1000):
        assert empty(count).ctypes.data % simd.LINE_BYTES == 0
        assert empty(count).flags.writeable
