"""Build, open, list, match: against Python sets, at both widths and at counts around every boundary."""

import numpy as np
import pytest

from contactsync.directory import build, match, open_directory, slot_bits_for, truncate
from contactsync.foundation.errors import BadInput
from contactsync.tokens import Tokens


def random_tokens(count: int, seed: int = 1) -> Tokens:
    return Tokens.from_bytes(np.random.default_rng(seed).integers(0, 256, (count, 10), dtype=np.uint8))


def as_ints(tokens: Tokens, slot_bits: int, remainder_bits: int) -> list[int]:
    shift = 80 - slot_bits - remainder_bits
    return [int.from_bytes(row.tobytes()) >> shift for row in tokens.to_bytes()]


@pytest.mark.slow
@pytest.mark.parametrize("remainder_bits", [32, 40])
@pytest.mark.parametrize("count", [0, 1, 2, 64, 4095, 5792, 5793, 50_000, 1_200_000])
def test_round_trip(tmp_path, count: int, remainder_bits: int) -> None:
    tokens = random_tokens(count)
    info = build(tmp_path / "d", [tokens], remainder_bits=remainder_bits)
    assert info.slot_bits == slot_bits_for(count)
    assert info.count == count
    expected = sorted(as_ints(tokens, info.slot_bits, remainder_bits)) if count < 100_000 else None
    with open_directory(tmp_path / "d", expect=info) as directory:
        assert open_directory(tmp_path / "d", expect=None).info == info
        parts = list(directory.values(chunk=10_000))
        key = np.concatenate([p.key for p in parts])
        extra = np.concatenate([p.extra for p in parts])
        if expected is not None:
            shift = remainder_bits - 32
            assert [(int(k) << shift) | int(e) for k, e in zip(key, extra, strict=True)] == expected
        assert match(tokens, directory).all()
        strangers = random_tokens(min(count, 30_000) + 10, seed=2)
        assert not match(strangers, directory).any()
        mixed = Tokens.concatenate([strangers, tokens.take(np.arange(0, count, 7)), strangers])
        found = match(mixed, directory)
        assert found.sum() == len(range(0, count, 7))


@pytest.mark.parametrize("remainder_bits", [32, 40])
def test_near_misses_differ_in_the_last_kept_bit_only(tmp_path, remainder_bits: int) -> None:
    tokens = random_tokens(20_000)
    info = build(tmp_path / "d", [tokens], remainder_bits=remainder_bits)
    kept = info.slot_bits + remainder_bits
    numbers = [int.from_bytes(row.tobytes()) for row in tokens.to_bytes()]

    def flipped(bit: int) -> Tokens:
        rows = b"".join((n ^ (1 << (79 - bit))).to_bytes(10) for n in numbers)
        return Tokens.from_bytes(np.frombuffer(rows, np.uint8).reshape(-1, 10))

    with open_directory(tmp_path / "d", expect=info) as directory:
        assert not match(flipped(kept - 1), directory).any()
        assert match(flipped(kept), directory).all()
        assert not match(flipped(info.slot_bits - 1), directory).any()


def test_truncate_is_a_shift_of_80_bits() -> None:
    tokens = random_tokens(100)
    for slot_bits in (12, 23, 24, 25, 32):
        for remainder_bits in (32, 40):
            values = truncate(tokens, slot_bits, remainder_bits)
            shift = remainder_bits - 32
            got = [(int(k) << shift) | int(e) for k, e in zip(values.key, values.extra, strict=True)]
            assert got == as_ints(tokens, slot_bits, remainder_bits)


def test_same_bytes_for_the_same_set(tmp_path) -> None:
    tokens = random_tokens(30_000)
    one = build(tmp_path / "one", [tokens])
    order = np.random.default_rng(3).permutation(len(tokens))
    shuffled = tokens.take(order)
    parts = [shuffled.take(slice(i, i + 999)) for i in range(0, 30_000, 999)] + [tokens.take(slice(5, 500))]
    assert build(tmp_path / "two", parts) == one
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


def test_tokens_that_agree_in_all_kept_bits_count_once(tmp_path) -> None:
    rows = np.zeros((3, 10), np.uint8)
    rows[:, 9] = [0, 1, 255]
    info = build(tmp_path / "d", [Tokens.from_bytes(rows)], remainder_bits=40)
    assert info.count == 1


def test_full_and_adjacent_slots(tmp_path) -> None:
    """Everything in one bucket, everything in one slot, the first and the last slot."""
    rng = np.random.default_rng(5)
    for head in (
        rng.integers(0, 1 << 52, 9000, dtype=np.uint64),
        rng.integers(0, 1 << 40, 9000, dtype=np.uint64),
        np.concatenate(
            [rng.integers(0, 1 << 40, 500, dtype=np.uint64), ~rng.integers(0, 1 << 40, 500, dtype=np.uint64)]
        ),
    ):
        tokens = Tokens(head, np.zeros(head.size, np.uint16))
        info = build(tmp_path / "d", [tokens])
        with open_directory(tmp_path / "d", expect=info) as directory:
            assert match(tokens, directory).all()
            shift = np.uint64(32 - info.slot_bits)
            present = set((head >> shift).tolist())
            assert directory.count == len(present)
            other = head ^ np.uint64(1 << 30)
            expected = [h in present for h in (other >> shift).tolist()]
            assert match(Tokens(other, tokens.tail), directory).tolist() == expected


def test_tokens_that_are_no_prf_outputs(tmp_path) -> None:
    head = np.arange(70_000, dtype=np.uint64) << np.uint64(20)
    with pytest.raises(BadInput, match="not VOPRF outputs"):
        build(tmp_path / "d", [Tokens(head, np.zeros(head.size, np.uint16))])
    assert list(tmp_path.iterdir()) == []


def test_slot_bits_rule() -> None:
    assert [slot_bits_for(n) for n in (0, 1, 4096, 5792, 5793, 11_585, 11_586)] == [
        12,
        12,
        12,
        12,
        13,
        13,
        14,
    ]
    assert slot_bits_for(10_000_000) == 23
    assert slot_bits_for(100_000_000) == 27
    for q in range(13, 32):
        assert slot_bits_for(2**q) == q
