"""Records a sync: FILE with every octet on the wire, FILE.private with what explains the points in it.

Both appear when the sync is over, as whole files (0600), and only if anything was sent. What is secret in
FILE.private is kept in memory until then. During the sync the octets are only copied, and the rest is kept by
reference, so that what happens between two requests does not depend on what is recorded.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from contactsync import __version__
from contactsync.client.core.held_records import pack_holding
from contactsync.client.core.holdings import Holdings
from contactsync.client.core.mode import AskedList, LookUpBuckets
from contactsync.client.core.planner import Options
from contactsync.client.core.round import BlindedBatch, Round
from contactsync.client.report import Report
from contactsync.client.transcript import (
    PRIVATE_FORMAT,
    Closed,
    Ending,
    Event,
    Hidden,
    Opening,
    Piece,
    Worked,
    private_path,
)
from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, ContactSyncError, OurError
from contactsync.identifiers import FORMS

_MAC_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class _Sent:
    epoch: int
    unfinished: bool
    blinded: BlindedBatch


class _Nothing(Exception):
    """Nothing was sent: the file is not to appear."""


class Recording:
    """A transcript in the making. `hides` are the secrets that are not written, by what they are.

    Raises BadInput if a file is there already, or none can be created.
    """

    def __init__(
        self,
        path: Path,
        url: str,
        options: Options,
        *,
        hides: Mapping[str, bytes],
        proxy: str | None = None,
    ) -> None:
        self._path = path
        self._private = private_path(path)
        program = f"contactsync/{__version__}"
        self._opening = Opening(program, url, int(time.time()), proxy, asdict(options), {})
        self._hides = {what: secret for what, secret in hides.items() if secret}
        self._key = secrets.token_bytes(_MAC_KEY_BYTES)
        self._held_back: dict[tuple[int, bool], bytes] = {}
        self._digest = hashlib.sha256()
        self._counts = [0, 0, 0]
        self._failure: OSError | None = None
        self._is_over = False
        self._said: str | None = None
        self._rounds: list[dict[str, Any]] = []
        self._batches: list[_Sent] = []
        self._plans: list[tuple[int, Holdings, Mapping[str, int]]] = []
        self._lists: list[tuple[LookUpBuckets, AskedList | None]] = []
        self._decoy_secret: bytes | None = None
        self._identifiers: Sequence[bytes] = ()
        self._unfinished: set[str] = set()
        self._file: BinaryIO
        self._replacing: AbstractContextManager[BinaryIO] | None = None

    def __enter__(self) -> Self:
        for path in (self._path, self._private):
            if path.exists():
                raise BadInput(
                    f"{path} already exists", hint="give a new file: a transcript is never overwritten"
                )
        try:
            self._replacing = durable.replacing(self._path)
            self._file = self._replacing.__enter__()
        except OSError as error:
            raise BadInput(
                f"cannot create {self._path}: {error.strerror}", hint="choose another place"
            ) from error
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for connection, sent in list(self._held_back):
            self._write_held_back(connection, sent=sent)
        self._is_over = True
        try:
            self._appear(error)
        except OSError as why:
            self._failure = self._failure or why
        if self._failure is not None and not isinstance(error, ContactSyncError):
            raise OurError(
                f"the transcript {self._path} could not be written: {self._failure.strerror}",
                hint="what was found is kept; check the free space, and sync again to another file",
            ) from self._failure

    # What the meter sees

    def record(self, connection: int, sent: bool, data: memoryview) -> None:
        """Write octets of a connection. This is the `record` of a transport."""
        self._write_held_back(connection, sent=not sent)
        octets = self._held_back.pop((connection, sent), b"") + bytes(data)
        begun = max((_overlap(octets, secret) for secret in self._hides.values()), default=0)
        if begun:  # perhaps a secret that goes on in the next piece
            self._held_back[connection, sent] = octets[-begun:]
            octets = octets[:-begun]
        if octets:
            self._piece(connection, sent, octets)

    def closed(self, connection: int) -> None:
        """The client closes a connection. This is the `closed` of a transport. It may come after the end."""
        if self._is_over:
            return
        for sent in (True, False):
            self._write_held_back(connection, sent=sent)
        self._write(Closed(connection))

    # What the session says

    def begins(self, trusted: Mapping[str, bytes], identifiers: Sequence[bytes]) -> None:
        """The state is locked. `trusted` is what is kept of the server's metadata, by name."""
        self._identifiers = identifiers
        self._opening = replace(self._opening, trusted=trusted)
        self._write(self._opening)

    def plans(self, epoch: int, holdings: Holdings, held: Mapping[str, int]) -> None:
        """A download was planned with these holdings; so many octets of its files, by SHA-256, are there."""
        self._plans.append((epoch, holdings, held))

    def begins_round(self, epoch: int, this: Round, *, cover: bool) -> None:
        """These batches are going to be sent. `cover`: without news there would be a cover round."""
        self._unfinished = {batch.name for batch in this.unfinished}
        self._rounds.append(
            {
                "epoch": epoch,
                "cover": cover,
                "unfinished": [batch.size for batch in this.unfinished],
                "fresh": [batch.size for batch in this.fresh],
            }
        )

    def sends(self, epoch: int, blinded: BlindedBatch) -> None:
        """A batch is going to be sent."""
        self._batches.append(_Sent(epoch, blinded.batch.name in self._unfinished, blinded))

    def works(self) -> None:
        """The replies to points are worked on from here."""
        self._write(Worked())

    def lists(self, request: LookUpBuckets, before: AskedList | None, decoy_secret: bytes) -> None:
        """Buckets are going to be requested; `before` is the list that was not answered."""
        self._decoy_secret = decoy_secret
        self._lists.append((request, before))

    def finished(self, report: Report) -> None:
        """The sync has succeeded."""
        self._said = report.leak

    # Writing

    def _piece(self, connection: int, sent: bool, octets: bytes) -> None:
        hidden = []
        for what, secret in self._hides.items():
            at = octets.find(secret)
            while at >= 0:
                octets = octets[:at] + bytes(len(secret)) + octets[at + len(secret) :]
                hidden.append(Hidden(at, len(secret), what, self._keyed_hash(what, secret)))
                at = octets.find(secret, at)
        hidden.sort(key=lambda one: one.at)
        self._counts[0] += 1
        self._counts[1 if sent else 2] += len(octets)
        self._write(Piece(connection, sent, octets, tuple(hidden)))

    def _keyed_hash(self, what: str, secret: bytes) -> str:
        return hmac.digest(self._key, what.encode() + b"\0" + secret, "sha256").hex()

    def _write_held_back(self, connection: int, *, sent: bool) -> None:
        octets = self._held_back.pop((connection, sent), b"")
        if octets:
            self._piece(connection, sent, octets)

    def _write(self, one: Opening | Event | Ending) -> None:
        line = one.line()
        self._digest.update(line)
        try:
            if self._failure is None:
                self._file.write(line)
        except OSError as error:  # the sync goes on; the end says so
            self._failure = error

    def _appear(self, error: BaseException | None) -> None:
        """Let both files appear, or neither if nothing was sent or they cannot be written. Raises OSError."""
        assert self._replacing is not None
        if not self._counts[1] or self._failure is not None:
            self._discard(_Nothing())
            return
        octets = json.dumps(self._explained(), separators=(",", ":")).encode("ascii") + b"\n"
        try:
            durable.write(self._private, octets)
            self._file.write(self._ending(error, hashlib.sha256(octets).hexdigest()).line())
            self._replacing.__exit__(None, None, None)
        except BaseException as why:
            self._discard(why)
            raise

    def _discard(self, why: BaseException) -> None:
        self._private.unlink(missing_ok=True)
        assert self._replacing is not None
        try:
            self._replacing.__exit__(type(why), why, None)
        except BaseException as error:
            if error is not why:
                raise

    def _ending(self, error: BaseException | None, private: str) -> Ending:
        outcome, kind = "done", None
        if isinstance(error, ContactSyncError):
            outcome, kind = "failed", type(error).__name__
        elif error is not None:
            outcome = "interrupted"
        pieces, sent, received = self._counts
        digest = self._digest.hexdigest()
        said = self._said if outcome == "done" else None  # it may have failed after that
        return Ending(outcome, kind, said, private, pieces, sent, received, digest)

    def _explained(self) -> dict[str, Any]:
        """What FILE.private contains."""
        return {
            "format": PRIVATE_FORMAT,
            "key": self._key.hex(),
            "book": book_hash(self._key, self._identifiers),
            "identifiers": len(set(self._identifiers)),
            "forms": FORMS,
            "rounds": self._rounds,
            "batches": [_batch(one) for one in self._batches],
            "plans": [
                {
                    "epoch": epoch,
                    "holdings": {f"{name}.{kind}": pack_holding(one) for (name, kind), one in held.items()},
                    "held": dict(octets),
                }
                for epoch, held, octets in self._plans
            ],
            "decoy_secret": None if self._decoy_secret is None else self._decoy_secret.hex(),
            "lists": [_list(request, before) for request, before in self._lists],
        }


