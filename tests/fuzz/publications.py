"""What is signed and published: manifests, their history, TUF metadata, requests to sign, and the wire format."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata
from tuf.ngclient import FetcherInterface

from contactsync.client import trust
from contactsync.client.state import ServerState
from contactsync.foundation.errors import (
    BadInput,
    BadProof,
    BadReply,
    BadSignature,
    InvalidElement,
    NetworkError,
    OurError,
)
from contactsync.publication import canonical
from contactsync.publication.history import Link
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.follower import METADATA_PATH, TARGETS_PATH, Follower, check_root
from contactsync.publication.tuf.request import SigningRequest
from contactsync.publication.tuf.summary import describe
from contactsync.voprf import wire
from contactsync.voprf.blinding import Blinding
from contactsync.voprf.client import blind_with_fixed_scalars_for_test_vectors, finalize
from contactsync.voprf.constants import NE
from contactsync.voprf.few.proof_vartime import proof_holds_vartime
from contactsync.voprf.server import blind_evaluate, decode_batch, derive_key_pair
from fuzz import scratch
from fuzz.data_files import _vectors
from fuzz.target import Target

_BASE = "http://server.test"
_WORDS = (
    *(
        b'"partitions":{',
        b'"deltas":[',
        b'"next":{',
        b'"critical":["',
        b'"edition":',
        b'"epoch":',
        b'"previous":null',
        b"null",
    ),
    *(
        b"0",
        b"1.0",
        b"1e3",
        b"9007199254740993",
        b"-1",
        b"true",
        b'"49"',
        b"{",
        b"}",
        b",",
        b'"x":',
        b"\\u00e4",
        b"[" * 1500,
    ),
)
_TUF_WORDS = (
    *(
        b'"version": ',
        b'"threshold": 0',
        b'"keyids": []',
        b'"expires": "2999-01-01T00:00:00Z"',
        b'"sig": "',
        b'"_type": "root"',
    ),
    *(
        b'"length": ',
        b"null",
        b"{}",
        b"[]",
        b"1e999",
        b"-1",
        b'"spec_version": "1.0.31"',
        b'"consistent_snapshot": false',
        b"[" * 1500,
    ),
)


def _canonical(data: bytes) -> None:
    """What is canonical is written as it was read."""
    value = canonical.decode(data)
    if canonical.fault(value) is None:
        again = canonical.encode(value)
        assert canonical.decode(again) == value
        assert canonical.encode(canonical.decode(again)) == again


def _manifest(data: bytes) -> None:
    """What is accepted is written as it was read, and its link says the same."""
    earlier = data[:1] == b"\1"
    manifest = Manifest.from_bytes(data[1:], earlier=earlier)
    assert manifest.to_bytes() == data[1:]
    link = Link.from_bytes(data[1:])
    assert (link.audience, link.sha256) == (manifest.audience, manifest.sha256())
    assert (link.position.epoch, link.position.edition) == (manifest.epoch, manifest.edition)
    manifest.files(), manifest.is_understood, manifest.count
    if (ahead := manifest.ahead()) is not None:
        assert ahead.epoch > manifest.epoch


def _link(data: bytes) -> None:
    assert Link.from_bytes(data).sha256 == hashlib.sha256(data).hexdigest()


def _root(data: bytes) -> None:
    """Metadata that its own keys have signed is compared with the root that is pinned."""
    check_root(data)
    folder = scratch.state_folder()
    server = ServerState(folder, _BASE, hashlib.sha256(_public()["metadata/1.root.json"]).hexdigest())
    if trust.is_known(server, data):
        assert json.loads(data)["signed"] == json.loads(_public()["metadata/1.root.json"])["signed"]


@functools.cache
def _public() -> dict[str, bytes]:
    """What the server of version 1 published, by path."""
    public = scratch.version_1() / "server" / "public"
    return {str(path.relative_to(public)): path.read_bytes() for path in sorted(public.rglob("*.json"))}


@functools.cache
def _editions() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What a server published twice, by path: `published.tar.xz` has the metadata and manifests of a real one."""
    found: tuple[dict[str, bytes], dict[str, bytes]] = {}, {}
    with tarfile.open(Path(__file__).parent / "published.tar.xz") as archive:
        for entry in archive:
            which, _, path = entry.name.partition("/")
            file = archive.extractfile(entry)
            assert file is not None
            found[which == "second"][path] = file.read()
    return found


