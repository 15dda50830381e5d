"""The jobs of a publish. Each depends on nothing but its fields, so that it may run anywhere, and again.

A job and what comes of it are plain values that can be pickled: names, paths, integers, hexadecimal text,
bytes. Running one touches no registry, no keyring and no global; only `BuildJob` touches files, those that it
names. The same job gives the same bytes, however often and wherever it runs.

Errors are those of the tree and say which job failed: BadInput for what the operator asked for and cannot be
had (too little memory), OurError for all else that is expected.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contactsync.directory import Directory, build, open_directory
from contactsync.directory.bounds import has_screen
from contactsync.directory.delta import write_delta
from contactsync.directory.format import DataFile
from contactsync.directory.screen import build_screen
from contactsync.directory.sidecar import open_sidecar
from contactsync.directory.sidecar_build import build_sidecar
from contactsync.directory.sidecar_delta import write_sidecar_delta
from contactsync.foundation import durable
from contactsync.foundation.errors import BadDirectory, BadInput, ContactSyncError, OurError
from contactsync.labels import TAG_BYTES
from contactsync.publication.manifest import MAX_DELTAS, DeltaFile, Labels, Partition
from contactsync.server.publishing.patching import DELTAS_OF_PATCHED
from contactsync.tokens import TOKEN_BYTES, Tokens
from contactsync.voprf.server import KeyPair, evaluate

SCREEN_BYTES: Final = 2  # a token
KERNEL_SCRATCH: Final = 64 << 20

STILL_SERVED: Final = "the previous edition is still served; fix the cause and publish again"

_READ_AT_ONCE: Final = 1 << 18  # tokens
_REPORT_SECONDS: Final = 0.1
_REPORT_BYTES: Final = 96


@dataclass(frozen=True, slots=True)
class EvaluateJob:
    """Identifiers to be evaluated; of each output the first `width` octets are wanted.

    It holds the epoch's secret key and members' identifiers: neither is in its `repr`. Hand it only to an
    executor that keeps it in memory and sends it only to processes that may hold the key, or sealed (remote).
    """

    audience: str
    secret: bytes = field(repr=False)
    public: bytes
    identifiers: tuple[bytes, ...] = field(repr=False)
    width: int = TOKEN_BYTES

    def __str__(self) -> str:
        return f"evaluating {self.audience}"


def run_evaluate(job: EvaluateJob) -> bytes:
    """The outputs of a job's identifiers in their order, `width` octets each."""
    with errors_of(str(job)):
        return evaluate(KeyPair(job.secret, job.public), job.identifiers)[:, : job.width].tobytes()


@dataclass(frozen=True, slots=True)
class BuildJob:
    """The tokens of a partition, to be made into data files.

    `spool` is a file of `count` tokens, `TOKEN_BYTES` each, in any order; with labels, each is followed by
    the sealed label of the member, padded to `label_size` (0: no labels). `report` is where the job writes
    how far it is; `work` is the folder for its scratch files, on the file system of `data`, where data files
    go under their hashes. If `work` is removed, the job ends with an error at its next report. `memory` is in
    octets; `old` is the partition as it was published before.
    """

    audience: str
    epoch: int
    edition: int
    partition: str
    count: int
    remainder_bits: int
    memory: int
    spool: str
    report: str
    work: str
    data: str
    old: Partition | None
    fresh: bool = False
    """Whether no file may come of it that says who was a member before."""
    label_size: int = 0

    def __str__(self) -> str:
        return f"building {self.audience} {self.partition}"


@dataclass(frozen=True, slots=True)
class BuiltPartition:
    """The result of a `BuildJob`; the first four fields are the same.

    `content` is its `old` if that is still right, None if no member is left. All files of it are on the disk.
    """

    audience: str
    epoch: int
    edition: int
    partition: str
    content: Partition | None


