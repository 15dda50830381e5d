"""The interface of a privacy mode. Each mode is one file in client/privacy.

A mode decides for each partition which files are fetched, and settles who is a member. If that takes another
request to the server, `settle` yields the request and continues with the answer. So a mode does no I/O, and a
test can look at each of its requests.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from contactsync.client.core.holdings import Files, Holdings, Sealed
from contactsync.client.core.plan import PartitionPlan
from contactsync.client.core.row_lookups import AskRows, LastTable
from contactsync.directory import RangeMatch
from contactsync.directory.sidecar import SidecarInfo
from contactsync.directory.sidecar_ranges import SidecarPart
from contactsync.publication.manifest import DataFile, Partition
from contactsync.tokens import Tokens


@dataclass(frozen=True, slots=True)
class FetchFiles:
    """Fetch these files of a partition, unless they are on the disk. The answer is None."""

    partition: Partition
    files: tuple[DataFile, ...]
    told: object
    """What the server learns from it, in a type that the mode defines."""


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
    """Look tokens up in these buckets of a base. The answer is a LookedUp.

    Before the list is sent, it is entered into the ledger and remembered there, durably, until its answer is
    recorded.
    """

    partition: Partition
    tokens: Tokens
    asked: AskedList
    told: object
    tested: Tokens
    """All tokens that were tested against the screen, whose question this is."""
    sidecar: SidecarInfo | None = None
    """With labels: the entries of these very buckets are fetched too, all of them."""
    others: Tokens = field(default_factory=lambda: Tokens.concatenate([]), repr=False)
    """Members whose buckets are on the list by chance: what the entries say of them is welcome."""


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What came of a list of buckets: which tokens are there, bool[m], and which of the others, bool[k].

    `entries` are those of the tokens found and of the others found, uint8[f, 16 + size]; none without labels.
    `octets` were fetched.
    """

    found: NDArray[np.bool_]
    others: NDArray[np.bool_]
    entries: NDArray[np.uint8]
    octets: int

    @classmethod
    def of(cls, request: LookUpBuckets, match: RangeMatch, part: SidecarPart | None) -> Self:
        """It from the buckets of the base, in which the request's tokens and others were looked up."""
        many = len(request.tokens)
        entries, octets = np.empty((0, 0), np.uint8), match.octets
        if part is not None:
            entries = part.entries(match.bucket[match.found], match.rank[match.found])
            octets += part.octets
        return cls(match.found[:many], match.found[many:], entries, octets)


Request = FetchFiles | LookUpBuckets | AskRows
"""What a mode may request from the session."""


@dataclass(frozen=True, slots=True)
class Subject:
    """m identifiers of one partition: their tokens, and the last result with its edition.

    `member` is bool[m]; `edition` is int64[m], -1 where nothing was matched in this epoch yet.
    """

    tokens: Tokens
    member: NDArray[np.bool_]
    edition: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Memory:
    """What the client remembers of earlier requests.

    `decoy_secret` (32 bytes) stays the same as long as the ledger; `asked` are the lists of buckets of this
    epoch that were sent and not answered, by partition; `odds` is what all lists so far have told of a
    partition (1 where there were none). `table` is the one in which rows were looked up last.
    """

    decoy_secret: bytes
    epoch: int
    asked: Mapping[str, AskedList]
    odds: Mapping[str, float]
    table: LastTable | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may still be fetched: `spent` octets of `limit` are used, a list has a multiple of `buckets`.

    `whole` is what download mode would have fetched with this choice of `partitions`. `leak_budget` is the
    most that all lists of a partition may multiply the odds by.
    """

    spent: int
    limit: int
    buckets: int
    partitions: str
    whole: int
    leak_budget: float


@dataclass(frozen=True, slots=True)
class Settled:
    """Which of a partition's identifiers are members, bool[m], and the plan that was used in the end.

    `sealed` are labels that came with buckets.
    """

    member: NDArray[np.bool_]
    plan: PartitionPlan
    sealed: Sealed | None = None


Settling = Generator[Request, LookedUp | Any, Settled]


class Mode(Protocol):
    """A privacy mode."""

    @property
    def name(self) -> str:
        """Its name in `--privacy`."""

    @property
    def tells(self) -> str:
        """What the server learns beyond padded counts ("the buckets of …"); empty if it learns no more."""

    @property
    def tells_more_than(self) -> Sequence[str]:
        """The modes that tell no more than this one."""

    @property
    def asks(self) -> bool:
        """Whether it has another question once the tokens are there."""

    @property
    def of_table(self) -> bool:
        """Whether the edition is looked up as a whole, in its rows (`row_lookups`).

        Then `plan` and `settle`, which are about one partition, are never called.
        """

    def plan(self, partition: Partition, holdings: Holdings, *, wanted: bool, buckets: int) -> PartitionPlan:
        """Which files of a partition are fetched; `wanted`: some of its identifiers have no current result.

        With all partitions, the files fetched must not depend on `wanted`: that would tell where there are
        contacts.
        """

    def settle(
        self, plan: PartitionPlan, subject: Subject, files: Files, memory: Memory, allowance: Allowance
    ) -> Settling:
        """Settle who is a member. Raises BadDirectory, ChoiceNeeded."""

    def sentence(self, told: Sequence[object]) -> list[str]:
        """What the server could learn from the `told` of all requests, as parts of a sentence."""
