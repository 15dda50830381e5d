"""Follows a publication as clients will, before it is switched to: what they would refuse is never served.

All files of a publication but `timestamp.json` are there before the switch, under names that nothing leads to
yet. So the clients' own follower is run over the folder with the new timestamp in the place of the old one:

- from each root that a client may still have, as one that was never here;
- as a client that has seen what is served now, which must find its history continued.

A root that has expired is not held against the publication: clients refuse what is served before it as well,
and its renewal may be the next step of the same change. Whoever publishes says so apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from contactsync.foundation.errors import ContactSyncError, OurError
from contactsync.publication.logged import policy_in
from contactsync.publication.tuf.follower import MAX_RENEWALS, Follower

_FOLDERS: Final = ("/v1/tuf/", "/v1/")  # the log is beside metadata/ and targets/
_IN_MEMORY: Final = "/dev/shm"  # noqa: S108 - what is made in it is private
_PREFIX: Final = "contactsync-rehearsal-"
_NEW_SECONDS: Final = 10  # what is younger may be somebody's who has not locked it yet
_TIMESTAMP: Final = "metadata/timestamp.json"


def check_served(public: Path, audiences: Collection[str], now: datetime) -> None:
    """Follow what is served, from the oldest root and the newest; raises what a client would raise at `now`.

    Raises OSError if the folder cannot be read.
    """
    versions = _versions(public, newest=None)
    first = _first_of_log(public)
    with _scratch() as name:
        for version in {versions[0], versions[-1]} if versions else ():
            logged = version >= first
            _follow(Path(name) / f"{version}", _Overlay(public, {}), version, audiences, now, log=logged)


@contextlib.contextmanager
def _scratch() -> Iterator[str]:
    """A folder for public metadata: in memory where that can be, because a follower waits for the disk.

    Nobody empties that memory after a kill, so what killed processes have left is removed first. Whoever uses
    a folder holds a lock on it, which ends with its process.
    """
    above = _above()
    _remove_left(above)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=above) as name, _opened(Path(name)) as folder:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield name


def _above() -> Path:
    """A folder of this user's own in memory, or the one for temporary files."""
    if os.access(_IN_MEMORY, os.W_OK):
        own = Path(_IN_MEMORY, f"contactsync-{os.geteuid()}")
        with contextlib.suppress(OSError):
            own.mkdir(mode=0o700, exist_ok=True)
            facts = own.lstat()
            if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid():
                return own
    return Path(tempfile.gettempdir())


def _remove_left(above: Path) -> None:
    with os.scandir(above) as entries:
        found = [Path(entry) for entry in entries if entry.name.startswith(_PREFIX)]
    for path in found:
        with contextlib.suppress(OSError):
            facts = path.lstat()
            if facts.st_uid == os.geteuid() and time.time() - facts.st_mtime > _NEW_SECONDS:
                with _opened(path) as folder:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield folder
    finally:
        os.close(folder)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A publication before its switch, in the folder `public`.

    `timestamp` is the new file; `newest` is the newest root's version, which is valid until `expires`. `log`:
    whether it must be in the log.
    """

    public: Path
    timestamp: bytes
    newest: int
    expires: datetime
    log: bool = True

    def run(self, audiences: Collection[str], now: datetime) -> None:
        """Follow it as clients will at `now`, with the manifests of the audiences that are given.

        Raises OurError if a client would refuse it.
        """
        moment = min(now, self.expires - timedelta(seconds=1))
        after = _Overlay(self.public, {_TIMESTAMP: self.timestamp})
        with _scratch() as name:
            scratch = Path(name)
            try:
                first = _first_of_log(self.public) if self.log else 1
                for version in _versions(self.public, self.newest):
                    logged = self.log and version >= first
                    _follow(scratch / f"root-{version}", after, version, audiences, moment, log=logged)
                self._go_on(scratch / "seen", after, audiences, moment)
            except OurError as error:  # of this machine: nothing is known of the publication
                raise OurError(
                    f"the publication could not be checked, so it was not switched to: {error}",
                    hint="make room in the temporary folder (TMPDIR), then publish again",
                ) from error
            except ContactSyncError as error:
                raise OurError(
                    f"clients would refuse this publication: {error}",
                    hint="it was not switched to, and what was served before still is; restore keys/ and"
                    " public/ from the same backup, then publish again",
                ) from error

    def _go_on(self, folder: Path, after: _Overlay, audiences: Collection[str], moment: datetime) -> None:
        """Follow what is served now, as far as clients accept it, and then what is to come."""
        before = _Overlay(self.public, {})
        for audience in sorted(audiences):
            try:
                _follow(folder / audience, before, self.newest, [audience], moment, log=self.log)
            except ContactSyncError:
                continue  # nothing is published for it, or nobody accepts it
            _follow(folder / audience, after, self.newest, [audience], moment, log=self.log)


def _versions(public: Path, newest: int | None) -> list[int]:
    """The roots that a client may have, as far as it can follow them to `newest` (None: the newest there)."""
    here = sorted(int(path.name.split(".")[0]) for path in (public / "metadata").glob("*.root.json"))
    last = here[-1] if here and newest is None else newest or 0
    return [version for version in here if version > last - MAX_RENEWALS]


def _first_of_log(public: Path) -> int:
    """The first root whose clients follow the log of the newest: those before one that ended refuse it."""
    log, first = None, 1
    for version in reversed(_versions(public, newest=None)):
        octets = (public / "metadata" / f"{version}.root.json").read_bytes()
        policy = policy_in(octets)
        if policy is not None and log not in {None, policy.log}:
            break
        log, first = log if policy is None else policy.log, version
    return first


def _follow(
    folder: Path,
    fetcher: _Overlay,
    version: int,
    audiences: Collection[str],
    moment: datetime,
    *,
    log: bool = True,
) -> None:
    """Follow a publication from a root to the manifests of some audiences. Raises what a client would."""
    root = (fetcher.public / "metadata" / f"{version}.root.json").read_bytes()
    follower = Follower(folder, "", fetcher, root, now=moment, logged=log)
    follower.refresh()
    for audience in sorted(audiences):
        follower.manifest(audience)


class _Overlay(FetcherInterface):
    """A public folder as clients see it, with some files in the place of those that are there."""

    def __init__(self, public: Path, files: Mapping[str, bytes]) -> None:
        self.public = public
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = next(url.removeprefix(prefix) for prefix in _FOLDERS if url.startswith(prefix))
        try:
            yield self._files[name] if name in self._files else (self.public / name).read_bytes()
        except FileNotFoundError:
            raise DownloadHTTPError("not found", 404) from None
