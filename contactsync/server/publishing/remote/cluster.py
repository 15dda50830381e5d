"""A Dask cluster, as the operator names it: what is checked first, and how it is reached."""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from contactsync.foundation.errors import BadInput, ContactSyncError, OurError
from contactsync.foundation.loopback import is_loopback
from contactsync.server.keyring import check_private
from contactsync.server.publishing.pools import EVALUATED_AT_ONCE, JobPool
from contactsync.server.publishing.remote.errand import CannotRead, open_result, seal_job
from contactsync.server.publishing.remote.executor import WHY, ClusterExecutor
from contactsync.server.publishing.remote.worker import NONCE, Attendance, MusterJob, run_sealed
from contactsync.server.publishing.remote.worker_key import NotSealedByUs, WorkerKey

if TYPE_CHECKING:
    from distributed import Client, Security

MUSTER: Final = ".muster"
"""The folder beside the data files in which workers show that they see it."""

TLS_FILES: Final = ("ca.pem", "cert.pem", "key.pem")
PATIENCE: Final = 60.0
"""Seconds that a scheduler may be gone, or have no worker, in the middle of a publish."""

EVALUATED_REMOTELY: Final = 2 * EVALUATED_AT_ONCE
"""Members of one evaluation: a scheduler takes as long for a job as a worker for some fifty of them."""

