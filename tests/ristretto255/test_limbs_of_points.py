"""Group operations on points whose coordinates are written in every way that the bounds of limbs allow."""

import random

import numpy as np
import pytest
import reference as ref

from contactsync import ristretto255 as rist
from contactsync.ristretto255.start import default_engine

# The bounds of an element (kernels/field.py): limb for limb 2p, another name of zero.
BOUNDS = [2**52 - 38, *[2**52 - 2] * 4]
HALF = 2**51


def ways_to_write(number: int, rng: random.Random) -> list[int]:
    """Limbs within BOUNDS whose value is `number` modulo p."""
    number %= ref.p
    if number == 0 and rng.randrange(3) == 0:
        return list(BOUNDS)
    limbs = [number >> 51 * i & (HALF - 1) for i in range(5)]
    plus_p = [limb + bound // 2 for limb, bound in zip(limbs, BOUNDS, strict=True)]
    if rng.randrange(2) and plus_p[0] <= BOUNDS[0]:
        limbs = plus_p
    for i in range(4):  # take one from the next limb, and have 2^51 more here
        if limbs[i + 1] and limbs[i] + HALF <= BOUNDS[i] and rng.randrange(4):
            limbs[i + 1] -= 1
            limbs[i] += HALF
    assert all(limb <= bound for limb, bound in zip(limbs, BOUNDS, strict=True))
    assert sum(limb << 51 * i for i, limb in enumerate(limbs)) % ref.p == number
    return limbs


def written(points: list[ref.Element], rng: random.Random) -> rist.Elements:
    rows = [[limb for c in point for limb in ways_to_write(c, rng)] for point in points]
    return default_engine()._from_rows(np.array(rows, np.uint64))


def representatives(rng: random.Random) -> list[ref.Element]:
    """The identity and two other elements, each by all four points of its coset, scaled and not."""
    i = ref.SQRT_M1
    points = []
    for base in (ref.IDENTITY, ref.GENERATOR, ref.multiply(rng.randrange(ref.ORDER), ref.GENERATOR)):
        for torsion in ((0, 1, 1, 0), (0, -1, 1, 0), (i, 0, 1, 0), (-i, 0, 1, 0)):
            x, y, z, t = ref.add(base, torsion)
            points += [(x * c, y * c, z * c, t * c) for c in (1, -1, rng.randrange(1, ref.p))]
    return points


def strings(array: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in array]


def scalar_rows(values: list[int]) -> np.ndarray:
    return np.frombuffer(b"".join(v.to_bytes(32, "little") for v in values), np.uint8).reshape(-1, 32)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_what_limbs_a_coordinate_has_does_not_matter(seed: int) -> None:
    rng = random.Random(seed)
    points = representatives(rng)
    n = len(points)
    left, right = written(points, rng), written(points[::-1], rng)
    assert strings(rist.encode(left)) == [ref.encode(p) for p in points]
    sums = [ref.encode(ref.add(p, q)) for p, q in zip(points, points[::-1], strict=True)]
    assert strings(rist.encode(rist.add(left, right))) == sums
    assert strings(rist.encode(rist.add(left, left))) == [ref.encode(ref.add(p, p)) for p in points]
    factors = [rng.choice([0, 1, 2, 8, 9, ref.ORDER - 1, rng.randrange(ref.ORDER)]) for _ in range(n)]
    multiples = [ref.multiply(k, p) for k, p in zip(factors, points, strict=True)]
    products = [ref.encode(p) for p in multiples]
    rows = scalar_rows(factors)
    assert strings(rist.encode(rist.multiply(left, rows))) == products
    assert strings(rist.multiply_encode(left, rows)) == products
    total = ref.IDENTITY
    for multiple in multiples:
        total = ref.add(total, multiple)
    assert strings(rist.encode(rist.multiscalar_vartime(rows, left))) == [ref.encode(total)]


def test_scalar_arithmetic_takes_any_256_bits() -> None:
    q = ref.ORDER
    edges = [0, 1, q - 1, q, q + 1, 2 * q, 2**252, 2**255 - 19, 2**256 - 1, 2**256 - 2**52, 2**208 - 1]
    edges += [sum((2**52 - 1) << 52 * i for i in limbs) % 2**256 for limbs in ((0,), (1, 3), (0, 2, 4), (4,))]
    a, b = [x for x in edges for _ in edges], [y for _ in edges for y in edges]
    c = b[5:] + b[:5]
    got = default_engine().scalar_multiply_add(scalar_rows(a), scalar_rows(b), scalar_rows(c))
    expected = [(x * y + z) % q for x, y, z in zip(a, b, c, strict=True)]
    assert strings(got) == strings(scalar_rows(expected))


@pytest.mark.parametrize("n", [1, 9, pytest.param(1025, marks=pytest.mark.slow)])
def test_a_zero_in_a_batch_of_inversions_spoils_no_other(n: int) -> None:
    """Zeros first, last, alone in their lane, everywhere: the others come out as if there were none."""
    rng = random.Random(n)
    values = [rng.randrange(1, ref.ORDER) for _ in range(n)]
    rows = scalar_rows(values)
    generators, _ = rist.decode(np.tile(rist.GENERATOR, (n, 1)))
    inverses, products = rist.scalars.invert(rows), rist.multiply_encode(generators, rows)
    assert strings(inverses[:20]) == strings(scalar_rows([pow(v, -1, ref.ORDER) for v in values[:20]]))
    for zeros in ([0], [n - 1], list(range(0, n, 8)), list(range(n)), rng.sample(range(n), n // 2)):
        some, points = rows.copy(), np.tile(rist.GENERATOR, (n, 1))
        some[zeros] = points[zeros] = 0
        here = np.zeros(n, bool)
        here[zeros] = True
        assert (rist.scalars.invert(some) == np.where(here[:, None], 0, inverses)).all()
        # a zero scalar, an identity, and an encoding that is not valid: each gives the identity
        assert (rist.multiply_encode(generators, some) == np.where(here[:, None], 0, products)).all()
        identities, valid = rist.decode(points)
        assert valid.all()
        assert (rist.multiply_encode(identities, rows) == np.where(here[:, None], 0, products)).all()
        points[zeros] = 255
        identities, valid = rist.decode(points)
        assert (valid == ~here).all()
        assert (rist.multiply_encode(identities, rows) == np.where(here[:, None], 0, products)).all()
