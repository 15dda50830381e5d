"""`contactsync warmup`: compile the kernels before someone has to wait for them."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click

from contactsync.commands import _json

ENOUGH = 200_000
"""So many tokens that every operation on a directory uses its kernel."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def warmup(as_json: bool) -> None:
    """Compile the kernels for this machine, and test the engine.

    This also happens at first use, once on each machine and after each update. Run it ahead of time for a
    container image or a service. The compiled code is kept in the user's cache folder, or in
    CONTACTSYNC_CACHE_DIR. Prints how many numbers are computed at a time, and where the code is kept.
    """
    from contactsync import ristretto255
    from contactsync.kernels import policy

    begin = time.monotonic()
    lanes = ristretto255.warm_up()
    _use_directories()
    _use_numbers()
    seconds = time.monotonic() - begin
    folder = next(iter(policy.cache_folders()), None)
    if as_json:
        kept = str(folder) if folder else None
        _json.emit({"lanes": lanes, "seconds": round(seconds, 3), "cache": kept})
        return
    click.echo(f"ready in {seconds:.1f} s: {lanes} {'lanes' if lanes > 1 else 'lane'}, self-test passed")
    click.echo(f"compiled code: {folder}" if folder else "the compiled code was not kept: no writable folder")


def _use_directories() -> None:
    """Run every kernel that builds, reads or updates a directory."""
    import numpy as np

    from contactsync.directory import build, match, open_directory
    from contactsync.directory.delta import read_delta, write_delta
    from contactsync.directory.screen import build_screen, open_screen
    from contactsync.kernels import elias_fano  # noqa: F401 - operations use it if it is loaded
    from contactsync.tokens import Tokens

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
    import io

    from contactsync.phones.bulk import SMALL, read_numbers

    line = b"+491511234567\n"
    for _ in read_numbers(io.BytesIO(line * (SMALL // len(line) + 1)), "DE", "warmup"):
        pass
