"""A data folder without a command; a real server on it, with a clock that is handed in; who asks it."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import urllib3
import uvicorn
from numpy.typing import NDArray

from contactsync.publication.tuf.repository import Repository
from contactsync.server.evaluation import Evaluator
from contactsync.server.http.app import App
from contactsync.server.keyring import Keyring
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.quota import Terms, system_clock
from contactsync.server.settings import DataFolder
from contactsync.server.storage.files import PublicFolder
from contactsync.server.storage.ports import Members, NewAccount
from contactsync.server.storage.sqlite.accounts import SqliteAccounts
from contactsync.server.storage.sqlite.members import SqliteMembers

AUDIENCE = "people"
START_SECONDS = 60


class Clock:
    """Milliseconds since 1970, which stand still until they are set."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        """The time."""
        return self.now


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is the reply of a batch, `problem` what was said instead, `wait` its Retry-After in seconds."""

    status: int
    body: bytes
    problem: dict[str, Any]
    wait: int


@dataclass(frozen=True, slots=True)
class Made:
    """A data folder that was set up without a command, and its stores, which whoever has it closes."""

    folder: DataFolder
    keyring: Keyring
    registry: SqliteMembers
    accounts: SqliteAccounts
    repository: Repository

    def publish(self, numbers: NDArray[np.uint64]) -> None:
        """Add members with these numbers, ascending and distinct, and publish them."""
        self.registry.add(Members("tel", numbers), AUDIENCE)
        Publisher(self.folder, self.registry, self.keyring).publish()


def make_folder(path: Path, clock: Callable[[], int] = system_clock) -> Made:
    """What `server init` leaves."""
    folder = DataFolder(path)
    folder.create()
    keyring = Keyring.create(folder.keys, None)
    registry = SqliteMembers.create(folder.registry)
    accounts = SqliteAccounts.create(folder.accounts, clock=clock)
    repository, signers = Repository(folder.public), keyring.signers()
    keys = {role: signer.public_key for role, signer in signers.items()}
    repository.create(keys, signers["root"], datetime.now(UTC))
    folder.finish()
    return Made(folder, keyring, registry, accounts, repository)


class Service:
    """One edition with some members, accounts that may have any terms, and the server.

    `settings` replace those of server.toml. Everything is real, but the clock and the evaluator that are
    given may not be.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], int],
        evaluator: Evaluator,
        *,
        numbers: Sequence[int] = (4915100000000,),
        settings: Mapping[str, int] | None = None,
    ) -> None:
        made = make_folder(path, clock)
        self.folder, self.accounts = made.folder, made.accounts
        file = self.folder.settings_file
        for name, value in (settings or {}).items():
            text, found = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", file.read_text())
            assert found == 1, name
            file.write_text(text)
        made.publish(np.unique(np.array(numbers, np.uint64)))
        made.registry.close()
        self.manifest = made.repository.current(AUDIENCE)
        self.app = App(
            self.folder, self.accounts, PublicFolder(self.folder.public), made.keyring, evaluator, clock=clock
        )
        config = uvicorn.Config(
            self.app.asgi, http="h11", access_log=False, log_config=None, ws="none", lifespan="on"
        )
        self._server = uvicorn.Server(config)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._http = urllib3.PoolManager(maxsize=64, retries=False, timeout=START_SECONDS)

    def __enter__(self) -> Self:
        self._thread.start()
        self._http.request("GET", f"{self.url}/v1/health")  # the socket listens: it waits for the start
        return self

    def __exit__(self, *_error: object) -> None:
        self._http.clear()
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()
        self.accounts.close()

    def add(self, names: Sequence[str], terms: Terms | None = None) -> None:
        """Accounts, whose credentials are made of their names."""
        given = terms or Terms()
        self.accounts.add_all([NewAccount(name, AUDIENCE, _credential(name), given) for name in names])

    def ask(self, name: str, batch: bytes) -> Answer:
        """Send a batch over the socket."""
        reply = self._http.request(
            "POST",
            f"{self.url}/v1/evaluate/{AUDIENCE}/{self.manifest.epoch}",
            headers={
                "Authorization": f"Bearer {_credential(name)}",
                "Content-Type": "application/octet-stream",
            },
            body=batch,
        )
        refused = reply.status != 200
        problem = json.loads(reply.data) if refused else {}
        return Answer(reply.status, reply.data, problem, int(reply.headers.get("retry-after", "0")))


def _credential(name: str) -> str:
    return f"cs_{name}"
