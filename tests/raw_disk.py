"""What a raw disk may still hold after a command, also of files to which no name leads any more.

`ghosts` reads a recording of `power_cut`. A file system writes over a file's octets in place, and does not
wipe the blocks that it frees. So what was on the disk of a file when its last name went, or of its end when
it was cut off, stays there. That is what was there at the last fsync; what was written after it, may be there
too. Zeros that no fsync followed do not count: a file that is unlinked is not written out.

`image` is the same in reality: ext4 in a file, mounted, to be read as a whole after it is unmounted.
"""

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from power_cut import FILE, Data, Names, Recording, Sync, _apply, _write


def ghosts(recording: Recording) -> Iterator[tuple[str, bytes]]:
    """(Last path, octets) of all that was freed."""
    names = {folder: dict(entries) for folder, entries in recording.before.items()}
    paths = _paths(names)
    blocks = _Blocks(recording)
    for event in recording.events:
        freed = []
        if isinstance(event, Data):
            freed = [(paths[event.inode], octets) for octets in blocks.write(event)]
        elif isinstance(event, Sync):
            blocks.sync(event.inode)
        elif isinstance(event, Names):
            _apply(names, event.changes)
            there = _paths(names)
            gone = [inode for inode in paths if inode not in there and recording.kinds[inode] == FILE]
            freed = [(paths[inode], octets) for inode in gone for octets in blocks.free(inode, 0)]
            paths = there
        yield from freed


class _Blocks:
    """What is on the disk of each file, and what may be."""

    def __init__(self, recording: Recording) -> None:
        self._now = {inode: bytearray(content) for inode, content in recording.first.items()}
        self._safe = dict(recording.first)
        self._since: dict[int, list[bytes]] = {}
        """What was written since the last fsync."""

    def write(self, event: Data) -> list[bytes]:
        """Write, or cut off; what was freed by that."""
        content = self._now.setdefault(event.inode, bytearray())
        cut_off = event.size is not None and event.size < len(content)
        freed = self.free(event.inode, event.size) if cut_off else []
        _write(content, event)
        self._since.setdefault(event.inode, []).append(event.octets)
        return freed

    def sync(self, inode: int | None) -> None:
        for one in self._now if inode is None else {inode} & set(self._now):
            self._safe[one] = bytes(self._now[one])
            self._since.pop(one, None)

    def free(self, inode: int, start: int) -> list[bytes]:
        """What may be on the disk of a file from there on, which is not the file's any more."""
        safe = self._safe.get(inode, b"")
        self._safe[inode] = safe[:start]
        return [safe[start:], *self._since.pop(inode, [])]


def created(recording: Recording) -> set[str]:
    """Every path that there ever was."""
    names = {folder: dict(entries) for folder, entries in recording.before.items()}
    found = set(_paths(names).values())
    for event in recording.events:
        if isinstance(event, Names):
            _apply(names, event.changes)
            found |= set(_paths(names).values())
    return found


def readable(needles: Iterable[bytes], octets: bytes) -> set[bytes]:
    """Those of the needles that can be read in the octets."""
    return {needle for needle in needles if needle in octets}


def _paths(names: dict, inode: int = 0, above: str = "") -> dict[int, str]:
    found = {}
    for name, child in names.get(inode, {}).items():
        found[child] = above + name
        found |= _paths(names, child, f"{above}{name}/")
    return found


def used(disk: Path) -> bytes:
    """What is on a raw disk, without the blocks that are zeros."""
    with disk.open("rb") as file:
        return b"".join(block for block in iter(lambda: file.read(4096), b"") if block.strip(b"\0"))


def can_mount(folder: Path) -> bool:
    """Whether this machine lets us mount an image."""
    try:
        with image(folder):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def image(folder: Path) -> Iterator[tuple[Path, Path]]:
    """(Where a fresh ext4 is mounted, the file that is its disk). The file stays."""
    disk, place = folder / "disk.img", folder / "mounted"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    place.mkdir(exist_ok=True)
    make = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin") or "mkfs.ext4"
    for command in ([make, "-q", "-F", str(disk)], ["mount", "-o", "loop", str(disk), str(place)]):
        subprocess.run(command, check=True, capture_output=True)
    try:
        yield place, disk
    finally:
        subprocess.run(["umount", str(place)], check=True)
