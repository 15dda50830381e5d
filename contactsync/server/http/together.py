"""The way of a small batch: decoded, charged and evaluated together with those that wait at the same time.

Those that arrive in one turn of the event loop make one hop to a thread, and a group makes one back: for a
batch of eight points, hops of its own would cost more than its cryptography.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from contactsync.ristretto255 import Elements
from contactsync.server.admission import Overloaded
from contactsync.server.company import Companion, Company, Waiting
from contactsync.server.evaluation import Evaluator
from contactsync.server.http.charging import Charging
from contactsync.server.quota import Standing, Verdict
from contactsync.server.storage.ports import Charge
from contactsync.voprf.server import KeyPair, blind_evaluate_batches, decode_batches
from contactsync.voprf.suite import Rows


@dataclass(frozen=True, slots=True)
class SmallBatch:
    """A batch of at most `company.SMALL` elements, its charge, and the key it is for."""

    blinded: Rows
    charge: Charge
    key: KeyPair


Answer = tuple[Standing | None, tuple[Rows, bytes] | None]
"""The standing after the charge (None: the account is gone), and the evaluation if it was charged."""


class Receiver(Waiting, Protocol):
    """Where an answer is put, on the event loop: a future, or less than that."""

    def set_result(self, answer: Answer, /) -> object:
        """Take the answer."""

    def set_exception(self, error: BaseException, /) -> object:
        """Take what went wrong."""

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop."""


class SmallBatches:
    """Small batches of all callers."""

    def __init__(self, evaluator: Evaluator, charging: Charging) -> None:
        self._evaluator = evaluator
        self._charging = charging
        self._company = Company(self._together, _deliver)
        self._arriving: list[Companion] = []

    async def run(self, batch: SmallBatch) -> Answer:
        """Have a batch charged and evaluated. When this returns, the charge is on the disk.

        Raises InvalidElement, and nothing is charged; Overloaded; OurError if the store fails.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.add(batch, future)
        return await future

    def add(self, batch: SmallBatch, future: Receiver) -> None:
        """Have a batch charged and evaluated; `future` is given the answer, or what `run` raises."""
        if not self._arriving:
            asyncio.get_running_loop().call_soon(self._send)
        self._arriving.append(Companion(len(batch.blinded), batch, future, batch.charge.account))

    def _send(self) -> None:
        """Let those go who have arrived in this turn of the loop."""
        arrived, self._arriving = self._arriving, []
        try:
            self._evaluator.join(self._company, *arrived)
        except Overloaded as error:  # it is closed
            _settle([(one, error) for one in arrived])

    def _together(self, batches: Sequence[SmallBatch]) -> Sequence[Answer | BaseException]:
        decoded = decode_batches([one.blinded for one in batches])
        answers: list[Any] = list(decoded)
        elements = {i: found for i, found in enumerate(decoded) if isinstance(found, Elements)}
        good = list(elements)
        standings = self._charging.charge_all([batches[i].charge for i in good]) if good else []
        paid: dict[bytes, list[int]] = {}
        for i, standing in zip(good, standings, strict=True):
            answers[i] = standing, None
            if standing is not None and standing.outcome in (Verdict.CHARGED, Verdict.REPEATED):
                paid.setdefault(batches[i].key.public, []).append(i)
        for places in paid.values():
            key = batches[places[0]].key
            evaluated = blind_evaluate_batches(key, [(batches[i].blinded, elements[i]) for i in places])
            for i, evaluation in zip(places, evaluated, strict=True):
                answers[i] = answers[i][0], evaluation
        return answers


def _deliver(results: Sequence[tuple[Companion, Any]]) -> None:
    """Settle futures of one event loop, in one visit to it."""
    loop = results[0][0].future.get_loop()  # type: ignore[attr-defined]
    with contextlib.suppress(RuntimeError):  # the loop is closed: no one waits
        loop.call_soon_threadsafe(_settle, results)


def _settle(results: Sequence[tuple[Companion, Any]]) -> None:
    for one, result in results:
        future: Any = one.future
        if future.done():  # the caller was cancelled
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
