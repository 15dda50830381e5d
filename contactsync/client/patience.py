"""How long a whole sync may take, and how long it waits for a server that is busy or breaks off.

All requests of a run share both. Otherwise each request would have its own time, and a run of a thousand
requests could wait a thousand times as long.
"""

from __future__ import annotations

import math
import time

from contactsync.foundation.errors import NetworkError
from contactsync.foundation.progress import Progress, silent

PATIENCE_SECONDS = 120.0
"""How long a run waits for one server between requests, in total."""

ATTEMPTS = 3
"""A request is given up after so many failures in a row."""

BACKOFF_SECONDS = 0.25
"""The pause after the first failure. After the second it is twice as long."""


class Patience:
    """The time of one run. `waited` is how long it has waited, in seconds.

    It may wait for `seconds`; the whole run ends after `timeout` (None: never).
    """

    def __init__(
        self,
        seconds: float = PATIENCE_SECONDS,
        *,
        timeout: float | None = None,
        progress: Progress = silent,
    ) -> None:
        self.waited = 0.0
        self._seconds = seconds
        self._end = math.inf if timeout is None else time.monotonic() + timeout
        self._progress = progress

    def with_progress(self, progress: Progress) -> Patience:
        """Another patience, for the requests to another server, that ends with the same run."""
        other = Patience(self._seconds, progress=progress)
        other._end = self._end
        return other

    def wait(self, seconds: float, why: str) -> bool:
        """Wait, and say so. Return False at once if there is not that much time left."""
        if self.waited + seconds > self._seconds or time.monotonic() + seconds > self._end:
            return False
        self.spend(seconds)
        self._progress(f"{why}; waiting {max(1, round(seconds))} s", 0, 0)
        time.sleep(seconds)
        return True

    def stop(self) -> None:
        """End the run, from another thread: its next read or request raises NetworkError."""
        self._end = -math.inf

    def spend(self, seconds: float) -> None:
        """Count time that was lost to a server that is too slow."""
        self.waited += seconds

    def left_of_run(self) -> float:
        """Seconds left of the run. Raises NetworkError if there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise NetworkError(
                "the sync took longer than --timeout allows",
                hint="run it again, or raise --timeout; what was received so far is kept",
            )
        return left

    def attempts(self) -> Attempts:
        """A count of failures, for one thing to fetch."""
        return Attempts(self)


class Attempts:
    """Counts failures in a row of one thing that is retried."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._failures = 0

    def succeeded(self) -> None:
        """There was progress: earlier failures no longer count."""
        self._failures = 0

    def failed(self, error: NetworkError) -> None:
        """Pause before the next attempt. Raises the error after the last attempt, or if no time is left."""
        self._failures += 1
        pause = BACKOFF_SECONDS * self._failures
        if self._failures == ATTEMPTS or not self._patience.wait(pause, "the connection failed"):
            raise error
