"""Both halves of the protocol against the twin and against each other; everything that must be refused."""

import dataclasses
import random

import numpy as np
import pytest
import reference as ref

from contactsync.foundation.errors import BadInput, BadProof, BadReply, InvalidElement
from contactsync.ristretto255 import decode, encode
from contactsync.voprf import client, proof, server, suite

SEED = bytes.fromhex("a3" * 32)
KEY_INFO = b"test key"


def rows(values: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), 32)


def le(value: int) -> bytes:
    return value.to_bytes(32, "little")


@pytest.fixture(scope="module")
def key() -> server.KeyPair:
    return server.derive_key_pair(SEED, KEY_INFO)


@pytest.fixture(scope="module")
def exchange(key):
    inputs = [b"tel:+491512345678", b"", b"x" * 300, b"tel:+14155550123", b"tel:+5511987654321"]
    blinding = client.blind(inputs)
    evaluated, evaluation_proof = server.blind_evaluate(key, blinding.blinded)
    return blinding, evaluated, evaluation_proof


def test_key_of_rfc_a_1_2(key) -> None:
    assert key.secret.hex() == "e6f73f344b79b379f1a0dd37e07ff62e38d9f71345ce62ae3a9bc60b04ccd909"
    assert key.public.hex() == "c803e2cc6b05fc15064549b5920659ca4a77b2cca6f04f6b357009335476ad4e"


def test_client_gets_what_evaluate_and_the_twin_give(key, exchange) -> None:
    blinding, evaluated, evaluation_proof = exchange
    outputs = client.finalize(blinding, evaluated, evaluation_proof, key.public)
    assert (outputs == server.evaluate(key, blinding.inputs)).all()
    secret = int.from_bytes(key.secret, "little")
    assert [o.tobytes() for o in outputs] == [ref.Evaluate(secret, i, 1) for i in blinding.inputs]


def test_every_intermediate_agrees_with_the_twin(key) -> None:
    rng = random.Random(1)
    inputs = [rng.randbytes(14) for _ in range(3)]
    blinds = [rng.randrange(1, ref.ORDER) for _ in inputs]
    nonce = rng.randrange(1, ref.ORDER)
    secret, public = ref.DeriveKeyPair(SEED, KEY_INFO, 1)
    C = [ref.Blind(i, b, 1) for i, b in zip(inputs, blinds, strict=True)]
    D, (c, s) = ref.BlindEvaluate(secret, public, C, nonce)
    blinding = client.blind_with_fixed_scalars_for_test_vectors(inputs, rows([le(b) for b in blinds]))
    assert [r.tobytes() for r in blinding.blinded] == [ref.encode(e) for e in C]
    evaluated, got = server.blind_evaluate_with_fixed_nonce_for_test_vectors(key, blinding.blinded, le(nonce))
    assert [r.tobytes() for r in evaluated] == [ref.encode(e) for e in D]
    assert got == le(c) + le(s)
    fresh = server.blind_evaluate(key, blinding.blinded)[1]
    twin_proof = int.from_bytes(fresh[:32], "little"), int.from_bytes(fresh[32:], "little")
    assert ref.Finalize(inputs, blinds, D, C, public, twin_proof) == [
        o.tobytes() for o in client.finalize(blinding, evaluated, fresh, key.public)
    ]


def test_proofs_and_blinds_are_fresh(key, exchange) -> None:
    blinding, evaluated, evaluation_proof = exchange
    again, other_proof = server.blind_evaluate(key, blinding.blinded)
    assert (again == evaluated).all()
    assert evaluation_proof[:32] != other_proof[:32]
    assert not (client.blind(blinding.inputs).blinded == blinding.blinded).all(axis=1).any()


def test_nothing_secret_is_printed(key, exchange) -> None:
    blinding = exchange[0]
    assert key.secret.hex() not in repr(key)
    assert repr(key.secret)[2:-1] not in repr(key)
    assert "tel:" not in repr(blinding)
    assert "array" not in repr(blinding)


def test_the_nonce_stays_fresh_when_the_generator_is_broken(key, exchange, monkeypatch) -> None:
    # The hedge: with constant "randomness" another batch still gets another nonce. A repeated nonce would
    # give k = (s1 - s2) / (c2 - c1) away.
    blinding, evaluated, _ = exchange
    monkeypatch.setattr(proof.secrets, "token_bytes", bytes)
    nonces = {
        proof._hedged_nonces(key.secret, key.public, [(C, D)]).tobytes()
        for C, D in (
            (blinding.blinded, evaluated),
            (blinding.blinded[:2], evaluated[:2]),
            (blinding.blinded[:4], evaluated[:4]),
            (evaluated, blinding.blinded),
        )
    }
    assert len(nonces) == 4


