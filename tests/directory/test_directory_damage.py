"""Files that are not what they should be: one clear BadDirectory each, and never a crash."""

import struct

import numpy as np
import pytest

from contactsync.directory import build, open_directory
from contactsync.foundation.errors import BadDirectory, BadInput
from contactsync.tokens import Tokens


def random_tokens(count: int, seed: int = 1) -> Tokens:
    return Tokens.from_bytes(np.random.default_rng(seed).integers(0, 256, (count, 10), dtype=np.uint8))


@pytest.fixture(params=[32, 40])
def built(tmp_path, request):
    path = tmp_path / "d"
    info = build(path, [random_tokens(300)], remainder_bits=request.param)
    return path, info


@pytest.mark.slow
def test_every_flipped_byte_is_refused(built) -> None:
    path, info = built
    original = path.read_bytes()
    for at in range(len(original)):
        damaged = bytearray(original)
        damaged[at] ^= 1 << (at % 8)
        path.write_bytes(damaged)
        for check in ("sha256", "xxh3"):
            with pytest.raises(BadDirectory, match=r"^d: "):
                open_directory(path, expect=info, check=check)
        # The chain inside the file finds damage without a manifest too.
        with pytest.raises(BadDirectory, match=r"^d: "):
            open_directory(path, expect=None)


def test_every_length_is_refused(built) -> None:
    path, info = built
    original = path.read_bytes()
    for length in [*range(0, 200, 7), *range(200, len(original), 211), len(original) - 8, len(original) - 1]:
        path.write_bytes(original[:length])
        for expect in (info, None):
            with pytest.raises(BadDirectory):
                open_directory(path, expect=expect)
    path.write_bytes(original + bytes(8))
    with pytest.raises(BadDirectory, match="bytes instead of"):
        open_directory(path, expect=info)


def test_missing(tmp_path) -> None:
    with pytest.raises(BadInput, match="cannot be opened"):
        open_directory(tmp_path / "none", expect=None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at", "value", "what"),
    [
        (0, b"GIF89a\r\n", "wrong magic"),
        (8, struct.pack("<H", 1), "format 1"),
        (8, struct.pack("<H", 3), "format 3"),
        (10, b"\x0b", "out of range"),
        (10, b"\x21", "out of range"),
        (11, b"\x18", "out of range"),
        (12, struct.pack("<I", 8192), "do not add up"),
        (16, struct.pack("<Q", 301), "301 tokens do not make"),
        (16, struct.pack("<Q", 8193), "too many"),
        (16, struct.pack("<Q", 2**64 - 1), "too many"),
        (24, struct.pack("<Q", 2), "do not add up"),
        (32, struct.pack("<Q", 2**63), "do not add up"),
        (40, struct.pack("<Q", 2**64 - 8), "do not add up"),
        (48, struct.pack("<Q", 64), "do not add up"),
        (56, struct.pack("<Q", 2**62), "300 tokens do not make"),
        (56, struct.pack("<Q", 8), "300 tokens do not make 8 bytes"),
    ],
)
def test_header(built, at: int, value: bytes, what: str) -> None:
    path, _ = built
    damaged = bytearray(path.read_bytes())
    damaged[at : at + len(value)] = value
    path.write_bytes(damaged)
    with pytest.raises(BadDirectory, match=what):
        open_directory(path, expect=None)


def test_another_directory_than_the_manifest_says(built, tmp_path) -> None:
    _, info = built
    other = build(tmp_path / "other", [random_tokens(300, seed=2)], remainder_bits=info.remainder_bits)
    assert other.file.length == info.file.length
    with pytest.raises(BadDirectory, match="top table"):
        open_directory(tmp_path / "other", expect=info)
    build(tmp_path / "full", [random_tokens(8000, seed=2)], remainder_bits=info.remainder_bits)
    with pytest.raises(BadDirectory, match="header"):
        open_directory(tmp_path / "full", expect=info)
