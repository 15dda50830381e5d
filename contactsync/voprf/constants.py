"""VOPRF(ristretto255, SHA-512), mode 0x01: constants, domain separation, sizes (RFC 9497 §4.1). No engine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.errors import BadInput
from contactsync.foundation.limits import MAX_BATCH

MODE = 0x01
IDENTIFIER = b"ristretto255-SHA512"

NE = 32  # bytes of a serialised element
NS = 32  # bytes of a serialised scalar
NH = 64  # bytes of an output
PROOF_BYTES = 2 * NS
SEED_BYTES = 32

MAX_INPUT = 2**16 - 1  # RFC 9497 §1.2: inputs are shorter than 2^16 bytes

Rows = NDArray[np.uint8]


def context_string(mode: int) -> bytes:
    """CreateContextString, RFC 9497 §3.1."""
    # return "OPRFV1-" || I2OSP(mode, 1) || "-" || identifier
    return b"OPRFV1-" + mode.to_bytes(1, "big") + b"-" + IDENTIFIER


CONTEXT_STRING = context_string(MODE)
HASH_TO_GROUP_DST = b"HashToGroup-" + CONTEXT_STRING
HASH_TO_SCALAR_DST = b"HashToScalar-" + CONTEXT_STRING
DERIVE_KEY_PAIR_DST = b"DeriveKeyPair" + CONTEXT_STRING
SEED_DST = b"Seed-" + CONTEXT_STRING


def check_inputs(inputs: Sequence[bytes]) -> None:
    """Raise BadInput for an input that RFC 9497 does not allow."""
    for index, value in enumerate(inputs):
        if len(value) > MAX_INPUT:
            raise BadInput(f"input {index} is longer than {MAX_INPUT} bytes")


def check_batch_size(n: int, what: str) -> None:
    """Raise BadInput unless 1 ≤ n ≤ MAX_BATCH."""
    if n == 0:
        raise BadInput(
            f"{what}: the batch is empty",
            hint=f"send 1 to {MAX_BATCH} elements",
            refusal="bad-batch",
        )
    if n > MAX_BATCH:
        raise BadInput(
            f"{what}: the batch has {n} elements",
            hint=f"split the batch: send 1 to {MAX_BATCH} elements at a time",
            refusal="batch-too-large",
        )
