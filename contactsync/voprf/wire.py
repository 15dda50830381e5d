"""Request (n·32 bytes) and reply (n·32 bytes, then the 64-byte proof) of one batch: docs/protocol.md."""

from __future__ import annotations

import numpy as np

from contactsync.foundation.errors import BadInput, BadReply
from contactsync.voprf.constants import NE, PROOF_BYTES, Rows, check_batch_size


def parse_request(body: bytes) -> Rows:
    """The blinded elements of a request, uint8[n, 32], not decoded.

    Raises BadInput unless the body is 1 to MAX_BATCH times 32 bytes.
    """
    if len(body) % NE:
        raise BadInput(
            f"the request has {len(body)} bytes, which is not a multiple of {NE}", refusal="bad-batch"
        )
    check_batch_size(len(body) // NE, "request")
    return np.frombuffer(body, np.uint8).reshape(-1, NE)


def make_reply(evaluated: Rows, proof: bytes) -> bytes:
    """The evaluated elements, then the proof."""
    return evaluated.tobytes() + proof


def parse_reply(reply: bytes, n: int) -> tuple[Rows, bytes]:
    """The evaluated elements, uint8[n, 32], and the proof in a reply to n elements; not decoded.

    Raises BadReply unless the reply has n times 32 bytes and 64 more.
    """
    if len(reply) != n * NE + PROOF_BYTES:
        raise BadReply(
            f"the reply has {len(reply)} bytes; {n} elements and a proof are {n * NE + PROOF_BYTES}",
            refusal="wrong-length",
        )
    return np.frombuffer(reply[: n * NE], np.uint8).reshape(n, NE), reply[n * NE :]
