"""What a client has stored from a server: tokens of identifiers, and data files on its disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from contactsync.directory import Directory, DirectoryInfo
from contactsync.directory.delta import Delta
from contactsync.directory.screen import Screen
from contactsync.directory.sidecar import Sidecar, SidecarInfo
from contactsync.directory.sidecar_delta import SidecarDelta
from contactsync.labels import KEY_BYTES
from contactsync.publication.manifest import DataFile
from contactsync.tokens import Tokens

WholeKind = Literal["base", "screen"]
"""The two kinds of file that contacts can be matched against."""

WHOLE_KINDS: Final[tuple[WholeKind, ...]] = ("base", "screen")


@dataclass(frozen=True, slots=True)
class Holding:
    """A whole file (base or screen) on the disk, and the stored deltas that continue from its edition."""

    edition: int
    whole: DataFile
    base: DirectoryInfo
    """The base of that edition; a screen and a delta refer to it."""
    deltas: tuple[tuple[int, int, DataFile], ...] = ()
    """(from edition, to edition, file), each starting where the one before ended."""
    patches: tuple[tuple[int, int, DataFile], ...] = ()
    """The same of those that lead on from the base of the edition `reached`."""

    @property
    def reached(self) -> int:
        """The edition that the whole file and the deltas lead to."""
        return self.deltas[-1][1] if self.deltas else self.edition

    def files(self) -> list[DataFile]:
        """All of its files."""
        return [self.whole, *(file for _, _, file in (*self.deltas, *self.patches))]


@dataclass(frozen=True, slots=True)
class SidecarHolding:
    """A sidecar on the disk, and the stored deltas of labels that continue from its edition."""

    edition: int
    sidecar: SidecarInfo
    deltas: tuple[tuple[int, int, DataFile], ...] = ()

    @property
    def reached(self) -> int:
        """The edition of the labels that the sidecar and the deltas lead to."""
        return self.deltas[-1][1] if self.deltas else self.edition

    def files(self) -> list[DataFile]:
        """All of its files."""
        return [self.sidecar.file, *(file for _, _, file in self.deltas)]


SIDECAR: Final = "labels"
"""The kind of a sidecar among what is stored."""

Holdings = Mapping[tuple[str, str], Holding | SidecarHolding]
"""What is stored, by the name of the partition and the kind of the whole file."""


def whole_of(holdings: Holdings, name: str, kind: WholeKind) -> Holding | None:
    """What is stored of a partition's base or screen."""
    held = holdings.get((name, kind))
    return held if isinstance(held, Holding) else None


def sidecar_of(holdings: Holdings, name: str) -> SidecarHolding | None:
    """What is stored of a partition's labels."""
    held = holdings.get((name, SIDECAR))
    return held if isinstance(held, SidecarHolding) else None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of n identifiers. Where `known` is False, the token is meaningless.

    `keys` uint8[n, 32] open labels, where `keyed`: earlier versions did not keep them.
    """

    known: NDArray[np.bool_]
    tokens: Tokens
    keys: NDArray[np.uint8]
    keyed: NDArray[np.bool_]
    member: NDArray[np.bool_]
    edition: NDArray[np.int64]
    """The edition of the partition that `member` refers to; -1 where it was never matched."""
    labels: Sequence[str | None] = field(repr=False)
    """The label of each member, as far as it is known that there is one."""
    labelled: NDArray[np.int64]
    """The edition of the labels that `labels` has it from; -1 where none was looked at."""

    @classmethod
    def nothing(cls, count: int) -> Self:
        """What is known of `count` identifiers that were never seen."""
        none, never = np.zeros(count, np.bool_), np.full(count, -1, np.int64)
        tokens = Tokens(np.zeros(count, np.uint64), np.zeros(count, np.uint16))
        keys = np.zeros((count, KEY_BYTES), np.uint8)
        return cls(none, tokens, keys, none, none, never, [None] * count, never)

    def where_keyed(self) -> Known:
        """Only what has a key is known: all else is looked up again, whether or not it is a member."""
        return replace(self, known=self.known & self.keyed)

    def with_tokens(self, which: NDArray[np.integer], tokens: Tokens, keys: NDArray[np.uint8]) -> Known:
        """A copy with tokens and label keys for the identifiers at these indices."""
        head, tail, known = self.tokens.head.copy(), self.tokens.tail.copy(), self.known.copy()
        head[which], tail[which], known[which] = tokens.head, tokens.tail, True
        all_keys, keyed = self.keys.copy(), self.keyed.copy()
        all_keys[which], keyed[which] = keys, True
        return replace(self, known=known, tokens=Tokens(head, tail), keys=all_keys, keyed=keyed)


@dataclass(frozen=True, slots=True)
class Sealed:
    """Entries of labels, uint8[k, 16 + size], and whose they are: int64[k], indices of identifiers."""

    of: NDArray[np.int64]
    entries: NDArray[np.uint8]


class Files(Protocol):
    """Opens data files that are on the disk. Every method raises BadDirectory, BadInput."""

    def directory(self, info: DirectoryInfo) -> AbstractContextManager[Directory]:
        """A base."""

    def screen(self, file: DataFile, base: DirectoryInfo) -> Screen:
        """The screen of a base."""

    def delta(self, file: DataFile) -> Delta:
        """A delta."""

    def sidecar(self, info: SidecarInfo) -> AbstractContextManager[Sidecar]:
        """A sidecar."""

    def sidecar_delta(self, file: DataFile) -> SidecarDelta:
        """A delta of labels."""

    def level(self, file: DataFile) -> bytes:
        """The level of an edition's rows; `lookup.table.check_level` tells whether it is whole."""
