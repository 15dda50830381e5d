"""Figures of what is published and of the process, asked for whenever Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import ContactSyncError
from contactsync.publication.tuf.repository import Repository
from contactsync.server.settings import DataFolder

Queue = Callable[[], tuple[int, int]]
"""How many jobs wait or run, and how many may."""


Lookups = Callable[[], tuple[int, int]]
"""How many look-ups wait or are answered, and how many tables of rows are served."""


class OfPublication(Collector):
    """Editions, signatures, health and the queue. What cannot be read is missing."""

    def __init__(self, folder: DataFolder) -> None:
        self._repository = Repository(folder.public)
        self.queue: Queue | None = None
        self.lookups: Lookups | None = None
        self.is_well: Callable[[], bool | None] = lambda: None

    def describe(self) -> Iterator[Metric]:
        """Nothing: nothing is read before there is a reader."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The figures as of now."""
        well = self.is_well()
        if well is not None:
            yield GaugeMetricFamily("contactsync_healthy", "1: clients accept what is served.", value=well)
        if self.queue is not None:
            waiting, most = self.queue()
            yield GaugeMetricFamily("contactsync_queue_length", "Batches that wait or run.", value=waiting)
            yield GaugeMetricFamily("contactsync_queue_limit", "Batches that may wait or run.", value=most)
        if self.lookups is not None:
            waiting, tables = self.lookups()
            yield GaugeMetricFamily(
                "contactsync_lookups_waiting", "Look-ups that wait or are answered.", value=waiting
            )
            yield GaugeMetricFamily(
                "contactsync_lookup_tables", "Tables of rows that are verified and served.", value=tables
            )
        try:
            yield from self._signatures()
            yield from self._editions()
        except (ContactSyncError, OSError):
            return

    def _signatures(self) -> Iterator[Metric]:
        now = datetime.now(UTC)
        left = GaugeMetricFamily(
            "contactsync_signature_expires_in_seconds",
            "Seconds until the metadata of a role expires; negative: it has.",
            labels=["role"],
        )
        for role, end in self._repository.expiries().items():
            left.add_metric([role], (end - now).total_seconds())
        yield left

    def _editions(self) -> Iterator[Metric]:
        figures = {
            "epoch": GaugeMetricFamily("contactsync_epoch", "The epoch in force.", labels=["audience"]),
            "edition": GaugeMetricFamily("contactsync_edition", "The current edition.", labels=["audience"]),
            "members": GaugeMetricFamily(
                "contactsync_published_members", "Members in the current edition.", labels=["audience"]
            ),
            "bytes": GaugeMetricFamily(
                "contactsync_published_bytes", "Data files of the current edition.", labels=["audience"]
            ),
        }
        for audience in AUDIENCES:
            manifest = self._repository.current(audience)
            if manifest is None:
                continue
            figures["epoch"].add_metric([audience], manifest.epoch)
            figures["edition"].add_metric([audience], manifest.edition)
            figures["members"].add_metric([audience], manifest.count)
            size = sum(file.length for file in manifest.files().values())
            figures["bytes"].add_metric([audience], size)
        yield from figures.values()
