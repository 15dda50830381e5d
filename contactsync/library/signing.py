"""What is signed away from the server: requests, the keys that sign them, and bringing them into force."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Signer

from contactsync.foundation.errors import BadInput, NotCleanedUp
from contactsync.foundation.roles import OFFLINE
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.follower import root_fingerprint
from contactsync.publication.tuf.repository import Repository
from contactsync.publication.tuf.request import SigningRequest
from contactsync.publication.tuf.summary import SHOWN_KEY, about_signatures, describe, shown_keys
from contactsync.server.exported import keys_in
from contactsync.server.keyring import Keyring
from contactsync.server.prepared import Preparation, finish_change, read_request, write_request
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_members

__all__ = [
    "SHOWN_KEY",
    "Finished",
    "RootInForce",
    "SigningRequest",
    "about_signatures",
    "describe",
    "finish",
    "read_request",
    "root_of",
    "shown_keys",
    "signers_at",
    "write_request",
]


@dataclass(frozen=True, slots=True)
class RootInForce:
    """The root of a server: its octets, and until when it is signed."""

    octets: bytes
    expires: datetime


def root_of(folder: DataFolder) -> RootInForce:
    """The root that is in force. Raises OurError."""
    repository = Repository(folder.public)
    return RootInForce(repository.root_bytes(), repository.expiries()["root"])


@dataclass(frozen=True, slots=True)
class Finished:
    """What was brought into force: manifests by audience, and the role whose keys have changed (or None).

    `unclean` is the error after the switch, if there was one: what is published stays.
    """

    manifests: Mapping[str, Manifest]
    role: str | None
    unclean: NotCleanedUp | None


def finish(folder: DataFolder, keyring: Callable[[], Keyring], files: Sequence[Path]) -> Finished:
    """Bring into force what was last prepared and has been signed in these files, in one atomic step.

    `keyring` is opened once the files were found to be good. Raises BadInput, OurError.
    """
    prepared = Preparation.read(folder)
    if prepared is None:
        raise BadInput(
            "nothing is prepared here, or it is already finished",
            hint="prepare it with `publish --offline-targets` or `keys … --request`",
        )
    prepared.take(files)
    opened, unclean = keyring(), None
    if prepared.serial is None:
        finish_change(folder, opened, prepared)
    else:
        with contextlib.closing(open_members(folder)) as store:
            try:
                Publisher(folder, store, opened).finish(prepared.request, prepared.serial)
            except NotCleanedUp as error:  # it is published
                unclean = error
    prepared.remove(folder)
    return Finished(prepared.request.of(prepared.request.targets), prepared.role, unclean)


def signers_at(
    request: SigningRequest, places: Sequence[Path], passphrase_of: Callable[[str, bool], bytes | None]
) -> dict[str, Signer]:
    """The keys at these places that a request asks for, by where they are.

    A place is an exported key, a folder of such, or a server's keys/. `passphrase_of` is asked for the
    passphrase of a place, and told whether it has one. Raises BadInput if there is no such key, or if one was
    exported under another root.
    """
    asked = {key for one in request.signatures() for each in one for key in (*each.signed, *each.unsigned)}
    known = {root_fingerprint(root.to_bytes()) for root in request.roots}
    found: dict[str, Signer] = {}
    keyrings = [place for place in places if (place / "keyring.json").exists()]
    for place in keyrings:
        secret = passphrase_of(f"{place}", Keyring.is_locked(place))
        signers = Keyring.open(place, secret).signers(OFFLINE)
        found |= {f"{place}/{name}": one for name, one in signers.items() if one.public_key.keyid in asked}
    for key in keys_in([place for place in places if place not in keyrings]):
        if key.keyid not in asked:
            continue
        if key.root is not None and key.root not in known:
            raise BadInput(
                f"the key in {key.path} was exported under a root that does not precede this request's root",
                hint="do not sign: this may be an attempt to show you another server",
            )
        found[str(key.path)] = key.signer(passphrase_of(f"{key.path}", key.is_locked))
    if not found:
        raise BadInput(
            "none of these keys may sign this request",
            hint=f"it can be signed by {shown_keys(sorted(asked))}",
        )
    return found
