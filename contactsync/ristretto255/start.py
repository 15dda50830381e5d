"""Starts the engine: chooses the lane width for this machine, and runs a known-answer test before any use.

A wrong group operation would not crash. It would publish tokens that match no one, or leak a key. So an
engine that does not give the known answers is never returned.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np

from contactsync.foundation.errors import OurError
from contactsync.kernels import policy
from contactsync.ristretto255 import hashing
from contactsync.ristretto255.engine import Engine

DST = b"contactsync/v1/self-test"
MESSAGES = [b"known answer %d" % i for i in range(9)]
KNOWN_ANSWER = "14ec883ea1ddfdf45b7cbd06af2ae738ff219038ec3a4be9791dfe42bef8c751"
"""SHA-256 of the result of `answers`. tests/ristretto255/test_start.py computes it with the slow twin."""


@functools.cache
def default_engine() -> Engine:
    """The engine of this process, with as many lanes as the CPU supports, or as CONTACTSYNC_LANES says.

    Raises OurError if it fails its self-test, BadInput if the CPU does not support CONTACTSYNC_LANES.
    """
    engine = Engine(policy.lanes())
    self_test(engine)
    return engine


def self_test(engine: Engine) -> None:
    """Raise OurError unless every operation gives the known answers. Takes a few milliseconds."""
    if hashlib.sha256(answers(engine)).hexdigest() != KNOWN_ANSWER:
        raise OurError(
            f"the group engine computes wrong results with {engine.lanes} lanes on this machine",
            hint=f"nothing was computed with it; set {policy.LANES}=1, and report the name of the CPU",
        )


def answers(engine: Engine) -> bytes:
    """The results of every operation for fixed input, concatenated."""
    rows = np.frombuffer(b"".join(MESSAGES), np.uint8).reshape(len(MESSAGES), -1)
    elements = engine.from_uniform_bytes(hashing.expand(engine, MESSAGES, DST))
    scalars = engine.scalar_reduce_wide(hashing.expand_rows(engine, rows, DST + b"/scalar"))
    products = engine.multiply_encode(elements, scalars)
    tampered = products.copy()
    tampered[-1, 0] ^= 1
    decoded, valid = engine.decode(tampered)
    return b"".join(
        result.tobytes()
        for result in (
            engine.encode(elements),
            scalars,
            products,
            valid,
            engine.encode(engine.multiply(decoded, scalars[0])),
            engine.encode(engine.multiply_base(scalars[:2])),
            engine.encode(engine.add(elements, decoded)),
            engine.encode(engine.multiscalar_vartime(scalars, elements)),
            engine.scalar_invert(scalars),
            engine.scalar_subtract(scalars, scalars[::-1]),
            hashing.hash_with_elements(engine, MESSAGES, products, b"Finalize"),
        )
    )
