"""The status of a data folder, as far as it can be told without unlocking keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.roles import OFFLINE, ONLINE, ROLES
from contactsync.publication.rows import RowFigures
from contactsync.publication.tuf.follower import root_fingerprint
from contactsync.publication.tuf.repository import Repository
from contactsync.publication.tuf.signed import NOTICE
from contactsync.server.belonging import doubts_of
from contactsync.server.breakers import CROWDS, BreakerState, sentence
from contactsync.server.epochs import EpochAge
from contactsync.server.keyring import Keyring, ended_seeds, key_names, seed_name
from contactsync.server.objects.record import StoreStatus, store_status
from contactsync.server.prepared import Preparation, is_out_of_date
from contactsync.server.quota import STEP
from contactsync.server.settings import DataFolder
from contactsync.server.storage.ports import AccountStore, MemberStore
from contactsync.server.witnessed.state import LogStatus, look_at_log


@dataclass(frozen=True, slots=True)
class AudienceStatus:
    """One audience. `epoch` and `edition` are 0 before its first publish.

    `began` is when the key of the epoch was drawn, `evaluated` how many points were charged for it, and
    `rotation_due` when a rotation is due by its age. `next_epoch` is announced until `overlap_until`. `rows`
    are those for private look-up that are published.
    """

    audience: str
    epoch: int
    edition: int
    members: int
    published: int
    partitions: int
    bytes: int
    began: datetime | None = None
    evaluated: int = 0
    rotation_due: datetime | None = None
    next_epoch: int | None = None
    overlap_until: datetime | None = None
    rows: RowFigures | None = None


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """Points of the last hour, of the hour of the last day that had most, and allowed (0: no limit).

    `state` is quiet, alarm or stopped.
    """

    last_hour: int
    most: int
    limit: int
    state: str


@dataclass(frozen=True, slots=True)
class Status:
    """`expires` is by TUF role, and so is `keys`: how many must sign, how many there are, how many are here.

    `prepared` is the fingerprint of a request that waits for signatures. `breakers` is by `all` accounts and
    `new` ones. `warnings` are sentences for people; `due` are those of them that ask for something soon, the
    rest is advice. `log` and `store` are None if there is none.
    """

    audiences: tuple[AudienceStatus, ...]
    accounts: int
    pending: bool
    root_fingerprint: str
    expires: dict[str, datetime]
    keys_under_passphrase: bool
    keys_offline: tuple[str, ...]
    keys: dict[str, tuple[int, int, int]]
    prepared: str | None
    breakers: dict[str, BreakerStatus]
    warnings: tuple[str, ...]
    due: tuple[str, ...] = ()
    log: LogStatus | None = None
    store: StoreStatus | None = None


def status(folder: DataFolder, registry: MemberStore, accounts: AccountStore, now: datetime) -> Status:
    """The state of a data folder. Raises OurError if it is damaged."""
    repository = Repository(folder.public)
    audiences, earlier, of_epochs, used = [], [], [], accounts.epochs()
    for audience in AUDIENCES:
        manifest, members = repository.current(audience), registry.count(audience)
        if manifest is None and not members:
            continue
        age = None if manifest is None else EpochAge.of(folder, manifest, used, now).look_ahead(folder)
        of_epochs += [age] if age else []
        audiences.append(
            AudienceStatus(
                audience=audience,
                epoch=0 if manifest is None else manifest.epoch,
                edition=0 if manifest is None else manifest.edition,
                members=members,
                published=0 if manifest is None else manifest.count,
                partitions=0 if manifest is None else len(manifest.partitions),
                bytes=0 if manifest is None else sum(file.length for file in manifest.files().values()),
                began=age.began if age else None,
                evaluated=age.evaluated if age else 0,
                rotation_due=age.due if age else None,
                next_epoch=age.next_epoch if age else None,
                overlap_until=age.overlap_until if age else None,
                rows=None if manifest is None else RowFigures.of(manifest.rows, manifest.partitions),
            )
        )
        if manifest is not None and not manifest.is_current:
            earlier.append(audience)
    expires = repository.expiries()
    root = repository.root()
    files = {role: len(key_names(folder.keys, role)) for role in ROLES}
    keys = {role: (root.roles[role].threshold, len(root.roles[role].keyids), files[role]) for role in ROLES}
    offline = tuple(role for role in ROLES if files[role] < root.roles[role].threshold)
    prepared = Preparation.read(folder)
    doubts = doubts_of(registry, repository)
    pending = bool(doubts or registry.touched(registry.serial()))
    warnings = _about_expiry(expires, offline, now)
    warnings += [f"{reason}: publish, which compares everything" for reason in doubts.values()]
    if registry.unerased():
        warnings.append(
            "the registry or its write-ahead log may still hold what was removed: publish, which erases it"
        )
    warnings += [
        f"what is published for {audience} has an old format, which newer clients refuse: publish again"
        for audience in earlier
    ]
    warnings += [
        f"not enough keys of the role {role} are here: `serve` cannot renew its signature"
        for role in offline
        if role in ONLINE
    ]
    if prepared is not None:
        day = f"{prepared.request.created:%Y-%m-%d}"
        warnings.append(
            f"what was prepared on {day} is out of date: prepare it again"
            if is_out_of_date(folder, prepared)
            else f"what was prepared on {day} is not in force: have it signed, then `server finish`"
        )
    warnings += _about_keys(folder, audiences)
    # A request that is being signed says of itself what was begun.
    warnings += [line for age in of_epochs if age.is_announced or not prepared for line in age.warnings(now)]
    flow, limits = accounts.flow(), folder.settings().breakers
    states = {crowd: flow.state(crowd, limits, asked=STEP) for crowd in CROWDS}
    warnings += [
        f"{'evaluations are paused' if state is BreakerState.STOPPED else 'alarm'}: "
        f"{sentence(crowd, flow, limits)}; see `server accounts suspicious`"
        for crowd, state in states.items()
        if state is not BreakerState.QUIET
    ]
    log, of_log, advice = look_at_log(folder)
    warnings += of_log
    store = store_status(folder)
    if store is not None and store.is_behind:
        why = f" ({store.why})" if store.why else ""
        warnings.append(f"the store has not what is published{why}: `server store copy`")
    due = tuple(warnings)
    warnings += advice
    locked = Keyring.is_locked(folder.keys)
    if not locked:
        warnings.append("the keys are not protected by a passphrase")
    if "root" not in offline:
        warnings.append("the root key is on this machine: `server keys export root FILE --remove`")
    return Status(
        audiences=tuple(audiences),
        accounts=len(accounts.list()),
        pending=pending,
        root_fingerprint=root_fingerprint(repository.root_bytes()),
        expires=expires,
        keys_under_passphrase=locked,
        keys_offline=offline,
        keys=keys,
        prepared=None if prepared is None else prepared.request.fingerprint(),
        breakers={
            crowd: BreakerStatus(flow.hour(crowd), flow.most(crowd), limits.limit(crowd), state.name.lower())
            for crowd, state in states.items()
        },
        warnings=tuple(warnings),
        due=due,
        log=log,
        store=store,
    )


def _about_expiry(expires: dict[str, datetime], offline: tuple[str, ...], now: datetime) -> list[str]:
    """What has expired, and what soon will unless you publish."""
    warnings = []
    for role, end in expires.items():
        how = "publish"
        if role in ONLINE:
            how = "start `serve`, or publish"
        elif role in offline:
            how = "`server publish --offline-targets REQUEST`, and have it signed"
        if end < now:
            warnings.append(f"the {role} metadata has expired: {how}")
        elif role in OFFLINE and end < now + NOTICE[role]:
            warnings.append(f"the {role} metadata expires on {end:%Y-%m-%d}: {how}")
    return warnings


def _about_keys(folder: DataFolder, audiences: list[AudienceStatus]) -> list[str]:
    """Warnings about the key files, as far as possible without opening them."""
    epochs = [(one.audience, epoch) for one in audiences for epoch in (one.epoch, one.next_epoch) if epoch]
    names = ["keyring.json", *(seed_name(*of) for of in epochs)]
    warnings = [
        f"keys/{name} is missing: restore it from a backup"
        for name in names
        if not (folder.keys / name).exists()
    ]
    warnings += [
        f"the key of {one.audience} of epoch {epoch}, which has ended, is still in keys/: publish, which"
        " destroys it"
        for one in audiences
        for epoch in ended_seeds(folder.keys, one.audience, one.epoch)
    ]
    places = [folder.path, folder.keys, *folder.keys.iterdir()] if folder.keys.is_dir() else [folder.path]
    if any(place.stat().st_mode & 0o077 for place in places):
        warnings.append("other users can read the data folder or its keys")
    return warnings
