"""The arithmetic for a few points without the engine: against the twin, at its bounds, and as a whole."""

import secrets

import numpy as np
import pytest
import reference as twin

from contactsync.foundation.errors import BadInput, OurError
from contactsync.voprf import client, server
from contactsync.voprf.few import blind, field, group, proof_holds_vartime
from contactsync.voprf.few.blind import blind_with_fixed_scalars_for_tests

EDGES = [0, 1, 2, 18, 19, 20, 2**17 - 1, 2**17, 2**254, 2**255 - 20, 2**255 - 21, twin.SQRT_M1]
VALUES = EDGES + [secrets.randbelow(twin.p) for _ in range(20)]


def integers(a):
    return [int.from_bytes(row.tobytes(), "little") for row in field.to_bytes(a)]


def rows(values):
    return np.frombuffer(b"".join(value.to_bytes(32, "little") for value in values), np.uint8).reshape(-1, 32)


def test_the_field_is_that_of_the_twin():
    a, b = field.limbs(*VALUES), field.limbs(*VALUES[::-1])
    pairs = list(zip(VALUES, VALUES[::-1], strict=True))
    assert integers(a) == VALUES
    assert integers(-a) == [-x % twin.p for x in VALUES]
    assert integers(field.mul(a - b, a + b)) == [(x - y) * (x + y) % twin.p for x, y in pairs]
    assert integers(field.power_p58(a)) == [pow(x, (twin.p - 5) // 8, twin.p) for x in VALUES]
    assert field.is_negative(a - b).tolist() == [twin.IS_NEGATIVE(x - y) for x, y in pairs]
    assert field.is_zero(a - b).tolist() == [x == y for x, y in pairs]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_products_of_the_largest_loose_limbs_are_exact(sign):
    """float64 is exact to 2^53; 15 products of two limbs of 2^20, 19 times, are below it."""
    a = np.full((2, field.LIMBS), sign * 2.0**20)
    value = sum(int(sign) * 2**20 << field.BITS * i for i in range(field.LIMBS))
    product = field.mul(a, np.abs(a))
    assert integers(product) == [value * abs(value) % twin.p] * 2
    assert np.abs(product).max() < 2**18
    again = field.mul(product, product)
    assert integers(again) == [pow(value * abs(value), 2, twin.p)] * 2


@pytest.mark.parametrize("value", [twin.p, twin.p + 1, 2**255 - 1, 2**255, 2 * twin.p, -1, -twin.p])
def test_every_value_has_one_canonical_form(value):
    a = np.zeros((1, field.LIMBS))
    sign, rest = (1, value) if value >= 0 else (-1, -value)
    for i in range(field.LIMBS):
        a[0, i] = sign * (rest & (2**17 - 1) if i < field.LIMBS - 1 else rest)
        rest >>= 17
    assert integers(a) == [value % twin.p]


@pytest.mark.slow
def test_points_are_those_of_the_twin():
    uniform = [secrets.token_bytes(64) for _ in range(5)] + [bytes(64), b"\xff" * 64]
    factors = [1, 2, 15, 16, twin.ORDER - 1, 1 << 252, 1 + secrets.randbelow(twin.ORDER - 1)]
    points, expected = group.from_uniform_bytes(b"".join(uniform)), [twin.one_way_map(one) for one in uniform]
    assert [row.tobytes() for row in group.encode(points)] == [twin.encode(one) for one in expected]
    products = group.encode(group.multiply(points, rows(factors)))
    assert [row.tobytes() for row in products] == [
        twin.encode(twin.multiply(factor, one)) for factor, one in zip(factors, expected, strict=True)
    ]
    nothing = group.encode(group.multiply(points[:, :1], rows([0])))
    assert not nothing.any(), "the identity"


@pytest.mark.slow
def test_it_blinds_as_the_engine_does():
    inputs = [b"tel:+4915112345%03d" % i for i in range(7)] + [b""]
    drawn = rows([1 + secrets.randbelow(twin.ORDER - 1) for _ in inputs])
    ours = blind_with_fixed_scalars_for_tests(inputs, drawn)
    theirs = client.blind_with_fixed_scalars_for_test_vectors(inputs, drawn)
    assert (ours.blinded == theirs.blinded).all()
    assert (ours.inputs, ours.blinds.tolist()) == (theirs.inputs, theirs.blinds.tolist())
    first, second = blind(inputs), blind(inputs)
    assert not (first.blinded == second.blinded).all(axis=1).any(), "blinds are drawn anew"
    with pytest.raises(BadInput):
        blind([])


def test_what_it_blinded_is_confirmed_before_it_is_used():
    blinding = blind([b"tel:+491511234567"])
    client.confirm(blinding)
    blinding.blinded[0, 0] ^= 2
    with pytest.raises(OurError, match="computed"):
        client.confirm(blinding)


@pytest.fixture(scope="module")
def answered():
    key = server.derive_key_pair(bytes(32), b"few")
    blinding = blind([b"tel:+4915112345%03d" % i for i in range(8)])
    evaluated, proof = server.blind_evaluate(key, blinding.blinded)
    return blinding, evaluated, proof, key.public


def test_a_true_proof_holds(answered):
    blinding, evaluated, proof, public = answered
    assert proof_holds_vartime(blinding.blinded, evaluated, proof, public)
    assert len(client.finalize(blinding, evaluated, proof, public)) == 8


@pytest.mark.parametrize("bit", [0, 255, 256, 300, 511])
def test_a_false_proof_does_not(answered, bit):
    blinding, evaluated, proof, public = answered
    wrong = bytearray(proof)
    wrong[bit // 8] ^= 1 << bit % 8
    assert not proof_holds_vartime(blinding.blinded, evaluated, bytes(wrong), public)


def test_nothing_else_passes(answered):
    blinding, evaluated, proof, public = answered
    other = server.derive_key_pair(bytes(32), b"another")
    swapped, identity, unreadable = (evaluated.copy() for _ in range(3))
    swapped[[0, 1]] = swapped[[1, 0]]
    identity[3] = 0
    unreadable[3, 31] = 255
    for replies in (swapped, identity, unreadable, evaluated[:7], blinding.blinded):
        assert not proof_holds_vartime(blinding.blinded, replies, proof, public)
    assert not proof_holds_vartime(blinding.blinded, evaluated, proof, other.public)
    assert not proof_holds_vartime(blinding.blinded, evaluated, proof, bytes(32))
    assert not proof_holds_vartime(blinding.blinded, evaluated, proof[:63], public)
    large = (int.from_bytes(proof[:32], "little") + twin.ORDER).to_bytes(32, "little") + proof[32:]
    assert not proof_holds_vartime(blinding.blinded, evaluated, large, public)
