"""What was prepared here and is being signed elsewhere, and changes of the roles' keys.

`prepared.json` in the data folder is the server's own copy of the request that went out last. What comes back
counts only for its signatures: what is then brought into force is the copy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tuf.api.metadata import Root

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, OurError
from contactsync.foundation.roles import OFFLINE, ONLINE
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.ceremony import (
    KeyChange,
    StaleRequest,
    apply,
    prepare_change,
    prepare_publication,
    remaining,
)
from contactsync.publication.tuf.repository import Repository
from contactsync.publication.tuf.request import MAX_REQUEST_BYTES, SigningRequest
from contactsync.publication.tuf.summary import describe
from contactsync.server.exported import new_secret
from contactsync.server.keyring import Keyring, signer_of
from contactsync.server.settings import LOCK_WAIT, DataFolder
from contactsync.server.witnessed.finishing import finish_logged
from contactsync.server.witnessed.keeper import LogKeeper

_PREPARED: Final = "contactsync-prepared-"
FORMAT: Final = f"{_PREPARED}1"


@dataclass(frozen=True, slots=True)
class Preparation:
    """A request with what finishing needs to know.

    Of a publication `serial` is that of the registry. Of a change of keys `role` is whose they are, and
    `drawn` has the ids of those that were drawn here for it.
    """

    request: SigningRequest
    serial: int | None = None
    role: str | None = None
    drawn: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: DataFolder) -> Preparation | None:
        """What is prepared; None if nothing is. Raises OurError if it is damaged."""
        try:
            body = json.loads(folder.prepared.read_bytes())
            if body["format"] != FORMAT and body["format"].startswith(_PREPARED):
                raise OurError(f"a newer contactsync wrote {folder.prepared}", hint="update contactsync")
            request = SigningRequest.from_json(body["request"])
            return cls(request, body["serial"], body["role"], tuple(body["drawn"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BadInput) as error:
            raise OurError(f"{folder.prepared} is damaged", hint="delete it, then prepare again") from error

    def write(self, folder: DataFolder, keyring: Keyring) -> None:
        """Keep it instead of what was prepared before, which is out of date from now on."""
        before = _read_leniently(folder)
        body = {
            "format": FORMAT,
            "serial": self.serial,
            "role": self.role,
            "drawn": self.drawn,
            "request": self.request.to_json(describe(self.request)),
        }
        durable.write(folder.prepared, json.dumps(body).encode())
        if before is not None and before.role is not None:
            named = Repository(folder.public).root().roles[before.role].keyids
            keyring.remove_keys(before.role, set(before.drawn).difference(named, self.drawn))

    def remove(self, folder: DataFolder) -> None:
        """It is finished. Another one that was prepared meanwhile stays."""
        now = _read_leniently(folder)
        if now is not None and now.request.fingerprint() == self.request.fingerprint():
            durable.remove(folder.prepared)

    def take(self, files: Sequence[Path]) -> None:
        """Take the signatures of the copies that came back. Raises BadInput (see read_request)."""
        for file in files:
            self.request.take_signatures(read_request(file))


def prepare_to_publish(
    folder: DataFolder, keyring: Keyring, manifests: Collection[Manifest], serial: int
) -> SigningRequest:
    """Prepare a publication, signed already by those keys that are here."""
    request = prepare_publication(Repository(folder.public), manifests, datetime.now(UTC))
    request.sign(keyring.signers(OFFLINE))
    Preparation(request, serial=serial).write(folder, keyring)
    return request


def change_keys(
    folder: DataFolder, keyring: Keyring, wanted: Callable[[Root], KeyChange], *, draw: bool, elsewhere: bool
) -> SigningRequest | None:
    """Change the keys of a role; with `draw` one that is drawn here joins as well.

    `wanted` says how, of the root that is in force then: a change that was cut short is finished before.
    None: it is in force. Else too few of those who must sign are here, and it is prepared, if `elsewhere`
    allows that. Raises BadInput (what the change asks for cannot be, or `elsewhere` is needed), OurError and
    Busy; nothing is changed then.
    """
    now, log = datetime.now(UTC), LogKeeper(folder, keyring)
    repository = Repository(folder.public, log)
    secret = new_secret() if draw else b""
    drawn = {"new": signer_of(secret)} if draw else {}
    with folder.lock(wait=LOCK_WAIT):
        finish_logged(repository, log, keyring.signers(), now)
        change = wanted(repository.root())
        joining = (*change.join, *(signer.public_key for signer in drawn.values()))
        request = prepare_change(
            repository, KeyChange(change.role, change.leave, joining, change.threshold), now
        )
        signers = keyring.signers() | drawn
        request.sign(signers)
        if not request.is_complete and not elsewhere:
            raise BadInput(
                "not enough of the keys that must sign this are here",
                hint="give --request FILE, and have it signed elsewhere; nothing was changed",
            )
        if draw:
            keyring.add_key(change.role, secret)
        if not request.is_complete:
            ids = tuple(signer.public_key.keyid for signer in drawn.values())
            Preparation(request, role=change.role, drawn=ids).write(folder, keyring)
            return request
        apply(repository, request, keyring.signers(), now)
        _forget_those_who_left(keyring, repository, request, change.role)
    return None


def finish_change(folder: DataFolder, keyring: Keyring, prepared: Preparation) -> bool:
    """Bring a change of keys into force that was signed elsewhere; whether the root is another one then.

    Killed in the middle it may be called again. Raises as ceremony.apply, and Busy.
    """
    assert prepared.role is not None
    log = LogKeeper(folder, keyring)
    repository = Repository(folder.public, log)
    with folder.lock(wait=LOCK_WAIT):
        finish_logged(repository, log, keyring.signers(), datetime.now(UTC))
        changed = apply(repository, prepared.request, keyring.signers(ONLINE), datetime.now(UTC))
        _forget_those_who_left(keyring, repository, prepared.request, prepared.role)
    return changed


def _forget_those_who_left(
    keyring: Keyring, repository: Repository, request: SigningRequest, role: str
) -> None:
    """Delete the keys of a role that the root named before a change, or in the middle of it, and not now."""
    roots = [request.root, *(item.metadata.signed for item in request.items if item.role == "root")]
    before = {keyid for root in roots for keyid in root.roles[role].keyids}
    keyring.remove_keys(role, before.difference(repository.root().roles[role].keyids))


# Files of requests


def read_request(path: Path) -> SigningRequest:
    """The request in a file. Raises BadInput: it is none, or it was changed."""
    try:
        with path.open("rb") as file:
            body = json.loads(file.read(MAX_REQUEST_BYTES))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", hint="name the right file") from error
    except (ValueError, RecursionError):
        body = None
    request = SigningRequest.from_json(body)
    if body.get("summary") != describe(request):
        raise BadInput(
            f"the summary in {path} does not match what is to be signed: it was changed, or it was"
            " written by another version of contactsync",
            hint="use the same version on both machines; if the versions are the same, do not sign",
        )
    return request


def write_request(path: Path, request: SigningRequest) -> None:
    """Write a request to a file. Raises BadInput."""
    text = json.dumps(request.to_json(describe(request)), indent=1) + "\n"
    try:
        durable.write(path, text.encode(), mode=durable.PUBLIC_FILE)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}", hint="name another file") from error


def is_out_of_date(folder: DataFolder, prepared: Preparation) -> bool:
    """Whether something else has come in between, so that it cannot be finished any more."""
    try:
        remaining(Repository(folder.public), prepared.request)
    except StaleRequest:
        return True
    return False


def _read_leniently(folder: DataFolder) -> Preparation | None:
    """What was prepared before; None if it cannot be read, for then it cannot be finished either."""
    try:
        return Preparation.read(folder)
    except OurError:
        return None
