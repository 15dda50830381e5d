"""Compile the kernels before someone has to wait for them."""

from __future__ import annotations

import io
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from contactsync import ristretto255
from contactsync.directory import build, match, open_directory
from contactsync.directory.delta import read_delta, write_delta
from contactsync.directory.screen import build_screen, open_screen
from contactsync.kernels import (
    elias_fano,  # noqa: F401 - operations use it if it is loaded
    policy,
)
from contactsync.phones.bulk import SMALL, read_numbers
from contactsync.tokens import Tokens

ENOUGH: Final = 200_000
"""So many tokens that every operation on a directory uses its kernel."""


@dataclass(frozen=True, slots=True)
class Warmed:
    """How many numbers are computed at a time, how long it took, and where the compiled code is kept.

    `cache` is None if no folder could be written: then every process compiles anew.
    """

    lanes: int
    seconds: float
    cache: Path | None


def warm_up() -> Warmed:
    """Compile every kernel for this machine, and test the engine. Raises OurError if it computes wrongly."""
    begin = time.monotonic()
    lanes = ristretto255.warm_up()
    _use_directories()
    _use_numbers()
    return Warmed(lanes, time.monotonic() - begin, next(iter(policy.cache_folders()), None))


def _use_directories() -> None:
    """Run every kernel that builds, reads or updates a directory."""
    rows = np.random.default_rng(1).integers(0, 256, (ENOUGH, 10), np.uint8)
    tokens = Tokens.from_bytes(rows)
    in_order = tokens.take(np.argsort(tokens.head))
    few = tokens.take(np.arange(ENOUGH // 50))
    with tempfile.TemporaryDirectory(prefix="contactsync-") as name:
        folder = Path(name)
        for remainder_bits in (32, 40):
            build(folder / "new", [tokens], remainder_bits=remainder_bits)
            build(folder / "old", [tokens.take(np.arange(ENOUGH * 9 // 10))], remainder_bits=remainder_bits)
            with (
                open_directory(folder / "new", expect=None) as new,
                open_directory(folder / "old", expect=None) as old,
            ):
                for asked in (few, tokens, in_order):
                    match(asked, new)
                if write_delta(folder / "delta", old, new, from_edition=1, to_edition=2):
                    read_delta(folder / "delta").apply_to_mask(tokens, match(tokens, old))
                build_screen(folder / "screen", new)
                open_screen(folder / "screen", new.info).test(tokens)


def _use_numbers() -> None:
    """Run the kernel that reads lists of numbers."""
    line = b"+491511234567\n"
    for _ in read_numbers(io.BytesIO(line * (SMALL // len(line) + 1)), "DE", "warmup"):
        pass
