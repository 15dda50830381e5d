"""SHA-256 over lanes against hashlib, at every width, two messages a lane."""

import hashlib

import numpy as np
import pytest

from contactsync.kernels import sha256
from contactsync.kernels.lanes import WIDTHS, empty
from contactsync.kernels.policy import kernel


@kernel
def run(width, block, digest):
    sha256.one_block(width, block, digest)


def padded(message):
    block = message + b"\x80" + bytes(55 - len(message)) + (8 * len(message)).to_bytes(8, "big")
    return np.frombuffer(block, ">u4").astype(np.uint64)


@pytest.mark.parametrize("lanes", [1, 8])
def test_every_length_of_one_block(lanes):
    rng = np.random.default_rng(lanes)
    messages = [rng.bytes(size) for size in range(56)] + [b"\xff" * 55] * 8
    for first in range(0, 64, 2 * lanes):
        group = messages[first : first + 2 * lanes]
        words = np.stack([padded(message) for message in group])
        block, digest = empty(16 * lanes), empty(8 * lanes)
        block[:] = (words[:lanes] | words[lanes:] << np.uint64(32)).T.reshape(-1)
        run(WIDTHS[lanes], block, digest)
        halves = digest.reshape(8, lanes)
        found = np.concatenate([halves & np.uint64(2**32 - 1), halves >> np.uint64(32)], axis=1).T
        assert [row.astype(">u4").tobytes() for row in found] == [hashlib.sha256(m).digest() for m in group]
