"""What is stored of data files, as texts: in the cache, and in the private file of a transcript."""

from __future__ import annotations

import json
from dataclasses import asdict

from contactsync.client.core.holdings import Holding, SidecarHolding
from contactsync.directory import DirectoryInfo
from contactsync.directory.sidecar import SidecarInfo
from contactsync.publication.manifest import DataFile


def pack_holding(holding: Holding | SidecarHolding) -> str:
    """A holding as a text."""

    def file(f: DataFile) -> list[object]:
        return [f.sha256, f.length, f.xxh3_64]

    deltas = [[start, end, file(f)] for start, end, f in holding.deltas]
    info = holding.base if isinstance(holding, Holding) else holding.sidecar
    whole = holding.whole if isinstance(holding, Holding) else holding.sidecar.file
    figures = asdict(info)
    figures |= figures.pop("file")  # one flat object: what is written already stays readable
    record: list[object] = [holding.edition, file(whole), figures, deltas]
    if isinstance(holding, Holding) and holding.patches:
        record.append([[start, end, file(f)] for start, end, f in holding.patches])
    return json.dumps(record)


def unpack_holding(record: str) -> Holding | SidecarHolding:
    """A holding from a text: a sidecar's has a size. Raises ValueError, KeyError, TypeError if it is none."""

    def file(value: list[object]) -> DataFile:
        sha256, length, xxh3_64 = value
        if not isinstance(length, int):
            raise TypeError("a length is a whole number")
        return DataFile(str(sha256), length, str(xxh3_64))

    edition, whole, figures, deltas, *more = json.loads(record)
    chain, *patches = (tuple((start, end, file(f)) for start, end, f in one) for one in (deltas, *more))
    of = file([figures[name] for name in ("sha256", "length", "xxh3_64")])
    count, slot_bits, top_sha256 = (figures[name] for name in ("count", "slot_bits", "top_sha256"))
    if "size" in figures:
        return SidecarHolding(edition, SidecarInfo(count, figures["size"], slot_bits, top_sha256, of), chain)
    base = DirectoryInfo(count, slot_bits, figures["remainder_bits"], top_sha256, of)
    return Holding(edition, file(whole), base, chain, *patches)
