"""The client's state on disk: one folder for each trusted server, everything 0600 in folders of 0700.

```
STATE/servers/HOST_PORT-HASH8/
  server.json     the URL, the fingerprint of the pinned root, the version of this folder; written last
  root.json       the pinned TUF root
  ca.pem          the TLS authorities that are accepted, if not the system's
  tuf/            TUF metadata as python-tuf keeps it
  data/           data files by their SHA-256
  cache.sqlite    tokens of identifiers, and what the last sync found
  quota.json      what the server said last of the account's budget
  lock            held while a sync runs
```

A folder without `server.json` is what a pin that was cut short left: it counts as not there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from contactsync.foundation import durable, migrations
from contactsync.foundation.errors import BadInput, NotTrusted, OurError

_AUTHORITIES = "ca.pem"
OVERWRITE_CHUNK = 1 << 20
MIGRATION_WAIT: Final = 10.0
"""Seconds that a process waits while another one brings the same folder to a newer version."""

STATE_STEPS: Final[Sequence[migrations.FolderStep]] = ()
"""Lead the folder of a server that an earlier version wrote to the one above; `cache.sqlite` has its own."""

_RECORD: Final = "server.json"


def canonical_url(url: str) -> str:
    """The one spelling under which a server is known. Raises BadInput if it is not an HTTP(S) address."""
    problem = "give an address such as https://contacts.example.org"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadInput("the server's address cannot be read", hint=problem) from error
    extra = parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in {"http", "https"} or not host or extra:
        raise BadInput("the server's address is not a plain http or https URL", hint=problem)
    if not re.fullmatch(r"[0-9A-Za-z._:-]+", host) or not re.fullmatch(r"[0-9A-Za-z._~/-]*", parts.path):
        raise BadInput("the server's address holds characters that it must not", hint=problem)
    shown = f"[{host}]" if ":" in host else host
    if port is not None and port != {"http": 80, "https": 443}[parts.scheme]:
        shown = f"{shown}:{port}"
    return f"{parts.scheme}://{shown}{parts.path.rstrip('/')}"


def is_in_clear(url: str) -> bool:
    """Whether the credential would cross a network without TLS: http to anything but this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return False
    try:
        return not ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname != "localhost"


@dataclass(frozen=True, slots=True)
class ServerState:
    """What is kept of one trusted server."""

    folder: Path
    url: str
    fingerprint: str

    @property
    def tuf(self) -> Path:
        """TUF metadata."""
        return self.folder / "tuf"

    @property
    def data(self) -> Path:
        """Data files, named by their SHA-256."""
        return self.folder / "data"

    @property
    def cache(self) -> Path:
        """The SQLite cache."""
        return self.folder / "cache.sqlite"

    @property
    def quota(self) -> Path:
        """What the server said last of the accounts' budgets."""
        return self.folder / "quota.json"

    @property
    def ledger(self) -> Path:
        """What was told the server over all syncs; `forget` leaves it."""
        return self.folder.parent.parent / "ledger" / f"{self.folder.name}.json"

    @property
    def root(self) -> bytes:
        """The pinned root, as it was confirmed. Raises OurError if it is not that any more."""
        try:
            data = (self.folder / "root.json").read_bytes()
        except OSError as error:
            raise damaged(self.url) from error
        if hashlib.sha256(data).hexdigest() != self.fingerprint:
            raise damaged(self.url)
        return data

    @property
    def ca_file(self) -> Path | None:
        """The authorities whose TLS certificates are accepted, if they are not the system's."""
        path = self.folder / _AUTHORITIES
        return path if path.exists() else None

    def remember_authorities(self, pem: bytes) -> None:
        """Accept certificates of these authorities alone from now on."""
        durable.write(self.folder / _AUTHORITIES, pem)

    def lock(self) -> AbstractContextManager[None]:
        """Hold the server's state for one process. Raises OurError if another holds it."""
        return _locked(self.folder, self.url)


