"""A mirror on this machine: its folder, whom it mirrors, run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from contactsync.client.patience import Patience
from contactsync.client.state import ServerState
from contactsync.client.transport import Transport
from contactsync.client.trust import read_fingerprint
from contactsync.foundation.errors import BadInput, NotTrusted
from contactsync.foundation.route import Route
from contactsync.library.fingerprints import grouped, root_fingerprint
from contactsync.library.trusting import Introduction, introduce
from contactsync.mirror.folder import MirrorFolder
from contactsync.publication.tuf.follower import MAX_ROOT_BYTES, check_root
from contactsync.server.logs import set_up_logging
from contactsync.server.origins import check_origin

__all__ = [
    "Introduction",
    "Mirror",
    "MirrorFolder",
    "Mirroring",
    "meet",
    "open_mirror",
    "root_in",
    "run_mirror",
    "set_up_logging",
]


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirror whose server is pinned."""

    folder: MirrorFolder
    server: ServerState


@dataclass(frozen=True, slots=True)
class Mirroring:
    """How a mirror is to be run.

    `where` is a host and a port; `tls` are the files of a certificate and its key; `trusted` are proxies, by
    address or network. `credential` gives that of the account whose files are fetched, anew for each look.
    """

    where: tuple[str, int]
    credential: Callable[[], str]
    every: float
    tls: tuple[Path, Path] | None = None
    trusted: Sequence[str] = ()
    proxy: str | None = None
    origins: Sequence[str] = ()
    """Of pages that may read replies."""


def root_in(file: Path) -> str:
    """The fingerprint of the root metadata in a file. Raises BadInput, BadSignature."""
    try:
        with file.open("rb") as stream:
            root = stream.read(MAX_ROOT_BYTES + 1)
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}", hint="give a root.json") from error
    check_root(root)
    return root_fingerprint(root)


def open_mirror(
    folder: MirrorFolder, fingerprint: str | None = None, ca_file: Path | None = None
) -> Mirror | None:
    """The mirror, if its server is pinned; None if it is not yet. Authorities are remembered.

    Raises BadInput if it is pinned with a root of another fingerprint, OurError (the folder).
    """
    try:
        server = folder.state.server(folder.url)
    except NotTrusted:
        return None
    if fingerprint is not None and read_fingerprint(fingerprint) != server.fingerprint:
        raise BadInput(
            f"{folder.path} was begun with another root, {grouped(server.fingerprint)}",
            hint="ask the operator which one is right; to begin anew, give another --data",
        )
    if ca_file is not None:
        Route.to(folder.url, ca_file=ca_file)
        server.remember_authorities(ca_file.read_bytes())
        server = folder.state.server(folder.url)
    return Mirror(folder, server)


def meet(
    folder: MirrorFolder,
    *,
    fingerprint: str | None,
    ca_file: Path | None = None,
    proxy: str | None = None,
    allow_plain_http: bool = False,
) -> Introduction:
    """What the server shows of itself; `accept` pins it. Raises as `introduce`."""
    return introduce(
        folder.state,
        folder.url,
        fingerprint=fingerprint,
        ca_file=ca_file,
        proxy=proxy,
        allow_plain_http=allow_plain_http,
    )


def run_mirror(mirror: Mirror, how: Mirroring, on_ready: Callable[[str], None]) -> None:
    """Mirror until SIGTERM or SIGINT. `on_ready` is called with the URL once requests are answered.

    Raises ContactSyncError.
    """
    from contactsync.mirror.keeping import of_disk  # noqa: PLC0415
    from contactsync.mirror.serve import serve_mirror  # noqa: PLC0415 - it loads what computes
    from contactsync.serving.limits import networks  # noqa: PLC0415
    from contactsync.serving.listening import listen  # noqa: PLC0415
    from contactsync.serving.running import Entrance  # noqa: PLC0415
    from contactsync.serving.tls import Certificate  # noqa: PLC0415

    server, url = mirror.server, mirror.folder.url

    def connect(patience: Patience) -> Transport:
        route = Route.to(url, proxy=how.proxy, ca_file=server.ca_file)
        return Transport(url, credential=how.credential(), patience=patience, route=route)

    how.credential()
    for origin in how.origins:
        check_origin(origin)
    trusted = networks(how.trusted)
    certificate = None if how.tls is None else Certificate(*how.tls)
    with contextlib.closing(listen(*how.where)) as listener:
        entrance = Entrance([listener], certificate, trusted)
        try:
            serve_mirror(
                mirror.folder,
                server,
                connect,
                entrance,
                lambda: on_ready(entrance.name),
                every=how.every,
                origins=how.origins,
            )
        except OSError as error:
            raise of_disk(error, mirror.folder.path) from error
