"""Threads for what may block, so that the event loop never does.

A hop through `asyncio.to_thread` costs about twice as much as one through these, for it makes a context, a
future of each of two kinds and a condition; a request makes at least one hop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from contactsync.server.evaluation import Overloaded

WAITING: Final = 1024
"""Calls that may wait for a thread. What is beyond that is refused at once, and does not fill the memory."""

T = TypeVar("T")
_Call = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any] | None", Callable[..., Any], tuple[Any, ...]]


class Threads:
    """At most `count` threads, started when they are needed; they end with the process or by `close`."""

    def __init__(self, name: str, count: int) -> None:
        self._name = name
        self._count = count
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._open = 0  # calls that run or wait; counted on the event loop alone

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """What the function returns or raises, called in a thread. Raises Overloaded if too many calls wait.

        Who is cancelled while waiting does not stop the call.
        """
        if self._open >= self._count + WAITING:
            raise Overloaded
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._put((loop, future, function, arguments))
        return await future

    def send(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call the function in a thread and do not wait for it. What it raises is lost."""
        self._put((asyncio.get_running_loop(), None, function, arguments))

    def close(self) -> None:
        """End the threads, each after the call that it is in. Does not wait for them."""
        for _ in self._threads:
            self._calls.put(None)
        self._threads.clear()

    def _put(self, call: _Call) -> None:
        self._open += 1
        self._calls.put(call)
        if len(self._threads) < min(self._count, self._open):
            name = f"{self._name}-{len(self._threads)}"
            # A daemon: a store that never answers must not keep the process from ending.
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            loop, future, function, arguments = call
            result, error = None, None
            try:
                result = function(*arguments)
            except BaseException as raised:  # noqa: BLE001 - it belongs to whoever waits for it
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._settle, future, result, error)
            del call, future, function, arguments, result, error  # nothing lives on while this waits

    def _settle(self, future: asyncio.Future[Any] | None, result: Any, error: BaseException | None) -> None:
        self._open -= 1
        if future is None or future.done():  # whoever waited was cancelled
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
