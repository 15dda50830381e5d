"""Waits for a database that works, and not for one that stands still.

A server whose machine is paused, or whose disk hangs, keeps its connections: the kernel acknowledges what is
sent, keep-alives of TCP included, and no answer comes. A statement may take long, too. So after some seconds
of silence the database is asked something else, on a new connection: the statement is given up only if that
is not answered either. All connections of a store share what one of them has found.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import psycopg

SILENT: Final = "it does not answer"

PAUSE: Final = 1.0
"""Seconds after a failed attempt to connect in which no other one is made."""

T = TypeVar("T")


class Outage:
    """Whether the database of a store is known not to answer. For all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: float | None = None
        self._not_before = 0.0
        self._is_tried = False

    def began_after(self, moment: float) -> bool:
        """Whether it began after a moment of the monotonic clock, and lasts."""
        began = self._began
        return began is not None and began > moment

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Around an attempt to connect: while the outage lasts, one thread tries and others fail at once.

        Raises psycopg.OperationalError if this is not the moment for an attempt.
        """
        with self._lock:
            lasts = self._began is not None
            if lasts and (self._is_tried or time.monotonic() < self._not_before):
                raise psycopg.OperationalError(SILENT)
            self._is_tried = lasts
        try:
            yield
        except psycopg.Error:
            self.note()
            raise
        else:
            self._began = None
        finally:
            self._is_tried = self._is_tried and not lasts

    def note(self) -> None:
        """It does not answer."""
        with self._lock:
            now = time.monotonic()
            self._began = now if self._began is None else self._began
            self._not_before = now + PAUSE


@dataclass(frozen=True, slots=True)
class SilenceBound:
    """After so many seconds of silence `ask` is called, and raises psycopg.Error if there is no hope.

    `most` is for how many seconds one statement is waited for in any case; None: as long as it takes.
    """

    silence: float
    ask: Callable[[], object]
    outage: Outage
    most: float | None = None

    def wait(self, silent_since: float, began: float) -> bool:
        """Whether it was asked. Raises psycopg.Error: give it up."""
        now = time.monotonic()
        if now < silent_since + self.silence:
            return False
        if self.outage.began_after(began) or (self.most is not None and now >= began + self.most):
            raise psycopg.OperationalError(SILENT)
        self.ask()
        return True


class PatientConnection(psycopg.Connection[tuple[Any, ...]]):
    """Raises OperationalError, and is closed, when the database does not answer any more."""

    patience: SilenceBound | None = None

    def wait(self, gen: Generator[Any, Any, T], *options: Any, **named: Any) -> T:
        """Carry out what libpq does in steps. Here all that is sent and received goes through."""
        patience = self.patience
        steps = gen if patience is None else self._guarded(gen, patience)
        return super().wait(steps, *options, **named)

    def _guarded(self, gen: Generator[Any, Any, T], patience: SilenceBound) -> Generator[Any, Any, T]:
        began = heard = time.monotonic()
        ready = None
        while True:
            try:
                step = gen.send(ready)
            except StopIteration as end:
                value: T = end.value
                return value
            ready = yield step
            if ready:  # there was something to read, or room to write
                heard = time.monotonic()
                continue
            try:
                if patience.wait(heard, began):
                    heard = time.monotonic()
            except psycopg.Error:
                patience.outage.note()
                self.close()
                raise psycopg.OperationalError(SILENT) from None
