"""The interface of what is published, as it is served."""

from __future__ import annotations

from typing import Protocol

from contactsync.publication.manifest import Manifest


class OpenFile(Protocol):
    """A data file that is being served. Its content stays readable even if the file is deleted.

    `size` is in octets, `modified` in seconds since 1970. An object is for any number of threads.
    """

    size: int
    modified: float

    def read(self, start: int, length: int) -> bytes:
        """`length` octets from `start`; fewer only at the end."""

    def close(self) -> None:
        """Close it, once the running reads have ended."""


class PublicationStore(Protocol):
    """What is published, as it is served. An object is for any number of threads.

    The caller has checked that names have the form that docs/http-api.md allows. Raises OurError if what is
    there is damaged, OSError if it cannot be read.
    """

    def stamp(self) -> object:
        """A value that differs after every publish.

        It does not wait for the storage: it is called on the event loop, for every request. A remote store
        returns the last value that its own thread received.
        """

    def history(self, audience: str, limit: int) -> list[Manifest]:
        """The current manifest of an audience and earlier ones, at most `limit`, as far as they are kept."""

    def root(self) -> bytes:
        """The newest root metadata."""

    def metadata(self, name: str) -> bytes | None:
        """A metadata file; None if there is none with this name."""

    def manifest(self, name: str) -> bytes | None:
        """The manifest named HASH.AUDIENCE.json; None if there is none."""

    def log(self, name: str) -> bytes | None:
        """A file of the log by its path in it; None if there is none."""

    def data(self, sha256: str) -> OpenFile | None:
        """A data file; None if there is none."""
