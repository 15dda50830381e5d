"""Rows against their twin; every member is found in its row, every tampered octet is refused."""

import numpy as np
import pytest
import row_twin

from contactsync.directory import build, open_directory
from contactsync.directory.match import match
from contactsync.foundation.errors import BadDirectory, BadInput
from contactsync.lookup.merkle import as_nodes, root_of, row_hash
from contactsync.lookup.row_file import build_rows, open_rows
from contactsync.lookup.rows import Geometry, check_level, read_rows
from contactsync.tokens import Tokens

SIZES = [(0, 32), (1, 40), (5792, 32), (5793, 40), (30_000, 40)]
DEEP = (600_000, 32)  # q = 19: paths of one hash
DEEPER = (900_000, 40)  # q = 20, two


def ints(rows, place, geometry):
    slots, remainders = rows.values(place)
    return [
        int(s) << geometry.remainder_bits | int(r)
        for s, r in zip(slots.tolist(), remainders.tolist(), strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "remainder_bits"), [*SIZES, DEEP])
def test_the_twin_makes_the_same_octets(make_rows, count, remainder_bits):
    made = make_rows(count, remainder_bits)
    shape, records, level, root = row_twin.file_of_rows(made.values, made.info.slot_bits, remainder_bits)
    assert (made.geometry.most, made.geometry.width, made.geometry.rows) == (shape.M, shape.W, shape.R)
    assert made.path.read_bytes() == b"".join(records)
    assert made.rows.level.tobytes() == b"".join(level)
    assert made.rows.root == root


