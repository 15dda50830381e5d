"""What a witness answers to a checkpoint: C2SP tlog-witness, add-checkpoint. Its words are the comments.

Nothing here depends on HTTP but the status codes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from contactsync.foundation.errors import BadInput, BadReply, BadSignature
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.merkle import EMPTY, verify_consistency
from contactsync.publication.log.notes import ED25519, MAX_NOTE, Verifier, open_note, with_lines
from contactsync.publication.log.witnessing import SIZE_TYPE, AddCheckpoint
from contactsync.witness.folder import Cosigned, WitnessFolder

MAX_STEP_BACK: Final = 60
"""Seconds that the clock may go back. Meanwhile the time of the last cosignature is stated again."""

TEXT: Final = "text/plain; charset=utf-8"

log = logging.getLogger("contactsync.witness")


@dataclass(frozen=True, slots=True)
class WitnessReply:
    """An answer over HTTP."""

    status: int
    body: bytes
    media_type: str = TEXT


class Witness:
    """A witness of some logs. For one thread."""

    def __init__(
        self, folder: WitnessFolder, logs: Sequence[Verifier], clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._logs = by_origin(logs)
        self._clock = clock

    def add_checkpoint(self, octets: bytes) -> WitnessReply:
        """Answer one request. A cosignature is returned only when it is on the disk. Raises OurError."""
        try:
            asked = AddCheckpoint.parse(octets)
            text = open_note(asked.note, ()).text
            checkpoint = Checkpoint.parse(text)
        except BadReply as error:
            return _said(400, str(error))
        # "If the checkpoint origin is unknown, the witness MUST respond with a 404"
        keys = self._logs.get(checkpoint.origin)
        if keys is None:
            return _said(404, "this witness does not follow this log")
        # "verify the checkpoint signature against the public key(s) it trusts for the checkpoint origin";
        # "If none of the signatures verify against a trusted public key", 403
        note = _with_signatures_of(keys, text, asked.note)
        if note is None:
            return _said(403, "no signature of the checkpoint is one of the log")
        # "The old size MUST be equal to or lower than the checkpoint size. Otherwise", 400
        if asked.old > checkpoint.size:
            return _said(400, "the old size is larger than that of the checkpoint")
        if len(note) > MAX_NOTE // 2:
            return _said(400, "the checkpoint is too long")
        # "checking the old size against the latest checkpoint and persisting the new checkpoint must be
        # performed atomically"
        with self._folder.change():
            return self._cosign(asked, checkpoint, text, note)

    def _cosign(self, asked: AddCheckpoint, checkpoint: Checkpoint, text: str, note: bytes) -> WitnessReply:
        last = self._folder.last(checkpoint.origin)
        size, root = (0, EMPTY) if last is None else (last.checkpoint.size, last.checkpoint.root)
        is_fork = checkpoint.size == size and checkpoint.root != root
        if is_fork and last is not None and self._folder.note_fork(checkpoint, last.note, note):
            log.error("the log %s has signed two trees of %d entries: it is forked", checkpoint.origin, size)
        # "check that the old size matches the size of the latest checkpoint it cosigned"; else 409, "The
        # response body MUST consist of the tree size of the latest cosigned checkpoint"
        if asked.old != size:
            return WitnessReply(409, f"{size}\n".encode(), SIZE_TYPE)
        # "If the old size matches the checkpoint size, the witness MUST check that the root hashes are also
        # identical. If they don't match", 409
        if is_fork:
            return _said(409, "the log has signed another tree of this size")
        # "If the Merkle Consistency Proof doesn't verify", 422
        if not verify_consistency(size, root, checkpoint.size, checkpoint.root, asked.proof):
            return _said(422, "the proof does not show that the log has only grown")
        when = self._time(last)
        if when is None:
            log.error("the clock is before the last cosignature of %s: it was set back", checkpoint.origin)
            return _said(503, "the clock of this witness is wrong")
        line = self._folder.signer(when).line(text)
        self._folder.store(checkpoint, with_lines(note, [line]))
        log.info("cosigned %s at %d entries", checkpoint.origin, checkpoint.size)
        return WitnessReply(200, line.encode())

    def _time(self, last: Cosigned | None) -> int | None:
        """What a cosignature states: never before the last one, which would say that the log had shrunk."""
        now = int(self._clock())
        if last is None or now >= last.when:
            return now
        return last.when if last.when - now <= MAX_STEP_BACK else None


def by_origin(logs: Sequence[Verifier]) -> Mapping[str, Sequence[Verifier]]:
    """The keys of each log. Raises BadInput: a key that is no log's."""
    found: dict[str, list[Verifier]] = {}
    for one in logs:
        if one.kind != ED25519:
            raise BadInput(
                f"{one.name} is the key of a witness, not of a log",
                hint="give what the operator of the log publishes",
            )
        found.setdefault(one.name, []).append(one)
    return found


def _with_signatures_of(keys: Sequence[Verifier], text: str, note: bytes) -> bytes | None:
    """The note with one signature of each of these keys that has signed, and with no other.

    None if none has, or if one of these signatures is not valid.
    """
    kept: dict[Verifier, str] = {}
    try:
        for line in note.decode()[len(text) + 1 :].splitlines(keepends=True):
            for verifier in open_note(f"{text}\n{line}".encode(), keys).verified:
                kept.setdefault(verifier, line)
    except BadSignature:
        return None
    return f"{text}\n{''.join(kept.values())}".encode() if kept else None


def _said(status: int, words: str) -> WitnessReply:
    return WitnessReply(status, f"{words}\n".encode())
