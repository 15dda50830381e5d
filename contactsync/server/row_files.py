"""The files of rows that private look-ups are answered from: `rows/AUDIENCE/ROOT.rows` in the data folder.

They are not published, copied or backed up: each follows from the bases of its edition, and from its sidecars
if the rows have labels. Whoever serves makes it from these. The publisher makes it first, to state the root.
A server that does not have it makes it with `ensure_rows`. A file of the right root that is there counts as
right, whatever the bases are: a mirror, which believes no root that it did not make, uses `make_rows`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from contactsync.directory import DataFile
from contactsync.foundation import durable
from contactsync.foundation.errors import BadDirectory, BadInput, OurError
from contactsync.lookup.table import RowTable
from contactsync.lookup.table_file import BuiltTable, open_table
from contactsync.publication.manifest import Manifest, Partition, PublishedRows
from contactsync.publication.row_building import build_rows

ROWS_SERVED: Final = 2
"""Of how many editions the rows are kept: servers may be one edition apart, and are asked about the older."""

_ENDING: Final = ".rows"
_WORK: Final = ".making"


def row_file(folder: Path, audience: str, root: bytes) -> Path:
    """Where the rows of a root are, or would be, in the folder of all of them."""
    return folder / audience / f"{root.hex()}{_ENDING}"


def with_rows(history: Iterable[Manifest], most: int = ROWS_SERVED) -> list[Manifest]:
    """Of the manifests of an audience that are served, the newest first, those whose rows are kept."""
    return [manifest for manifest in history if manifest.rows is not None][:most]


def in_service(data: Path, root: bytes) -> bool:
    """Whether the level of a root is among the data files: it goes with what is taken out of service."""
    return (data / root.hex()).exists()


def ensure_rows(folder: Path, manifest: Manifest, public: Path) -> Path:
    """The file of the rows that a manifest states, made if it is missing or is another one.

    `folder` has those of all audiences, `public` the data files (in its `data`). What is there already is
    verified against the root, which takes about as long as making it. Others that want to make it wait.

    Raises BadDirectory if the rows that the publisher has signed are not those of its directories: nobody may
    serve them; BadInput or BadDirectory if a base is missing or damaged (those of an earlier edition may have
    been taken out of service, and then its rows with them); OurError (the disk).
    """
    rows = manifest.rows
    if rows is None:
        raise BadInput(
            f"edition {manifest.edition} of {manifest.audience} has no rows",
            hint="its operator switches them on: `server publish --private-lookup yes`",
        )
    table, path = rows.table(manifest.partitions), row_file(folder, manifest.audience, rows.root)
    if _is_right(path, table, rows.root):
        return path
    with _alone(path.parent) as work:
        if not _is_right(path, table, rows.root):  # else another process has made it meanwhile
            built = _build(work / "rows", manifest.partitions, public / "data", rows.labelled, rows.fold_bits)
            if (built.root, built.table.shape.most) != (rows.root, rows.most):
                raise BadDirectory(
                    f"the rows that edition {manifest.edition} of {manifest.audience} states are not those of"
                    f" its directories{' and labels' if rows.labelled else ''}",
                    hint="They are not served. The operator of the publication must publish it again.",
                    refusal="bad-hash",
                )
            durable.rename(work / "rows", path)
            if not in_service(public / "data", rows.root):  # meanwhile: who removes rows does not wait for us
                with contextlib.suppress(FileNotFoundError):
                    durable.remove(path)
                raise BadInput(f"edition {manifest.edition} of {manifest.audience} was taken out of service")
    return path


def open_rows(folder: Path, manifest: Manifest, public: Path) -> NDArray[np.uint8]:
    """The rows that a manifest states, mapped and verified, uint8[blocks, block_bytes]. As `ensure_rows`."""
    rows = manifest.rows
    if rows is not None:
        table, path = rows.table(manifest.partitions), row_file(folder, manifest.audience, rows.root)
        with contextlib.suppress(BadDirectory, BadInput):  # the usual case: verified once
            return open_table(path, table, rows.root)
    path = ensure_rows(folder, manifest, public)
    assert rows is not None
    return open_table(path, rows.table(manifest.partitions), rows.root)


def make_rows(
    folder: Path,
    audience: str,
    partitions: Mapping[str, Partition],
    data: Path,
    *,
    labelled: bool,
    fold_bits: int,
) -> tuple[PublishedRows, bytes]:
    """Make the rows of the partitions of an edition, whose bases are in `data`; what to state, and the level.

    With the labels of all that have some, if the rows are to be `labelled`: their sidecars are there, too. In
    blocks of 2^fold_bits.
    Raises as `build_table`.
    """
    place = folder / audience
    with _alone(place) as work:
        built = _build(work / "rows", partitions, data, labelled, fold_bits)
        durable.rename(work / "rows", row_file(folder, audience, built.root))
    level = DataFile(
        hashlib.sha256(built.level).hexdigest(), len(built.level), xxhash.xxh3_64_hexdigest(built.level)
    )
    return PublishedRows(level, built.table.shape.most, labelled, fold_bits), built.level


def remove_rows(folder: Path, audience: str, keep: Iterable[PublishedRows]) -> None:
    """Remove all files of rows of an audience but these, and what killed processes have left. OSError.

    They are gone when it returns, whatever happens to the machine.
    """
    place = folder / audience
    if not place.is_dir():
        return
    kept = {row_file(folder, audience, rows.root).name for rows in keep}
    for path in place.iterdir():
        if path.name not in kept and path.suffix == _ENDING:
            path.unlink(missing_ok=True)
    durable.sync_folder(place)
    with _locked(place, wait=False) as is_locked:
        if is_locked:
            shutil.rmtree(place / _WORK, ignore_errors=True)


def _build(
    path: Path, partitions: Mapping[str, Partition], data: Path, labelled: bool, fold_bits: int
) -> BuiltTable:
    return build_rows(path, partitions, lambda sha256: data / sha256, labelled=labelled, fold_bits=fold_bits)


def _is_right(path: Path, table: RowTable, root: bytes) -> bool:
    try:
        open_table(path, table, root)
    except (BadDirectory, BadInput):
        return False
    return True


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[Path]:
    """An empty folder in `place` for what is being made there; others wait until it goes."""
    try:
        for folder in (place.parent, place):
            durable.make_folder(folder, mode=durable.PUBLIC_FOLDER)
        with _locked(place, wait=True):
            work = place / _WORK
            shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
            work.mkdir(durable.PRIVATE_FOLDER)
            try:
                yield work
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise OurError(
            f"the rows cannot be made: {error.strerror} ({error.filename or place})",
            hint="Check the free space and the permissions of that folder.",
        ) from error


@contextlib.contextmanager
def _locked(place: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of a folder, which goes with the process; whether it was free, unless one waits."""
    lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)
