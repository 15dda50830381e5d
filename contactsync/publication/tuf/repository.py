"""The operator's side of the TUF repository: manifests in, signed metadata on disk out.

```
public/metadata/   N.root.json  N.targets.json  N.snapshot.json  timestamp.json
public/targets/    SHA256.people.json …
```

Consistent snapshots: every file but timestamp.json has its version or hash in its name and is never changed
once timestamp.json leads to it. So replacing timestamp.json is the one switch: before it clients see the old
state whole, after it the new one. Files that a killed publish left behind are led to by nothing; the next one
overwrites them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from securesystemslib.signer import Key, Signer
from tuf.api import exceptions
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from contactsync.foundation import durable
from contactsync.foundation.errors import OurError
from contactsync.publication.history import Link
from contactsync.publication.manifest import Manifest

ROLES: Final = ("root", "targets", "snapshot", "timestamp")
PUBLISHING: Final = ("targets", "snapshot", "timestamp")  # the roles that every publish signs

# The timestamp's lifetime bounds how long an attacker on the network can hold a client on an old edition. The
# others need not be short: `refresh` signs them anew at half of it, for whoever holds their keys.
LIFETIMES: Final = {
    "root": timedelta(days=365),
    "targets": timedelta(days=90),
    "snapshot": timedelta(days=30),
    "timestamp": timedelta(days=7),
}
_KEPT_VERSIONS: Final = 10  # of snapshot and targets, for clients in the middle of a refresh
_BACKUP: Final = "restore the public folder from a backup"


@dataclass(slots=True)
class _Published:
    """What timestamp.json leads to."""

    targets: Targets
    snapshot: Snapshot
    timestamp: Timestamp


class Repository:
    """A TUF repository in `folder`. The caller sees to it that only one process at a time writes to it."""

    def __init__(self, folder: Path) -> None:
        self._metadata = folder / "metadata"
        self._targets = folder / "targets"

    def create(self, keys: Mapping[str, Key], root_signer: Signer, now: datetime) -> None:
        """Write root version 1, with one key for each of ROLES. Nothing is published by it."""
        self._metadata.parent.mkdir(parents=True, exist_ok=True)  # a server has made it already, durably
        for folder in (self._metadata, self._targets):
            durable.make_folder(folder, mode=durable.PUBLIC_FOLDER)
        root = Root(expires=_expiry("root", now), consistent_snapshot=True)
        for role in ROLES:
            root.add_key(keys[role], role)
        self._write_root(root, root_signer)

    # What is there

    def root_bytes(self) -> bytes:
        """The newest root metadata file. Raises OurError if there is none."""
        versions = [int(path.name.split(".")[0]) for path in self._metadata.glob("*.root.json")]
        if not versions:
            raise OurError("the TUF repository has no root metadata", hint=_BACKUP)
        return (self._metadata / f"{max(versions)}.root.json").read_bytes()

    def root(self) -> Root:
        """The newest root, parsed."""
        try:
            return Metadata[Root].from_bytes(self.root_bytes()).signed
        except exceptions.RepositoryError as error:
            raise OurError("the TUF root metadata is damaged", hint=_BACKUP) from error

    def stamp(self) -> tuple[int, int, int] | None:
        """Something cheap that changes with every switch; None before the first publish."""
        try:
            stat = (self._metadata / "timestamp.json").stat()
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    def expiries(self) -> dict[str, datetime]:
        """When the current metadata of each role expires (UTC); before the first publish the root's alone."""
        found = {"root": self.root().expires}
        published = self._published()
        if published is not None:
            for signed in (published.targets, published.snapshot, published.timestamp):
                found[signed.type] = signed.expires
        return found

    def history(self, audience: str, limit: int) -> Iterator[Manifest]:
        """The current manifest of an audience, the one before it, and so on; at most `limit`, as far as kept.

        Raises OurError if the current one is damaged or missing.
        """
        for data, _ in self._chain(audience, limit):
            yield Manifest.from_bytes(data, earlier=True)

    def links(self, audience: str, limit: int) -> Iterator[Link]:
        """Like `history`, also where a manifest is of a version that this program does not write any more."""
        for _, link in self._chain(audience, limit):
            yield link

    def _chain(self, audience: str, limit: int) -> Iterator[tuple[bytes, Link]]:
        published = self._published()
        info = None if published is None else published.targets.targets.get(f"{audience}.json")
        sha256 = None if info is None else info.hashes["sha256"]
        for place in range(limit):
            if sha256 is None:
                return
            path = self._targets / f"{sha256}.{audience}.json"
            data = path.read_bytes() if path.exists() else b""
            if hashlib.sha256(data).hexdigest() != sha256:
                if place == 0:
                    raise OurError(
                        f"the published manifest of {audience} is missing or damaged", hint=_BACKUP
                    )
                return
            link = Link.from_bytes(data)
            yield data, link
            sha256 = link.previous

    def current(self, audience: str) -> Manifest | None:
        """The current manifest of an audience; None if nothing is published for it."""
        return next(self.history(audience, 1), None)

    def check_signers(self, signers: Mapping[str, Signer], roles: Collection[str]) -> None:
        """Raise OurError unless the signer of each role is here and is the one that the root names."""
        root = self.root()
        for role in roles:
            if role not in signers:
                raise OurError(
                    f"the signing key of the role {role} is not here", hint="put it back into keys/"
                )
            if signers[role].public_key.keyid not in root.roles[role].keyids:
                raise OurError(
                    f"the signing key of the role {role} is not the one that the root names",
                    hint="restore keys/ and public/ from the same backup",
                )

    # What changes it

    def publish(self, manifests: Collection[Manifest], signers: Mapping[str, Signer], now: datetime) -> None:
        """Publish the manifests of all audiences in one switch.

        `signers` (by role) needs targets, snapshot and timestamp. Raises OurError if one is missing or is not
        the key that the root names. Nothing is visible to anybody before the last step.
        """
        targets: dict[str, TargetFile] = {}
        for manifest in manifests:
            data, name = manifest.to_bytes(), f"{manifest.audience}.json"
            sha256 = hashlib.sha256(data).hexdigest()
            durable.write(self._targets / f"{sha256}.{name}", data, mode=durable.PUBLIC_FILE)
            targets[name] = TargetFile(len(data), {"sha256": sha256}, name)
        published = self._published()
        if published is None:
            # Versions are counted up before each signing, so these begin at 1.
            published = _Published(Targets(), Snapshot(), Timestamp())
            published.targets.version = published.snapshot.version = published.timestamp.version = 0
        published.targets.targets = targets
        self._sign(published, PUBLISHING, signers, now)

    def refresh(self, signers: Mapping[str, Signer], now: datetime, *, force: bool = False) -> list[str]:
        """Sign anew what is past half of its lifetime, as far as the keys are here; returns the roles.

        With `force` everything is but the root, whose renewal is always by its age.
        """
        done = ["root"] if self._renew_root(signers, now) else []
        published = self._published()
        if published is None:
            return done
        due: set[str] = set()
        # A role can be signed anew only with those that point to it: its version and hash are in them.
        above = ("timestamp", "snapshot", "targets")
        for signed in (published.timestamp, published.snapshot, published.targets):
            chain = above[: above.index(signed.type) + 1]
            late = signed.expires - now < LIFETIMES[signed.type] / 2
            if (late or force) and all(role in signers for role in chain):
                due.update(chain)
        if due:
            self._sign(published, due, signers, now)
        return done + sorted(due)

    def prune(self, kept: Collection[Link]) -> None:
        """Delete metadata that nobody can be reading any more, and manifests that are not in `kept`."""
        published = self._published()
        if published is None:
            return
        for signed in (published.targets, published.snapshot):
            for path in self._metadata.glob(f"*.{signed.type}.json"):
                if int(path.name.split(".")[0]) <= signed.version - _KEPT_VERSIONS:
                    path.unlink()
        names = {f"{link.sha256}.{link.audience}.json" for link in kept}
        for path in self._targets.iterdir():
            if path.name not in names:
                path.unlink()

    # How

    def _published(self) -> _Published | None:
        try:
            data = (self._metadata / "timestamp.json").read_bytes()
        except FileNotFoundError:
            return None
        try:
            timestamp = Metadata[Timestamp].from_bytes(data).signed
            data = (self._metadata / f"{timestamp.snapshot_meta.version}.snapshot.json").read_bytes()
            timestamp.snapshot_meta.verify_length_and_hashes(data)
            snapshot = Metadata[Snapshot].from_bytes(data).signed
            meta = snapshot.meta["targets.json"]
            data = (self._metadata / f"{meta.version}.targets.json").read_bytes()
            meta.verify_length_and_hashes(data)
            targets = Metadata[Targets].from_bytes(data).signed
        except (OSError, KeyError, exceptions.RepositoryError) as error:
            raise OurError("the published TUF metadata is damaged", hint=_BACKUP) from error
        return _Published(targets, snapshot, timestamp)

    def _sign(
        self, published: _Published, roles: Collection[str], signers: Mapping[str, Signer], now: datetime
    ) -> None:
        """Write new versions of `roles`, from the targets up; timestamp.json last."""
        self.check_signers(signers, roles)
        for signed in (published.targets, published.snapshot, published.timestamp):
            role = signed.type
            if role not in roles:
                continue
            signed.version += 1
            signed.expires = _expiry(role, now)
            data = _signed_bytes(signed, signers[role])
            if signed is published.timestamp:
                durable.write(self._metadata / "timestamp.json", data, mode=durable.PUBLIC_FILE)
                return
            durable.write(self._metadata / f"{signed.version}.{role}.json", data, mode=durable.PUBLIC_FILE)
            meta = MetaFile.from_data(signed.version, data, ["sha256"])
            if signed is published.targets:
                published.snapshot.meta = {"targets.json": meta}
            else:
                published.timestamp.snapshot_meta = meta

    def _renew_root(self, signers: Mapping[str, Signer], now: datetime) -> bool:
        root = self.root()
        if "root" not in signers or root.expires - now >= LIFETIMES["root"] / 2:
            return False
        root.version += 1
        root.expires = _expiry("root", now)
        self._write_root(root, signers["root"])
        return True

    def _write_root(self, root: Root, signer: Signer) -> None:
        path = self._metadata / f"{root.version}.root.json"
        durable.write(path, _signed_bytes(root, signer), mode=durable.PUBLIC_FILE)


def _expiry(role: str, now: datetime) -> datetime:
    return now.astimezone(UTC) + LIFETIMES[role]


def _signed_bytes(signed: Signed, signer: Signer) -> bytes:
    metadata: Metadata[Any] = Metadata(signed)
    metadata.sign(signer)
    return metadata.to_bytes()
