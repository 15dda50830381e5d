"""Hashing in lanes: expand_message_xmd (RFC 9380 §5.3.1) with SHA-512, and the final hash of RFC 9497.

A message that fits into the last block, together with what is hashed after it (a telephone number does), is
hashed in a lane. A longer message is hashed by hashlib. Only the length decides.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.expand import expand_message_xmd
from contactsync.kernels import sha512
from contactsync.kernels.lanes import Words, empty
from contactsync.kernels.sha512 import BLOCK_BYTES, DIGEST_BYTES, INITIAL_STATE, PADDING_BYTES
from contactsync.ristretto255.engine import ENCODING_BYTES, Engine, Rows, check_rows, rows_of

_LENGTH_BYTES = 2
_ELEMENT_LENGTH = ENCODING_BYTES.to_bytes(_LENGTH_BYTES, "big")
_NO_ELEMENTS = np.empty(0, np.uint8)


@dataclass(frozen=True, slots=True)
class _Messages:
    """Concatenated messages, as `frame` takes them. Those in `long` are left empty."""

    joined: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    long: NDArray[np.intp]

    @classmethod
    def join(cls, messages: Sequence[bytes], limit: int) -> _Messages:
        lengths = np.fromiter(map(len, messages), np.int64, len(messages))
        long = np.flatnonzero(lengths > limit)
        if long.size:
            messages = [b"" if len(message) > limit else message for message in messages]
            lengths[long] = 0
        offsets = np.zeros(len(messages) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(_writable(b"".join(messages)), offsets, long)


def expand(engine: Engine, messages: Sequence[bytes], dst: bytes) -> Rows:
    """expand_message_xmd of each message to 64 bytes, uint8[n, 64]; `dst` has at most 255 bytes."""
    fixed = len(_message_suffix(dst)) + PADDING_BYTES
    row_bytes = _whole_blocks(fixed)
    joined = _Messages.join(messages, row_bytes - fixed)
    uniform = _expand(engine, joined, dst, row_bytes)

    def digest(index: int) -> bytes:
        return expand_message_xmd(messages[index], dst, DIGEST_BYTES)

    return _with_long(uniform, joined.long, digest)


def expand_rows(engine: Engine, messages: Rows, dst: bytes) -> Rows:
    """expand_message_xmd of each row of uint8[n, m] to 64 bytes, uint8[n, 64]; `dst` at most 255 bytes."""
    n, length = messages.shape
    check_rows(messages, length)
    row_bytes = _whole_blocks(length + len(_message_suffix(dst)) + PADDING_BYTES)
    offsets = np.arange(n + 1, dtype=np.int64) * length
    joined = _Messages(_writable(messages.tobytes()), offsets, np.empty(0, np.intp))
    return _expand(engine, joined, dst, row_bytes)


def hash_with_elements(engine: Engine, inputs: Sequence[bytes], elements: Rows, suffix: bytes) -> Rows:
    """SHA-512 of I2OSP(len(input), 2) || input || I2OSP(32, 2) || element || suffix, uint8[n, 64].

    elements: uint8[n, 32]. With the suffix "Finalize" this is the last step of RFC 9497 §3.3.1 Finalize.
    """
    n = len(inputs)
    check_rows(elements, ENCODING_BYTES)
    if len(elements) != n:
        raise ValueError(f"{len(elements)} elements for {n} inputs")
    fixed = _LENGTH_BYTES + _LENGTH_BYTES + ENCODING_BYTES + len(suffix) + PADDING_BYTES
    row_bytes = _whole_blocks(fixed)
    joined = _Messages.join(inputs, row_bytes - fixed)
    blocks = engine.empty_rows(n, row_bytes)
    rows = rows_of(blocks, n, row_bytes)
    flat = _writable(elements.tobytes())
    sha512.frame(joined.joined, joined.offsets, 1, flat, _writable(suffix), 0, rows.reshape(-1))
    digests = _digest(engine, INITIAL_STATE, blocks, n, row_bytes)

    def digest(index: int) -> bytes:
        length = len(inputs[index]).to_bytes(_LENGTH_BYTES, "big")
        message = length + inputs[index] + _ELEMENT_LENGTH + elements[index].tobytes() + suffix
        return hashlib.sha512(message).digest()

    return _with_long(digests, joined.long, digest)


def _expand(engine: Engine, messages: _Messages, dst: bytes, row_bytes: int) -> Rows:
    n = len(messages.offsets) - 1
    # msg_prime = Z_pad || msg || l_i_b_str || I2OSP(0, 1) || DST_prime; all share the block Z_pad.
    blocks = engine.empty_rows(n, row_bytes)
    rows = rows_of(blocks, n, row_bytes).reshape(-1)
    suffix = _writable(_message_suffix(dst))
    sha512.frame(messages.joined, messages.offsets, 0, _NO_ELEMENTS, suffix, BLOCK_BYTES, rows)
    # b_0 = H(msg_prime)
    b_0 = _digest(engine, _state_after_z_pad(engine), blocks, n, row_bytes)
    # b_1 = H(b_0 || I2OSP(1, 1) || DST_prime): it gives all 64 bytes
    tail = b"\x01" + _dst_prime(dst)
    second_bytes = _whole_blocks(DIGEST_BYTES + len(tail) + PADDING_BYTES)
    bits = 8 * (DIGEST_BYTES + len(tail))
    padding = b"\x80".ljust(second_bytes - DIGEST_BYTES - len(tail) - 8, b"\0") + bits.to_bytes(8, "big")
    second = engine.empty_rows(n, second_bytes)
    rows = rows_of(second, n, second_bytes)
    rows[:, :DIGEST_BYTES] = b_0
    rows[:, DIGEST_BYTES:] = np.frombuffer(tail + padding, np.uint8)
    return _digest(engine, INITIAL_STATE, second, n, second_bytes)


def _whole_blocks(length: int) -> int:
    return -(-length // BLOCK_BYTES) * BLOCK_BYTES


def _digest(engine: Engine, state: Words, blocks: Words, n: int, row_bytes: int) -> Rows:
    digests = engine.empty_rows(n, DIGEST_BYTES)
    schedule = empty(sha512.SCHEDULE_WORDS * engine.lanes)
    sha512.sha512(engine.width, state, blocks, row_bytes // BLOCK_BYTES, digests, schedule)
    return rows_of(digests, n, DIGEST_BYTES)


@functools.cache
def _state_after_z_pad(engine: Engine) -> Words:
    """The hash value after one block of zeros, eight words: a digest without padding."""
    z_pad = np.zeros((1, BLOCK_BYTES), np.uint8)
    digest = _digest(engine, INITIAL_STATE, engine.words(z_pad, BLOCK_BYTES), 1, BLOCK_BYTES)
    return digest.reshape(-1).view(">u8").astype(np.uint64)


def _message_suffix(dst: bytes) -> bytes:
    # l_i_b_str = I2OSP(64, 2); I2OSP(0, 1); DST_prime
    return DIGEST_BYTES.to_bytes(_LENGTH_BYTES, "big") + b"\0" + _dst_prime(dst)


def _dst_prime(dst: bytes) -> bytes:
    # DST_prime = DST || I2OSP(len(DST), 1)
    return dst + len(dst).to_bytes(1, "big")


def _with_long(rows: Rows, long: NDArray[np.intp], digest: Callable[[int], bytes]) -> Rows:
    for index in long:
        rows[index] = np.frombuffer(digest(int(index)), np.uint8)
    return rows


def _writable(data: bytes) -> NDArray[np.uint8]:
    """Bytes as a writable array, the only type that kernels are compiled for (np.frombuffer is read-only)."""
    return np.frombuffer(bytearray(data), np.uint8)
