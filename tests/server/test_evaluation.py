"""The evaluator with its real kernels: same results, fair turns, bounds, and an orderly end."""

import asyncio
import gc
import threading
import time
import weakref
from concurrent.futures import CancelledError, Future

import numpy as np
import pytest

from contactsync.foundation.errors import BadInput, InvalidElement
from contactsync.foundation.limits import MAX_BATCH
from contactsync.server import evaluation as module
from contactsync.server.admission import Overloaded
from contactsync.server.company import Companion, Company
from contactsync.server.evaluation import SLICE, Evaluator
from contactsync.server.http.threads import result_of
from contactsync.voprf import client, server

LARGE = 3 * SLICE + 7


@pytest.fixture(scope="module")
def key() -> server.KeyPair:
    return server.derive_key_pair(bytes(range(32)), b"contactsync/v1/people/1")


@pytest.fixture(scope="module")
def blinding() -> client.Blinding:
    return client.blind([b"tel:+49151%08d" % i for i in range(LARGE)])


@pytest.fixture
def one():
    """One thread, so that the order of the work is the order in which it ends."""
    evaluator = Evaluator(1, 64)
    yield evaluator
    evaluator.close()


def head(blinding: client.Blinding, n: int) -> client.Blinding:
    return client.Blinding(blinding.inputs[:n], blinding.blinds[:n], blinding.blinded[:n])


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_batches_of_any_number_of_slices(key, blinding, threads) -> None:
    evaluator = Evaluator(threads)
    try:
        for n in (1, 8, SLICE + 1, LARGE):
            part = head(blinding, n)
            evaluated, proof = evaluator.blind_evaluate(key, part.blinded).result()
            outputs = client.finalize(part, evaluated, proof, key.public)
            assert (evaluator.evaluate(key, part.inputs).result() == outputs).all()
        assert evaluator.evaluate(key, []).result().shape == (0, 64)
    finally:
        evaluator.close()


def test_the_first_bad_element_is_named_whichever_slice_it_is_in(key, blinding) -> None:
    evaluator = Evaluator(2)
    try:
        for bad in ([LARGE - 1], [SLICE + 3, LARGE - 1], [5, SLICE, 2 * SLICE], [0]):
            blinded = blinding.blinded.copy()
            blinded[bad] = 0
            with pytest.raises(InvalidElement) as caught:
                evaluator.blind_evaluate(key, blinded).result()
            assert caught.value.index == bad[0]
    finally:
        evaluator.close()


@pytest.mark.parametrize("shape", [(0, 32), (4097, 32), (1, 31)])
def test_batches_of_a_wrong_shape_are_refused_at_once(key, one, shape) -> None:
    with pytest.raises(BadInput):
        one.blind_evaluate(key, np.ones(shape, np.uint8))


def test_a_small_batch_is_not_kept_waiting_by_bulk_work(key, blinding, one) -> None:
    bulk = one.evaluate(key, blinding.inputs * 8)
    one.evaluate(key, blinding.inputs[:1])  # more of the same class behind it
    evaluated, proof = one.blind_evaluate(key, blinding.blinded[:8]).result()
    assert not bulk.done()
    assert (bulk.result()[:8] == client.finalize(head(blinding, 8), evaluated, proof, key.public)).all()


def test_a_small_batch_overtakes_large_ones(key, blinding, one) -> None:
    ended: list[str] = []
    jobs = []
    for name, n in (("large 1", LARGE), ("large 2", LARGE), ("small", 8)):
        job = one.blind_evaluate(key, blinding.blinded[:n])
        job.add_done_callback(lambda _, name=name: ended.append(name))
        jobs.append(job)
    for job in jobs:
        job.result()
    assert ended[0] == "small"


def test_small_batches_do_not_starve_a_large_one(key, blinding, one) -> None:
    large = one.blind_evaluate(key, blinding.blinded)
    for _ in range(200):
        # Always one small batch waiting while another is done: without turns, they would win for ever.
        waiting = [one.blind_evaluate(key, blinding.blinded[:1]) for _ in range(2)]
        for job in waiting:
            job.result()
        if large.done():
            return
    pytest.fail("the large batch never got its turn")


def hold(monkeypatch, name: str) -> threading.Event:
    """Let the kernel's caller `name` wait until the event is set."""
    release, real = threading.Event(), getattr(module, name)

    def waiting(*args, **kwargs):
        release.wait(30)
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, waiting)
    return release


def test_too_many_jobs_are_refused_and_the_room_comes_back(key, blinding, monkeypatch) -> None:
    release = hold(monkeypatch, "multiply_batch")
    evaluator = Evaluator(1, 2)
    try:
        jobs = [evaluator.blind_evaluate(key, blinding.blinded[:1]) for _ in range(3)]
        with pytest.raises(Overloaded):
            evaluator.blind_evaluate(key, blinding.blinded[:1])
        with pytest.raises(Overloaded):
            evaluator.evaluate(key, blinding.inputs[:1])
        release.set()
        for job in jobs:
            job.result()
        evaluator.blind_evaluate(key, blinding.blinded[:1]).result()
    finally:
        release.set()
        evaluator.close()


