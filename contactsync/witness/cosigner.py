"""The decision of a witness: whether a checkpoint continues what it cosigned before (C2SP tlog-witness)."""

from __future__ import annotations

import base64
import logging
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from contactsync.foundation.errors import BadInput, BadReply, BadSignature
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.merkle import EMPTY, verify_consistency
from contactsync.publication.log.notes import ED25519, Note, Verifier, open_note
from contactsync.publication.log.witnessing import SIZE_TYPE, AddCheckpoint
from contactsync.witness.state import WitnessState

TEXT: Final = "text/plain; charset=utf-8"

log = logging.getLogger("contactsync.witness")


@dataclass(frozen=True, slots=True)
class WitnessAnswer:
    """A status of HTTP with the body of the answer and its type."""

    status: int
    body: str
    media_type: str = TEXT


class Cosigner:
    """Answers one request after the other; threads may call it."""

    def __init__(self, state: WitnessState, logs: Iterable[Verifier]) -> None:
        """`logs` are the keys of the logs to follow. A log may have several keys, under one name.

        Raises BadInput: the key of a witness among them; OurError: what is known of a log is damaged.
        """
        self._state = state
        self._lock = threading.Lock()
        self._logs: dict[str, list[Verifier]] = {}
        for one in logs:
            if one.kind != ED25519:
                raise BadInput(f"{one.name} is the key of a witness, not of a log", hint="give the log's key")
            self._logs.setdefault(one.name, []).append(one)
        self._last = {origin: state.last(origin) for origin in self._logs}

    def add_checkpoint(self, octets: bytes) -> WitnessAnswer:
        """Answer the body of a request `add-checkpoint`. Raises OSError: nothing was cosigned."""
        try:
            request = AddCheckpoint.parse(octets)
            note = open_note(request.note, [])
            checkpoint = Checkpoint.parse(note.text)
        except BadReply as error:
            return WitnessAnswer(HTTPStatus.BAD_REQUEST, f"{error}\n")
        keys = self._logs.get(checkpoint.origin)
        if keys is None:
            return WitnessAnswer(HTTPStatus.NOT_FOUND, "this witness does not follow that log\n")
        try:
            opened = open_note(request.note, keys)
        except BadSignature as error:
            return WitnessAnswer(HTTPStatus.FORBIDDEN, f"{error}\n")
        if not opened.verified:
            return WitnessAnswer(HTTPStatus.FORBIDDEN, "the log has not signed this checkpoint\n")
        if request.old > checkpoint.size:
            return WitnessAnswer(HTTPStatus.BAD_REQUEST, "the old size is larger than the checkpoint's\n")
        with self._lock:  # what is compared is what is replaced
            return self._decide(request, opened, checkpoint)

    def _decide(self, request: AddCheckpoint, note: Note, checkpoint: Checkpoint) -> WitnessAnswer:
        last = self._last[checkpoint.origin]
        known = 0 if last is None else last.size
        root = EMPTY if last is None else last.root
        is_fork = last is not None and checkpoint.size == known and checkpoint.root != root
        if is_fork:
            kept = self._state.keep_fork(checkpoint, request.note)
            where = "" if kept is None else f"; the other one is kept in {kept}"
            log.error("%s has signed two trees of %d entries%s", checkpoint.origin, known, where)
        if is_fork or request.old != known:
            return WitnessAnswer(HTTPStatus.CONFLICT, f"{known}\n", SIZE_TYPE)
        if not verify_consistency(known, root, checkpoint.size, checkpoint.root, request.proof):
            log.warning(
                "no proof that %s of %d entries continues %d", checkpoint.origin, checkpoint.size, known
            )
            return WitnessAnswer(
                HTTPStatus.UNPROCESSABLE_ENTITY, "the proof does not show that the log continues\n"
            )
        line = self._state.signer.line(note.text)
        if last != checkpoint:
            lines = [*_verified_lines(request.note, note), line]
            self._state.keep(checkpoint.origin, f"{note.text}\n{''.join(lines)}".encode())
            self._last[checkpoint.origin] = checkpoint
            log.info("cosigned %s at %d entries", checkpoint.origin, checkpoint.size)
        return WitnessAnswer(HTTPStatus.OK, line)


def _verified_lines(octets: bytes, note: Note) -> Iterator[str]:
    """The lines of the log's own signatures. Nobody has checked the others."""
    known = {(one.name, one.key_id) for one in note.verified}
    for line in octets.decode().removeprefix(f"{note.text}\n").splitlines(keepends=True):
        _, name, coded = line.split()
        if (name, base64.b64decode(coded)[:4]) in known:
            yield line
