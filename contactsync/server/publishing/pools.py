"""Where the jobs of a publish run: how many at once, and how much memory each may have."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class JobPool:
    """An `executor` for about `at_once` jobs.

    The builds among them may use `memory` octets together, each of them `most`.
    """

    executor: Executor
    at_once: int
    memory: int
    most: int


Machines = Callable[[Path], contextlib.AbstractContextManager[JobPool]]
"""Opens a pool on other machines, for the folder of data files. May raise BadInput, OurError."""


@contextlib.contextmanager
def here(executor: Executor | None, at_once: int, memory: int) -> Iterator[JobPool]:
    """A pool on this machine: an executor, which is left open, or (None) threads of this process."""
    if executor is not None:
        yield JobPool(executor, at_once, memory, memory)
        return
    with ThreadPoolExecutor(at_once, "publishing") as threads:
        yield JobPool(threads, at_once, memory, memory)
