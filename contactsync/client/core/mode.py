"""What a privacy mode has to offer: the one interface behind which each of them is a file in client/privacy.

A mode decides for each partition which files are fetched, and settles who is a member. Where that takes
another question to the server, `settle` yields it and goes on with the answer: so a mode does no I/O, and
each of its questions is a value that a test can look at.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from contactsync.client.core.holdings import Files, Holdings
from contactsync.client.core.plan import PartitionPlan
from contactsync.directory import RangeMatch
from contactsync.publication.manifest import DataFile, Partition
from contactsync.tokens import Tokens


@dataclass(frozen=True, slots=True)
class FetchFiles:
    """Have these files of a partition on the disk. The answer is None."""

    partition: Partition
    files: tuple[DataFile, ...]
    told: object
    """What the server learns from it, in a type of the mode's own."""


@dataclass(frozen=True, slots=True)
class AskedList:
    """A list of buckets, as it was sent: for which epoch, width and edition, and the seed of its question."""

    epoch: int
    slot_bits: int
    edition: int
    seed: bytes
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LookUpBuckets:
    """Look tokens up in these buckets of a base. The answer is a RangeMatch.

    Before the list is sent, it is entered into the ledger and remembered there, durably, until its answer is
    recorded.
    """

    partition: Partition
    tokens: Tokens
    asked: AskedList
    told: object


Request = FetchFiles | LookUpBuckets
"""What a mode may ask the session for."""


@dataclass(frozen=True, slots=True)
class Subject:
    """m identifiers of one partition: their tokens, and what was found before for which edition.

    `member` is bool[m]; `edition` int64[m], -1 where there was no match in this epoch yet.
    """

    tokens: Tokens
    member: NDArray[np.bool_]
    edition: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Memory:
    """What the client remembers of earlier questions.

    `decoy_secret` (32 bytes) stays the same as long as the ledger; `asked` are the lists of buckets of this
    epoch that were sent and not answered, by partition; `odds` is what all lists so far have told of a
    partition (1 where there were none).
    """

    decoy_secret: bytes
    epoch: int
    asked: Mapping[str, AskedList]
    odds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may still be fetched: `spent` octets of `limit` are gone, a list has a multiple of `buckets`.

    `whole` is what download mode would have fetched with this choice of `partitions`; `leak_budget` are the
    odds that all lists of a partition may come to.
    """

    spent: int
    limit: int
    buckets: int
    partitions: str
    whole: int
    leak_budget: float


@dataclass(frozen=True, slots=True)
class Settled:
    """Who of a partition's identifiers is a member, bool[m], and the plan that was followed in the end."""

    member: NDArray[np.bool_]
    plan: PartitionPlan


Settling = Generator[Request, RangeMatch | Any, Settled]


class Mode(Protocol):
    """A privacy mode."""

    @property
    def name(self) -> str:
        """What `--privacy` calls it."""

    @property
    def tells(self) -> str:
        """What the server learns beyond padded counts ("the buckets of …"); empty if that is nothing."""

    @property
    def tells_more_than(self) -> Sequence[str]:
        """The modes that tell less than this one, or as much."""

    @property
    def asks(self) -> bool:
        """Whether `settle` may have another question."""

    def plan(self, partition: Partition, holdings: Holdings, *, wanted: bool, buckets: int) -> PartitionPlan:
        """Which files are fetched of a partition; `wanted`: identifiers of it are not matched up to date.

        With all partitions, which files are fetched must not depend on `wanted`: it would tell where there
        are contacts.
        """

    def settle(
        self, plan: PartitionPlan, subject: Subject, files: Files, memory: Memory, allowance: Allowance
    ) -> Settling:
        """Settle who is a member. Raises BadDirectory, ChoiceNeeded."""

    def sentence(self, told: Sequence[object]) -> list[str]:
        """What the server could learn from the `told` of all requests, as parts of one sentence."""
