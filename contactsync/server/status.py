"""What an operator wants to know about a data folder, without unlocking anything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from contactsync.foundation.audiences import AUDIENCES
from contactsync.publication.tuf.follower import root_fingerprint
from contactsync.publication.tuf.repository import PUBLISHING, ROLES, Repository
from contactsync.server.keyring import Keyring, seed_name
from contactsync.server.settings import DataFolder
from contactsync.server.storage.ports import AccountStore, MemberStore

_ROOT_NOTICE = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class AudienceStatus:
    """One audience. `epoch` and `edition` are 0 before its first publish."""

    audience: str
    epoch: int
    edition: int
    members: int
    published: int
    partitions: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Status:
    """`expires` is by TUF role; `warnings` are sentences for people."""

    audiences: tuple[AudienceStatus, ...]
    accounts: int
    pending: bool
    root_fingerprint: str
    expires: dict[str, datetime]
    keys_under_passphrase: bool
    keys_offline: tuple[str, ...]
    warnings: tuple[str, ...]


def status(folder: DataFolder, registry: MemberStore, accounts: AccountStore, now: datetime) -> Status:
    """The state of a data folder. Raises OurError if it is damaged."""
    repository = Repository(folder.public)
    audiences, earlier = [], []
    for audience in AUDIENCES:
        manifest, members = repository.current(audience), registry.count(audience)
        if manifest is None and not members:
            continue
        audiences.append(
            AudienceStatus(
                audience=audience,
                epoch=0 if manifest is None else manifest.epoch,
                edition=0 if manifest is None else manifest.edition,
                members=members,
                published=0 if manifest is None else manifest.count,
                partitions=0 if manifest is None else len(manifest.partitions),
                bytes=0 if manifest is None else sum(file.length for file in manifest.files().values()),
            )
        )
        if manifest is not None and not manifest.is_current:
            earlier.append(audience)
    expires = repository.expiries()
    offline = tuple(role for role in ROLES if not (folder.keys / f"tuf-{role}.json").exists())
    pending = bool(registry.touched(registry.serial()))
    warnings = [
        f"the {role} metadata has expired: publish"
        + (", with the root key in keys/" if role in offline else "")
        for role, end in expires.items()
        if end < now
    ]
    warnings += [
        f"what is published for {audience} is of an earlier format, which newer clients refuse: publish"
        for audience in earlier
    ]
    if now <= expires["root"] < now + _ROOT_NOTICE:
        warnings.append("the root metadata expires soon: publish with the root key in keys/ to renew it")
    warnings += [
        f"the {role} key is not here: nothing can be published" for role in offline if role in PUBLISHING
    ]
    warnings += _about_keys(folder, audiences)
    for one in audiences:
        warnings += about_rotation(folder, one.audience, one.epoch)
    locked = Keyring.is_locked(folder.keys)
    if not locked:
        warnings.append("the keys are not under a passphrase")
    if "root" not in offline:
        warnings.append("the root key is on this machine: move keys/tuf-root.json offline")
    return Status(
        audiences=tuple(audiences),
        accounts=len(accounts.list()),
        pending=pending,
        root_fingerprint=root_fingerprint(repository.root_bytes()),
        expires=expires,
        keys_under_passphrase=locked,
        keys_offline=offline,
        warnings=tuple(warnings),
    )


def about_rotation(folder: DataFolder, audience: str, epoch: int) -> list[str]:
    """What to say if a publish with a new epoch was cut short: its key is there, but `epoch` is published."""
    if epoch == 0 or not (folder.keys / seed_name(audience, epoch + 1)).exists():
        return []
    return [
        f"a new epoch of {audience} was begun and not published: `server publish --new-epoch` finishes it"
    ]


def _about_keys(folder: DataFolder, audiences: list[AudienceStatus]) -> list[str]:
    """What is wrong with the key files, as far as that shows without opening them."""
    names = ["keyring.json", *(seed_name(one.audience, one.epoch) for one in audiences if one.edition)]
    warnings = [
        f"keys/{name} is missing: restore it from a backup"
        for name in names
        if not (folder.keys / name).exists()
    ]
    places = [folder.path, folder.keys, *folder.keys.iterdir()] if folder.keys.is_dir() else [folder.path]
    if any(place.stat().st_mode & 0o077 for place in places):
        warnings.append("the data folder or its keys can be read by other users")
    return warnings
