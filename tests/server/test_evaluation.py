"""The evaluator with its real kernels: same results, fair turns, bounds, and an orderly end."""

import asyncio
import threading
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest

from contactsync.foundation.errors import BadInput, InvalidElement
from contactsync.server import evaluation as module
from contactsync.server.company import Companion, Company
from contactsync.server.evaluation import SLICE, Evaluator, Overloaded
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


def small_batches(count, sizes=(8, 1, 64, 3)):
    """Blindings of several sizes."""
    return [
        client.blind([b"tel:+4915%03d%06d" % (i, j) for j in range(sizes[i % len(sizes)])])
        for i in range(count)
    ]


@pytest.fixture
def held(monkeypatch, one, key, blinding):
    """The one thread is busy until the event is set, so that what comes meanwhile waits together."""
    release = hold(monkeypatch, "composite_sum")
    busy = [one.blind_evaluate(key, blinding.blinded[: SLICE + 1])]
    yield release
    release.set()
    for job in busy:
        job.result()


def test_those_who_wait_go_together_and_each_has_a_proof_of_its_own(key, one, held, monkeypatch) -> None:
    decoding, evaluating = [], []
    for name, seen in (("decode_batches", decoding), ("blind_evaluate_batches", evaluating)):
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, real=real, seen=seen: seen.append(len(a[-1])) or real(*a)
        )
    blindings = small_batches(12)
    jobs = [one.decode(part.blinded) for part in blindings]
    held.set()
    decoded = [job.result(30) for job in jobs]
    assert decoding == [12]
    release = hold(monkeypatch, "decode_batches")  # holds the thread again
    waiting = one.decode(blindings[0].blinded)
    jobs = [one.evaluate_decoded(key, batch) for batch in decoded]
    release.set()
    waiting.result(30)
    for part, job in zip(blindings, jobs, strict=True):
        outputs = client.finalize(part, *job.result(30), key.public)
        assert (outputs == server.evaluate(key, part.inputs)).all()
    assert sum(evaluating) == 12
    assert max(evaluating) >= 11


def test_a_bad_element_is_the_fault_of_its_own_batch(one, held) -> None:
    blindings = small_batches(8)
    for bad, index in ((1, 0), (2, 63)):
        blindings[bad].blinded[index] = 255
    jobs = [one.decode(part.blinded) for part in blindings]
    held.set()
    for i, job in enumerate(jobs):
        if i in (1, 2):
            with pytest.raises(InvalidElement) as caught:
                job.result(30)
            assert caught.value.index == {1: 0, 2: 63}[i]
        else:
            assert len(job.result(30).elements[0]) == len(blindings[i].blinded)


def test_companies_of_two_keys_do_not_mix(key, one, monkeypatch) -> None:
    other = server.derive_key_pair(bytes(32), b"contactsync/v1/people/2")
    blindings = small_batches(8)
    decoded = [one.decode(part.blinded).result(30) for part in blindings]
    release = hold(monkeypatch, "decode_batches")
    waiting = one.decode(blindings[0].blinded)
    keys = [key, other] * 4
    jobs = [one.evaluate_decoded(which, batch) for which, batch in zip(keys, decoded, strict=True)]
    release.set()
    waiting.result(30)
    for part, which, job in zip(blindings, keys, jobs, strict=True):
        outputs = client.finalize(part, *job.result(30), which.public)
        assert (outputs == server.evaluate(which, part.inputs)).all()


def test_a_companion_that_went_away_is_not_worked_on(one, held, monkeypatch) -> None:
    seen, real = [], module.decode_batches
    monkeypatch.setattr(module, "decode_batches", lambda some: seen.extend(some) or real(some))
    blindings = small_batches(3)
    jobs = [one.decode(part.blinded) for part in blindings]
    assert jobs[1].cancel()
    held.set()
    assert all(jobs[i].result(30) for i in (0, 2))
    assert len(seen) == 2


def test_companions_count_as_jobs_and_are_cancelled_at_the_end(monkeypatch) -> None:
    release = hold(monkeypatch, "decode_batches")
    evaluator = Evaluator(1, 2)
    (part,) = small_batches(1)
    jobs = [evaluator.decode(part.blinded) for _ in range(3)]
    with pytest.raises(Overloaded):
        evaluator.decode(part.blinded)
    threading.Timer(0.2, release.set).start()
    evaluator.close()
    assert all(job.done() for job in jobs)
    with pytest.raises(Overloaded):
        evaluator.decode(part.blinded)


def test_an_unforeseen_error_reaches_the_whole_company_and_nobody_else(one, held, monkeypatch) -> None:
    blindings = small_batches(2)
    with monkeypatch.context() as patch:
        patch.setattr(module, "decode_batches", lambda _: 1 / 0)
        jobs = [one.decode(part.blinded) for part in blindings]
        held.set()
        for job in jobs:
            with pytest.raises(ZeroDivisionError):
                job.result(30)
    assert one.decode(blindings[0].blinded).result(30)


def test_idle_threads_share_the_company() -> None:
    company = Company()
    for load in (8, 8, 8, 8, 64):
        company.join(Companion(b"tag", list, load, None))
    assert [one.load for one in company.take(b"tag", 512, 4)] == [8, 8, 8]
    assert [one.load for one in company.take(b"tag", 8, 1)] == [8]
    assert [one.load for one in company.take(b"tag", 8, 1)] == [64], "never none while there is one"
    assert company.take(b"tag", 512, 1) == []
