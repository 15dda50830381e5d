"""The proof that a whole batch was evaluated with one key: discrete logarithm equivalence (RFC 9497 §2.2).

Points have the names of the RFC: A is the generator, B the public key, C are the blinded elements, D the
evaluated ones. Weights, composites and challenge are public, so sums over them take variable time. The two
secrets, the key k and the nonce r, are used only in `multiply_encode` and scalar arithmetic, which are
constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

import numpy as np

from contactsync.ristretto255 import (
    GENERATOR,
    Elements,
    decode,
    encode,
    hash_to_scalar,
    multiply_encode,
    multiscalar_vartime,
    scalars,
)
from contactsync.voprf.suite import HASH_TO_SCALAR_DST, NE, NS, PROOF_BYTES, SEED_DST, Rows, row

_ONE_ELEMENT = NE.to_bytes(2, "big")


def _weights(public_key: bytes, C: Rows, D: Rows, first: int = 0) -> Rows:
    """The scalars d_i of the composites, for i from `first`, uint8[m, 32] (RFC 9497 §2.2.1)."""
    m = len(C)
    # seedTranscript = I2OSP(len(Bm), 2) || Bm || I2OSP(len(seedDST), 2) || seedDST
    seed_transcript = _ONE_ELEMENT + public_key + len(SEED_DST).to_bytes(2, "big") + SEED_DST
    # seed = Hash(seedTranscript)
    seed = hashlib.sha512(seed_transcript).digest()
    # compositeTranscript = I2OSP(len(seed), 2) || seed || I2OSP(i, 2) ||
    #   I2OSP(len(Ci), 2) || Ci || I2OSP(len(Di), 2) || Di || "Composite"
    head = len(seed).to_bytes(2, "big") + seed
    tail = b"Composite"
    at = len(head)
    transcripts = np.empty((m, at + 2 + 2 + NE + 2 + NE + len(tail)), np.uint8)
    transcripts[:, :at] = np.frombuffer(head, np.uint8)
    transcripts[:, at : at + 2] = np.arange(first, first + m, dtype=">u2").view(np.uint8).reshape(m, 2)
    for rows in (C, D):
        at += 2
        transcripts[:, at : at + 2] = np.frombuffer(_ONE_ELEMENT, np.uint8)
        transcripts[:, at + 2 : at + 2 + NE] = rows
        at += NE
    transcripts[:, at + 2 :] = np.frombuffer(tail, np.uint8)
    # di = G.HashToScalar(compositeTranscript)
    return hash_to_scalar(transcripts, HASH_TO_SCALAR_DST)


def composite_sum(public_key: bytes, elements_C: Elements, C: Rows, D: Rows, first: int = 0) -> Elements:
    """M of ComputeCompositesFast, one element (RFC 9497 §2.2.1).

    `C`, `D` uint8[m, 32] are the encodings, `elements_C` the decoded C. They may be a part of a batch that
    begins at index `first`: M is the sum over the parts.
    """
    # M = G.Identity(); for i in range(m): M = di * C[i] + M
    return multiscalar_vartime(_weights(public_key, C, D, first), elements_C)


def compute_composites(
    public_key: bytes, elements_C: Elements, elements_D: Elements, C: Rows, D: Rows
) -> Rows:
    """ComputeComposites: the encodings of M and Z, uint8[2, 32] (RFC 9497 §2.2.2)."""
    weights = _weights(public_key, C, D)
    # for i in range(m): M = di * C[i] + M
    M = encode(multiscalar_vartime(weights, elements_C))
    # for i in range(m): Z = di * D[i] + Z
    Z = encode(multiscalar_vartime(weights, elements_D))
    # return (M, Z)
    return np.concatenate([M, Z])


def _challenge(*elements: bytes) -> Rows:
    """The challenge over the encodings of B, M, Z, t2, t3: a scalar, uint8[1, 32]."""
    # challengeTranscript = I2OSP(len(Bm), 2) || Bm || I2OSP(len(a0), 2) || a0 || I2OSP(len(a1), 2) || a1 ||
    #   I2OSP(len(a2), 2) || a2 || I2OSP(len(a3), 2) || a3 || "Challenge"
    transcript = b"".join(_ONE_ELEMENT + element for element in elements) + b"Challenge"
    # c = G.HashToScalar(challengeTranscript)
    return hash_to_scalar(np.frombuffer(transcript, np.uint8).reshape(1, -1), HASH_TO_SCALAR_DST)


def _hedged_nonce(secret_key: bytes, public_key: bytes, C: Rows, D: Rows) -> Rows:
    """A fresh nonzero nonce, uint8[32].

    Fresh randomness is mixed with the key and the whole batch. A nonce that is used in two challenges reveals
    the key, so even a broken random generator must not repeat one across batches.
    """
    while True:
        mix = hashlib.sha512(b"contactsync/v1/proof-nonce")
        mix.update(secrets.token_bytes(64) + secret_key + public_key)
        mix.update(len(C).to_bytes(4, "big") + C.tobytes() + D.tobytes())
        nonce: Rows = scalars.reduce_wide(np.frombuffer(mix.digest(), np.uint8).reshape(1, 64))[0]
        if nonce.any():
            return nonce


def generate_proof(secret_key: bytes, public_key: bytes, elements_C: Elements, C: Rows, D: Rows) -> bytes:
    """GenerateProof with a fresh hedged nonce: 64 bytes, c then s (RFC 9497 §2.2.1).

    `C`, `D` uint8[m, 32] are the encodings of the blinded and evaluated elements, `elements_C` the decoded C.
    """
    return prove(secret_key, public_key, composite_sum(public_key, elements_C, C, D), C, D)


def prove(secret_key: bytes, public_key: bytes, composite_M: Elements, C: Rows, D: Rows) -> bytes:
    """GenerateProof, given the composite M of the whole batch. C and D are used only for the nonce."""
    nonce = _hedged_nonce(secret_key, public_key, C, D)
    return prove_with_fixed_nonce_for_test_vectors(secret_key, public_key, composite_M, nonce)


def prove_with_fixed_nonce_for_test_vectors(
    secret_key: bytes, public_key: bytes, composite_M: Elements, nonce: Rows
) -> bytes:
    """GenerateProof with the given nonce r, uint8[32]. Two proofs with the same nonce reveal the key."""
    # Z = k * M;  r = G.RandomScalar();  t2 = r * A;  t3 = r * M: all multiplications by secrets, as one batch
    M = encode(composite_M)
    bases, _ = decode(np.concatenate([M, GENERATOR.reshape(1, NE), M]))
    factors = np.stack([np.frombuffer(secret_key, np.uint8), nonce, nonce])
    Z, t2, t3 = multiply_encode(bases, factors)
    # c = G.HashToScalar(challengeTranscript)
    c = _challenge(public_key, M.tobytes(), Z.tobytes(), t2.tobytes(), t3.tobytes())
    # s = r - c * k
    s = scalars.subtract(nonce.reshape(1, NS), scalars.multiply(c, row(secret_key)))
    # return [c, s]
    return c.tobytes() + s.tobytes()


def proof_is_well_formed(proof: bytes) -> bool:
    """Whether `proof` is two canonical scalars and nothing more (RFC 9497 §4.1 DeserializeScalar)."""
    if len(proof) != PROOF_BYTES:
        return False
    return bool(scalars.is_canonical(np.frombuffer(proof, np.uint8).reshape(2, NS)).all())


def verify_proof(
    public_key: bytes, elements_C: Elements, elements_D: Elements, C: Rows, D: Rows, proof: bytes
) -> bool:
    """VerifyProof of a well-formed proof (RFC 9497 §2.2.2); `public_key` is a valid encoding."""
    # (M, Z) = ComputeComposites(B, C, D)
    MZ = compute_composites(public_key, elements_C, elements_D, C, D)
    # c = proof[0];  s = proof[1]
    c, s = np.frombuffer(proof, np.uint8).reshape(2, NS)
    factors = np.stack([s, c])
    # t2 = ((s * A) + (c * B))
    AB, _ = decode(np.concatenate([GENERATOR.reshape(1, NE), row(public_key)]))
    t2 = encode(multiscalar_vartime(factors, AB))
    # t3 = ((s * M) + (c * Z))
    elements_MZ, _ = decode(MZ)
    t3 = encode(multiscalar_vartime(factors, elements_MZ))
    # expectedC = G.HashToScalar(challengeTranscript)
    expected = _challenge(public_key, MZ[0].tobytes(), MZ[1].tobytes(), t2.tobytes(), t3.tobytes())
    # return expectedC == c
    return hmac.compare_digest(expected.tobytes(), c.tobytes())
