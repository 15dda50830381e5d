"""Deltas: what two directories differ in, carried over masks, chains and bases; and every wrong file."""

import hashlib
import random
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contactsync.directory.build import build
from contactsync.directory.delta import apply_to_directory, check_against, compose, read_delta, write_delta
from contactsync.directory.format import Values, truncate
from contactsync.directory.match import match
from contactsync.directory.reader import open_directory
from contactsync.directory.value_sets import contains, decode, encode, encoded_bytes, union
from contactsync.foundation.errors import BadDirectory
from contactsync.kernels.deltas import difference
from contactsync.tokens import Tokens

ROWS = np.random.default_rng(4).integers(0, 256, (9000, 10), np.uint8)
TOKENS = Tokens.from_bytes(ROWS)
WIDTHS = pytest.mark.parametrize("remainder_bits", [32, 40])


class Editions:
    """Directories of some of TOKENS, and deltas between them, in a folder."""

    def __init__(self, folder, remainder_bits=32):
        self.folder, self.remainder_bits = folder, remainder_bits

    def base(self, number, members):
        path = self.folder / f"base-{number}"
        build(path, [TOKENS.take(np.array(sorted(members), np.int64))], remainder_bits=self.remainder_bits)
        return path

    def delta(self, start, end):
        path = self.folder / f"delta-{start}-{end}"
        with (
            open_directory(self.folder / f"base-{start}", expect=None) as old,
            open_directory(self.folder / f"base-{end}", expect=None) as new,
        ):
            info = write_delta(path, old, new, from_edition=start, to_edition=end)
        assert info is not None
        return read_delta(path, expect=info)


def pairs(values):
    return list(zip(values.key.tolist(), values.extra.tolist(), strict=True))


@pytest.fixture
def editions(tmp_path):
    made = Editions(tmp_path)
    made.base(1, range(5000))
    made.base(2, range(100, 5200))
    return made


@pytest.mark.slow
@WIDTHS
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (range(5000), range(5000)),
        (range(5000), range(1, 5001)),
        (range(3000), range(500, 3400)),
        (range(5000), range(4000)),
        (range(2), range(1500)),
    ],
)
def test_a_delta_is_what_two_sets_differ_in(tmp_path, remainder_bits, old, new):
    made = Editions(tmp_path, remainder_bits)
    made.base(1, old)
    made.base(2, new)
    delta = made.delta(1, 2)
    of = {i: pairs(truncate(TOKENS.take(np.array([i])), 12, remainder_bits))[0] for i in {*old, *new}}
    assert pairs(delta.removed) == sorted({of[i] for i in old} - {of[i] for i in new})
    assert pairs(delta.added) == sorted({of[i] for i in new} - {of[i] for i in old})


@WIDTHS
def test_a_mask_carried_on_is_the_match_with_the_new_directory(tmp_path, remainder_bits):
    made = Editions(tmp_path, remainder_bits)
    paths = [made.base(1, range(5000)), made.base(2, range(100, 5200))]
    mine = TOKENS.take(np.random.default_rng(1).integers(0, 9000, 700))  # with duplicates
    with open_directory(paths[0], expect=None) as old, open_directory(paths[1], expect=None) as new:
        before, after = match(mine, old), match(mine, new)
    delta = made.delta(1, 2)
    kept = before.copy()
    carried = delta.apply_to_mask(mine, before)
    assert (carried == after).all()
    assert (carried != before).any()
    assert (before == kept).all()


def random_chain(folder, remainder_bits, length, seed=2):
    """Editions 1 … length + 1, each with some members gone, some new, some back."""
    rng = random.Random(seed)
    made = Editions(folder, remainder_bits)
    members = set(range(4500))
    made.base(1, members)
    deltas = []
    for number in range(2, length + 2):
        members -= set(rng.sample(sorted(members), 40))
        members |= set(rng.sample(range(6000), 60))
        made.base(number, members)
        deltas.append(made.delta(number - 1, number))
    return made, deltas


