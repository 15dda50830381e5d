"""What a Prometheus server may read: `/metrics` on a port of its own, on this machine alone.

Figures of the accounts and of the publication are those of the data folder; those of requests (measured.py)
and of the queue are those of this process. None of them is about a single account, and nothing is in them
that came with a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from contactsync.foundation.errors import ContactSyncError, OurError
from contactsync.server.breakers import CROWDS, Breakers
from contactsync.server.epochs import ages
from contactsync.server.evaluation import Evaluator
from contactsync.server.http.added import Snapshot, serve_metrics, snapshot
from contactsync.server.http.figures import OfPublication
from contactsync.server.http.measured import Requests
from contactsync.server.http.rows_served import RowsServed
from contactsync.server.quota import STEP
from contactsync.server.settings import DataFolder
from contactsync.server.storage.ports import AccountStore, EpochUse


class _OfStore(Collector):
    """Asks the store whenever somebody reads. If the store fails, its figures are missing."""

    def __init__(self, folder: DataFolder, accounts: AccountStore, breakers: Breakers) -> None:
        self._folder = folder
        self._accounts = accounts
        self._breakers = breakers

    def describe(self) -> Iterator[Metric]:
        """Nothing: the store is not asked before there is a reader."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The figures as of now."""
        try:
            flow, epochs = self._accounts.flow(), self._accounts.epochs()
        except OurError:
            return
        hour = GaugeMetricFamily(
            "contactsync_points_last_hour", "Points evaluated in the last hour.", labels=["accounts"]
        )
        limit = GaugeMetricFamily(
            "contactsync_breaker_limit", "Points allowed in an hour; 0: no limit.", labels=["accounts"]
        )
        state = GaugeMetricFamily(
            "contactsync_breaker_state", "0: quiet, 1: alarm, 2: evaluations are paused.", labels=["accounts"]
        )
        for crowd in CROWDS:
            hour.add_metric([crowd], flow.hour(crowd))
            limit.add_metric([crowd], self._breakers.limit(crowd))
            state.add_metric([crowd], flow.state(crowd, self._breakers, asked=STEP))
        points = CounterMetricFamily(
            "contactsync_points", "Points evaluated with the key of an epoch.", labels=["audience", "epoch"]
        )
        for one in epochs:
            points.add_metric([one.audience, str(one.epoch)], one.points)
        yield from (hour, limit, state, points, *self._epochs(epochs))

    def _epochs(self, used: Sequence[EpochUse]) -> Iterator[Metric]:
        """How old the epochs in force are, and when another is due."""
        old = GaugeMetricFamily(
            "contactsync_epoch_age_seconds", "How old the epoch's key is.", labels=["audience", "epoch"]
        )
        began = GaugeMetricFamily(
            "contactsync_epoch_began_seconds", "When the epoch's key was drawn.", labels=["audience", "epoch"]
        )
        due = GaugeMetricFamily(
            "contactsync_rotation_due_seconds", "When a rotation is due by age.", labels=["audience"]
        )
        is_due = GaugeMetricFamily(
            "contactsync_rotation_is_due", "1: a rotation is due, by age or points.", labels=["audience"]
        )
        until = GaugeMetricFamily(
            "contactsync_overlap_until_seconds", "When the overlap of a rotation ends.", labels=["audience"]
        )
        now = datetime.now(UTC)
        try:
            found = ages(self._folder, used, now)
        except ContactSyncError:
            return
        for age in found:
            if age.began is not None and age.due is not None:
                began.add_metric([age.audience, str(age.epoch)], age.began.timestamp())
                old.add_metric([age.audience, str(age.epoch)], (now - age.began).total_seconds())
                due.add_metric([age.audience], age.due.timestamp())
            is_due.add_metric([age.audience], age.is_due)
            if age.overlap_until is not None:
                until.add_metric([age.audience], age.overlap_until.timestamp())
        yield from (began, old, due, is_due, until)


class Metrics:
    """The figures of one process."""

    def __init__(self, folder: DataFolder, accounts: AccountStore, breakers: Breakers) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_OfStore(folder, accounts, breakers))
        self._publication = OfPublication(folder)
        self._registry.register(self._publication)
        self.requests = Requests(self._registry)

    def watch(self, evaluator: Evaluator) -> None:
        """Have figures of the queue, and of the company that small batches have in it."""
        self._publication.queue = evaluator.load
        evaluator.accompanied = self.requests.accompanied

    def watch_lookups(self, rows: RowsServed) -> None:
        """Have figures of private look-ups: how many wait, in which company, over how many tables."""
        rows.room.passed = self.requests.passed
        self._publication.lookups = lambda: (rows.room.waiting(), rows.tables())

    def tell(self, is_well: Callable[[], bool | None]) -> None:
        """Have a figure of the health: what `is_well` returns (None: it is not known yet)."""
        self._publication.is_well = is_well

    def snapshot(self) -> Snapshot:
        """All figures as of now, for added.py."""
        return snapshot(self._registry)

    def serve(self, port: int) -> str:
        """Answer readers as `serve_metrics` does."""
        return serve_metrics(port, self._registry)
