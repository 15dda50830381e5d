"""Inputs from inputs, by chance that a number decides: the same number gives the same inputs everywhere."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from fuzz.target import Target

_NUMBERS = (
    b"0",
    b"1",
    b"-1",
    b"255",
    b"256",
    b"65536",
    b"4294967296",
    b"18446744073709551616",
    b"1e999",
    b"NaN",
    b"0.1",
)
_ANYWHERE = (
    b"\0",
    b"\xff",
    b"\n",
    b"\r\n",
    b" ",
    b'"',
    b"'",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\xc3",
    b"\xed\xa0\x80",
)


def inputs(target: Target, kept: Sequence[bytes], seed: int, count: int) -> Iterator[bytes]:
    """`count` inputs for a target, made from those that are kept."""
    chance = random.Random(f"{target.name} {seed}")
    for _ in range(count):
        yield mutated(chance, chance.choice(kept) if kept else b"", kept, target)


def mutated(chance: random.Random, data: bytes, kept: Sequence[bytes], target: Target) -> bytes:
    """An input with one to five changes."""
    out = bytearray(data[: target.longest])
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        _change(chance, out, kept, target.words or _ANYWHERE)
    return bytes(out[: target.longest])


def _change(chance: random.Random, out: bytearray, kept: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = chance.randrange(len(out) + 1)
    end = min(len(out), at + chance.choice((1, 2, 4, 8, 30, 200)))
    match chance.randrange(9):
        case 0 if out:
            out[at - 1] ^= 1 << chance.randrange(8)
        case 1 if out:
            out[at - 1] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        case 2:
            del out[at:end]
        case 3:
            out[at:at] = chance.choice(words)
        case 4:
            out[at:end] = chance.choice(words)
        case 5:
            out[at:at] = out[at:end] * chance.choice((1, 1, 2, 50))
        case 6 if kept:
            other = chance.choice(kept)
            start = chance.randrange(len(other) + 1)
            out[at:at] = other[start : start + chance.randint(1, 300)]
        case 7:
            out[at:end] = chance.choice(_NUMBERS + _ANYWHERE)
        case _:
            out[at:at] = chance.randbytes(chance.randint(1, 8))
