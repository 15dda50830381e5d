"""Rows against their twin; every member is found in its row, every tampered octet is refused."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import row_twin

from contactsync.directory import DataFile, DirectoryInfo, build, open_directory
from contactsync.directory.match import match
from contactsync.foundation.errors import BadDirectory, BadInput
from contactsync.lookup.merkle import as_nodes, row_hash
from contactsync.lookup.rows import Places, RowShape
from contactsync.lookup.table import RowTable, check_level, read_records
from contactsync.lookup.table_file import build_table, open_table
from contactsync.tokens import Tokens

SIZES = [(0, 32), (1, 40), (5792, 32), (5793, 40), (30_000, 40)]
DEEP = (600_000, 32)  # q = 19: paths of one hash
DEEPER = (900_000, 40)  # q = 20, two


SEVERAL = {"1": 5800, "49": 700, "39": 6000, "mailto": 12}


def held(rows, place):
    """What a row has, as (slot in the row, remainder)."""
    many = int(rows.count[place])
    return list(zip(rows.slot[place, :many].tolist(), rows.remainder[place, :many].tolist(), strict=True))


def one_partition(slot_bits, remainder_bits, most, count=None):
    """A table of one partition, "1"."""
    info = DirectoryInfo(count or most, slot_bits, remainder_bits, "", DataFile("", 0, ""))
    return RowTable.of({"1": info}, most)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("counts", "remainder_bits"),
    [*(({"1": count}, r) for count, r in SIZES), ({"1": DEEP[0]}, 32), (SEVERAL, 32), (SEVERAL, 40)],
)
def test_the_twin_makes_the_same_octets(make_table, counts, remainder_bits):
    made = make_table(counts, remainder_bits)
    shape, records, level, root = row_twin.file_of_rows(made.parts, remainder_bits)
    table = made.table
    assert (table.shape.most, table.width, table.total, table.row_bits) == (
        *(shape.M, shape.W),
        *(shape.total, shape.b),
    )
    assert made.path.read_bytes() == b"".join(records)
    assert made.built.level == level
    assert made.built.root == root
    assert list(table.slot_bits) == [name for name, _ in shape.parts]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "remainder_bits"), [*SIZES, DEEP, DEEPER])
def test_every_member_is_in_its_row_and_strangers_are_not(make_rows, count, remainder_bits):
    made = make_rows(count, remainder_bits)
    some = made.tokens["1"].take(np.arange(0, count, max(1, count // 50_000)))
    places = made.table.places("1", some)
    rows = read_records(made.records[places.row], places.row, made.level, made.table)
    assert rows.contains(places).all()
    kept = made.infos["1"].slot_bits + remainder_bits
    near = []  # the last kept bit, and the first that is not
    for bit in (kept - 1, kept):
        octets = some.to_bytes()
        octets[:, bit // 8] ^= np.uint8(128 >> bit % 8)
        near.append(rows.contains(made.table.places("1", Tokens.from_bytes(octets))))
    assert not near[0].any()
    assert near[1].all()


@pytest.mark.slow
def test_all_values_of_directories_are_read_from_their_rows(make_table):
    made = make_table(SEVERAL, 40)
    number = np.arange(made.table.total, dtype=np.uint32)
    rows = read_records(made.records, number, made.level, made.table)
    for name in SEVERAL:
        first = made.table.first[name]
        read = [
            ((i << 6 | slot) << 40) | remainder
            for i in range(made.table.rows(name))
            for slot, remainder in held(rows, first + i)
        ]
        assert read == sorted(made.values(name))


def test_a_member_of_one_partition_is_none_of_another(make_table):
    made = make_table(SEVERAL, 40)
    for name in SEVERAL:
        places = made.table.places(name, made.tokens["39"])
        rows = read_records(made.records[places.row], places.row, made.level, made.table)
        assert rows.contains(places).all() == (name == "39")


def test_where_no_row_is_only_zeros_are_right(make_table):
    made = make_table(SEVERAL, 40)
    table = made.table
    absent = np.arange(table.total, 1 << table.row_bits, dtype=np.uint32)
    assert absent.size > 10
    records = np.zeros((absent.size, table.width), np.uint8)
    assert not read_records(records, absent, made.level, table).count.any()
    for at in (0, table.shape.content_bytes - 1, table.width - 1):
        wrong = records.copy()
        wrong[3, at] = 1
        with pytest.raises(BadDirectory, match="all of it was discarded"):
            read_records(wrong, absent, made.level, table)
    there = np.arange(absent.size, dtype=np.uint32)  # zeros in place of rows
    with pytest.raises(BadDirectory, match="all of it was discarded"):
        read_records(records, there, made.level, table)


@pytest.mark.slow
def test_strangers_match_as_often_as_in_the_directory(make_rows, tmp_path):
    # By chance never, so the strangers agree in all but the last 8 remainder bits with somebody.
    made = make_rows(30_000, 40)
    octets = np.repeat(made.tokens["1"].to_bytes(), 5, axis=0)
    last = made.infos["1"].slot_bits + 32  # the bits that are drawn again
    rng = np.random.default_rng(3)
    numbers = rng.integers(0, 256, len(octets))
    high, low = divmod(last, 8)
    octets[:, high] = octets[:, high] & (0xFF << (8 - low) & 0xFF) | numbers >> low
    octets[:, high + 1] = numbers << (8 - low) & 0xFF
    strangers = Tokens.from_bytes(octets)
    found = np.zeros(len(octets), np.bool_)
    for first in range(0, len(octets), 50_000):
        part = strangers.take(np.arange(first, min(first + 50_000, len(octets))))
        places = made.table.places("1", part)
        rows = read_records(made.records[places.row], places.row, made.level, made.table)
        found[first : first + 50_000] = rows.contains(places)
    with open_directory(
        tmp_path / "d", expect=build(tmp_path / "d", [made.tokens["1"]], remainder_bits=40)
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
        for at in range(made.table.width):
            bad = good.copy()
            bad[row, at] ^= 1 << at % 8
            with pytest.raises(BadDirectory) as refused:
                read_records(bad, number, made.level, made.table)
            messages.add((str(refused.value), refused.value.hint, refused.value.refusal))
    assert len(messages) == 1, "the error tells nothing of the row or the octet"
    assert read_records(good, number, made.level, made.table).count.all()


def test_a_row_is_refused_under_another_number_or_geometry(make_rows):
    made = make_rows(5793, 40)
    one = np.array([7], np.uint32)
    read_records(made.records[one], one, made.level, made.table)
    with pytest.raises(BadDirectory):
        read_records(made.records[one], one + np.uint32(1), made.level, made.table)
    whole = made.records[7, : made.table.shape.content_bytes].tobytes()
    q, r, most = made.infos["1"].slot_bits, 40, made.table.shape.most
    others = [one_partition(*shape, 5793) for shape in [(q + 1, r, most), (q, 32, most), (q, r, most - 1)]]
    leaves = {row_hash(table.what("1"), 7, whole) for table in [made.table, *others]}
    assert len(leaves) == 4


def test_dummies_are_verified_like_all_others(make_rows):
    """One bad record among many discards all, wherever it is."""
    made = make_rows(5793, 40)
    number = np.arange(12, dtype=np.uint32)
    for place in range(12):
        records = made.records[number].copy()
        records[place, -1] ^= 1
        with pytest.raises(BadDirectory, match="all of it was discarded"):
            read_records(records, number, made.level, made.table)


def test_an_answer_of_another_size_is_refused(make_rows):
    made = make_rows(5793, 40)
    number = np.arange(4, dtype=np.uint32)
    for records in (made.records[:3], made.records[:4, :-1], made.records[:5]):
        with pytest.raises(BadDirectory, match="another size"):
            read_records(records, number, made.level, made.table)


# Signed, and malformed


def signed(table, content):
    """A row that verifies, whatever it is: the level of a publisher who signs nonsense."""
    leaves = [row_hash(table.what("1"), i, content) for i in range(table.level_nodes)]
    return as_nodes(b"".join(leaves))


def row_of_values(table, values):
    shape = row_twin.Shape(table.slot_bits, table.shape.remainder_bits, table.shape.most)
    return row_twin.content(shape, values)


@pytest.mark.parametrize("remainder_bits", [32, 40])
def test_a_malformed_row_that_verifies_reads_as_empty(remainder_bits):
    table = one_partition(13, remainder_bits, 5)
    bitmap_bytes = table.shape.bitmap_bytes
    good = row_of_values(table, [(0, 1), (3, 700), (3, 701), (63, 2**remainder_bits - 1)])
    number = np.array([9], np.uint32)

    def read(content):
        records = np.frombuffer(content, np.uint8).reshape(1, -1)
        return read_records(records, number, signed(table, content), table)

    assert read(good).count.tolist() == [4]
    last = bitmap_bytes

    def changed(*changes):
        octets = bytearray(good)
        for at, value in changes:
            octets[at] = value
        return bytes(octets)

    low = 1 + bitmap_bytes
    malformed = {
        "more than the largest row": changed((0, 6)),
        "255": changed((0, 255)),
        "fewer than ones": changed((0, 3)),
        "more than ones": changed((0, 5)),
        "a one too many": changed((1, good[1] | 4)),
        "all ones": changed(*((i, 255) for i in range(1, low))),
        "a one after the last slot": changed((last, good[last] | 1 << 7)),
        "a value in slot 64": changed((0, 5), (last, good[last] | 1 << 4), (low + 16, 1)),
        "out of order": changed((low + 4, 0), (low + 5, 255)),
        "a remainder more": changed((low + 16, 1)),
        "no padding": changed((table.shape.content_bytes - 1, 1)),
    }
    if remainder_bits == 40:
        malformed["twice the same"] = changed((low + 22, good[low + 21]))
        malformed["a remainder more, 40"] = changed((low + 24, 1))
    else:
        malformed["twice the same"] = changed(*((low + 8 + i, good[low + 4 + i]) for i in range(4)))
    shape = row_twin.Shape({"1": 13}, remainder_bits, 5)
    for why, content in malformed.items():
        assert content != good, why
        assert row_twin.values_in(shape, content)[0] == [], why
        assert read(content).count.tolist() == [0], why


@pytest.mark.slow
@pytest.mark.parametrize("remainder_bits", [32, 40])
def test_reader_and_twin_agree_on_changed_rows(remainder_bits):
    table = one_partition(12, remainder_bits, 6)
    shape = row_twin.Shape({"1": 12}, remainder_bits, 6)
    rng = np.random.default_rng(4)
    seen = set()
    for _ in range(1500):
        values = sorted({(int(rng.integers(64)), int(rng.integers(4))) for _ in range(rng.integers(7))})
        content = bytearray(row_of_values(table, values))
        for _ in range(rng.integers(3)):
            at = int(rng.integers(0, 2 + table.shape.bitmap_bytes if rng.integers(2) else len(content)))
            content[at] ^= 1 << int(rng.integers(8))
        number = rng.integers(0, table.total, 1).astype(np.uint32)
        octets = np.frombuffer(bytes(content), np.uint8).reshape(1, -1)
        rows = read_records(octets, number, signed(table, bytes(content)), table)
        theirs, _ = row_twin.values_in(shape, bytes(content))
        assert held(rows, 0) == theirs
        seen.add(len(theirs))
    assert len(seen) == 7


def test_no_token_matches_what_fills_a_row_up(make_rows):
    """A slot and remainder of zeros are in the padding of each row, and in no row as a value."""
    made = make_rows(1, 40)
    number = np.array([0], np.uint32)
    rows = read_records(made.records[number], number, made.level, made.table)
    assert made.table.places("1", made.tokens["1"]).row[0] != 0
    zeros = Tokens(np.zeros(1, np.uint64), np.zeros(1, np.uint16))
    assert not rows.contains(made.table.places("1", zeros)).any()


def test_rows_are_taken_for_each_query(make_rows):
    """Two tokens of one row, and a third: an answer has each row once, in an order of its own."""
    made = make_rows(5793, 40)
    places = made.table.places("1", made.tokens["1"])
    number = places.row
    two = np.flatnonzero(number == number[0])[:2]
    other = np.flatnonzero(number != number[0])[:1]
    asked = np.array([number[other[0]], number[0]], np.uint32)
    rows = read_records(made.records[asked], asked, made.level, made.table)
    wanted = Places.concatenate([places.take(two), places.take(other)])
    assert rows.take(np.array([1, 1, 0])).contains(wanted).all()
    assert rows.take(np.array([0, 1, 1])).contains(wanted).tolist() == [False, True, False]


def test_a_token_of_another_row_matches_nothing(make_rows):
    made = make_rows(5793, 40)
    one = made.tokens["1"].take(np.array([0]))
    places = made.table.places("1", one)
    rows = read_records(made.records[places.row], places.row, made.level, made.table)
    elsewhere = Tokens(one.head ^ np.uint64(1 << 63), one.tail)
    assert rows.contains(places).all()
    assert not rows.contains(made.table.places("1", elsewhere)).any()


# The file


@pytest.mark.slow
def test_a_file_of_rows_is_verified_before_it_is_served(make_table, tmp_path):
    made = make_table({"1": DEEP[0], "49": 9000})
    records = open_table(made.path, made.table, made.built.root)
    assert np.array_equal(records, made.records)
    octets = bytearray(made.path.read_bytes())
    width, content = made.table.width, made.table.shape.content_bytes
    for at in (0, content - 1, content, 40 * width + content + 31, len(octets) - 1):
        wrong = octets.copy()
        wrong[at] ^= 1
        (tmp_path / "wrong").write_bytes(wrong)
        with pytest.raises(BadDirectory):
            open_table(tmp_path / "wrong", made.table, made.built.root)
    (tmp_path / "wrong").write_bytes(octets[:-1])
    with pytest.raises(BadDirectory, match="bytes instead of"):
        open_table(tmp_path / "wrong", made.table, made.built.root)
    with pytest.raises(BadDirectory):
        open_table(made.path, made.table, bytes(32))
    with pytest.raises(BadInput):
        open_table(tmp_path / "none", made.table, made.built.root)


def test_tokens_that_crowd_into_a_row_make_no_rows(tmp_path):
    tokens = Tokens(np.arange(256, dtype=np.uint64) << np.uint64(20), np.zeros(256, np.uint16))
    info = build(tmp_path / "d", [tokens])
    with (
        open_directory(tmp_path / "d", expect=info) as directory,
        pytest.raises(BadInput, match="256 values"),
    ):
        build_table(tmp_path / "rows", {"1": directory})
    assert not (tmp_path / "rows").exists()
    few = tokens.take(np.arange(255))
    with open_directory(tmp_path / "e", expect=build(tmp_path / "e", [few])) as directory:
        built = build_table(tmp_path / "rows", {"1": directory})
    assert built.table.shape.most == 255
    records = np.fromfile(tmp_path / "rows", np.uint8).reshape(64, -1)
    level = check_level(built.level, built.table, built.root)
    places = built.table.places("1", few)
    assert read_records(records[places.row], places.row, level, built.table).contains(places).all()


# RowTable and level


@pytest.mark.parametrize("shape", [(31, 9), (64, 9), (32, -1), (32, 256), (2**40, 9)])
def test_an_impossible_shape_is_refused(shape):
    with pytest.raises(BadDirectory, match="no rows have"):
        RowShape(*shape)


def directory_of(slot_bits, remainder_bits=32, count=9):
    return DirectoryInfo(count, slot_bits, remainder_bits, "", DataFile("", 0, ""))


@pytest.mark.parametrize(
    ("directories", "most"),
    [
        ({}, 0),
        ({"1": directory_of(11)}, 9),
        ({"1": directory_of(33)}, 9),
        ({"1": directory_of(2**40)}, 9),
        ({"1": directory_of(12), "49": directory_of(12, 40)}, 9),  # no publication has both
        ({"1": directory_of(32), "49": directory_of(12)}, 9),  # 2^26 rows and 64 more
        ({"1": directory_of(12, count=65)}, 1),  # 65 values in 64 rows
        ({"1": directory_of(12, count=5), "49": directory_of(12, count=9)}, 10),
    ],
)
def test_an_impossible_table_is_refused(directories, most):
    with pytest.raises(BadDirectory, match="rows: "):
        RowTable.of(directories, most)


def test_the_largest_table():
    table = RowTable.of({"1": directory_of(31, count=2**31), "49": directory_of(31, count=2**31)}, 255)
    assert (table.total, table.row_bits, table.depth, table.level_nodes) == (2**26, 26, 14, 4096)


def test_the_largest_partition_is_first_and_then_it_goes_by_name():
    infos = {name: directory_of(q) for name, q in {"49": 13, "1": 12, "39": 13, "mailto": 20}.items()}
    table = RowTable.of(infos, 3)
    assert list(table.first.items()) == [("mailto", 0), ("39", 16384), ("49", 16512), ("1", 16640)]
    assert (table.total, table.row_bits) == (16704, 15)


def test_a_level_is_verified_against_the_root(make_rows):
    made = make_rows(5793, 40)
    octets = made.built.level
    for wrong in (octets[:-32], octets + bytes(32), b"", octets[:-1] + bytes([octets[-1] ^ 1])):
        with pytest.raises(BadDirectory):
            check_level(wrong, made.table, made.built.root)
    assert made.built.root == hashlib.sha256(octets).digest()


def test_one_root_is_of_one_table_alone(make_table):
    """Of a table with a country more, or more slots, the same level would verify most rows, and not some."""
    made = make_table(SEVERAL, 40)
    level, root = made.built.level, made.built.root
    check_level(level, made.table, root)
    infos = made.infos
    more = {**infos, "423": replace(infos["mailto"], count=3)}
    larger = {**infos, "mailto": replace(infos["mailto"], slot_bits=13)}
    renamed = {"40" if name == "39" else name: info for name, info in infos.items()}
    for others in (more, larger, renamed):
        other = RowTable.of(others, made.table.shape.most)
        assert other.level_nodes == made.table.level_nodes
        with pytest.raises(BadDirectory):
            check_level(level, other, root)
