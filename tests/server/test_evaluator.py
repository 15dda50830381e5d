"""The bounded queue before the threads."""

import asyncio
import threading

import numpy as np
import pytest

from contactsync.errors import InvalidElement
from contactsync.server import evaluator as module
from contactsync.server.evaluator import Evaluator, Overloaded
from contactsync.voprf.client import blind, finalize
from contactsync.voprf.server import derive_key_pair

KEY = derive_key_pair(bytes(range(32)), b"test")


def test_evaluates():
    blinding = blind([b"one", b"two", b"three"])

    async def run():
        evaluator = Evaluator(2, 1)
        evaluator.warm_up()
        reply = await evaluator.evaluate(KEY, blinding.blinded.tobytes())
        with pytest.raises(InvalidElement):
            await evaluator.evaluate(KEY, bytes(32))
        evaluator.close()
        return reply

    reply = asyncio.run(run())
    evaluated = np.frombuffer(reply[:-64], np.uint8).reshape(-1, 32)
    assert len(finalize(blinding, evaluated, reply[-64:], KEY.public)) == 3


def test_refuses_beyond_the_queue_and_recovers(monkeypatch):
    gate = threading.Event()

    def slow(_key, body):
        gate.wait(20)
        return body

    monkeypatch.setattr(module, "_evaluate", slow)

    async def run():
        evaluator = Evaluator(1, 2)
        waiting = [asyncio.create_task(evaluator.evaluate(KEY, b"%d" % i)) for i in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await evaluator.evaluate(KEY, b"too many")
        waiting[2].cancel()  # a client that went away makes room
        await asyncio.sleep(0.05)
        more = asyncio.create_task(evaluator.evaluate(KEY, b"3"))
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(*waiting[:2], more) == [b"0", b"1", b"3"]
        assert await asyncio.gather(*(evaluator.evaluate(KEY, b"%d" % i) for i in range(3)))
        evaluator.close()

    asyncio.run(run())