class _Fetcher(FetcherInterface):
    """Published files."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = url.removeprefix(_BASE).replace(METADATA_PATH, "metadata/").replace(TARGETS_PATH, "targets/")
        if path not in self._files:
            raise DownloadHTTPError("not found", 404)
        yield self._files[path]


def _follower(state: Path, files: Mapping[str, bytes]) -> Follower:
    return Follower(state, _BASE, _Fetcher(files), _editions()[0]["metadata/1.root.json"], now=_then())


@functools.cache
def _followed() -> tuple[str, ...]:
    """The files of the second edition that a client fetches, and one that there is not."""
    first, second = _editions()
    new = [path for path in second if second[path] != first.get(path) and "business" not in path]
    return (*sorted(new), "metadata/2.root.json")


@functools.cache
def _seen() -> Path:
    """The state of a client that has seen the first edition."""
    state = scratch.folder() / "seen"
    _follower(state, _editions()[0]).manifest("people")
    return state


def _follow(data: bytes) -> None:
    """No changed file is followed: it is refused, or says the same."""
    second = _editions()[1]
    path = _followed()[data[0] % len(_followed())] if data else _followed()[0]
    state = scratch.folder() / "follower"
    shutil.rmtree(state, ignore_errors=True)
    shutil.copytree(_seen(), state, symlinks=True)
    follower = _follower(state, {**second, path: data[1:]})
    manifest = follower.manifest("people")
    assert manifest.edition == 2
    assert follower.unchecked("people") is None and not follower.is_first("people")
    follower.first_of_epoch("people")
    if path.startswith("targets"):
        assert data[1:] == second[path]
    elif path in second:  # python-tuf puts in a spec_version that is missing
        read = Metadata[Any].from_bytes
        assert read(data[1:]).signed == read(second[path]).signed


def _then() -> datetime:
    """A moment at which the metadata is valid."""
    said = json.loads(_editions()[1]["metadata/timestamp.json"])["signed"]["expires"]
    return datetime.fromisoformat(said) - timedelta(hours=1)


def _kept_metadata(data: bytes) -> None:
    """What was kept and is damaged is refused, or fetched again; the manifest is the same."""
    state = scratch.folder() / "kept"
    shutil.rmtree(state, ignore_errors=True)
    shutil.copytree(_seen(), state, symlinks=True)
    kept = sorted(path for path in state.rglob("*") if path.is_file() and not path.is_symlink())
    kept[data[0] % len(kept) if data else 0].write_bytes(data[1:])
    assert _follower(state, _editions()[1]).manifest("people").edition == 2


def _proof(data: bytes) -> None:
    """Nobody proves another evaluation; the short way of few points says what the engine says."""
    blinding, public_key, good = _exchange()
    reply = bytes(a ^ b for a, b in zip(good, data.ljust(len(good), b"\0"), strict=False))
    evaluated, proof = wire.parse_reply(reply, len(blinding))
    short = proof_holds_vartime(blinding.blinded, evaluated, proof, public_key)
    assert short == (reply == good)
    try:
        finalize(blinding, evaluated, proof, public_key)
    except (BadReply, BadProof):
        assert not short
        raise
    assert short


@functools.cache
def _exchange() -> tuple[Blinding, bytes, bytes]:
    """Two points, the public key, and the reply of an honest server."""
    blinds = np.zeros((2, 32), np.uint8)
    blinds[:, 0] = 3, 5
    blinding = blind_with_fixed_scalars_for_test_vectors([b"a", b"b"], blinds)
    pair = derive_key_pair(bytes(32), b"fuzz")
    return blinding, pair.public, wire.make_reply(*blind_evaluate(pair, blinding.blinded))


def _request(data: bytes) -> None:
    """A request that is accepted is the same when it is written and read again."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return
    request = SigningRequest.from_json(body)
    summary = describe(request)
    assert all(line.isprintable() for line in summary), summary
    again = SigningRequest.from_json(json.loads(json.dumps(request.to_json(summary))))
    assert again.fingerprint() == request.fingerprint()
    request.signatures()