@pytest.mark.slow
@WIDTHS
def test_a_chain_of_32_leads_where_its_last_delta_says(tmp_path, remainder_bits):
    made, deltas = random_chain(tmp_path, remainder_bits, 32)
    whole = compose(deltas)
    assert (whole.from_edition, whole.to_edition) == (1, 33)
    direct = made.delta(1, 33)
    assert pairs(whole.added) == pairs(direct.added)
    assert pairs(whole.removed) == pairs(direct.removed)
    assert replace(whole, added=direct.added, removed=direct.removed) == direct
    with open_directory(tmp_path / "base-1", expect=None) as base:
        whole.check_follows(base.info)
        apply_to_directory(tmp_path / "carried", base, deltas)
        mask = match(TOKENS, base)
    assert (tmp_path / "carried").read_bytes() == (tmp_path / "base-33").read_bytes()
    for delta in deltas:
        mask = delta.apply_to_mask(TOKENS, mask)
    with open_directory(tmp_path / "base-33", expect=None) as last:
        assert (mask == match(TOKENS, last)).all()


def test_one_delta_is_a_chain(editions):
    delta = editions.delta(1, 2)
    assert compose([delta]) is delta


def test_the_same_directories_give_the_same_bytes(editions):
    editions.delta(1, 2)
    first = (editions.folder / "delta-1-2").read_bytes()
    editions.delta(1, 2)
    assert (editions.folder / "delta-1-2").read_bytes() == first


def test_a_delta_of_little_churn_is_small(tmp_path):
    made = Editions(tmp_path)
    base = made.base(1, range(8000))
    made.base(2, range(8, 8008))
    made.delta(1, 2)
    # 0.1 % of joins and of leaves; the fixed 168 bytes count at this size.
    assert (tmp_path / "delta-1-2").stat().st_size < 300
    assert base.stat().st_size > 30_000


def test_no_delta_where_the_whole_is_less_or_the_widths_differ(tmp_path):
    made = Editions(tmp_path)
    made.base(1, range(3000))
    made.base(2, range(3000, 6000))  # all are gone, others came
    made.base(3, range(9000))  # 13 slot bits
    with (
        open_directory(tmp_path / "base-1", expect=None) as one,
        open_directory(tmp_path / "base-2", expect=None) as two,
        open_directory(tmp_path / "base-3", expect=None) as three,
    ):
        assert one.info.slot_bits < three.info.slot_bits
        for new in (two, three):
            assert write_delta(tmp_path / "d", one, new, from_edition=1, to_edition=2) is None
    assert not (tmp_path / "d").exists()


# ---- deltas for another edition ----------------------------------------------------------------------


def test_a_delta_for_another_edition(tmp_path):
    _, (first, second, third) = random_chain(tmp_path, 32, 3)
    with pytest.raises(BadDirectory, match="does not continue the delta before"):
        compose([first, third])
    with pytest.raises(BadDirectory, match="does not continue the delta before"):
        compose([first, replace(second, old_sha256="00" * 32)])
    with open_directory(tmp_path / "base-1", expect=None) as base:
        with pytest.raises(BadDirectory, match="does not start from the stored directory"):
            second.check_follows(base.info)
        with pytest.raises(BadDirectory, match="does not start from the stored directory"):
            apply_to_directory(tmp_path / "out", base, [second])
        mask = match(TOKENS, base)
        once = first.apply_to_mask(TOKENS, mask)
        assert np.array_equal(first.apply_to_mask(TOKENS, once), once), "whoever's they are"
        check_against([first, second], base)
        with pytest.raises(BadDirectory, match="does not start from the stored directory"):
            check_against([second], base)
        check_against([], base)
    assert not (tmp_path / "out").exists()


