"""Targets of what is watched: notes, checkpoints, tiles and policies of logs, snapshots, transcripts."""

from __future__ import annotations

import base64
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from growing_log import policy_file

from contactsync.audit import snapshots
from contactsync.audit.transcript import private
from contactsync.audit.transcript.wire import read_wire
from contactsync.client.transcript import Ending, Opening, Piece, Transcript
from contactsync.foundation.errors import BadInput, BadReply, BadSignature, OurError
from contactsync.publication.history import Gap, Position
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.entries import LoggedManifest, LoggedRoot, read_entry
from contactsync.publication.log.notes import (
    COSIGNATURE,
    ED25519,
    NoteSigner,
    Verifier,
    open_note,
    sign_note,
    signature_lines,
)
from contactsync.publication.log.policy import LogPolicy, read_policy
from contactsync.publication.log.tiles import bundle, read_bundle
from contactsync.publication.log.witnessing import AddCheckpoint, known_size
from contactsync.witness import folder as witness_folder
from fuzz import scratch
from fuzz.target import Target

_LOG = NoteSigner.of("example.org/log", ED25519, Ed25519PrivateKey.from_private_bytes(bytes(32)))
_WITNESS = NoteSigner.of(
    "witness.example", COSIGNATURE, Ed25519PrivateKey.from_private_bytes(b"w" * 32), lambda: 1_700_000_000.0
)
_CHECKPOINT = Checkpoint(_LOG.verifier.name, 3, b"r" * 32)
_NOTE = sign_note(_CHECKPOINT.text(), [_LOG, _WITNESS])
_POLICY = LogPolicy(_LOG.verifier, (_WITNESS.verifier,), 1)
_LINES = (b"\n", b"\n\n", "— ".encode(), b"+", b"=", b"old 0\n", b"quorum ", b"witness ", b"log ", b"\xff")


def _note(data: bytes) -> None:
    """What passes as signed has the octets that were signed."""
    opened = open_note(data, [_LOG.verifier, _WITNESS.verifier])
    if opened.verified:
        assert opened.text == _CHECKPOINT.text()
    checkpoint = Checkpoint.parse(opened.text)
    assert opened.text.startswith(checkpoint.text())


def _lines(data: bytes) -> None:
    assert "".join(signature_lines(data)).encode() == data


