"""Publications and changes of keys that are signed elsewhere: prepared here, finished here.

The root states which keys a role has. Changing them means writing a new root (TUF specification §6.1):
signed by a threshold of the old root's keys and one of its own. What is published must hold under it, at
every moment, wherever a process is killed. So a key is removed in three steps, each of which keeps all valid:

1. a root that names the old and the new keys, with the lower of both thresholds;
2. the role signed again, by keys that stay;
3. a root that names the keys that stay.

Where step 3 alone keeps all valid, it is the only one: the role is the root, or nothing is published, or the
keys that stay have signed already.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, Role, Root, Targets

from contactsync.foundation.errors import BadInput
from contactsync.foundation.roles import ONLINE, ROLES
from contactsync.publication.log.policy import LogPolicy
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.follower import MAX_RENEWALS
from contactsync.publication.tuf.recording import log_field
from contactsync.publication.tuf.repository import Published, Repository
from contactsync.publication.tuf.request import SigningRequest, ToSign, signatures_of
from contactsync.publication.tuf.signed import copy_of, expiry, is_due, renewed_root, targets_of
from contactsync.publication.tuf.summary import SHOWN_KEY, shown_keys

_NOTHING = "nothing was changed"


class StaleRequest(BadInput):
    """What a request would change has been changed since it was prepared."""


@dataclass(frozen=True, slots=True)
class KeyChange:
    """Keys of a role that leave (by id) and join. The threshold stays where it is None."""

    role: str
    leave: Collection[str] = ()
    join: Collection[Key] = ()
    threshold: int | None = None


def changed_root(root: Root, change: KeyChange, now: datetime) -> Root:
    """The next root, as a change wants it. Raises BadInput if it can be no root, or the same."""
    _check_keys(root, change)
    name, new = change.role, renewed_root(root, now)
    for keyid in change.leave:
        new.revoke_key(keyid, name)
    for key in change.join:
        new.add_key(key, name)
    role = new.roles[name]
    if change.threshold is not None:
        role.threshold = change.threshold
    count = len(role.keyids)
    if not count:
        raise BadInput(f"the role {name} would have no keys left", hint="add another key first")
    if role.threshold < 1:
        raise BadInput(f"the role {name} would need no signature", hint="give a --threshold of 1 or more")
    if role.threshold > count:
        raise BadInput(
            f"the role {name} would need {role.threshold} signatures but have keys for only {count}",
            hint="lower --threshold, or give more keys",
        )
    if new.roles == root.roles:
        raise BadInput("this would change nothing", hint="see `server keys list`")
    return new


def _check_keys(root: Root, change: KeyChange) -> None:
    for key in change.join:
        for role in ROLES:
            if key.keyid in root.roles[role].keyids:
                raise BadInput(
                    f"the key {key.keyid[:SHOWN_KEY]} already belongs to the role {role}", hint=_NOTHING
                )
    if len({key.keyid for key in change.join}) < len(change.join):
        raise BadInput("the same key is given twice", hint=_NOTHING)
    strangers = set(change.leave).difference(root.roles[change.role].keyids)
    if strangers:
        raise BadInput(f"{shown_keys(strangers)} is not a key of the role {change.role}", hint=_NOTHING)


def prepare_change(repository: Repository, change: KeyChange, now: datetime) -> SigningRequest:
    """The request that brings a change of keys into force."""
    root, published = repository.root(), repository.published()
    goal = changed_root(root, change, now)
    items = []
    unheld = [] if published is None else published.unheld(goal)
    if published is not None and unheld:
        both = _both(root, goal, change.role)
        if not _is_same(both.roles[change.role], root.roles[change.role]):
            items.append(ToSign(Metadata(both)))
            goal.version += 1
        if "targets" in unheld:
            targets = Targets(published.targets.signed.version + 1, expires=expiry("targets", now))
            targets.targets = published.targets.signed.targets
            items.append(ToSign(Metadata(targets)))
    items.append(ToSign(Metadata(goal)))
    return _request(repository, published, items, {}, now)


def prepare_policy(repository: Repository, policy: LogPolicy, now: datetime) -> SigningRequest:
    """The request that names a log, or changes who must watch it. Raises BadInput if it is the same."""
    root = repository.root()
    if LogPolicy.of_root(root.unrecognized_fields) == policy:
        raise BadInput("this would change nothing", hint="see `server log show`")
    goal = renewed_root(root, now)
    goal.unrecognized_fields = log_field(policy.to_value())
    return _request(repository, repository.published(), [ToSign(Metadata(goal))], {}, now)


def prepare_publication(
    repository: Repository, manifests: Collection[Manifest], now: datetime
) -> SigningRequest:
    """The request that publishes manifests of all audiences; with the root's renewal, if that is due."""
    root, published = repository.root(), repository.published()
    items = []
    if is_due(root, now):
        items.append(ToSign(Metadata(renewed_root(root, now)), required=root.is_expired(now)))
    version = 1 if published is None else published.targets.signed.version + 1
    targets = Targets(version, expires=expiry("targets", now), targets=targets_of(manifests))
    items.append(ToSign(Metadata(targets)))
    return _request(repository, published, items, {one.sha256(): one for one in manifests}, now)


