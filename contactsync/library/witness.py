"""A witness of logs on this machine: made, shown, run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from contactsync.foundation.errors import BadInput
from contactsync.publication.log.notes import Verifier
from contactsync.server.logs import set_up_logging
from contactsync.witness.cosigning import by_origin
from contactsync.witness.folder import Cosigned, Fork, WitnessFolder

__all__ = [
    "Cosigned",
    "Fork",
    "Verifier",
    "WitnessAddress",
    "WitnessFolder",
    "logs_of",
    "run_witness",
    "set_up_logging",
]


@dataclass(frozen=True, slots=True)
class WitnessAddress:
    """Where a witness listens. `tls` are the files of a certificate and its key."""

    host: str
    port: int
    tls: tuple[Path, Path] | None = None


def logs_of(vkeys: Sequence[str], files: Sequence[Path] = ()) -> Sequence[Verifier]:
    """The logs to follow: their keys, and those in files, one a line; # begins a comment. Raises BadInput."""
    found = [Verifier.parse(one) for one in vkeys]
    for file in files:
        try:
            lines = file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise BadInput(f"cannot read {file}: {reason}", hint="give a file with one key a line") from error
        for number, line in enumerate(lines, 1):
            written = line.partition("#")[0].strip()
            if not written:
                continue
            try:
                found.append(Verifier.parse(written))
            except BadInput as error:
                raise BadInput(f"{file}, line {number}: {error}", hint=error.hint) from error
    by_origin(found)
    if not found:
        raise BadInput("no log to follow", hint="give the key of each log with --log VKEY, or --logs FILE")
    return list(dict.fromkeys(found))


def run_witness(
    folder: WitnessFolder, logs: Sequence[Verifier], where: WitnessAddress, on_ready: Callable[[str], None]
) -> None:
    """Answer these logs until SIGTERM or SIGINT. `on_ready` is called with the URL once it answers.

    Raises BadInput (the certificate), CallerError (the address).
    """
    from contactsync.serving.listening import listen  # noqa: PLC0415 - `init` and `show` need no server
    from contactsync.serving.running import Entrance  # noqa: PLC0415
    from contactsync.serving.tls import Certificate  # noqa: PLC0415
    from contactsync.witness.app import serve_witness  # noqa: PLC0415

    certificate = None if where.tls is None else Certificate(*where.tls)
    with contextlib.closing(listen(where.host, where.port)) as listener:
        entrance = Entrance([listener], certificate)
        serve_witness(folder, logs, entrance, lambda: on_ready(entrance.name))