def _vkey(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    assert Verifier.parse(text).vkey() == text


def _policy(data: bytes) -> None:
    policy = read_policy(data.decode("utf-8", "replace"), _LOG.verifier)
    assert read_policy(policy_file(policy)) == policy
    assert LogPolicy.from_value(policy.to_value()) == policy


def _entry(data: bytes) -> None:
    assert read_entry(data).to_bytes() == data


def _bundle(data: bytes) -> None:
    width = data[0] + 1 if data else 1
    assert bundle(read_bundle(data[1:], width)) == data[1:]


def _request(data: bytes) -> None:
    assert AddCheckpoint.parse(data).to_bytes() == data


def _snapshot(data: bytes) -> None:
    path = scratch.written("snapshot", data)
    found = snapshots.read_snapshot(path)
    assert snapshots.read_snapshot(scratch.written("again", found.to_bytes())) == found


def _snapshots() -> list[bytes]:
    gap = Gap(Position(1, 1), Position(1, 40))
    view = snapshots.ServerView(
        "https://contacts.example",
        {1: b"{}"},
        {"targets": b"{}"},
        {"people": b"{}"},
        {"people": gap},
        _NOTE,
        {"tile/0/000.p/3": bytes(96)},
    )
    return [snapshots.Snapshot(1, (view,)).to_bytes()]


def _transcript(data: bytes) -> None:
    Transcript.read(scratch.written("transcript", data))


def _transcripts() -> list[bytes]:
    opening = Opening("contactsync 0", "https://contacts.example", 1, None, {"audience": "people"}, {})
    sent, came = b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 204 \r\n\r\n"
    pieces = [Piece(1, True, sent), Piece(1, False, came)]
    lines = b"".join(one.line() for one in (opening, *pieces))
    digest = hashlib.sha256(lines).hexdigest()
    ending = Ending("done", None, "nothing", "ab" * 32, len(pieces), len(sent), len(came), digest)
    return [lines + ending.line()]


def _wire(data: bytes) -> None:
    """Half was sent and half came: all octets are in a request, or said to be in none."""
    sent, _, came = data.partition(b"\0\0\0")
    wire = read_wire([Piece(1, True, sent), Piece(1, False, came)])
    assert all(one.number for one in wire.exchanges)


def _private(data: bytes) -> None:
    path = scratch.written("private", data)
    ending = Ending("done", None, None, hashlib.sha256(data).hexdigest(), 0, 0, 0, "")
    private.Private.read(path, ending)


_PRIVATE = json.dumps(
    {
        "format": private.PRIVATE_FORMAT,
        "key": "00" * 32,
        "book": "ab",
        "identifiers": 1,
        "rounds": [{"epoch": 1, "cover": False, "unfinished": [], "fresh": [8]}],
        "batches": [{"epoch": 1, "unfinished": False, "blinds": "01" * 32, "padding": {"0": "6e"}}],
        "plans": [{"epoch": 1, "holdings": {}, "held": {}}],
        "decoy_secret": None,
        "lists": [
            {
                "partition": "49",
                "asked": {"epoch": 1, "slot_bits": 20, "edition": 1, "seed": "ab", "numbers": [1, 2]},
                "before": None,
                "odds": 4.0,
                "tested": "00" * 10,
                "candidates": "",
            }
        ],
    }
).encode()


def _key(data: bytes) -> None:
    path = scratch.written("witness.json", data)
    path.chmod(0o600)
    witness_folder._read_key(path)


_KEY = json.dumps(
    {"version": 1, "name": "w.example", "private": base64.b64encode(bytes(32)).decode(), "key": "00" * 32}
).encode()

_JSON = (b'": ', b"null", b"true", b"[]", b"{}", b"-1", b"1e999", b'""', b"[" * 2000)
TARGETS = (
    Target("log-note", _note, lambda: [_NOTE], (BadReply, BadSignature), words=_LINES),
    Target(
        "log-signatures", _lines, lambda: [_NOTE.partition(b"\n\n")[2]], (BadReply,), words=_LINES, runs=80
    ),
    Target(
        "log-key",
        _vkey,
        lambda: [one.verifier.vkey().encode() for one in (_LOG, _WITNESS)],
        (BadInput,),
        words=_LINES,
        runs=80,
    ),
    Target("log-policy", _policy, lambda: [policy_file(_POLICY).encode()], (BadInput,), words=_LINES),
    Target(
        "log-entry",
        _entry,
        lambda: [LoggedManifest("people", 1, 2, "ab" * 32).to_bytes(), LoggedRoot(1, "cd" * 32).to_bytes()],
        (BadReply,),
        words=_JSON,
    ),
    Target("log-bundle", _bundle, lambda: [b"\1" + bundle([b"one", b"two"])], (BadReply,), runs=80),
    Target(
        "log-request",
        _request,
        lambda: [AddCheckpoint(2, [b"p" * 32], _NOTE).to_bytes()],
        (BadReply,),
        words=_LINES,
    ),
    Target("log-size", known_size, lambda: [b"12\n"], (BadReply,), runs=40),
    Target("snapshot", _snapshot, _snapshots, (BadReply,), words=_JSON),
    Target("transcript-whole", _transcript, _transcripts, (BadInput,), words=_JSON),
    Target(
        "transcript-wire",
        _wire,
        lambda: [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\0\0\0HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"],
        (),
        words=(b"\r\n", b"\r\n\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    ),
    Target("transcript-private", _private, lambda: [_PRIVATE], (BadInput,), words=_JSON),
    Target("witness-key", _key, lambda: [_KEY], (BadInput, OurError), words=_JSON, runs=60),
)
