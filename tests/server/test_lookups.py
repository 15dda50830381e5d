"""The room where look-ups wait: who goes together, who is refused, and that each gets its own answer.

Threads, keys and passes are real; the rows are random, as the room does not look into them.
"""

import contextlib
import gc
import threading
import weakref
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest

from contactsync.foundation.errors import BadInput
from contactsync.lookup import dpf
from contactsync.lookup.answer import RowLayout, answer
from contactsync.lookup.batch import MAX_ROW_BITS, Sharing
from contactsync.server.admission import Overloaded
from contactsync.server.lookups import LookupRoom, OpenRows

PLENTY = 1 << 30
WIDTH = 72
SECONDS = 30


class Gated(OpenRows):
    """Rows over which a pass begins only when the gate is open."""

    gate = threading.Event()
    begun = threading.Event()

    def answer(self, batches):
        self.begun.set()
        assert self.gate.wait(SECONDS)
        return super().answer(batches)


def make(kind=OpenRows, total=1300, row_bits=11, seed=1, fold=0):
    """Rows of a table that is not full."""
    layout = RowLayout(row_bits, fold, WIDTH, 0)
    blocks = np.random.default_rng(seed).integers(0, 256, (total >> fold, layout.block_bytes), np.uint8)
    return kind(blocks, layout)


@pytest.fixture
def room():
    room = LookupRoom(PLENTY)
    room.sizes = []
    room.passed = lambda clients, _seconds: room.sizes.append(clients)
    yield room
    Gated.gate.set()
    room.close()


@pytest.fixture
def gated():
    Gated.gate.clear()
    Gated.begun.clear()
    return make(Gated)


def keys_of(rows, size, seed=0):
    """The keys of both servers, for random positions."""
    sharing = Sharing(size, rows.layout.row_bits, rows.layout.fold_bits)
    rng = np.random.default_rng(seed)
    positions = rng.integers(0, 1 << sharing.position_bits, sharing.sub_databases, np.uint32)
    return [keys.tobytes() for keys in dpf.generate(positions, sharing.position_bits)]


def alone(rows, size, octets):
    """What `lookup.answer` gives for one client."""
    sharing = Sharing(size, rows.layout.row_bits, rows.layout.fold_bits)
    keys = np.frombuffer(octets, np.uint8).reshape(sharing.sub_databases, -1)
    selections = dpf.expand(keys, sharing.position_bits)[None]
    return answer(rows.blocks, selections, size, rows.layout)[0].tobytes()


def ask(room, rows, size, octets, client="somebody"):
    with room.admit(client, rows, size) as place:
        return place.ask(octets).result(SECONDS)


class Waiting:
    """Clients that are in the room, and wait."""

    def __init__(self, room):
        self.room = room
        self.inside = []

    def add(self, client, rows, size, octets):
        context = self.room.admit(client, rows, size)
        future = context.__enter__().ask(octets)
        self.inside.append((context, future))
        return future

    def leave(self):
        for context, _ in self.inside:
            context.__exit__(None, None, None)


@pytest.fixture
def waiting(room):
    waiting = Waiting(room)
    yield waiting
    waiting.leave()
    assert room.waiting() == 0


@pytest.mark.parametrize("size", [8, 64, 512])
@pytest.mark.parametrize("fold", [0, 2])
def test_an_answer_is_that_of_the_rows_alone(room, size, fold):
    rows = make(fold=fold)
    assert rows.rows == 1300
    assert list(rows.sizes) == [8, 64, 512]
    for octets in keys_of(rows, size):
        assert len(octets) == rows.key_bytes(size)
        found = ask(room, rows, size, octets)
        assert found == alone(rows, size, octets)
        assert len(found) == rows.answer_bytes(size)


def test_both_answers_make_the_row(room):
    rows = make()
    sharing = Sharing(8, rows.layout.row_bits)
    position = np.arange(12, dtype=np.uint32)
    keys = dpf.generate(position, sharing.position_bits)
    one, other = (np.frombuffer(ask(room, rows, 8, some.tobytes()), np.uint8) for some in keys)
    there = sharing.rows_at(position.reshape(3, 4)).ravel()
    whole = np.zeros((1 << rows.layout.row_bits, WIDTH), np.uint8)  # rows that are absent are zeros
    whole[: len(rows.blocks)] = rows.blocks
    assert np.array_equal((one ^ other).reshape(12, WIDTH), whole[there])


def test_small_tables_have_small_batches_alone():
    assert list(make(total=64, row_bits=6).sizes) == [8]
    assert list(make(total=200, row_bits=8).sizes) == [8, 64]


