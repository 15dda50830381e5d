"""Pins a server: checks that its TUF root signs itself. The caller checks the root's fingerprint."""

from __future__ import annotations

import re

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from contactsync.client.state import ServerState
from contactsync.client.transport import Transport
from contactsync.foundation.errors import BadInput, BadReply, OurError, Refused
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.follower import (
    MAX_RENEWALS,
    MAX_ROOT_BYTES,
    METADATA_PATH,
    check_root,
    newest_root,
    root_fingerprint,
)


def fetch_root(transport: Transport) -> bytes:
    """The server's newest root. Raises NetworkError, Refused, and BadSignature if it does not sign itself."""
    return _fetch(transport, "root.json")


def find_root(transport: Transport, newest: bytes, fingerprint: str) -> bytes | None:
    """The root with this fingerprint: the newest or an earlier one; None if there is none.

    Operators renew the root from time to time, and earlier fingerprints remain valid: a sync follows the
    roots from that one to the newest, each signed by the one before (TUF specification §5.3).
    """
    if root_fingerprint(newest) == fingerprint:
        return newest
    version = Metadata[Root].from_bytes(newest).signed.version
    for before in range(version - 1, max(0, version - 1 - MAX_RENEWALS), -1):
        try:
            root = _fetch(transport, f"{before}.root.json")
        except Refused:
            return None
        if root_fingerprint(root) == fingerprint:
            return root
    return None


def is_known(server: ServerState, root: bytes) -> bool:
    """Whether a root is the pinned one, the last one followed since, or signed by either of them."""
    if root_fingerprint(root) == server.fingerprint:
        return True
    known = [server.root]
    followed = newest_root(server.tuf)
    if followed is not None:
        known.append(followed)
    if root in known:
        return True
    new = Metadata[Root].from_bytes(root)
    for data in known:
        old = Metadata[Root].from_bytes(data)
        try:
            old.signed.verify_delegate(Root.type, new.signed_bytes, new.signatures)
        except RepositoryError:
            continue
        if new.signed.version > old.signed.version:
            return True
    return False


def leads_to(transport: Transport, server: ServerState, newest: bytes) -> bool:
    """Whether a known root leads to `newest`: each root between is signed by the one before it."""
    if is_known(server, newest):
        return True
    old = Metadata[Root].from_bytes(newest_root(server.tuf) or server.root).signed
    last = Metadata[Root].from_bytes(newest).signed.version
    for version in range(old.version + 1, min(last, old.version + MAX_RENEWALS) + 1):
        try:
            data = _fetch(transport, f"{version}.root.json")
            new = Metadata[Root].from_bytes(data)
            old.verify_delegate(Root.type, new.signed_bytes, new.signatures)
        except (Refused, RepositoryError):
            return False
        old = new.signed
        if data == newest:
            return True
    return False


def _fetch(transport: Transport, name: str) -> bytes:
    with transport.get(f"{METADATA_PATH}{name}") as reply:
        data = b"".join(transport.chunks(reply, MAX_ROOT_BYTES + 1))
    check_root(data)
    return data


def read_fingerprint(text: str) -> str:
    """The 64 hex digits of a fingerprint, without the separators that people write. Raises BadInput."""
    digits = re.sub(r"[\s:-]", "", text).lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise BadInput(
            "a fingerprint has 64 hexadecimal digits",
            hint="`contactsync server status` prints it on the server",
        )
    return digits


def seen_manifests(server: ServerState) -> list[Manifest]:
    """The manifests that the last sync of each audience saw. Raises OurError if one is damaged."""
    found = []
    for path in sorted((server.tuf / "manifests").glob("*.json")):
        try:
            found.append(Manifest.from_bytes(path.read_bytes(), earlier=True))
        except (OSError, BadReply) as error:
            raise OurError(
                f"the manifest kept in {path} is damaged",
                hint="sync again: it is fetched, if the server still shows the same history",
            ) from error
    return found
