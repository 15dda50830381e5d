"""Publishing: what was switched to, and what it did."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import NotCleanedUp
from contactsync.foundation.progress import Progress, silent
from contactsync.publication.rows import RowFigures
from contactsync.publication.tuf.repository import Repository
from contactsync.publication.tuf.request import SigningRequest
from contactsync.server.belonging import doubts_of
from contactsync.server.epochs import ages
from contactsync.server.keyring import Keyring
from contactsync.server.prepared import prepare_to_publish
from contactsync.server.publishing.looked_up import lacks_rows
from contactsync.server.publishing.merge import Outcome
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.remote.cluster import Cluster
from contactsync.server.publishing.remote.worker_key import WorkerKey
from contactsync.server.publishing.report import EditionReport
from contactsync.server.publishing.rotation import Aim, Order
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_members

__all__ = [
    "Aim",
    "Cluster",
    "EditionReport",
    "Order",
    "Outcome",
    "PublishDone",
    "RowFigures",
    "WorkerKey",
    "age_warnings",
    "follow_order",
    "is_due",
    "switch_private_lookup",
]


@dataclass(frozen=True, slots=True)
class PublishDone:
    """What was published. `reports` are by audience and epoch: what has changed for clients.

    `doubts` say, by audience, why every partition was compared; `remains` why something that was removed is
    not erased yet. `unclean` is the error after the switch, if there was one: what is published stays.
    `request` is what has to be signed elsewhere: nothing is published then.
    """

    outcomes: tuple[Outcome, ...]
    reports: Mapping[tuple[str, int], EditionReport]
    doubts: Mapping[str, str]
    remains: str
    files_taken_out: int
    bytes_taken_out: int
    unclean: NotCleanedUp | None = None
    request: SigningRequest | None = None


def follow_order(
    folder: DataFolder,
    keyring: Keyring,
    order: Order,
    *,
    memory: int = 512 << 20,
    progress: Progress = silent,
    expunge: bool = False,
    elsewhere: bool = False,
    cluster: Cluster | None = None,
) -> PublishDone:
    """Publish what the register holds, or rotate, in one atomic step; `elsewhere`: only prepare it.

    `expunge` takes every file out of service that may hold who was removed. What is to be computed goes to
    the `cluster`, if there is one: each build may use `memory` there. Raises Busy if another publish is
    running.
    """
    requests: list[SigningRequest] = []
    unclean = None
    with contextlib.closing(open_members(folder)) as store:
        machines = None if cluster is None else cluster.machines(memory)
        publisher = Publisher(folder, store, keyring, progress, memory=memory, machines=machines)
        if elsewhere:
            outcomes = publisher.publish(
                order=order,
                elsewhere=lambda manifests, serial: requests.append(
                    prepare_to_publish(folder, keyring, manifests, serial)
                ),
            )
        else:
            try:
                outcomes = publisher.publish(order=order, expunge=expunge)
            except NotCleanedUp as error:  # it is published
                outcomes, unclean = [one for one in error.outcomes if isinstance(one, Outcome)], error
    return PublishDone(
        outcomes=tuple(outcomes),
        reports=publisher.reports,
        doubts=publisher.doubts,
        remains=publisher.remains,
        files_taken_out=publisher.taken_out,
        bytes_taken_out=publisher.taken_out_bytes,
        unclean=unclean,
        request=requests[0] if requests else None,
    )


def age_warnings(folder: DataFolder) -> list[str]:
    """What is to be done about the age of the epochs that are published."""
    now = datetime.now(UTC)
    return [warning for age in ages(folder, (), now) for warning in age.look_ahead(folder).warnings(now)]


def is_due(folder: DataFolder) -> bool:
    """Whether members or settings have changed since the last publish, or what is published is suspect."""
    repository = Repository(folder.public)
    if any(lacks_rows(folder, repository.current(audience)) for audience in AUDIENCES):
        return True
    with contextlib.closing(open_members(folder)) as store:
        return bool(store.touched(store.serial()) or doubts_of(store, repository))


def switch_private_lookup(folder: DataFolder, *, on: bool) -> None:
    """Have each publish from the next one on make rows for private look-up, or none."""
    folder.switch_private_lookup(on=on)
