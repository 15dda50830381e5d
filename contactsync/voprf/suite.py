"""VOPRF(ristretto255, SHA-512), mode 0x01: checks of batches, elements, the final hash (RFC 9497 §4.1).

Batches are uint8[n, 32]: row i is SerializeElement or SerializeScalar of item i.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contactsync import ristretto255
from contactsync.foundation.errors import BadInput
from contactsync.foundation.limits import MAX_BATCH
from contactsync.voprf.constants import (
    CONTEXT_STRING,
    DERIVE_KEY_PAIR_DST,
    HASH_TO_GROUP_DST,
    HASH_TO_SCALAR_DST,
    IDENTIFIER,
    MAX_INPUT,
    MODE,
    NE,
    NH,
    NS,
    PROOF_BYTES,
    SEED_BYTES,
    SEED_DST,
    Rows,
    check_batch_size,
    check_inputs,
    context_string,
)

__all__ = [
    "CONTEXT_STRING", "DERIVE_KEY_PAIR_DST", "HASH_TO_GROUP_DST", "HASH_TO_SCALAR_DST", "IDENTIFIER",
    "MAX_BATCH", "MAX_INPUT", "MODE", "NE", "NH", "NS", "PROOF_BYTES", "SEED_BYTES", "SEED_DST", "Rows",
    "check_batch", "check_batch_size", "check_inputs", "context_string", "deserialize_each",
    "deserialize_elements", "finalize_hash", "row",
]  # fmt: skip


def check_batch(rows: Rows, what: str) -> Rows:
    """`rows` as C-contiguous uint8[n, 32], 1 ≤ n ≤ MAX_BATCH. Raises BadInput for anything else."""
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != NE:
        raise BadInput(f"{what}: a batch is rows of {NE} bytes")
    check_batch_size(len(rows), what)
    return np.ascontiguousarray(rows)


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
