"""The client's side of the TUF repository: from a pinned root to a verified manifest.

python-tuf's `ngclient` does the TUF client workflow (specification §5.3): signatures, thresholds, expiry,
rollback of any role, mix-and-match, root rotation. This module bounds it, has the manifests' own history
walked on top of it (`publication.history`), makes what was seen survive a power cut, and turns what is raised
into the one error tree.

```
metadata/root_history/N.root.json           the roots that were followed, the pinned one included
metadata/{timestamp,snapshot,targets}.json  the newest that were verified
manifests/AUDIENCE.json                     the last manifest of each audience: the history that counts
gaps/AUDIENCE.json                          what could not be checked of it, until somebody was told
scratch/                                    python-tuf's own folder, during a refresh only
```

python-tuf replaces its files without fsync: after a power cut they may be empty, which it treats as missing,
and what it knew of versions is lost with them. So it works in `scratch`, on copies, and what it has verified
is written over the originals durably, in the order in which one leads to the next: a timestamp can only be
checked by the root that names its key. Whatever a power cut leaves of that order is a state from which
python-tuf can continue. Nothing is reported to anybody before all of it, and the manifest after it, is on the
disk.

A manifest is kept once the walk to the one before it is over, so that the next walk begins where this one did
if it is cut short. A gap in it comes to the disk before it: a server that cuts the connection after its
manifest was kept has not made the gap go unnoticed.

Files that are damaged all the same (by the disk, or by the first version, which did not do this):

- *A root.* Its name still tells its version. The server has to deliver that version again, signed by the root
  before it, or it has gone back: an older root would bring keys back that were revoked.
- *Timestamp, snapshot or targets.* python-tuf continues without it, as on first contact, from
  the pinned root. That is safe while the manifests are whole: what a rollback of metadata is for is an older
  manifest, and none is accepted that does not continue the one kept. An audience without a manifest was never
  reported to anybody, so there is nothing that it could be rolled back behind.
- *A manifest.* Its hash stands in the targets metadata, which is kept before it (the first version renamed
  them in that order, too). If that is readable, the server delivers the manifest again, and the walk ends
  there. If neither is readable, the operator must say whether the server has gone back; if it has
  not, that one file is removed.
- *A gap.* Everything up to the last manifest counts as unchecked.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from contactsync.foundation import durable
from contactsync.foundation.errors import BadReply, BadSignature, NetworkError, OurError
from contactsync.publication.history import Gap, Link, Position, another_history, walk
from contactsync.publication.logged import LOG_PATH, LogFollower
from contactsync.publication.manifest import MAX_BYTES, Manifest
from contactsync.publication.tuf.raised import CHANGED, errors_of_tuf

METADATA_PATH = "/v1/tuf/metadata/"
TARGETS_PATH = "/v1/tuf/targets/"
MAX_ROOT_BYTES = 64 << 10
MAX_RENEWALS = 64
"""Roots that are followed one after the other; at one a year nobody reaches that."""

_LIMITS = UpdaterConfig(
    max_root_rotations=MAX_RENEWALS,
    max_delegations=0,  # the manifests are listed by the top-level targets role alone
    root_max_length=MAX_ROOT_BYTES,
    timestamp_max_length=16 << 10,
    snapshot_max_length=64 << 10,
    targets_max_length=64 << 10,
)
_ROOTS = "root_history"


def root_fingerprint(root: bytes) -> str:
    """The SHA-256 of a root metadata file, 64 hex digits: `trust` and `server status` show it."""
    return hashlib.sha256(root).hexdigest()


def grouped(digits: str) -> str:
    """A fingerprint, or other hex digits, in groups of four."""
    return " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))


def check_root(root: bytes) -> None:
    """That `root` is TUF root metadata, signed by its own threshold of keys. Raises BadSignature."""
    try:
        metadata = Metadata[Root].from_bytes(root)
        if metadata.signed.type == Root.type:
            metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
            return
    except exceptions.RepositoryError:
        pass
    raise BadSignature(
        "the server's root metadata is invalid or not signed by its own keys",
        hint="check the address; it may not be a contactsync server",
        refusal="bad-signature",
    )


class Follower:
    """Follows one server's repository. `folder` (created, 0700) keeps its metadata and last manifests.

    `fetcher` does the downloads; what it raises must be a tuf DownloadError or a ContactSyncError (the latter
    passes through). One process at a time may use a folder.
    """

    def __init__(
        self,
        folder: Path,
        base_url: str,
        fetcher: FetcherInterface,
        root: bytes,
        *,
        now: datetime | None = None,
        log: Path | None = None,
        logged: bool = True,
    ) -> None:
        """`now` is the moment at which signatures must be valid; None: when they are looked at.

        `log` is where what was seen of the log is kept (None: in `folder`); without `logged` none is asked.
        """
        self._log = LogFollower(log or folder / "log", self._of_log) if logged else None
        self._folder = folder
        self._now = now
        self._base_url = base_url.rstrip("/")
        self._fetcher = fetcher
        self._root = root
        self._updater: Updater | None = None
        self._remembered: dict[str, str] = {}
        self._seen: dict[str, Link | OurError] = {}
        self._firsts: dict[str, bytes] = {}
        self._strangers: set[str] = set()

    def refresh(self) -> None:
        """Bring the metadata up to date, once per Follower. Raises as `manifest`."""
        with errors_of_tuf():
            if self._updater is None:
                self._updater = self._refreshed()

    def manifest(self, audience: str) -> Manifest:
        """The current manifest of an audience; the metadata is refreshed once per Follower.

        Raises BadSignature (forged, expired, rolled back, not the bytes that were signed, or not the history
        seen before), BadReply (signed, but not a manifest), NetworkError, OurError (the folder).
        """
        with errors_of_tuf():
            data = self._download(f"{audience}.json")
        manifest = Manifest.from_bytes(data)
        if manifest.audience != audience:
            raise BadSignature(
                f"the signed manifest of {audience} is for another audience",
                hint=CHANGED,
                refusal="not-as-described",
            )
        with errors_of_tuf():
            self._follow(audience, Link.from_bytes(data), data)
        return manifest

    def is_first(self, audience: str) -> bool:
        """Whether there was no manifest of this audience before the one that `manifest` gave."""
        return audience in self._strangers

    def first_of_epoch(self, audience: str) -> Manifest | None:
        """Edition 1 of the current epoch, if the walk led through it and this program can read it."""
        data = self._firsts.get(audience)
        try:
            return None if data is None else Manifest.from_bytes(data)
        except BadReply:
            return None

    def unchecked(self, audience: str) -> Gap | None:
        """What could not be checked of the history up to the last manifest; None if all of it was.

        It stays until `told`, also for later Followers of the same folder.
        """
        path = self._gap(audience)
        try:
            found = json.loads(path.read_bytes())
            return Gap(Position(*found["since"]), Position(*found["until"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            seen = _last_seen(self._folder / "manifests" / path.name)
            return None if isinstance(seen, OurError) else Gap(Position(1, 1), seen.position)

    def told(self, audience: str) -> None:
        """The caller has been told of what `unchecked` returned."""
        with errors_of_tuf(), contextlib.suppress(FileNotFoundError):
            durable.remove(self._gap(audience))

    def _gap(self, audience: str) -> Path:
        return self._folder / "gaps" / f"{audience}.json"

    def _follow(self, audience: str, newest: Link, data: bytes) -> None:
        """Walk from the newest manifest back to the one seen last, then keep it as the one seen last."""
        name = f"{audience}.json"
        seen = self._seen.get(name)
        if isinstance(seen, OurError):
            seen = self._delivered_again(audience, seen)
        steps, gap, first = walk(newest, seen), None, None
        try:
            wanted = next(steps)
            for edition in itertools.count(newest.position.edition - 1, -1):
                older = self.older(audience, wanted)
                if edition == 1:
                    first = older
                wanted = steps.send(older)
        except StopIteration as end:
            gap = end.value
        if first is not None:
            self._firsts[audience] = first
        if seen is None:
            self._strangers.add(audience)
        if self._log is not None and (self._log.is_new or self._seen.get(name) != newest):
            self._log.check(newest)
        if gap is not None:
            before = self.unchecked(audience)
            since = gap.since if before is None else before.since
            ends = {"since": [since.epoch, since.edition], "until": [gap.until.epoch, gap.until.edition]}
            durable.private_folder(self._folder / "gaps")
            durable.write(self._gap(audience), json.dumps(ends).encode())
        if self._seen.get(name) != newest:
            durable.write(self._folder / "manifests" / name, data)
            self._seen[name] = newest

    def _of_log(self, path: str, most: int) -> bytes:
        return self._fetcher.download_bytes(f"{self._base_url}{LOG_PATH}{path}", most)

    def older(self, audience: str, sha256: str) -> bytes:
        """An older manifest, which the server must keep; unverified."""
        url = f"{self._base_url}{TARGETS_PATH}{sha256}.{audience}.json"
        try:
            return self._fetcher.download_bytes(url, MAX_BYTES)
        except exceptions.DownloadLengthMismatchError as error:
            raise another_history("one of its manifests exceeds the size limit") from error
        except exceptions.DownloadHTTPError as error:
            if error.status_code != 404:
                raise
            raise another_history("it lacks the manifests before the newest one") from error

    def _delivered_again(self, audience: str, damage: OurError) -> Link:
        """The manifest seen last, by the hash that is remembered of it. Raises `damage` without it."""
        sha256 = self._remembered.get(f"{audience}.json")
        if sha256 is None:
            raise damage
        try:
            data = self.older(audience, sha256)
        except BadSignature:
            raise damage from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise damage
        return Link.from_bytes(data)

    def _download(self, target: str) -> bytes:
        if self._updater is None:
            self._updater = self._refreshed()
        info = self._updater.get_targetinfo(target)
        if info is None:
            raise NetworkError(
                f"the server has published nothing for the audience {target.removesuffix('.json')} yet",
                hint="try again later, or ask the operator",
            )
        if info.length > MAX_BYTES or set(info.hashes) != {"sha256"}:
            raise BadReply(
                "the signed metadata names a manifest that exceeds the limits",
                hint=CHANGED,
                refusal="out-of-range",
            )
        with self._scratch() as scratch:
            path = scratch / "manifest"
            try:
                self._updater.download_target(info, str(path), self._base_url + TARGETS_PATH)
            except exceptions.DownloadHTTPError as error:
                if error.status_code != 404:
                    raise
                # Metadata of the version that this client has, but of other content, is not even looked at.
                raise BadSignature(
                    "the server does not have the manifest that its signed metadata named: it has gone back"
                    " to an older state, or shows this client another history",
                    hint=CHANGED,
                    refusal="withheld",
                ) from error
            return path.read_bytes()

    def _refreshed(self) -> Updater:
        """An updater after its refresh; what it has verified, were it only a part, is on the disk."""
        kept = self._folder / "metadata"
        for folder in (self._folder, kept, kept / _ROOTS, self._folder / "manifests"):
            durable.private_folder(folder)
        self._remembered = _targets_of(kept / f"{Targets.type}.json")
        self._seen = {path.name: _last_seen(path) for path in (self._folder / "manifests").glob("*.json")}
        # What is remembered of a damaged manifest must stay until a good one stands in its place.
        damaged = any(isinstance(last, OurError) for last in self._seen.values())
        with self._scratch() as scratch:
            for name in _names(kept):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(kept / name, scratch / name)
            updater = Updater(
                str(scratch),
                self._base_url + METADATA_PATH,
                fetcher=self._fetcher,
                config=_LIMITS,
                bootstrap=self._root,
            )
            if self._now is not None:  # python-tuf has no other way to say it
                updater._trusted_set.reference_time = self._now  # noqa: SLF001
            try:
                updater.refresh()
                if not _is_current(scratch, kept):
                    raise BadSignature(
                        "the server no longer has the root metadata that it served before (rolled back)",
                        hint=CHANGED,
                        refusal="rolled-back",
                    )
            finally:
                if _is_current(scratch, kept):
                    for name in _names(scratch)[: -1 if damaged else None]:
                        _keep(scratch / name, kept / name)
        if self._log is not None:
            roots = ((one, kept / _ROOTS / f"{one}.root.json") for one in _versions(kept / _ROOTS))
            self._log.follow_roots([(version, path.read_bytes()) for version, path in roots])
        return updater

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        """An empty folder for python-tuf. A killed process may have left it; nothing in it must be kept."""
        scratch = self._folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        (scratch / _ROOTS).mkdir(mode=0o700, parents=True)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def newest_root(folder: Path) -> bytes | None:
    """The newest root that was followed, of those that a Follower keeps in `folder` and that can be read."""
    roots = folder / "metadata" / _ROOTS
    for version in reversed(_versions(roots)):
        with contextlib.suppress(OSError, BadSignature):
            data = (roots / f"{version}.root.json").read_bytes()
            check_root(data)
            return data
    return None


def kept_files(folder: Path, audience: str) -> dict[str, bytes]:
    """What a Follower starts from, of the files in its folder: public metadata, by their names there."""
    names = [f"metadata/{name}" for name in _names(folder / "metadata")] + [f"manifests/{audience}.json"]
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def served_files(folder: Path) -> dict[str, bytes]:
    """The metadata that a Follower keeps, by the names under which servers have it; the timestamp last.

    Raises OSError, RepositoryError: it is damaged.
    """
    kept = folder / "metadata"
    names = [f"{version}.root.json" for version in _versions(kept / _ROOTS)]
    found = {name: (kept / _ROOTS / name).read_bytes() for name in names}
    for role in (Targets.type, Snapshot.type):
        data = (kept / f"{role}.json").read_bytes()
        version = Metadata[Any].from_bytes(data).signed.version
        found[f"{version}.{role}.json"] = data
    timestamp = f"{Timestamp.type}.json"
    return found | {timestamp: (kept / timestamp).read_bytes()}


def _versions(roots: Path) -> list[int]:
    """The versions that the files of a folder of roots have by their names."""
    found = (path.name.partition(".")[0] for path in roots.glob("*.root.json"))
    return sorted(int(version) for version in found if version.isdecimal())


def _names(folder: Path) -> list[str]:
    """The metadata files of a folder in the order in which they lead to each other."""
    roots = [f"{_ROOTS}/{version}.root.json" for version in _versions(folder / _ROOTS)]
    return [*roots, *(f"{role}.json" for role in (Timestamp.type, Snapshot.type, Targets.type))]


def _is_current(scratch: Path, kept: Path) -> bool:
    """Whether python-tuf has come to the newest root that was ever seen, by the names of those kept."""
    root = Metadata[Root].from_bytes((scratch / "root.json").read_bytes()).signed
    return root.version >= max(_versions(kept / _ROOTS), default=0)


def _keep(verified: Path, kept: Path) -> None:
    """Bring a file that python-tuf has verified to the disk, if there is one and it is new."""
    with contextlib.suppress(FileNotFoundError):
        data = verified.read_bytes()
        if not kept.exists() or kept.read_bytes() != data:
            durable.write(kept, data)


def _targets_of(path: Path) -> dict[str, str]:
    """The SHA-256 of each manifest by the targets metadata that is kept; nothing if it cannot be read."""
    try:
        signed = Metadata[Targets].from_bytes(path.read_bytes()).signed
        if signed.type != Targets.type:  # from_bytes takes any role's
            return {}
        return {name: info.hashes["sha256"] for name, info in signed.targets.items()}
    except (OSError, KeyError, exceptions.RepositoryError):
        return {}


def _last_seen(path: Path) -> Link | OurError:
    """The manifest kept, or the error to raise for it if it is damaged and nothing helps."""
    try:
        return Link.from_bytes(path.read_bytes())
    except (OSError, BadReply) as error:
        damage = OurError(
            f"the last manifest seen, stored in {path}, is damaged",
            hint="if the operator says that the server has not gone back, remove that file and sync again:"
            " the history of this audience is then followed from there on, and nothing else is lost",
        )
        damage.__cause__ = error
        return damage
