"""Every way to match gives what a Python set gives, on every shape of input."""

import logging

import numpy as np
import pytest

from contactsync.directory import build, match, open_directory, truncate
from contactsync.directory.bucket_writer import BucketWriter
from contactsync.directory.build import _write
from contactsync.directory.format import Layout
from contactsync.directory.match import Way, choose, grouped, joined, kernel_lookup, numpy_lookup
from contactsync.tokens import Tokens

WAYS = [numpy_lookup, kernel_lookup, grouped, joined]


def random_tokens(count: int, seed: int = 1) -> Tokens:
    return Tokens.from_bytes(np.random.default_rng(seed).integers(0, 256, (count, 10), dtype=np.uint8))


def by_head(tokens: Tokens) -> Tokens:
    return tokens.take(np.argsort(tokens.head, kind="stable"))


def present(tokens: Tokens, members: Tokens, bits: int) -> list[bool]:
    shift = 80 - bits
    values = {int.from_bytes(row.tobytes()) >> shift for row in members.to_bytes()}
    return [int.from_bytes(row.tobytes()) >> shift in values for row in tokens.to_bytes()]


@pytest.fixture(
    scope="module", params=[(20_000, 32), (20_000, 40), (600, 32), (600, 40), (0, 32), (3_000_000, 32)]
)
def directory(request, tmp_path_factory):
    count, remainder_bits = request.param
    path = tmp_path_factory.mktemp("match") / "d"
    members = random_tokens(count)
    with open_directory(path, expect=build(path, [members], remainder_bits=remainder_bits)) as opened:
        yield opened, members


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_like_a_set(directory, way) -> None:
    opened, members = directory
    bits = opened.info.slot_bits + opened.info.remainder_bits
    some = members.take(np.arange(0, len(members), max(1, len(members) // 4000)))
    rng = np.random.default_rng(2)
    # Members, neighbours that differ in one bit anywhere, strangers, each several times.
    rows = some.to_bytes()
    rows[np.arange(len(rows)), rng.integers(0, 10, len(rows))] ^= (1 << rng.integers(0, 8, len(rows))).astype(
        np.uint8
    )
    edge = Tokens(np.array([0, 2**64 - 1], np.uint64), np.array([0, 2**16 - 1], np.uint16))
    asked = Tokens.concatenate([some, Tokens.from_bytes(rows), random_tokens(500, 3), edge, some, edge])
    asked = asked.take(rng.permutation(len(asked)))
    for tokens in (asked, by_head(asked), by_head(asked).take(slice(0, 1)), asked.take(slice(0, 0))):
        expected = present(tokens, some if len(members) > 10**6 else members, bits)
        if way is joined:
            order = np.argsort(tokens.head, kind="stable")
            assert joined(tokens.take(order), opened).tolist() == np.array(expected, bool)[order].tolist()
        else:
            assert way(tokens, opened).tolist() == expected


def written(path, members: Tokens, slot_bits: int, remainder_bits: int):
    """A directory with more slot bits than its count asks for, as a large one has."""
    order = np.lexsort((members.tail, members.head))
    with path.open("w+b") as file:
        writer = BucketWriter(file, slot_bits, remainder_bits, kernels=True)
        groups = np.split(order, np.searchsorted(members.head[order] >> np.uint64(56), np.arange(1, 256)))
        values = (truncate(members.take(group), slot_bits, remainder_bits) for group in groups)
        _write(writer, values, Layout(0, slot_bits, remainder_bits, 0).buckets, lambda _: None)
        return writer.finish()


@pytest.mark.parametrize("remainder_bits", [32, 40])
@pytest.mark.parametrize("slot_bits", [23, 24, 25, pytest.param(27, marks=pytest.mark.slow)])
def test_many_slot_bits(tmp_path, slot_bits: int, remainder_bits: int) -> None:
    """Above 24 slot bits a value of 40 remainder bits has more than 64, some of them of the tail."""
    rng = np.random.default_rng(7)
    head = np.repeat(rng.integers(0, 2**64, 300, dtype=np.uint64), 20)  # only tails tell these apart
    tokens = Tokens(head, rng.integers(0, 2**16, head.size, dtype=np.uint16))
    # The same low 64 bits of a value, another part of the directory.
    other = Tokens(head[::20] ^ np.uint64(1 << 63), tokens.tail[::20])
    members = Tokens.concatenate([tokens.take(np.arange(0, len(tokens), 3)), random_tokens(3000, 11)])
    info = written(tmp_path / "d", members, slot_bits, remainder_bits)
    assert info.slot_bits == slot_bits
    asked = by_head(Tokens.concatenate([tokens, other, members]))
    expected = present(asked, members, slot_bits + remainder_bits)
    with open_directory(tmp_path / "d", expect=info) as opened:
        for way in WAYS:
            assert way(asked, opened).tolist() == expected


@pytest.mark.parametrize("remainder_bits", [32, 40])
def test_many_lookups_are_grouped_and_chunked(tmp_path, monkeypatch, remainder_bits: int) -> None:
    """With limits small enough for a test."""
    import importlib

    module = importlib.import_module("contactsync.directory.match")
    monkeypatch.setattr(module, "WORTH_GROUPING", 100)
    monkeypatch.setattr(module, "MIN_CHUNK", 1000)
    monkeypatch.setattr(module, "JOINED_AT_ONCE", 64)
    members = random_tokens(20_000)
    asked = by_head(Tokens.concatenate([members, members, random_tokens(7777, 3)]))
    with open_directory(
        tmp_path / "d", expect=build(tmp_path / "d", [members], remainder_bits=remainder_bits)
    ) as opened:
        expected = numpy_lookup(asked, opened)
        assert expected.sum() == 40_000
        for way in WAYS[1:]:
            assert (way(asked, opened) == expected).all()


@pytest.mark.slow
@pytest.mark.parametrize("remainder_bits", [32, 40])
def test_a_crowded_slot(tmp_path, remainder_bits: int) -> None:
    """Thousands of values in one slot, and none around it."""
    rng = np.random.default_rng(4)
    head = np.uint64(0x123 << 52) | (rng.integers(0, 2**32, 6000, dtype=np.uint64) << np.uint64(20))
    tokens = Tokens(head, np.zeros(head.size, np.uint16))
    info = build(tmp_path / "d", [tokens.take(slice(0, 4000))], remainder_bits=remainder_bits)
    with open_directory(tmp_path / "d", expect=info) as opened:
        asked = by_head(tokens)
        expected = present(asked, tokens.take(slice(0, 4000)), info.slot_bits + remainder_bits)
        for way in WAYS:
            assert way(asked, opened).tolist() == expected


@pytest.mark.slow
def test_threads_give_the_same(directory) -> None:
    opened, members = directory
    asked = Tokens.concatenate([members.take(slice(0, 3000)), random_tokens(3000, 9)])
    one = match(asked, opened)
    for threads in (2, 3, 7):
        assert (match(asked, opened, threads=threads) == one).all()
    assert match(random_tokens(3), opened, threads=8).shape == (3,)


@pytest.mark.slow
def test_the_choice(directory, caplog) -> None:
    opened, members = directory
    # Kernels are loaded by now, so that NumPy is left with what takes it less than 0.1 ms.
    assert choose(random_tokens(100), opened) is Way.NUMPY_LOOKUP
    many = random_tokens(20_000, 5)
    assert choose(many, opened) is (Way.KERNEL_LOOKUP if len(members) > 160_000 else Way.GROUPED)
    if len(members) <= 160_000:
        assert choose(by_head(many), opened) is Way.JOINED
    with caplog.at_level(logging.INFO):
        match(random_tokens(5), opened)
    assert "match: 5 tokens" in caplog.text
    assert "lookups by NumPy" in caplog.text
