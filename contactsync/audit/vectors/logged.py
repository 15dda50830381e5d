"""What operations on the log mean here: trees, tiles, entries, notes, and which checkpoint is accepted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contactsync.publication.log import tiles
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.entries import LoggedManifest, read_entry
from contactsync.publication.log.merkle import EMPTY, leaf_hash, root_of, verify_consistency, verify_inclusion
from contactsync.publication.log.notes import COSIGNATURE, ED25519, NoteSigner, Verifier, open_note, sign_note
from contactsync.publication.log.policy import LogPolicy
from contactsync.publication.log.witnessing import AddCheckpoint

Case = dict[str, Any]

_ORIGIN = "contacts.invalid/log"
_KINDS = {"log": ED25519, "witness": COSIGNATURE}


def _hexes(hashes: object) -> list[str]:
    return [one.hex() for one in hashes]  # type: ignore[attr-defined]


def _bytes(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def _entries(given: Case) -> list[bytes]:
    """Entries of one length, one after the other."""
    octets, each = given["entries"], given["each"]
    return [octets[place : place + each] for place in range(0, len(octets), each)]


def _grown(
    entries: list[bytes], sizes: list[int]
) -> tuple[Checkpoint, dict[str, bytes], list[dict[str, bytes]]]:
    """A log that was appended to until it had each of these sizes: its files, and those of each step."""
    files: dict[str, bytes] = {}
    at, steps = Checkpoint(_ORIGIN, 0, EMPTY), []
    for size in sizes:
        at, more = tiles.appended(files.__getitem__, at, entries[at.size : size])
        steps.append(more)
        files |= more
    return at, files, steps


def log_files(given: Case) -> Case:
    """The files that each append writes, and the tree's root hash after it."""
    entries = _entries(given)
    at, files, steps = _grown(entries, given["sizes"])
    whole = root_of([leaf_hash(entry) for entry in entries])
    if whole != at.root or not {tile.path for tile in tiles.tiles_of(at.size)} <= files.keys():
        return {"root": "the tiles and the tree disagree"}
    listed = [
        {path: hashlib.sha256(octets).hexdigest() for path, octets in sorted(step.items())} for step in steps
    ]
    return {"root": at.root.hex(), "steps": listed, "listings": [_listing(step) for step in listed]}


def _listing(step: Mapping[str, str]) -> str:
    """The SHA-256 of what sha256sum would print."""
    text = "".join(f"{digest}  {path}\n" for path, digest in step.items())
    return hashlib.sha256(text.encode()).hexdigest()


def _reader(given: Case) -> tiles.HashReader:
    entries = _entries(given)
    at, files, _ = _grown(entries, [len(entries)])
    for one in given.get("changed", []):
        files[one["path"]] = one["octets"]
    return tiles.HashReader(files.__getitem__, at)


def prove(given: Case) -> Case:
    """Proofs that a reader makes from tiles, none of which it believes before it has checked it."""
    reader = _reader(given)
    if "index" in given:
        return {"proof": _hexes(reader.inclusion(given["index"]))}
    return {"proof": _hexes(reader.consistency(given["old"]))}


def read_entries(given: Case) -> Case:
    """Entries from a bundle that is checked against the tree."""
    found = _reader(given).entries(given["start"], given["end"])
    return {"entries": _hexes(found)}


def inclusion(given: Case) -> Case:
    """Whether a proof shows that an entry is in a tree."""
    leaf = leaf_hash(given["entry"])
    root = bytes.fromhex(given["root"])
    holds = verify_inclusion(leaf, given["index"], given["size"], _bytes(given["proof"]), root)
    return {"leaf": leaf.hex(), "holds": holds}


def consistency(given: Case) -> Case:
    """Whether a proof shows that one tree begins with another one."""
    roots = bytes.fromhex(given["old_root"]), bytes.fromhex(given["new_root"])
    proof = _bytes(given["proof"])
    return {"holds": verify_consistency(given["old"], roots[0], given["new"], roots[1], proof)}


def take_entry(given: Case) -> Case:
    """What an entry says."""
    entry = read_entry(given["entry"])
    if isinstance(entry, LoggedManifest):
        names = ("audience", "epoch", "edition", "sha256")
        return {"type": "manifest", **{name: getattr(entry, name) for name in names}}
    return {"type": "root", "version": entry.version, "sha256": entry.sha256}


def take_vkey(given: Case) -> Case:
    """What a verifier key says."""
    verifier = Verifier.parse(given["vkey"])
    kinds = {number: word for word, number in _KINDS.items()}
    return {
        "name": verifier.name,
        "kind": kinds[verifier.kind],
        "public": verifier.public.hex(),
        "id": verifier.key_id.hex(),
    }


def write_note(given: Case) -> Case:
    """A note with the signatures of keys whose seeds are given."""
    signers = []
    for one in given["signers"]:
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(one["seed"]))
        signers.append(NoteSigner.of(one["name"], _KINDS[one["kind"]], key, _at(one.get("time", 0))))
    return {
        "note": sign_note(given["written"], signers).hex(),
        "vkeys": [signer.verifier.vkey() for signer in signers],
    }


def _at(when: int) -> Callable[[], float]:
    return lambda: float(when)


def take_note(given: Case) -> Case:
    """Which of some keys have signed a note, and when."""
    verifiers = [Verifier.parse(vkey) for vkey in given["vkeys"]]
    note = open_note(given["note"], verifiers)
    return {
        "signed": note.text,
        "verified": {verifier.vkey(): when for verifier, when in note.verified.items()},
    }


def accept(given: Case) -> Case:
    """The checkpoint of a note, under a policy."""
    return _checkpoint(LogPolicy.from_value(given["policy"]).accept(given["note"]))


def _checkpoint(checkpoint: Checkpoint) -> Case:
    return {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}


def take_request(given: Case) -> Case:
    """What a log asks of a witness."""
    request = AddCheckpoint.parse(given["body"])
    return {"old": request.old, "proof": _hexes(request.proof), "note": request.note.hex()}


OPERATIONS: dict[str, Callable[[Case], Any]] = {
    "log_files": log_files,
    "log_proof": prove,
    "log_entries": read_entries,
    "inclusion": inclusion,
    "consistency": consistency,
    "log_entry": take_entry,
    "vkey": take_vkey,
    "sign_note": write_note,
    "open_note": take_note,
    "accept_checkpoint": accept,
    "add_checkpoint": take_request,
}
"""By their names in the vector files. Each raises the error that refuses what must be refused."""
