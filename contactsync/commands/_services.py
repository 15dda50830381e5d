"""The servers that a sync asks: which, with what settings, and all of them at once.

A setting is that of the command line, else of the server's table in the configuration, else of the whole
file, else the default. What goes wrong with one server is its own outcome: the others are asked all the same.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from contactsync.commands._configuration import ConfiguredServer
from contactsync.commands._credentials import CredentialFile
from contactsync.foundation.errors import BadInput, ContactSyncError

if TYPE_CHECKING:  # these import numpy and an HTTP library
    from contactsync.commands._configuration import Configuration
    from contactsync.commands._credentials import CredentialPlace
    from contactsync.commands._progress import ProgressBoard
    from contactsync.library.books import AddressBook
    from contactsync.library.client import Patience, Report
    from contactsync.library.state import ServerState, State

WORST: Final = (5, 1, 6, 3, 7, 8, 4, 0)
"""Exit codes of several servers, the worst first: the command's is the first of them that occurs."""

_STOP_SECONDS: Final = 3.0
"""How long an interrupted run waits for its threads. The state bears that they are killed."""


@dataclass(frozen=True, slots=True)
class Service:
    """A server to ask. Without a `url` it is the only one that is trusted."""

    name: str
    url: str | None
    credential: CredentialPlace | None
    ca_file: Path | None
    settings: Mapping[str, Any]


@dataclass(slots=True)
class ServiceOutcome:
    """What came of asking a service: a report or an error; the bytes of all messages; if it was the first."""

    service: Service
    url: str = ""
    report: Report | None = None
    error: ContactSyncError | None = None
    sent: int = 0
    received: int = 0
    is_first: bool = False


class Given:
    """What the command line says, and what stands in for what it does not say."""

    def __init__(self, context: click.Context, configuration: Configuration) -> None:
        self._context = context
        self.configuration = configuration

    def says(self, name: str) -> bool:
        """Whether an option is on the command line."""
        return self._context.get_parameter_source(name) is ParameterSource.COMMANDLINE

    def settings(self, server: ConfiguredServer | None) -> dict[str, Any]:
        """Every setting that one server is asked with."""
        given = self._context.params
        settings = {**self.configuration.settings, **(server.settings if server is not None else {})}
        return given | {name: one for name, one in settings.items() if not self.says(name)}

    def services(self, urls: Sequence[str]) -> list[Service]:
        """The chosen servers: those with these addresses or names; else all in the file; else the only one.

        Raises BadInput for a name that is nowhere, and if one credential would go to several servers.
        """
        servers: list[ConfiguredServer | None]
        if urls:
            servers = [self._server(one) for one in dict.fromkeys(urls)]
        elif self.configuration.servers:
            servers = list(self.configuration.servers.values())
        else:
            servers = [None]
        given: Path | None = self._context.params["credential_file"]
        if given is not None and len(servers) > 1 and self.says("credential_file"):
            raise BadInput(
                "one credential is given for several servers: each would be told it",
                hint="choose one with --server, or name a credential for each in the configuration",
            )
        found = []
        for server in servers:
            credential = None if server is None else server.credential
            if given is not None and (self.says("credential_file") or (not credential and len(servers) == 1)):
                credential = CredentialFile(given)
            found.append(
                Service(
                    name="" if server is None else server.name,
                    url=None if server is None else server.url,
                    credential=credential,
                    ca_file=None if server is None else server.ca_file,
                    settings=self.settings(server),
                )
            )
        return found

    def _server(self, name: str) -> ConfiguredServer:
        from contactsync.library.state import canonical_url

        servers = self.configuration.servers
        if name in servers:
            return servers[name]
        url = canonical_url(self.configuration.url_of(name))
        for one in servers.values():
            if one.url == url:
                return one
        return ConfiguredServer(url.partition("://")[2], url)


@dataclass(slots=True)
class Run:
    """A sync with several servers at once; of one alone it is all the same, in this thread."""

    state: State
    book: AddressBook
    board: ProgressBoard
    keep_names: bool
    transcript: Path | None = None
    _patience: list[Patience] = field(default_factory=list)

    def all(self, services: Sequence[Service]) -> list[ServiceOutcome]:
        """The outcome of each, in the same order. Errors outside of the error tree are raised."""
        outcomes = [ServiceOutcome(one, one.url or "") for one in services]
        ready: dict[str, list[Callable[[], None]]] = {}
        for one in outcomes:  # here, not in the threads: a command for the credential may ask somebody
            with _caught(one):
                server, credential = self._prepare(one.service)
                one.url, one.is_first = server.url, not server.results.exists()
                task = self._task(one, server, credential)
                ready.setdefault(server.url, []).append(task)  # one after the other: they share its state
        if len(ready) == 1:
            for task in next(iter(ready.values())):
                task()
        elif ready:
            self._at_once(list(ready.values()))
        return outcomes

    def _prepare(self, service: Service) -> tuple[ServerState, str]:
        server = self.state.server(service.url)
        if service.credential is None:
            raise BadInput(
                "no credential given",
                hint="give --credential-file FILE, or set CONTACTSYNC_CREDENTIAL_FILE, or name one in the "
                "configuration (`contactsync config init`)",
            )
        return server, service.credential.read()

    def _task(self, outcome: ServiceOutcome, server: ServerState, credential: str) -> Callable[[], None]:
        from contactsync.library.client import Patience

        progress = self.board.of(outcome.service.name)
        patience = Patience(timeout=outcome.service.settings["timeout"], progress=progress)
        self._patience.append(patience)

        def task() -> None:
            with _caught(outcome):
                self._sync(outcome, server, credential, patience)

        return task

    def _sync(
        self, outcome: ServiceOutcome, server: ServerState, credential: str, patience: Patience
    ) -> None:
        from contactsync.library.client import Client, Options

        of, service = outcome.service.settings, outcome.service
        names = ("audience", "privacy", "partitions", "max_download", "buckets", "leak_budget", "cover")
        result = Client(self.state.folder).sync(
            self.book,
            credential=credential,
            server=server.url,
            options=Options(**{name: of[name] for name in names}, labels=of["labels"] == "yes"),
            proxy=of["proxy"],
            transcript=self.transcript,
            progress=self.board.of(service.name),
            patience=patience,
            ca_file=service.ca_file,
            keep_names=self.keep_names,
        )
        outcome.report, outcome.sent, outcome.received = result.report, result.sent, result.received

    def _at_once(self, queues: Sequence[Sequence[Callable[[], None]]]) -> None:
        """Work through all queues, a thread for each. When this thread is interrupted, the others end."""
        raised: list[BaseException] = []

        def work(queue: Sequence[Callable[[], None]]) -> None:
            try:
                for task in queue:
                    task()
            except BaseException as error:  # noqa: BLE001 - it is raised below
                raised.append(error)

        threads = [threading.Thread(target=work, args=(queue,), daemon=True) for queue in queues]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:
            self._stop(threads)
            raise
        if raised:
            raise raised[0]

    def _stop(self, threads: Sequence[threading.Thread]) -> None:
        for patience in self._patience:
            patience.stop()
        for thread in threads:
            if thread.ident is not None:  # it was started
                thread.join(_STOP_SECONDS)


@contextlib.contextmanager
def _caught(outcome: ServiceOutcome) -> Any:
    """What goes wrong in the block is the outcome."""
    try:
        yield
    except ContactSyncError as error:
        outcome.error = error


def exit_code(outcomes: Sequence[ServiceOutcome]) -> int:
    """The worst of all."""
    codes = {0 if one.error is None else one.error.exit_code for one in outcomes}
    return next(code for code in WORST if code in codes)
