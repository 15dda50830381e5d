"""Tokens to a directory file: sort, drop duplicates, encode, hash, and only then take the final name."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import glob
import itertools
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from contactsync.directory import buckets
from contactsync.directory.bucket_writer import BucketWriter
from contactsync.directory.format import REMAINDER_BITS, DirectoryInfo, Layout, Values, slot_bits_for
from contactsync.directory.pace import kernels_pay
from contactsync.directory.sorter import GROUPS, Sorter
from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, OurError
from contactsync.foundation.progress import Progress, silent
from contactsync.tokens import Tokens

ENCODED_AT_ONCE = 64  # buckets
WORTH_A_CALL = 8  # buckets
MIN_MEMORY = 1 << 20


def build(
    path: str | os.PathLike[str],
    chunks: Iterable[Tokens],
    *,
    remainder_bits: int = 32,
    memory: int = 512 << 20,
    progress: Progress = silent,
) -> DirectoryInfo:
    """Build a directory of all tokens of all chunks; the file has its name only once it is whole and synced.

    The same set of tokens gives the same bytes, whatever the chunks, their order, duplicates and `memory`.
    About `memory` bytes are used, whatever the count: what does not fit is sorted on disk, beside the file,
    in 16 bytes a token. A build that was killed leaves a hidden folder, which the next build of the same name
    removes; it starts over. O(n).

    Raises BadInput (the width is not 32 or 40, or the tokens are no VOPRF outputs), OurError (the disk).
    """
    if remainder_bits not in REMAINDER_BITS:
        raise BadInput(f"{remainder_bits} remainder bits are not supported", hint="Choose 32 or 40.")
    path = Path(path)
    try:
        with (
            workshop(path) as folder,
            Sorter(
                folder,
                wide=remainder_bits == 40,
                memory=max(memory, MIN_MEMORY),
                taken=lambda n: progress("collecting", n, 0),
            ) as sorter,
        ):
            progress("collecting", 0, 0)
            for chunk in chunks:
                sorter.add(chunk)
            progress("sorting", 0, sorter.taken)
            count = sorter.finish(lambda n: progress("sorting", n, sorter.taken))
            with durable.replacing(path, mode=durable.PUBLIC_FILE) as file:
                info = _written(file, sorter, count, remainder_bits, progress)
    except OSError as error:
        raise OurError(
            f"{path}: the directory cannot be built: {error.strerror or error}",
            hint="Check the free space and the permissions of that folder.",
        ) from error
    return info


def _written(
    file: BinaryIO, sorter: Sorter, count: int, remainder_bits: int, progress: Progress
) -> DirectoryInfo:
    """Write the directory of what was sorted, `count` tokens.

    Its slot bits are those of its values. Tokens that agree in all bits of a value are one: with fewer values
    than tokens, fewer slot bits may be due. Each round has at most as many values as the one before, so this
    ends; the first one is nearly always the last.
    """
    while True:
        progress("writing", 0, count)
        file.seek(0)
        file.truncate()
        slot_bits, done = slot_bits_for(count), functools.partial(_report_writing, progress, count)
        kernels = kernels_pay(count * buckets.ENCODE_SECONDS)
        writer = BucketWriter(file, slot_bits, remainder_bits, kernels=kernels)
        _write(writer, sorter.groups(slot_bits), Layout(0, slot_bits, remainder_bits, 0).buckets, done)
        info = writer.finish()
        if slot_bits_for(info.count) == slot_bits:
            return info
        count = info.count


def _report_writing(progress: Progress, total: int, done: int) -> None:
    progress("writing", done, total)


def _write(writer: BucketWriter, groups: Iterator[Values], in_all: int, done: Callable[[int], None]) -> None:
    """Write all `in_all` buckets of sorted groups."""
    # So many groups at a time that they are whole buckets, and enough of them to be worth a call.
    many = min(GROUPS, max(1, WORTH_A_CALL * GROUPS // in_all))
    for number in range(0, GROUPS, many):
        values = _distinct(list(itertools.islice(groups, many)))
        first, end = number * in_all // GROUPS, (number + many) * in_all // GROUPS
        for b in range(first, end, ENCODED_AT_ONCE):
            numbers = np.arange(b, min(b + ENCODED_AT_ONCE, end))
            # The last key before the first bucket of the rest, as 2^64 is no uint64.
            last = np.uint64(((b + numbers.size) << 44) - 1)
            a = np.searchsorted(values.key, np.uint64(b << 44))
            z = np.searchsorted(values.key, last, "right")
            some = Values(values.key[a:z], values.extra[a:z])
            writer.write(writer.encode(some, numbers), len(some))
        done(writer.count)


def _distinct(parts: list[Values]) -> Values:
    """Sorted values, one part after the other, each once: tokens may differ in later bits only."""
    values = parts[0]
    if len(parts) > 1:
        values = Values(np.concatenate([p.key for p in parts]), np.concatenate([p.extra for p in parts]))
    again = values.key[1:] == values.key[:-1]
    if again.any():
        places = np.flatnonzero(again & (values.extra[1:] == values.extra[:-1]))
        return Values(np.delete(values.key, places), np.delete(values.extra, places))
    return values


@contextlib.contextmanager
def workshop(path: Path) -> Iterator[Path]:
    """A hidden folder beside the file, for this build alone; what dead builds of that name left is removed.

    A build holds a lock on its folder, which ends with its process. The parent folder is locked while folders
    are listed and created, so that none is treated as dead before it is locked.
    """
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    own = -1
    folder = path.parent / f".{path.name}.{secrets.token_hex(8)}.build"
    try:
        fcntl.flock(parent, fcntl.LOCK_EX)
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.build"):
            _remove_if_dead(left)
        folder.mkdir(mode=0o700)
        own = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(own, fcntl.LOCK_EX)
        fcntl.flock(parent, fcntl.LOCK_UN)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if own >= 0:
            os.close(own)
        os.close(parent)


def _remove_if_dead(folder: Path) -> None:
    """Remove the folder of a build whose process is gone."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
