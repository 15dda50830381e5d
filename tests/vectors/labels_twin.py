"""Entries, sidecars and their deltas in plain Python, from the documents alone."""

import hashlib
import struct
from collections.abc import Sequence

from format_twin import Json, file_info, values_of
from siv_twin import openssl, seal_by


def context(audience: str, epoch: int) -> bytes:
    content = b"contactsync label 1\0" + audience.encode() + b"\0" + struct.pack("<I", epoch)
    return hashlib.sha256(content).digest()[:16]


def seal(output: bytes, label: bytes, size: int, data: bytes) -> bytes:
    """The entry of who has this output."""
    return seal_by(openssl, output[10:42], [data], label.ljust(size, b"\0"))


def ordered(members: dict[bytes, bytes], q: int, r: int) -> tuple[list[int], list[bytes]]:
    """Values in order, and the entry of each: that of the least token. `members`: output to entry."""
    entries: dict[int, bytes] = {}
    for output in sorted(members):
        (value,) = values_of([output[:10]], q, r)
        entries.setdefault(value, members[output])
    return sorted(entries), [entries[value] for value in sorted(entries)]


def sidecar(values: Sequence[int], entries: Sequence[bytes], size: int, q: int, r: int) -> bytes:
    buckets = 1 << (q - 12)
    k, pages = min(buckets, 256), -(-buckets // 256)
    numbers = [value >> (r + 12) for value in values]
    first = [sum(n < number for n in numbers) for number in range(buckets + 1)]
    index, top_table = b"", b""
    for page in range(pages):
        a = page * k
        hashes = [
            hashlib.sha256(b"".join(entries[first[b] : first[b + 1]])).digest() for b in range(a, a + k)
        ]
        part = struct.pack(f"<{k + 1}I", *first[a : a + k + 1]) + b"".join(hashes)
        index += part
        top_table += hashlib.sha256(part).digest()
    at = 64 + len(top_table)
    start = at + len(index)
    header = struct.pack(
        "<8sHBBIQQQQQQ", b"CSLBL\r\n\x1a", 1, q, size, 0, len(entries), buckets, pages, at, start,
        start + len(entries) * (16 + size),
    )  # fmt: skip
    return header + top_table + index + b"".join(entries)


def info(data: bytes) -> Json:
    """What a manifest says of a sidecar."""
    (at,) = struct.unpack_from("<Q", data, 40)
    figures = {"count": int.from_bytes(data[16:24], "little"), "size": data[11], "slot_bits": data[10]}
    return figures | file_info(data) | {"top_sha256": hashlib.sha256(data[:at]).hexdigest()}


def signed(content: bytes) -> bytes:
    return content + hashlib.sha256(content).digest()


def delta(
    old: bytes,
    new: bytes,
    editions: tuple[int, int],
    *,
    dropped: Sequence[int],
    placed: Sequence[int],
    entries: Sequence[bytes],
) -> bytes:
    """From one sidecar file to another."""
    counts = [int.from_bytes(one[16:24], "little") for one in (old, new)]
    length = 168 + 4 * (len(dropped) + len(placed)) + sum(map(len, entries))
    header = struct.pack(
        "<8sHBBI7Q", b"CSLBD\r\n\x1a", 1, new[10], new[11], 0, *editions, *counts, len(dropped), len(placed),
        length,
    )  # fmt: skip
    names = hashlib.sha256(old).digest() + hashlib.sha256(new).digest()
    places = struct.pack(f"<{len(dropped) + len(placed)}I", *dropped, *placed)
    return signed(header + names + places + b"".join(entries))


def changes(old: Sequence[bytes], new: Sequence[bytes]) -> tuple[list[int], list[int]]:
    """The places dropped, and those placed: an entry occurs once."""
    return (
        [i for i, entry in enumerate(old) if entry not in set(new)],
        [i for i, entry in enumerate(new) if entry not in set(old)],
    )