@WIDTHS
def test_a_delta_that_does_not_fit_the_values(tmp_path, remainder_bits):
    made = Editions(tmp_path, remainder_bits)
    made.base(1, range(5000))
    made.base(2, range(100, 5200))
    made.base(3, range(200, 5300))
    delta = made.delta(1, 2)
    later = made.delta(2, 3)
    there, not_there = (
        truncate(TOKENS.take(np.array([200])), 12, 40),
        truncate(TOKENS.take(np.array([8000])), 12, 40),
    )
    if remainder_bits == 32:
        there, not_there = Values(there.key, there.extra * 0), Values(not_there.key, not_there.extra * 0)
    adds = replace(delta, added=union(delta.added, there), new_count=delta.new_count + 1)
    removes = replace(delta, removed=union(delta.removed, not_there), new_count=delta.new_count - 1)
    with open_directory(tmp_path / "base-1", expect=None) as base:
        mask = match(TOKENS, base)
        for wrong, says in (
            (adds, "adds a token that is already present"),
            (removes, "removes a token that is not present"),
        ):
            wrong.apply_to_mask(TOKENS, mask)
            with pytest.raises(BadDirectory, match=says):
                check_against([wrong], base)
            with pytest.raises(BadDirectory, match=says):
                apply_to_directory(tmp_path / "out", base, [wrong])
        with pytest.raises(BadDirectory, match="its result is not the directory"):
            apply_to_directory(tmp_path / "out", base, [replace(delta, new_sha256="00" * 32)])
    assert not (tmp_path / "out").exists()
    with pytest.raises(BadDirectory, match="adds a token that is already present"):
        compose(
            [
                delta,
                replace(later, added=union(later.added, Values(delta.added.key[:1], delta.added.extra[:1]))),
            ]
        )
    with pytest.raises(BadDirectory, match="removes a token that is not present"):
        compose(
            [
                delta,
                replace(
                    later,
                    removed=union(later.removed, Values(delta.removed.key[:1], delta.removed.extra[:1])),
                ),
            ]
        )


# ---- wrong files -------------------------------------------------------------------------------------

HEADER = struct.Struct("<8sHBBI7Q32s32s")


def resealed(data):
    """With a length and a checksum that are right again."""
    data = bytearray(data[:-32])
    data[64:72] = (len(data) + 32).to_bytes(8, "little")
    return bytes(data) + hashlib.sha256(data).digest()


def with_field(data, index, value):
    fields = list(HEADER.unpack_from(data))
    fields[index] = value
    return HEADER.pack(*fields) + data[HEADER.size :]


@pytest.mark.parametrize(
    ("index", "value", "says"),
    [
        (0, b"CSDIR\r\n\x1a", "wrong magic"),
        (1, 2, "delta format 2"),
        (2, 11, "out of range"),
        (2, 33, "out of range"),
        (3, 33, "out of range"),
        (4, 1, "out of range"),
        (5, 2, "it goes from edition 2 to edition 2"),
        (7, 9000, "too many for 12 slot bits"),
        (7, 4999, "4999 tokens less 100 and 200 more are not 5100"),
        (8, 5101, "are not 5101"),
        (9, 2**63, "tokens less"),
        (10, 201, "201 more are not"),
    ],
)
def test_a_wrong_header(editions, index, value, says):
    editions.delta(1, 2)
    path = editions.folder / "delta-1-2"
    path.write_bytes(resealed(with_field(path.read_bytes(), index, value)))
    with pytest.raises(BadDirectory, match=says) as caught:
        read_delta(path)
    assert caught.value.hint


def test_counts_that_add_up_but_not_to_the_size(editions):
    editions.delta(1, 2)
    path = editions.folder / "delta-1-2"
    data = with_field(with_field(path.read_bytes(), 9, 101), 10, 201)
    path.write_bytes(resealed(data))
    with pytest.raises(BadDirectory, match="bytes for 101 removed and 201 added"):
        read_delta(path)


