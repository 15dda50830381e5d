"""Keeps worker processes: starts them, starts them again, exchanges all of them, ends them.

All workers accept from the same listening sockets, which stay open as long as the supervisor lives: no
connection that waits there is lost, whichever worker ends. A worker is a program of its own, not a fork: so a
reload brings what an update has installed, and `server.toml`, keys and certificate as they are now.
"""

from __future__ import annotations

import contextlib
import json
import logging
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry

from contactsync.foundation.errors import ContactSyncError, OurError
from contactsync.server.http.added import AddedFigures, Snapshot, add, counts_of, serve_metrics
from contactsync.serving.systemd import Notify

Start = Callable[[int, socket.socket], "subprocess.Popen[bytes]"]
"""Starts worker number so and so, with its end of the channel as stdin."""

Order = Callable[[int], bytes]
"""The line with the orders of a worker."""

SILENT_SECONDS: Final = 60.0
"""A worker that gives no sign of life for so long is killed."""

RETIRE_SECONDS: Final = 120.0
"""Old workers may take so long for their last requests after a reload; then they are told to stop."""

_STOP_SECONDS: Final = 15.0  # after SIGTERM, until SIGKILL
_TICK: Final = 0.5
_FIRST_PAUSE: Final = 0.1  # between the end of a worker and the start of the next one
_LONGEST_PAUSE: Final = {True: 1.0, False: 30.0}  # by whether it ever answered requests
_WAS_WELL: Final = 5.0  # a worker that lived so long did not fail at its start
_ASK_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 1.0

log = logging.getLogger("contactsync.server")


