"""A witness of logs, in this process, until it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from contactsync.foundation.errors import BadInput
from contactsync.publication.log.notes import Verifier
from contactsync.server.logs import set_up_logging
from contactsync.witness.cosigner import Cosigner
from contactsync.witness.serve import listen, serve
from contactsync.witness.state import WitnessState

__all__ = ["read_logs", "run_witness", "set_up_logging", "witness_key"]


def read_logs(path: Path) -> list[str]:
    """The verifier keys in a file, one a line; # begins a comment. Raises BadInput."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise BadInput(f"cannot read {path}: {reason}", hint="give a file with a key on each line") from error
    stripped = (line.partition("#")[0].strip() for line in lines)
    return [line for line in stripped if line]


def witness_key(state: Path, name: str | None) -> str:
    """The verifier key of the witness in a folder, made if it has none yet. Raises ContactSyncError."""
    with WitnessState.opened(state, name) as opened:
        return opened.signer.verifier.vkey()


def run_witness(
    state: Path,
    name: str | None,
    logs: Iterable[str],
    where: tuple[str, int],
    on_ready: Callable[[str, str], None],
) -> None:
    """Cosign the checkpoints of the logs with these verifier keys until SIGTERM or SIGINT.

    `where` is a host and a port; `on_ready` is called with the witness's own verifier key and its URL. Raises
    ContactSyncError.
    """
    verifiers = [Verifier.parse(one) for one in logs]
    with WitnessState.opened(state, name) as opened:
        cosigner = Cosigner(opened, verifiers)
        vkey = opened.signer.verifier.vkey()
        with listen(*where) as listener:
            serve(cosigner, listener, lambda url: on_ready(vkey, url))
