"""`sync --watch`: the same sync again and again, until it is stopped."""

from __future__ import annotations

import contextlib
import re
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

import click

from contactsync.commands._options import Duration

JITTER: Final = 0.1
"""An interval is up to this part shorter or longer, so that not all clients come at the same time."""

OPTION: Final = "--watch"


class OptionalInterval(Duration):
    """A time of at least a minute; without one, six hours."""

    name = "interval"
    DEFAULT: Final = "6h"
    LEAST: Final = 60.0

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse it, or fail as click does."""
        seconds = super().convert(value, param, ctx)
        if seconds < self.LEAST:
            self.fail(f"{value!r} is less than a minute", param, ctx)
        return seconds


class WatchingCommand(click.Command):
    """A command whose `--watch` may stand before a FILE without taking it for its time."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse them as click does, after `--watch FILE` was made `--watch=6h FILE`."""
        end = args.index("--") if "--" in args else len(args)
        args = [
            f"{OPTION}={OptionalInterval.DEFAULT}"
            if one == OPTION and at < end and not _is_time(args[at + 1 : at + 2])
            else one
            for at, one in enumerate(args)
        ]
        return super().parse_args(ctx, args)


def _is_time(following: list[str]) -> bool:
    return bool(following) and re.fullmatch(r"\d+(\.\d+)?\s*[smhdSMHD]?", following[0]) is not None


class _Stopped(BaseException):
    """SIGTERM came. No error: it passes everything that catches those."""


def watch(interval: float, once: Callable[[bool], float]) -> None:
    """Call `once` again and again, with whether it is the first time.

    It returns how long the servers want to be left alone at least, in seconds. SIGTERM and SIGHUP end it
    wherever it is, as Ctrl-C would, but that is no error.
    """
    chance, first = secrets.SystemRandom(), True
    with contextlib.suppress(_Stopped), _stopped_by_signals():
        while True:
            least = once(first)
            first = False
            time.sleep(max(interval * chance.uniform(1 - JITTER, 1 + JITTER), least))


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    def stop(*_: object) -> None:
        for number in before:  # once is enough
            signal.signal(number, signal.SIG_IGN)
        raise _Stopped

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def now() -> str:
    """The time of day that a line begins with."""
    return f"{datetime.now().astimezone():%Y-%m-%d %H:%M}"
