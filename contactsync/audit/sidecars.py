"""The part of `audit publication` that is about labels: sidecars, and the deltas between them.

What a label says only who evaluated the number can read. Public files show that a sidecar has one entry for
each token, that entries look like what a cipher gives, and that deltas lead to what is published. An entry
that was dropped is nowhere any more, so a delta is undone as far as entries are known: what it placed must be
what is published, unless a later one has dropped it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contactsync.audit.report import AuditReport
from contactsync.audit.uniformity import MOST_DEVIATIONS, Spread, deviation
from contactsync.directory import Directory
from contactsync.directory.sidecar import open_sidecar
from contactsync.directory.sidecar_delta import SidecarDelta, read_sidecar_delta
from contactsync.foundation.errors import BadDirectory, NetworkError
from contactsync.publication.partition import Partition

RULES: Final = {
    "labels": "each sidecar has one sealed entry for each token, in the buckets of its base",
    "labels-delta": "each delta of a sidecar leads to what is published, and places what is there",
    "labels-distribution": "entries are spread as what a cipher gives is, and no two are equal",
}


class LabelsAudit:
    """Audits the sidecars of all partitions, one after the other; `close` judges them together."""

    def __init__(self, report: AuditReport) -> None:
        self._report = report
        self._tally = Spread()

    def partition(
        self, place: str, partition: Partition, base: Directory, files: Mapping[str, Path | None]
    ) -> None:
        """Audit one sidecar with its deltas. `files` has the path of each file, by its SHA-256."""
        labels, report = partition.labels, self._report
        if labels is None:
            return
        path = files[labels.file.sha256]
        if path is None:
            report.leave("labels", place, "the file is not there")
            return
        # Without what the manifest says each bucket is compared with its hash, as who fetches it alone does.
        with report.guard("labels", place), open_sidecar(path, expect=None) as sidecar:
            if sidecar.info != labels.info(partition):
                raise BadDirectory("it is not as its manifest says")
            first = sidecar.first(np.arange(base.span.count.size + 1))
            if not np.array_equal(np.diff(first), base.span.count):
                raise BadDirectory("its buckets have not as many entries as those of its base have tokens")
            entries = sidecar.entries(np.arange(sidecar.count))
            report.prove("labels")
            self._distribution(place, entries)
            self._deltas(place, partition, entries, files)

    def close(self) -> None:
        """Judge all entries together: of a small partition there are too few."""
        if self._tally.count:
            self._uniform("all sidecars", self._tally)

    def _distribution(self, place: str, entries: NDArray[np.uint8]) -> None:
        # A synthetic IV is the output of a pseudorandom function: its first 64 bits are even, and differ.
        tags = np.ascontiguousarray(entries[:, :8]).view(">u8").reshape(-1).astype(np.uint64)
        if np.unique(tags).size < tags.size:
            self._report.disprove(
                "labels-distribution",
                place,
                "two members have the same entry",
                "their entries were not sealed under keys of their own",
            )
        own = Spread()
        own.add(tags, 64)
        self._uniform(place, own)
        self._tally += own

    def _uniform(self, place: str, spread: Spread) -> None:
        far = [what for what, seen in spread.histograms() if (deviation(seen) or 0.0) > MOST_DEVIATIONS]
        if far:
            self._report.disprove(
                "labels-distribution", place, f"the {far[0]} of its entries are far from uniform"
            )
        else:
            self._report.prove("labels-distribution")

    def _deltas(
        self, place: str, partition: Partition, entries: NDArray[np.uint8], files: Mapping[str, Path | None]
    ) -> None:
        """Undo them, the last one first, as far as entries are known."""
        labels = partition.labels
        assert labels is not None
        known, sha256 = np.ones(len(entries), np.bool_), labels.file.sha256
        for one in reversed(labels.deltas):
            where = f"{place}, labels' delta from edition {one.from_edition} to {one.to_edition}"
            undone = None
            with self._report.guard("labels-delta", where):
                path = files[one.file.sha256]
                if path is None:
                    raise NetworkError("the file is not there, so what came before it cannot be known")
                delta = read_sidecar_delta(path, expect=one.file)
                if (delta.from_edition, delta.to_edition) != (one.from_edition, one.to_edition):
                    raise BadDirectory("it is between other editions than its manifest says")
                if (delta.size, delta.new_count, delta.new_sha256) != (labels.size, len(entries), sha256):
                    raise BadDirectory("it does not lead to the sidecar that is published after it")
                undone = _undone(delta, entries, known)
                self._report.prove("labels-delta")
                sha256 = delta.old_sha256
            if undone is None:
                return
            entries, known = undone


def _undone(
    delta: SidecarDelta, entries: NDArray[np.uint8], known: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The entries before a delta, and which of them are known. Raises BadDirectory."""
    placed = delta.placed
    there = known[placed]
    if not np.array_equal(entries[placed][there], delta.entries[there]):
        raise BadDirectory("it places entries that are not the published ones")
    stayed = np.ones(delta.new_count, np.bool_)
    stayed[placed] = False
    kept = np.ones(delta.old_count, np.bool_)
    kept[delta.dropped] = False
    before = np.zeros((delta.old_count, entries.shape[1]), np.uint8)
    before_known = np.zeros(delta.old_count, np.bool_)
    before[kept], before_known[kept] = entries[stayed], known[stayed]
    return before, before_known