class State:
    """The folder of all servers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def servers(self) -> list[ServerState]:
        """Every trusted server, by URL. Raises OurError if one's record is damaged."""
        pinned = (self._load(folder) for folder in self.folders() if (folder / _RECORD).exists())
        return sorted(pinned, key=lambda server: server.url)

    def server(self, url: str | None) -> ServerState:
        """The server of this URL; with None the only one there is.

        Raises NotTrusted if there is none, BadInput if there are several to choose from.
        """
        if url is None:
            servers = self.servers()
            if not servers:
                raise NotTrusted("no server is trusted yet", hint="run: contactsync trust URL")
            if len(servers) > 1:
                raise BadInput("several servers are trusted", hint="say which one with --server URL")
            return servers[0]
        folder = self._folder(canonical_url(url))
        if not (folder / _RECORD).exists():
            raise NotTrusted(f"{canonical_url(url)} is not trusted yet", hint=f"run: contactsync trust {url}")
        return self._load(folder)

    def pin(self, url: str, root: bytes, authorities: bytes | None = None) -> ServerState:
        """Keep a confirmed root, and TLS authorities; whatever was kept of the server before is gone.

        A server with another root is another server: its keys signed nothing of what is cached.
        """
        folder = self._folder(url)
        if folder.exists():
            self.forget(folder)
        fingerprint = hashlib.sha256(root).hexdigest()
        record = {"version": migrations.newest(STATE_STEPS), "url": url, "fingerprint": fingerprint}
        try:
            durable.private_folder(folder / "tuf")
            durable.private_folder(folder / "data")
            durable.write(folder / "root.json", root)
            if authorities is not None:
                durable.write(folder / _AUTHORITIES, authorities)
            durable.write(folder / _RECORD, json.dumps(record, indent=1).encode())
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # half a record would be a damaged one
            raise
        return ServerState(folder, url, fingerprint)

    def folders(self) -> list[Path]:
        """The folder of every server, damaged or not."""
        return sorted(path for path in (self.folder / "servers").glob("*") if path.is_dir())

    def forget(self, folder: Path) -> tuple[int, int]:
        """Wipe one of the folders; return how many files and bytes. Raises OurError if it is in use.

        It does not come back after this has returned.
        """
        with _locked(folder, folder.name):
            wiped = wipe(folder)
        durable.sync_folder(folder.parent)
        return wiped

    def folder_of(self, url: str) -> Path | None:
        """The folder of this server, damaged or not; None if there is none."""
        folder = self._folder(canonical_url(url))
        return folder if folder.exists() else None

    def _folder(self, url: str) -> Path:
        name = re.sub(r"[^0-9A-Za-z.-]+", "_", url.partition("://")[2])[:80]
        return self.folder / "servers" / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"

    def _load(self, folder: Path) -> ServerState:
        try:
            what = f"the state in {folder}"
            record = migrations.migrate_folder(
                folder, _RECORD, what, STATE_STEPS, lambda: _locked(folder, folder.name, wait=MIGRATION_WAIT)
            )
            server = ServerState(folder, str(record["url"]), str(record["fingerprint"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OurError(
                f"the record of a server in {folder} is damaged",
                hint="remove that folder and trust the server again",
            ) from error
        if self._folder(server.url) != folder:
            raise OurError(f"{folder} belongs to another server", hint="remove it and trust the server again")
        return server


@contextmanager
def _locked(folder: Path, name: str, *, wait: float = 0) -> Iterator[None]:
    end = time.monotonic() + wait
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= end:
                    raise OurError(
                        f"another contactsync works with the state of {name}",
                        hint="wait until it is done, or use another --state",
                    ) from error
            time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def damaged(url: str) -> OurError:
    """The error for a state that cannot be used any more."""
    return OurError(
        f"the state kept for {url} is damaged",
        hint=f"run: contactsync forget --server {url}; then trust the server again",
    )


def wipe(folder: Path) -> tuple[int, int]:
    """Overwrite every file below a folder with zeros, then remove all; return how many files and bytes."""
    files = size = 0
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        length = path.stat().st_size
        with path.open("r+b", buffering=0) as file:
            for offset in range(0, length, OVERWRITE_CHUNK):
                file.write(bytes(min(OVERWRITE_CHUNK, length - offset)))
            os.fsync(file.fileno())
        files += 1
        size += length
    shutil.rmtree(folder)
    return files, size