def test_a_caller_that_went_away_costs_nothing(key, blinding, monkeypatch) -> None:
    release = hold(monkeypatch, "multiply_batch")
    evaluator = Evaluator(1, 1)
    try:
        first = evaluator.blind_evaluate(key, blinding.blinded[:1])
        second = evaluator.blind_evaluate(key, blinding.blinded)
        with pytest.raises(Overloaded):
            evaluator.blind_evaluate(key, blinding.blinded[:1])
        assert second.cancel()
        third = evaluator.blind_evaluate(key, blinding.blinded[:1])  # there is room again at once
        release.set()
        assert len(first.result()[0]) == len(third.result()[0]) == 1
        assert not evaluator._waiting
    finally:
        release.set()
        evaluator.close()


def test_asyncio_can_wait(key, blinding, one) -> None:
    async def several():
        jobs = [asyncio.wrap_future(one.blind_evaluate(key, blinding.blinded[:n])) for n in (1, 2, 3)]
        return [len(evaluated) for evaluated, _ in await asyncio.gather(*jobs)]

    assert asyncio.run(several()) == [1, 2, 3]


def test_close_ends_what_runs_and_cancels_what_waits(key, blinding) -> None:
    evaluator = Evaluator(1)
    jobs = [evaluator.evaluate(key, blinding.inputs * 8), evaluator.evaluate(key, blinding.inputs)]
    begin = time.monotonic()
    evaluator.close()
    assert time.monotonic() - begin < 10
    for job in jobs:
        with pytest.raises(CancelledError):
            job.result()
    with pytest.raises(Overloaded):
        evaluator.evaluate(key, blinding.inputs)
    evaluator.close()


def test_an_unforeseen_error_reaches_the_caller_only(key, blinding, one, monkeypatch) -> None:
    def broken(*_args, **_kwargs):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(module, "multiply_batch", broken)
        with pytest.raises(MemoryError):
            one.blind_evaluate(key, blinding.blinded).result()
    assert len(one.blind_evaluate(key, blinding.blinded[:1]).result()[0]) == 1


def test_warm_up(one) -> None:
    one.warm_up()


# Small batches share slices


UNFORESEEN = 1313


class Joint:
    """A company that answers each with its number doubled; negative ones are at fault."""

    def __init__(self, evaluator, release=None):
        self.evaluator, self.release, self.groups = evaluator, release, []
        self.begun = threading.Event()
        self.company = Company(self.together, self.deliver)

    def together(self, numbers):
        self.begun.set()
        if self.release is not None:
            self.release.wait(30)
        self.groups.append(list(numbers))
        if UNFORESEEN in numbers:
            raise ZeroDivisionError
        return [ValueError(number) if number < 0 else 2 * number for number in numbers]

    def deliver(self, results):
        for one, result in results:
            if isinstance(result, BaseException):
                one.future.set_exception(result)
            else:
                one.future.set_result(result)

    def ask(self, number, load=8):
        one = Companion(load, number, Future())
        self.evaluator.join(self.company, one)
        return one.future


@pytest.fixture
def held(monkeypatch, one, key, blinding):
    """The one thread is busy until the event is set, so that what comes meanwhile waits together."""
    release = hold(monkeypatch, "composite_sum")
    busy = one.blind_evaluate(key, blinding.blinded[: SLICE + 1])
    yield release
    release.set()
    busy.result()


def test_those_who_wait_go_together_and_each_has_its_own_result(one, held) -> None:
    joint = Joint(one)
    jobs = [joint.ask(i if i != 3 else -3) for i in range(12)]
    held.set()
    for i, job in enumerate(jobs):
        if i == 3:
            with pytest.raises(ValueError, match="-3"):
                job.result(30)
        else:
            assert job.result(30) == 2 * i
    assert joint.groups == [[0, 1, 2, -3, *range(4, 12)]]


def test_a_group_is_no_larger_than_a_slice(one, held) -> None:
    joint = Joint(one)
    jobs = [joint.ask(i, load=100) for i in range(12)]
    held.set()
    assert [job.result(30) for job in jobs] == [2 * i for i in range(12)]
    assert [len(group) for group in joint.groups] == [5, 5, 2]


def test_companies_do_not_mix(one, held) -> None:
    left, right = Joint(one), Joint(one)
    jobs = [joint.ask(i) for i in range(4) for joint in (left, right)]
    held.set()
    for job in jobs:
        job.result(30)
    assert (left.groups, right.groups) == ([[0, 1, 2, 3]], [[0, 1, 2, 3]])


def test_a_companion_that_went_away_is_not_worked_on(one, held) -> None:
    joint = Joint(one)
    jobs = [joint.ask(i) for i in range(3)]
    assert jobs[1].cancel()
    held.set()
    assert (jobs[0].result(30), jobs[2].result(30)) == (0, 4)
    assert joint.groups == [[0, 2]]