@pytest.mark.parametrize("row_bits", range(5, MAX_ROW_BITS + 1))
def test_the_size_of_a_batch_follows_from_the_octets_of_its_keys(row_bits):
    rows = make(total=8, row_bits=row_bits)
    lengths = [rows.key_bytes(size) for size in rows.sizes]
    assert len(set(lengths)) == len(lengths)


def test_those_who_wait_share_a_pass_and_each_gets_its_own_answer(room, gated, waiting):
    batches = [keys_of(gated, 64, seed)[0] for seed in range(21)]
    futures = [waiting.add(0, gated, 64, batches[0])]
    assert Gated.begun.wait(SECONDS)  # it goes alone: it does not wait for company
    futures += [waiting.add(i, gated, 64, octets) for i, octets in enumerate(batches[1:], 1)]
    Gated.gate.set()
    for future, octets in zip(futures, batches, strict=True):
        assert future.result(SECONDS) == alone(gated, 64, octets)
    room.close()
    assert room.sizes == [1, 8, 8, 4]


def test_batches_of_another_size_or_of_other_rows_have_a_pass_of_their_own(room, gated, waiting):
    other = make(seed=2, total=1100)
    first = waiting.add("first", gated, 8, keys_of(gated, 8)[0])
    assert Gated.begun.wait(SECONDS)
    asked = [(i, rows, size) for i in range(3) for rows in (gated, other) for size in (8, 64)]
    batches = [keys_of(rows, size, i)[1] for i, rows, size in asked]
    futures = [
        waiting.add(i, rows, size, octets) for (i, rows, size), octets in zip(asked, batches, strict=True)
    ]
    Gated.gate.set()
    first.result(SECONDS)
    for (_, rows, size), octets, future in zip(asked, batches, futures, strict=True):
        assert future.result(SECONDS) == alone(rows, size, octets)
    room.close()
    assert room.sizes == [1, 3, 3, 3, 3]


def test_many_threads_at_once_get_what_each_asked_for(room):
    tables = [make(seed=seed, total=900 + seed) for seed in range(2)]
    work = [(tables[i % 2], (8, 64, 512)[i % 3], i) for i in range(120)]

    def run(item):
        rows, size, seed = item
        octets = keys_of(rows, size, seed)[seed % 2]
        return ask(room, rows, size, octets, seed) == alone(rows, size, octets)

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(run, work))
    room.close()
    assert sum(room.sizes) == len(work)
    assert max(room.sizes) <= 8


def malformed(rows):
    """Keys that are none, and the word that says why."""
    good = keys_of(rows, 64)[0]
    length = len(good) // 96
    control, first_bit = bytearray(good), bytearray(good)
    control[5 * length + 32] = 4
    first_bit[95 * length + 16] |= 1
    deep = make(total=20, row_bits=MAX_ROW_BITS)
    return [
        (bytes(control), "control bits"),
        (bytes(first_bit), "first bit"),
        (good[:-1], "octets here"),
        (good + b"\0", "octets here"),
        (b"", "octets here"),
        (keys_of(deep, 8)[0], "octets here"),
    ]


@pytest.mark.parametrize("which", range(6))
def test_malformed_keys_are_refused_at_once_and_harm_nobody(room, which, waiting):
    Gated.gate.clear()
    Gated.begun.clear()
    rows = make(Gated, row_bits=16)  # deep enough for corrections
    octets, why = malformed(rows)[which]
    good = keys_of(rows, 64)[0]
    first = waiting.add("first", rows, 64, good)
    assert Gated.begun.wait(SECONDS)
    company = [waiting.add(i, rows, 64, good) for i in range(3)]
    with room.admit("malformed", rows, 512) as place, pytest.raises(BadInput, match=why):
        place.ask(octets)
    company += [waiting.add(i, rows, 64, good) for i in range(3, 6)]
    Gated.gate.set()
    assert {future.result(SECONDS) for future in [first, *company]} == {alone(rows, 64, good)}
    room.close()
    assert room.sizes == [1, 6]


def test_a_larger_batch_than_was_let_in_is_refused(room):
    rows = make()
    with room.admit("a", rows, 8) as place, pytest.raises(BadInput, match="no room"):
        place.ask(keys_of(rows, 64)[0])
    with room.admit("a", rows, 512) as place:  # a smaller one has room
        assert place.ask(keys_of(rows, 8)[0]).result(SECONDS)


