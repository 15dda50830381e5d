"""Repeats what got no answer, and recognises what was done without an answer.

A put whose reply is lost may have been done. The next attempt then meets an object that is there, or of
another version: if it holds what was to be put, the put is done, whoever did it. What must tell writers
apart (a lease) has octets that no other writer can have.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from contactsync.server.objects.ports import (
    SMALL_LIMIT,
    Conflict,
    Headers,
    Objects,
    StoredObject,
    Tag,
    Unanswered,
)

ATTEMPTS: Final = 6
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0

R = TypeVar("R")


class PatientObjects:
    """`Objects` with at most ATTEMPTS of each call, random pauses of growing length between them."""

    def __init__(self, objects: Objects, sleep: Callable[[float], None] = time.sleep) -> None:
        self._objects = objects
        self._sleep = sleep
        self._random = random.SystemRandom()

    def entries(self, below: str) -> Iterator[StoredObject]:
        """See `Objects.entries`. All of them, or none."""
        return iter(self._repeated(lambda: list(self._objects.entries(below))))

    def read(self, name: str, limit: int) -> tuple[bytes, Tag] | None:
        """See `Objects.read`."""
        return self._repeated(lambda: self._objects.read(name, limit))

    def size(self, name: str) -> int | None:
        """See `Objects.size`."""
        return self._repeated(lambda: self._objects.size(name))

    def create(self, name: str, octets: bytes, headers: Headers) -> Tag:
        """See `Objects.create`. An object that holds the same is what was to be put."""
        return self._put(name, octets, lambda: self._objects.create(name, octets, headers))

    def replace(self, name: str, octets: bytes, old: Tag, headers: Headers) -> Tag:
        """See `Objects.replace`. An object that holds the same is what was to be put."""
        return self._put(name, octets, lambda: self._objects.replace(name, octets, old, headers))

    def upload(self, name: str, path: Path, headers: Headers) -> None:
        """See `Objects.upload`. What is not there in its length afterwards is put again."""

        def once() -> None:
            self._objects.upload(name, path, headers)
            if self._objects.size(name) != path.stat().st_size:
                raise Unanswered(f"{name} in the store is not as long as it was put")

        self._repeated(once)

    def delete(self, names: Sequence[str]) -> None:
        """See `Objects.delete`."""
        self._repeated(lambda: self._objects.delete(names))

    def signed_url(self, name: str, seconds: int) -> str | None:
        """See `Objects.signed_url`. Asked once: somebody waits for it."""
        return self._objects.signed_url(name, seconds)

    def _put(self, name: str, octets: bytes, put: Callable[[], Tag]) -> Tag:
        try:
            return self._repeated(put)
        except Conflict:
            found = self.read(name, max(len(octets), SMALL_LIMIT))
            if found is not None and found[0] == octets:
                return found[1]
            raise

    def _repeated(self, call: Callable[[], R]) -> R:
        attempt = 0
        while True:
            try:
                return call()
            except Unanswered:
                attempt += 1
                if attempt == ATTEMPTS:
                    raise
                longest = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)
                self._sleep(self._random.uniform(_FIRST_PAUSE, longest))