@pytest.mark.slow
@WIDTHS
def test_every_truncation_and_every_flipped_byte(tmp_path, remainder_bits):
    made = Editions(tmp_path, remainder_bits)
    made.base(1, range(5000))
    made.base(2, range(9, 5007))
    made.delta(1, 2)
    path = tmp_path / "delta-1-2"
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(BadDirectory):
            read_delta(path)
    rng = random.Random(1)
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(BadDirectory):
            read_delta(path)
        # Somebody who makes the checksum right as well gets an error or another well-formed delta.
        path.write_bytes(resealed(flipped))
        try:
            delta = read_delta(path)
        except BadDirectory:
            continue
        assert len(delta.removed) == 9
        assert not contains(delta.removed, delta.added).any()


def test_sets_that_are_not_canonical(editions):
    delta = editions.delta(1, 2)
    path = editions.folder / "delta-1-2"
    data = path.read_bytes()
    size = encoded_bytes(100, 12, 32)
    both = encode(Values(delta.added.key[:100], delta.added.extra[:100]), 12, 32)
    rest = data[HEADER.size + size :]
    path.write_bytes(resealed(data[: HEADER.size] + both + rest))
    with pytest.raises(BadDirectory, match="removes and adds the same token"):
        read_delta(path)
    falling = delta.removed.key.copy()
    falling[4], falling[5] = falling[5], falling[4]
    same_high = delta.removed.key >> np.uint64(37) << np.uint64(37) | falling & np.uint64(2**37 - 1)
    path.write_bytes(
        resealed(data[: HEADER.size] + encode(Values(same_high, delta.removed.extra), 12, 32) + rest)
    )
    twice = delta.removed.key.copy()
    twice[1] = twice[0]
    path.write_bytes(
        resealed(data[: HEADER.size] + encode(Values(twice, delta.removed.extra), 12, 32) + rest)
    )
    with pytest.raises(BadDirectory, match="not in ascending order"):
        read_delta(path)


def test_another_file_than_the_manifest_names(editions):
    editions.delta(1, 2)
    editions.base(3, range(200, 5300))
    editions.delta(2, 3)
    path = editions.folder / "delta-1-2"
    with (
        open_directory(editions.folder / "base-1", expect=None) as old,
        open_directory(editions.folder / "base-2", expect=None) as new,
    ):
        info = write_delta(path, old, new, from_edition=1, to_edition=2)
    with pytest.raises(BadDirectory, match=r"SHA-256|bytes instead of"):
        read_delta(editions.folder / "delta-2-3", expect=info)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_octets_are_one_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("junk") / "junk"
    path.write_bytes(data)
    with pytest.raises(BadDirectory):
        read_delta(path)


# ---- sets --------------------------------------------------------------------------------------------

# Keys that often agree, so that the last 8 bits decide.
members = st.sets(
    st.tuples(st.sampled_from([0, 1, 5, 2**20, 2**44 - 1]) | st.integers(0, 2**44 - 1), st.integers(0, 3))
)


def values_of(some):
    rows = sorted(some)
    return Values(np.array([k for k, _ in rows], np.uint64), np.array([e for _, e in rows], np.uint8))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(members, members)
def test_the_algebra_of_sets(a, b):
    first, second = values_of(a), values_of(b)
    assert contains(first, second).tolist() == [pair in a for pair in sorted(b)]
    assert pairs(union(first, values_of(b - a))) == sorted(a | b)
    alone, other_alone = np.zeros(len(a), np.bool_), np.zeros(len(b), np.bool_)
    i, j = difference(first.key, first.extra, second.key, second.extra, alone, other_alone)
    assert i == len(a) or j == len(b)
    assert alone[:i].tolist() == [pair not in b for pair in sorted(a)[:i]]
    assert other_alone[:j].tolist() == [pair not in a for pair in sorted(b)[:j]]


