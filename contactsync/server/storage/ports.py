"""The register of members and accounts: what every kind of storage offers.

One behaviour suite (tests/server/test_registry.py) holds for each implementation; sqlite.py is the default.

A *serial* counts the changes of membership. A calling code is *touched* from a change on until a publish that
began after it says that it is done: so a publish looks only at partitions that may have changed, and a killed
one forgets nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contactsync.server.numbers import Numbers
from contactsync.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Account:
    """A caller. `added` is seconds since 1970."""

    name: str
    audience: str
    added: int


def credential_hash(credential: str) -> bytes:
    """SHA-256 of a credential: what is stored, and what is looked up.

    A credential is 256 random bits, so that a fast hash serves; and looking up the hash tells nothing by its
    time, for who could steer the hash towards a stored one could as well guess the credential.
    """
    return hashlib.sha256(credential.encode("utf-8", "surrogateescape")).digest()


class Registry(Protocol):
    """Every method is one transaction. Raises OurError if the storage fails, never with a number in it."""

    def add_numbers(self, numbers: Numbers, audience: str = "people") -> int:
        """Make ascending distinct numbers members of an audience; returns how many were not yet."""

    def remove_numbers(self, numbers: Numbers, audience: str | None = None) -> int:
        """Take numbers out of an audience, or out of all, with their tokens; returns how many were in it."""

    def count(self, audience: str) -> int:
        """Members of an audience."""

    def serial(self) -> int:
        """The serial of the last change of membership."""

    def touched(self, serial: int) -> list[int]:
        """Calling codes touched up to `serial` and not settled since."""

    def settle(self, serial: int) -> None:
        """Changes up to `serial` are published."""

    def codes(self, audience: str) -> list[int]:
        """Calling codes that members of an audience have, ascending."""

    def unevaluated(self, audience: str, epoch: int, code: int, after: int, limit: int) -> Numbers:
        """Up to `limit` members of a calling code, above `after`, without a token of an epoch; ascending."""

    def count_unevaluated(self, audience: str, epoch: int) -> int:
        """How many members have no token of an epoch. O(members)."""

    def store_tokens(self, audience: str, epoch: int, numbers: Numbers, tokens: NDArray[np.uint8]) -> None:
        """Store tokens, uint8[n, 10], for those of `numbers` that are (still) members of the audience."""

    def tokens(self, audience: str, epoch: int, code: int) -> Generator[Tokens, None, None]:
        """All tokens of a partition, in chunks; inside `snapshot` if they shall belong to one moment."""

    def drop_tokens(self, audience: str, epochs: range) -> None:
        """Delete the tokens of these epochs (consecutive ones)."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Reads inside see one moment of the register, whatever others write."""

    def add_account(self, name: str, audience: str, credential: str) -> None:
        """Store an account, its credential hashed. Raises BadInput if there is one of this name."""

    def revoke_account(self, name: str) -> None:
        """Delete an account; its credential opens nothing any more. Raises BadInput if there is none."""

    def accounts(self) -> list[Account]:
        """All accounts by name."""

    def find_account(self, credential: str) -> Account | None:
        """The account that a credential belongs to."""

    def close(self) -> None:
        """Release the storage."""
