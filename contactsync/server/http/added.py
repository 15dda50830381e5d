"""Figures of several workers as those of one service.

What each worker counts is added up. What they all read from the same data folder is taken from one of them.
The last known counts of workers that have ended stay in the sums, so that no counter goes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from contactsync.foundation.errors import CallerError

Snapshot = list[list[Any]]
"""Families as JSON: name, kind, help, and samples of name, labels, value."""

OF_EACH: Final = frozenset(
    {
        "contactsync_company",
        "contactsync_lookup_company",
        "contactsync_lookup_pass_seconds",
        "contactsync_lookup_refusals",
        "contactsync_lookups_waiting",
        "contactsync_queue_length",
        "contactsync_queue_limit",
        "contactsync_refusals",
        "contactsync_replies",
        "contactsync_request_seconds",
        "contactsync_requests",
        "contactsync_requests_running",
    }
)
"""The families that each worker has of its own."""

_HOST: Final = "127.0.0.1"
_COUNTS: Final = ("counter", "histogram")


def snapshot(registry: CollectorRegistry) -> Snapshot:
    """All figures of a registry as of now."""
    found: Snapshot = []
    for one in registry.collect():
        samples = [[each.name, each.labels, each.value] for each in one.samples]
        found.append([one.name, one.type, one.documentation, samples])
    return found


def add(living: Sequence[Snapshot], ended: Snapshot) -> Snapshot:
    """One snapshot of all workers. What is not of each is as the first one says."""
    found: dict[str, list[Any]] = {}
    sums: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[Any]] = {}
    for place, families in enumerate((*living, ended)):
        for name, kind, text, samples in families:
            if place and name not in OF_EACH:
                continue
            family = found.setdefault(name, [name, kind, text, []])
            for sample, labels, value in samples:
                key = name, sample, tuple(sorted(labels.items()))
                if key in sums:
                    if not sample.endswith("_created"):  # a time, of the first worker
                        sums[key][2] += value
                else:
                    sums[key] = [sample, labels, value]
                    family[3].append(sums[key])
    return list(found.values())


def counts_of(families: Snapshot) -> Snapshot:
    """What stays of a worker that has ended: its counts, and none of its states."""
    return [one for one in families if one[0] in OF_EACH and one[1] in _COUNTS]


class AddedFigures(Collector):
    """A collector of what `ask` returns."""

    def __init__(self, ask: Callable[[], Snapshot]) -> None:
        self._ask = ask

    def describe(self) -> Iterator[Metric]:
        """Nothing: nobody is asked before there is a reader."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The figures as of now."""
        for name, kind, text, samples in self._ask():
            family = Metric(name, text, kind)
            for sample, labels, value in samples:
                family.add_sample(sample, labels, value)
            yield family


def serve_metrics(port: int, registry: CollectorRegistry) -> str:
    """Answer readers, in threads that end with the process; the URL. Port 0 takes a free port.

    Raises CallerError if the port cannot be used.
    """
    try:
        server, _thread = start_http_server(port, _HOST, registry)
    except OSError as error:
        raise CallerError(
            f"port {port} of {_HOST} cannot be used: {error.strerror}", hint="choose another --metrics-port"
        ) from error
    return f"http://{_HOST}:{server.server_port}/metrics"