ORDER_BYTES = le(ref.ORDER)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda e, p: (e, p[:31] + bytes([p[31] ^ 1]) + p[32:]), BadProof),
        (lambda e, p: (e, p[:32] + bytes([p[32] ^ 1]) + p[33:]), BadProof),
        (lambda e, p: (e, p[32:] + p[:32]), BadProof),
        (lambda e, p: (e, bytes(64)), BadProof),
        (lambda e, p: (e[[1, 0, 2, 3, 4]], p), BadProof),
        (lambda e, p: (e[[0, 0, 2, 3, 4]], p), BadProof),
        (lambda e, p: (e, p + b"\0"), BadReply),
        (lambda e, p: (e, p[:-1]), BadReply),
        (lambda e, p: (e, ORDER_BYTES + p[32:]), BadReply),
        (lambda e, p: (e, p[:32] + b"\xff" * 32), BadReply),
        (lambda e, p: (e[:4], p), BadReply),
        (lambda e, p: (np.vstack([e, e[:1]]), p), BadReply),
        (lambda e, p: (np.vstack([np.zeros((1, 32), np.uint8), e[1:]]), p), BadReply),
        (lambda e, p: (np.vstack([e[:4], np.full((1, 32), 255, np.uint8)]), p), BadReply),
    ],
    ids=[
        "challenge-bit", "response-bit", "swapped-scalars", "zero-proof", "two-elements-swapped",
        "element-repeated", "trailing-byte", "short-proof", "challenge-is-the-order", "response-too-large",
        "element-missing", "element-added", "identity", "not-canonical",
    ],
)  # fmt: skip
def test_one_bad_thing_fails_the_whole_reply(key, exchange, monkeypatch, change, error) -> None:
    blinding, evaluated, evaluation_proof = exchange
    monkeypatch.setattr(client.scalars, "invert", lambda _: pytest.fail("unblinded before the proof held"))
    with pytest.raises(error):
        client.finalize(blinding, *change(evaluated, evaluation_proof), key.public)


def test_another_key_is_noticed(exchange) -> None:
    other = server.derive_key_pair(SEED, b"another")
    with pytest.raises(BadProof):
        client.finalize(*exchange, other.public)
    blinding = exchange[0]
    with pytest.raises(BadProof):
        client.finalize(blinding, *server.blind_evaluate(other, blinding.blinded), server_key_public())


def server_key_public() -> bytes:
    return server.derive_key_pair(SEED, KEY_INFO).public


@pytest.mark.parametrize("public", [bytes(32), b"\xff" * 32, le(1), b"", b"\1" * 33])
def test_a_public_key_that_is_none(exchange, public) -> None:
    with pytest.raises(BadReply, match="public key"):
        client.finalize(*exchange, public)


@pytest.mark.parametrize("bad", [bytes(32), le(1), le(ref.p), b"\xff" * 32])
def test_blind_evaluate_names_the_bad_element(key, exchange, bad) -> None:
    blinded = exchange[0].blinded.copy()
    blinded[3] = blinded[4] = np.frombuffer(bad, np.uint8)
    with pytest.raises(InvalidElement) as caught:
        server.blind_evaluate(key, blinded)
    assert caught.value.index == 3
    assert bad.hex() not in str(caught.value)


@pytest.mark.parametrize(
    "batch",
    [
        np.empty((0, 32), np.uint8),
        np.ones((suite.MAX_BATCH + 1, 32), np.uint8),
        np.ones((1, 31), np.uint8),
        np.ones(32, np.uint8),
        np.ones((1, 32), np.int64),
    ],
    ids=["empty", "oversized", "narrow", "flat", "wrong-type"],
)
def test_batches_of_the_wrong_shape(key, batch) -> None:
    with pytest.raises(BadInput):
        server.blind_evaluate(key, batch)


def test_inputs_that_cannot_be(key) -> None:
    with pytest.raises(BadInput, match="empty"):
        client.blind([])
    with pytest.raises(BadInput):
        client.blind([b""] * (suite.MAX_BATCH + 1))
    with pytest.raises(BadInput, match="input 1"):
        client.blind([b"", bytes(65536)])
    with pytest.raises(BadInput, match="input 1"):
        server.evaluate(key, [b"", bytes(65536)])
    assert server.evaluate(key, []).shape == (0, 64)
    secret = int.from_bytes(key.secret, "little")
    for longest in (bytes(255), bytes(256), bytes(65535)):
        assert server.evaluate(key, [longest]).tobytes() == ref.Evaluate(secret, longest, 1)


@pytest.mark.parametrize("bad", [0, ref.ORDER, ref.ORDER + 1, 2**256 - 1])
def test_scalars_out_of_range(bad) -> None:
    with pytest.raises(BadInput):
        client.blind_with_fixed_scalars_for_test_vectors([b"x"], rows([le(bad)]))
    with pytest.raises(BadInput):
        server.KeyPair(le(bad), bytes(32))


def test_key_derivation_refuses_wrong_lengths() -> None:
    for seed, info in ((SEED[:31], b""), (SEED + b"\0", b""), (SEED, bytes(65536))):
        with pytest.raises(BadInput):
            server.derive_key_pair(seed, info)
    with pytest.raises(BadInput):
        server.KeyPair(b"\1" * 31, bytes(32))


