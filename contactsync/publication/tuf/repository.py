"""The operator's side of the TUF repository: manifests in, signed metadata on disk out.

```
public/metadata/   N.root.json  N.targets.json  N.snapshot.json  timestamp.json
public/targets/    SHA256.people.json …
```

Consistent snapshots: every file but timestamp.json has its version or hash in its name and is never changed
once timestamp.json leads to it. So replacing timestamp.json is the one switch: before it clients see the old
state whole, after it the new one. Files that a killed publish left behind are led to by nothing; the next one
overwrites them. Before each switch the clients' own follower must have accepted what it leads to
(rehearsal.py).

A root counts from the moment it has its name. So none is written under which what is published would not
hold: a key leaves only when others have signed in its place (ceremony.py).

Where the root names a log (publication/log), what a root or a manifest says is a leaf of it before it counts:
`record` is called once all else has been signed and written, and before the switch.

Who signs is handed in as a mapping of names to signers. The names (those of key files, which begin with a
role) are for messages alone: what a signer may sign is the root's to say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from securesystemslib.signer import Key, Signer
from tuf.api import exceptions
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, OurError
from contactsync.foundation.roles import ONLINE, PUBLISHING, ROLES
from contactsync.publication.history import Link
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.recording import Recorder, Switch, has_log, log_field
from contactsync.publication.tuf.rehearsal import Rehearsal
from contactsync.publication.tuf.signed import LIFETIMES, expiry, is_due, is_signed, renewed_root, targets_of

__all__ = ["LIFETIMES", "ONLINE", "PUBLISHING", "ROLES", "Published", "Repository"]

_KEPT_VERSIONS: Final = 10  # of snapshot and targets, for clients in the middle of a refresh
_BACKUP: Final = "restore the public folder from a backup"
_ELSEWHERE: Final = {  # what to do where the keys of a role stay elsewhere
    "targets": "; or prepare a request and have it signed elsewhere: `publish --offline-targets FILE`",
    "root": "; or prepare a request and have it signed elsewhere: --request FILE",
}


@dataclass(slots=True)
class Published:
    """What timestamp.json leads to."""

    targets: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]

    def by_role(self) -> dict[str, Metadata[Any]]:
        """The metadata of each role of PUBLISHING, from the targets up."""
        return {"targets": self.targets, "snapshot": self.snapshot, "timestamp": self.timestamp}

    def unheld(self, root: Root) -> list[str]:
        """The roles whose signatures do not count under `root`."""
        return [role for role, metadata in self.by_role().items() if not is_signed(metadata, role, root)]


class Repository:
    """A TUF repository in `folder`. The caller sees to it that only one process at a time writes to it."""

    def __init__(self, folder: Path, log: Recorder | None = None) -> None:
        """`log` is needed for what changes a publication that has one."""
        self.folder = folder
        self._log = log
        self._metadata = folder / "metadata"
        self._targets = folder / "targets"

    def create(
        self,
        keys: Mapping[str, Key],
        root_signer: Signer,
        now: datetime,
        log: Mapping[str, Any] | None = None,
    ) -> None:
        """Write root version 1, with one key for each of ROLES. Nothing is published by it.

        `log` is the policy of its log (LogPolicy.to_value), if it has one.
        """
        self._metadata.parent.mkdir(parents=True, exist_ok=True)  # a server has made it already, durably
        for folder in (self._metadata, self._targets):
            durable.make_folder(folder, mode=durable.PUBLIC_FOLDER)
        root = Root(expires=expiry("root", now), consistent_snapshot=True)
        for role in ROLES:
            root.add_key(keys[role], role)
        if log is not None:
            root.unrecognized_fields = log_field(log)
        metadata = Metadata(root)
        _sign_by(metadata, [root_signer])
        self._write_new_root(metadata)

    # What is there

    def root_bytes(self) -> bytes:
        """The newest root metadata file. Raises OurError if there is none."""
        return self._root_path(self._root_versions()[-1]).read_bytes()

    def root(self) -> Root:
        """The newest root, parsed."""
        return self.roots(1)[0].signed

    def roots(self, limit: int) -> list[Metadata[Root]]:
        """The newest root and those before it, oldest first; at most `limit`, as far as kept."""
        try:
            return [
                Metadata[Root].from_bytes(self._root_path(version).read_bytes())
                for version in self._root_versions()[-limit:]
            ]
        except exceptions.RepositoryError as error:
            raise OurError("the TUF root metadata is damaged", hint=_BACKUP) from error

    def _root_versions(self) -> list[int]:
        versions = sorted(int(path.name.split(".")[0]) for path in self._metadata.glob("*.root.json"))
        if not versions:
            raise OurError("the TUF repository has no root metadata", hint=_BACKUP)
        return versions

    def _root_path(self, version: int) -> Path:
        return self._metadata / f"{version}.root.json"

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
        published = self.published()
        if published is not None:
            for role, metadata in published.by_role().items():
                found[role] = metadata.signed.expires
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
        published = self.published()
        info = None if published is None else published.targets.signed.targets.get(f"{audience}.json")
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

    def check_signers(
        self, signers: Mapping[str, Signer], roles: Collection[str], root: Root | None = None
    ) -> None:
        """Raise OurError unless as many signers of each role are here as the root (else `root`) asks for."""
        root = root or self.root()
        for role in roles:
            wanted, here = root.roles[role].threshold, len(_of(signers, role, root))
            if here >= wanted:
                continue
            hint = f"import it: `contactsync server keys import`{_ELSEWHERE.get(role, '')}"
            if here:
                raise OurError(
                    f"{wanted} keys of the role {role} must sign, but only {here} of them is here"
                    if here == 1
                    else f"{wanted} keys of the role {role} must sign, but only {here} of them are here",
                    hint=hint,
                )
            if any(name.split("-")[0] == role for name in signers):
                raise OurError(
                    f"the signing key of the role {role} is not the one named by the root",
                    hint="restore keys/ and public/ from the same backup",
                )
            raise OurError(f"the signing key of the role {role} is not here", hint=hint)

    # What changes it

    def publish(
        self,
        manifests: Collection[Manifest],
        signers: Mapping[str, Signer],
        now: datetime,
        *,
        earlier: Collection[Manifest] = (),
    ) -> None:
        """Publish the manifests of all audiences in one switch.

        `signers` needs those of targets, snapshot and timestamp. `earlier` are in the history, and may never
        have been current. Raises OurError if there are too few that the root names, NetworkError if too few
        witnesses of the log answer. Nothing is visible to anybody before the last step but the log.
        """
        published = self._next_published()
        published.targets.signed.targets = targets_of(manifests)
        self.keep(earlier)
        octets = {manifest.audience: manifest.to_bytes() for manifest in manifests}
        self._keep_manifests(octets)
        switch = Switch(manifests=octets, earlier=tuple(one.to_bytes() for one in earlier))
        self._sign(published, PUBLISHING, signers, now, switch)

    def keep(self, manifests: Iterable[Manifest]) -> None:
        """Have manifests in the history that were never current: the next one names them as `previous`."""
        for manifest in manifests:
            if not (self._targets / f"{manifest.sha256()}.{manifest.audience}.json").exists():
                self._keep_manifests({manifest.audience: manifest.to_bytes()})

    def switch_to(
        self,
        targets: Metadata[Targets],
        manifests: Mapping[str, bytes],
        signers: Mapping[str, Signer],
        now: datetime,
    ) -> None:
        """Publish targets metadata that is signed already, with its manifests by audience, in one switch.

        `signers` needs those of ONLINE. The caller has verified the rest.
        """
        published = self._next_published()
        assert targets.signed.version == published.targets.signed.version + 1
        self.check_signers(signers, ONLINE)
        self._keep_manifests(manifests)
        published.targets = targets
        self._write(published, targets)
        switch = Switch(manifests=dict(manifests), targets=targets.to_bytes())
        self._sign(published, ONLINE, signers, now, switch)

    def sign_online(self, roles: Collection[str], signers: Mapping[str, Signer], now: datetime) -> None:
        """Sign roles of ONLINE again, and the timestamp with them; something is published."""
        published = self.published()
        assert published is not None
        self._sign(published, {*roles, "timestamp"}, signers, now)

    def add_root(self, root: Metadata[Root]) -> None:
        """Write the next root. Raises BadInput unless it is signed as clients want it, and leaves all valid.

        A threshold of the keys of the root before it must have signed, and one of its own (TUF specification
        §5.3.4); and what is published must be signed as it asks.
        """
        before, published = self.root(), self.published()
        assert root.signed.version == before.version + 1
        if not all(is_signed(root, "root", by) for by in (before, root.signed)):
            raise BadInput("the new root is not signed by enough keys", hint="nothing was changed")
        if published is not None and published.unheld(root.signed):
            raise BadInput("the new root would invalidate what is published", hint="nothing was changed")
        self._write_new_root(root)

    def renew_root(self, signers: Mapping[str, Signer], now: datetime) -> bool:
        """Renew the root if it is past half of its lifetime and enough of its keys are here; whether it was.

        Raises OurError, with nothing written, if keys are here that the root does not name in their place.
        """
        root = self.root()
        if not is_due(root, now):
            return False
        if any(name.split("-")[0] == "root" for name in signers):
            self.check_signers(signers, ["root"], root)
        if not _suffice(signers, "root", root):
            return False
        metadata = Metadata(renewed_root(root, now))
        _sign_by(metadata, _of(signers, "root", root))
        self.add_root(metadata)
        return True

    def refresh(self, signers: Mapping[str, Signer], now: datetime, *, force: bool = False) -> list[str]:
        """Sign again what is past half of its lifetime, as far as the keys are here. Returns the roles.

        `force` signs everything but the root, which is always renewed by its age.
        """
        done = ["root"] if self.renew_root(signers, now) else []
        published = self.published()
        if published is None:
            return done
        due: set[str] = set()
        # A role can be signed anew only with those that point to it: its version and hash are in them.
        root, above = self.root(), ("timestamp", "snapshot", "targets")
        for role, metadata in published.by_role().items():
            chain = above[: above.index(role) + 1]
            if (force or is_due(metadata.signed, now)) and all(_suffice(signers, one, root) for one in chain):
                due.update(chain)
        if due:
            self._sign(published, due, signers, now)
        return done + sorted(due)

    def prune(self, kept: Collection[Link]) -> None:
        """Delete metadata that can no longer be in use by a reader, and manifests that are not in `kept`."""
        published = self.published()
        if published is None:
            return
        for role in ("targets", "snapshot"):
            newest = published.by_role()[role].signed.version
            for path in self._metadata.glob(f"*.{role}.json"):
                if int(path.name.split(".")[0]) <= newest - _KEPT_VERSIONS:
                    path.unlink()
        names = {f"{link.sha256}.{link.audience}.json" for link in kept}
        for path in self._targets.iterdir():
            if path.name not in names:
                path.unlink()

    # How

    def published(self) -> Published | None:
        """What is published; None before the first publish. Raises OurError if it is damaged."""
        try:
            data = (self._metadata / "timestamp.json").read_bytes()
        except FileNotFoundError:
            return None
        try:
            timestamp = Metadata[Timestamp].from_bytes(data)
            data = (self._metadata / f"{timestamp.signed.snapshot_meta.version}.snapshot.json").read_bytes()
            timestamp.signed.snapshot_meta.verify_length_and_hashes(data)
            snapshot = Metadata[Snapshot].from_bytes(data)
            meta = snapshot.signed.meta["targets.json"]
            data = (self._metadata / f"{meta.version}.targets.json").read_bytes()
            meta.verify_length_and_hashes(data)
            targets = Metadata[Targets].from_bytes(data)
        except (OSError, KeyError, exceptions.RepositoryError) as error:
            raise OurError("the published TUF metadata is damaged", hint=_BACKUP) from error
        return Published(targets, snapshot, timestamp)

    def _next_published(self) -> Published:
        """What is published, to be changed and signed; versions are counted up before each signing."""
        published = self.published()
        if published is None:
            published = Published(Metadata(Targets()), Metadata(Snapshot()), Metadata(Timestamp()))
            for metadata in published.by_role().values():
                metadata.signed.version = 0
        return published

    def _keep_manifests(self, manifests: Mapping[str, bytes]) -> None:
        for audience, data in manifests.items():
            path = self._targets / f"{hashlib.sha256(data).hexdigest()}.{audience}.json"
            durable.write(path, data, mode=durable.PUBLIC_FILE)

    def _sign(
        self,
        published: Published,
        roles: Collection[str],
        signers: Mapping[str, Signer],
        now: datetime,
        switch: Switch | None = None,
    ) -> None:
        """Write new versions of `roles`, from the targets up; timestamp.json last.

        What clients would refuse whatever the log says is found before it is logged, which is for ever.
        """
        root = self.root()
        self.check_signers(signers, roles, root)
        for role, metadata in published.by_role().items():
            if role in roles:
                metadata.signed.version += 1
                metadata.signed.expires = expiry(role, now)
                _sign_by(metadata, _of(signers, role, root))
                if metadata is published.timestamp:
                    if switch is not None and has_log(root):
                        self._rehearse(published, root, now, log=False)
                        self._record(root, switch)
                    self._rehearse(published, root, now)
                self._write(published, metadata)
        if switch is not None:
            self._settle()

    def _rehearse(self, published: Published, root: Root, now: datetime, *, log: bool = True) -> None:
        """Raise OurError unless clients will accept what is about to be published."""
        before = self.published()
        there = {} if before is None else before.targets.signed.targets
        changed = [
            name.removesuffix(".json")
            for name, info in published.targets.signed.targets.items()
            if there.get(name) != info
        ]
        timestamp = published.timestamp.to_bytes()
        Rehearsal(self.folder, timestamp, root.version, root.expires, log=log).run(changed, now)

    def _write(self, published: Published, metadata: Metadata[Any]) -> None:
        """Write one role's metadata, and what the role above it says of it."""
        signed, data = metadata.signed, metadata.to_bytes()
        name = "timestamp.json" if metadata is published.timestamp else f"{signed.version}.{signed.type}.json"
        durable.write(self._metadata / name, data, mode=durable.PUBLIC_FILE)
        meta = MetaFile.from_data(signed.version, data, ["sha256"])
        if metadata is published.targets:
            published.snapshot.signed.meta = {"targets.json": meta}
        elif metadata is published.snapshot:
            published.timestamp.signed.snapshot_meta = meta

    def _write_new_root(self, root: Metadata[Root]) -> None:
        data = root.to_bytes()
        self._record(root.signed, Switch(root=data))
        durable.write(self._root_path(root.signed.version), data, mode=durable.PUBLIC_FILE)
        self._settle()

    def _record(self, root: Root, switch: Switch) -> None:
        if self._log is not None:
            self._log.record(switch)
        elif has_log(root):
            raise OurError("this publication has a log, which was not opened", hint="run `server publish`")

    def _settle(self) -> None:
        if self._log is not None:
            self._log.settle()


def _of(signers: Mapping[str, Signer], role: str, root: Root) -> list[Signer]:
    """The signers that the root names for a role, each key once."""
    named = {signer.public_key.keyid: signer for signer in signers.values()}
    return [named[keyid] for keyid in root.roles[role].keyids if keyid in named]


def _suffice(signers: Mapping[str, Signer], role: str, root: Root) -> bool:
    return len(_of(signers, role, root)) >= root.roles[role].threshold


def _sign_by(metadata: Metadata[Any], signers: Iterable[Signer]) -> None:
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
