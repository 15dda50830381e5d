"""An executor whose jobs are run, sealed, by the workers of a Dask cluster.

Jobs can be run again and twice at once (job.py). So whatever is lost on the way is handed in once more:
Dask does it for a worker that dies; this does it for a scheduler that restarts and forgets everything, and
for a worker that joined the cluster without the key or with another version.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection
from concurrent.futures import CancelledError, Executor, Future, InvalidStateError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from contactsync.foundation.errors import ContactSyncError, OurError
from contactsync.server.publishing.job import STILL_SERVED
from contactsync.server.publishing.remote.errand import CannotRead, Reason, open_result, seal_job
from contactsync.server.publishing.remote.worker import run_sealed
from contactsync.server.publishing.remote.worker_key import NotSealedByUs, WorkerKey

if TYPE_CHECKING:
    from distributed import Client

_LOOKED_EVERY: Final = 1.0  # seconds between two looks at who works

WHY: Final[dict[Reason, tuple[str, str]]] = {
    "no-key": (
        "has no worker key",
        "set CONTACTSYNC_WORKER_KEY there to a copy of the key file (0600), and restart the worker",
    ),
    "other-key": (
        "has another worker key",
        "copy the file of --executor-key there, and restart the worker",
    ),
    "other-version": (
        "has another version of contactsync",
        "install the same version there, and restart the worker",
    ),
}
"""What is wrong with a worker that refuses, and what to do."""

R = TypeVar("R")


@dataclass(eq=False, slots=True)
class _Errand:
    """A job that was handed in, and where Dask tells what came of it."""

    name: str
    sealed: bytes
    future: Future[Any]
    inner: Future[Any] | None = None


class ClusterExecutor(Executor):
    """Runs jobs by a connected client, which is left open. Use it as a context.

    `workers` are the addresses of those that are there now. The error of a job that cannot be run is one of
    the tree: no worker for `patience` seconds, a scheduler that does not come back, a job whose workers die.
    """

    def __init__(self, client: Client, key: WorkerKey, workers: Collection[str], patience: float) -> None:
        self._client = client
        self._inner = client.get_executor(pure=False)
        self._key = key
        self._patience = patience
        self._open: set[_Errand] = set()
        self._workers = set(workers)
        self._refusing: set[str] = set()
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._watch = threading.Thread(target=self._watch_workers, name="cluster", daemon=True)
        self._watch.start()

    def submit(self, function: Callable[..., R], /, *arguments: Any, **options: Any) -> Future[R]:
        """Hand in a job of a publish. What runs it is `run_sealed`, which knows the function by the job."""
        (job,) = arguments
        assert not options, function
        errand = _Errand(str(job), seal_job(self._key, job), Future())
        errand.future.add_done_callback(lambda _: self._over(errand))
        with self._lock:
            self._open.add(errand)
        self._hand_in(errand)
        return errand.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Give up what has not ended."""
        del wait, cancel_futures
        self._ending.set()
        with self._lock:
            left = list(self._open)
        for errand in left:
            errand.future.cancel()
        self._watch.join()

    def _hand_in(self, errand: _Errand) -> None:
        """To any worker; rather to one that has refused nothing, if it is not only those that are left."""
        preferred: dict[str, Any] = {}
        if self._refusing and (others := self._workers - self._refusing):
            preferred = {"workers": sorted(others), "allow_other_workers": True}
        errand.inner = self._inner.submit(run_sealed, errand.sealed, **preferred)
        errand.inner.add_done_callback(lambda inner: self._returned(errand, inner))

    def _over(self, errand: _Errand) -> None:
        with self._lock:
            self._open.discard(errand)
        if errand.future.cancelled() and errand.inner is not None:
            errand.inner.cancel()

    def _returned(self, errand: _Errand, inner: Future[Any]) -> None:
        if errand.future.done():  # cancelled, or given up
            return
        try:
            result = open_result(self._key, errand.sealed, inner.result())
        except CancelledError:
            # The scheduler is gone. What is handed in waits in the client until there is one again.
            if self._client.status in {"running", "connecting"}:
                self._hand_in(errand)
            else:
                self._fail(errand, "the scheduler has gone", "start it again, then publish again")
        except NotSealedByUs:
            self._fail(errand, "a result was changed on its way", "find out who can reach the scheduler")
        except ContactSyncError as error:
            _end(errand, error=error)
        except Exception as error:  # noqa: BLE001 - whatever a worker's Python or Dask may raise
            self._fail(errand, *_trouble(error))
        else:
            if isinstance(result, CannotRead):
                self._refused(errand, result)
            else:
                _end(errand, result)

    def _refused(self, errand: _Errand, refusal: CannotRead) -> None:
        """Let others do it. A worker that is put right comes back under another address."""
        self._refusing.add(refusal.address)
        if refusal.address and self._workers - self._refusing:
            self._hand_in(errand)
            return
        what, hint = WHY.get(refusal.reason, ("refuses", "look into its log"))
        self._fail(errand, f"the worker on {refusal.host} {what}", hint)

    def _fail(self, errand: _Errand, what: str, hint: str) -> None:
        kept = STILL_SERVED.partition(";")[0]
        _end(errand, error=OurError(f"{errand.name}: {what}", hint=f"{hint}; {kept}"))

    def _watch_workers(self) -> None:
        """Give up what was handed in if nobody works at it for too long."""
        idle = 0.0
        while not self._ending.wait(_LOOKED_EVERY):
            try:
                self._workers = set(self._client.nthreads())
            except Exception:  # noqa: BLE001 - the scheduler restarts: the client sees to that
                self._workers = set()
            idle = 0.0 if self._workers else idle + _LOOKED_EVERY
            if idle < self._patience:
                continue
            with self._lock:
                left = list(self._open)
            for errand in left:
                self._fail(
                    errand,
                    f"the cluster has had no worker for {self._patience:.0f} seconds",
                    "start workers, then publish again",
                )


def _end(errand: _Errand, result: object = None, *, error: ContactSyncError | None = None) -> None:
    with contextlib.suppress(InvalidStateError):  # cancelled at this moment
        if error is None:
            errand.future.set_result(result)
        else:
            errand.future.set_exception(error)


def _trouble(error: Exception) -> tuple[str, str]:
    """What an error that is none of the tree says to an operator, without its text: that may be anything."""
    kind = type(error).__name__
    if kind == "KilledWorker":
        return (
            "every worker that ran it has died",
            "mostly they had too little memory: give the workers more, or --memory less; their logs say more",
        )
    if isinstance(error, ImportError) or kind in {"PicklingError", "RuntimeError"}:
        return (
            f"scheduler or worker cannot load contactsync ({kind})",
            "install the same version on all machines of the cluster, the scheduler's too",
        )
    return f"a worker failed ({kind})", "its log says more"
