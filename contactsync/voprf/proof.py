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
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contactsync.ristretto255 import (
    GENERATOR,
    Elements,
    concatenate,
    decode,
    encode,
    generators,
    hash_to_scalar,
    multiply_encode,
    multiscalar_vartime,
    scalars,
    segment_sums_vartime,
)
from contactsync.voprf.suite import HASH_TO_SCALAR_DST, NE, NS, PROOF_BYTES, SEED_DST, Rows, row

_ONE_ELEMENT = NE.to_bytes(2, "big")


def _weights(public_key: bytes, C: Rows, D: Rows, places: NDArray[np.integer]) -> Rows:
    """The scalars d_i of the composites, uint8[m, 32] (RFC 9497 §2.2.1). `places` int[m] are the i."""
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
    transcripts[:, at : at + 2] = places.astype(">u2").view(np.uint8).reshape(m, 2)
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
    places = np.arange(first, first + len(C))
    return multiscalar_vartime(_weights(public_key, C, D, places), elements_C)


def compute_composites(
    public_key: bytes, elements_C: Elements, elements_D: Elements, C: Rows, D: Rows
) -> Rows:
    """ComputeComposites: the encodings of M and Z, uint8[2, 32] (RFC 9497 §2.2.2)."""
    weights = _weights(public_key, C, D, np.arange(len(C)))
    # for i in range(m): M = di * C[i] + M
    M = encode(multiscalar_vartime(weights, elements_C))
    # for i in range(m): Z = di * D[i] + Z
    Z = encode(multiscalar_vartime(weights, elements_D))
    # return (M, Z)
    return np.concatenate([M, Z])


def composite_sums(
    public_key: bytes, elements_C: Elements, C: Rows, D: Rows, lengths: Sequence[int]
) -> Elements:
    """M of each of k batches, which stand one behind the other: k elements."""
    places = np.concatenate([np.arange(m) for m in lengths])
    return segment_sums_vartime(_weights(public_key, C, D, places), elements_C, lengths)


def _challenges(public_key: bytes, *elements: Rows) -> Rows:
    """The challenges over B and the encodings of M, Z, t2, t3, uint8[k, 32] each: k scalars, uint8[k, 32]."""
    # challengeTranscript = I2OSP(len(Bm), 2) || Bm || I2OSP(len(a0), 2) || a0 || I2OSP(len(a1), 2) || a1 ||
    #   I2OSP(len(a2), 2) || a2 || I2OSP(len(a3), 2) || a3 || "Challenge"
    k = len(elements[0])
    columns = [np.broadcast_to(row(public_key), (k, NE)), *elements]
    length, tail = (
        np.broadcast_to(np.frombuffer(text, np.uint8), (k, len(text)))
        for text in (_ONE_ELEMENT, b"Challenge")
    )
    parts = [part for column in columns for part in (length, column)]
    transcripts = np.concatenate([*parts, tail], axis=1)
    # c = G.HashToScalar(challengeTranscript)
    return hash_to_scalar(transcripts, HASH_TO_SCALAR_DST)


def _hedged_nonces(secret_key: bytes, public_key: bytes, batches: Sequence[tuple[Rows, Rows]]) -> Rows:
    """A fresh nonzero nonce for each batch C, D: uint8[k, 32].

    Fresh randomness is mixed with the key and the whole batch. A nonce that is used in two challenges reveals
    the key, so even a broken random generator must not repeat one across batches.
    """
    while True:
        wide = bytearray()
        for C, D in batches:
            mix = hashlib.sha512(b"contactsync/v1/proof-nonce")
            mix.update(secrets.token_bytes(64) + secret_key + public_key)
            mix.update(len(C).to_bytes(4, "big") + C.tobytes() + D.tobytes())
            wide += mix.digest()
        nonces: Rows = scalars.reduce_wide(np.frombuffer(wide, np.uint8).reshape(-1, 64))
        if nonces.any(axis=1).all():
            return nonces


def generate_proof(secret_key: bytes, public_key: bytes, elements_C: Elements, C: Rows, D: Rows) -> bytes:
    """GenerateProof with a fresh hedged nonce: 64 bytes, c then s (RFC 9497 §2.2.1).

    `C`, `D` uint8[m, 32] are the encodings of the blinded and evaluated elements, `elements_C` the decoded C.
    """
    M = composite_sum(public_key, elements_C, C, D)
    (proof,) = prove(secret_key, public_key, M, [(C, D)])
    return proof


def prove(
    secret_key: bytes, public_key: bytes, composites_M: Elements, batches: Sequence[tuple[Rows, Rows]]
) -> list[bytes]:
    """GenerateProof for each of k batches, given their composites M. C and D are used only for the nonces."""
    nonces = _hedged_nonces(secret_key, public_key, batches)
    return prove_with_fixed_nonces_for_test_vectors(secret_key, public_key, composites_M, nonces)


def prove_with_fixed_nonces_for_test_vectors(
    secret_key: bytes, public_key: bytes, composites_M: Elements, nonces: Rows
) -> list[bytes]:
    """GenerateProof with the given nonces r, uint8[k, 32]. Two proofs with one nonce reveal the key."""
    # Z = k * M;  r = G.RandomScalar();  t2 = r * A;  t3 = r * M: all multiplications by secrets, as one batch
    k = len(nonces)
    bases = concatenate([composites_M, generators(k), composites_M])
    keys = np.repeat(row(secret_key), k, axis=0)
    Z, t2, t3 = np.split(multiply_encode(bases, np.concatenate([keys, nonces, nonces])), 3)
    # c = G.HashToScalar(challengeTranscript)
    c = _challenges(public_key, encode(composites_M), Z, t2, t3)
    # s = r - c * k
    s = scalars.subtract(nonces, scalars.multiply(c, np.frombuffer(secret_key, np.uint8)))
    # return [c, s]
    return [proof.tobytes() for proof in np.concatenate([c, s], axis=1)]


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
    expected = _challenges(public_key, MZ[:1], MZ[1:], t2, t3)
    # return expectedC == c
    return hmac.compare_digest(expected.tobytes(), c.tobytes())