@functools.cache
def _requests() -> tuple[bytes, ...]:
    from contactsync.publication.tuf.ceremony import KeyChange, prepare_change
    from contactsync.publication.tuf.repository import Repository
    from contactsync.server.exported import new_secret
    from contactsync.server.keyring import signer_of

    public = scratch.folder() / "public"
    shutil.copytree(scratch.version_1() / "server" / "public", public, dirs_exist_ok=True)
    key = signer_of(hashlib.sha256(b"fuzz").digest()).public_key
    assert len(new_secret()) == 32
    found = []
    for role in ("root", "targets"):
        made = prepare_change(Repository(public), KeyChange(role, (), (key,), None), _then())
        found.append(json.dumps(made.to_json(describe(made))).encode())
    return tuple(found)


def _batch(data: bytes) -> None:
    rows = wire.parse_request(data)
    assert rows.shape == (len(data) // NE, NE) and rows.tobytes() == data
    decode_batch(rows)


def _evaluated(data: bytes) -> None:
    n = data[0] if data else 1
    rows, proof = wire.parse_reply(data[1:], n)
    assert wire.make_reply(np.ascontiguousarray(rows), proof) == data[1:]


def _points() -> list[bytes]:
    from contactsync.voprf.client import blind

    return [blind([b"%d" % i for i in range(n)]).blinded.tobytes() for n in (1, 3)]


TARGETS = (
    Target(
        "canonical-json",
        _canonical,
        lambda: [b'{"a":[1,true,null],"b":"\\u00e4"}', *_vectors("manifest")[:3]],
        (ValueError,),
        words=_WORDS,
    ),
    Target(
        "manifest",
        _manifest,
        lambda: (
            [bytes([i]) + one for one in _vectors("manifest")[:20] for i in (0, 1)]
            + [b"\1" + one for path, one in _public().items() if path.startswith("targets")]
        ),
        (BadReply,),
        words=_WORDS,
    ),
    Target("history-link", _link, lambda: _vectors("manifest")[:20], (BadReply,), words=_WORDS),
    Target("tuf-root", _root, lambda: [_public()["metadata/1.root.json"]], (BadSignature,), words=_TUF_WORDS),
    Target(
        "tuf-follow",
        _follow,
        lambda: [
            bytes([i]) + _editions()[1].get(path, _editions()[1]["metadata/1.root.json"])
            for i, path in enumerate(_followed())
        ],
        (BadSignature, BadReply, NetworkError),
        words=_TUF_WORDS,
        runs=80,
    ),
    Target(
        "tuf-kept",
        _kept_metadata,
        lambda: [bytes([i]) + one for i, (path, one) in enumerate(sorted(_editions()[0].items()))],
        (BadSignature, BadReply, OurError),
        words=_TUF_WORDS,
        runs=40,
    ),
    Target(
        "signing-request",
        _request,
        _requests,
        (BadInput,),
        words=_TUF_WORDS + (b'"manifests": {', b'"to_sign": [', b'"required": true'),
        longest=12000,
        runs=80,
    ),
    Target(
        "wire-request",
        _batch,
        _points,
        (BadInput, InvalidElement),
        words=(b"\0" * 32, b"\xff" * 32),
        longest=200,
    ),
    Target(
        "proof",
        _proof,
        lambda: [bytes(128), b"\1", bytes(64) + b"\1", bytes(96) + b"\xff" * 32],
        (BadReply, BadProof),
        words=(b"\xff" * 32, bytes(32)),
        longest=128,
        runs=20,
    ),
    Target(
        "wire-reply", _evaluated, lambda: [b"\1" + bytes(96), b"\2" + bytes(128)], (BadReply,), longest=300
    ),
)
