"""Publishing at intervals: `publish --every`, and the process that `serve --publish-every` keeps for it.

The process that faces the internet never opens the members' database. So `serve` starts another one, which
gets the passphrase through a pipe, and ends when the pipe does: however `serve` ends, SIGKILL included.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

import click

from contactsync.foundation.errors import ContactSyncError

SIGNED_EVERY: Final = 3600.0
"""Seconds after which it publishes even if no member has changed: signatures are renewed, too."""

_AGAIN: Final = 30.0  # seconds until a process that has ended is started again
_PATIENCE: Final = (
    20.0  # seconds that a running publish gets when `serve` ends; then it is killed, without harm
)

_LEVELS: Final = {"error": logging.ERROR, "warning": logging.WARNING}

_log = logging.getLogger("contactsync.publishing")


class Stop:
    """Waits, until a signal (SIGTERM, SIGINT) or the end of `attached`, a pipe to whoever started this."""

    def __init__(self, attached: int | None = None) -> None:
        self._attached = attached
        self._wake, self._woken = os.pipe()
        self._is_set = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        self._is_set = True
        os.write(self._woken, b"!")

    def within(self, seconds: float) -> bool:
        """Wait so long; whether it is time to stop."""
        watched = [self._wake, *([] if self._attached is None else [self._attached])]
        ready = select.select(watched, [], [], 0 if self._is_set else seconds)[0]
        return self._is_set or bool(ready)


def publish_every(
    seconds: float, publish: Callable[[], None], has_changed: Callable[[], bool], stop: Stop
) -> None:
    """Publish now and at intervals, until it is to stop. A publish that runs is finished.

    An error ends it only if it is the first publish; later ones are reported, and tried again.
    """
    last = -SIGNED_EVERY
    has_published = False
    while True:
        try:
            if has_changed() or time.monotonic() - last >= SIGNED_EVERY:
                publish()
                last = time.monotonic()
                has_published = True
        except ContactSyncError as error:
            if not has_published:
                raise
            click.echo(f"error: {error}; trying again in {seconds:,.0f} seconds", err=True)
        sys.stdout.flush()
        if stop.within(seconds):
            return


@contextlib.contextmanager
def publishing_beside(data: Path, every: float | None, passphrase: bytes | None) -> Iterator[None]:
    """Keep a process that publishes at intervals, as long as the block runs. None: there is none."""
    if every is None:
        yield
        return
    ending = threading.Event()
    keeper = threading.Thread(
        target=_keep, args=(data, every, passphrase, ending), name="publishing", daemon=True
    )
    keeper.start()
    try:
        yield
    finally:
        ending.set()
        keeper.join()


def _keep(data: Path, every: float, passphrase: bytes | None, ending: threading.Event) -> None:
    while not ending.is_set():
        with _started(data, every, passphrase) as process:
            while process.poll() is None and not ending.wait(0.2):
                pass
            if ending.is_set():
                _end(process)
                return
        _log.error("the process that publishes has ended with code %s: starting it again", process.returncode)
        ending.wait(min(every, _AGAIN))


@contextlib.contextmanager
def _started(data: Path, every: float, passphrase: bytes | None) -> Iterator[subprocess.Popen[bytes]]:
    package = Path(__file__).parents[3]
    paths = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "contactsync", "server", "publish", "--data", str(data.absolute())]
    as_json = os.environ.get("CONTACTSYNC_LOG_FORMAT") == "json"
    process = subprocess.Popen(  # noqa: S603 - our own program
        [*command, "--every", f"{every:.3f}", "--attached"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if as_json else sys.stderr.fileno(),
        stderr=subprocess.STDOUT if as_json else None,
        env=os.environ | {"PYTHONPATH": paths},
        start_new_session=True,  # a Ctrl-C at the terminal is for `serve`, which ends this one
    )
    assert process.stdin is not None
    if process.stdout is not None:
        threading.Thread(target=_relay, args=(process.stdout,), name="publishing log", daemon=True).start()
    with process.stdin as pipe:
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            pipe.write((passphrase or b"") + b"\n")
            pipe.flush()
        yield process


def _relay(lines: IO[bytes]) -> None:
    """Log what the process prints, where each line of the log has to be an object."""
    with lines:
        for line in lines:
            text = line.decode("utf-8", "replace").strip()
            level = _LEVELS.get(text.partition(":")[0], logging.INFO)
            _log.log(level, "%s", text)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def passphrase_from_pipe(descriptor: int) -> bytes | None:
    """The first line of a pipe that stays open, octet by octet: nothing more is taken from it."""
    line = b""
    while (octet := os.read(descriptor, 1)) not in (b"", b"\n"):
        line += octet
    return line or None
