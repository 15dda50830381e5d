"""Labels, read by a second client: written from docs/protocol.md and docs/directory-format.md alone.

AES is `cryptography`'s; CMAC and S2V are written out here, as RFC 4493 and RFC 5297 have them.
"""

import struct
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from second_client import Directory, check, sha256

Json = dict[str, Any]


def aes(key: bytes, block: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return encryptor.update(block) + encryptor.finalize()


def xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def dbl(block: bytes) -> bytes:
    number = int.from_bytes(block, "big") << 1
    return ((number ^ 0x87) & (2**128 - 1) if number >> 128 else number).to_bytes(16, "big")


def cmac(key: bytes, message: bytes) -> bytes:
    subkey = dbl(aes(key, bytes(16)))
    whole = len(message) > 0 and len(message) % 16 == 0
    if not whole:
        subkey = dbl(subkey)
        message += b"\x80" + bytes(-(len(message) + 1) % 16)
    state = bytes(16)
    blocks = [message[i : i + 16] for i in range(0, len(message), 16)]
    for block in blocks[:-1]:
        state = aes(key, xor(state, block))
    return aes(key, xor(xor(state, blocks[-1]), subkey))


def open_entry(key: bytes, entry: bytes, context: bytes) -> str | None:
    """The label of an entry, "" if there is none; None if it does not open."""
    k1, k2, tag, sealed = key[:16], key[16:], entry[:16], entry[16:]
    counter = bytearray(tag)
    counter[8] &= 0x7F
    counter[12] &= 0x7F
    start = int.from_bytes(counter, "big")
    stream = b"".join(aes(k2, (start + i).to_bytes(16, "big")) for i in range(len(sealed) // 16))
    plain = xor(sealed, stream)
    d = xor(dbl(cmac(k1, bytes(16))), cmac(k1, context))
    v = cmac(k1, plain[:-16] + xor(plain[-16:], d))
    return plain.rstrip(b"\0").decode() if v == tag else None


def context_of(manifest: Json) -> bytes:
    epoch = struct.pack("<I", manifest["epoch"])
    return sha256(b"contactsync label 1\0" + manifest["audience"].encode() + b"\0" + epoch)[:16]


class Sidecar:
    """A whole sidecar, with everything that a reader must check."""

    def __init__(self, partition: Json, data: bytes) -> None:
        labels, q, n = partition["labels"], partition["slot_bits"], partition["count"]
        size = labels["size"]
        check(size in (16, 32, 48, 64), "S")
        self.width = 16 + size
        buckets = 1 << (q - 12)
        k = min(buckets, 256)
        pages = buckets // k
        top_end = 64 + 32 * pages
        self.data = top_end + pages * (36 * k + 4)
        self.bytes, self.first = data, [0]
        check(len(data) == self.data + n * self.width == labels["file"]["length"], "the length")
        check(sha256(data).hex() == labels["file"]["sha256"], "the SHA-256")
        check(sha256(data[:top_end]).hex() == labels["top_sha256"], "top_sha256")
        check(data[:8] == bytes.fromhex("43534c424c0d0a1a"), "the magic")
        header = struct.unpack_from("<HBBIQQQQQQ", data, 8)
        check(header == (1, q, size, 0, n, buckets, pages, top_end, self.data, len(data)), "the header")
        for number in range(pages):
            at = top_end + number * (36 * k + 4)
            page = data[at : at + 36 * k + 4]
            check(sha256(page) == data[64 + 32 * number : 96 + 32 * number], "an index page")
            first = struct.unpack_from(f"<{k + 1}I", page)
            check(first[0] == self.first[-1], "pages do not join")
            for i in range(k):
                check(0 <= first[i + 1] - first[i] <= 65_535, "a bucket")
                check(
                    sha256(self.slice(first[i], first[i + 1])) == page[4 * k + 4 + 32 * i :][:32], "a bucket"
                )
            self.first += first[1:]
        check(self.first[-1] == n, "the last bucket")

    def slice(self, start: int, end: int) -> bytes:
        return self.bytes[self.data + start * self.width : self.data + end * self.width]

    def entry(self, place: int) -> bytes:
        return self.slice(place, place + 1)


def through(sidecar: Sidecar, deltas: list[bytes], place: int) -> bytes:
    """The entry at a place of the edition that deltas lead to, from an older sidecar."""
    for delta in reversed(deltas):
        check(sha256(delta[:-32]) == delta[-32:], "the last 32 bytes of a delta")
        d, p = struct.unpack_from("<QQ", delta, 48)
        dropped, placed = (
            struct.unpack_from(f"<{d}I", delta, 136),
            struct.unpack_from(f"<{p}I", delta, 136 + 4 * d),
        )
        if place in placed:
            at = 136 + 4 * (d + p) + placed.index(place) * sidecar.width
            return delta[at : at + sidecar.width]
        rank = place - sum(one < place for one in placed)
        stays = (i for i in range(rank + d + 1) if i not in dropped)
        place = next(i for j, i in enumerate(stays) if j == rank)
    return sidecar.entry(place)


def label_of(output: bytes, manifest: Json, directory: Directory, entries: Any) -> str | None:
    """What a member is called, by whoever has their output; `entries` gives the entry at a place."""
    value = directory.shape.value(int.from_bytes(output[:10], "big"))
    return open_entry(output[10:42], entries(directory.values().index(value)), context_of(manifest))
