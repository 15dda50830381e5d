"""Calls that may block, in a bounded number of threads."""

import asyncio
import contextlib
import threading
from contextlib import closing

import pytest

from contactsync.server.admission import Overloaded
from contactsync.server.http import threads as module
from contactsync.server.http.threads import Threads


@pytest.fixture
def threads():
    with closing(Threads("test", 2)) as threads:
        yield threads


def test_results_and_errors_come_back(threads):
    async def run():
        assert await threads.run(divmod, 17, 5) == (3, 2)
        with pytest.raises(ZeroDivisionError):
            await threads.run(divmod, 1, 0)
        assert await threads.run(threading.get_ident) != threading.get_ident()

    asyncio.run(run())


def test_so_many_at_once_and_no_more(threads):
    barrier = threading.Barrier(3)
    names = set()

    def work():
        names.add(threading.current_thread().name)
        barrier.wait(10)

    async def run():
        waiting = [asyncio.create_task(threads.run(work)) for _ in range(4)]
        for _ in range(2):
            await asyncio.to_thread(barrier.wait, 10)
        await asyncio.gather(*waiting)

    asyncio.run(run())
    assert names == {"test-0", "test-1"}


def test_too_many_waiting_are_refused_and_room_comes_back(threads, monkeypatch):
    monkeypatch.setattr(module, "WAITING", 1)
    go = threading.Event()

    async def run():
        waiting = [asyncio.create_task(threads.run(go.wait, 10)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await threads.run(int)
        for task in waiting:  # who goes away makes no room: the call is still running
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        with pytest.raises(Overloaded):
            await threads.run(int)
        go.set()
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(Overloaded):
                    return await threads.run(int)
                await asyncio.sleep(0.01)

    assert asyncio.run(run()) == 0


def test_a_loop_that_has_ended_is_no_fault_of_the_thread(threads):
    go = threading.Event()

    async def leave():
        threads.send(go.wait, 10)

    asyncio.run(leave())
    go.set()
    assert asyncio.run(threads.run(int)) == 0