def apply(
    repository: Repository, request: SigningRequest, signers: Mapping[str, Signer], now: datetime
) -> bool:
    """Bring a request into force; whether the root is another one then. `signers` are those that are here.

    Killed in the middle it may be called again. Raises, before anything is changed, StaleRequest, BadInput
    (too few signatures, it came too late) and OurError (keys of the online roles are missing).
    """
    root, published = repository.root(), repository.published()
    items = check(repository, request, now)
    roots = [root, *(item.metadata.signed for item in items if item.role == "root")]
    resigned = set(ONLINE) if any(item.role == "targets" for item in items) else set()
    if published is not None:
        resigned |= {role for one in roots for role in published.unheld(one)} & set(ONLINE)
    # With a root between, it is under that one that the online roles are signed anew: their key may be lost.
    for one in roots[1:] if len(roots) == 3 else roots:
        repository.check_signers(signers, sorted(resigned), one)
    for item in items:
        if item.role == "targets":
            manifests = {name: one.to_bytes() for name, one in request.of(item.metadata).items()}
            repository.switch_to(item.metadata, manifests, signers, now)
        else:
            published = repository.published()
            late = [] if published is None else published.unheld(item.metadata.signed)
            if late:
                repository.sign_online(late, signers, now)
            repository.add_root(item.metadata)
    return len(roots) > 1


def check(repository: Repository, request: SigningRequest, now: datetime) -> list[ToSign]:
    """What of a request `apply` would bring into force now. Raises StaleRequest and BadInput as it does."""
    root = repository.root()
    items = [item for item in remaining(repository, request) if item.required or _is_complete(item, root)]
    _check(items, root, now)
    return items


def remaining(repository: Repository, request: SigningRequest) -> list[ToSign]:
    """What of a request is not in force yet. Raises StaleRequest if something else has come in between."""
    roots = {root.signed.version: root for root in repository.roots(MAX_RENEWALS)}
    published = repository.published()
    next_root = max(roots) + 1
    next_targets = 1 if published is None else published.targets.signed.version + 1
    found = []
    for item in request.items:
        version = item.metadata.signed.version
        there: Metadata[Any] | None = None
        if item.role == "root":
            there, expected = roots.get(version), next_root
        else:
            expected = next_targets
            if published is not None and version == next_targets - 1:
                there = published.targets
        if there is not None and there.signed_bytes == item.metadata.signed_bytes:
            continue
        if version == expected:
            found.append(item)
            next_root += item.role == "root"
        elif item.required:
            raise StaleRequest(
                "this request is out of date: something was published or keys were changed"
                " after it was prepared",
                hint="nothing was changed; prepare and sign it again",
            )
    return found


def _is_complete(item: ToSign, root: Root) -> bool:
    return all(signatures_of([item], root)[0])


def _check(items: Collection[ToSign], root: Root, now: datetime) -> None:
    for item, asked in zip(items, signatures_of(list(items), root), strict=True):
        name = f"{item.role} version {item.metadata.signed.version}"
        short = max(asked, key=lambda one: one.missing)
        if short.missing:
            raise BadInput(
                f"not enough signatures: {name} has {len(short.signed)} of {short.threshold} signatures",
                hint=f"nothing was changed; {short.missing} more of {shown_keys(short.unsigned)} must sign it"
                " with `server sign`",
            )
        if item.metadata.signed.is_expired(now):
            raise BadInput(
                f"this request has expired: {name} is no longer valid",
                hint="nothing was changed; prepare and sign it again",
            )


def _both(old: Root, new: Root, role: str) -> Root:
    """The root between: it takes what either of them takes for a role."""
    both = copy_of(new)
    for keyid in old.roles[role].keyids:
        both.add_key(old.keys[keyid], role)
    both.roles[role].threshold = min(old.roles[role].threshold, new.roles[role].threshold)
    return both


def _is_same(one: Role, other: Role) -> bool:
    return set(one.keyids) == set(other.keyids) and one.threshold == other.threshold


def _request(
    repository: Repository,
    published: Published | None,
    items: list[ToSign],
    manifests: Mapping[str, Manifest],
    now: datetime,
) -> SigningRequest:
    targets = None if published is None else published.targets
    there = dict(manifests)
    for name in {} if targets is None else targets.signed.targets:
        current = repository.current(name.removesuffix(".json"))
        if current is not None:
            there.setdefault(current.sha256(), current)
    return SigningRequest(now.replace(microsecond=0), repository.roots(MAX_RENEWALS), targets, items, there)
