"""What a client has stored from a server: tokens of identifiers, and data files on its disk."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from contactsync.directory import Directory, DirectoryInfo
from contactsync.directory.delta import Delta
from contactsync.directory.screen import Screen
from contactsync.publication.manifest import DataFile
from contactsync.tokens import Tokens

WholeKind = Literal["base", "screen"]
"""The two kinds of file that contacts can be matched against."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A whole file (base or screen) on the disk, and the stored deltas that continue from its edition."""

    edition: int
    whole: DataFile
    base: DirectoryInfo
    """The base of that edition; a screen and a delta refer to it."""
    deltas: tuple[tuple[int, int, DataFile], ...] = ()
    """(from edition, to edition, file), each starting where the one before ended."""

    @property
    def reached(self) -> int:
        """The edition that the whole file and the deltas lead to."""
        return self.deltas[-1][1] if self.deltas else self.edition

    def files(self) -> list[DataFile]:
        """All of its files."""
        return [self.whole, *(file for _, _, file in self.deltas)]


Holdings = Mapping[tuple[str, str], Holding]
"""What is stored, by the name of the partition and the kind of the whole file."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of n identifiers. Where `known` is False, the token is meaningless."""

    known: NDArray[np.bool_]
    tokens: Tokens
    member: NDArray[np.bool_]
    edition: NDArray[np.int64]
    """The edition of the partition that `member` refers to; -1 where it was never matched."""

    @classmethod
    def nothing(cls, count: int) -> Self:
        """What is known of `count` identifiers that were never seen."""
        none = np.zeros(count, np.bool_)
        tokens = Tokens(np.zeros(count, np.uint64), np.zeros(count, np.uint16))
        return cls(none, tokens, none, np.full(count, -1, np.int64))

    def with_tokens(self, which: NDArray[np.integer], tokens: Tokens) -> Known:
        """A copy with tokens for the identifiers at these indices, which were never matched."""
        head, tail, known = self.tokens.head.copy(), self.tokens.tail.copy(), self.known.copy()
        head[which], tail[which], known[which] = tokens.head, tokens.tail, True
        return replace(self, known=known, tokens=Tokens(head, tail))


class Files(Protocol):
    """Opens data files that are on the disk. Every method raises BadDirectory, BadInput."""

    def directory(self, info: DirectoryInfo) -> AbstractContextManager[Directory]:
        """A base."""

    def screen(self, file: DataFile, base: DirectoryInfo) -> Screen:
        """The screen of a base."""

    def delta(self, file: DataFile) -> Delta:
        """A delta."""
