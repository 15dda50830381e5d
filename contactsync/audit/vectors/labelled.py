"""What operations on labels mean here: texts, entries, sidecars and their deltas, as this copy reads them."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from contactsync import labels
from contactsync.directory import DataFile, open_directory
from contactsync.directory.delta import check_against, read_delta
from contactsync.directory.sidecar import SidecarInfo, open_sidecar, places
from contactsync.directory.sidecar_delta import (
    SidecarDelta,
    check_chain,
    entries_through,
    read_sidecar_delta,
)
from contactsync.tokens import Tokens

Case = dict[str, Any]


def check_label(given: Case) -> Case:
    """Whether a text is a label, and its octets."""
    return {"octets": labels.check_label(given["text"]).hex()}


def seal_label(given: Case) -> Case:
    """The entry of a label, for who has this output."""
    context = labels.context(given["audience"], given["epoch"])
    entry = labels.seal(_keys([given["output"]]), [given["label"].encode()], given["size"], context)
    return {"context": context.hex(), "entry": entry.tobytes().hex()}


def open_label(given: Case) -> Case:
    """What an entry says to who has this output; null for nothing."""
    entry = np.frombuffer(bytes.fromhex(given["entry"]), np.uint8).reshape(1, -1)
    context = labels.context(given["audience"], given["epoch"])
    return {"label": _texts(labels.unseal(_keys([given["output"]]), entry, context))[0]}


def read_sidecar(given: Case) -> Case:
    """Where the buckets of a sidecar begin, and the hash of its entries."""
    with tempfile.TemporaryDirectory(prefix="contactsync-audit-") as folder:
        path = Path(folder) / "sidecar"
        path.write_bytes(given["file"])
        with open_sidecar(path, expect=_info(given["info"])) as sidecar:
            entries = sidecar.entries(np.arange(sidecar.count))
            return {
                "first": sidecar.first(np.arange(sidecar.info.layout.buckets + 1)).tolist(),
                "entries_sha256": hashlib.sha256(entries.tobytes()).hexdigest(),
            }


def take_label_delta(given: Case) -> Case:
    """What a delta of labels says."""
    with tempfile.TemporaryDirectory(prefix="contactsync-audit-") as folder:
        delta = _delta(Path(folder) / "delta", given["file"], given["info"])
    return {
        "from_edition": delta.from_edition,
        "to_edition": delta.to_edition,
        "size": delta.size,
        "slot_bits": delta.slot_bits,
        "old_count": delta.old_count,
        "new_count": delta.new_count,
        "old_sha256": delta.old_sha256,
        "new_sha256": delta.new_sha256,
        "dropped": delta.dropped.tolist(),
        "placed": delta.placed.tolist(),
        "entries": [entry.tobytes().hex() for entry in delta.entries],
    }


def find_labels(given: Case) -> Case:
    """The places and labels of outputs, through what is held and the deltas since."""
    with tempfile.TemporaryDirectory(prefix="contactsync-audit-") as name:
        folder = Path(name)
        for file in ("base", "sidecar"):
            (folder / file).write_bytes(given[file])
        deltas = []
        for data in given["deltas"]:
            (folder / "delta").write_bytes(data)
            deltas.append(read_delta(folder / "delta"))
        chain = [_delta(folder / "delta", data, None) for data in given["label_deltas"]]
        outputs = _outputs(given["outputs"])
        with (
            open_directory(folder / "base", expect=None) as base,
            open_sidecar(folder / "sidecar", expect=None) as sidecar,
        ):
            check_against(deltas, base)
            check_chain(sidecar.info, chain, _info(given["info"]))
            place = places(base, deltas, Tokens.from_outputs(outputs))
            found = np.flatnonzero(place >= 0)
            entries = entries_through(sidecar, chain, place[found])
    context = labels.context(given["audience"], given["epoch"])
    texts: list[str | None] = [None] * len(outputs)
    opened = _texts(labels.unseal(outputs[found, -labels.KEY_BYTES :], entries, context))
    for i, text in zip(found.tolist(), opened, strict=True):
        texts[i] = text
    return {"places": place.tolist(), "labels": texts}


OPERATIONS: dict[str, Callable[[Case], Case]] = {
    "check_label": check_label,
    "seal_label": seal_label,
    "open_label": open_label,
    "read_sidecar": read_sidecar,
    "read_label_delta": take_label_delta,
    "find_labels": find_labels,
}
"""By their names in the vector files. Each raises the error that refuses what must be refused."""


def _outputs(outputs: list[str]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    rows = [bytes.fromhex(one)[: labels.KEYED_BYTES] for one in outputs]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, labels.KEYED_BYTES)


def _keys(outputs: list[str]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return _outputs(outputs)[:, -labels.KEY_BYTES :]


def _texts(found: list[bytes | None]) -> list[str | None]:
    return [None if label is None else label.decode() for label in found]


def _info(info: Case) -> SidecarInfo:
    file = DataFile(info["sha256"], info["length"], info["xxh3_64"])
    return SidecarInfo(info["count"], info["size"], info["slot_bits"], info["top_sha256"], file)


def _delta(path: Path, data: bytes, info: Case | None) -> SidecarDelta:
    path.write_bytes(data)
    expect = None if info is None else DataFile(info["sha256"], info["length"], info["xxh3_64"])
    return read_sidecar_delta(path, expect=expect)
