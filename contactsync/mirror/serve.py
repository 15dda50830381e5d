"""Runs a mirror: opens what it served last, looks once if that is nothing, then answers and looks again."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from contactsync.client.state import ServerState
from contactsync.mirror.app import MirrorApp
from contactsync.mirror.folder import MirrorFolder
from contactsync.mirror.keeping import Connect, MirrorKeeper
from contactsync.server.http.cross_origin import CrossOrigin
from contactsync.server.http.problems import overload
from contactsync.serving.limits import Forwarded, Limits, raise_file_limit
from contactsync.serving.running import Entrance, run

CONNECTIONS_A_CALLER: Final = 32
"""Connections of one address, if it is not on this machine; requests at a time of one behind a proxy."""


def serve_mirror(
    folder: MirrorFolder,
    server: ServerState,
    connect: Connect,
    entrance: Entrance,
    on_ready: Callable[[], None],
    *,
    every: float,
    origins: Collection[str] = (),
) -> None:
    """Mirror a publication until SIGTERM or SIGINT; `on_ready` is called once requests are answered.

    It is looked at every so many seconds. Pages of `origins` may read replies.

    Raises ContactSyncError if there is nothing to serve: nothing is kept, and the first look has failed; if
    another process uses the folder.
    """
    with server.lock():
        raise_file_limit()
        keeper = MirrorKeeper(folder, server, connect)
        keeper.load()
        if not keeper.editions:
            keeper.look()
        limits = Limits(per_address=CONNECTIONS_A_CALLER, trusted=entrance.trusted)
        app = MirrorApp(folder, keeper, every, entrance.trusted).asgi
        if limits.trusted:
            app = Forwarded(app, limits, overload().response())
        if origins:
            app = CrossOrigin(app, origins)
        run(app, entrance, on_ready, limits)
