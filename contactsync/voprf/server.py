"""The server's half of RFC 9497 VOPRF: DeriveKeyPair (§3.2.1), BlindEvaluate and bulk Evaluate (§3.3.2)."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from contactsync.foundation.errors import BadInput, InvalidElement
from contactsync.ristretto255 import (
    Elements,
    concatenate,
    encode,
    hash_to_group,
    hash_to_scalar,
    multiply_base,
    multiply_encode,
    scalars,
    split,
)
from contactsync.voprf.proof import (
    composite_sum,
    composite_sums,
    generate_proof,
    prove,
    prove_with_fixed_nonces_for_test_vectors,
)
from contactsync.voprf.suite import (
    DERIVE_KEY_PAIR_DST,
    HASH_TO_GROUP_DST,
    NH,
    NS,
    SEED_BYTES,
    Rows,
    check_batch,
    check_inputs,
    deserialize_each,
    deserialize_elements,
    finalize_hash,
    row,
)

_CHUNK = 4096
"""How many inputs bulk Evaluate handles at once, so that their points stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """skS and pkS, 32 bytes each. Raises BadInput unless the secret is nonzero and below the order."""

    secret: bytes = field(repr=False)
    public: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != NS or len(self.public) != NS:
            raise BadInput(f"a key pair is two strings of {NS} bytes", refusal="wrong-length")
        if hmac.compare_digest(self.secret, bytes(NS)) or not scalars.is_canonical(row(self.secret))[0]:
            raise BadInput(
                "the secret key is not a nonzero scalar below the group's order", refusal="invalid-scalar"
            )


def epoch_info(audience: str, epoch: int) -> bytes:
    """`info` for the key of an epoch: docs/protocol.md ("Keys")."""
    return f"contactsync/v1/{audience}/{epoch}".encode("ascii")


def derive_key_pair(seed: bytes, info: bytes) -> KeyPair:
    """DeriveKeyPair, RFC 9497 §3.2.1. `seed` has 32 bytes, `info` at most 65535; else BadInput."""
    if len(seed) != SEED_BYTES:
        raise BadInput(
            f"the seed of a key has {SEED_BYTES} bytes, not {len(seed)}",
            hint="take the seed of the epoch as it was drawn",
            refusal="wrong-length",
        )
    if len(info) > 2**16 - 1:
        raise BadInput("the info of a key is longer than 65535 bytes")
    # deriveInput = seed || I2OSP(len(info), 2) || info
    derive_input = seed + len(info).to_bytes(2, "big") + info
    # while skS == 0: if counter > 255: raise DeriveKeyPairError
    for counter in range(256):
        # skS = G.HashToScalar(deriveInput || I2OSP(counter, 1), DST = "DeriveKeyPair" || contextString)
        message = np.frombuffer(derive_input + counter.to_bytes(1, "big"), np.uint8)
        secret = hash_to_scalar(message.reshape(1, -1), DERIVE_KEY_PAIR_DST)
        if secret.any():
            break
    else:  # one in 2^64,000
        raise BadInput("DeriveKeyPair found no key", hint="draw a new seed")
    # pkS = G.ScalarMultGen(skS)
    # return skS, pkS
    return KeyPair(secret.tobytes(), encode(multiply_base(secret)).tobytes())


def evaluate(key: KeyPair, inputs: Sequence[bytes]) -> Rows:
    """Evaluate in bulk: the outputs of `inputs`, uint8[n, 64], without a client (RFC 9497 §3.3.2).

    n may be any number, including 0. Raises BadInput for an input of more than 65535 bytes, or one that
    hashes to the identity (one in 2^252).
    """
    check_inputs(inputs)
    outputs = np.empty((len(inputs), NH), np.uint8)
    for start in range(0, len(inputs), _CHUNK):
        part = slice(start, start + _CHUNK)
        outputs[part] = _evaluate_chunk(key, inputs[part])
    return outputs


def _evaluate_chunk(key: KeyPair, inputs: Sequence[bytes]) -> Rows:
    # inputElement = G.HashToGroup(input)
    # evaluatedElement = skS * inputElement
    # issuedElement = G.SerializeElement(evaluatedElement)
    issued = multiply_encode(hash_to_group(inputs, HASH_TO_GROUP_DST), np.frombuffer(key.secret, np.uint8))
    # if inputElement == G.Identity(): raise InvalidInputError
    # (skS is not 0, so the product is the identity, all zeros, only if the input element is.)
    if not issued.any(axis=1).all():
        raise BadInput("an input hashes to the identity element")
    # return Hash(hashInput)
    return finalize_hash(inputs, issued)


