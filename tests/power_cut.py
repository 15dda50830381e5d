"""Cuts the power: records what a real command does to a folder, and gives every state that a cut may leave.

`record` runs a command under strace. `Recording.cuts` then takes each prefix of its system calls, and of what
none of them has brought to the disk lets anything be there or not:

- what was written to a file and not followed by fsync of that file is there, is not, is there in part, or is
  zeros;
- a name that was made, moved or deleted, not followed by fsync of its folder, is or is not. Names of one
  folder may reach the disk in any order, each whole; without its own name a folder is lost with all in it.

So it is less than any real file system promises. What was printed stands among the calls: a cut after success
was reported is told from one before. Writes through shared mappings are not seen (SQLite's `-shm`, which it
makes anew): that the last state is the real one is checked, so nothing else can be missed.
"""

import itertools
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

STRACE = shutil.which("strace")
needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is not installed; .ci/run installs it")

CALLS = (
    "open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,lseek,ftruncate,truncate,fallocate,sendfile,"
    "copy_file_range,fsync,fdatasync,sync,syncfs,sync_file_range,rename,renameat,renameat2,link,linkat,"
    "symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat"
)
LINE = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)(.*)", re.DOTALL)
UNFINISHED = re.compile(r"(.*) <unfinished \.\.\.>")
RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
MEMORY = "/dev/shm"  # what is found is looked at there: no fsync takes time
FILE, FOLDER, LINK = "file", "folder", "link"
TORN = ("none", "all", "part", "zeros", "some")


@dataclass(frozen=True)
class Data:
    """Octets written to a file; `size` instead of them is a truncation."""

    inode: int
    offset: int = 0
    octets: bytes = b""
    size: int | None = None


@dataclass(frozen=True)
class Names:
    """What is atomic of a folder: (folder, name, inode or None). The first folder's fsync makes it last."""

    changes: tuple[tuple[int, str, int | None], ...]


@dataclass(frozen=True)
class Sync:
    inode: int | None
    """None is everything."""


@dataclass(frozen=True)
class Said:
    text: str


