"""Data files: directories, deltas and screens, from a publisher who may sign nonsense."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from directory.directory_forge import fetcher, sealed

import contactsync
from contactsync.audit.vectors.octets import resolved
from contactsync.directory import buckets, build, match, open_directory
from contactsync.directory.delta import apply_to_directory, check_against, read_delta
from contactsync.directory.format import DataFile, DirectoryInfo, Layout
from contactsync.directory.ranges import RangeReader, at_width, buckets_of, chosen
from contactsync.directory.screen import open_screen
from contactsync.foundation.errors import BadDirectory
from contactsync.tokens import TOKEN_BYTES, Tokens
from fuzz import scratch
from fuzz.target import Target

_VECTORS = Path(contactsync.__file__).parent / "vectors"
_TOKENS = b"".join(hashlib.sha512(b"%d" % i).digest()[:TOKEN_BYTES] for i in range(200))
_WORDS = (
    b"\0" * 8,
    b"\xff" * 8,
    b"\x01\0\0\0\0\0\0\0",
    b"\0\x10",
    b"\xff\xff",
    b"\x0c",
    b"\x18",
    b"\x20",
    b"\x28",
    b"\0\0\0\x80",
)


def _tokens(octets: bytes) -> Tokens:
    return Tokens.from_bytes(np.frombuffer(octets, np.uint8).reshape(-1, TOKEN_BYTES))


@functools.cache
def _vectors(name: str) -> tuple[bytes, ...]:
    """The files of a vector file, good and bad."""
    said = json.loads((_VECTORS / f"{name}.json").read_bytes())
    files: dict[str, bytes] = {}
    for one, spec in said["files"].items():
        files[one] = resolved(spec, files)
    found = list(files.values())
    for case in itertools.chain.from_iterable(group["cases"] for group in said["groups"]):
        given: list[Any] = [resolved(value, files) for value in case["given"].values()]
        found += [value for value in given if isinstance(value, bytes)]
    return tuple(dict.fromkeys(one for one in found if len(one) <= 1 << 15))


@functools.cache
def _built(count: int, bits: int) -> bytes:
    build(scratch.folder() / "built", [_tokens(_TOKENS[: count * TOKEN_BYTES])], remainder_bits=bits)
    return (scratch.folder() / "built").read_bytes()


def _resealed(data: bytes) -> tuple[bytes, DirectoryInfo] | None:
    """The file with right hashes, as somebody publishes it who has the keys; None if it has no such places."""
    try:
        return sealed(bytearray(data))
    except (IndexError, ValueError, BadDirectory, OverflowError):
        return None


def _directory(data: bytes) -> None:
    """A file that is accepted holds what kernels and NumPy alike read, finds it, and is what a builder writes."""
    info = None
    if data[:1] == b"\1" and len(data) < 1 << 16:
        found = _resealed(data[1:])
        if found is not None:
            data, info = b"\1" + found[0], found[1]
    path = scratch.written("directory", data[1:])
    with open_directory(path, expect=info) as directory:
        span = directory.span
        slow = buckets.decode(span, "directory", kernels=False)
        fast = buckets.decode(span, "directory", kernels=True)
        assert (slow.key == fast.key).all() and (slow.extra == fast.extra).all()
        assert len(slow) == directory.count
        tokens = _tokens(_TOKENS)
        hits = match(tokens, directory)
        by_value = {(int(key), int(extra)) for key, extra in zip(slow.key, slow.extra, strict=True)}
        values = directory.truncate(tokens)
        assert hits.tolist() == [
            (int(key), int(extra)) in by_value for key, extra in zip(values.key, values.extra, strict=True)
        ]
        described, slots = directory.info, directory.info.slot_bits
    if info is not None:
        reader = RangeReader(described, fetcher(data[1:]))
        numbers = chosen(set(buckets_of(described, tokens).tolist()), 1 << (slots - 12), bytes(32))
        assert reader.match(tokens, numbers).found.tolist() == hits.tolist()
        assert at_width(numbers, slots, described) == numbers


def _ranges(data: bytes) -> None:
    """Parts of a file: what comes back is what was signed, or it is refused."""
    content = _built(200, 32)
    info = _resealed(content)
    assert info is not None
    calls = itertools.count()

    def fetch(places: list[range]) -> list[bytes]:
        parts = [content[place.start : place.stop] for place in places]
        if next(calls) == (data[0] % 3 if data else 0):
            parts[0] = data[1:]
        return parts

    tokens = _tokens(_TOKENS)
    found = RangeReader(info[1], fetch).match(tokens, sorted(set(buckets_of(info[1], tokens).tolist())))
    assert found.found.all()


def _delta(data: bytes) -> None:
    """A delta that fits leads to a directory that can be built, with the hash that it names or not at all."""
    if data[:1] == b"\1" and len(data) > 33:
        data = data[:-32] + hashlib.sha256(data[1:-32]).digest()
    delta = read_delta(scratch.written("delta", data[1:]))
    assert len(delta.removed) + len(delta.added) <= len(data)
    for base in _BASES():
        with open_directory(scratch.written("base", base), expect=None) as directory:
            mask = match(_tokens(_TOKENS), directory)
            delta.apply_to_mask(_tokens(_TOKENS), mask)
            try:
                check_against([delta], directory)
            except BadDirectory:
                continue
            (scratch.folder() / "next").unlink(missing_ok=True)
            try:
                made = apply_to_directory(scratch.folder() / "next", directory, [delta])
            except BadDirectory:
                continue
            assert made.file.sha256 == delta.new_sha256


@functools.cache
def _BASES() -> tuple[bytes, ...]:
    said = json.loads((_VECTORS / "delta.json").read_bytes())
    files: dict[str, bytes] = {}
    for one, spec in said["files"].items():
        files[one] = resolved(spec, files)
    return tuple(one for one in files.values() if one.startswith(b"CSDIR"))[:4]


def _screen(data: bytes) -> None:
    """A screen that is accepted lets through about as many strangers as it says."""
    head, count = data[:64], 1 << 17
    info = DirectoryInfo(
        count, 17, 32, "ab" * 32, DataFile("cd" * 32, Layout(count, 17, 32, 0).length, "ef" * 8)
    )
    body = _screen_body()
    patched = bytearray(body)
    patched[: len(head[:32])] = head[:32]
    for at in range(32, len(data) - 3, 4):  # places and octets
        patched[int.from_bytes(data[at : at + 3], "little") % len(patched)] = data[at + 3]
    screen = open_screen(scratch.written("screen", bytes(patched)), info)
    assert screen.test(_tokens(_TOKENS)).mean() < 0.1


@functools.cache
def _screen_body() -> bytes:
    from contactsync.directory.screen import build_screen

    digests = b"".join(hashlib.sha512(b"crowd %d" % i).digest()[:TOKEN_BYTES] for i in range(1 << 17))
    build(scratch.folder() / "crowd", [_tokens(digests)], remainder_bits=32)
    with open_directory(scratch.folder() / "crowd", expect=None) as directory:
        build_screen(scratch.folder() / "crowd.screen", directory)
    return (scratch.folder() / "crowd.screen").read_bytes()


def _directories() -> list[bytes]:
    files = [one for one in (*_vectors("directory"), _built(200, 32), _built(150, 40)) if len(one) <= 4000]
    return [b"\1" + one for one in files] + [b"\0" + one for one in files[:3]]


TARGETS = (
    Target("directory", _directory, _directories, (BadDirectory,), words=_WORDS, longest=6000, runs=200),
    Target(
        "directory-ranges",
        _ranges,
        lambda: [bytes([i]) + _built(200, 32)[: 64 + 32 * i] for i in range(3)],
        (BadDirectory,),
        words=_WORDS,
        longest=6000,
        runs=60,
    ),
    Target(
        "delta",
        _delta,
        lambda: [b"\1" + one for one in _vectors("delta") if not one.startswith(b"CSDIR")],
        (BadDirectory,),
        words=_WORDS,
        runs=200,
    ),
    Target(
        "screen",
        _screen,
        lambda: [_screen_body()[:32], b"", bytes(40)],
        (BadDirectory,),
        words=_WORDS,
        longest=256,
        runs=60,
    ),
)