def decode_batch(blinded: Rows, first: int = 0) -> Elements:
    """The elements of a batch, or of a part of one from the index `first` on.

    Raises InvalidElement as blind_evaluate does.
    """
    elements, bad = deserialize_elements(blinded)
    if bad is not None:
        raise _invalid(bad + first)
    return elements


def _invalid(index: int) -> InvalidElement:
    return InvalidElement(
        f"blinded element {index} is the identity or not a canonical encoding",
        index=index,
        hint="nothing was evaluated; send elements made by Blind of RFC 9497",
    )


def multiply_batch(key: KeyPair, elements: Elements) -> Rows:
    """BlindEvaluate without its proof: the evaluated elements, uint8[n, 32]."""
    # evaluatedElement = skS * blindedElement
    return multiply_encode(elements, np.frombuffer(key.secret, np.uint8))


def blind_evaluate(key: KeyPair, blinded: Rows) -> tuple[Rows, bytes]:
    """BlindEvaluate of a batch: the evaluated elements uint8[n, 32] and one 64-byte proof (RFC 9497 §3.3.2).

    `blinded` is uint8[n, 32], 1 ≤ n ≤ MAX_BATCH, else BadInput. Raises InvalidElement, with the index, for
    the first row that is the identity or not a canonical encoding. Then nothing was evaluated.
    """
    blinded = check_batch(blinded, "blinded elements")
    elements = decode_batch(blinded)
    evaluated = multiply_batch(key, elements)
    # proof = GenerateProof(skS, G.Generator(), pkS, blindedElements, evaluatedElements)
    proof = generate_proof(key.secret, key.public, elements, blinded, evaluated)
    # return evaluatedElement, proof
    return evaluated, proof


def blind_evaluate_with_fixed_nonce_for_test_vectors(
    key: KeyPair, blinded: Rows, nonce: bytes
) -> tuple[Rows, bytes]:
    """blind_evaluate with a given nonce for the proof. Two proofs with the same nonce reveal the key."""
    blinded = check_batch(blinded, "blinded elements")
    elements = decode_batch(blinded)
    evaluated = multiply_batch(key, elements)
    M = composite_sum(key.public, elements, blinded, evaluated)
    r = np.frombuffer(nonce, np.uint8)
    (proof,) = prove_with_fixed_nonces_for_test_vectors(key.secret, key.public, M, r.reshape(1, -1))
    return evaluated, proof


def decode_batches(batches: Sequence[Rows]) -> list[Elements | InvalidElement]:
    """`decode_batch` of each batch, side by side: its elements, or what `decode_batch` raises for it."""
    lengths = [len(blinded) for blinded in batches]
    elements, valid = deserialize_each(np.concatenate(batches))
    parts = zip(split(elements, lengths), np.split(valid, np.cumsum(lengths)[:-1]), strict=True)
    return [part if good.all() else _invalid(int(good.argmin())) for part, good in parts]


def blind_evaluate_batches(
    key: KeyPair, batches: Sequence[tuple[Rows, Elements]]
) -> list[tuple[Rows, bytes]]:
    """BlindEvaluate of each batch, decoded, with a proof of its own, side by side.

    Lanes are filled by the points of all of them, so many small batches cost less than one by one.
    """
    if len(batches) == 1:
        ((blinded, elements),) = batches
        D = multiply_batch(key, elements)
        return [(D, generate_proof(key.secret, key.public, elements, blinded, D))]
    lengths = [len(blinded) for blinded, _ in batches]
    elements = concatenate([part for _, part in batches])
    C = np.concatenate([blinded for blinded, _ in batches])
    D = multiply_batch(key, elements)
    M = composite_sums(key.public, elements, C, D, lengths)
    evaluated = np.split(D, np.cumsum(lengths)[:-1])
    pairs = [(rows, own) for (rows, _), own in zip(batches, evaluated, strict=True)]
    proofs = prove(key.secret, key.public, M, pairs)
    return list(zip(evaluated, proofs, strict=True))
