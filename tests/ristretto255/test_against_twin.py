"""The engine against the twin (tests/reference.py), through the public interface only."""

import random

import numpy as np
import pytest
import reference as ref

from contactsync import ristretto255 as rist
from contactsync.ristretto255 import scalars


def rows(values: list[bytes], width: int) -> np.ndarray:
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), width)


def scalar_rows(values: list[int]) -> np.ndarray:
    return rows([value.to_bytes(32, "little") for value in values], 32)


def strings(array: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in array]


NASTY_SCALARS = [
    1,
    2,
    7,
    8,
    9,
    15,
    16,
    2**251,
    2**252 - 1,
    ref.ORDER - 1,
    ref.ORDER - 2,
    (ref.ORDER + 1) // 2,
]


def some_scalars(n: int, seed: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(ref.ORDER) for _ in range(n)]


@pytest.mark.slow
@pytest.mark.parametrize("n", [0, 1, 7, 9])
def test_group_operations(n: int) -> None:
    rng = random.Random(n)
    uniform = [rng.randbytes(64) for _ in range(n)]
    twin = [ref.one_way_map(u) for u in uniform]
    elements = rist.from_uniform_bytes(rows(uniform, 64))
    assert len(elements) == n
    encodings = [ref.encode(e) for e in twin]
    assert strings(rist.encode(elements)) == encodings
    decoded, valid = rist.decode(rows(encodings, 32))
    assert valid.all()
    assert strings(rist.encode(decoded)) == encodings
    assert strings(rist.encode(rist.add(elements, decoded))) == [ref.encode(ref.add(e, e)) for e in twin]
    factors = some_scalars(n, n)
    products = [ref.encode(ref.multiply(k, e)) for k, e in zip(factors, twin, strict=True)]
    assert strings(rist.multiply_encode(elements, scalar_rows(factors))) == products
    assert strings(rist.encode(rist.multiply(elements, scalar_rows(factors)))) == products
    shared = scalar_rows([ref.ORDER - 5])[0]
    assert strings(rist.multiply_encode(elements, shared)) == [
        ref.encode(ref.multiply(ref.ORDER - 5, e)) for e in twin
    ]
    total = ref.IDENTITY
    for k, e in zip(factors, twin, strict=True):
        total = ref.add(total, ref.multiply(k, e))
    assert strings(rist.encode(rist.multiscalar_vartime(scalar_rows(factors), elements))) == [
        ref.encode(total)
    ]


def test_nasty_scalars_times_generator_and_identity() -> None:
    factors = [0, *NASTY_SCALARS]
    products = [ref.encode(ref.multiply(k, ref.GENERATOR)) for k in factors]
    assert strings(rist.encode(rist.multiply_base(scalar_rows(factors)))) == products
    generators, _ = rist.decode(np.tile(rist.GENERATOR, (len(factors), 1)))
    assert strings(rist.multiply_encode(generators, scalar_rows(factors))) == products
    identities, valid = rist.decode(np.zeros((len(factors), 32), np.uint8))
    assert valid.all()
    assert not rist.multiply_encode(identities, scalar_rows(factors)).any()


def test_decode_accepts_what_the_twin_accepts() -> None:
    rng = random.Random(3)
    candidates = [rng.randbytes(31) + bytes([rng.randrange(128)]) for _ in range(64)]
    candidates += [(ref.p + k).to_bytes(32, "little") for k in range(-5, 19)]
    candidates += [k.to_bytes(32, "little") for k in (0, 1, 2, 2**255, 2**256 - 1, 2**256 - 38)]
    good = ref.encode(ref.multiply(12345, ref.GENERATOR))
    candidates += [bytes(b ^ (1 << bit if i == at else 0) for i, b in enumerate(good))
                   for at, bit in ((0, 0), (0, 1), (13, 4), (31, 6), (31, 7))]  # fmt: skip
    elements, valid = rist.decode(rows(candidates, 32))
    encoded = strings(rist.encode(elements))
    for candidate, ok, back in zip(candidates, valid, encoded, strict=True):
        try:
            ref.decode(candidate)
            expected = True
        except ref.DecodeError:
            expected = False
        assert ok == expected
        assert back == (candidate if expected else bytes(32))


def test_hashes() -> None:
    messages = [b"", b"tel:+491512345678", b"x" * 89, b"y" * 90, b"z" * 300]
    dst = b"HashToGroup-" + ref.CreateContextString(1)
    assert strings(rist.encode(rist.hash_to_group(messages, dst))) == [
        ref.encode(ref.HashToGroup(m, 1)) for m in messages
    ]
    dst = b"HashToScalar-" + ref.CreateContextString(1)
    for width in (0, 17, 145, 200):
        batch = [random.Random(width + i).randbytes(width) for i in range(3)]
        got = rist.hash_to_scalar(rows(batch, width), dst)
        assert strings(got) == [ref.HashToScalar(m, 1).to_bytes(32, "little") for m in batch]


def test_scalars() -> None:
    a = NASTY_SCALARS + some_scalars(20, 1)
    b = some_scalars(len(a), 2)
    A, B = scalar_rows(a), scalar_rows(b)
    q = ref.ORDER
    assert strings(scalars.multiply(A, B)) == strings(
        scalar_rows([x * y % q for x, y in zip(a, b, strict=True)])
    )
    assert strings(scalars.subtract(A, B)) == strings(
        scalar_rows([(x - y) % q for x, y in zip(a, b, strict=True)])
    )
    assert strings(scalars.invert(A)) == strings(scalar_rows([pow(x, -1, q) for x in a]))
    assert not scalars.invert(np.zeros((1, 32), np.uint8)).any()
    wide = [0, q - 1, q, q + 1, 2**512 - 1, (2**512 // q) * q, (2**512 // q) * q - 1]
    got = scalars.reduce_wide(rows([w.to_bytes(64, "little") for w in wide], 64))
    assert strings(got) == strings(scalar_rows([w % q for w in wide]))
    edge = [0, 1, q - 1, q, q + 1, 2**252, 2**255, 2**256 - 1]
    assert list(scalars.is_canonical(scalar_rows(edge))) == [value < q for value in edge]
    drawn = scalars.random(50)
    assert scalars.is_canonical(drawn).all()
    assert len(set(strings(drawn))) == 50


def test_readonly_and_non_contiguous_arrays() -> None:
    wide = np.zeros((6, 64), np.uint8)
    encodings = rows([ref.encode(ref.multiply(k, ref.GENERATOR)) for k in range(1, 4)], 32)  # read-only
    wide[::2, 5:37] = encodings
    elements, valid = rist.decode(wide[::2, 5:37])
    assert valid.all()
    assert strings(rist.encode(elements)) == strings(encodings)