def test_a_pass_that_fails_is_told_to_those_in_it_and_the_next_one_is_answered(room, waiting):
    class Failing(OpenRows):
        def answer(self, batches):
            raise MemoryError(len(batches))

    failing, rows = make(Failing), make()
    futures = [waiting.add(i, failing, 8, keys_of(failing, 8)[0]) for i in range(3)]
    for future in futures:
        with pytest.raises(MemoryError):
            future.result(SECONDS)
    octets = keys_of(rows, 8)[0]
    assert ask(room, rows, 8, octets) == alone(rows, 8, octets)


def fill(contexts, room, client, rows, size):
    """How many batches of a client are let in."""
    count = 0
    try:
        while True:
            contexts.enter_context(room.admit(client, rows, size))
            count += 1
    except Overloaded:
        return count


def test_memory_is_bounded_and_there_is_room_for_the_next_client():
    rows = make()
    each = rows.memory(64)
    room = LookupRoom(100 * each)
    with contextlib.ExitStack() as inside:
        assert [fill(inside, room, name, rows, 64) for name in "abc"] == [50, 25, 13]
        total = 88 + sum(fill(inside, room, i, rows, 64) for i in range(100))
        assert total == 100
        assert room.waiting() == 100
        with pytest.raises(Overloaded):
            inside.enter_context(room.admit("next", rows, 8))
    assert room.waiting() == 0
    with room.admit("next", rows, 512):
        pass
    room.close()


def test_memory_counts_all_that_a_batch_takes():
    rows = make(row_bits=16)
    # 96 keys for 2^11 rows have 32 + 4 * 17 octets each, and expand to 2^11 bits.
    assert rows.memory(64) == 96 * (100 + 256 + WIDTH)


def test_one_batch_always_fits_where_there_is_none():
    rows, room = make(), LookupRoom(1)
    with room.admit("a", rows, 512), pytest.raises(Overloaded), room.admit("b", rows, 8):
        pass
    with room.admit("b", rows, 8):
        pass
    room.close()


def test_a_client_has_so_many_batches_at_a_time(room):
    rows, room = make(), LookupRoom(PLENTY, a_client=2)
    with room.admit("a", rows, 8), room.admit("a", rows, 8):
        with pytest.raises(Overloaded), room.admit("a", rows, 8):
            pass
        with room.admit("b", rows, 8):
            pass
    with room.admit("a", rows, 8):
        pass
    room.close()


def test_who_asks_for_much_does_not_stand_before_who_asks_for_little(room, gated, waiting):
    octets = keys_of(gated, 8)[0]
    order = []
    waiting.add("first", gated, 8, octets)
    assert Gated.begun.wait(SECONDS)
    for i in range(40):
        waiting.add("greedy", gated, 8, octets).add_done_callback(lambda _, i=i: order.append(i))
    for name in ("b", "c"):
        waiting.add(name, gated, 8, octets).add_done_callback(lambda _, name=name: order.append(name))
    Gated.gate.set()
    for _, future in waiting.inside:
        future.result(SECONDS)
    room.close()
    assert {"b", "c"} <= set(order[:8])  # in the first pass after those that had begun


def test_a_batch_that_is_cancelled_while_it_waits_is_not_worked_on(room, gated, waiting):
    octets = keys_of(gated, 8)[0]
    running = waiting.add("first", gated, 8, octets)
    assert Gated.begun.wait(SECONDS)
    gone, stays = (waiting.add(i, gated, 8, octets) for i in range(2))
    assert gone.cancel()
    assert not running.cancel()
    Gated.gate.set()
    assert stays.result(SECONDS) == running.result(SECONDS)
    room.close()
    assert room.sizes == [1, 1]


def test_the_end_cancels_who_waits_and_nobody_comes_in(room, gated, waiting):
    octets = keys_of(gated, 8)[0]
    running = waiting.add("first", gated, 8, octets)
    assert Gated.begun.wait(SECONDS)
    others = [waiting.add(i, gated, 8, octets) for i in range(10)]
    with room.admit("late", gated, 8) as late:
        ending = threading.Thread(target=room.close)
        ending.start()
        while not room._closed:
            pass
        Gated.gate.set()
        ending.join(SECONDS)
        assert running.result(0)
        for future in others:
            with pytest.raises(CancelledError):
                future.result(0)
        with pytest.raises(Overloaded):
            late.ask(octets)
    with pytest.raises(Overloaded), room.admit("later", gated, 8):
        pass


def test_rows_that_nobody_asks_for_any_more_are_let_go(room):
    rows = make()
    gone = weakref.ref(rows.blocks.base if rows.blocks.base is not None else rows.blocks)
    ask(room, rows, 8, keys_of(rows, 8)[0])
    del rows
    gc.collect()
    assert gone() is None
