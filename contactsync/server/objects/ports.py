"""What an object store can do, as far as it is needed here.

An object is put only if none has its name, or only over the version that was read (`Tag`). Both are one
request, which the store decides. So two publishers cannot both win, whatever either of them believes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from contactsync.foundation.errors import NetworkError, OurError

IMMUTABLE: Final = "public, max-age=31536000, immutable"
ACCOUNTS_ONLY: Final = "private, max-age=31536000, immutable"
"""For data files: a shared cache must not keep what `publish --expunge` takes out of service."""
CHANGES: Final = "no-cache"
SMALL_LIMIT: Final = 16 << 20
"""Octets of what is read whole, or put over a version that was read."""


@dataclass(frozen=True, slots=True)
class Tag:
    """The version of an object, for a comparison: its ETag, and what some stores compare instead."""

    e_tag: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a list, its length in octets."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Headers:
    """What a store says with an object to whoever reads it over HTTP."""

    kind: str
    caching: str


class Conflict(OurError):
    """An object exists that must not, or is not the version that was to be replaced."""


class Unanswered(NetworkError):
    """The store did not answer, or says that it cannot now. A put may have been done all the same."""


class Objects(Protocol):
    """Objects below one prefix of a store. Names are relative to it, with `/` between their parts.

    Every method raises Unanswered, and OurError if the store refuses (no rights, no such bucket).
    """

    def entries(self, below: str) -> Iterator[StoredObject]:
        """The objects whose names begin with `below` and `/`, in any order."""

    def read(self, name: str, limit: int) -> tuple[bytes, Tag] | None:
        """A small object and its version; None if there is none. OurError: it is longer than `limit`."""

    def size(self, name: str) -> int | None:
        """The length of an object; None if there is none."""

    def create(self, name: str, octets: bytes, headers: Headers) -> Tag:
        """Put an object that must not exist. Raises Conflict."""

    def replace(self, name: str, octets: bytes, old: Tag, headers: Headers) -> Tag:
        """Put an object over the version `old`. Raises Conflict."""

    def upload(self, name: str, path: Path, headers: Headers) -> None:
        """Put a file, whatever was there, in parts if it is long. It appears whole or not at all."""

    def delete(self, names: Sequence[str]) -> None:
        """Remove objects. It is no error if some are gone."""

    def signed_url(self, name: str, seconds: int) -> str | None:
        """A URL by which anybody may read an object, for so long; None: this store has no such URLs."""
