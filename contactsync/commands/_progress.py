"""How far a long task is, on the last lines of a terminal: a line for each service that is asked."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

import click

from contactsync.foundation.progress import OCTETS, Progress

REDRAWN_SECONDS: Final = 0.1
TICK_SECONDS: Final = 0.5
"""A line is redrawn after this time even if nothing came: then the rate falls, and the time left grows."""

RATED_SECONDS: Final = 1.0  # before that, a rate is not meaningful
WINDOW_SECONDS: Final = 10.0
"""The rate is that of the last seconds, so that it follows a line that becomes slower or faster."""

USUAL_COLUMNS: Final = 80
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


class Pace:
    """The progress of one stage after the other, its rate, and the time left.

    What the first call of a stage says is done was done before: it counts, but not for the rate.
    """

    def __init__(self, name: str = "") -> None:
        self._name = name
        self._stage = ""
        self._begun = 0.0
        self._done = self._total = 0
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, stage: str, done: int, total: int, now: float) -> bool:
        """So much is done at this time. Whether this is another stage than before."""
        anew = stage != self._stage
        if anew:
            self._stage, self._begun = stage, now
            self._seen.clear()
        self._done, self._total = done, total
        if not self._seen or now - self._seen[-1][0] >= REDRAWN_SECONDS:
            self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] >= WINDOW_SECONDS:
            self._seen.popleft()
        return anew

    def text(self, now: float) -> str:
        """One line: what is done of how much, how fast, and for how long still. Empty before it begins."""
        if not self._stage:
            return f"{self._name}: waiting" if self._name else ""
        done, total, amount = self._done, self._total, octets if self._stage in OCTETS else "{:,}".format
        text = f"{self._name}: {self._stage}" if self._name else self._stage
        if total:
            text = f"{text}: {done / total:.0%} of {amount(total)}"
        elif done:
            text = f"{text}: {amount(done)}"
        since, before = self._seen[0] if self._seen else (now, done)
        if now - self._begun < RATED_SECONDS or done <= before:
            return text
        rate = (done - before) / (now - since)
        each = f"{octets(rate)}/s" if self._stage in OCTETS else f"{rate:,.0f} a second"
        left = f", {duration((total - done) / rate)} left" if total else ""
        return f"{text}, {each}{left}"


class ProgressBoard(contextlib.AbstractContextManager["ProgressBoard"]):
    """A line on stderr for each name. Prints nothing unless stderr is a terminal. Threads may use it."""

    def __init__(self, names: Sequence[str] = ("",), *, quiet: bool = False) -> None:
        self._live = not quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._paces = {name: Pace(name if len(names) > 1 else "") for name in names}
        self._shown = 0.0
        self._rows = 0
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._ticker: threading.Thread | None = None

    def of(self, name: str) -> Progress:
        """What is called with the progress of the task of this name."""
        pace = self._paces[name]

        def say(stage: str, done: int, total: int) -> None:
            if not self._live:
                return
            with self._lock:
                now = time.monotonic()
                if pace.update(stage, done, total, now) or now - self._shown >= REDRAWN_SECONDS:
                    self._draw(now)

        return say

    def _draw(self, now: float) -> None:
        self._shown = now
        lines = [_cut(pace.text(now), _columns() - 1) for pace in self._paces.values()]
        up = f"\x1b[{self._rows - 1}A" if self._rows > 1 else ""
        click.echo(up + "\n".join(f"\r\x1b[K{line}" for line in lines), nl=False, err=True)
        self._rows = len(lines)
        if self._ticker is None:
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()

    def _tick(self) -> None:
        while not self._end.wait(TICK_SECONDS):
            with self._lock:
                if not self._end.is_set():
                    self._draw(time.monotonic())

    def __exit__(self, *_: object) -> None:
        """Wipe the lines."""
        with self._lock:
            self._end.set()
            if self._rows:
                wiped = "\x1b[1A\r\x1b[K" * (self._rows - 1)
                click.echo(f"\r\x1b[K{wiped}", nl=False, err=True)
        if self._ticker is not None:
            self._ticker.join()


class ProgressLine(contextlib.AbstractContextManager["ProgressLine"]):
    """A board of one line: called with a stage, what is done, and the total (0: unknown)."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._board = ProgressBoard(quiet=quiet)
        self._say = self._board.of("")

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show it."""
        self._say(stage, done, total)

    def __exit__(self, *exception: object) -> None:
        """Wipe the line."""
        self._board.__exit__(*exception)


def octets(count: float) -> str:
    """A number of bytes with its unit (powers of ten) and three digits: `1.24 MB`."""
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    digits = 0 if unit == 0 or count >= 99.95 else 1 if count >= 9.995 else 2
    return f"{count:.{digits}f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """A time in the two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or USUAL_COLUMNS
    except (OSError, ValueError, AttributeError):
        return USUAL_COLUMNS


def _cut(line: str, columns: int) -> str:
    """At most so many columns: a line that wrapped could not be wiped."""
    return line if len(line) <= columns else line[: max(columns - 1, 0)] + "…"
