"""docs/http-api.md, "TUF metadata": what is signed, and the limits."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from contactsync.publication.manifest import MAX_BYTES, MAX_DELTAS
from contactsync.publication.tuf import follower

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "http-api.md").read_text()


def canonical(value: object) -> str:
    """The canonical form, from the document alone."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{canonical(k)}:{canonical(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value) if type(value) is int else {True: "true", False: "false", None: "null"}[value]


@pytest.fixture
def published(operator, make_manifest):
    operator.publish(make_manifest())
    return {path.name: path.read_bytes() for path in operator.public.glob("metadata/*.json")}


def test_signatures_cover_the_canonical_form(published):
    keys = json.loads(published["1.root.json"])["signed"]["keys"]
    assert {name.split(".")[-2] for name in published} == {"root", "targets", "snapshot", "timestamp"}
    for data in published.values():
        metadata = json.loads(data)
        assert set(metadata) == {"signed", "signatures"}
        (signature,) = metadata["signatures"]
        key = keys[signature["keyid"]]
        assert (key["keytype"], key["scheme"]) == ("ed25519", "ed25519")
        assert hashlib.sha256(canonical(key).encode()).hexdigest() == signature["keyid"]
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key["keyval"]["public"]))
        public.verify(bytes.fromhex(signature["sig"]), canonical(metadata["signed"]).encode())
        with pytest.raises(InvalidSignature):
            public.verify(bytes.fromhex(signature["sig"]), data)


def test_lengths_and_hashes_are_of_the_octets_served(published):
    for pointing, pointed in (("timestamp.json", "snapshot"), ("1.snapshot.json", "targets")):
        meta = json.loads(published[pointing])["signed"]["meta"][f"{pointed}.json"]
        data = published[f"{meta['version']}.{pointed}.json"]
        assert (meta["length"], meta["hashes"]) == (len(data), {"sha256": hashlib.sha256(data).hexdigest()})


def test_the_document_states_the_limits():
    limits = follower._LIMITS
    table = PAGE.partition("### Limits on metadata")[2]
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", table, re.MULTILINE))
    assert rows["a root"] == f"{limits.root_max_length:,} octets"
    assert rows["`timestamp.json`"] == f"{limits.timestamp_max_length:,} octets"
    assert rows["a snapshot"].endswith(f" {limits.snapshot_max_length:,} octets if it states none")
    assert rows["the targets"].endswith(f" {limits.targets_max_length:,} octets if it states none")
    assert rows["a manifest"].endswith(f" {MAX_BYTES:,} octets")
    assert rows["newer roots that are followed, counted from the pinned one"].startswith(
        f"{limits.max_root_rotations};"
    )
    assert limits.max_delegations == 0
    assert f"`deltas` are in order, at most {MAX_DELTAS}." in PAGE
