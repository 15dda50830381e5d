"""The log in plain Python, from the specifications alone: RFC 6962 §2.1, and of C2SP signed-note,
tlog-cosignature, tlog-checkpoint, tlog-tiles and tlog-witness.

The trees are the recursive definitions of the RFC, over all leaves: slow, and nothing is remembered.
"""

import base64
import hashlib
from typing import Any

from tuf_twin import Key

Json = dict[str, Any]
LOG, WITNESS = 0x01, 0x04


def sha256(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


def leaf(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry)


def below(n: int) -> int:
    """The largest power of two smaller than n."""
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def tree(leaves: list[bytes]) -> bytes:
    """MTH, of leaf hashes."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = below(len(leaves))
    return sha256(b"\x01" + tree(leaves[:k]) + tree(leaves[k:]))


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH(m, D[n])."""
    if len(leaves) == 1:
        return []
    k = below(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), tree(leaves[k:])]
    return [*path(m - k, leaves[k:]), tree(leaves[:k])]


def subproof(m: int, leaves: list[bytes], *, whole: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b)."""
    if m == len(leaves):
        return [] if whole else [tree(leaves)]
    k = below(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole=whole), tree(leaves[k:])]
    return [*subproof(m - k, leaves[k:], whole=False), tree(leaves[:k])]


# --- tlog-tiles ---


def place(level: str, number: int, width: int) -> str:
    digits = f"{number:03}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    name = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
    return f"tile/{level}/{name}" + (f".p/{width}" if width < 256 else "")


def tiles(entries: list[bytes]) -> dict[str, bytes]:
    """Every tile and bundle of the log of these entries, by its path."""
    files: dict[str, bytes] = {}
    for start in range(0, len(entries), 256):
        part = entries[start : start + 256]
        files[place("entries", start // 256, len(part))] = b"".join(
            len(entry).to_bytes(2, "big") + entry for entry in part
        )
    level, hashes = 0, [leaf(entry) for entry in entries]
    while hashes:
        for start in range(0, len(hashes), 256):
            part = hashes[start : start + 256]
            files[place(str(level), start // 256, len(part))] = b"".join(part)
        whole = len(hashes) // 256
        hashes = [tree(hashes[256 * i : 256 * i + 256]) for i in range(whole)]
        level += 1
    return files


# --- notes ---


def coded(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def key_id(name: str, kind: int, public: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + bytes([kind]) + public)[:4]


def vkey(name: str, kind: int, key: Key) -> str:
    return f"{name}+{key_id(name, kind, key.public).hex()}+{coded(bytes([kind]) + key.public)}"


def line(text: str, name: str, key: Key) -> str:
    """The signature of a log."""
    return f"— {name} {coded(key_id(name, LOG, key.public) + key.sign(text.encode()))}\n"


def cosignature(text: str, name: str, key: Key, when: int) -> str:
    message = f"cosignature/v1\ntime {when}\n{text}".encode()
    octets = key_id(name, WITNESS, key.public) + when.to_bytes(8, "big") + key.sign(message)
    return f"— {name} {coded(octets)}\n"


def checkpoint(origin: str, size: int, root: bytes) -> str:
    return f"{origin}\n{size}\n{coded(root)}\n"
