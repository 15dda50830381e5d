"""A publisher who signs nonsense: a changed directory file with every hash above it made right again."""

import hashlib
from collections.abc import Callable

import numpy as np
import xxhash

from contactsync.directory.format import DataFile, DirectoryInfo, Layout


def sealed(octets: bytearray, *, index: bool = True) -> tuple[bytes, DirectoryInfo]:
    """The file with its hashes recomputed (`index=False`: not those of buckets), and its manifest entry."""
    fields = ((16, 24), (10, 11), (11, 12), (56, 64))
    layout = Layout(*(int.from_bytes(octets[a:b], "little") for a, b in fields))
    for page in range(layout.pages):
        at = layout.index_offset + page * layout.page_bytes
        record = np.frombuffer(memoryview(octets)[at : at + layout.page_bytes], layout.page_dtype)
        if index:
            for i in range(layout.page_buckets):
                start, end = record["offset"][0, i : i + 2].tolist()
                bucket = bytes(octets[start:end])
                record["xxh3"][0, i] = xxhash.xxh3_64_intdigest(bucket)
                record["sha256"][0, i] = list(hashlib.sha256(bucket).digest())
        octets[64 + 32 * page : 96 + 32 * page] = hashlib.sha256(record.tobytes()).digest()
        del record
    content = bytes(octets)
    return content, DirectoryInfo(
        layout.count,
        layout.slot_bits,
        layout.remainder_bits,
        hashlib.sha256(content[: layout.index_offset]).hexdigest(),
        DataFile(hashlib.sha256(content).hexdigest(), layout.length, xxhash.xxh3_64_hexdigest(content)),
    )


def fetcher(content: bytes) -> Callable[[list[range]], list[bytes]]:
    return lambda places: [content[place.start : place.stop] for place in places]