@pytest.mark.slow
@pytest.mark.parametrize(("count", "remainder_bits"), [*SIZES, DEEP, DEEPER])
def test_every_member_is_in_its_row_and_strangers_are_not(make_rows, count, remainder_bits):
    made = make_rows(count, remainder_bits)
    some = made.tokens.take(np.arange(0, count, max(1, count // 50_000)))
    number = made.geometry.row_of(some)
    rows = read_rows(made.records[number], number, made.level, made.geometry)
    assert rows.contains(some).all()
    kept = made.info.slot_bits + remainder_bits
    near = []  # the last kept bit, and the first that is not
    for bit in (kept - 1, kept):
        octets = some.to_bytes()
        octets[:, bit // 8] ^= np.uint8(128 >> bit % 8)
        near.append(rows.contains(Tokens.from_bytes(octets)))
    assert not near[0].any()
    assert near[1].all()


@pytest.mark.slow
def test_all_values_of_a_directory_are_read_from_its_rows(make_rows):
    made = make_rows(30_000, 40)
    number = np.arange(made.geometry.rows, dtype=np.uint32)
    rows = read_rows(made.records, number, made.level, made.geometry)
    read = [value for place in range(made.geometry.rows) for value in ints(rows, place, made.geometry)]
    assert read == sorted(made.values)


@pytest.mark.slow
def test_strangers_match_as_often_as_in_the_directory(make_rows, tmp_path):
    # By chance never, so the strangers agree in all but the last 8 remainder bits with somebody.
    made = make_rows(30_000, 40)
    octets = np.repeat(made.tokens.to_bytes(), 5, axis=0)
    last = made.info.slot_bits + 32  # the bits that are drawn again
    rng = np.random.default_rng(3)
    numbers = rng.integers(0, 256, len(octets))
    high, low = divmod(last, 8)
    octets[:, high] = octets[:, high] & (0xFF << (8 - low) & 0xFF) | numbers >> low
    octets[:, high + 1] = numbers << (8 - low) & 0xFF
    strangers = Tokens.from_bytes(octets)
    found = np.zeros(len(octets), np.bool_)
    for first in range(0, len(octets), 50_000):
        part = strangers.take(np.arange(first, min(first + 50_000, len(octets))))
        number = made.geometry.row_of(part)
        rows = read_rows(made.records[number], number, made.level, made.geometry)
        found[first : first + 50_000] = rows.contains(part)
    with open_directory(
        tmp_path / "d", expect=build(tmp_path / "d", [made.tokens], remainder_bits=40)
    ) as directory:
        assert np.array_equal(found, match(strangers, directory))
    expected = len(octets) / 256
    assert abs(found.sum() - expected) < 6 * expected**0.5


@pytest.mark.slow
@pytest.mark.parametrize("remainder_bits", [32, 40])
def test_each_tampered_octet_is_refused(make_rows, remainder_bits):
    made = make_rows(*(DEEP if remainder_bits == 32 else DEEPER))
    number = np.array([5, 4097], np.uint32)
    good = made.records[number]
    messages = set()
    for row in range(2):
        for at in range(made.geometry.width):
            bad = good.copy()
            bad[row, at] ^= 1 << at % 8
            with pytest.raises(BadDirectory) as refused:
                read_rows(bad, number, made.level, made.geometry)
            messages.add((str(refused.value), refused.value.hint, refused.value.refusal))
    assert len(messages) == 1, "the error tells nothing of the row or the octet"
    assert read_rows(good, number, made.level, made.geometry).count.all()


def test_a_row_is_refused_under_another_number_or_geometry(make_rows):
    made = make_rows(5793, 40)
    one = np.array([7], np.uint32)
    read_rows(made.records[one], one, made.level, made.geometry)
    with pytest.raises(BadDirectory):
        read_rows(made.records[one], one + np.uint32(1), made.level, made.geometry)
    whole = np.zeros(made.geometry.content_bytes, np.uint8).tobytes()
    q, r, most = made.geometry.slot_bits, made.geometry.remainder_bits, made.geometry.most
    others = [Geometry(q + 1, r, most), Geometry(q, 72 - r, most), Geometry(q, r, most - 1)]
    leaves = {row_hash(shape.what, 7, whole) for shape in [made.geometry, *others]}
    assert len(leaves) == 4


def test_dummies_are_verified_like_all_others(make_rows):
    """One bad record among many discards all, wherever it is."""
    made = make_rows(5793, 40)
    number = np.arange(12, dtype=np.uint32)
    for place in range(12):
        records = made.records[number].copy()
        records[place, -1] ^= 1
        with pytest.raises(BadDirectory, match="all of it was discarded"):
            read_rows(records, number, made.level, made.geometry)


def test_an_answer_of_another_size_is_refused(make_rows):
    made = make_rows(5793, 40)
    number = np.arange(4, dtype=np.uint32)
    for records in (made.records[:3], made.records[:4, :-1], made.records[:5]):
        with pytest.raises(BadDirectory, match="another size"):
            read_rows(records, number, made.level, made.geometry)


# Signed, and malformed


def signed(geometry, content):
    """A row that verifies, whatever it is: the level of a publisher who signs nonsense."""
    leaves = [row_hash(geometry.what, i, content) for i in range(geometry.level_nodes)]
    return as_nodes(b"".join(leaves))


def row_of_values(geometry, values):
    return row_twin.content(
        row_twin.Shape(geometry.slot_bits, geometry.remainder_bits, geometry.most), values
    )


@pytest.mark.parametrize("remainder_bits", [32, 40])
def test_a_malformed_row_that_verifies_reads_as_empty(remainder_bits):
    geometry = Geometry(13, remainder_bits, 5)
    good = row_of_values(geometry, [(0, 1), (3, 700), (3, 701), (63, 2**remainder_bits - 1)])
    number = np.array([9], np.uint32)

    def read(content):
        records = np.frombuffer(content, np.uint8).reshape(1, -1)
        return read_rows(records, number, signed(geometry, content), geometry)

    assert read(good).count.tolist() == [4]
    last = geometry.bitmap_bytes

    def changed(*changes):
        octets = bytearray(good)
        for at, value in changes:
            octets[at] = value
        return bytes(octets)

    low = 1 + geometry.bitmap_bytes
    malformed = {
        "more than the largest row": changed((0, 6)),
        "255": changed((0, 255)),
        "fewer than ones": changed((0, 3)),
        "more than ones": changed((0, 5)),
        "a one too many": changed((1, good[1] | 4)),
        "all ones": changed(*((i, 255) for i in range(1, low))),
        "a one after the last slot": changed((last, good[last] | 1 << 7)),
        "a value in slot 64": changed(
            (0, 5), (last, good[last] | 1 << 4), (1 + geometry.bitmap_bytes + 16, 1)
        ),
        "out of order": changed((low + 4, 0), (low + 5, 255)),
        "a remainder more": changed((low + 16, 1)),
        "no padding": changed((geometry.content_bytes - 1, 1)),
    }
    if remainder_bits == 40:
        malformed["twice the same"] = changed((low + 22, good[low + 21]))
        malformed["a remainder more, 40"] = changed((low + 24, 1))
    else:
        malformed["twice the same"] = changed(*((low + 8 + i, good[low + 4 + i]) for i in range(4)))
    shape = row_twin.Shape(13, remainder_bits, 5)
    for why, content in malformed.items():
        assert content != good, why
        assert row_twin.values_in(shape, content) == [], why
        assert read(content).count.tolist() == [0], why


@pytest.mark.slow
@pytest.mark.parametrize("remainder_bits", [32, 40])
def test_reader_and_twin_agree_on_changed_rows(remainder_bits):
    geometry = Geometry(12, remainder_bits, 6)
    shape = row_twin.Shape(12, remainder_bits, 6)
    rng = np.random.default_rng(4)
    seen = set()
    for _ in range(1500):
        values = sorted({(int(rng.integers(64)), int(rng.integers(4))) for _ in range(rng.integers(7))})
        content = bytearray(row_of_values(geometry, values))
        for _ in range(rng.integers(3)):
            at = int(rng.integers(0, 2 + geometry.bitmap_bytes if rng.integers(2) else len(content)))
            content[at] ^= 1 << int(rng.integers(8))
        number = rng.integers(0, geometry.rows, 1).astype(np.uint32)
        octets = np.frombuffer(bytes(content), np.uint8).reshape(1, -1)
        rows = read_rows(octets, number, signed(geometry, bytes(content)), geometry)
        first = int(number[0]) * 64
        theirs = [(first + s) << remainder_bits | r for s, r in row_twin.values_in(shape, bytes(content))]
        assert ints(rows, 0, geometry) == theirs
        seen.add(len(theirs))
    assert len(seen) == 7


def test_no_token_matches_what_fills_a_row_up(make_rows):
    """A slot and remainder of zeros are in the padding of each row, and in no row as a value."""
    made = make_rows(1, 40)
    number = np.array([0], np.uint32)
    rows = read_rows(made.records[number], number, made.level, made.geometry)
    assert made.geometry.row_of(made.tokens)[0] != 0
    assert not rows.contains(Tokens(np.zeros(1, np.uint64), np.zeros(1, np.uint16))).any()


def test_rows_are_taken_for_each_query(make_rows):
    """Two tokens of one row, and a third: an answer has each row once, in an order of its own."""
    made = make_rows(5793, 40)
    number = made.geometry.row_of(made.tokens)
    two = np.flatnonzero(number == number[0])[:2]
    other = np.flatnonzero(number != number[0])[:1]
    asked = np.array([number[other[0]], number[0]], np.uint32)
    rows = read_rows(made.records[asked], asked, made.level, made.geometry)
    tokens = made.tokens.take(np.concatenate([two, other]))
    assert rows.take(np.array([1, 1, 0])).contains(tokens).all()
    assert rows.take(np.array([0, 1, 1])).contains(tokens).tolist() == [False, True, False]


def test_a_token_of_another_row_matches_nothing(make_rows):
    made = make_rows(5793, 40)
    one = made.tokens.take(np.array([0]))
    number = made.geometry.row_of(one)
    rows = read_rows(made.records[number], number, made.level, made.geometry)
    elsewhere = Tokens(one.head ^ np.uint64(1 << 63), one.tail)
    assert rows.contains(one).all()
    assert not rows.contains(elsewhere).any()


# The file


@pytest.mark.slow
def test_a_file_of_rows_is_verified_before_it_is_served(make_rows, tmp_path):
    made = make_rows(*DEEP)
    records, rows = open_rows(made.path, made.geometry, made.rows.root)
    assert np.array_equal(records, made.records)
    assert np.array_equal(rows.level, made.rows.level)
    octets = bytearray(made.path.read_bytes())
    width, content = made.geometry.width, made.geometry.content_bytes
    for at in (0, content - 1, content, 40 * width + content + 31, len(octets) - 1):
        wrong = octets.copy()
        wrong[at] ^= 1
        (tmp_path / "wrong").write_bytes(wrong)
        with pytest.raises(BadDirectory):
            open_rows(tmp_path / "wrong", made.geometry, made.rows.root)
    (tmp_path / "wrong").write_bytes(octets[:-1])
    with pytest.raises(BadDirectory, match="bytes instead of"):
        open_rows(tmp_path / "wrong", made.geometry, made.rows.root)
    with pytest.raises(BadDirectory):
        open_rows(made.path, made.geometry, bytes(32))
    with pytest.raises(BadInput):
        open_rows(tmp_path / "none", made.geometry, made.rows.root)


def test_tokens_that_crowd_into_a_row_make_no_rows(tmp_path):
    tokens = Tokens(np.arange(256, dtype=np.uint64) << np.uint64(20), np.zeros(256, np.uint16))
    info = build(tmp_path / "d", [tokens])
    with (
        open_directory(tmp_path / "d", expect=info) as directory,
        pytest.raises(BadInput, match="256 values"),
    ):
        build_rows(tmp_path / "rows", directory)
    assert not (tmp_path / "rows").exists()
    few = tokens.take(np.arange(255))
    with open_directory(tmp_path / "e", expect=build(tmp_path / "e", [few])) as directory:
        rows = build_rows(tmp_path / "rows", directory)
    assert rows.geometry.most == 255
    number = np.zeros(255, np.uint32)
    records = np.fromfile(tmp_path / "rows", np.uint8).reshape(64, -1)[number]
    assert read_rows(records, number, rows.level, rows.geometry).contains(few).all()


# Geometry and level


@pytest.mark.parametrize(
    "shape", [(11, 32, 9), (33, 32, 9), (20, 31, 9), (20, 64, 9), (20, 32, -1), (20, 32, 256), (2**40, 32, 9)]
)
def test_impossible_geometry_is_refused(shape):
    with pytest.raises(BadDirectory, match="no rows have"):
        Geometry(*shape)


def test_a_geometry_is_the_directory_s(make_rows):
    made = make_rows(5793, 40)
    q, r, most = made.geometry.slot_bits, made.geometry.remainder_bits, made.geometry.most
    least = -(-5793 // made.geometry.rows)
    Geometry(q, r, least).check(made.info)
    for other in (Geometry(q + 1, r, most), Geometry(q, 32, most), Geometry(q, r, least - 1)):
        with pytest.raises(BadDirectory):
            other.check(made.info)
    few = make_rows(1, 40)
    with pytest.raises(BadDirectory):
        Geometry(12, 40, 2).check(few.info)


def test_a_level_is_verified_against_the_root(make_rows):
    made = make_rows(5793, 40)
    octets = made.rows.level.tobytes()
    for wrong in (octets[:-32], octets + bytes(32), b"", octets[:-1] + bytes([octets[-1] ^ 1])):
        with pytest.raises(BadDirectory):
            check_level(wrong, made.geometry, made.rows.root)
    assert root_of(as_nodes(octets)) == made.rows.root
