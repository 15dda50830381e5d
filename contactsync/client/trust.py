"""Pinning a server: its TUF root, checked against itself and, by the caller, against a fingerprint."""

from __future__ import annotations

import re

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from contactsync.client.state import ServerState, damaged
from contactsync.client.transport import METADATA_LIMIT, Transport
from contactsync.errors import BadInput, BadReply
from contactsync.publication.follower import METADATA_PATH, check_root, root_fingerprint
from contactsync.publication.manifest import Manifest


def fetch_root(transport: Transport) -> bytes:
    """The server's newest root. Raises NetworkError, Refused, and BadSignature if it does not sign itself."""
    with transport.get(f"{METADATA_PATH}root.json") as reply:
        data = b"".join(transport.chunks(reply, METADATA_LIMIT))
    check_root(data)
    return data


def is_known(server: ServerState, root: bytes) -> bool:
    """Whether a root is the pinned one, one that was followed since, or one that either of these signed."""
    if root_fingerprint(root) == server.fingerprint:
        return True
    known = [server.root]
    followed = server.tuf / "metadata" / "root.json"
    if followed.exists():
        known.append(followed.read_bytes())
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


def read_fingerprint(text: str) -> str:
    """The 64 hex digits of a fingerprint as people write it. Raises BadInput."""
    digits = re.sub(r"[\s:-]", "", text).lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise BadInput(
            "a fingerprint has 64 hexadecimal digits",
            hint="`contactsync server status` prints it on the server",
        )
    return digits


def grouped(fingerprint: str) -> str:
    """A fingerprint in groups of four digits."""
    return " ".join(fingerprint[i : i + 4] for i in range(0, len(fingerprint), 4))


def seen_manifests(server: ServerState) -> list[Manifest]:
    """The manifests that the last sync of each audience saw. Raises OurError if one is damaged."""
    try:
        paths = sorted((server.tuf / "manifests").glob("*.json"))
        return [Manifest.from_bytes(path.read_bytes()) for path in paths]
    except (OSError, BadReply) as error:
        raise damaged(server.url) from error