def book_hash(key: bytes, identifiers: Sequence[bytes]) -> str:
    """A keyed hash of the identifiers of an address book, whatever their order."""
    return hmac.digest(key, b"book\0" + b"\n".join(sorted(set(identifiers))), "sha256").hex()


def _overlap(octets: bytes, secret: bytes) -> int:
    """How many octets at the end may be the beginning of a secret."""
    for count in range(min(len(secret) - 1, len(octets)), 0, -1):
        if octets.endswith(secret[:count]):
            return count
    return 0


def _batch(one: _Sent) -> dict[str, Any]:
    """The blinds of a batch in the order of its points, and the inputs of those that are padding."""
    blinded = one.blinded
    padding = {
        str(place): blinded.blinding.inputs[place].hex() for place, of in enumerate(blinded.places) if of < 0
    }
    return {
        "epoch": one.epoch,
        "unfinished": one.unfinished,
        "blinds": blinded.blinding.blinds.tobytes().hex(),
        "padding": padding,
    }


def _list(request: LookUpBuckets, before: AskedList | None) -> dict[str, Any]:
    return {
        "partition": request.partition.name,
        "asked": asked_value(request.asked),
        "before": None if before is None else asked_value(before),
        "odds": float(getattr(request.told, "before", 1.0)),
        "tested": request.tested.to_bytes().tobytes().hex(),
        "candidates": request.tokens.to_bytes().tobytes().hex(),
    }


def asked_value(asked: AskedList) -> dict[str, Any]:
    """A list of buckets as JSON has it."""
    return asdict(asked) | {"seed": asked.seed.hex(), "numbers": list(asked.numbers)}
