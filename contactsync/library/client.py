"""The client: whom it trusts, and which contacts are members."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contactsync.client.core.planner import Options
from contactsync.client.core.round import LEAST, padded
from contactsync.client.patience import Patience
from contactsync.client.remembered import last_matches, new_identifiers
from contactsync.client.report import Match, Report
from contactsync.client.session import sync as run_sync
from contactsync.client.transcript import private_path, read_transcript
from contactsync.client.transport import Transport
from contactsync.contacts import AddressBook
from contactsync.foundation.erasure import Erased
from contactsync.foundation.errors import NotTrusted
from contactsync.foundation.progress import Progress, silent
from contactsync.foundation.route import Route
from contactsync.library.books import as_numbers, book_of_numbers
from contactsync.library.found import LastFound, last_syncs
from contactsync.library.kept import kept
from contactsync.library.second import way_to_second
from contactsync.library.state import ServerState, open_state
from contactsync.library.trusting import Introduction, introduce
from contactsync.library.watching import LogChoice
from contactsync.publication.history import Gap

__all__ = [
    "Client",
    "Gap",
    "LogChoice",
    "Match",
    "Options",
    "Patience",
    "Report",
    "Sending",
    "SyncResult",
    "private_path",
    "read_transcript",
]

_POINT = 32  # octets


@dataclass(frozen=True, slots=True)
class Sending:
    """What a sync would send: the points of new identifiers, padded, or a cover round."""

    new_identifiers: int
    points: int
    octets: int


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a sync found (`report`), and how many octets it sent and received."""

    report: Report
    sent: int
    received: int

    @property
    def matches(self) -> list[Match]:
        """The contacts who are members."""
        return self.report.matches

    @property
    def numbers(self) -> NDArray[np.uint64]:
        """The telephone numbers of the book that matched: ascending, each once, uint64[n].

        Of a match by a further form this is the number in the book.
        """
        identifiers = [match.written.encode() for match in self.report.matches]
        return np.unique(as_numbers(identifiers))


