"""FILE.private: what explains the points, the files and the buckets of a transcript."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from contactsync.client.core.held_records import unpack_holding
from contactsync.client.core.holdings import Holdings
from contactsync.client.core.mode import AskedList
from contactsync.client.ledger import DECOY_SECRET_BYTES
from contactsync.client.transcript import MAX_PRIVATE, PRIVATE_FORMAT, BadTranscript, Ending
from contactsync.foundation.errors import BadInput
from contactsync.foundation.limits import MAX_BATCH
from contactsync.identifiers import FORMS
from contactsync.tokens import TOKEN_BYTES, Tokens
from contactsync.voprf.constants import NE, Rows

SAME_VERSION: Final = "audit it with the version that wrote it"
_HINT = "give the FILE.private that sync --transcript wrote together with this FILE"


@dataclass(frozen=True, slots=True)
class SentRound:
    """A round: the sizes of the batches that an earlier sync left, and of the new ones.

    `cover`: without news it would have been a cover round.
    """

    epoch: int
    cover: bool
    unfinished: tuple[int, ...]
    fresh: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SentBatch:
    """A batch that was sent: its blinds, uint8[n, 32], and the inputs that are padding, by their places."""

    epoch: int
    unfinished: bool
    blinds: Rows = field(repr=False)
    padding: Mapping[int, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Planned:
    """What a download was planned from: what was held, and octets of the files that were there already."""

    epoch: int
    holdings: Holdings
    held: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Listed:
    """A list of buckets, the one before it that was not answered, and the tokens that it is for."""

    partition: str
    asked: AskedList
    before: AskedList | None
    odds: float
    tested: Tokens = field(repr=False)
    candidates: Tokens = field(repr=False)


@dataclass(frozen=True, slots=True)
class Private:
    """The content of FILE.private. `book` is the keyed hash of the identifiers of the address book.

    `forms` is the version of the table of further forms that were looked up, 0 if none were.
    """

    key: bytes = field(repr=False)
    book: str
    identifiers: int
    forms: int
    rounds: tuple[SentRound, ...]
    batches: tuple[SentBatch, ...]
    plans: tuple[Planned, ...]
    decoy_secret: bytes | None = field(repr=False)
    lists: tuple[Listed, ...]

    @classmethod
    def read(cls, path: Path, ending: Ending) -> Self:
        """Read it. Raises BadTranscript if it is not the one that was written with the transcript.

        Also if it is of another version, or of none. Raises BadInput if it cannot be opened.
        """
        place = str(path)
        try:
            if path.stat().st_size > MAX_PRIVATE:
                raise BadTranscript(
                    place, "it is too large to be the private file of a transcript", hint=_HINT
                )
            octets = path.read_bytes()
        except OSError as error:
            raise BadInput(f"cannot read {path}: {error.strerror}", hint="check the name") from error
        if hashlib.sha256(octets).hexdigest() != ending.private:
            raise BadTranscript(
                place,
                "it is not the private file that was written with this transcript: its SHA-256 is another"
                " one",
                hint=_HINT,
            )
        try:
            value = json.loads(octets)
            _check_version(place, value)
            return cls._of(value)
        except (
            *(ValueError, KeyError, TypeError, AttributeError),
            *(OverflowError, RecursionError),
        ) as error:
            raise BadTranscript(place, "it is not written as a private file is", hint=_HINT) from error

    @classmethod
    def _of(cls, value: dict[str, Any]) -> Self:
        secret = value["decoy_secret"]
        if secret is not None and len(secret) != 2 * DECOY_SECRET_BYTES:
            raise ValueError("not a secret of a ledger")
        return cls(
            bytes.fromhex(value["key"]),
            str(value["book"]),
            _count(value["identifiers"]),
            _forms(value),
            tuple(_round(one) for one in value["rounds"]),
            tuple(_batch(one) for one in value["batches"]),
            tuple(_plan(one) for one in value["plans"]),
            None if secret is None else bytes.fromhex(secret),
            tuple(_list(one) for one in value["lists"]),
        )


def _check_version(place: str, value: dict[str, Any]) -> None:
    if value["format"] != PRIVATE_FORMAT:
        what = f"it is a private file of another version ({str(value['format'])[:60]!a})"
        raise BadTranscript(place, what, hint=SAME_VERSION)
    if _forms(value) not in {0, FORMS}:
        what = f"the sync looked up further forms of numbers by table {_forms(value)}"
        raise BadTranscript(place, what, hint=SAME_VERSION)


def _forms(value: dict[str, Any]) -> int:
    """A sync of before there were further forms says nothing of them."""
    if value.get("forms") == 0:
        raise ValueError("there is no such table")
    return _count(value.get("forms", 0))


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a number")
    return value


def _round(value: dict[str, Any]) -> SentRound:
    sizes = (tuple(_count(size) for size in value[name]) for name in ("unfinished", "fresh"))
    return SentRound(_count(value["epoch"]), value["cover"] is True, *sizes)


def _batch(value: dict[str, Any]) -> SentBatch:
    blinds = np.frombuffer(bytes.fromhex(value["blinds"]), np.uint8).reshape(-1, NE)
    padding = {int(place): bytes.fromhex(text) for place, text in value["padding"].items()}
    if type(value["unfinished"]) is not bool or not 1 <= len(blinds) <= MAX_BATCH:
        raise ValueError("not a batch")
    if any(not 0 <= place < len(blinds) for place in padding):
        raise ValueError("there is no such point")
    return SentBatch(_count(value["epoch"]), value["unfinished"], blinds, padding)


def _plan(value: dict[str, Any]) -> Planned:
    holdings = {}
    for name, text in value["holdings"].items():
        code, _, kind = name.rpartition(".")
        holdings[code, kind] = unpack_holding(text)
    return Planned(
        _count(value["epoch"]), holdings, {str(sha): _count(many) for sha, many in value["held"].items()}
    )


def _list(value: dict[str, Any]) -> Listed:
    before = value["before"]
    return Listed(
        str(value["partition"]),
        _asked(value["asked"]),
        None if before is None else _asked(before),
        float(value["odds"]),
        _tokens(value["tested"]),
        _tokens(value["candidates"]),
    )


def _asked(value: dict[str, Any]) -> AskedList:
    epoch, slot_bits, edition = (_count(value[name]) for name in ("epoch", "slot_bits", "edition"))
    numbers = tuple(_count(one) for one in value["numbers"])
    return AskedList(epoch, slot_bits, edition, bytes.fromhex(value["seed"]), numbers)


def _tokens(text: str) -> Tokens:
    rows = np.frombuffer(bytes.fromhex(text), np.uint8).reshape(-1, TOKEN_BYTES)
    return Tokens.from_bytes(rows)
