"""The threads that evaluate batches. Cannot reach identifiers or contacts (held by import-linter)."""

from __future__ import annotations

import asyncio
import os
import secrets
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from contactsync.ristretto255 import encode, multiply_base, scalars
from contactsync.voprf.server import KeyPair, blind_evaluate, derive_key_pair
from contactsync.voprf.suite import NE, SEED_BYTES

_WARM_UP = 64  # elements


class Overloaded(Exception):
    """Too many batches are waiting already."""


class Evaluator:
    """A bounded queue before a few threads; the event loop never computes."""

    def __init__(self, threads: int, queue: int) -> None:
        """`threads` 0 is one for each processor; `queue` is how many batches may wait beside those."""
        workers = threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="evaluator")
        self._room = workers + queue

    async def evaluate(self, key: KeyPair, body: bytes) -> bytes:
        """Evaluated elements and proof for a body of n × 32 bytes, 1 ≤ n ≤ 4096.

        Raises Overloaded at once instead of waiting, InvalidElement for an element of the batch.
        """
        if self._room == 0:
            raise Overloaded
        self._room -= 1
        future = self._pool.submit(_evaluate, key, body)
        # Not in a `finally` here: a caller that went away leaves its batch in the queue.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave))
        return await asyncio.wrap_future(future)

    def warm_up(self) -> None:
        """Have every kernel compiled and loaded, with a key that is thrown away."""
        key = derive_key_pair(secrets.token_bytes(SEED_BYTES), b"warm-up")
        _evaluate(key, encode(multiply_base(scalars.random(_WARM_UP))).tobytes())

    def close(self) -> None:
        """Forget what waits, finish what runs."""
        self._pool.shutdown(cancel_futures=True)

    def _leave(self) -> None:
        self._room += 1


def _evaluate(key: KeyPair, body: bytes) -> bytes:
    evaluated, proof = blind_evaluate(key, np.frombuffer(body, np.uint8).reshape(-1, NE))
    return evaluated.tobytes() + proof
