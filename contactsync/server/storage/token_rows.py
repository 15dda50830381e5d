"""What a store of members can do about tokens: who has none yet, those that are there, and their end."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from contactsync.server.storage.departed import DepartedKeys
from contactsync.server.storage.token_log import TokenChanges
from contactsync.tokens import Tokens

if TYPE_CHECKING:
    from contactsync.server.storage.ports import Members


class TokenStore(Protocol):
    """The part of a `MemberStore` that knows tokens."""

    def unevaluated(
        self, audience: str, epoch: int, partition: str, after: Any, limit: int, *, keyed: bool = False
    ) -> Members:
        """Up to `limit` members of a partition without a token of an epoch, ascending.

        `after` is the last key of the page before (`Members.last`), None for the first page. `keyed`: also
        those whose token has no label key beside it.

        O(members of the partition), until a search has ended there; from then on O(limit).
        """

    def begin_search(self, audience: str, epoch: int, partition: str, *, keyed: bool = False) -> None:
        """Note, before `unevaluated` is asked for all pages of a partition, that it will be.

        Who joins from now on is remembered, so that no later search has to read everybody.
        """

    def end_search(self, audience: str, epoch: int, searched: Mapping[str, bool]) -> None:
        """Note that all who were found in these partitions have their token; the value is `keyed`.

        Of partitions that were not begun so, nothing is noted.
        """

    def count_unevaluated(self, audience: str, epoch: int, *, keyed: Collection[str] = ()) -> int:
        """How many members have no token of an epoch; in the partitions `keyed`, none with its label key.

        O(members).
        """

    def store_tokens(self, audience: str, epoch: int, members: Members, tokens: NDArray[np.uint8]) -> None:
        """Store tokens, uint8[n, 10], for those of `members` that are (still) members of the audience.

        uint8[n, 42]: with their label keys. Either takes the place of what is stored.
        """

    def tokens(self, audience: str, epoch: int, partition: str) -> Generator[Tokens, None, None]:
        """All tokens of a partition, in chunks. Call it inside `snapshot` for a consistent view."""

    def begin_log(self, partitions: Mapping[tuple[str, int], Collection[str]], public: bytes | None) -> None:
        """Keep which tokens join and leave from now on, in partitions by audience and epoch.

        After tokens were stored, so that not all of a new partition are kept twice, and before those are read
        of which a base is made: `note_base` says when that was. Those that leave are sealed to the `public`
        key of X25519, in all partitions that are kept; without one a partition is kept until one leaves.
        """

    def sealed_to(self) -> set[bytes]:
        """The public keys to which tokens that left are sealed, and will be."""

    def note_base(
        self, audience: str, epoch: int, partition: str, state: str, *, serial: int, count: int
    ) -> None:
        """Note that a base was made of all tokens of a partition as of a serial: `count`, no two one value.

        `state` names it, and its sidecar if it has one (`token_log.noted_as`). Changes of them had to be kept
        then (`begin_log`), else nothing is noted.
        """

    def token_changes(
        self, audience: str, epoch: int, partition: str, state: str, keys: DepartedKeys
    ) -> TokenChanges | None:
        """What became of the tokens of a partition since this base was made of all that there were.

        None if that is not known, or too much to be worth it: then read all tokens. `keys` open what left.
        """

    def drop_tokens(self, audience: str, epochs: range) -> None:
        """Delete the tokens of these epochs (consecutive ones), and what is known of searches and bases."""