@settings(max_examples=150, deadline=None)
@given(st.integers(12, 32), st.sampled_from([32, 40]), st.integers(0, 300), st.integers(0, 2**32))
def test_encoded_sets_come_back(slot_bits, remainder_bits, count, seed):
    rng = np.random.default_rng(seed)
    key = np.unique(rng.integers(0, 2 ** (slot_bits + 32) - 1, count, np.uint64, endpoint=True))
    wide = remainder_bits == 40
    values = Values(key, rng.integers(0, 256, key.size).astype(np.uint8) * np.uint8(wide))
    data = encode(values, slot_bits, remainder_bits)
    assert len(data) == encoded_bytes(len(values), slot_bits, remainder_bits)
    assert len(data) % 8 == 0
    assert pairs(decode(data, len(values), slot_bits, remainder_bits, "it")) == pairs(values)


def test_the_largest_and_smallest_values_come_back():
    for slot_bits in (12, 32):
        top = 2 ** (slot_bits + 32) - 1
        for some in ([0], [top], [0, top], [top - 1, top], [0, 1, 2, 3]):
            values = Values(np.array(some, np.uint64), np.zeros(len(some), np.uint8))
            assert pairs(decode(encode(values, slot_bits, 32), len(some), slot_bits, 32, "it")) == pairs(
                values
            )


def test_many_low_bits_are_laid_out_in_steps(monkeypatch):
    values = Values(np.arange(1000, dtype=np.uint64) * np.uint64(3**15), np.zeros(1000, np.uint8))
    whole = encode(values, 12, 32)
    monkeypatch.setattr("contactsync.directory.value_sets._ROWS", 64)
    assert encode(values, 12, 32) == whole


# ---- the document ------------------------------------------------------------------------------------


def plain_set(data, c, q, r):
    """One set, read as docs/directory-format.md says; (values, bytes it took)."""
    if c == 0:
        return [], 0
    h = c.bit_length()
    low_bits = q + 32 - h
    bitmap = -(-(c + 2**h) // 64) * 8
    low_end = bitmap + -(-c * low_bits // 64) * 8
    unary = int.from_bytes(data[:bitmap], "little")
    lows = int.from_bytes(data[bitmap:low_end], "little")
    places = [bit for bit in range(bitmap * 8) if unary >> bit & 1]
    values = [
        (place - i) << low_bits | lows >> (i * low_bits) & (2**low_bits - 1) for i, place in enumerate(places)
    ]
    if r == 32:
        return values, low_end
    return [v << 8 | e for v, e in zip(values, data[low_end : low_end + c], strict=True)], low_end + -(
        -c // 8
    ) * 8


@WIDTHS
def test_a_reader_from_the_document_agrees(tmp_path, remainder_bits):
    made = Editions(tmp_path, remainder_bits)
    made.base(1, range(5000))
    made.base(2, range(70, 5200))
    delta = made.delta(1, 2)
    data = (tmp_path / "delta-1-2").read_bytes()
    assert hashlib.sha256(data[:-32]).digest() == data[-32:]
    magic, version, q, r, _, start, end, old, new, gone, came, length = struct.unpack_from("<8sHBBI7Q", data)
    assert (magic, version, q, r, start, end) == (b"CSDLT\r\n\x1a", 1, 12, remainder_bits, 1, 2)
    assert (old, new, gone, came, length) == (5000, 5130, 70, 200, len(data))
    for number, place in ((1, 72), (2, 104)):
        assert hashlib.sha256((tmp_path / f"base-{number}").read_bytes()).digest() == data[place : place + 32]
    removed, size = plain_set(data[136:], gone, q, r)
    added, rest = plain_set(data[136 + size :], came, q, r)
    assert 136 + size + rest + 32 == length
    for found, expected in ((removed, delta.removed), (added, delta.added)):
        assert found == [k << 8 | e if r == 40 else k for k, e in pairs(expected)]


def test_the_document_says_so():
    text = (Path(__file__).resolve().parents[2] / "docs" / "directory-format.md").read_text()
    assert "43 53 44 4c 54 0d 0a 1a" in text
