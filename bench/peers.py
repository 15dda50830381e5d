"""A peer of the VOPRF engine, used as an application would: bytes to bytes, one item after the other.

libsodium has the group but no VOPRF, so RFC 9497 is built here on its operations and hashlib.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence

from contactsync.voprf import suite

ORDER = 2**252 + 27742317777372353535851937790883648493


def _load_rbcl() -> object:
    # It unpacks its library into the temporary folder at import and leaves it there: clean up after it.
    keep = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            import rbcl
        finally:
            tempfile.tempdir = keep
    return rbcl


na = _load_rbcl()


def expand(message: bytes, dst: bytes) -> bytes:
    dst_prime = dst + bytes([len(dst)])
    b0 = hashlib.sha512(bytes(128) + message + b"\0\x40\0" + dst_prime).digest()
    return hashlib.sha512(b0 + b"\1" + dst_prime).digest()


def hash_to_group(message: bytes) -> bytes:
    return na.crypto_core_ristretto255_from_hash(expand(message, suite.HASH_TO_GROUP_DST))


def hash_to_scalar(message: bytes) -> bytes:
    return na.crypto_core_ristretto255_scalar_reduce(expand(message, suite.HASH_TO_SCALAR_DST))


def multiply(scalar: bytes, element: bytes) -> bytes:
    return na.crypto_scalarmult_ristretto255(scalar, element)


def finalize_hash(value: bytes, element: bytes) -> bytes:
    return hashlib.sha512(len(value).to_bytes(2, "big") + value + b"\0\x20" + element + b"Finalize").digest()


def evaluate(secret: bytes, inputs: Sequence[bytes]) -> list[bytes]:
    return [finalize_hash(value, multiply(secret, hash_to_group(value))) for value in inputs]


def multiply_all(secret: bytes, elements: Sequence[bytes]) -> list[bytes]:
    return [multiply(secret, element) for element in elements]


def blind(inputs: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    blinds = [na.crypto_core_ristretto255_scalar_random() for _ in inputs]
    return blinds, [multiply(b, hash_to_group(v)) for b, v in zip(blinds, inputs, strict=True)]


def unblind(inputs: Sequence[bytes], blinds: Sequence[bytes], evaluated: Sequence[bytes]) -> list[bytes]:
    return [
        finalize_hash(v, multiply(na.crypto_core_ristretto255_scalar_invert(b), e))
        for v, b, e in zip(inputs, blinds, evaluated, strict=True)
    ]


def _weights(public: bytes, C: Sequence[bytes], D: Sequence[bytes]) -> list[bytes]:
    seed = hashlib.sha512(
        b"\0\x20" + public + len(suite.SEED_DST).to_bytes(2, "big") + suite.SEED_DST
    ).digest()
    return [
        hash_to_scalar(b"\0\x40" + seed + i.to_bytes(2, "big") + b"\0\x20" + c + b"\0\x20" + d + b"Composite")
        for i, (c, d) in enumerate(zip(C, D, strict=True))
    ]


def _sum(weights: Sequence[bytes], elements: Sequence[bytes]) -> bytes:
    total = multiply(weights[0], elements[0])
    for weight, element in zip(weights[1:], elements[1:], strict=True):
        total = na.crypto_core_ristretto255_add(total, multiply(weight, element))
    return total


def _challenge(*elements: bytes) -> bytes:
    return hash_to_scalar(b"".join(b"\0\x20" + element for element in elements) + b"Challenge")


def prove(secret: bytes, public: bytes, C: Sequence[bytes], D: Sequence[bytes]) -> bytes:
    M = _sum(_weights(public, C, D), C)
    r = na.crypto_core_ristretto255_scalar_random()
    c = _challenge(public, M, multiply(secret, M), na.crypto_scalarmult_ristretto255_base(r), multiply(r, M))
    return c + na.crypto_core_ristretto255_scalar_sub(r, na.crypto_core_ristretto255_scalar_mul(c, secret))


def verify(public: bytes, C: Sequence[bytes], D: Sequence[bytes], proof: bytes) -> bool:
    weights = _weights(public, C, D)
    M, Z = _sum(weights, C), _sum(weights, D)
    c, s = proof[:32], proof[32:]
    add = na.crypto_core_ristretto255_add
    t2 = add(na.crypto_scalarmult_ristretto255_base(s), multiply(c, public))
    t3 = add(multiply(s, M), multiply(c, Z))
    return _challenge(public, M, Z, t2, t3) == c
