"""The threads that evaluate. They cannot reach identifiers or contacts (import-linter checks this).

Kernels release the GIL, so a few threads use all cores. Work is cut into slices of a few milliseconds. A free
thread takes the slice with the earliest turn (turns.py): slice k of a job that arrives at turn t has turn
t + k, or a later one if its account has more waiting. So a small batch overtakes the rest of a large one,
small batches never starve a large one, nobody waits for all that one account has asked for, and online
batches always go before bulk work. Small batches that wait at the same time share slices (company.py).
"""

from __future__ import annotations

import functools
import heapq
import itertools
import math
import os
import secrets
import threading
import weakref
from collections.abc import Callable, Generator, Hashable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np

from contactsync.ristretto255 import Elements, add, encode, multiply_base, scalars
from contactsync.server.admission import SHARES, Overloaded, weight
from contactsync.server.company import Companion, Company
from contactsync.server.turns import Turns
from contactsync.voprf.proof import composite_sum, prove
from contactsync.voprf.server import (
    KeyPair,
    decode_batch,
    derive_key_pair,
    evaluate,
    multiply_batch,
)
from contactsync.voprf.suite import NH, SEED_BYTES, Rows, check_batch

SLICE = 512
"""Elements in a slice: about 3 ms on a core with eight lanes, 20 ms with one."""

_ONLINE, _BULK = 0, 1
_WARM_UP = 2 * SLICE + 1
_STAGES = 3  # of a job, each of which goes over all its elements

Slice = Callable[[], None]
T = TypeVar("T")
_Entry = tuple[int, float, int, int, "_Job[Any] | None", Callable[[], bool]]
"""In a heap: class, turn, arrival of the job, place in its stage, job, slice. Companions have no job."""

Stages = Generator[list[Slice], None, T]
"""A job. The slices it yields together may run in parallel; all must end before it continues."""


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """A batch of `account`, uint8[n, 32], and its elements, slice by slice: each is usable."""

    blinded: Rows
    elements: Sequence[Elements]
    account: Hashable = None


