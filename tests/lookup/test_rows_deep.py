"""Rows of large directories: many slot bits, subtrees within a group, memory; and answers that fail."""

import tracemalloc

import numpy as np
import pytest
import row_twin

from contactsync.directory import buckets
from contactsync.directory.buckets import Span
from contactsync.directory.format import DataFile, DirectoryInfo, Values
from contactsync.directory.reader import Directory
from contactsync.foundation.errors import BadDirectory
from contactsync.lookup import table as table_module
from contactsync.lookup.table import check_level, read_records
from contactsync.lookup.table_file import build_table, open_table
from contactsync.tokens import Tokens


class Unmapped:
    """Stands for the file of a directory that is in memory."""

    def close(self):
        pass


def sparse_directory(slot_bits, count, remainder_bits):
    """A directory of few values and many slot bits, and its values' tokens. No builder makes such a one."""
    rng = np.random.default_rng(slot_bits)
    head = np.unique(rng.integers(0, 2**64, count, dtype=np.uint64))
    key = head >> np.uint64(32 - slot_bits)
    extra = np.zeros(head.size, np.uint8)
    number = 1 << (slot_bits - 12)
    octets, sizes = buckets.encode(Values(key, extra), np.arange(number), remainder_bits, kernels=True)
    start = (np.cumsum(sizes) - sizes) // 8
    counts = np.bincount((key >> np.uint64(44)).astype(np.int64), minlength=number)
    span = Span(octets.view(np.uint64), start, np.arange(number), counts, remainder_bits)
    info = DirectoryInfo(head.size, slot_bits, remainder_bits, "", DataFile("", octets.size, ""))
    # Of 40 remainder bits the last 8 are zeros: they are bits of the tail, and of the head for few slot bits.
    return Directory(Unmapped(), "sparse", info, span), Tokens(head, np.zeros(head.size, np.uint16))


@pytest.mark.slow
@pytest.mark.parametrize("slots", [{"1": 21}, {"1": 21, "7": 18, "49": 19, "98": 12}, {"1": 25, "49": 12}])
def test_paths_of_more_than_a_bucket(tmp_path, slots):
    """Of 2^25 slots a subtree below the level has several buckets, and a block many of them."""
    made = {name: sparse_directory(bits, 40_000 >> (21 - min(21, bits)), 32) for name, bits in slots.items()}
    built = build_table(tmp_path / "rows", {name: directory for name, (directory, _) in made.items()})
    table = built.table
    bits = max(slots.values()) - 6 + (len(slots) > 1)
    assert (table.row_bits, table.depth, table.level_nodes) == (bits, bits - 12, 4096)
    assert (tmp_path / "rows").stat().st_size == table.total * table.width

    records = open_table(tmp_path / "rows", table, built.root)
    level = check_level(built.level, table, built.root)
    shape = row_twin.Shape(slots, 32, table.shape.most)
    assert (shape.W, shape.total, shape.b) == (table.width, table.total, table.row_bits)
    nodes = [node.tobytes() for node in level]
    for name, (_, tokens) in made.items():
        places = table.places(name, tokens)
        assert read_records(records[places.row], places.row, level, table).contains(places).all()
        ints = sorted((tokens.head >> np.uint64(32 - slots[name])).tolist())
        first, rows = table.first[name], table.rows(name)
        for i in [first, first + rows - 1, *places.row[:: max(1, len(ints) // 10)].tolist()]:
            record = records[i].tobytes()
            assert row_twin.verifies(shape, i, record, nodes)
            assert not row_twin.verifies(shape, i ^ 1, record, nodes)
            own = [(v >> 32 & 63, v & 0xFFFFFFFF) for v in ints if v >> 38 == i - first]
            assert record[: shape.C] == row_twin.content(shape, own)


@pytest.mark.slow
def test_the_rows_are_never_all_in_memory(tmp_path):
    directory, _ = sparse_directory(24, 40_000, 32)
    tracemalloc.start()
    table = build_table(tmp_path / "rows", {"1": directory}).table
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    file = table.total * table.width
    assert file > 50_000_000
    assert peak < file / 2


@pytest.mark.slow
def test_a_lie_fails_whichever_row_was_asked_for(make_rows):
    """What the argument on selective failure rests on: a record XOR e verifies for no row, unless e is 0."""
    made = make_rows(600_000)
    rng = np.random.default_rng(5)
    number = rng.integers(0, made.table.total, 200).astype(np.uint32)
    good = made.records[number]
    lies = [np.zeros(made.table.width, np.uint8) for _ in range(6)]
    for i, lie in enumerate(lies):
        lie[rng.integers(0, lie.size, 1 << i)] = rng.integers(1, 256, 1 << i)
    lies.append(good[0] ^ good[1])  # another row in place of the right one, if it were asked for row 0
    lies.append(np.concatenate([np.zeros(made.table.shape.content_bytes, np.uint8), good[0, -32:]]))
    for lie in lies:
        for place in range(len(number)):
            with pytest.raises(BadDirectory):
                read_records(good[place : place + 1] ^ lie, number[place : place + 1], made.level, made.table)
    assert read_records(good, number, made.level, made.table).count.any()


@pytest.mark.slow
def test_the_work_is_the_same_wherever_an_answer_fails(make_rows, monkeypatch):
    made = make_rows(600_000)
    number = np.arange(24, dtype=np.uint32)
    hashed = []

    def counted(what, row, content, real=table_module.row_hash):
        hashed.append((row, len(content)))
        return real(what, row, content)

    def climbed(node, row, path, real=table_module.climb):
        hashed.append((row, len(path)))
        return real(node, row, path)

    monkeypatch.setattr(table_module, "row_hash", counted)
    monkeypatch.setattr(table_module, "climb", climbed)
    done, said = [], set()
    for wrong in ([], [0], [23], [0, 23], list(range(24))):
        records = made.records[number].copy()
        records[wrong, 0] ^= 255
        hashed.clear()
        if wrong:
            with pytest.raises(BadDirectory) as refused:
                read_records(records, number, made.level, made.table)
            said.add((str(refused.value), refused.value.hint, refused.value.refusal))
        else:
            read_records(records, number, made.level, made.table)
        done.append(list(hashed))
    assert len(done[0]) == 48
    assert all(work == done[0] for work in done)
    assert len(said) == 1
