"""Runs the server: its figures, its evaluator, and the application. What is said of uvicorn holds for any."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from contactsync.foundation.errors import OurError
from contactsync.server import memory
from contactsync.server.evaluation import Evaluator
from contactsync.server.http.app import App
from contactsync.server.http.attached import Attachment
from contactsync.server.http.cross_origin import CrossOrigin
from contactsync.server.http.direct import DirectProtocol
from contactsync.server.http.metrics import Metrics
from contactsync.server.http.page import Page
from contactsync.server.http.problems import overload
from contactsync.server.http.rows_served import RowsServed, published_rows
from contactsync.server.keyring import Keyring
from contactsync.server.lookups import LookupRoom
from contactsync.server.page import ROOT_FILE, PageSettings
from contactsync.server.row_files import in_service
from contactsync.server.settings import DataFolder, Settings
from contactsync.server.storage.files import PublicFolder
from contactsync.server.storage.ports import AccountStore
from contactsync.serving.limits import Forwarded, Limits, raise_file_limit
from contactsync.serving.running import Entrance, run

STORE_WAIT = 5.0  # seconds that another process may hold the accounts before requests are answered with 503

LOOKUPS_OF_AN_ACCOUNT = 2  # batches that one account may have waiting in a process

log = logging.getLogger("contactsync.server")


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """What one of several workers does of the work of all."""

    number: int = 0
    workers: int = 1
    channel: socket.socket | None = None

    @property
    def has_chores(self) -> bool:
        """Whether it signs what expires and forgets what is over: one of the workers does."""
        return self.number == 0

    def threads(self, wanted: int) -> int:
        """Its evaluator threads, if all workers together have so many; 0 means one for each processor."""
        whole, rest = divmod(wanted or os.cpu_count() or 1, self.workers)
        return max(whole + (self.number < rest), 1)


def serve(
    folder: DataFolder,
    accounts: AccountStore,
    keyring: Keyring,
    entrance: Entrance,
    on_ready: Callable[[str], None],
    *,
    metrics_port: int | None = None,
    origins: Sequence[str] = (),
    has_page: bool = False,
    redirects: bool = False,
    private_lookup: bool = False,
    share: WorkerShare = WorkerShare(),
) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish the running ones.

    `on_ready` is called with the URL once requests are answered. On `metrics_port` there are figures for
    Prometheus; None: nowhere. Pages of `origins`, and of those in the settings, may read replies. `has_page`,
    or the settings: people get a page at `/`. `redirects` sends clients to the object store for data files.
    `private_lookup` answers private look-ups, from the rows of the newest editions that have some.
    Raises CallerError if a port cannot be used.
    """
    settings = folder.settings()
    memory.give_back_what_is_free()
    raise_file_limit()
    metrics = Metrics(folder, accounts, settings.breakers)
    if metrics_port is not None:
        log.info("metrics are at %s", metrics.serve(metrics_port))
    evaluator = Evaluator(share.threads(settings.evaluator_threads), settings.evaluator_queue)
    evaluator.warm_up()
    metrics.watch(evaluator)
    public = PublicFolder(folder.public)
    rows = _rows(folder, public, settings) if private_lookup else None
    if rows is not None:
        metrics.watch_lookups(rows)
    made = App(
        folder,
        accounts,
        public,
        keyring,
        evaluator,
        metrics=metrics,
        page=_page(settings.page, public) if has_page or settings.page.is_served else None,
        has_chores=share.has_chores,
        redirects=redirects,
        rows=rows,
    )
    limits = Limits(
        settings.head_seconds,
        settings.idle_seconds,
        settings.stall_seconds,
        settings.connections_per_address,
        entrance.trusted,
    )
    app = made.asgi
    if limits.trusted and limits.per_address:
        app = Forwarded(app, limits, overload().response())
    if allowed := {*settings.web_origins, *origins}:
        app = CrossOrigin(app, allowed)
    protocol = partial(DirectProtocol, made.direct)
    memory.settle()
    attachment = None if share.channel is None else Attachment(share.channel, metrics.snapshot)
    run(app, entrance, lambda: on_ready(entrance.name), limits, protocol=protocol, attachment=attachment)


def _rows(folder: DataFolder, public: PublicFolder, settings: Settings) -> RowsServed:
    room = LookupRoom(settings.lookup_megabytes << 20, a_client=LOOKUPS_OF_AN_ACCOUNT)
    room.warm_up()
    return RowsServed(
        room, partial(published_rows, folder, public), public.stamp, partial(in_service, folder.data)
    )


def _page(settings: PageSettings, public: PublicFolder) -> Page:
    root = public.metadata(ROOT_FILE)
    if root is None:
        raise OurError(f"{ROOT_FILE} is missing, and the page needs it", hint="restore the folder `public`")
    return Page(settings, root)
