"""A second reader of a log, written from the specifications alone: C2SP signed-note, tlog-checkpoint,
tlog-cosignature and tlog-tiles, RFC 6962. Nothing of the package is used.

`read(folder, log, witnesses)` gives the entries of the log in a folder, or raises Disproven.
"""

import base64
import hashlib
import struct
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Disproven(Exception):
    pass


def need(condition, why):
    if not condition:
        raise Disproven(why)


def key_of(vkey):
    """<name>+<hex key ID>+<base64 of type and key>"""
    name, key_id, coded = vkey.split("+", 2)
    octets = base64.b64decode(coded, validate=True)
    need(hashlib.sha256(name.encode() + b"\n" + octets).digest()[:4].hex() == key_id, "key ID")
    return name, bytes.fromhex(key_id), octets[0], Ed25519PublicKey.from_public_bytes(octets[1:])


def opened(octets, vkeys):
    """The text, and the keys that have signed it."""
    text, separator, block = octets.decode("utf-8").rpartition("\n\n")
    need(separator and block.endswith("\n"), "no note")
    text += "\n"
    signed = set()
    for line in block[:-1].split("\n"):
        dash, name, coded = line.split(" ")
        need(dash == "\u2014", "no signature line")
        signature = base64.b64decode(coded, validate=True)
        for vkey in vkeys:
            known, key_id, kind, key = key_of(vkey)
            if (name, signature[:4]) != (known, key_id):
                continue
            message, rest = text.encode(), signature[4:]
            if kind == 4:
                (when,) = struct.unpack(">Q", rest[:8])
                message, rest = f"cosignature/v1\ntime {when}\n{text}".encode(), rest[8:]
            try:
                key.verify(rest, message)
            except InvalidSignature as error:
                raise Disproven("signature") from error
            signed.add(vkey)
    return text, signed


def index_path(index):
    digits = f"{index:03}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])


def tile(folder, level, index, width):
    suffix = "" if width == 256 else f".p/{width}"
    return Path(folder, "tile", level, index_path(index) + suffix).read_bytes()


def merkle(hashes):
    """MTH over hashes of leaves: the split is at the largest power of two smaller than their number."""
    if len(hashes) == 1:
        return hashes[0]
    k = 1 << ((len(hashes) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + merkle(hashes[:k]) + merkle(hashes[k:])).digest()


def read(folder, log, witnesses=()):
    text, signed = opened(Path(folder, "checkpoint").read_bytes(), [log, *witnesses])
    need({log, *witnesses} <= signed, "not signed by all")
    lines = text.split("\n")
    need(lines[0] == key_of(log)[0] and str(int(lines[1])) == lines[1], "checkpoint")
    size, root = int(lines[1]), base64.b64decode(lines[2], validate=True)
    entries = []
    for index in range(-(-size // 256)):
        width = min(256, size - index * 256)
        octets = tile(folder, "entries", index, width)
        for _ in range(width):
            (length,) = struct.unpack(">H", octets[:2])
            need(len(octets) >= 2 + length, "bundle")
            entries.append(octets[2 : 2 + length])
            octets = octets[2 + length :]
        need(octets == b"", "bundle")
    leaves = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]
    need(merkle(leaves) == root if leaves else root == hashlib.sha256(b"").digest(), "root")
    level, hashes = 0, leaves
    while hashes:
        for index in range(-(-len(hashes) // 256)):
            part = hashes[index * 256 : index * 256 + 256]
            need(tile(folder, str(level), index, len(part)) == b"".join(part), f"tile {level}/{index}")
        whole = len(hashes) // 256
        hashes = [merkle(hashes[i * 256 : i * 256 + 256]) for i in range(whole)]
        level += 1
    return entries
