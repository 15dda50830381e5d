"""An operator with a data folder, as `server init` leaves it, and a real server process on one."""

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from contactsync.commands import main
from contactsync.publication.log.policy import LogPolicy
from contactsync.publication.tuf.repository import Repository
from contactsync.server.keyring import Keyring
from contactsync.server.publishing.merge import Outcome
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.settings import DataFolder
from contactsync.server.storage.ports import Members
from contactsync.server.storage.sqlite.accounts import SqliteAccounts
from contactsync.server.storage.sqlite.members import SqliteMembers
from contactsync.server.witnessed.keeper import LogKeeper

GERMAN = 4915100000000
AMERICAN = 12125550100


def numbers(*values: int) -> Members:
    return Members("tel", np.array(sorted(values), np.uint64))


def command(*words: str, data: Path) -> list[str]:
    """`contactsync server …` as a process."""
    return [sys.executable, "-m", "contactsync", "server", *words, "--data", str(data)]


def run(*words: str, data: Path) -> str:
    """`contactsync server …` in this process; what it printed."""
    done = CliRunner().invoke(main, ["server", *words, "--data", str(data)])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def ask(port: int, method: str, path: str, body: Any = None, **fields: str) -> tuple[Any, bytes]:
    """One request on a connection of its own: the reply and its body. Of a field `_` stands for `-`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    connection.request(method, path, body=body, headers=headers)
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    return reply, data


class FolderFetcher(FetcherInterface):
    """The public folder as a client sees it, without a socket."""

    def __init__(self, public: Path) -> None:
        self.public = public

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.partition("/v1/")[2].removeprefix("tuf/")
        try:
            yield (self.public / name).read_bytes()
        except FileNotFoundError:
            raise DownloadHTTPError("not found", 404) from None


class Operator:
    """What an operator does, without the command line."""

    def __init__(self, path: Path, *, now: datetime | None = None, log: bool = False) -> None:
        self.folder = DataFolder(path)
        self.folder.create()
        self.keyring = Keyring.create(self.folder.keys, None)
        self.registry = SqliteMembers.create(self.folder.registry)
        self.accounts = SqliteAccounts.create(self.folder.accounts)
        self.log = LogKeeper(self.folder, self.keyring)
        self.repository = Repository(self.folder.public, self.log)
        signers = self.keyring.signers()
        keys = {role: signer.public_key for role, signer in signers.items()}
        policy = LogPolicy(self.keyring.new_log_key()).to_value() if log else None
        self.repository.create(keys, signers["root"], now or datetime.now(UTC), policy)
        self.folder.finish()

    def add(self, *values: int, audience: str = "people") -> int:
        return self.registry.add(numbers(*values), audience).new

    def close(self) -> None:
        self.registry.close()
        self.accounts.close()

    def publish(self, *, new_epoch: bool = False, **options) -> list[Outcome]:
        publisher = Publisher(self.folder, self.registry, self.keyring, **options)
        return publisher.publish(new_epoch=new_epoch)

    def manifest(self, audience: str = "people"):
        return self.repository.current(audience)

    def data_files(self) -> set[str]:
        return {path.name for path in self.folder.data.iterdir()}

    def public_files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder.public)): path.read_bytes()
            for path in self.folder.public.rglob("*")
            if path.is_file()
        }


class Process:
    """`contactsync server serve` on a free port. `program` is what Python runs; `log` names its log.

    `url` and `port` are known once it is `ready`, which is waited for.
    """

    def __init__(
        self,
        data: Path,
        *options: str,
        program: Sequence[str] = ("-m", "contactsync"),
        log: str = "serve.log",
        ready: bool = True,
    ) -> None:
        command = [sys.executable, *program, "server", "serve", "--data", str(data), "--port", "0"]
        self.log = data.parent / log
        with self.log.open("wb") as stderr:
            self.popen = subprocess.Popen(
                [*command, *options], stdout=subprocess.PIPE, stderr=stderr, text=True, env=dict(os.environ)
            )
        if not ready:
            return
        line = self.popen.stdout.readline()
        found = re.fullmatch(r"listening on (http://127\.0\.0\.1:(\d+))\n", line)
        assert found, (line, self.log.read_text())
        self.url, self.port = found[1], int(found[2])

    def __enter__(self):
        return self

    def __exit__(self, *_error) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        self.popen.stdout.close()

    def stop(self) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(20)
