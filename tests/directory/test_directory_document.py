"""A reader in plain Python, written from docs/directory-format.md alone, and the document's own example."""

import hashlib
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import xxhash

from contactsync.directory import build, match, open_directory
from contactsync.tokens import Tokens

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "directory-format.md"


class PlainReader:
    """Reads a directory through `fetch(offset, length)`, verifying each part from `top_sha256` down."""

    def __init__(self, fetch: Callable[[int, int], bytes], q: int, top_sha256: str) -> None:
        self.fetch = fetch
        self.buckets = 1 << (q - 12)
        self.entries = min(self.buckets, 256)
        self.pages = -(-self.buckets // 256)
        self.top = fetch(0, 64 + 32 * self.pages)
        assert hashlib.sha256(self.top).hexdigest() == top_sha256
        magic, version, self.q, self.r, slots, self.n, b, p, index, data, self.length = struct.unpack(
            "<8sHBBIQQQQQQ", self.top[:64]
        )
        page_bytes = 48 * self.entries + 8
        assert (magic, version, slots) == (b"CSDIR\r\n\x1a", 2, 4096)
        assert (self.q, b, p) == (q, self.buckets, self.pages)
        assert self.r in (32, 40)
        assert index == 64 + 32 * p
        assert data == index + p * page_bytes
        assert self.n <= 2 << q

    def bucket(self, number: int) -> tuple[tuple[int, ...], list[int], tuple[int, ...], bytes]:
        """Ranks, bits, u32 and u8 remainders of one bucket."""
        page, entry = divmod(number, self.entries)
        size = 48 * self.entries + 8
        octets = self.fetch(64 + 32 * self.pages + page * size, size)
        assert hashlib.sha256(octets).digest() == self.top[64 + 32 * page : 96 + 32 * page]
        start, end = struct.unpack_from("<2Q", octets, 8 * entry)
        (fast,) = struct.unpack_from("<Q", octets, 8 * (self.entries + 1 + entry))
        at = 8 * (2 * self.entries + 1) + 32 * entry
        data = self.fetch(start, end - start)
        assert hashlib.sha256(data).digest() == octets[at : at + 32]
        assert xxhash.xxh3_64_intdigest(data) == fast
        ranks = struct.unpack_from("<16H", data)
        n, w = ranks[0], -(-(ranks[0] + 4096) // 64)
        number_of_bits = int.from_bytes(data[32 : 32 + 8 * w], "little")
        bits = [number_of_bits >> i & 1 for i in range(64 * w)]
        low = struct.unpack_from(f"<{n}I", data, 32 + 8 * w)
        last = data[32 + 8 * w + 4 * n :][: n if self.r == 40 else 0]
        return ranks, bits, low, last

    def values(self) -> Iterator[int]:
        """Every value, in order."""
        for number in range(self.buckets):
            _, bits, low, last = self.bucket(number)
            for j, p in enumerate(i for i, bit in enumerate(bits) if bit):
                remainder = low[j] << 8 | last[j] if self.r == 40 else low[j]
                yield ((number << 12) + p - j) << self.r | remainder

    def __contains__(self, token: int) -> bool:
        value = token >> (80 - self.q - self.r)
        number, slot = divmod(value >> self.r, 4096)
        ranks, bits, low, last = self.bucket(number)
        position = 256 * (slot // 256) + (ranks[slot // 256] if slot >= 256 else 0)
        for _ in range(slot % 256):
            position = bits.index(0, position) + 1
        first = position - slot
        run = range(first, first + bits.index(0, position) - position)
        remainders = [low[j] << 8 | last[j] if self.r == 40 else low[j] for j in run]
        return value & ((1 << self.r) - 1) in remainders


def fetcher(path: Path) -> Callable[[int, int], bytes]:
    content = path.read_bytes()
    return lambda offset, length: content[offset : offset + length]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "remainder_bits"), [(0, 32), (5, 40), (20_000, 32), (30_000, 40)])
def test_agrees(tmp_path, count: int, remainder_bits: int) -> None:
    rng = np.random.default_rng(count)
    tokens = Tokens.from_bytes(rng.integers(0, 256, (count, 10), dtype=np.uint8))
    info = build(tmp_path / "d", [tokens], remainder_bits=remainder_bits)
    reader = PlainReader(fetcher(tmp_path / "d"), info.slot_bits, info.top_sha256)
    with open_directory(tmp_path / "d", expect=info) as directory:
        keys = [(v.key.tolist(), v.extra.tolist()) for v in directory.values()]
        ours = [
            k << (remainder_bits - 32) | e for key, extra in keys for k, e in zip(key, extra, strict=True)
        ]
        assert list(reader.values()) == ours
        some = tokens.take(np.arange(0, count, 997))
        rows = np.concatenate([some.to_bytes(), rng.integers(0, 256, (20, 10), dtype=np.uint8)])
        theirs = [int.from_bytes(row.tobytes()) in reader for row in rows]
        assert theirs == match(Tokens.from_bytes(rows), directory).tolist()
        assert sum(theirs) == len(some)


def test_the_example_in_the_document(tmp_path) -> None:
    text = DOCUMENT.read_text()
    tokens = re.findall(
        r"^    ([0-9a-f]{3}) ([0-9a-f]{8}) ([0-9a-f]{2}) ([0-9a-f]{3}) ([0-9a-f]{4}) ", text, re.MULTILINE
    )
    assert len(tokens) == 3
    rows = np.array([list(bytes.fromhex("".join(parts))) for parts in tokens], np.uint8)
    info = build(tmp_path / "d", [Tokens.from_bytes(rows)], remainder_bits=40)
    content = bytearray(info.file.length)
    for line in re.findall(r"^    (0[0-9a-f]{3}  [0-9a-f ]+)", text, re.MULTILINE):
        digits = line[4:].strip()[:48].split("   ")[0].replace(" ", "")
        content[int(line[:4], 16) : int(line[:4], 16) + len(digits) // 2] = bytes.fromhex(digits)
    assert bytes(content) == (tmp_path / "d").read_bytes()
    hashes = {"sha256": info.file.sha256, "xxh3_64": info.file.xxh3_64, "top_sha256": info.top_sha256}
    for name, value in hashes.items():
        assert re.search(rf"^    {name} +{value}$", text, re.MULTILINE)