class _Worker:
    """One process, as its supervisor sees it."""

    def __init__(self, number: int, generation: int, start: Start, orders: bytes) -> None:
        self.number = number
        self.generation = generation
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = start(number, theirs)
        with contextlib.suppress(OSError):  # it has ended already
            ours.sendall(orders)
        ours.setblocking(False)
        self.channel = ours
        self.started = self.heard = time.monotonic()
        self.is_ready = False
        self.end: float | None = None  # by when it must have ended
        self.is_told = False  # to stop
        self.figures: Snapshot = []
        self.asked = 0.0
        self.answered = 0.0
        self.has_more = True  # in the channel, perhaps
        self._line = b""

    def read(self) -> bool:
        """Take what it has said; False at the end of the channel."""
        try:
            data = self.channel.recv(1 << 18)
        except BlockingIOError:
            self.has_more = False
            return True
        except OSError:
            return False
        self.has_more = bool(data)
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            self.heard = time.monotonic()
            self.is_ready = self.is_ready or "ready" in said
            if "figures" in said:
                self.figures, self.answered = said["figures"], self.asked
        return bool(data)

    def say(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # it has ended, or reads nothing: then it is killed
            self.channel.send(word + b"\n")

    def retire(self) -> None:
        self.say(b"retire")
        self.end = time.monotonic() + RETIRE_SECONDS

    def stop(self) -> None:
        self.is_told = True
        self.process.terminate()
        self.end = time.monotonic() + _STOP_SECONDS


class Supervisor:
    """So many workers of one service."""

    def __init__(
        self, count: int, start: Start, order: Order, notify: Notify, check: Callable[[], object]
    ) -> None:
        """`check` raises ContactSyncError if a reload would fail, whatever the workers do."""
        self._count = count
        self._start = start
        self._order = order
        self._notify = notify
        self._check = check
        self._workers: list[_Worker] = []
        self._ended: Snapshot = []
        self._generation = 0
        self._coming: int | None = None  # the generation that is being started
        self._failures = 0
        self._due: dict[int, float] = {}  # by number: when a worker is to be started again
        self._signals: set[int] = set()
        self._selector = selectors.DefaultSelector()
        self._told = threading.Condition()
        self._next_ask = self._next_life = 0.0

    def run(self, on_ready: Callable[[], None]) -> None:
        """Keep the workers until SIGTERM or SIGINT. `on_ready` is called when all of them answer.

        Raises OurError if one of them ends before that.
        """
        with self._signalled():
            for number in range(self._count):
                self._begin(number)
            try:
                while not all(one.is_ready for one in self._workers):
                    self._turn()
                    if self._stops() or len(self._workers) < self._count:
                        break
                else:
                    on_ready()
                    self._notify.ready()
                if len(self._workers) < self._count and not self._stops():
                    raise OurError("a worker ended at its start", hint="it has said why, above")
                while not self._stops():
                    self._turn()
                    self._look_after()
            finally:
                self._end_all()

    def serve_metrics(self, port: int) -> None:
        """Answer readers of the figures. Raises CallerError if the port cannot be used."""
        registry = CollectorRegistry()
        registry.register(AddedFigures(self.figures))
        log.info("metrics are at %s", serve_metrics(port, registry))

    def figures(self) -> Snapshot:
        """The figures of all workers together. Called by other threads."""
        with self._told:
            asked = time.monotonic()
            self._ask(asked)
            self._told.wait_for(
                lambda: all(one.answered >= asked for one in self._current()), timeout=_ANSWER_SECONDS
            )
            everybody = sorted(self._workers, key=lambda one: (-one.generation, one.number))
            return add([one.figures for one in everybody if one.figures], self._ended)

    # Signals

    @contextlib.contextmanager
    def _signalled(self) -> Iterator[None]:
        wake, woken = socket.socketpair()
        for one in (wake, woken):
            one.setblocking(False)
        before = signal.set_wakeup_fd(woken.fileno())
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        handlers = {number: signal.signal(number, lambda n, _: self._signals.add(n)) for number in numbers}
        self._selector.register(wake, selectors.EVENT_READ)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self._selector.unregister(wake)
            wake.close()
            woken.close()
            self._selector.close()

    def _stops(self) -> bool:
        return not self._signals.isdisjoint({signal.SIGTERM, signal.SIGINT})

    # Workers

    def _begin(self, number: int) -> None:
        worker = _Worker(number, self._generation, self._start, self._order(number))
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)
        self._workers.append(worker)

    def _current(self) -> list[_Worker]:
        return [one for one in self._workers if one.is_ready and one.end is None]

    def _turn(self) -> None:
        """Wait for something, and take note of what workers say, and of those that have ended."""
        for key, _ in self._selector.select(_TICK):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    key.fileobj.recv(1024)  # type: ignore[union-attr]
                continue
            with self._told:
                if not key.data.read():
                    self._selector.unregister(key.fileobj)
                self._told.notify_all()
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.process.poll() is not None:
                self._bury(worker)
            elif worker.end is not None and now >= worker.end:
                worker.stop() if not worker.is_told else worker.process.kill()
            elif now >= worker.heard + SILENT_SECONDS:
                log.error("worker %d gives no sign of life: it is killed", worker.number)
                worker.process.kill()
        if self._notify.watchdog is not None and now >= self._next_life:
            self._next_life = now + self._notify.watchdog
            self._notify.alive()

    def _bury(self, worker: _Worker) -> None:
        with self._told:
            while worker.read() and worker.has_more:
                pass
            self._workers.remove(worker)
            self._ended = counts_of(add([self._ended], counts_of(worker.figures)))
            self._told.notify_all()
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(worker.channel)
        worker.channel.close()
        if worker.end is not None or self._stops():
            return
        code = worker.process.returncode
        if self._coming == worker.generation:
            log.error("a new worker ended with code %d at its start: the old workers stay", code)
            self._give_up()
            return
        lived = time.monotonic() - worker.started
        self._failures = 0 if lived >= _WAS_WELL else self._failures + 1
        doubled = min(max(self._failures - self._count, 0), 20)
        pause = min(_FIRST_PAUSE * 2**doubled, _LONGEST_PAUSE[worker.is_ready])
        log.error("worker %d ended with code %d: it is started again in %.1f s", worker.number, code, pause)
        self._due[worker.number] = time.monotonic() + pause

    def _look_after(self) -> None:
        now = time.monotonic()
        for number, due in list(self._due.items()):
            if now >= due and self._coming is None:
                del self._due[number]
                self._begin(number)
        if now >= self._next_ask:
            self._next_ask = now + _ASK_SECONDS
            with self._told:
                self._ask(now)
        if self._coming is None and signal.SIGHUP in self._signals:
            self._signals.discard(signal.SIGHUP)
            self._reload()
        elif self._coming is not None:
            coming = [one for one in self._workers if one.generation == self._coming]
            if all(one.is_ready for one in coming):
                self._take_over()

    def _ask(self, now: float) -> None:
        for worker in self._workers:
            if worker.is_ready:
                worker.asked = now
                worker.say(b"figures")

    # Reload

    def _reload(self) -> None:
        """Start new workers beside the old ones."""
        self._notify.reloading()
        try:
            self._check()
        except ContactSyncError as error:
            log.error("not reloaded, the old workers stay: %s", error)  # noqa: TRY400
            self._notify.ready()
            return
        self._due.clear()
        self._generation += 1
        self._coming = self._generation
        for number in range(self._count):
            self._begin(number)

    def _take_over(self) -> None:
        """The new workers answer: the old ones finish what they have."""
        self._coming = None
        self._failures = 0
        for worker in self._workers:
            if worker.generation < self._generation and worker.end is None:
                worker.retire()
        log.info("reloaded: %d new workers", self._count)
        self._notify.ready()

    def _give_up(self) -> None:
        failed, self._coming = self._coming, None
        for worker in self._workers:
            if worker.generation == failed:
                worker.stop()
        alive = {one.number for one in self._workers if one.end is None}
        now = time.monotonic()
        self._due = {number: now for number in range(self._count) if number not in alive}
        self._notify.ready()

    def _end_all(self) -> None:
        self._notify.stopping()
        for worker in self._workers:
            worker.stop()
        while self._workers:
            self._turn()
