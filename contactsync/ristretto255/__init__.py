"""ristretto255 (RFC 9496) over batches of elements.

Encodings are uint8[n, 32]. Scalars are uint8[n, 32], little-endian, below the order. n may be any number,
including 0; any memory layout is accepted. `Elements` is opaque. Arrays of another type or shape raise
ValueError: they are a caller's mistake, not a user's. Everything is constant time in the values
(docs/engine.md), except functions named _vartime, and releases the GIL while it computes.

The first call loads the engine (or compiles it, once on a machine) and tests it. Raises OurError if it fails.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.expand import expand_message_xmd
from contactsync.ristretto255 import hashing, scalars
from contactsync.ristretto255.engine import GENERATOR, ORDER, Elements, Rows
from contactsync.ristretto255.start import default_engine

__all__ = [
    "GENERATOR", "IDENTITY", "ORDER", "Elements", "add", "concatenate", "decode", "encode",
    "expand_message_xmd", "from_uniform_bytes", "generators", "hash_to_group", "hash_to_scalar",
    "hash_with_elements", "multiply", "multiply_base", "multiply_encode", "multiscalar_vartime", "scalars",
    "segment_sums_vartime", "split", "warm_up",
]  # fmt: skip

IDENTITY = np.zeros(32, np.uint8)
IDENTITY.flags.writeable = False


def decode(encodings: Rows) -> tuple[Elements, NDArray[np.bool_]]:
    """Decode uint8[n, 32]: the elements, and bool[n], whether each encoding is valid (RFC 9496 §4.3.1).

    For an encoding that is not valid, the element is the identity. The identity's own encoding is valid here.
    """
    return default_engine().decode(encodings)


def encode(elements: Elements) -> Rows:
    """The encodings, uint8[n, 32] (RFC 9496 §4.3.2)."""
    return elements.engine.encode(elements)


def from_uniform_bytes(uniform: Rows) -> Elements:
    """Map uint8[n, 64] to elements by the one-way map (RFC 9496 §4.3.4)."""
    return default_engine().from_uniform_bytes(uniform)


def hash_to_group(messages: Sequence[bytes], dst: bytes) -> Elements:
    """hash_to_ristretto255 of each message with the domain separation tag `dst` (RFC 9380 App. B).

    The time depends on the messages' lengths.
    """
    engine = default_engine()
    return engine.from_uniform_bytes(hashing.expand(engine, messages, dst))


def hash_to_scalar(messages: Rows, dst: bytes) -> Rows:
    """Hash uint8[n, m] to scalars uint8[n, 32]: expand_message_xmd, then wide reduction (RFC 9497 §4.1)."""
    engine = default_engine()
    return engine.scalar_reduce_wide(hashing.expand_rows(engine, messages, dst))


def hash_with_elements(inputs: Sequence[bytes], elements: Rows, suffix: bytes) -> Rows:
    """SHA-512 of I2OSP(len(input), 2) || input || I2OSP(32, 2) || element || suffix, uint8[n, 64].

    elements: uint8[n, 32]. With the suffix "Finalize" this is the last step of RFC 9497 §3.3.1. The time
    depends on the inputs' lengths.
    """
    return hashing.hash_with_elements(default_engine(), inputs, elements, suffix)


def multiply(elements: Elements, factors: Rows) -> Elements:
    """factors[i] * elements[i], or factors * elements[i] when `factors` is one scalar, uint8[32]."""
    return elements.engine.multiply(elements, factors)


def multiply_encode(elements: Elements, factors: Rows) -> Rows:
    """encode(multiply(elements, factors)), uint8[n, 32], but much faster."""
    return elements.engine.multiply_encode(elements, factors)


def multiply_base(factors: Rows) -> Elements:
    """factors[i] * generator; factors are uint8[n, 32]."""
    return default_engine().multiply_base(factors)


def multiscalar_vartime(factors: Rows, elements: Elements) -> Elements:
    """The sum of factors[i] * elements[i], one element. For public data only: the time depends on it."""
    return elements.engine.multiscalar_vartime(factors, elements)


def segment_sums_vartime(factors: Rows, elements: Elements, lengths: Sequence[int]) -> Elements:
    """`multiscalar_vartime` of each of k segments, k elements, side by side.

    `lengths` are the numbers of elements, at least 1, in each segment, in order.
    """
    return elements.engine.segment_sums_vartime(factors, elements, lengths)


def concatenate(parts: Sequence[Elements]) -> Elements:
    """The elements of at least one part, in order, as one batch."""
    return parts[0].engine.concatenate(parts)


def split(elements: Elements, lengths: Sequence[int]) -> list[Elements]:
    """The inverse of `concatenate`."""
    return elements.engine.split(elements, lengths)


def generators(n: int) -> Elements:
    """The canonical generator, n times."""
    return default_engine().generators(n)


def add(a: Elements, b: Elements) -> Elements:
    """a[i] + b[i]."""
    return a.engine.add(a, b)


def warm_up() -> int:
    """Load or compile every kernel of the engine, test it, and return how many lanes it has."""
    return default_engine().lanes
