"""Private look-ups: those that wait for the same rows are answered in one pass over them. docs/lookup.md.

It needs no secret, no account and no member: a second server, with the signed public files alone, answers by
this room too. Nobody waits for company: who is there when the thread is free goes along.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.errors import BadInput
from contactsync.lookup import dpf
from contactsync.lookup.answer import RowLayout, answer
from contactsync.lookup.batch import SIZES, Sharing, sharings
from contactsync.server.admission import Admission, Overloaded
from contactsync.server.company import Companion, Company
from contactsync.server.turns import Turns

TOGETHER: Final = 8
"""Clients of one pass: as many as the kernel serves from one reading of the rows."""

_FEW_ROW_BITS: Final = 6

Octets = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class OpenRows:
    """The rows of an edition, ready to be looked up. Whoever has one has verified its rows.

    `blocks` uint8[n, block_bytes], the first ones of the layout, may be a read-only map.
    """

    blocks: Octets = field(repr=False)
    layout: RowLayout

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.blocks) * self.layout.block_rows

    @property
    def sizes(self) -> Sequence[int]:
        """The batches that can be asked for, ascending."""
        return tuple(one.size for one in sharings(self.layout.row_bits, self.layout.fold_bits))

    def key_bytes(self, size: int) -> int:
        """Octets of the keys of a batch. No two sizes have the same."""
        sharing = self._sharing(size)
        return sharing.sub_databases * dpf.key_length(sharing.position_bits)

    def answer_bytes(self, size: int) -> int:
        """Octets of an answer."""
        return self._sharing(size).sub_databases * self.layout.width

    def memory(self, size: int) -> int:
        """Octets that a batch takes at most: its keys, its selection bits, its answer."""
        sharing = self._sharing(size)
        selections = sharing.sub_databases * dpf.selection_length(sharing.position_bits)
        return self.key_bytes(size) + selections + self.answer_bytes(size)

    def read_keys(self, octets: bytes) -> tuple[int, Octets]:
        """A batch as it is sent: its size, and its keys, uint8[3 size / 2, length]. Raises BadInput."""
        for size in self.sizes:
            if len(octets) == self.key_bytes(size):
                sharing = self._sharing(size)
                keys = np.frombuffer(octets, np.uint8).reshape(sharing.sub_databases, -1)
                dpf.check(keys, sharing.position_bits)
                return size, keys
        known = " or ".join(f"{self.key_bytes(size)} (of {size})" for size in self.sizes)
        raise BadInput(
            f"the keys of a batch have {known} octets here, not {len(octets)}",
            hint="make the keys for the rows that they are sent to",
        )

    def answer(self, batches: Sequence[tuple[int, Octets]]) -> Octets:
        """The answers to batches of one size, as `read_keys` gives them: uint8[n, 3 size / 2, width]."""
        size = batches[0][0]
        sharing = self._sharing(size)
        bits = sharing.position_bits
        selections = np.empty((len(batches), sharing.sub_databases, dpf.selection_length(bits)), np.uint8)
        for place, (_, keys) in enumerate(batches):
            selections[place] = dpf.expand(keys, bits)
        return answer(self.blocks, selections, size, self.layout)

    def _sharing(self, size: int) -> Sharing:
        return Sharing(size, self.layout.row_bits, self.layout.fold_bits)


Answer = Future[bytes]
"""What a server sends: 3 size / 2 records, one after another."""


class LookupRoom:
    """Where look-ups wait, and the one thread that answers them.

    The memory that they take is bounded, and shared among clients as `Admission` shares: one that asks for
    all it can get has half of it. A batch always fits where there is none. Turns go by client, too
    (turns.py). May be used from any thread.
    """

    def __init__(self, memory: int, a_client: int | None = None) -> None:
        """`memory` in octets. `a_client`: batches that one client may have here at a time; None: any."""
        self._changed = threading.Condition()
        self._admission = Admission(memory, weigh=float)
        self._a_client = a_client
        self._inside: Counter[Hashable] = Counter()
        self._turns = Turns()
        self._companies: dict[tuple[OpenRows, int], Company] = {}
        self._closed = False
        self.passed: Callable[[int, float], None] = lambda _clients, _seconds: None
        """Is told of each pass: for how many clients, and how long it took."""
        self._thread = threading.Thread(target=self._work, name="lookups", daemon=True)
        self._thread.start()

    def warm_up(self) -> None:
        """Compile and load every kernel, over rows of zeros."""
        rows = OpenRows(np.zeros((1 << _FEW_ROW_BITS, 8), np.uint8), RowLayout(_FEW_ROW_BITS, 0, 8, 0))
        rows.answer([rows.read_keys(bytes(rows.key_bytes(SIZES[0])))])

    def waiting(self) -> int:
        """Batches that are here: admitted, and not over."""
        with self._changed:
            return self._inside.total()

    @contextlib.contextmanager
    def admit(self, client: Hashable, rows: OpenRows, size: int) -> Iterator[Place]:
        """A place for one batch of at most this size, as long as the context lasts. Raises Overloaded.

        So it is decided before the keys are there.
        """
        memory = rows.memory(size)
        with self._changed:
            if self._closed or (self._a_client is not None and self._inside[client] >= self._a_client):
                raise Overloaded
            self._admission.enter(client, memory)
            self._inside[client] += 1
        try:
            yield Place(self, client, rows, size)
        finally:
            with self._changed:
                self._admission.leave(client, memory)
                self._inside[client] -= 1
                if not self._inside[client]:
                    del self._inside[client]

    def close(self) -> None:
        """Finish the running pass, cancel all who wait, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        for company in self._companies.values():
            company.end(CancelledError())

    def join(self, client: Hashable, rows: OpenRows, batch: tuple[int, Octets]) -> Answer:
        """Have a batch answered; `Place.ask` calls it. Raises Overloaded if the room is closed."""
        found: Answer = Future()
        with self._changed:
            if self._closed:
                raise Overloaded
            which = rows, batch[0]
            if which not in self._companies:
                self._companies[which] = Company(partial(_answer_all, rows), _deliver)
            one = Companion(1, batch, found, client)
            self._companies[which].join(one, self._turns.draw(client, 1.0))
            self._changed.notify()
        return found

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._companies or self._closed):
                    self._changed.wait()
                if self._closed:
                    return
                company, taken = self._take()
            taken = [one for one in taken if cast("Answer", one.future).set_running_or_notify_cancel()]
            if taken:
                begun = time.perf_counter()
                company.work(taken)
                self.passed(len(taken), time.perf_counter() - begun)
            del company, taken  # keep no rows alive while this waits

    def _take(self) -> tuple[Company, list[Companion]]:
        """Those of one company who go next: of the one that has the earliest turn."""
        turns = {which: company.first() for which, company in self._companies.items()}
        which = min(turns, key=lambda one: cast("float", turns[one]))
        self._turns.reach(cast("float", turns[which]))
        company = self._companies[which]
        taken = company.take(TOGETHER, 1)
        if company.first() is None:
            del self._companies[which]
        return company, taken


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the room, for one batch."""

    room: LookupRoom
    client: Hashable
    rows: OpenRows
    size: int

    def ask(self, octets: bytes) -> Answer:
        """Have the keys of a batch answered. If the future is cancelled in time, nothing is done for it.

        Raises BadInput, so that malformed keys never go along with others; Overloaded, if the room is closed.
        """
        size, keys = self.rows.read_keys(octets)
        if size > self.size:
            raise BadInput(f"a batch of {size} has no room where one of {self.size} was let in")
        return self.room.join(self.client, self.rows, (size, keys))


def _answer_all(rows: OpenRows, batches: Sequence[tuple[int, Octets]]) -> Sequence[bytes]:
    # Each is a copy: an answer that is sent slowly must not keep those of the others.
    return [one.tobytes() for one in rows.answer(batches)]


def _deliver(results: Sequence[tuple[Companion, Any]]) -> None:
    for one, result in results:
        found = cast("Answer", one.future)
        if isinstance(result, BaseException):
            if found.running() or found.set_running_or_notify_cancel():
                found.set_exception(result)
        else:
            found.set_result(result)