def test_an_unforeseen_error_reaches_the_whole_company_and_nobody_else(one, held) -> None:
    joint, other = Joint(one), Joint(one)
    jobs = [joint.ask(number) for number in (1, UNFORESEEN)]
    spared = other.ask(5)
    held.set()
    for job in jobs:
        with pytest.raises(ZeroDivisionError):
            job.result(30)
    assert spared.result(30) == 10
    assert joint.ask(6).result(30) == 12


@pytest.mark.slow
def test_companions_count_as_jobs_and_are_cancelled_at_the_end() -> None:
    release = threading.Event()
    evaluator = Evaluator(1, 2)
    joint = Joint(evaluator, release)
    jobs = [joint.ask(0)]
    assert joint.begun.wait(30)
    jobs += [joint.ask(1), joint.ask(2)]
    with pytest.raises(Overloaded):
        joint.ask(4)
    threading.Timer(0.2, release.set).start()
    evaluator.close()
    assert jobs[0].result(0) == 0
    assert [type(job.exception(0)) for job in jobs[1:]] == [CancelledError] * 2
    with pytest.raises(Overloaded):
        joint.ask(5)


def test_the_room_of_companions_comes_back(one) -> None:
    joint = Joint(one)
    for i in range(300):  # the queue has 64 places
        assert joint.ask(i).result(30) == 2 * i


def test_small_batches_that_go_together_do_not_starve_a_large_one(key, blinding, one) -> None:
    joint = Joint(one)
    large = one.blind_evaluate(key, blinding.blinded)
    for i in range(200):
        waiting = [joint.ask(i), joint.ask(i)]
        for job in waiting:
            job.result(30)
        if large.done():
            return
        time.sleep(0.001)
    pytest.fail("the large batch never got its turn")


def test_batches_that_wait_end_one_after_the_other(key, blinding, monkeypatch) -> None:
    """Not all at the end: each goes on before the next begins, whoever they are of."""
    release = hold(monkeypatch, "decode_batch")
    evaluator, ended = Evaluator(1, 64), []
    multiplied, multiply = [], module.multiply_batch
    monkeypatch.setattr(
        module, "multiply_batch", lambda *some: (multiplied.append(len(ended)), multiply(*some))[1]
    )
    try:
        first = evaluator.blind_evaluate(key, blinding.blinded[:1])
        jobs = [evaluator.decode(blinding.blinded[:70], account) for account in range(6)]
        release.set()
        first.result(30)
        batches = [job.result(30) for job in jobs]
        hold_weighing = hold(monkeypatch, "composite_sum")
        busy = evaluator.blind_evaluate(key, blinding.blinded[:1])
        jobs = [evaluator.evaluate_decoded(key, batch) for batch in batches]
        for job in jobs:
            job.add_done_callback(ended.append)
        multiplied.clear()
        hold_weighing.set()
        busy.result(30)
        for job in jobs:
            job.result(30)
        assert multiplied[-6:] == [0, 1, 2, 3, 4, 5]
    finally:
        evaluator.close()


def test_idle_threads_share_the_company() -> None:
    company = Company(list, list)
    for load in (8, 8, 8, 8, 64):
        company.join(Companion(load, None, Future()))
    assert [one.load for one in company.take(512, 4)] == [8, 8, 8]
    assert [one.load for one in company.take(8, 1)] == [8]
    assert [one.load for one in company.take(8, 1)] == [64], "never none while there is one"
    assert company.take(512, 1) == []


def test_nothing_of_a_batch_is_kept_when_it_was_evaluated(key, blinding, one) -> None:
    """Not even until the next collection of garbage: a batch of 4,096 points takes almost a megabyte."""
    kept = []

    async def evaluate() -> None:
        batch = await result_of(one.decode(blinding.blinded))
        kept.append(weakref.ref(batch.elements[0].points))
        await result_of(one.evaluate_decoded(key, batch))

    gc.collect()
    gc.disable()
    try:
        asyncio.run(evaluate())
        end = time.monotonic() + 20
        while kept[0]() is not None and time.monotonic() < end:
            time.sleep(0.01)
        assert kept[0]() is None
    finally:
        gc.enable()


def test_who_waits_for_a_result_may_go_away(key, blinding, one) -> None:
    long = np.tile(blinding.blinded, (MAX_BATCH // len(blinding.blinded), 1))  # the others wait behind it
    futures = [one.blind_evaluate(key, batch) for batch in (long, *[blinding.blinded] * 20)]

    async def leave() -> None:
        tasks = [asyncio.create_task(result_of(future)) for future in futures]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(error) for error in found} == {asyncio.CancelledError}

    asyncio.run(leave())
    assert futures[-1].cancelled()


def test_who_waits_for_a_result_hears_what_went_wrong(key, one) -> None:
    with pytest.raises(InvalidElement):
        asyncio.run(result_of(one.blind_evaluate(key, np.full((2, 32), 255, np.uint8))))
