"""What is looked at for every request, but only once for those that arrive together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Fresh(Generic[T]):
    """The last answer of `look`, unless the event loop has turned since: no request sees an older one.

    A loop with much to do finds many requests at each turn.
    """

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._value: T
        self._loop: asyncio.AbstractEventLoop | None = None

    def __call__(self) -> T:
        """The answer. On the event loop."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._value = self._look()
            self._loop = loop
            loop.call_soon(self._forget)
        return self._value

    def _forget(self) -> None:
        self._loop = None