_PORT: Final = 8786  # of a Dask scheduler, if none is given
_REACHED_WITHIN: Final = 10.0  # seconds for a scheduler to answer, and for the first worker to be there
_EXAMPLE: Final = "such as dask://127.0.0.1:8786 or tls://scheduler.example:8786"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where its scheduler is, with which files to connect, and the key that its workers have, too.

    `tls` is a folder with `TLS_FILES`; None: no TLS, which only a scheduler of this machine may have.
    """

    host: str
    port: int
    key: WorkerKey
    tls: Path | None
    patience: float = PATIENCE

    @classmethod
    def of(cls, url: str, key_file: Path | None, tls: Path | None) -> Cluster:
        """Read what the operator gave. Raises BadInput, OurError; nothing is connected yet."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or _PORT
        except ValueError:
            host, port, parts = None, 0, urlsplit("")
        if parts.scheme not in {"dask", "tls"} or not host or parts.path.strip("/") or parts.query:
            raise BadInput(f"{url!r} names no executor", hint=_EXAMPLE)
        if key_file is None:
            raise BadInput(
                "jobs go to other machines only sealed, and there is no key for that",
                hint="`contactsync server worker-key FILE` makes one; give it with --executor-key",
            )
        if tls is None and (parts.scheme == "tls" or not is_loopback(host)):
            raise BadInput(
                f"the scheduler {host} is reached by TLS only, and there are no files for it",
                hint=f"give --executor-tls DIR, a folder with {', '.join(TLS_FILES)}",
            )
        if tls is not None:
            for name in TLS_FILES:
                if not (tls / name).is_file():
                    raise BadInput(
                        f"there is no {name} in {tls}",
                        hint=f"--executor-tls is a folder with {', '.join(TLS_FILES)}",
                    )
            check_private(tls / TLS_FILES[-1])
        try:
            import distributed  # noqa: F401, PLC0415 - an extra
        except ImportError as error:
            raise BadInput(
                "--executor needs Dask, which is not installed", hint="pip install 'contactsync[dask]'"
            ) from error
        return cls(host, port, WorkerKey.read(key_file), tls)

    @property
    def address(self) -> str:
        """As Dask writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tcp' if self.tls is None else 'tls'}://{host}:{self.port}"

    def machines(self, memory: int) -> _Machines:
        """Opens a pool on it; each build may have `memory` octets."""
        return _Machines(self, memory)


@dataclass(frozen=True, slots=True)
class _Machines:
    cluster: Cluster
    memory: int

    def __call__(self, data: Path) -> contextlib.AbstractContextManager[JobPool]:
        return _connected(self.cluster, data, self.memory)


@contextlib.contextmanager
def _connected(cluster: Cluster, data: Path, memory: int) -> Iterator[JobPool]:
    """Connect, and have every worker show that it has the key, the version and the folder `data`."""
    for name in ("client", "comm", "core"):  # what they log is said by our errors
        logging.getLogger(f"distributed.{name}").setLevel(logging.CRITICAL)
    with contextlib.closing(_client(cluster)) as client:
        threads = _threads(client)
        if not threads:
            raise OurError(
                f"the scheduler {cluster.address} has no workers",
                hint="start them with `dask worker`, then publish again (docs/operations.md)",
            )
        _muster(client, cluster.key, data, len(threads))
        at_once = sum(threads.values())
        with ClusterExecutor(client, cluster.key, threads, cluster.patience) as executor:
            yield JobPool(executor, at_once, memory * at_once, memory, EVALUATED_REMOTELY)


def _client(cluster: Cluster) -> Client:
    from distributed import Client, Security  # noqa: PLC0415 - an extra, and 0.3 s

    try:
        # Dask itself tries for as long as it is patient: whether anybody is there is known sooner.
        socket.create_connection((cluster.host, cluster.port), _REACHED_WITHIN).close()
    except OSError as error:
        raise OurError(
            f"the scheduler {cluster.address} cannot be reached: {error.strerror or error}",
            hint="start it with `dask scheduler`, or correct --executor; nothing was changed",
        ) from error
    try:
        return Client(
            cluster.address, security=_security(Security, cluster.tls), timeout=cluster.patience,
            set_as_default=False, name="contactsync-publish",
        )  # fmt: skip
    except OSError as error:
        raise OurError(
            f"at {cluster.address} no Dask scheduler answers that we can talk to",
            hint="does it use TLS, with certificates of the same CA (ca.pem)? Its log says more",
        ) from error


def _security(kind: type[Security], tls: Path | None) -> Security:
    """TLS with the operator's files and no others, or none; what Dask's own settings say does not count."""
    if tls is None:
        return kind(require_encryption=False)
    ca, cert, key = (str(tls / name) for name in TLS_FILES)
    return kind(require_encryption=True, tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key)


def _threads(client: Client) -> dict[str, int]:
    """The threads of each worker, as soon as there is one."""
    until = time.monotonic() + _REACHED_WITHIN
    while True:
        try:
            found: dict[str, int] = dict(client.nthreads())
        except Exception:  # noqa: BLE001 - of Dask's many kinds; the next try may find it
            found = {}
        if found or time.monotonic() > until:
            return found
        time.sleep(0.1)


def _muster(client: Client, key: WorkerKey, data: Path, expected: int) -> None:
    """Raise OurError unless every worker reads and writes the folder `data`."""
    folder, nonce = data.absolute() / MUSTER, secrets.token_bytes(32)
    shutil.rmtree(folder, ignore_errors=True)  # of a publish that was killed
    folder.mkdir(0o700)
    try:
        (folder / NONCE).write_bytes(nonce)
        sealed = seal_job(key, MusterJob(str(folder)))
        replies: dict[str, Any] = client.run(run_sealed, sealed, on_error="return")
        unfit = [
            (address, *trouble)
            for address, reply in sorted(replies.items())
            if not isinstance(reply, OSError)  # it has ended meanwhile
            and (trouble := _unfit(key, sealed, reply, folder, nonce)) is not None
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if unfit:
        address, what, hint = unfit[0]
        others = f", and {len(unfit) - 1} more of {expected} cannot work either" if unfit[1:] else ""
        raise OurError(f"the worker {address} {what}{others}", hint=f"{hint}; nothing was changed")


def _unfit(
    key: WorkerKey, sealed: bytes, reply: object, folder: Path, nonce: bytes
) -> tuple[str, str] | None:
    """Why a worker that replied so cannot work for us, and what to do; None if it can."""
    if not isinstance(reply, bytes):
        return (
            f"cannot load contactsync ({type(reply).__name__})",
            "install the same version there, and restart the worker",
        )
    try:
        said = open_result(key, sealed, reply)
    except (NotSealedByUs, ContactSyncError):
        return "has answered something else", "find out who can reach the scheduler"
    if isinstance(said, CannotRead):
        what, hint = WHY.get(said.reason, ("refuses", "look into its log"))
        return f"on {said.host} {what}", hint
    assert isinstance(said, Attendance)
    share = f"{folder.parent} has to be one folder on all machines, under this path, and writable"
    if said.nonce != nonce:
        why = said.trouble or "another one is there"
        return f"on {said.host} does not see the data folder ({why})", share
    if not (folder / said.wrote).exists():
        return f"on {said.host} writes to another folder", share
    return None
