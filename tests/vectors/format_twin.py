"""Directories, deltas and screens in plain Python, written from docs/directory-format.md alone.

The slow twin of contactsync/directory: nothing of the package is imported. Values are integers of q + r bits.
"""

import functools
import hashlib
import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import xxhash

Json = dict[str, Any]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_info(data: bytes) -> Json:
    """What a manifest says of any data file."""
    return {"length": len(data), "sha256": sha256(data), "xxh3_64": xxhash.xxh3_64_hexdigest(data)}


def numbered(text: str, count: int) -> list[bytes]:
    """The tokens that a vector file names by a text and a count."""
    return [hashlib.sha512(f"{text}{i}".encode()).digest()[:10] for i in range(count)]


def slot_bits_for(count: int) -> int:
    q = 12
    while count * count > 1 << (2 * q + 1):
        q += 1
    return q


def values_of(tokens: Iterable[bytes], q: int, r: int) -> list[int]:
    return sorted({int.from_bytes(token, "big") >> (80 - q - r) for token in tokens})


def texts(values: Iterable[int], q: int, r: int) -> list[str]:
    return [f"{value:0{-(-(q + r) // 4)}x}" for value in values]


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def _bitmap(ones: Iterable[int], bits: int) -> bytes:
    number = sum(1 << place for place in ones)
    return number.to_bytes(-(-bits // 64) * 8, "little")


# --- the directory ---


def bucket(values: Sequence[int], number: int, r: int) -> bytes:
    """Bucket `number` of its values."""
    slots = [(value >> r) - 4096 * number for value in values]
    remainders = [value & ((1 << r) - 1) for value in values]
    n = len(values)
    ranks = [n, *(sum(slot < 256 * i for slot in slots) for i in range(1, 16))]
    parts = struct.pack("<16H", *ranks) + _bitmap((j + slot for j, slot in enumerate(slots)), n + 4096)
    high = struct.pack(f"<{n}I", *(remainder >> (r - 32) for remainder in remainders))
    low = bytes(remainder & 255 for remainder in remainders) if r == 40 else b""
    return parts + _padded(high + low)


def directory_of(buckets: Sequence[bytes], count: int, q: int, r: int) -> bytes:
    """The file of these buckets, with every hash in it right."""
    b = 1 << (q - 12)
    e = min(b, 256)
    p = -(-b // 256)
    index, data = 64 + 32 * p, 64 + 32 * p + p * (48 * e + 8)
    offsets = [data]
    for octets in buckets:
        offsets.append(offsets[-1] + len(octets))
    pages = []
    for first in range(0, b, e):
        of_page = buckets[first : first + e]
        page = struct.pack(f"<{e + 1}Q", *offsets[first : first + e + 1])
        page += struct.pack(f"<{e}Q", *map(xxhash.xxh3_64_intdigest, of_page))
        pages.append(page + b"".join(hashlib.sha256(octets).digest() for octets in of_page))
    header = struct.pack(
        "<8sHBBIQQQQQQ", b"CSDIR\r\n\x1a", 2, q, r, 4096, count, b, p, index, data, offsets[-1]
    )
    top = b"".join(hashlib.sha256(page).digest() for page in pages)
    return header + top + b"".join(pages) + b"".join(buckets)


def directory(values: Sequence[int], q: int, r: int) -> bytes:
    parts: list[list[int]] = [[] for _ in range(1 << (q - 12))]
    for value in values:
        parts[value >> (r + 12)].append(value)
    return directory_of([bucket(part, i, r) for i, part in enumerate(parts)], len(values), q, r)


def resealed(data: bytes, *, buckets: bool = True, pages: bool = True) -> bytes:
    """The file with the hashes of its buckets and pages made right for what it holds now."""
    octets = bytearray(data)
    b, p, index = struct.unpack_from("<3Q", octets, 24)
    e = min(b, 256)
    size = 48 * e + 8
    for page in range(p):
        at = index + page * size
        if buckets:
            offsets = struct.unpack_from(f"<{e + 1}Q", octets, at)
            for i in range(e):
                part = bytes(octets[offsets[i] : offsets[i + 1]])
                struct.pack_into("<Q", octets, at + 8 * (e + 1 + i), xxhash.xxh3_64_intdigest(part))
                digest = at + 8 * (2 * e + 1) + 32 * i
                octets[digest : digest + 32] = hashlib.sha256(part).digest()
        if pages:
            octets[64 + 32 * page : 96 + 32 * page] = hashlib.sha256(octets[at : at + size]).digest()
    return bytes(octets)


def directory_info(data: bytes, top: int | None = None) -> Json:
    """What the manifest of a publisher who signs this file says of it; `top`: the octets that are its top."""
    q, r = data[10:12]
    end = 64 + 32 * -(-(1 << max(0, min(q, 40) - 12)) // 256) if top is None else top
    figures = {"count": struct.unpack_from("<Q", data, 16)[0], "slot_bits": q, "remainder_bits": r}
    return figures | file_info(data) | {"top_sha256": sha256(data[:end])}


# --- the delta ---


def value_set(values: Sequence[int], q: int, r: int) -> bytes:
    if not values:
        return b""
    c = len(values)
    h = c.bit_length()
    width = q + 32 - h
    keys = [value >> (r - 32) for value in values]
    bitmap = _bitmap((j + (key >> width) for j, key in enumerate(keys)), c + (1 << h))
    packed = sum((key & ((1 << width) - 1)) << (j * width) for j, key in enumerate(keys))
    low = _padded(bytes(value & 255 for value in values)) if r == 40 else b""
    return bitmap + packed.to_bytes(-(-c * width // 64) * 8, "little") + low


def signed(content: bytes) -> bytes:
    """A delta with its last 32 octets."""
    return content + hashlib.sha256(content).digest()


def delta(
    old: bytes, new: bytes, editions: tuple[int, int], left: Sequence[int], joined: Sequence[int]
) -> bytes:
    """The delta between two directory files, which takes these values away and adds those."""
    q, r = new[10:12]
    counts = [struct.unpack_from("<Q", data, 16)[0] for data in (old, new)]
    return changes((q, r), counts, (sha256(old), sha256(new)), editions, (left, joined))


def changes(
    widths: tuple[int, int],
    counts: Sequence[int],
    names: tuple[str, str],
    editions: tuple[int, int],
    values: tuple[Sequence[int], Sequence[int]],
) -> bytes:
    """A delta between two contents, or a patch, by what they are called. `values` left, and joined."""
    left, joined = values
    sets = value_set(left, *widths) + value_set(joined, *widths)
    header = struct.pack(
        "<8sHBBI7Q", b"CSDLT\r\n\x1a", 1, *widths, 0, *editions, *counts, len(left), len(joined),
        136 + len(sets) + 32,
    )  # fmt: skip
    return signed(header + b"".join(map(bytes.fromhex, names)) + sets)


def state_after(state: str, left: Sequence[int], joined: Sequence[int], q: int, r: int) -> str:
    """What the content is called that a patch of one edition leads to ("Patches")."""
    hashes = [hashlib.sha256(value_set(values, q, r)).digest() for values in (left, joined)]
    return sha256(bytes.fromhex(state) + b"".join(hashes))


# --- the screen ---


def slice_bits(count: int) -> int:
    return math.ceil((count * abs(math.log(0.01))) / (7 * math.log(2) ** 2))


@functools.lru_cache(1 << 18)
def places(key: str, m: int) -> list[int]:
    """The seven bits of a key."""
    salt = hashlib.sha256(bytes(4)).digest()
    found = struct.unpack_from("<7I", hashlib.sha256(salt + key.encode()).digest())
    return [j * m + number % m for j, number in enumerate(found)]


def screen_of(bits: set[int], count: int, fresh: int) -> bytes:
    """The file in which these bits are set."""
    m = slice_bits(count)
    bitmap = bytearray(-(-7 * m // 8))
    for bit in bits:
        bitmap[bit // 8] |= 1 << bit % 8
    return struct.pack("<dQQQQ", 0.01, 7, m, count, fresh) + bytes(bitmap)


def slice_ones(count: int) -> tuple[float, float]:
    """The fewest and the most ones of an honest slice."""
    m = slice_bits(count)
    a, b = divmod(1 << 32, m)
    loads = [(b, count * (a + 1) / 2**32), (m - b, count * a / 2**32)]
    zero = sum(places * math.exp(-load) for places, load in loads)
    variance = sum(places * math.exp(-load) * (1 - math.exp(-load)) for places, load in loads)
    variance -= sum(places * load * math.exp(-load) for places, load in loads) ** 2 / count
    return m - zero - 8 * math.sqrt(variance), m - zero + 8 * math.sqrt(variance)


def screen(values: Sequence[int], q: int, r: int) -> bytes:
    m, fresh = slice_bits(len(values)), 0
    bits: set[int] = set()
    for key in texts(values, q, r):
        own = set(places(key, m))
        fresh += not own <= bits
        bits |= own
    return screen_of(bits, len(values), fresh)


def passes(data: bytes, key: str) -> bool:
    (m,) = struct.unpack_from("<Q", data, 16)
    return all(data[40 + bit // 8] >> bit % 8 & 1 for bit in places(key, m))
