"""Field arithmetic at both widths against Python ints, with limbs at their bounds."""

import random

import numba
import numpy as np
import pytest

from contactsync.kernels import field, five_limbs, policy
from contactsync.kernels.field import P
from contactsync.kernels.lanes import WIDTHS, empty, lane_count, load, store

ELEMENT_BOUND = [2**52 - 38, *[2**52 - 2] * 4]
FACTOR_BOUND = {8: 2**52 - 1, 1: 2**54 - 1}
CARRIED = 2**51 + 2**17
ROUNDS = 400


@numba.njit
def operations(width, x, out):
    """Elements 0, 1 of x (in element bounds) and 2, 3 (factors), and a mask after them, into `out`."""
    n = lane_count(width)
    a, b = five_limbs.load_limbs(width, x, 0), five_limbs.load_limbs(width, x, 1)
    f, g = five_limbs.load_limbs(width, x, 2), five_limbs.load_limbs(width, x, 3)
    mask = load(width, x, 20 * n)
    ab, aa = field.mul_raw(a, b), field.square_raw(a)
    words = field.to_words(a)
    results = (
        field.mul(f, g),
        field.square(f),
        field.mul_inlined(a, b),
        field.square_inlined(a),
        field.add(a, b),
        field.sub(a, b),
        field.neg(a),
        field.canonical(a),
        five_limbs.select(mask, a, b),
        field.negate_if(mask, a),
        field.absolute(a),
        field.carry(field.sub_raw(field.add_raw(field.add_raw(aa, aa), ab), ab)),
        field.mul(field.as_factor(field.sub_raw(field.add_raw(field.add_raw(aa, aa), ab), aa)), b),
        field.from_words(words[0], words[1], words[2], words[3]),
    )
    for k in range(len(results)):
        five_limbs.store_limbs(out, k, results[k])
    k = 5 * n * len(results)
    store(out, k, field.is_zero(a))
    store(out, k + n, field.is_negative(a))
    store(out, k + 2 * n, field.equal(a, b))


@numba.njit
def powers(width, x, out):
    a = five_limbs.load_limbs(width, x, 0)
    five_limbs.store_limbs(out, 0, field.invert(a))
    five_limbs.store_limbs(out, 1, field.power_p58(a))


@pytest.fixture(params=[8, 1])
def lanes(request):
    if request.param == 8 and not policy.has_ifma():
        pytest.skip("this CPU has no AVX-512 IFMA")
    return request.param


def value(limbs) -> int:
    return sum(int(limb) << 51 * i for i, limb in enumerate(limbs))


def some_limbs(rng: random.Random, bounds: list[int]) -> list[int]:
    """Limbs up to and including the bounds, their corners often."""
    corners = [0, 1, 18, 19, 2**51 - 20, 2**51 - 19, 2**51 - 1, 2**51, 2**51 + 1]
    kind = rng.randrange(8)
    if kind == 0:
        return list(bounds)
    if kind == 1:  # p, p ± 1, 2^255 …: what is 0, 1 or 19 under another name
        number = rng.choice([1, P]) + rng.choice([-1, 0, 1, 2, 18, 19, 20])
        return [number >> 51 * i & (2**51 - 1) for i in range(4)] + [number >> 204]
    return [min(rng.choice([*corners, bound - 1, bound, rng.randrange(bound)]), bound) for bound in bounds]


@pytest.mark.slow
def test_against_python_ints(lanes) -> None:
    rng = random.Random(lanes)
    width = WIDTHS[lanes]
    x, out = empty(21 * lanes), empty((14 * 5 + 3) * lanes)
    worst = 0
    for _ in range(ROUNDS // lanes + 50):
        a, b = ([some_limbs(rng, ELEMENT_BOUND) for _ in range(lanes)] for _ in range(2))
        if rng.randrange(8) == 0:
            b = a
        f, g = ([some_limbs(rng, [FACTOR_BOUND[lanes]] * 5) for _ in range(lanes)] for _ in range(2))
        masks = [rng.choice([0, 2**64 - 1]) for _ in range(lanes)]
        x[: 20 * lanes] = np.array([a, b, f, g], np.uint64).transpose(0, 2, 1).reshape(-1)
        x[20 * lanes :] = np.array(masks, np.uint64)
        operations(width, x, out)
        got = out[: 70 * lanes].reshape(14, 5, lanes).transpose(2, 0, 1)
        flags = out[70 * lanes :].reshape(3, lanes)
        for lane in range(lanes):
            A, B, F, G = (value(limbs[lane]) for limbs in (a, b, f, g))
            chosen = masks[lane] != 0
            negative = A % P % 2 == 1
            expected = [
                F * G, F * F, A * B, A * A, A + B, A - B, -A, A, A if chosen else B, -A if chosen else A,
                -A if negative else A, 2 * A * A, (A * A + A * B) * B, A,
            ]  # fmt: skip
            for k, number in enumerate(expected):
                assert value(got[lane, k]) % P == number % P, k
            for exact in (7, 13):
                assert value(got[lane, exact]) == A % P
                assert got[lane, exact].max() < 2**51
            for k in (0, 1, 2, 3, 4, 5, 11, 12):
                worst = max(worst, int(got[lane, k].max()))
            assert (got[lane, 6] <= np.array(ELEMENT_BOUND, np.uint64)).all()
            truths = [A % P == 0, negative, A % P == B % P]
            assert [int(flag) for flag in flags[:, lane]] == [2**64 - 1 if truth else 0 for truth in truths]
    assert worst < CARRIED


@pytest.mark.slow
def test_powers(lanes) -> None:
    rng = random.Random(lanes)
    width = WIDTHS[lanes]
    x, out = empty(5 * lanes), empty(10 * lanes)
    for numbers in ([0] * lanes, [P] * lanes, [rng.randrange(P) for _ in range(lanes)], [P - 1] * lanes):
        limbs = [[n >> 51 * i & (2**51 - 1) for i in range(4)] + [n >> 204] for n in numbers]
        x[:] = np.array(limbs, np.uint64).T.reshape(-1)
        powers(width, x, out)
        got = out.reshape(2, 5, lanes).transpose(2, 0, 1)
        for lane, number in enumerate(numbers):
            assert value(got[lane, 0]) % P == pow(number, P - 2, P)
            assert value(got[lane, 1]) % P == pow(number, (P - 5) // 8, P)


def test_constants_are_reduced() -> None:
    assert field.limbs(P) == (0, 0, 0, 0, 0)
    assert field.limbs(-1) == (2**51 - 20, *[2**51 - 1] * 4)
