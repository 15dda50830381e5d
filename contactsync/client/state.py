"""The client's state on disk: one folder for each trusted server, everything 0600 in folders of 0700.

```
STATE/servers/HOST_PORT-HASH8/
  server.json     the URL, the fingerprint of the pinned root, the version of this folder; written last. Also
                  the URL of a second server, if one is trusted for private look-up
  root.json       the pinned TUF root
  ca.pem          the TLS authorities that are accepted, if not the system's
  second.pem      the same of the second server
  tuf/            TUF metadata as python-tuf keeps it
  log/            what was seen of the server's log, and whose witness counts (`publication.logged`)
  data/           data files by their SHA-256
  cache.sqlite    tokens of identifiers, and what the last sync found
  quota.json      what the server said last of the account's budget
  moves.json      when this client moves to the next epoch
  rows.json       the table of rows that was looked up last (`client.last_table`)
  results.json    when the last sync was, and whom it found by name (`client.results`)
  lock            held while a sync runs
STATE/books/    the cards of CardDAV accounts (`carddav.store`)
STATE/marks/    undo lists: which cards `sync --mark` has changed (`marking.undo`)
STATE/ledger/HOST_PORT-HASH8.json   what bucket lists told the server (`client.ledger`); `forget` leaves it
```

A folder without `server.json` is what a pin or a `forget` that was cut short left: it counts as not there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import urlsplit

from contactsync.foundation import durable, erasure, migrations
from contactsync.foundation.errors import BadInput, BadSignature, NotTrusted, OurError
from contactsync.foundation.loopback import is_loopback

_AUTHORITIES = "ca.pem"
_SECOND_AUTHORITIES = "second.pem"
MIGRATION_WAIT: Final = 10.0
"""Seconds that a process waits while another one brings the same folder to a newer version."""

STATE_STEPS: Final[Sequence[migrations.FolderStep]] = ()
"""Lead the folder of a server that an earlier version wrote to the one above; `cache.sqlite` has its own."""

PARTS: Final = {
    "contacts": ("cache.sqlite", "cache.sqlite-journal", "results.json", "rows.json"),
    "files": ("data",),
}
"""What can be forgotten alone of a server that stays trusted: a sync has it again, at its price."""

_RECORD: Final = "server.json"
_ROOT: Final = "root.json"
_LOCK: Final = "lock"
_SCRATCH_OF_TUF: Final = re.compile(r"tmp[a-z0-9_]{8}")
"""What python-tuf writes first; at one time it worked beside the files that are kept."""

_TRUST_AGAIN: Final = (
    "run: contactsync trust URL --replace, and compare the fingerprint; contacts are then looked up again"
)


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
        raise BadInput("the server's address contains characters that are not allowed", hint=problem)
    shown = f"[{host}]" if ":" in host else host
    if port is not None and port != {"http": 80, "https": 443}[parts.scheme]:
        shown = f"{shown}:{port}"
    return f"{parts.scheme}://{shown}{parts.path.rstrip('/')}"


def is_in_clear(url: str) -> bool:
    """Whether the credential would cross a network without TLS: http to anything but this machine."""
    parts = urlsplit(url)
    return parts.scheme != "https" and not is_loopback(parts.hostname or "")


@dataclass(frozen=True, slots=True)
class ServerState:
    """What is kept of one trusted server."""

    folder: Path
    url: str
    fingerprint: str
    own_authorities: bool = False
    """Whether TLS certificates of other authorities than the system's are accepted, and of those alone."""
    second: str | None = None
    """The URL of a mirror that is trusted not to tell this server what it is asked, and the other way."""
    second_authorities: bool = False
    """Whether the mirror's TLS certificate has authorities of its own."""

    @property
    def tuf(self) -> Path:
        """TUF metadata."""
        return self.folder / "tuf"

    @property
    def log(self) -> Path:
        """What was seen of the server's log."""
        return self.folder / "log"

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
    def moves(self) -> Path:
        """When this client moves to the next epoch of an audience."""
        return self.folder / "moves.json"

    @property
    def rows(self) -> Path:
        """The table of rows that was looked up last."""
        return self.folder / "rows.json"

    @property
    def results(self) -> Path:
        """What the last sync found, by name."""
        return self.folder / "results.json"

    @property
    def ledger(self) -> Path:
        """What was told the server over all syncs; `forget` leaves it."""
        return self.folder.parent.parent / "ledger" / f"{self.folder.name}.json"

    @property
    def root(self) -> bytes:
        """The pinned root, as it was confirmed. Raises OurError if it is nowhere any more."""
        followed = (self.tuf / "metadata" / "root_history").glob("*.root.json")  # it is the first of these
        for path in (self.folder / _ROOT, *followed):
            with suppress(OSError):
                data = path.read_bytes()
                if hashlib.sha256(data).hexdigest() == self.fingerprint:
                    return data
        raise OurError(
            f"the root stored for {self.url} is damaged",
            hint=f"run: contactsync trust {self.url}; it fetches the root of the same fingerprint again",
        )

    def restore_root(self, root: bytes) -> None:
        """Keep the pinned root again, which is damaged. Raises BadSignature if it is another one."""
        if hashlib.sha256(root).hexdigest() != self.fingerprint:
            raise BadSignature(f"this is not the root with which {self.url} was trusted")
        durable.write(self.folder / _ROOT, root)

    @property
    def ca_file(self) -> Path | None:
        """The authorities whose TLS certificates are accepted, if they are not the system's.

        Raises OurError if they are gone: the system's would take their place unnoticed.
        """
        path = self.folder / _AUTHORITIES
        return path if path.exists() else self._lost(path, "--ca-file") if self.own_authorities else None

    @property
    def second_ca_file(self) -> Path | None:
        """The same of the second server."""
        path = self.folder / _SECOND_AUTHORITIES
        if not self.second_authorities or path.exists():
            return path if self.second_authorities else None
        return self._lost(path, f"--second {self.second} --second-ca-file")

    def _lost(self, path: Path, options: str) -> NoReturn:
        raise OurError(
            f"the certificate authorities stored for {self.url} are missing ({path})",
            hint=f"give them again: contactsync trust {self.url} {options} FILE",
        )

    def remember_authorities(self, pem: bytes) -> None:
        """Accept certificates of these authorities alone from now on."""
        durable.write(self.folder / _AUTHORITIES, pem)
        self._add_to_record({"own_authorities": True})

    def remember_second(self, url: str | None, authorities: bytes | None = None) -> None:
        """Trust a second server for private look-up from now on; None: none any more."""
        if authorities is not None:
            durable.write(self.folder / _SECOND_AUTHORITIES, authorities)
        self._add_to_record({"second": url, "second_authorities": authorities is not None})

    def _add_to_record(self, members: dict[str, object]) -> None:
        record = json.loads((self.folder / _RECORD).read_bytes()) | members
        durable.write(self.folder / _RECORD, json.dumps(record, indent=1).encode())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the server's state for one process, without what a killed one left there.

        Raises OurError if another holds it.
        """
        with _locked(self.folder, self.url):
            self._sweep()
            durable.private_folder(self.data)  # `forget --only files` takes it away
            yield

    def _sweep(self) -> None:
        """Remove scratch files. Unfinished data files stay: a sync continues them, or removes them."""
        durable.remove_abandoned(self.ledger.parent, of=self.ledger.name, erase=True)
        for name, _, files in os.walk(self.folder):
            folder = Path(name)
            durable.remove_abandoned(folder, erase=True)
            if folder.is_relative_to(self.tuf):
                for file in filter(_SCRATCH_OF_TUF.fullmatch, files):
                    (folder / file).unlink(missing_ok=True)


class State:
    """The folder of all servers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def books(self) -> Path:
        """Where the cards of CardDAV accounts are kept."""
        return self.folder / "books"

    @property
    def marks(self) -> Path:
        """Where the undo lists of marked cards are kept."""
        return self.folder / "marks"

    def servers(self) -> list[ServerState]:
        """Every trusted server, by URL. Raises OurError if one's record is damaged."""
        pinned = (self.load(folder) for folder in self.folders() if is_pinned(folder))
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
        if not is_pinned(folder):
            raise NotTrusted(f"{canonical_url(url)} is not trusted yet", hint=f"run: contactsync trust {url}")
        return self.load(folder)

    def pin(self, url: str, root: bytes, authorities: bytes | None = None) -> ServerState:
        """Keep a confirmed root, and TLS authorities; whatever was kept of the server before is gone.

        A server with another root is another server: its keys signed nothing of what is cached.
        """
        folder = self._folder(url)
        fingerprint = hashlib.sha256(root).hexdigest()
        record: dict[str, object] = {
            "version": migrations.newest(STATE_STEPS),
            "url": url,
            "fingerprint": fingerprint,
        }
        if authorities is not None:
            record["own_authorities"] = True
        durable.private_folder(folder)
        with _locked(folder, url):
            for one in _erase_all(folder).remains:
                raise OurError(
                    f"earlier data of {url} cannot be erased: {one.path}: {one.reason}",
                    hint=f"fix that, then run: contactsync forget --server {url}",
                )
            try:
                durable.private_folder(folder / "tuf")
                durable.private_folder(folder / "data")
                durable.write(folder / _ROOT, root)
                if authorities is not None:
                    durable.write(folder / _AUTHORITIES, authorities)
                durable.write(folder / _RECORD, json.dumps(record, indent=1).encode())
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)  # half a record would be a damaged one
                raise
        return ServerState(folder, url, fingerprint, authorities is not None)

    def folders(self) -> list[Path]:
        """The folder of every server, damaged or not. Raises OSError if they cannot be listed."""
        return self._paths("servers", os.DirEntry.is_dir)

    def ledgers(self) -> list[Path]:
        """The ledger of every server, also of those that were forgotten. Raises OSError as `folders` does."""
        return self._paths("ledger", lambda entry: entry.name.endswith(".json"))

    def ledger(self, name: str) -> Path:
        """Where the ledger of a server of this name is kept."""
        return self.folder / "ledger" / f"{name}.json"

    def name(self, url: str) -> str:
        """The name under which all of a server is kept."""
        return self._folder(canonical_url(url)).name

    def forget(self, folder: Path) -> erasure.Erased:
        """Wipe one of the folders, as far as that is possible. Raises OurError if it is in use.

        From the first moment it counts as not there. What was erased does not come back after this.
        """
        if folder.is_symlink():
            return erasure.erase(folder)
        with suppress(OSError):
            folder.chmod(durable.PRIVATE_FOLDER)
        with _locked(folder, folder.name, strictly=False):
            erased = _erase_all(folder)
            if not erased.remains:
                erased.add(erasure.erase(folder))  # the lock, and the folder
        return erased

    def forget_part(self, folder: Path, part: str) -> erasure.Erased:
        """Wipe one of PARTS alone; the server stays trusted. Raises OurError if it is in use."""
        erased = erasure.Erased()
        with _locked(folder, folder.name):
            for name in PARTS[part]:
                durable.remove_abandoned(folder, of=name, erase=True)
                erased.add(erasure.erase(folder / name))
        return erased

    def forget_ledger(self, name: str) -> erasure.Erased:
        """Wipe the ledger of a server."""
        path = self.ledger(name)
        durable.remove_abandoned(path.parent, of=path.name, erase=True)
        return erasure.erase(path)

    def _paths(self, below: str, which: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
        try:
            with os.scandir(self.folder / below) as entries:
                return sorted(Path(entry.path) for entry in entries if which(entry))
        except FileNotFoundError:
            return []

    def _folder(self, url: str) -> Path:
        name = re.sub(r"[^0-9A-Za-z.-]+", "_", url.partition("://")[2])[:80]
        return self.folder / "servers" / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"

    def load(self, folder: Path) -> ServerState:
        """The server that is pinned in a folder. Raises OurError if its record is damaged, or is newer."""
        try:
            what = f"the state in {folder}"
            record = migrations.migrate_folder(
                folder, _RECORD, what, STATE_STEPS, lambda: _locked(folder, folder.name, wait=MIGRATION_WAIT)
            )
            server = ServerState(
                folder,
                str(record["url"]),
                str(record["fingerprint"]),
                record.get("own_authorities") is True,
                None if record.get("second") is None else canonical_url(str(record["second"])),
                record.get("second_authorities") is True,
            )
            is_here = self._folder(server.url) == folder
        except (OSError, ValueError, KeyError, TypeError, RecursionError, BadInput) as error:
            raise OurError(f"the record of a server in {folder} is damaged", hint=_TRUST_AGAIN) from error
        if not is_here:
            raise OurError(f"{folder} belongs to another server", hint=_TRUST_AGAIN)
        return server


def is_pinned(folder: Path) -> bool:
    """Whether there is a record in a server's folder, be it unreadable. Zeros of one are what a wipe left."""
    record = folder / _RECORD
    try:
        return record.exists() and not (record.stat().st_size and erasure.is_blank(record))
    except OSError:
        return True


def _erase_all(folder: Path) -> erasure.Erased:
    """Erase everything in a folder but its lock, beginning with what makes it count."""
    with suppress(OSError):  # if it stays, it is reported
        durable.rename(folder / _RECORD, folder / "forgotten.json")
    return erasure.erase(folder, spare=frozenset({folder / _LOCK}))


@contextmanager
def _locked(folder: Path, name: str, *, wait: float = 0, strictly: bool = True) -> Iterator[None]:
    """Hold the lock of a folder. One that cannot be opened is not held by anybody, unless `strictly`."""
    end = time.monotonic() + wait
    try:
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError as error:
        raise _gone(name) from error
    except OSError:
        if strictly:
            raise
        yield
        return
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= end:
                    raise OurError(
                        f"another contactsync process is using the state of {name}",
                        hint="wait until it ends, or use another --state",
                    ) from error
            time.sleep(0.05)
        if os.fstat(handle).st_nlink == 0:  # who held it until now has removed it
            raise _gone(name)
        yield
    finally:
        os.close(handle)


def _gone(name: str) -> NotTrusted:
    return NotTrusted(f"{name} is no longer trusted", hint="run: contactsync trust URL")


def damaged(url: str) -> OurError:
    """The error for a cache that cannot be used any more."""
    return OurError(
        f"the stored contact data for {url} is damaged",
        hint=f"run: contactsync forget --only contacts --server {url}; the next sync then looks every contact"
        " up again, which tells the server how many there are, and the ledger of bucket lists counts on",
    )
