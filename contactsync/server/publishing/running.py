"""Runs jobs on any `concurrent.futures.Executor`: a bounded number at once, and all or none of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from contactsync.foundation.errors import OurError
from contactsync.foundation.progress import Progress, silent
from contactsync.server.publishing.job import STILL_SERVED, read_report

_LOOKED_EVERY: Final = 0.2
"""Seconds between two looks at the reports of jobs that run."""

J = TypeVar("J")
K = TypeVar("K")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Task(Generic[J, K]):
    """A job to be run; `kept` comes back with its result without going where the job goes.

    `cost` is its share of what the tasks that run at once may take together. `report` is the file in which
    the job says how far it is, "" if it does not.
    """

    job: J
    cost: int
    kept: K
    report: str = ""


def run_all(
    executor: Executor,
    run: Callable[[J], R],
    tasks: Iterable[Task[J, K]],
    *,
    limit: int,
    work: Path | None = None,
    progress: Progress = silent,
) -> Generator[tuple[Task[J, K], R], None, None]:
    """Run the job of each task; gives tasks and results as they end.

    The tasks that are with the executor cost no more than `limit` together, or there is only one. `tasks` is
    taken from while others run, one task ahead of what there is room for.

    When a job fails, or the caller closes the iterator, the jobs that have not begun are cancelled and the
    folder `work` is removed, which ends those that run at their next report; no job runs after that.

    Raises what the first failing job raised, OurError if the executor lost one.
    """
    running: dict[Future[R], Task[J, K]] = {}
    try:
        for task in tasks:
            while running and task.cost + sum(other.cost for other in running.values()) > limit:
                yield from _ended(running, _LOOKED_EVERY, progress)
            running[_submitted(executor, run, task.job)] = task
            yield from _ended(running, 0, progress)
        while running:
            yield from _ended(running, _LOOKED_EVERY, progress)
    finally:
        if running:
            # Not all executors say of a cancelled one that it has ended, so those are not waited for.
            begun = [future for future in running if not future.cancel()]
            if work is not None:
                shutil.rmtree(work, ignore_errors=True)
            wait(begun)


def _submitted(executor: Executor, run: Callable[[J], R], job: J) -> Future[R]:
    try:
        return executor.submit(run, job)
    except BrokenExecutor as error:
        raise _lost(job) from error


def _ended(
    running: dict[Future[R], Task[J, K]], seconds: float, progress: Progress
) -> Iterator[tuple[Task[J, K], R]]:
    """Take those that have ended out of `running`, after waiting for one."""
    done, _ = wait(running, seconds, FIRST_COMPLETED)
    for future in [future for future in running if future in done]:
        task = running.pop(future)
        try:
            result = future.result()
        except (BrokenExecutor, CancelledError) as error:
            raise _lost(task.job) from error
        yield task, result
    if not done and seconds:
        oldest = next(iter(running.values()))
        if oldest.report and (said := read_report(oldest.report)) is not None:
            progress(*said)


def _lost(job: object) -> OurError:
    return OurError(f"{job}: a worker process or machine has stopped", hint=STILL_SERVED)
