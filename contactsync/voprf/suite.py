"""VOPRF(ristretto255, SHA-512), mode 0x01: constants, domain separation, checks of batches (RFC 9497 §4.1).

Batches are uint8[n, 32]: row i is SerializeElement or SerializeScalar of item i.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contactsync import ristretto255
from contactsync.foundation.errors import BadInput
from contactsync.foundation.limits import MAX_BATCH as MAX_BATCH  # noqa: PLC0414 - others take it from here

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


def check_batch(rows: Rows, what: str) -> Rows:
    """`rows` as C-contiguous uint8[n, 32], 1 ≤ n ≤ MAX_BATCH. Raises BadInput for anything else."""
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != NE:
        raise BadInput(f"{what}: a batch is rows of {NE} bytes")
    check_batch_size(len(rows), what)
    return np.ascontiguousarray(rows)


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


def deserialize_each(rows: Rows) -> tuple[ristretto255.Elements, NDArray[np.bool_]]:
    """DeserializeElement of each row of uint8[n, 32], and bool[n], which are valid.

    Encodings that RFC 9496 Decode rejects are not valid, nor is the identity (RFC 9497 §4.1).
    """
    elements, valid = ristretto255.decode(rows)
    return elements, valid & rows.any(axis=1)


def deserialize_elements(rows: Rows) -> tuple[ristretto255.Elements, int | None]:
    """`deserialize_each`, with the index of the first that is not valid; None if all are."""
    elements, valid = deserialize_each(rows)
    return elements, None if valid.all() else int(valid.argmin())


def row(data: bytes) -> Rows:
    """32 bytes as uint8[1, 32]."""
    return np.frombuffer(data, np.uint8).reshape(1, 32)


def finalize_hash(inputs: Sequence[bytes], elements: Rows) -> Rows:
    """The final hash of Finalize and Evaluate, uint8[n, 64] (RFC 9497 §3.3.1). Elements are uint8[n, 32]."""
    # hashInput = I2OSP(len(input), 2) || input ||
    #   I2OSP(len(unblindedElement), 2) || unblindedElement || "Finalize"
    # return Hash(hashInput)
    return ristretto255.hash_with_elements(inputs, elements, b"Finalize")
