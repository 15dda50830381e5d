"""One publisher at a time: a lease in the store, with an owner, a generation and an expiry.

No clock is compared with another one. Who finds somebody else's lease watches it: if it does not change for
as long as it says that it holds, its owner is gone. An owner counts the same seconds from before each
renewal, on its own clock, and gives up earlier. So clocks may differ by any amount; only their speeds have
to agree within a tenth. The time of expiry in the lease is for people.

A lease saves work. What decides is that each switch in the store is a comparison with the version that was
read: somebody whose lease was lost without their noticing cannot undo a switch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

from contactsync.foundation.errors import ContactSyncError, OurError
from contactsync.server.objects.ports import CHANGES, Conflict, Headers, Objects, Tag
from contactsync.server.settings import Busy

NAME: Final = "lease.json"
FORMAT: Final = "contactsync-lease-1"
SECONDS: Final = 30.0
LONGEST: Final = 300.0
"""Seconds that a lease of somebody else is believed to hold at most."""

_HEADERS: Final = Headers("application/json", CHANGES)
_MARGIN: Final = 0.9  # an owner gives up so early; who takes over waits for the whole time
_LIMIT: Final = 4096


class LeaseLost(OurError):
    """Somebody else publishes into the store now."""


@dataclass(frozen=True, slots=True)
class LeaseText:
    """What a lease says. `beat` counts renewals; `generation` counts owners."""

    owner: str
    generation: int
    beat: int
    seconds: float
    expires: str
    released: bool = False

    def to_bytes(self) -> bytes:
        """As it is in the store."""
        return json.dumps({"format": FORMAT, **asdict(self)}).encode()

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        """Raises OurError."""
        try:
            value: dict[str, Any] = json.loads(octets)
            if value["format"] != FORMAT:
                raise OurError("a newer contactsync publishes into this store", hint="update contactsync")
            return cls(
                owner=str(value["owner"]),
                generation=int(value["generation"]),
                beat=int(value["beat"]),
                seconds=float(value["seconds"]),
                expires=str(value["expires"]),
                released=value["released"] is True,
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise OurError(
                f"{NAME} in the store is damaged", hint="if nobody publishes into it, delete that object"
            ) from error


class Lease:
    """A lease that is held. `check` before what only its owner may do."""

    def __init__(
        self, objects: Objects, held: LeaseText, tag: Tag, since: float, clock: Callable[[], float]
    ) -> None:
        self._objects = objects
        self._held = held
        self._tag = tag
        self._since = since
        self._clock = clock
        self._lost = False
        self._lock = threading.Lock()

    @property
    def generation(self) -> int:
        """How many owners there have been, this one included."""
        return self._held.generation

    def check(self) -> None:
        """Renew the lease. Raises LeaseLost, or Unanswered if the store does not answer while it holds."""
        with self._lock:
            if not self._lost and not self._is_late():
                self._renew()
            self._lost = self._lost or self._is_late()  # if so, somebody may have it by now
        if self._lost:
            raise LeaseLost(
                "another publisher has taken over the store; nothing was switched there",
                hint="let one machine publish into a store; see `contactsync docs operations`",
            )

    def _is_late(self) -> bool:
        return self._clock() - self._since > self._held.seconds * _MARGIN

    def _renew(self) -> None:
        begun = self._clock()
        new = replace(self._held, beat=self._held.beat + 1, expires=_expiry(self._held.seconds))
        try:
            self._tag = self._objects.replace(NAME, new.to_bytes(), self._tag, _HEADERS)
            self._held, self._since = new, begun
        except Conflict:
            self._lost = True

    def release(self) -> None:
        """Let others have it at once. Best effort: it ends by itself."""
        with self._lock, contextlib.suppress(ContactSyncError):
            if not self._lost:
                gone = replace(self._held, released=True, beat=self._held.beat + 1)
                self._objects.replace(NAME, gone.to_bytes(), self._tag, _HEADERS)


@contextlib.contextmanager
def leased(
    objects: Objects,
    owner: str,
    *,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Lease]:
    """Hold the lease of a store, renewed in the background, while the block runs.

    It waits for a lease whose owner may be gone. Raises Busy if that one is renewed meanwhile.
    """
    lease = take(objects, owner, seconds=seconds, clock=clock, sleep=sleep)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(seconds / 3):
            try:
                lease.check()
            except LeaseLost:
                return
            except ContactSyncError:  # the store does not answer; `check` says when that is too long
                continue

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        ended.set()
        thread.join()
        lease.release()


def take(
    objects: Objects,
    owner: str,
    *,
    seconds: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Lease:
    """Take the lease: a free one or one's own at once, another's when it has not changed for its time."""
    watched: Tag | None = None
    until, before = 0.0, 0
    while True:
        begun = clock()
        found = objects.read(NAME, _LIMIT)
        there = None if found is None else LeaseText.from_bytes(found[0])
        generation = 1 if there is None else there.generation + 1
        mine = LeaseText(owner, generation, 0, seconds, _expiry(seconds))
        try:
            if found is None or there is None:
                return Lease(objects, mine, objects.create(NAME, mine.to_bytes(), _HEADERS), begun, clock)
            if there.released or there.owner == owner or (found[1] == watched and begun >= until):
                tag = objects.replace(NAME, mine.to_bytes(), found[1], _HEADERS)
                return Lease(objects, mine, tag, begun, clock)
        except Conflict:
            continue  # somebody else was faster; look again
        if watched is not None and found[1] != watched and before == there.generation:
            raise Busy(
                f"another publisher holds the lease of the store (owner {there.owner}, generation"
                f" {there.generation})",
                hint="let one machine publish into a store; see `contactsync docs operations`",
            )
        if found[1] != watched:
            watched, before = found[1], there.generation
            # From after the reply: its owner may have renewed it while the reply was on its way.
            until = clock() + min(max(there.seconds, 0.0), LONGEST)
        sleep(min(max(until - clock(), 0.01), 1.0))


def owner_of(folder: Path) -> str:
    """A name for whoever publishes from this folder: another one on each machine, and after each boot.

    The lock of the folder lets one process publish from it. So a lease of the same owner is of a process
    that has ended, and need not be waited for.
    """
    status = folder.stat()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
    except OSError:
        boot = f"{os.uname().nodename} {os.getpid()}"
    return hashlib.sha256(f"{boot} {status.st_dev} {status.st_ino}".encode()).hexdigest()[:16]


def _expiry(seconds: float) -> str:
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"
