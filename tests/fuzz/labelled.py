"""Labels: entries, sidecars and their deltas, from a publisher who may sign nonsense."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

import contactsync
from contactsync import labels
from contactsync.audit.vectors.octets import resolved
from contactsync.directory import build, open_directory
from contactsync.directory.format import DataFile
from contactsync.directory.sidecar import Sidecar, SidecarInfo, open_sidecar
from contactsync.directory.sidecar_apply import apply_to_sidecar
from contactsync.directory.sidecar_delta import (
    SidecarDelta,
    check_chain,
    entries_through,
    read_sidecar_delta,
)
from contactsync.directory.sidecar_format import SidecarLayout
from contactsync.directory.sidecar_ranges import SidecarRangeReader
from contactsync.foundation.errors import BadDirectory, BadInput
from contactsync.tokens import TOKEN_BYTES, Tokens
from fuzz import scratch
from fuzz.target import Target

_VECTORS = Path(contactsync.__file__).parent / "vectors" / "labels.json"
_KEY = np.frombuffer(hashlib.sha256(b"a label key").digest(), np.uint8).reshape(1, -1)
_CONTEXT = labels.context("people", 1)
_WORDS = (
    b"\0" * 4,
    b"\xff" * 4,
    b"\0" * 8,
    b"\xff" * 8,
    b"\x10",
    b"\x20",
    b"\x30",
    b"\x40",
    b"\x0c",
    b"\xc2\x9b",
    b"\xed\xa0\xbd",
    b"\x1b[",
)


@functools.cache
def _vectors(magic: bytes) -> tuple[bytes, ...]:
    """The files of the vectors that begin so, good and bad."""
    said = json.loads(_VECTORS.read_bytes())
    files: dict[str, bytes] = {}
    for one, spec in said["files"].items():
        files[one] = resolved(spec, files)
    found = list(files.values())
    for case in itertools.chain.from_iterable(group["cases"] for group in said["groups"]):
        given: list[Any] = [resolved(value, files) for value in case["given"].values()]
        found += [value for value in given if isinstance(value, bytes)]
    return tuple(dict.fromkeys(one for one in found if one.startswith(magic) and len(one) <= 8000))


def _text(data: bytes) -> None:
    """A text that is accepted is sealed and opened again."""
    octets = labels.check_label(data.decode("utf-8", "surrogatepass"))
    entry = labels.seal(_KEY, [octets], 64, _CONTEXT)
    assert labels.unseal(_KEY, entry, _CONTEXT) == [octets]


def _opened(data: bytes) -> None:
    """Whatever a publisher seals, what is shown of it is a label, or nothing."""
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    size = labels.size_for(min(64, len(data)))
    text = data[:size].ljust(size, b"\0")
    entry = np.frombuffer(AESSIV(_KEY.tobytes()).encrypt(text, [_CONTEXT]), np.uint8).reshape(1, -1)
    (label,) = labels.unseal(_KEY, entry, _CONTEXT)
    if label:
        assert labels.check_label(label.decode()) == label == text.rstrip(b"\0")
    raw = np.frombuffer(text + bytes(16), np.uint8).reshape(1, -1)
    assert labels.unseal(_KEY, raw, _CONTEXT) == [None]


def _rehashed(data: bytes) -> tuple[bytes, SidecarInfo] | None:
    """The file with right hashes, as somebody publishes it who has the keys; None if it has no such places."""
    try:
        layout = SidecarLayout.unpack(data[:64], "sidecar")
    except BadDirectory:
        return None
    if layout.pages > 16:
        return None
    whole = bytearray(data)
    for number in range(layout.pages):
        at = layout.index_offset + number * layout.page_bytes
        digest = hashlib.sha256(data[at : at + layout.page_bytes]).digest()
        whole[64 + 32 * number : 96 + 32 * number] = digest
    top = hashlib.sha256(whole[: layout.index_offset]).hexdigest()
    file = DataFile(hashlib.sha256(whole).hexdigest(), len(whole), "")
    return bytes(whole), SidecarInfo(layout.count, layout.size, layout.slot_bits, top, file)


def _sidecar(data: bytes) -> None:
    """A file that is accepted gives each entry once, and by ranges what it gives as a whole, or is refused."""
    info = None
    if data[:1] == b"\1" and (found := _rehashed(data[1:])):
        data, info = b"\1" + found[0], found[1]
    path = scratch.written("sidecar", data[1:])
    with open_sidecar(path, expect=info) as sidecar:
        rows = sidecar.entries(np.arange(sidecar.count))
        assert rows.size <= len(data)
        first = sidecar.first(np.arange(sidecar.info.layout.buckets + 1))
        assert first[0] == 0 and first[-1] == sidecar.count and (np.diff(first) >= 0).all()
        described = sidecar.info
    reader = SidecarRangeReader(described, lambda places: [data[1 + p.start : 1 + p.stop] for p in places])
    numbers = list(range(min(8, described.layout.buckets)))
    counts = np.diff(first)[numbers]
    try:
        part = reader.read(numbers, counts)
    except BadDirectory:
        return  # an index that is hashed, over buckets that are others
    for number, count in zip(numbers, counts.tolist(), strict=True):
        entries = part.entries(np.full(count, number), np.arange(count))
        assert np.array_equal(entries, rows[first[number] : first[number] + count])


def _delta(data: bytes) -> None:
    """A delta that is accepted leads on from its sidecar, entry by entry, and no further than its octets."""
    if data[:1] == b"\1" and len(data) > 33:
        data = data[:-32] + hashlib.sha256(data[1:-32]).digest()
    delta = read_sidecar_delta(scratch.written("label-delta", data[1:]))
    assert delta.entries.size + 4 * (len(delta.dropped) + len(delta.placed)) <= len(data)
    for file in _vectors(b"CSLBL\r\n\x1a\1")[:3]:
        with open_sidecar(scratch.written("held", file), expect=None) as sidecar:
            there = SidecarInfo(
                delta.new_count, delta.size, delta.slot_bits, "", DataFile(delta.new_sha256, 0, "")
            )
            try:
                check_chain(sidecar.info, [delta], there)
            except BadDirectory:
                continue
            rows = entries_through(sidecar, [delta], np.arange(delta.new_count))
            kept = np.delete(sidecar.entries(np.arange(sidecar.count)), delta.dropped, axis=0)
            assert np.array_equal(np.delete(rows, delta.placed, axis=0), kept)
            assert np.array_equal(rows[delta.placed], delta.entries)
            _carry_on(sidecar, delta, there)


def _carry_on(sidecar: Sidecar, delta: SidecarDelta, there: SidecarInfo) -> None:
    """Written out for a directory of as many values, it is another sidecar than `there`, which no file is."""
    octets = b"".join(hashlib.sha512(b"%d" % i).digest()[:TOKEN_BYTES] for i in range(delta.new_count))
    base, made = scratch.folder() / "base", scratch.folder() / "made"
    build(base, [Tokens.from_bytes(np.frombuffer(octets, np.uint8).reshape(-1, TOKEN_BYTES))])
    with open_directory(base, expect=None) as directory:
        try:
            apply_to_sidecar(made, sidecar, [delta], directory, there)
        except BadDirectory:
            assert not made.exists()
        else:
            raise AssertionError("a sidecar was accepted that nobody named")


TARGETS = (
    Target(
        "label",
        _text,
        lambda: [b"@ada:example.org", "愛".encode(), b" a", b"\x1b[2J", b"\xed\xa0\xbd", b"x" * 65],
        (BadInput, UnicodeDecodeError),
        words=_WORDS,
        longest=128,
    ),
    Target(
        "label-entry",
        _opened,
        lambda: [b"@ada:example.org", b"", b"\xff", b"a\0b", b"x" * 64],
        (),
        words=_WORDS,
        longest=128,
    ),
    Target(
        "sidecar",
        _sidecar,
        lambda: (
            [bytes([i]) + one for i in (0, 1) for one in _vectors(b"CSLBL") if len(one) < 6000]
            + [b"\1", b"\1" + bytes(64)]
        ),
        (BadDirectory,),
        words=_WORDS,
        longest=8000,
        runs=200,
    ),
    Target(
        "label-delta",
        _delta,
        lambda: [b"\1" + one for one in _vectors(b"CSLBD")] + [b"\1"],
        (BadDirectory,),
        words=_WORDS,
        runs=200,
    ),
)
