"""The history of an audience: whether a manifest continues the one that a client saw last.

Each manifest names the one before it by its SHA-256, across epochs. `walk` goes back along these names, from
the newest manifest to the one seen last. It does no I/O: it yields the hash of each manifest that it must
examine, and is sent that manifest's octets.

Positions (epoch, edition) fall at each step, so there is no loop. Servers keep the newest `MANIFESTS_KEPT`
manifests. If the one seen last lies further back, the walk ends with a `Gap`: what lies between can no longer
be checked, and the caller must report that. docs/http-api.md ("The walk") is the text this follows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final, Self

from contactsync.foundation.errors import BadReply, BadSignature
from contactsync.publication import canonical

MANIFESTS_KEPT: Final = 33
"""The current manifest, and those before it back to the beginning of the longest chain of deltas.

Part of the protocol: a server that does not have one of these shows another history.
"""

_FORMAT = re.compile(r"contactsync-manifest-[1-9][0-9]{0,5}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z]{1,32}")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a manifest stands in the history of its audience."""

    epoch: int
    edition: int

    def __str__(self) -> str:
        return f"epoch {self.epoch} edition {self.edition}"


@dataclass(frozen=True, slots=True)
class Gap:
    """Two manifests that a client saw, with too many between them to walk from one to the other."""

    since: Position
    until: Position


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a manifest announces of the next epoch, as far as the history needs it; the key is in hex."""

    epoch: int
    public_key: str
    until: int
    edition: int

    def continues(self, before: Rotation) -> bool:
        """Whether it can come in the next manifest after one that announced `before`."""
        same = (self.epoch, self.public_key, self.until) == (before.epoch, before.public_key, before.until)
        return same and self.edition >= before.edition


@dataclass(frozen=True, slots=True)
class Link:
    """What the history needs of a manifest, whatever the version of its format.

    `public_key` is in hex; `previous` and `sha256` are the hashes of the manifest before it and of itself.
    `rotation` is what it announces of the next epoch; None also if that has a form of a later version.
    """

    audience: str
    position: Position
    public_key: str
    previous: str | None
    sha256: str
    rotation: Rotation | None = None

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a manifest of any version, as far as the history needs it.

        Raises BadReply unless the octets are canonical JSON and say all that a link consists of.
        """
        try:
            value = canonical.decode(data)
            if canonical.encode(value) == data:  # one spelling: no member twice
                _text(value["format"], _FORMAT)
                return cls(
                    audience=_text(value["audience"], _NAME),
                    position=Position(_number(value["epoch"]), _number(value["edition"])),
                    public_key=_text(value["public_key"], _SHA256),
                    previous=None if value["previous"] is None else _text(value["previous"], _SHA256),
                    sha256=hashlib.sha256(data).hexdigest(),
                    rotation=_rotation(value.get("next")),
                )
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        raise BadReply(
            "a manifest of the server's history cannot be read",
            hint="update contactsync; if that does not help, tell the operator of the server",
            refusal="malformed",
        )


def walk(newest: Link, seen: Link | None) -> Generator[str, bytes, Gap | None]:
    """Check that `newest` is the manifest seen last, or one that continues it.

    Yields the SHA-256 of a manifest to look at, at most `MANIFESTS_KEPT` - 1 of them, and none if `newest` is
    the next one after `seen`. Wants its octets sent, bounded by the caller but otherwise unverified. Returns
    the gap that cannot be checked, None if there is none. `seen` is None on first contact, when there is
    nothing to continue.

    Raises BadSignature if it is another history, BadReply if a manifest in between is none.
    """
    _check_beginning(newest)
    if seen is None or newest.sha256 == seen.sha256:
        return None
    _check_order(newest, seen)
    link = newest
    for left in range(MANIFESTS_KEPT, 0, -1):  # steps that may be gone yet; the last one needs no manifest
        if link.previous == seen.sha256:
            _check_step(link, seen)
            return None
        least = _least_steps(link.position, seen.position)
        if least > left or (left == 1 and link.position.epoch != seen.position.epoch):
            return Gap(seen.position, newest.position)
        if link.previous is None or (least == 1 and link.position.epoch == seen.position.epoch):
            raise another_history(f"{link.position} does not continue {seen.position} as seen before")
        data = yield link.previous
        if hashlib.sha256(data).hexdigest() != link.previous:
            raise another_history(f"it now shows a different manifest before {link.position}")
        before = Link.from_bytes(data)
        _check_step(link, before)
        if before.position <= seen.position:
            raise another_history(f"{before.position} is not the one seen before")
        link = before
    raise AssertionError("the last step ends the walk")  # pragma: no cover


def another_history(what: str) -> BadSignature:
    """The error for a manifest that does not continue what this client has seen."""
    return BadSignature(
        f"this server shows another history: {what}",
        hint="stop here, and keep the state, which is the evidence; ask the operator, over another channel, "
        "what happened to the server",
        refusal="another-history",
    )


def _least_steps(newer: Position, older: Position) -> int:
    """How many steps lead back from one position to the other, at least.

    Within an epoch they are as many as that. How many editions an epoch before it had is not known.
    """
    if newer.epoch == older.epoch:
        return newer.edition - older.edition
    return newer.edition + newer.epoch - older.epoch - 1


def _check_beginning(link: Link) -> None:
    """Only the very first manifest has none before it."""
    if (link.previous is None) != (link.position == Position(1, 1)):
        raise another_history(f"{link.position}: only epoch 1 edition 1 has no previous manifest")


def _check_order(newest: Link, seen: Link) -> None:
    """What can be told without looking at anything in between."""
    if newest.audience != seen.audience:
        raise another_history(f"it continues {seen.audience} with {newest.audience}")
    if newest.position < seen.position:
        raise another_history(f"it went back from {seen.position} to {newest.position}")
    if newest.position == seen.position:
        raise another_history(f"{newest.position} was published twice with different content")
    if newest.position.epoch == seen.position.epoch and newest.public_key != seen.public_key:
        raise another_history(f"the key of epoch {newest.position.epoch} changed within the epoch")


def _check_step(newer: Link, older: Link) -> None:
    """That `older`, which `newer` names by its hash, can be the manifest before it."""
    _check_beginning(older)
    epoch, edition = newer.position.epoch, newer.position.edition
    if newer.audience != older.audience:
        raise another_history(f"before {newer.position} comes a manifest of another audience")
    if edition > 1:
        fits = older.position == Position(epoch, edition - 1)
    else:
        fits = older.position.epoch == epoch - 1
    if not fits:
        raise another_history(f"before {newer.position} comes {older.position}")
    if edition > 1 and newer.public_key != older.public_key:
        raise another_history(f"the key of epoch {epoch} changed within the epoch")
    # An announcement may be taken back; the next one, some editions later, is another rotation.
    if edition > 1 and newer.rotation and older.rotation and not newer.rotation.continues(older.rotation):
        raise another_history(f"what was announced of epoch {older.rotation.epoch} changed")


def _rotation(value: Any) -> Rotation | None:
    try:
        return Rotation(
            epoch=_number(value["epoch"]),
            public_key=_text(value["public_key"], _SHA256),
            until=_number(value["until"]),
            edition=_number(value["edition"]),
        )
    except (ValueError, TypeError, KeyError):
        return None


def _text(value: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError
    return value


def _number(value: object) -> int:
    if type(value) is not int or not 1 <= value <= canonical.MAX_NUMBER:
        raise ValueError
    return value