def run_build(job: BuildJob) -> BuiltPartition:
    """Build base, delta, screen and sidecar of a partition, and give each file its hash as its name."""
    content = None
    if job.count:
        # A folder for this run alone: if the job is run twice at once, the two do not meet.
        with errors_of(str(job)), tempfile.TemporaryDirectory(prefix="build.", dir=job.work) as scratch:
            content = _build(job, Path(scratch))
    return BuiltPartition(job.audience, job.epoch, job.edition, job.partition, content)


def _build(job: BuildJob, scratch: Path) -> Partition:
    data, unnamed = Path(job.data), scratch / "file"
    info = build(
        unnamed,
        (tokens for tokens, _ in _spooled(job)),
        remainder_bits=job.remainder_bits,
        memory=job.memory,
        progress=_Reports(job),
    )
    durable.rename(unnamed, data / info.file.sha256)
    old, edition = job.old, job.edition
    if job.fresh and old is not None and old.deltas:
        old = None
    lost = old is not None and not is_whole(data, old)
    same = old is not None and old.base.sha256 == info.file.sha256
    if old is not None and same:
        # If a file was lost, the screen comes out as it was; the chain of deltas begins anew.
        edition = old.edition
    with open_directory(data / info.file.sha256, expect=info) as directory:
        labels = _labels(job, directory, scratch, same=same, lost=lost)
        if old is not None and same and not lost:
            return old if (labels, None) == (old.labels, old.patches) else _bare(old, labels)
        begins = old is None or same or job.fresh
        return Partition.of(
            job.partition,
            edition,
            info,
            deltas=() if old is None or begins else _deltas(old, directory, edition, unnamed, data),
            screen=screen_of(directory, unnamed, data),
            labels=labels,
        )


def _bare(old: Partition, labels: Labels | None) -> Partition:
    """What was published, with other labels, and as its base alone is."""
    return replace(old, labels=labels, patches=None)


def _labels(job: BuildJob, directory: Directory, scratch: Path, *, same: bool, lost: bool) -> Labels | None:
    """The sidecar of a directory that was just built, if the partition has labels.

    The chain of its deltas begins anew where a file was `lost`, and where nothing may say who left. Where the
    directory is not the `same`, it is of this edition, even if it is: values may have become wider.
    """
    if not job.label_size:
        return None
    data, unnamed, old = Path(job.data), scratch / "file", None if job.old is None else job.old.labels
    info = build_sidecar(
        unnamed, directory, _spooled(job), size=job.label_size, memory=job.memory, progress=_Reports(job)
    )
    durable.rename(unnamed, data / info.file.sha256)
    begins = old is None or lost or job.fresh
    kept = old if old is not None and old.file == info.file else None
    if kept is not None and same and not (begins and kept.deltas):
        return kept
    edition = kept.edition if kept is not None and same else job.edition
    made = Labels(edition, info.size, info.top_sha256, info.file)
    if old is None or job.old is None or begins or kept is not None:
        return made
    try:
        with (
            open_sidecar(data / old.file.sha256, expect=old.info(job.old)) as before,
            open_sidecar(data / info.file.sha256, expect=info) as new,
        ):
            written = write_sidecar_delta(unnamed, before, new, from_edition=old.edition, to_edition=edition)
    except (BadDirectory, BadInput):
        return made  # the old file is damaged or gone: the chain begins anew
    return replace(made, deltas=chained(old.deltas, (old.edition, edition), written, unnamed, data))


def _deltas(old: Partition, new: Directory, edition: int, unnamed: Path, data: Path) -> tuple[DeltaFile, ...]:
    """The chain of deltas that leads to `new`; none where a client does better to fetch it whole."""
    try:
        with open_directory(data / old.base.sha256, expect=old.directory) as before:
            written = write_delta(unnamed, before, new, from_edition=old.edition, to_edition=edition)
    except (BadDirectory, BadInput):
        return ()  # the old file is damaged or gone: the chain begins anew
    # So it does, with this one, where a delta was lost.
    deltas = old.deltas if is_whole(data, replace(old, screen=None, labels=None, patches=None)) else ()
    chain = chained(deltas, (old.edition, edition), written, unnamed, data)
    return chain if old.patches is None else chain[-DELTAS_OF_PATCHED:]


