"""Tokens to a directory file: sort, drop duplicates, encode, hash, and only then take the final name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import xxhash

from contactsync.directory import buckets
from contactsync.directory.format import (
    BUCKET_HASH_BYTES,
    PAGE_ENTRIES,
    DirectoryInfo,
    Layout,
    Values,
    bucket_hash,
    slot_bits_for,
    truncate,
)
from contactsync.tokens import Tokens

ENCODED_AT_ONCE = 64  # buckets

Progress = Callable[[str, int, int], None]
"""Called with a phase, how many tokens are done in it, and how many there are (0 if unknown)."""


def build(
    path: str | os.PathLike[str],
    chunks: Iterable[Tokens],
    *,
    remainder_bits: int = 32,
    memory: int = 512 << 20,
    progress: Progress | None = None,
) -> DirectoryInfo:
    """Build a directory of all tokens of all chunks; the file has its name only once it is whole and synced.

    The same set of tokens gives the same bytes, whatever the chunks, their order, duplicates and `memory`.
    """
    del memory, progress
    tokens = _sorted_distinct(Tokens.concatenate(list(chunks)), remainder_bits)
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    slot_bits = slot_bits_for(len(tokens))
    try:
        with unfinished.open("w+b") as file:
            info = _write(
                file, _distinct(truncate(tokens, slot_bits, remainder_bits)), slot_bits, remainder_bits
            )
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return info


def _sorted_distinct(tokens: Tokens, remainder_bits: int) -> Tokens:
    """Sorted by their first 32 + remainder_bits bits, each once."""
    if remainder_bits == 32:
        head = np.sort(tokens.head)
        head = head[np.append(True, head[1:] != head[:-1])] if head.size else head
        return Tokens(head, np.zeros(head.size, np.uint16))
    next8 = tokens.tail & np.uint16(0xFF00)
    order = np.lexsort((next8, tokens.head))
    head, next8 = tokens.head[order], next8[order]
    if head.size:
        new = np.append(True, (head[1:] != head[:-1]) | (next8[1:] != next8[:-1]))
        head, next8 = head[new], next8[new]
    return Tokens(head, next8)


def _distinct(values: Values) -> Values:
    """Sorted values, each once: tokens that differ later only become one value."""
    key, extra = values.key, values.extra
    if key.size:
        new = np.append(True, (key[1:] != key[:-1]) | (extra[1:] != extra[:-1]))
        if not new.all():
            return Values(key[new], extra[new])
    return values


def _write(file: BinaryIO, values: Values, slot_bits: int, remainder_bits: int) -> DirectoryInfo:
    """Write all sections and hash the file."""
    layout = Layout(len(values), slot_bits, remainder_bits, 0)
    sizes, fast, hashes = [], [], []
    file.seek(layout.data_offset)
    for first in range(0, layout.buckets, ENCODED_AT_ONCE):
        many = min(ENCODED_AT_ONCE, layout.buckets - first)
        ends = np.array([first, first + many], np.float64) * 2.0**44
        a = int(np.searchsorted(values.key, np.uint64(first << 44)))
        b = (
            len(values)
            if ends[1] >= 2.0**64
            else int(np.searchsorted(values.key, np.uint64((first + many) << 44)))
        )
        for bucket in buckets.encode(Values(values.key[a:b], values.extra[a:b]), first, many, remainder_bits):
            octets = bucket.tobytes()
            file.write(octets)
            sizes.append(len(octets))
            fast.append(xxhash.xxh3_64_intdigest(octets))
            hashes.append(bucket_hash(octets))
    offsets = layout.data_offset + np.concatenate([[0], np.cumsum(sizes)])
    layout = Layout(len(values), slot_bits, remainder_bits, int(offsets[-1]))
    top, index = layout.pack(), b""
    for number in range(layout.pages):
        page = np.zeros(1, layout.page_dtype)
        these = slice(number * PAGE_ENTRIES, number * PAGE_ENTRIES + layout.entries)
        page["offset"] = offsets[these.start : these.stop + 1]
        page["xxh3"] = fast[these]
        page["sha256"] = np.frombuffer(b"".join(hashes[these]), np.uint8).reshape(-1, BUCKET_HASH_BYTES)
        index += page.tobytes()
        top += hashlib.sha256(page.tobytes()).digest()
    file.seek(0)
    file.write(top + index)
    file.flush()
    file.seek(0)
    sha256, xxh3 = hashlib.sha256(), xxhash.xxh3_64()
    while block := file.read(1 << 20):
        sha256.update(block)
        xxh3.update(block)
    return DirectoryInfo(
        layout.count, slot_bits, remainder_bits, layout.length,
        sha256.hexdigest(), xxh3.hexdigest(), hashlib.sha256(top).hexdigest(),
    )  # fmt: skip