@dataclass(frozen=True)
class Cut:
    """What is on the disk after a cut: (path, kind, content), and what had been printed before it."""

    tree: tuple[tuple[str, str, bytes], ...]
    said: str

    @contextmanager
    def at(self) -> Iterator[Path]:
        """The folder as it is found after the cut; removed in the end."""
        folder = Path(tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
        for name, kind, content in self.tree:
            path = folder / name
            if kind == FOLDER:
                path.mkdir(mode=0o700)
            elif kind == LINK:
                path.symlink_to(content.decode())
            else:
                path.touch(mode=0o600)
                path.write_bytes(content)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


@dataclass
class Recording:
    folder: Path
    kinds: dict[int, str] = field(default_factory=dict)
    targets: dict[int, bytes] = field(default_factory=dict)
    first: dict[int, bytes] = field(default_factory=dict)
    """Contents before the command."""
    events: list[Data | Names | Sync | Said] = field(default_factory=list)
    names: dict[int, dict[str, int]] = field(default_factory=dict)
    """As they are now, while the calls are read."""
    before: dict[int, dict[str, int]] = field(default_factory=dict)
    now: dict[int, bytearray] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)

    # What was recorded

    def new(self, kind: str, content: bytes = b"") -> int:
        inode = len(self.kinds)
        self.kinds[inode] = kind
        if kind == FOLDER:
            self.names[inode] = {}
        elif kind == LINK:
            self.targets[inode] = content
        else:
            self.now[inode] = bytearray(content)
        return inode

    def load(self, folder: Path) -> int:
        own = self.new(FOLDER)
        for path in sorted(folder.iterdir()):
            if path.is_symlink():
                inode = self.new(LINK, os.fsencode(path.readlink()))
            elif path.is_dir():
                inode = self.load(path)
            else:
                inode = self.new(FILE, path.read_bytes())
            self.names[own][path.name] = inode
        return own

    def place(self, path: str) -> tuple[int, str] | None:
        """Folder and name of a path; None if it is elsewhere or its folder is not there."""
        relative = os.path.relpath(path, self.folder) if path else ".."
        if relative.startswith(".."):
            return None
        *above, name = Path(relative).parts or ("",)
        inode = 0
        for part in above:
            inode = self.names.get(inode, {}).get(part, -1)
        return (inode, name) if inode in self.names else None

    def inode(self, path: str) -> int | None:
        if path == str(self.folder):
            return 0
        place = self.place(path)
        return None if place is None else self.names[place[0]].get(place[1])

    def change(self, *changes: tuple[int, str, int | None]) -> None:
        self.events.append(Names(changes))
        _apply(self.names, changes)

    def write(self, inode: int, offset: int, octets: bytes) -> None:
        self.events.append(Data(inode, offset, octets))
        _write(self.now[inode], self.events[-1])

    def resize(self, inode: int, size: int) -> None:
        self.events.append(Data(inode, size=size))
        _write(self.now[inode], self.events[-1])

    # What may be left of it

    def cuts(self, *, most: int = 400, seed: int = 0) -> list[Cut]:
        """Different states that a cut may leave, at most about so many; all of them, if they are fewer."""
        chance = random.Random(seed)
        found: dict[Cut, None] = {}
        for end in range(len(self.events) + 1):
            for cut in self._cuts_after(self.events[:end], chance):
                found.setdefault(cut)
        early = [cut for cut in found if cut.said != self.said]
        late = [cut for cut in found if cut.said == self.said]
        return [
            cut
            for group in (early, late)
            for cut in (group if len(group) <= most // 2 else chance.sample(group, most // 2))
        ]

    @property
    def said(self) -> str:
        """All that was printed."""
        return "".join(event.text for event in self.events if isinstance(event, Said))

    def _cuts_after(self, events: list, chance: random.Random) -> Iterator[Cut]:
        said = "".join(event.text for event in events if isinstance(event, Said))
        data: dict[int, list[Data]] = {}
        safe: dict[int, int] = {}
        changes: list[Names] = []
        lasting: set[int] = set()
        for event in events:
            match event:
                case Data():
                    data.setdefault(event.inode, []).append(event)
                case Names():
                    changes.append(event)
                case Sync(inode):
                    safe.update((i, len(d)) for i, d in data.items() if inode in {None, i})
                    lasting.update(i for i, c in enumerate(changes) if inode in {None, c.changes[0][0]})
        loose = [i for i in range(len(changes)) if i not in lasting]
        dirty = [inode for inode, writes in data.items() if safe.get(inode, 0) < len(writes)]
        options = [(True, False)] * len(loose) + [TORN] * len(dirty)
        seeds = chance.getrandbits(32)
        for choice in _choices(options, chance):
            kept = lasting.union(i for i, there in zip(loose, choice, strict=False) if there)
            how = dict(zip(dirty, choice[len(loose) :], strict=True))
            names = {inode: dict(entries) for inode, entries in self.before.items()}
            for i in sorted(kept):
                _apply(names, changes[i].changes)
            contents = {}
            for inode, writes in data.items():
                safely, loosely = writes[: safe.get(inode, 0)], writes[safe.get(inode, 0) :]
                loosely = _torn(loosely, how.get(inode, "all"), seeds)
                contents[inode] = _written(self.first.get(inode, b""), [*safely, *loosely])
            yield Cut(tuple(self._tree(names, contents)), said)

    def _tree(self, names: dict, contents: dict, inode: int = 0, above: str = "") -> Iterator[tuple]:
        for name, child in sorted(names.get(inode, {}).items()):
            if name.endswith("-shm"):
                continue
            kind = self.kinds[child]
            if kind == FOLDER:
                yield above + name, kind, b""
                yield from self._tree(names, contents, child, f"{above}{name}/")
            elif kind == LINK:
                yield above + name, kind, self.targets[child]
            else:
                yield above + name, kind, contents.get(child, self.first.get(child, b""))

    def check(self) -> None:
        """That the calls lead to what is really there."""
        contents = {inode: bytes(content) for inode, content in self.now.items()}
        real = Recording(self.folder)
        real.load(self.folder)
        there = {inode: bytes(content) for inode, content in real.now.items()}
        assert list(self._tree(self.names, contents)) == list(real._tree(real.names, there))


def _choices(options: list, chance: random.Random, most: int = 64) -> Iterator[tuple]:
    """Every way to choose one of each, or so many of them by chance if there are more."""
    count = 1
    for option in options:
        count *= len(option)
    if count <= most:
        yield from itertools.product(*options)
        return
    for extreme in (0, 1):
        yield tuple(option[extreme] for option in options)
    for _ in range(most):
        yield tuple(chance.choice(option) for option in options)


def _apply(names: dict[int, dict[str, int]], changes: tuple) -> None:
    for folder, name, inode in changes:
        if inode is None:
            names.setdefault(folder, {}).pop(name, None)
        else:
            names.setdefault(folder, {})[name] = inode


def _write(content: bytearray, event: Data) -> None:
    if event.size is not None:
        del content[event.size :]
    end = event.offset + len(event.octets) if event.size is None else event.size
    content.extend(bytes(max(0, end - len(content))))
    if event.octets:
        content[event.offset : end] = event.octets


def _written(first: bytes, writes: list[Data]) -> bytes:
    content = bytearray(first)
    for event in writes:
        _write(content, event)
    return bytes(content)


def _torn(writes: list[Data], how: str, seed: int) -> list[Data]:
    """What of these has reached the disk."""
    match how:
        case "none":
            return []
        case "zeros":
            return [replace(event, octets=bytes(len(event.octets))) for event in writes]
        case "some":
            chance = random.Random(seed)
            return [event for event in writes if chance.random() < 0.5]
        case "part":
            last = writes[-1]
            return [*writes[:-1], replace(last, octets=last.octets[: len(last.octets) // 2])]
    return writes


# How it is recorded


def record(folder: Path, command: list[str], *, code: int = 0) -> Recording:
    """Run a command, which must exit with `code`, and record what it does to the folder and prints."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*options: str) -> None:
        strace = [STRACE, "-f", "--seccomp-bpf", *options]
        done = subprocess.run(
            [*strace, *command], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == code, done.stderr

    return recorded(folder, run)


def recorded(folder: Path, run: Callable[..., None]) -> Recording:
    """Record what `run` does to the folder: it runs a command under strace with the options it is given."""
    recording = Recording(folder.resolve())
    recording.load(recording.folder)
    recording.before = {inode: dict(entries) for inode, entries in recording.names.items()}
    recording.first = {inode: bytes(content) for inode, content in recording.now.items()}
    trace = folder.with_name(f"{folder.name}.strace")
    run("-y", "-xx", "-s", str(1 << 26), "-e", f"trace={CALLS}", "-o", str(trace))
    for name, arguments, result in _calls(trace):
        _take(recording, name, arguments, result)
    trace.unlink()
    recording.check()
    return recording


def python(script: str, *arguments: object) -> list[str]:
    """The command that runs a few lines of Python."""
    return [sys.executable, "-c", script, *map(str, arguments)]


def _calls(trace: Path) -> Iterator[tuple[str, list[str], int]]:
    unfinished: dict[str, str] = {}
    with trace.open(encoding="ascii") as lines:
        for line in lines:
            thread, _, text = line.rstrip("\n").partition(" ")
            text = text.strip()
            if found := UNFINISHED.fullmatch(text):
                unfinished[thread] = found[1]
                continue
            if found := RESUMED.fullmatch(text):
                text = unfinished.pop(thread) + found[1]
            if (found := LINE.fullmatch(text)) and not found[3].startswith("-"):
                yield found[1], found[2].split(", "), int(found[3])


def _text(argument: str) -> bytes:
    """The octets of a string argument, which is all hex."""
    return bytes.fromhex(argument.strip('"').replace("\\x", ""))


def _path(argument: str) -> str:
    """The path of a descriptor; empty if it has none (any more)."""
    found = re.fullmatch(r"[^<]*<((?:\\x[0-9a-f]{2})+)>", argument)
    return os.fsdecode(_text(found[1])) if found else ""


def _join(folder: str, name: str) -> str:
    return os.path.normpath(Path(_path(folder) or Path.cwd(), os.fsdecode(_text(name))))


def _take(recording: Recording, name: str, arguments: list[str], result: int) -> None:
    """Add what one system call did."""
    match name, arguments:
        case ("write", [descriptor, octets, *_]) if re.match(r"[12]\b", descriptor):
            recording.events.append(Said(_text(octets).decode()))
        case ("open" | "openat" | "creat", _):
            _open(recording, name, arguments, result)
        case ("rename", [old, new]):
            _rename(recording, _join("", old), _join("", new))
        case ("renameat" | "renameat2", [one, old, other, new, *_]):
            _rename(recording, _join(one, old), _join(other, new))
        case ("mkdir" | "symlink" | "unlink" | "rmdir", [first, *others]):
            _name(recording, name, first, _join("", others[0] if name == "symlink" else first))
        case ("mkdirat" | "unlinkat", [descriptor, path, *_]):
            _name(recording, name, path, _join(descriptor, path))
        case ("symlinkat", [target, descriptor, path]):
            _name(recording, name, target, _join(descriptor, path))
        case ("sync" | "syncfs", _):
            recording.events.append(Sync(None))
        case ("truncate" | "link" | "linkat", _):
            assert str(recording.folder) not in str([_text(a) for a in arguments if a.startswith('"')]), name
        case (_, [descriptor, *rest]):
            inode = recording.inode(_path(descriptor))
            if inode is not None:
                _file(recording, name, descriptor, inode, rest, result)


def _open(recording: Recording, name: str, arguments: list[str], result: int) -> None:
    path, flags = (_join(arguments[0], arguments[1]), arguments[2]) if name == "openat" else (
        _join("", arguments[0]),
        arguments[1] if name == "open" else "O_CREAT|O_TRUNC",
    )  # fmt: skip
    place = recording.place(path)
    if place is None:
        return
    inode = recording.inode(path)
    if inode is None:
        assert "O_CREAT" in flags, path
        recording.change((*place, recording.new(FILE)))
    elif "O_TRUNC" in flags and recording.now[inode]:
        recording.resize(inode, 0)
    assert "O_APPEND" not in flags, path
    recording.positions[f"{result}"] = 0


def _rename(recording: Recording, old: str, new: str) -> None:
    source, target = recording.place(old), recording.place(new)
    if source is not None and target is not None:
        recording.change((*target, recording.inode(old)), (*source, None))
    else:
        assert source is target is None, f"{old} → {new}"


def _name(recording: Recording, name: str, first: str, path: str) -> None:
    place = recording.place(path)
    if place is None:
        return
    if name.startswith("mkdir"):
        recording.change((*place, recording.new(FOLDER)))
    elif name.startswith("symlink"):
        recording.change((*place, recording.new(LINK, _text(first))))
    else:
        recording.change((*place, None))


def _file(recording: Recording, name: str, descriptor: str, inode: int, rest: list[str], result: int) -> None:
    number = descriptor.partition("<")[0]
    match name:
        case "fsync" | "fdatasync":
            recording.events.append(Sync(inode))
        case "lseek":
            recording.positions[number] = result
        case "write":
            recording.write(inode, recording.positions[number], _text(rest[0])[:result])
            recording.positions[number] += result
        case "pwrite64":
            recording.write(inode, int(rest[2]), _text(rest[0])[:result])
        case "ftruncate":
            recording.resize(inode, int(rest[0]))
        case "sendfile":
            source = recording.inode(_path(rest[0]))
            start = int(re.match(r"\[(\d+)\]", rest[1])[1])
            octets = bytes(recording.now[source][start : start + result])
            recording.write(inode, recording.positions[number], octets)
            recording.positions[number] += result
        case "fallocate" if rest[0] == "0" and int(rest[1]) + int(rest[2]) <= len(recording.now[inode]):
            pass
        case _:
            raise AssertionError(f"{name} is not understood")