class Evaluator:
    """A bounded queue for a few threads. Every job is a future: `.result()` waits, asyncio can wrap it."""

    def __init__(self, threads: int = 0, queue: int = 64) -> None:
        """`threads` 0 means one for each processor. `queue` is how many more jobs may wait.

        What is for an account is not counted: that it may wait was decided before (admission.py).
        """
        count = threads or os.cpu_count() or 1
        self.room = count + queue
        self._changed = threading.Condition()
        self._waiting: list[_Entry] = []
        self._turns = (Turns(), Turns())
        self._arrivals = itertools.count()
        self._unfinished: set[_Job[Any]] = set()
        self._companies: set[Company] = set()
        self._companions = 0.0
        self._counted = 0  # jobs and companions that are for no account
        self._idle = 0
        self._closed = False
        self.accompanied: Callable[[int], None] = lambda _: None
        """Is told how many batches are about to be evaluated together."""
        self._threads = [
            threading.Thread(target=self._work, name=f"evaluator-{i}", daemon=True) for i in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def blind_evaluate(self, key: KeyPair, blinded: Rows) -> Future[tuple[Rows, bytes]]:
        """Run voprf.server.blind_evaluate on an online batch: evaluated elements uint8[n, 32], and the proof.

        Raises Overloaded at once instead of waiting, and BadInput for a batch of the wrong shape. The future
        raises InvalidElement if an element of the batch is not valid.
        """
        return self._submit(_Job(_ONLINE, _blind_evaluate(key, check_batch(blinded, "blinded elements"))))

    def decode(self, blinded: Rows, account: Hashable = None) -> Future[DecodedBatch]:
        """The first half of `blind_evaluate`, which raises all that it does: no key is used yet."""
        stages = _decode(check_batch(blinded, "blinded elements"), account)
        return self._submit(_Job(_ONLINE, stages, account))

    def evaluate_decoded(self, key: KeyPair, batch: DecodedBatch) -> Future[tuple[Rows, bytes]]:
        """The second half of `blind_evaluate`. Raises Overloaded at once instead of waiting."""
        return self._submit(_Job(_ONLINE, _evaluate_decoded(key, batch), batch.account))

    def evaluate(self, key: KeyPair, inputs: Sequence[bytes]) -> Future[Rows]:
        """Run voprf.server.evaluate in bulk: the outputs of any number of inputs, uint8[n, 64].

        Raises Overloaded at once instead of waiting.
        """
        return self._submit(_Job(_BULK, _evaluate(key, inputs)))

    def load(self) -> tuple[int, int]:
        """How many batches wait or are worked on, and how many may. Small ones are parts of one."""
        with self._changed:
            return len(self._unfinished) + math.ceil(self._companions), SHARES * self.room

    def warm_up(self) -> None:
        """Compile and load every kernel, using a key that is then discarded."""
        key = derive_key_pair(secrets.token_bytes(SEED_BYTES), b"warm-up")
        self.blind_evaluate(key, encode(multiply_base(scalars.random(_WARM_UP)))).result()

    def close(self) -> None:
        """Finish the running slices, cancel everything else, and end the threads."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            abandoned = list(self._unfinished)
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for job in abandoned:
            job.abandon()
        for company in self._companies:
            company.end(CancelledError())

    def _submit(self, job: _Job[T]) -> Future[T]:
        with self._changed:
            self._check_room(job.account)
            self._unfinished.add(job)
            self._counted += job.account is None
        # A future keeps its callbacks: with the job in one they would keep each other, and the whole batch,
        # until the next collection of garbage.
        kept = weakref.ref(job)
        job.future.add_done_callback(lambda _: self._forget(kept()))
        self._advance(job)
        return job.future

    def join(self, company: Company, *some: Companion) -> None:
        """Work on these together with those of the company who wait when their turn comes.

        Raises Overloaded at once instead of waiting.
        """
        with self._changed:
            turns = self._turns[_ONLINE]
            for one in some:
                self._check_room(one.account)
                self._counted += one.account is None
                self._companions += weight(one.load)
                company.join(one, turns.draw(one.account, _STAGES * weight(one.load)))
            self._companies.add(company)
            self._call(company)

    def _call(self, company: Company) -> None:
        """Have a thread come for those of a company who wait. It may find that others have taken them."""
        first = company.first()
        if first is not None:
            entry: _Entry = (
                *(_ONLINE, first, next(self._arrivals), 0),
                None,
                partial(self._accompany, company),
            )
            heapq.heappush(self._waiting, entry)
            self._changed.notify()

    def _check_room(self, account: Hashable) -> None:
        if self._closed or (account is None and self._counted >= self.room):
            raise Overloaded

    def _accompany(self, company: Company) -> bool:
        """Take a share of those who wait, and work on them."""
        with self._changed:
            taken = company.take(SLICE, 1 + self._idle)
            self._call(company)
        if taken:
            self.accompanied(len(taken))
            company.work(taken)
            with self._changed:
                self._counted -= sum(one.account is None for one in taken)
                self._companions -= sum(weight(one.load) for one in taken)
        return False

    def _forget(self, job: _Job[Any] | None) -> None:
        """Make room: a job has ended, or was cancelled before it began."""
        if job is None:
            return
        with self._changed:
            self._counted -= job in self._unfinished and job.account is None
            self._unfinished.discard(job)
            if job.future.cancelled():
                self._waiting = [entry for entry in self._waiting if entry[4] is not job]
                heapq.heapify(self._waiting)

    def _advance(self, job: _Job[Any]) -> None:
        """Queue the next stage of a job, if there is one."""
        slices = job.next_stage()
        with self._changed:
            turns = self._turns[job.rank]
            turn = turns.draw(job.account, len(slices))
            if job.begun is None:
                job.begun = turn, next(self._arrivals)
            # Who has begun goes on before those who begin at the same turn: or all would end at the end.
            first, arrival = max(turns.now, job.begun[0]), job.begun[1]
            for i, run in enumerate(slices):
                heapq.heappush(self._waiting, (job.rank, first + i, arrival, i, job, run))
            self._changed.notify(len(slices))

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._closed):
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                if self._closed:
                    return
                rank, turn, _, _, job, run = heapq.heappop(self._waiting)
                self._turns[rank].reach(turn)
            if run() and job is not None:
                self._advance(job)
            del job, run  # keep nothing alive while this waits


class _Job(Generic[T]):
    """A generator of stages, and the future of what it returns."""

    def __init__(self, rank: int, stages: Stages[T], account: Hashable = None) -> None:
        self.rank = rank
        self.account = account
        self.begun: tuple[float, int] | None = None
        """The turn at which it began, and when it arrived: set when it is queued."""
        self.future: Future[T] = Future()
        self._stages = stages
        self._lock = threading.Lock()
        self._wanted: bool | None = None  # not known before the first slice
        self._left = 0
        self._errors: dict[int, BaseException] = {}

    def next_stage(self) -> list[Callable[[], bool]]:
        """The slices of the next stage. Each returns whether it was the last to end.

        There are none when the job is over; its future is then done.
        """
        slices: list[Slice] = []
        if self._errors:
            self.future.set_exception(self._errors[min(self._errors)])
            return []
        try:
            while not slices and self._wanted is not False:
                slices = next(self._stages)
        except StopIteration as end:
            self.future.set_result(end.value)
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the future
            self.future.set_exception(error)
        self._left = len(slices)
        return [partial(self._run, i, run) for i, run in enumerate(slices)]

    def abandon(self) -> None:
        """Cancel the future, unless it is done. No slice of this job may be running."""
        if not self.future.cancel() and not self.future.done():
            self.future.set_exception(CancelledError())

    def _run(self, i: int, run: Slice) -> bool:
        with self._lock:
            if self._wanted is None:
                self._wanted = self.future.set_running_or_notify_cancel()
            # The error of the first slice counts, whichever thread fails first.
            skip = not self._wanted or any(failed < i for failed in self._errors)
        error = None if skip else _error_of(run)
        with self._lock:
            if error is not None:
                self._errors[i] = error
            self._left -= 1
            return self._left == 0


def _error_of(run: Slice) -> BaseException | None:
    try:
        run()
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the future
        return error
    return None


def _parts(n: int) -> list[slice]:
    return [slice(start, min(start + SLICE, n)) for start in range(0, n, SLICE)]


def _blind_evaluate(key: KeyPair, blinded: Rows) -> Stages[tuple[Rows, bytes]]:
    """BlindEvaluate: nothing is multiplied before every element has been decoded."""
    return (yield from _evaluate_decoded(key, (yield from _decode(blinded))))


def _decode(blinded: Rows, account: Hashable = None) -> Stages[DecodedBatch]:
    """Decode, slice by slice."""
    parts = _parts(len(blinded))
    elements: dict[int, Elements] = {}

    def decode(part: slice) -> None:
        elements[part.start] = decode_batch(blinded[part], first=part.start)

    yield [partial(decode, part) for part in parts]
    return DecodedBatch(blinded, [elements[part.start] for part in parts], account)


def _evaluate_decoded(key: KeyPair, batch: DecodedBatch) -> Stages[tuple[Rows, bytes]]:
    """Multiply slice by slice, then weigh slice by slice, then prove."""
    blinded, elements = batch.blinded, batch.elements
    parts = _parts(len(blinded))
    sums: list[Elements | None] = [None] * len(parts)
    evaluated = np.empty_like(blinded)

    def multiply(i: int, part: slice) -> None:
        evaluated[part] = multiply_batch(key, elements[i])

    def weigh(i: int, part: slice) -> None:
        sums[i] = composite_sum(key.public, elements[i], blinded[part], evaluated[part], first=part.start)

    yield [partial(multiply, i, part) for i, part in enumerate(parts)]
    yield [partial(weigh, i, part) for i, part in enumerate(parts)]
    composite = functools.reduce(add, (part for part in sums if part is not None))
    (proof,) = prove(key.secret, key.public, composite, [(blinded, evaluated)])
    return evaluated, proof


def _evaluate(key: KeyPair, inputs: Sequence[bytes]) -> Stages[Rows]:
    """Evaluate, by slices."""
    outputs = np.empty((len(inputs), NH), np.uint8)

    def fill(part: slice) -> None:
        outputs[part] = evaluate(key, inputs[part])

    yield [partial(fill, part) for part in _parts(len(inputs))]
    return outputs
