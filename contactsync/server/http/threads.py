"""Threads for calls that may block, so that the event loop never blocks.

`asyncio.to_thread` costs about twice as much, because it makes a context, a future of each of two kinds and a
condition. A request makes at least one such call.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from contactsync.server.admission import Overloaded

WAITING: Final = 1024
"""How many calls may wait for a thread. Further calls are refused at once, so that memory stays bounded."""

T = TypeVar("T")
_Call = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any] | None", Callable[..., Any], tuple[Any, ...]]


async def result_of(future: concurrent.futures.Future[T]) -> T:
    """Wait for a future of another thread on the event loop. It is cancelled if the caller is.

    `asyncio.wrap_future` would leave a cycle that keeps the result until the next collection of garbage.
    """
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)

    def tell(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: no one waits for the result
            loop.call_soon_threadsafe(wake)

    future.add_done_callback(tell)
    try:
        await waiter
    except asyncio.CancelledError:
        future.cancel()
        raise
    return future.result()


class Threads:
    """At most `count` threads, started when needed. They end with the process, or by `close`."""

    def __init__(self, name: str, count: int) -> None:
        self._name = name
        self._count = count
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._open = 0  # calls that run or wait; counted on the event loop alone

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call the function in a thread, and return its result. Raises Overloaded if too many calls wait.

        If the caller is cancelled, the call still runs to its end.
        """
        if self._open >= self._count + WAITING:
            raise Overloaded
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._put((loop, future, function, arguments))
        return await future

    def send(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call the function in a thread without waiting for it. Exceptions are lost."""
        self._put((asyncio.get_running_loop(), None, function, arguments))

    def close(self) -> None:
        """End the threads, each after its current call. Does not wait for them."""
        for _ in self._threads:
            self._calls.put(None)
        self._threads.clear()

    def _put(self, call: _Call) -> None:
        self._open += 1
        self._calls.put(call)
        if len(self._threads) < min(self._count, self._open):
            name = f"{self._name}-{len(self._threads)}"
            # A daemon, so that a store that never answers cannot keep the process alive.
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
            with contextlib.suppress(RuntimeError):  # the loop is closed: no one waits for the result
                loop.call_soon_threadsafe(self._settle, future, result, error)
            del call, future, function, arguments, result, error  # keep nothing alive while this waits

    def _settle(self, future: asyncio.Future[Any] | None, result: Any, error: BaseException | None) -> None:
        self._open -= 1
        if future is None or future.done():  # the caller was cancelled
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
