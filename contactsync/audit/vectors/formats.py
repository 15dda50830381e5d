"""What operations on files mean here: directories, deltas, screens and manifests, as this copy reads them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from contactsync.directory import (
    DataFile,
    Directory,
    DirectoryInfo,
    RangeReader,
    Values,
    build,
    match,
    open_directory,
)
from contactsync.directory.delta import Delta, apply_to_directory, read_delta, write_delta
from contactsync.directory.ranges import buckets_of
from contactsync.directory.screen import build_screen, key_texts, open_screen
from contactsync.publication.manifest import Manifest, NextEpoch
from contactsync.tokens import TOKEN_BYTES, Tokens

Case = dict[str, Any]


def build_directory(given: Case) -> Case:
    """The file of a set of tokens, as the manifest describes it."""
    with _folder() as folder:
        info = build(folder / "file", [_tokens(given)], remainder_bits=given["remainder_bits"])
        return _described(info) | {"octets": (folder / "file").read_bytes().hex()}


def read_directory(given: Case) -> Case:
    """All values of a file that has to be the one that a manifest describes."""
    with _folder() as folder:
        path = _written(folder / "file", given["file"])
        with open_directory(path, expect=_directory_info(given["info"])) as directory:
            return {"values": _values(directory)}


def match_directory(given: Case) -> Case:
    """Which tokens are in a directory: in the whole file, and by their buckets alone."""
    with _folder() as folder:
        path, tokens = _written(folder / "file", given["file"]), _tokens(given)
        info = _directory_info(given["info"])
        with open_directory(path, expect=info) as directory:
            found = match(tokens, directory).tolist()
        alone = match_buckets(given)["found"]
        return {
            "buckets": buckets_of(info, tokens).tolist(),
            "found": found if found == alone else "the file and its buckets disagree",
        }


def match_buckets(given: Case) -> Case:
    """Which tokens are in a directory of which only their buckets are read."""
    data, tokens, info = given["file"], _tokens(given), _directory_info(given["info"])
    reader = RangeReader(info, lambda places: [data[place.start : place.stop] for place in places])
    return {"found": reader.match(tokens, set(buckets_of(info, tokens).tolist())).found.tolist()}


def make_delta(given: Case) -> Case:
    """The delta between two directories; null where there is none."""
    with (
        _folder() as folder,
        open_directory(_written(folder / "old", given["old"]), expect=None) as old,
        open_directory(_written(folder / "new", given["new"]), expect=None) as new,
    ):
        editions = {"from_edition": given["from_edition"], "to_edition": given["to_edition"]}
        written = write_delta(folder / "delta", old, new, **editions)
        return {"octets": None if written is None else (folder / "delta").read_bytes().hex()}


def take_delta(given: Case) -> Case:
    """What a delta says."""
    with _folder() as folder:
        delta = _delta(folder / "delta", given["file"], given["info"])
    return {
        "from_edition": delta.from_edition,
        "to_edition": delta.to_edition,
        "slot_bits": delta.slot_bits,
        "remainder_bits": delta.remainder_bits,
        "old_count": delta.old_count,
        "new_count": delta.new_count,
        "old_sha256": delta.old_sha256,
        "new_sha256": delta.new_sha256,
        "left": key_texts(delta.removed, delta.slot_bits, delta.remainder_bits),
        "joined": key_texts(delta.added, delta.slot_bits, delta.remainder_bits),
    }


def follow_deltas(given: Case) -> Case:
    """From a directory by a chain of deltas to another one: its values, and who of some tokens is in it."""
    with _folder() as folder:
        tokens = _tokens(given)
        deltas = [_delta(folder / "delta", data, None) for data in given["deltas"]]
        with open_directory(_written(folder / "base", given["base"]), expect=None) as base:
            before = match(tokens, base)
            apply_to_directory(folder / "new", base, deltas)
        after = before
        for delta in deltas:
            after = delta.apply_to_mask(tokens, after)
        with open_directory(folder / "new", expect=None) as new:
            agree = (match(tokens, new) == after).all()
            return {
                "before": before.tolist(),
                "after": after.tolist() if agree else "the deltas and the directory disagree",
                "values": _values(new),
                "sha256": new.info.file.sha256,
            }


def make_screen(given: Case) -> Case:
    """The screen of a set of tokens."""
    with _folder() as folder:
        info = build(folder / "file", [_tokens(given)], remainder_bits=given["remainder_bits"])
        with open_directory(folder / "file", expect=info) as directory:
            file = build_screen(folder / "screen", directory)
    return {"length": file.length, "sha256": file.sha256, "xxh3_64": file.xxh3_64}


def read_screen(given: Case) -> Case:
    """Which tokens pass a screen that has to be the one that a manifest describes."""
    of = given["of"]
    directory = DirectoryInfo(
        of["count"], of["slot_bits"], of["remainder_bits"], top_sha256="", file=DataFile("", 0, "")
    )
    with _folder() as folder:
        path = _written(folder / "screen", given["file"])
        screen = open_screen(path, directory, expect=_file(given["info"]))
    return {"passes": screen.test(_tokens(given)).tolist()}


def read_manifest(given: Case) -> Case:
    """What a client takes from a manifest."""
    manifest = Manifest.from_bytes(given["file"])
    return {
        "audience": manifest.audience,
        "epoch": manifest.epoch,
        "edition": manifest.edition,
        "public_key": manifest.public_key.hex(),
        "previous": manifest.previous,
        "sha256": manifest.sha256(),
        "count": manifest.count,
        "usable": sorted(manifest.partitions),
        "unusable": {name: partition.refusal for name, partition in manifest.unknown.items()},
        "files": sorted(replace(manifest, next=None).files()),
        "next": None if manifest.next is None else _announced(manifest.next),
    }


def _announced(after: NextEpoch) -> Case:
    """What a client takes from the announcement of the next epoch."""
    return {
        "epoch": after.epoch,
        "edition": after.edition,
        "public_key": after.public_key.hex(),
        "until": after.until,
        "count": after.count,
        "usable": sorted(after.partitions),
        "unusable": {name: partition.refusal for name, partition in after.unknown.items()},
        "files": sorted(file.sha256 for one in after.partitions.values() for file in one.files()),
    }


OPERATIONS: dict[str, Callable[[Case], Case]] = {
    "build_directory": build_directory,
    "read_directory": read_directory,
    "match_directory": match_directory,
    "match_buckets": match_buckets,
    "write_delta": make_delta,
    "read_delta": take_delta,
    "follow_deltas": follow_deltas,
    "build_screen": make_screen,
    "read_screen": read_screen,
    "read_manifest": read_manifest,
}
"""By their names in the vector files. Each raises the error that refuses what must be refused."""


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="contactsync-audit-") as folder:
        yield Path(folder)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _tokens(given: Case) -> Tokens:
    tokens = given["tokens"]
    octets = tokens if isinstance(tokens, bytes) else bytes.fromhex("".join(tokens))
    return Tokens.from_bytes(np.frombuffer(octets, np.uint8).reshape(-1, TOKEN_BYTES))


def _file(info: Case) -> DataFile:
    return DataFile(info["sha256"], info["length"], info["xxh3_64"])


def _directory_info(info: Case) -> DirectoryInfo:
    figures = {name: info[name] for name in ("count", "slot_bits", "remainder_bits", "top_sha256")}
    return DirectoryInfo(**figures, file=_file(info))


def _described(info: DirectoryInfo) -> Case:
    return {
        "count": info.count,
        "slot_bits": info.slot_bits,
        "remainder_bits": info.remainder_bits,
        "top_sha256": info.top_sha256,
        "sha256": info.file.sha256,
        "length": info.file.length,
        "xxh3_64": info.file.xxh3_64,
    }


def _values(directory: Directory) -> list[str]:
    info = directory.info
    texts: list[str] = []
    for values in directory.values():
        texts += key_texts(Values(values.key, values.extra), info.slot_bits, info.remainder_bits)
    return texts


def _delta(path: Path, data: bytes, info: Case | None) -> Delta:
    return read_delta(_written(path, data), expect=None if info is None else _file(info))
