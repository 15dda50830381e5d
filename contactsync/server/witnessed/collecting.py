"""Asks witnesses to cosign a checkpoint (C2SP tlog-witness), all at once, each within a time.

Nothing that a witness says is believed but its signature, which is verified before it is kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import urllib3

from contactsync import __version__
from contactsync.foundation.errors import BadInput, BadReply, BadSignature, ContactSyncError
from contactsync.foundation.route import Route
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.notes import MAX_NOTE, Verifier, open_note, signature_lines, with_lines
from contactsync.publication.log.tiles import HashReader
from contactsync.publication.log.witnessing import PATH, AddCheckpoint, known_size

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 10.0
_TRIES: Final = 3  # a witness that says which size it knows is asked again from there
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class WitnessPlace:
    """Where a witness is asked, and what it has last said: see witnesses.py."""

    url: str
    size: int = 0
    at: str = ""
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a witness has answered: lines of its signature, and up to which `size`; or why it has not.

    `ahead`: it has seen so many entries of the log, which has fewer here.
    """

    witness: Verifier
    lines: tuple[str, ...] = ()
    size: int = 0
    failure: str = ""
    ahead: int = 0


def collect(
    witnesses: Sequence[tuple[Verifier, WitnessPlace | None]],
    note: bytes,
    reader: HashReader,
    checkpoint: Checkpoint,
) -> tuple[Collected, ...]:
    """Have witnesses cosign a note, which states the checkpoint of the log that `reader` reads."""
    reader.tree(checkpoint.size)  # what threads read after this is read already, or a tile by itself
    with ThreadPoolExecutor(_AT_ONCE, "witnesses") as threads:
        return tuple(threads.map(lambda one: _ask(one[0], one[1], note, reader, checkpoint), witnesses))


def _ask(
    witness: Verifier, place: WitnessPlace | None, note: bytes, reader: HashReader, checkpoint: Checkpoint
) -> Collected:
    try:
        if witness in open_note(note, [witness]).verified:
            return Collected(witness, size=checkpoint.size)
        if place is None:
            return Collected(witness, failure="has no address here: `server log add-witness`")
        return _cosign(witness, place, note, reader, checkpoint)
    except BadSignature:
        return Collected(witness, failure="sent a signature that is not valid")
    except ContactSyncError as error:
        return Collected(witness, failure=f"cannot be asked: {error}")
    except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
        is_tls = isinstance(error, urllib3.exceptions.SSLError)
        why = "has no valid TLS certificate" if is_tls else f"does not answer ({type(error).__name__})"
        return Collected(witness, failure=why)


def _cosign(
    witness: Verifier, place: WitnessPlace, note: bytes, reader: HashReader, checkpoint: Checkpoint
) -> Collected:
    size = min(place.size, checkpoint.size)
    for _ in range(_TRIES):
        body = AddCheckpoint(size, reader.consistency(size), note).to_bytes()
        status, said = _post(f"{place.url.rstrip('/')}{PATH}", body)
        if status == 200:
            return _signed(witness, note, said, checkpoint.size)
        if status != 409:
            return Collected(witness, failure=_REFUSALS.get(status, f"answered with status {status}"))
        try:
            size = known_size(said)
        except BadReply:  # C2SP has no size in the answer if the sizes are the same, and the trees are not
            return Collected(witness, failure=_FORKED)
        if size > checkpoint.size:
            return Collected(witness, failure="has seen a longer log", ahead=size)
    return Collected(witness, failure="states another size each time")


_FORKED: Final = "has cosigned another log of this length: was an older backup restored?"
_REFUSALS: Final = {
    403: "does not accept the key of this log: its operator must add it",
    404: "does not know this log: its operator must add it",
    422: "says that this log does not continue the one that it has seen",
}


def _signed(witness: Verifier, note: bytes, said: bytes, size: int) -> Collected:
    """The witness's own line of an answer. Raises BadReply, BadSignature."""
    for line in signature_lines(said):
        if witness in open_note(with_lines(note, [line]), [witness]).verified:
            return Collected(witness, (line,), size)
    raise BadReply("it signed with another key")


def _post(url: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of an answer. Raises OSError, HTTPError; BadInput: a proxy that cannot be used."""
    if not url.startswith(("https://", "http://")):
        raise BadInput("its address is not a URL", hint="give an address such as https://witness.example.org")
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    manager = Route.to(url).manager(timeout)
    reply = manager.request(
        "POST",
        url,
        body=body,
        headers={"User-Agent": f"contactsync/{__version__}", "Accept-Encoding": "identity"},
        redirect=False,
        retries=False,
        preload_content=False,
        decode_content=False,
    )
    try:
        end, body = time.monotonic() + READ_SECONDS, b""
        while len(body) <= MAX_NOTE and (piece := reply.read1(MAX_NOTE)):
            body += piece
            if time.monotonic() > end:
                raise TimeoutError
        return reply.status, body
    finally:
        reply.close()
        manager.clear()
