"""What the server could learn from a sync, in the words of the sync itself, and contact by contact."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contactsync.audit.transcript.points import SentPoints
from contactsync.audit.transcript.private import Listed, SentRound
from contactsync.client.core.leak import sentence
from contactsync.client.core.planner import Options
from contactsync.client.core.round import padded
from contactsync.client.privacy import load_modes
from contactsync.contacts import AddressBook
from contactsync.directory.ranges import buckets_of
from contactsync.publication.partition import Partition


@dataclass(frozen=True, slots=True)
class Learned:
    """What all requests of a sync tell.

    `answered` points were evaluated; `uncovered`: a cover round was refused.
    """

    rounds: Sequence[SentRound]
    answered: int
    uncovered: bool
    names: Sequence[str]
    told: Sequence[object]

    def sentence(self, options: Options) -> str:
        """The last line of the sync."""
        largest = 0
        for one in self.rounds:
            fresh = sum(one.fresh)
            largest = max(largest, fresh or padded(fresh + sum(one.unfinished)))
        return sentence(
            points=padded(self.answered) if self.uncovered else largest,
            covered=bool(self.rounds) and self.rounds[-1].cover,
            names=self.names if options.partitions == "mine" else None,
            told=load_modes()[options.privacy].sentence(list(self.told)),
        )


def by_contact(
    book: AddressBook,
    sent: Sequence[SentPoints],
    tokens: Mapping[tuple[int, bytes], bytes],
    lists: Sequence[tuple[Listed, Partition]],
    sought: Container[bytes],
) -> Iterator[dict[str, Any]]:
    """For each number of each contact, and each further form that was looked up, what left because of it.

    Each is {name, identifier, points, buckets}.
    """
    points: dict[bytes, list[dict[str, int]]] = {}
    for batch in sent:
        for at, name in enumerate(batch.whose):
            if name is not None:
                where = {"request": batch.named.exchange.number, "point": at + 1, "of": len(batch.whose)}
                points.setdefault(name, []).append(where)
    for contact in book.contacts:
        for identifier in (form for line in contact.lines for form in line if form in sought):
            yield {
                "name": contact.name,
                "identifier": identifier.decode("ascii"),
                "points": points.get(identifier, []),
                "buckets": [
                    bucket
                    for listed, partition in lists
                    if (bucket := _bucket(tokens.get((listed.asked.epoch, identifier)), listed, partition))
                ],
            }


def _bucket(token: bytes | None, listed: Listed, partition: Partition) -> dict[str, Any] | None:
    """The bucket that was wanted because of a token; None if none was."""
    if token is None:
        return None
    wanted = listed.candidates.to_bytes()
    at = np.flatnonzero((wanted == np.frombuffer(token, np.uint8)).all(axis=1))
    if not at.size:
        return None
    (number,) = buckets_of(partition.directory, listed.candidates.take(at[:1])).tolist()
    return {
        "partition": partition.name,
        "bucket": number,
        "among": len(listed.asked.numbers),
        "of": partition.directory.layout.buckets,
    }
