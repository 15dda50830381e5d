"""Where the jobs of a publish run: how many at once, and how much memory each may have."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

EVALUATED_AT_ONCE: Final = 1 << 12
"""Members of one evaluation: so many points stay in a processor's cache."""


@dataclass(frozen=True, slots=True)
class JobPool:
    """An `executor` for about `at_once` jobs.

    The builds among them may use `memory` octets together, each of them `most`. An evaluation is of
    `evaluated` members: of more where it costs much to pass one on.
    """

    executor: Executor
    at_once: int
    memory: int
    most: int
    evaluated: int = EVALUATED_AT_ONCE


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