def chained(
    deltas: tuple[DeltaFile, ...],
    editions: tuple[int, int],
    written: DataFile | None,
    unnamed: Path,
    data: Path,
) -> tuple[DeltaFile, ...]:
    """A chain with one more delta, which was just written, between two editions; none if that was not."""
    if written is None:
        return ()
    return (*deltas, DeltaFile(*editions, _named(written, unnamed, data)))[-MAX_DELTAS:]


def screen_of(directory: Directory, unnamed: Path, data: Path) -> DataFile | None:
    """The screen of a directory, if one of its size has one."""
    if not has_screen(directory.count):
        return None
    return _named(build_screen(unnamed, directory), unnamed, data)


def _named(file: DataFile, unnamed: Path, data: Path) -> DataFile:
    """Give the file that was just written its name."""
    durable.rename(unnamed, data / file.sha256)
    return file


def is_whole(data: Path, partition: Partition) -> bool:
    """Whether all files of a partition are in the folder `data`, with their lengths."""
    try:
        return all((data / file.sha256).stat().st_size == file.length for file in partition.files())
    except FileNotFoundError:
        return False


def _spooled(job: BuildJob) -> Iterator[tuple[Tokens, NDArray[np.uint8]]]:
    """The tokens that wait for a job, a piece at a time, with their sealed labels: uint8[n, 0] if none."""
    left, width = job.count, TOKEN_BYTES
    if job.label_size:
        width += TAG_BYTES + job.label_size
    with open(job.spool, "rb", buffering=0) as file:  # noqa: PTH123 - the path is text
        while left:
            rows = np.empty((min(left, _READ_AT_ONCE), width), np.uint8)
            if file.readinto(rows.data.cast("B")) != rows.nbytes:
                raise OSError(errno.EIO, "the token file is shorter than what was written to it", job.spool)
            left -= len(rows)
            yield Tokens.from_bytes(rows), np.ascontiguousarray(rows[:, TOKEN_BYTES:])


class _Reports:
    """A `Progress` that writes to a file, at most ten times a second, for the process that waits for it."""

    def __init__(self, job: BuildJob) -> None:
        self._path = job.report
        self._of = f"{job.audience} {job.partition}"
        self._next = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Write it. Raises OSError if the folder is gone: nobody waits for the job any more."""
        if (now := time.monotonic()) < self._next:
            return
        self._next = now + _REPORT_SECONDS
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            # Of one length, in one write: a reader meets the old report or the new one.
            os.pwrite(file, f"{what} {self._of}\n{done}\n{total}\n".ljust(_REPORT_BYTES).encode(), 0)
        finally:
            os.close(file)


def read_report(path: str) -> tuple[str, int, int] | None:
    """What a job that runs says of itself, as a `Progress` is told it; None if it has said nothing yet."""
    try:
        what, done, total, _ = Path(path).read_text("utf-8").split("\n")
        return what, int(done), int(total)
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def errors_of(what: str) -> Iterator[None]:
    """Turn errors into such as name the job and survive the way back from another process."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{what}: {error}", hint=error.hint) from error
    except ContactSyncError as error:
        raise OurError(f"{what}: {error}", hint=error.hint or STILL_SERVED) from error
    except OSError as error:
        raise OurError(f"{what}: {reason_of(error)}", hint=STILL_SERVED) from error


def reason_of(error: OSError) -> str:
    """What the disk said, and where."""
    reason = "the disk is full" if error.errno in {errno.ENOSPC, errno.EDQUOT} else error.strerror
    return f"publishing stopped: {reason} ({error.filename or 'data folder'})"
