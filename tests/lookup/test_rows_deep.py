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
from contactsync.lookup import rows as rows_module
from contactsync.lookup.row_file import build_rows, open_rows
from contactsync.lookup.rows import check_level, read_rows
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
    octets, sizes = buckets.encode(Values(key, extra), 0, number, remainder_bits, kernels=True)
    start = (np.cumsum(sizes) - sizes) // 8
    counts = np.bincount((key >> np.uint64(44)).astype(np.int64), minlength=number)
    span = Span(octets.view(np.uint64), start, np.arange(number), counts, remainder_bits)
    info = DirectoryInfo(head.size, slot_bits, remainder_bits, "", DataFile("", octets.size, ""))
    # Of 40 remainder bits the last 8 are zeros: they are bits of the tail, and of the head for few slot bits.
    return Directory(Unmapped(), "sparse", info, span), Tokens(head, np.zeros(head.size, np.uint16))


@pytest.mark.slow
@pytest.mark.parametrize("slot_bits", [21, 25])
def test_paths_of_more_than_a_bucket(tmp_path, slot_bits):
    """At 25 slot bits a subtree below the level has two buckets, and a group of the builder 128 of them."""
    directory, tokens = sparse_directory(slot_bits, 40_000, 32)
    rows = build_rows(tmp_path / "rows", directory)
    geometry = rows.geometry
    geometry.check(directory.info)
    assert (geometry.depth, geometry.level_nodes) == (slot_bits - 18, 4096)
    assert (tmp_path / "rows").stat().st_size == geometry.rows * geometry.width

    records, opened = open_rows(tmp_path / "rows", geometry, rows.root)
    assert opened.root == rows.root
    assert np.array_equal(opened.level, rows.level)
    level = check_level(rows.level.tobytes(), geometry, rows.root)
    number = geometry.row_of(tokens)
    assert read_rows(records[number], number, level, geometry).contains(tokens).all()

    shape = row_twin.Shape(slot_bits, 32, geometry.most)
    nodes = [node.tobytes() for node in rows.level]
    assert row_twin.heights(nodes)[-1] == [rows.root]
    ints = (tokens.head >> np.uint64(32 - slot_bits)).tolist()
    for i in [0, geometry.rows - 1, *number[::4000].tolist()]:
        record = records[i].tobytes()
        assert row_twin.verifies(shape, i, record, nodes)
        assert not row_twin.verifies(shape, i ^ 1, record, nodes)
        own = [(v >> 32 & 63, v & 0xFFFFFFFF) for v in sorted(ints) if v >> 38 == i]
        assert record[: shape.C] == row_twin.content(shape, own)


@pytest.mark.slow
def test_the_rows_are_never_all_in_memory(tmp_path):
    directory, _ = sparse_directory(24, 40_000, 32)
    tracemalloc.start()
    rows = build_rows(tmp_path / "rows", directory)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    file = rows.geometry.rows * rows.geometry.width
    assert file > 50_000_000
    assert peak < file / 2


@pytest.mark.slow
def test_a_lie_fails_whichever_row_was_asked_for(make_rows):
    """What the argument on selective failure rests on: a record XOR e verifies for no row, unless e is 0."""
    made = make_rows(600_000)
    rng = np.random.default_rng(5)
    number = rng.integers(0, made.geometry.rows, 200).astype(np.uint32)
    good = made.records[number]
    lies = [np.zeros(made.geometry.width, np.uint8) for _ in range(6)]
    for i, lie in enumerate(lies):
        lie[rng.integers(0, lie.size, 1 << i)] = rng.integers(1, 256, 1 << i)
    lies.append(good[0] ^ good[1])  # another row in place of the right one, if it were asked for row 0
    lies.append(np.concatenate([np.zeros(made.geometry.content_bytes, np.uint8), good[0, -32:]]))
    for lie in lies:
        for place in range(len(number)):
            with pytest.raises(BadDirectory):
                read_rows(good[place : place + 1] ^ lie, number[place : place + 1], made.level, made.geometry)
    assert read_rows(good, number, made.level, made.geometry).count.any()


@pytest.mark.slow
def test_the_work_is_the_same_wherever_an_answer_fails(make_rows, monkeypatch):
    made = make_rows(600_000)
    number = np.arange(24, dtype=np.uint32)
    hashed = []

    def counted(what, row, content, real=rows_module.row_hash):
        hashed.append((row, len(content)))
        return real(what, row, content)

    def climbed(node, row, path, real=rows_module.climb):
        hashed.append((row, len(path)))
        return real(node, row, path)

    monkeypatch.setattr(rows_module, "row_hash", counted)
    monkeypatch.setattr(rows_module, "climb", climbed)
    done, said = [], set()
    for wrong in ([], [0], [23], [0, 23], list(range(24))):
        records = made.records[number].copy()
        records[wrong, 0] ^= 255
        hashed.clear()
        if wrong:
            with pytest.raises(BadDirectory) as refused:
                read_rows(records, number, made.level, made.geometry)
            said.add((str(refused.value), refused.value.hint, refused.value.refusal))
        else:
            read_rows(records, number, made.level, made.geometry)
        done.append(list(hashed))
    assert len(done[0]) == 48
    assert all(work == done[0] for work in done)
    assert len(said) == 1
