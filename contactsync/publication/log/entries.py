"""What is logged: a line of canonical JSON for each manifest, and for each root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadReply
from contactsync.publication import canonical
from contactsync.publication.forms import HEX64

MAX_LOGGED: Final = 512
"""Octets of the longest entry."""


@dataclass(frozen=True, slots=True)
class LoggedManifest:
    """An edition of an audience, with the SHA-256 of its manifest in hexadecimal digits."""

    audience: str
    epoch: int
    edition: int
    sha256: str

    def to_bytes(self) -> bytes:
        """The entry."""
        return canonical.encode(
            {
                "audience": self.audience,
                "edition": self.edition,
                "epoch": self.epoch,
                "sha256": self.sha256,
                "type": "manifest",
            }
        )


@dataclass(frozen=True, slots=True)
class LoggedRoot:
    """A version of the root, with the SHA-256 of its file in hexadecimal digits."""

    version: int
    sha256: str

    def to_bytes(self) -> bytes:
        """The entry."""
        return canonical.encode({"sha256": self.sha256, "type": "root", "version": self.version})


Logged = LoggedManifest | LoggedRoot


def read_entry(octets: bytes) -> Logged:
    """An entry of a log. Raises BadReply: it is none, or is not spelled canonically."""
    found = None
    if len(octets) <= MAX_LOGGED:
        try:
            found = _entry(canonical.decode(octets))
        except ValueError:
            found = None
    if found is None or found.to_bytes() != octets:
        raise BadReply("an entry of the log is neither a manifest nor a root")
    return found


def _entry(value: Any) -> Logged | None:
    match value:
        case {
            "type": "manifest",
            "audience": str(audience),
            "epoch": epoch,
            "edition": edition,
            "sha256": sha256,
        }:
            if audience in AUDIENCES and _counts(epoch) and _counts(edition) and _is_hash(sha256):
                return LoggedManifest(audience, epoch, edition, sha256)
        case {"type": "root", "version": version, "sha256": sha256}:
            if _counts(version) and _is_hash(sha256):
                return LoggedRoot(version, sha256)
    return None


def _counts(value: object) -> bool:
    return type(value) is int and 1 <= value <= canonical.MAX_NUMBER


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and HEX64.fullmatch(value) is not None