class Client:
    """Looks contacts up at servers that it trusts. What it keeps is in one folder, as for the command line.

    Several threads and processes may use one folder; a server is used by one of them at a time.
    """

    def __init__(self, state: Path | str | None = None) -> None:
        """`state` is the folder of trusted servers and tokens; None: the user's own."""
        self.state = open_state(state)

    def servers(self) -> list[str]:
        """The URLs of the trusted servers."""
        return [server.url for server in self.state.servers()]

    def introduce(
        self,
        url: str,
        *,
        fingerprint: str | None = None,
        ca_file: Path | None = None,
        proxy: str | None = None,
        allow_plain_http: bool = False,
        replace: bool = False,
        choice: LogChoice | None = None,
        second: str | None = None,
        second_ca_file: Path | None = None,
    ) -> Introduction:
        """Fetch what a server shows of itself, to be compared and then accepted. See `introduce`."""
        return introduce(
            self.state,
            url,
            fingerprint=fingerprint,
            ca_file=ca_file,
            proxy=proxy,
            allow_plain_http=allow_plain_http,
            replace=replace,
            choice=choice,
            second=second,
            second_ca_file=second_ca_file,
        )

    def trust(
        self,
        url: str,
        fingerprint: str,
        *,
        ca_file: Path | None = None,
        proxy: str | None = None,
        allow_plain_http: bool = False,
    ) -> None:
        """Pin a server that has this fingerprint. Raises BadSignature if it has another one."""
        self.introduce(
            url,
            fingerprint=fingerprint,
            ca_file=ca_file,
            proxy=proxy,
            allow_plain_http=allow_plain_http,
        ).accept()

    def forget(self, server: str | None = None) -> Erased:
        """Wipe what is kept of a server, but not the ledger of what it was told; what could not be erased.

        `server` may be left out if only one is trusted. Raises NotTrusted, OurError.
        """
        return self.state.forget(self._server(server).folder)

    def kept(self) -> dict[str, Any]:
        """What is kept about each server, as `contactsync status --json` prints it. Sends nothing."""
        return kept(self.state)

    def last_syncs(self, server: str | None = None) -> list[LastFound]:
        """What the last sync with each server, or with this one, found in each audience. Sends nothing."""
        return last_syncs(self.state, server)

    def new_identifiers(
        self, book: AddressBook, *, server: str | None = None, audience: str = "people"
    ) -> int:
        """How many identifiers, further forms included, a sync would look up for the first time.

        Sends nothing.
        """
        return new_identifiers(self._server(server), book, audience)

    def would_send(
        self, book: AddressBook, *, server: str | None = None, audience: str = "people", cover: bool = False
    ) -> Sending:
        """What a sync would send now; a server that is not trusted yet knows nothing. Sends nothing."""
        try:
            new = self.new_identifiers(book, server=server, audience=audience)
        except NotTrusted:
            new = len(book.sought)
        points = padded(new) or LEAST * cover
        return Sending(new, points, points * _POINT)

    def last_matches(
        self, book: AddressBook, *, server: str | None = None, audience: str = "people"
    ) -> frozenset[bytes]:
        """The identifiers of a book, further forms included, that the last sync found to be members.

        Sends nothing.
        """
        return last_matches(self._server(server), book, audience)

    def sync(
        self,
        book: AddressBook,
        *,
        credential: str,
        server: str | None = None,
        options: Options | None = None,
        timeout: float | None = 3600,
        proxy: str | None = None,
        transcript: Path | None = None,
        progress: Progress = silent,
        patience: Patience | None = None,
        ca_file: Path | None = None,
        keep_names: bool = True,
    ) -> SyncResult:
        """Find out which contacts of a book are members.

        `options` say what the server may learn, and what it may cost. `timeout` is in seconds, for the whole;
        `patience` replaces it for a caller whose other work shares the time. `transcript` is a new file for
        every octet sent or received; beside it comes FILE.private, which explains the points and tells as
        much as the address book does. `ca_file` goes before the authorities that are kept with the server.
        `keep_names`: the names of matches are kept for `contactsync matches`.
        Raises anything of the error tree; what was received stays, and the next sync continues there.
        """
        known, options = self._server(server), options or Options()
        with contextlib.ExitStack() as stack:
            route = Route.to(known.url, proxy=proxy, ca_file=ca_file or known.ca_file)
            recording = None
            if transcript is not None:
                from contactsync.client.recording import Recording  # noqa: PLC0415 - few syncs are recorded

                hides = {"credential": credential.encode(), "proxy password": route.proxy_secret}
                recording = stack.enter_context(
                    Recording(transcript, known.url, options, hides=hides, proxy=route.proxy_kind)
                )
            patience = patience or Patience(timeout=timeout, progress=progress)
            second = way_to_second(
                known,
                options,
                transcript=transcript,
                proxy=proxy,
                patience=patience.with_progress(progress),
            )
            if second is not None:
                stack.enter_context(contextlib.closing(second))
            transport = stack.enter_context(
                contextlib.closing(
                    Transport(
                        known.url,
                        credential=credential,
                        record=None if recording is None else recording.record,
                        closed=None if recording is None else recording.closed,
                        patience=patience,
                        route=route,
                        max_data=options.max_download,
                    )
                )
            )
            report = run_sync(
                known,
                book,
                transport,
                options,
                progress,
                keep_names=keep_names,
                recording=recording,
                second=second,
            )
        also_sent, also_received = (0, 0) if second is None else (second.sent, second.received)
        return SyncResult(report, transport.sent + also_sent, transport.received + also_received)

    async def async_sync(
        self,
        book: AddressBook,
        *,
        credential: str,
        server: str | None = None,
        options: Options | None = None,
        timeout: float | None = 3600,  # noqa: ASYNC109 - the same as `sync`
        proxy: str | None = None,
        transcript: Path | None = None,
        progress: Progress = silent,
    ) -> SyncResult:
        """The same, in a thread, so that an event loop goes on. `progress` is called in that thread.

        If the task is cancelled, the sync ends at its next step, as if the connection had broken, and only
        then CancelledError is raised: nothing goes on behind the caller's back. A request that is on its way
        is waited for, for at most the seconds that the transport waits for a reply.
        """
        import asyncio  # noqa: PLC0415 - a sync without an event loop does not need it

        cancelled = threading.Event()

        def checked(stage: str, done: int, total: int) -> None:
            if cancelled.is_set():
                raise _Cancelled
            progress(stage, done, total)

        def work() -> SyncResult:
            return self.sync(
                book,
                credential=credential,
                server=server,
                options=options,
                timeout=timeout,
                proxy=proxy,
                transcript=transcript,
                progress=checked,
            )

        thread = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(thread)
        except asyncio.CancelledError:
            cancelled.set()
            with contextlib.suppress(Exception):
                await thread
            raise

    def are_members(
        self, numbers: NDArray[np.uint64], *, credential: str, server: str | None = None, **how: object
    ) -> NDArray[np.bool_]:
        """Which of these telephone numbers, uint64[n], are members: bool[n], in their order. See `sync`."""
        result = self.sync(book_of_numbers(numbers), credential=credential, server=server, **how)  # type: ignore[arg-type]
        found: NDArray[np.bool_] = np.isin(np.asarray(numbers, np.uint64), result.numbers)
        return found

    def _server(self, url: str | None) -> ServerState:
        return self.state.server(url)


class _Cancelled(Exception):
    """The task that waits for a sync was cancelled."""