def test_key_derivation_goes_on_until_the_key_is_not_zero(monkeypatch) -> None:
    """Once in 2^252 that happens; here the hash gives 0 three times, or always."""
    right, seen = server.hash_to_scalar, []

    def zero_until(times):
        def hash_to_scalar(messages, dst):
            seen.append(messages.tobytes())
            return right(messages, dst) * np.uint8(len(seen) > times)

        return hash_to_scalar

    monkeypatch.setattr(server, "hash_to_scalar", zero_until(3))
    key = server.derive_key_pair(SEED, KEY_INFO)
    derive_input = SEED + ref.I2OSP(len(KEY_INFO), 2) + KEY_INFO
    assert seen == [derive_input + ref.I2OSP(counter, 1) for counter in range(4)]
    secret = ref.HashToScalar(seen[-1], 1, DST=b"DeriveKeyPair" + ref.CreateContextString(1))
    assert key.secret == le(secret)
    assert key.public == ref.encode(ref.multiply(secret, ref.GENERATOR))
    seen.clear()
    monkeypatch.setattr(server, "hash_to_scalar", zero_until(10**6))
    with pytest.raises(BadInput, match="found no key"):
        server.derive_key_pair(SEED, KEY_INFO)
    assert len(seen) == 256


def test_an_input_that_hashes_to_the_identity(key, monkeypatch) -> None:
    """Nobody knows one: here the hash gives it for the second input."""
    for module in (client, server):
        right = module.hash_to_group

        def with_identity(inputs, dst, right=right):
            encodings = encode(right(inputs, dst))
            encodings[1] = 0
            return decode(encodings)[0]

        monkeypatch.setattr(module, "hash_to_group", with_identity)
    with pytest.raises(BadInput, match="identity"):
        client.blind([b"a", b"b", b"c"])
    with pytest.raises(BadInput, match="identity"):
        server.evaluate(key, [b"a", b"b", b"c"])


@pytest.mark.parametrize("n", [1, suite.MAX_BATCH])
def test_weights_of_a_whole_batch(key, n) -> None:
    """I2OSP(i, 2) and the rest of the composite transcripts, in one piece and in parts, up to the last."""
    rng = random.Random(n)
    C, D = (np.frombuffer(rng.randbytes(32 * n), np.uint8).reshape(n, 32) for _ in range(2))
    weights = proof._weights(key.public, C, D, np.arange(len(C)))
    seed_dst = b"Seed-" + ref.CreateContextString(1)
    seed = ref.hashlib.sha512(b"\0\x20" + key.public + ref.I2OSP(len(seed_dst), 2) + seed_dst).digest()
    for i in {0, 1, n // 2, 255, 256, 257, n - 2, n - 1} & set(range(n)):
        Ci, Di = C[i].tobytes(), D[i].tobytes()
        transcript = b"\0\x40" + seed + ref.I2OSP(i, 2) + b"\0\x20" + Ci + b"\0\x20" + Di + b"Composite"
        assert weights[i].tobytes() == le(ref.HashToScalar(transcript, 1))
    at = n // 3
    assert (proof._weights(key.public, C[at:], D[at:], np.arange(at, len(C))) == weights[at:]).all()


def test_a_blinding_is_frozen(exchange) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        exchange[0].inputs = ()


# Batches side by side


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[8] * 17, [1, 8, 3, 64, 512, 8, 1, 2, 9, 8], [5]])
def test_batches_side_by_side_are_those_one_by_one(key, sizes) -> None:
    blindings = [client.blind([b"%d %d" % (i, j) for j in range(n)]) for i, n in enumerate(sizes)]
    batches = [one.blinded for one in blindings]
    decoded = server.decode_batches(batches)
    answers = server.blind_evaluate_batches(key, list(zip(batches, decoded, strict=True)))
    assert len({proof for _, proof in answers}) == len(sizes)
    for blinding, (evaluated, own) in zip(blindings, answers, strict=True):
        assert (evaluated == server.blind_evaluate(key, blinding.blinded)[0]).all()
        outputs = client.finalize(blinding, evaluated, own, key.public)
        assert (outputs == server.evaluate(key, blinding.inputs)).all()


def test_a_proof_of_one_batch_does_not_hold_for_another(key) -> None:
    blindings = [client.blind([b"%d" % i] * 8) for i in range(9)]
    batches = [one.blinded for one in blindings]
    answers = server.blind_evaluate_batches(
        key, list(zip(batches, server.decode_batches(batches), strict=True))
    )
    for i, blinding in enumerate(blindings):
        with pytest.raises(BadProof):
            client.finalize(blinding, answers[i][0], answers[i - 1][1], key.public)


def test_a_bad_element_is_named_in_its_batch_and_the_others_are_decoded() -> None:
    batches = [client.blind([b"x"] * n).blinded.copy() for n in (8, 3, 8, 1)]
    batches[1][2], batches[2][[7, 4]] = 0, 255
    found = server.decode_batches(batches)
    assert [getattr(one, "index", None) for one in found] == [None, 2, 4, None]
    for i in (0, 3):
        assert (encode(found[i]) == batches[i]).all()
