"""Independent implementations of the same RFCs: PyPI `voprf` (dalek) of the protocol, libsodium of the group.

`voprf` serialises a batch as the proof and then the elements; our wire has the proof last.
"""

import hashlib
import random
import tempfile

import numpy as np
import pytest
from voprf import ristretto as dalek

from contactsync import ristretto255
from contactsync.foundation.errors import BadProof
from contactsync.ristretto255 import scalars
from contactsync.voprf import client, server, suite

SEED = bytes(range(32))
INFO = b"contactsync/v1/people/1"
INPUTS = [b"tel:+49151%08d" % i for i in range(11)] + [b"x" * 200]


@pytest.fixture(scope="module")
def key() -> server.KeyPair:
    return server.derive_key_pair(SEED, INFO)


@pytest.fixture(scope="module")
def evaluator() -> dalek.Evaluator:
    return dalek.Evaluator.from_seed(SEED, INFO)


@pytest.fixture(scope="module")
def rbcl(tmp_path_factory):
    # It unpacks its library into the temporary folder at import and leaves it there: give it one of ours.
    patch = pytest.MonkeyPatch()
    patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("rbcl")))
    module = pytest.importorskip("rbcl")
    yield module
    patch.undo()


def rows(values: list[bytes], width: int = 32) -> np.ndarray:
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), width)


def some_scalars(n: int, seed: int) -> np.ndarray:
    return scalars.reduce_wide(rows([random.Random(seed).randbytes(64 * n)], 64 * n).reshape(n, 64))


def strings(array: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in array]


def test_same_key_and_same_outputs(key, evaluator) -> None:
    assert evaluator.public_key.serialize() == key.public
    assert strings(server.evaluate(key, INPUTS)) == [evaluator.evaluate_known_input(i) for i in INPUTS]


@pytest.mark.parametrize("count", [1, 2, 8, len(INPUTS)])
def test_dalek_client_accepts_our_server(key, evaluator, count) -> None:
    clients, blinded = zip(*(dalek.Client.blind(i) for i in INPUTS[:count]), strict=True)
    evaluated, proof = server.blind_evaluate(key, rows([b.serialize() for b in blinded]))
    reply = dalek.VerifiableBatchOutput.deserialize(proof + evaluated.tobytes())
    outputs = dalek.Client.finalize_batch(list(clients), reply, evaluator.public_key)
    assert outputs == strings(server.evaluate(key, INPUTS[:count]))


def test_dalek_client_refuses_our_proof_for_another_key(evaluator, capfd) -> None:
    other = server.derive_key_pair(SEED, b"another")
    clients, blinded = zip(*(dalek.Client.blind(i) for i in INPUTS), strict=True)
    evaluated, proof = server.blind_evaluate(other, rows([b.serialize() for b in blinded]))
    reply = dalek.VerifiableBatchOutput.deserialize(proof + evaluated.tobytes())
    # The binding panics, which is a BaseException, and prints a stack trace of its own.
    with pytest.raises(BaseException, match="ProofVerification"):
        dalek.Client.finalize_batch(list(clients), reply, evaluator.public_key)
    capfd.readouterr()


@pytest.mark.parametrize("count", [1, 2, 8, len(INPUTS)])
def test_our_client_accepts_dalek_server(key, evaluator, count) -> None:
    blinding = client.blind(INPUTS[:count])
    batch = [dalek.BlindedInput.deserialize(element) for element in strings(blinding.blinded)]
    reply = bytes(evaluator.evaluate_batch(batch).serialize())
    proof = reply[: suite.PROOF_BYTES]
    evaluated = np.frombuffer(reply[suite.PROOF_BYTES :], np.uint8).reshape(count, 32)
    assert (
        client.finalize(blinding, evaluated, proof, key.public) == server.evaluate(key, INPUTS[:count])
    ).all()
    with pytest.raises(BadProof):
        client.finalize(blinding, evaluated, proof[32:] + proof[:32], key.public)


def test_group_operations_agree_with_libsodium(rbcl) -> None:
    rng = random.Random(1)
    uniform = [rng.randbytes(64) for _ in range(40)]
    elements = ristretto255.from_uniform_bytes(rows(uniform, 64))
    encodings = [rbcl.crypto_core_ristretto255_from_hash(u) for u in uniform]
    assert strings(ristretto255.encode(elements)) == encodings
    factors = some_scalars(40, 5)
    products = [
        rbcl.crypto_scalarmult_ristretto255(k, e) for k, e in zip(strings(factors), encodings, strict=True)
    ]
    assert strings(ristretto255.multiply_encode(elements, factors)) == products
    sums = [rbcl.crypto_core_ristretto255_add(a, b) for a, b in zip(encodings, encodings[::-1], strict=True)]
    back, _ = ristretto255.decode(rows(encodings[::-1]))
    assert strings(ristretto255.encode(ristretto255.add(elements, back))) == sums
    assert strings(ristretto255.encode(ristretto255.multiply_base(factors))) == [
        rbcl.crypto_scalarmult_ristretto255_base(k) for k in strings(factors)
    ]


def test_scalar_arithmetic_agrees_with_libsodium(rbcl) -> None:
    a, b = some_scalars(30, 6), some_scalars(30, 7)
    pairs = list(zip(strings(a), strings(b), strict=True))
    assert strings(scalars.multiply(a, b)) == [
        rbcl.crypto_core_ristretto255_scalar_mul(x, y) for x, y in pairs
    ]
    assert strings(scalars.subtract(a, b)) == [
        rbcl.crypto_core_ristretto255_scalar_sub(x, y) for x, y in pairs
    ]
    assert strings(scalars.invert(a)) == [rbcl.crypto_core_ristretto255_scalar_invert(x) for x in strings(a)]
    wide = [hashlib.sha512(bytes([i])).digest() for i in range(30)]
    assert strings(scalars.reduce_wide(rows(wide, 64))) == [
        rbcl.crypto_core_ristretto255_scalar_reduce(w) for w in wide
    ]


def test_libsodium_accepts_the_same_encodings(rbcl) -> None:
    rng = random.Random(2)
    good = strings(ristretto255.encode(ristretto255.multiply_base(some_scalars(20, 8))))
    # Bit 255 stays clear: rbcl's libsodium 1.0.18 ignores it, where RFC 9496 §4.3.1 refuses the encoding.
    flips = [(0, rng.randrange(8)) for _ in good] + [(rng.randrange(1, 32), rng.randrange(7)) for _ in good]
    flipped = [
        bytes(b ^ (1 << bit if i == at else 0) for i, b in enumerate(e))
        for e, (at, bit) in zip(good * 2, flips, strict=True)
    ]
    noise = [rng.randbytes(31) + bytes([rng.randrange(128)]) for _ in range(100)]
    candidates = good + flipped + noise
    _, valid = ristretto255.decode(rows(candidates))
    assert list(valid) == [rbcl.crypto_core_ristretto255_is_valid_point(c) for c in candidates]
    assert valid[:20].all()
    assert not valid.all()
    top_bit_set = rows(good) | np.array([0] * 31 + [0x80], np.uint8)
    assert not ristretto255.decode(top_bit_set)[1].any()
