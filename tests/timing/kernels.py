"""What is measured: each use of a secret, through the functions that the package itself calls."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Final

import numpy as np

from contactsync.labels import seal, unseal
from contactsync.ristretto255 import decode, hash_to_group, multiply_encode, scalars
from contactsync.voprf import server
from contactsync.voprf.client import blind
from contactsync.voprf.constants import HASH_TO_GROUP_DST
from contactsync.voprf.few.blind import blind_with_fixed_scalars_for_tests
from contactsync.voprf.proof import prove_with_fixed_nonces_for_test_vectors
from contactsync.voprf.server import derive_key_pair

Call = Callable[[], object]
N: Final = 8
_INPUTS: Final = [b"tel:+491760406900%d" % i for i in range(N)]
_BLINDED: Final = blind(_INPUTS).blinded


def _fixed_scalars() -> np.ndarray:
    """Few ones in each: what leaks, leaks most here."""
    rows = np.zeros((N, 32), np.uint8)
    rows[:, 0] = 1 + np.arange(N)
    return rows


_FIXED: Final = _fixed_scalars()


def _scalars(fixed: bool) -> np.ndarray:
    """Both classes are made in the same way, in memory that was just allocated."""
    rows = scalars.random(N)
    if fixed:
        rows[:] = _FIXED
    return rows


def multiplication(fixed: bool) -> Call:
    """Points times secret scalars, and their encodings: how eight or more are blinded and evaluated."""
    elements, _ = decode(_BLINDED)
    rows = _scalars(fixed)
    return lambda: multiply_encode(elements, rows)


def inversion(fixed: bool) -> Call:
    """The inverses of blinds."""
    rows = _scalars(fixed)
    return lambda: scalars.invert(rows)


def _random_numbers() -> list[int]:
    return [secrets.randbelow(10**12) for _ in range(N)]


def hashing(fixed: bool) -> Call:
    """Identifiers to points. They have one length: lengths are public."""
    inputs = [b"tel:+%012d" % (i if fixed else number) for i, number in enumerate(_random_numbers())]
    return lambda: hash_to_group(inputs, HASH_TO_GROUP_DST)


def evaluation(fixed: bool) -> Call:
    """A server's answer to a batch, with its proof, under a secret key."""
    seed = secrets.token_bytes(32)
    key = derive_key_pair(bytes(32) if fixed else seed, b"timing")
    return lambda: server.blind_evaluate(key, _BLINDED)


_KEY: Final = derive_key_pair(bytes(32), b"timing")


def proof_nonce(fixed: bool) -> Call:
    """The nonce of a proof, which gives the key away if it is known."""
    nonce = _scalars(fixed)[:1]
    composites, _ = decode(_BLINDED[:1])
    return lambda: prove_with_fixed_nonces_for_test_vectors(_KEY.secret, _KEY.public, composites, nonce)


def few_points(fixed: bool) -> Call:
    """Eight points blinded by numpy alone."""
    rows = _scalars(fixed)
    return lambda: blind_with_fixed_scalars_for_tests(_INPUTS, rows)


_LABELS: Final = [b"@somebody:example.org"] * 64


def _label_keys(fixed: bool) -> np.ndarray:
    octets = bytes(64 * 32) if fixed else secrets.token_bytes(64 * 32)
    return np.frombuffer(octets, np.uint8).reshape(64, 32)


def sealing(fixed: bool) -> Call:
    """Entries of labels under secret keys: by the kernel, where the CPU has AES instructions."""
    keys = _label_keys(fixed)
    return lambda: seal(keys, _LABELS, 32, bytes(16))


def opening(fixed: bool) -> Call:
    """Labels from their entries. Each opens: who has an entry that does not is told so anyway."""
    keys = _label_keys(fixed)
    entries = seal(keys, _LABELS, 32, bytes(16))
    return lambda: unseal(keys, entries, bytes(16))


MEASURED: Final = {
    one.__name__: one
    for one in (
        multiplication,
        inversion,
        hashing,
        evaluation,
        proof_nonce,
        few_points,
        sealing,
        opening,
    )
}

# --- controls: these leak on purpose, and must be seen ------------------------------------------------


def leaks_in_python(fixed: bool) -> Call:
    """Square and multiply, with a multiplication only for ones."""
    secret = 1 << 252 if fixed else secrets.randbits(253)

    def run() -> int:
        result = 1
        for place in range(252, -1, -1):
            result = result * result % _PRIME
            if secret >> place & 1:
                result = result * 5 % _PRIME
        return result

    return run


def leaks_in_early_exit(fixed: bool) -> Call:
    """A comparison that ends at the first difference, of 64 KiB."""
    known = _BLOCK
    guess = bytearray(known)
    if not fixed:
        guess[secrets.randbelow(256)] ^= 1
    return lambda: guess == known


_PRIME: Final = 2**255 - 19
_BLOCK: Final = hashlib.shake_256(b"timing").digest(1 << 16)
CONTROLS: Final = {one.__name__: one for one in (leaks_in_python, leaks_in_early_exit)}
