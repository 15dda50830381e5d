"""Erasure: what a file held is overwritten before its name goes, as far as a program can do that.

A file system frees the blocks of a file that is unlinked or cut, and leaves in them what they held. So a file
is filled with zeros in place, these are brought to the disk, and only then is it unlinked: zeros of a file
without a name need never be written. Where the disk itself writes elsewhere than before (solid-state drives,
copy-on-write file systems, snapshots), older copies stay whatever is done here.

Nothing outside of the folder is touched: no symbolic link is followed, and a file that has another name
elsewhere (a hard link) is left alone and reported.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from contactsync.foundation import durable

_STEP = 1 << 20


@dataclass(frozen=True, slots=True)
class Remnant:
    """Something that could not be erased: where it is, and why it is still there."""

    path: Path
    reason: str


@dataclass(slots=True)
class Erased:
    """How many files were overwritten and removed, their octets, and what remains."""

    files: int = 0
    octets: int = 0
    remains: list[Remnant] = field(default_factory=list)

    def add(self, other: Erased) -> None:
        """Count what was erased elsewhere, too."""
        self.files += other.files
        self.octets += other.octets
        self.remains += other.remains


def erase(path: Path, *, spare: frozenset[Path] = frozenset()) -> Erased:
    """Overwrite and remove a file, or a folder and all in it but what is to be spared, durably.

    Never raises OSError: what cannot be overwritten is not removed either, but reported, and the rest goes.
    Permissions that keep the owner out are changed. A path that is not there counts nothing.
    """
    eraser = _Eraser(path, spare)
    eraser.entry(path)
    eraser.links()
    with contextlib.suppress(OSError):  # it is gone already, with the folder, or was not there
        durable.sync_folder(path.parent)
    return eraser.erased


def blank(path: Path) -> None:
    """Overwrite a file with zeros where it is, durably; one that is not there is none. Raises OSError."""
    with contextlib.suppress(FileNotFoundError), _opened(path) as descriptor:
        durable.overwrite(descriptor)


def is_blank(path: Path) -> bool:
    """Whether there is nothing but zeros in a file, or no file. Raises OSError."""
    try:
        with path.open("rb") as file:
            while piece := file.read(_STEP):
                if piece.count(0) != len(piece):
                    return False
    except FileNotFoundError:
        pass
    return True


class _Eraser:
    def __init__(self, root: Path, spare: frozenset[Path]) -> None:
        self.erased = Erased()
        self._root = root
        self._spare = spare
        self._names: dict[tuple[int, int], list[Path]] = {}
        """The names, met so far, of each file that has more than one."""

    def entry(self, path: Path) -> None:
        """Whatever it is."""
        with self._reported(path):
            status = path.lstat()
            if path in self._spare:
                return
            if stat.S_ISDIR(status.st_mode):
                self._folder(path)
            elif stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
                self._names.setdefault((status.st_dev, status.st_ino), []).append(path)
            elif stat.S_ISREG(status.st_mode):
                self._file(path)
            elif stat.S_ISLNK(status.st_mode) and not self._leads_nowhere_else(path):
                self._remains(path, "a link that leads out of the folder: its target was not touched")
            else:
                path.unlink()

    def links(self) -> None:
        """Files with several names: if all of them are ours, the file is ours too."""
        for names in self._names.values():
            *others, last = names
            with self._reported(last):
                if last.lstat().st_nlink > len(names):
                    for path in names:
                        self._remains(path, "it has another name elsewhere (a hard link)")
                    continue
                self._file(last)
                for path in others:
                    path.unlink()
        met = {folder for names in self._names.values() for path in names for folder in path.parents}
        for folder in sorted(met, reverse=True):
            if folder.is_relative_to(self._root):
                with self._reported(folder):
                    _remove_empty(folder)

    def _folder(self, folder: Path) -> None:
        _open_up(folder)
        with os.scandir(folder) as entries:
            paths = sorted(Path(entry.path) for entry in entries)
        for path in paths:
            self.entry(path)
        _remove_empty(folder)

    def _file(self, path: Path) -> None:
        with _opened(path) as descriptor:
            octets = durable.overwrite(descriptor)
        path.unlink()
        self.erased.files += 1
        self.erased.octets += octets

    def _leads_nowhere_else(self, link: Path) -> bool:
        target = Path(os.path.realpath(link))
        folder = self._root.parent.resolve() / self._root.name  # which may be a link itself
        return target.is_relative_to(folder) or not target.exists()

    @contextlib.contextmanager
    def _reported(self, path: Path) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            pass
        except OSError as error:
            where = Path(error.filename) if isinstance(error.filename, str) else path
            self._remains(where, error.strerror or str(error))

    def _remains(self, path: Path, reason: str) -> None:
        self.erased.remains.append(Remnant(path, reason))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A file to write to, never through a link, and never waiting for somebody at a pipe."""
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except PermissionError:
        path.chmod(durable.PRIVATE_FILE)
        descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_up(folder: Path) -> None:
    """Have the owner read and change a folder."""
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        with contextlib.suppress(OSError):
            folder.chmod(durable.PRIVATE_FOLDER)


def _remove_empty(folder: Path) -> None:
    """Remove a folder, unless there is something in it still, which was reported or spared."""
    try:
        folder.rmdir()
    except OSError:
        if not any(folder.iterdir()):
            raise
