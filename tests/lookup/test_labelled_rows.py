"""Rows with labels: against their twin, entry by entry, and with what only a cheating publisher can sign."""

import numpy as np
import pytest
import row_twin

from contactsync.directory import open_directory
from contactsync.directory.sidecar import open_sidecar
from contactsync.foundation.errors import BadDirectory
from contactsync.lookup.merkle import as_nodes, row_hash
from contactsync.lookup.rows import RowShape
from contactsync.lookup.table import RowTable, check_level, read_records
from contactsync.lookup.table_file import build_table, open_table
from contactsync.tokens import Tokens

SEVERAL = {"1": 5800, "49": 700, "39": 6000, "mailto": 12}
SIZES = (("1", 32), ("39", 16), ("mailto", 64))  # "49" has no labels


@pytest.fixture(params=[32, 40])
def made(request, make_table):
    return make_table(SEVERAL, request.param, SIZES)


@pytest.mark.slow
def test_the_twin_makes_the_same_octets_with_labels(made):
    entries = {name: [one.tobytes() for one in each] for name, each in made.in_order.items()}
    shape, records, level, root = row_twin.file_of_rows(made.parts, made.remainder_bits, entries)
    table = made.table
    assert (table.shape.entry_bytes, table.width) == (80, shape.W)
    assert made.path.read_bytes() == b"".join(records)
    assert (made.built.level, made.built.root) == (level, root)


@pytest.mark.slow
def test_labels_of_deep_tables_are_those_of_the_sidecar(make_table):
    """Blocks are smaller with labels: of 2^13 rows and a path of one hash, from several blocks."""
    made = make_table({"1": 600_000}, 32, (("1", 16),))
    entries = {"1": [one.tobytes() for one in made.in_order["1"]]}
    _, records, level, _ = row_twin.file_of_rows(made.parts, 32, entries)
    assert made.table.depth == 1
    assert made.path.read_bytes() == b"".join(records)
    assert made.built.level == level


def test_each_member_gets_its_own_entry_and_strangers_none(made):
    table = made.table
    for name in SEVERAL:
        places = table.places(name, made.tokens[name])
        rows = read_records(made.records[places.row], places.row, made.level, table)
        assert rows.contains(places).all()
        found = rows.entries(places)
        own = made.entries.get(name, np.zeros((len(found), 0), np.uint8))
        assert np.array_equal(found[:, : own.shape[1]], own)
        assert not found[:, own.shape[1] :].any()
        octets = made.tokens[name].to_bytes()
        octets[:, 3] ^= np.uint8(1)
        strangers = table.places(name, Tokens.from_bytes(octets))
        assert not rows.take(np.arange(len(octets))).entries(strangers).any()


def test_one_root_is_of_labelled_rows_or_of_others(made, make_table):
    """The same directories without labels, and with one label changed, have other roots."""
    without = make_table(SEVERAL, made.remainder_bits)
    assert without.built.root != made.built.root
    with pytest.raises(BadDirectory, match=r"octets of hashes|another shape"):
        check_level(made.built.level, without.table, made.built.root)


def test_a_sidecar_of_another_directory_is_refused(make_table, tmp_path):
    made = make_table(SEVERAL, 40, SIZES)
    other = make_table({"1": 5801}, 40, (("1", 32),))
    with (
        open_directory(made.path.parent / "1", expect=made.infos["1"]) as directory,
        open_sidecar(other.path.parent / "1.labels", expect=None) as sidecar,
        pytest.raises(BadDirectory, match="labels are of another directory"),
    ):
        build_table(tmp_path / "rows", {"1": directory}, {"1": sidecar})
    assert not (tmp_path / "rows").exists()


def test_a_file_of_rows_with_another_label_is_not_served(made, tmp_path):
    octets = bytearray(made.path.read_bytes())
    path = tmp_path / "rows"
    path.write_bytes(octets)
    assert np.array_equal(open_table(path, made.table, made.built.root), made.records)
    octets[made.table.shape.entries_at] ^= 1
    path.write_bytes(octets)
    with pytest.raises(BadDirectory, match="not those of the root"):
        open_table(path, made.table, made.built.root)


def test_each_octet_of_an_entry_is_bound_by_the_level(made):
    table, number = made.table, np.array([1], np.uint32)
    for at in range(table.shape.entries_at, table.shape.content_bytes, 37):
        records = made.records[number].copy()
        records[0, at] ^= 1
        with pytest.raises(BadDirectory, match="all of it was discarded"):
            read_records(records, number, made.level, table)


def test_malformed_entries_that_verify_read_as_an_empty_row():
    """Who asks for such a row must not fail: the operator, who signed it, would see it."""
    shape = row_twin.Shape({"1": 12, "49": 12}, 32, 3, {"1": 32})
    table = RowTable({"1": 12, "49": 12}, RowShape(32, 3, 32), {"1": 32})
    values, entries = [(5, 9), (40, 7)], [b"a" * 32, b"b" * 32]
    good = row_twin.content(shape, values, entries)
    at = table.shape.entries_at
    assert (len(good), at) == (table.width, 1 + shape.B + 12)

    def read(content, number):
        numbers = np.array([number], np.uint32)
        leaves = bytearray(32 << table.row_bits)
        name = "1" if number < 64 else "49"
        leaves[32 * number : 32 * (number + 1)] = row_hash(table.what(name), number, content)
        records = np.frombuffer(content, np.uint8).reshape(1, -1)
        rows = read_records(records, numbers, as_nodes(leaves), table)
        return int(rows.count[0]), [one.tobytes() for one in rows.entry[0]]

    assert read(good, 3) == (2, [*entries, bytes(32)])
    after = bytearray(good)
    after[at + 2 * 32] = 1  # an entry after the last value
    assert read(bytes(after), 3)[0] == 0
    assert row_twin.values_in(shape, bytes(after), 32) == ([], [])
    assert read(good, 70)[0] == 0  # entries in a partition that has none
    assert row_twin.values_in(shape, good, 0) == ([], [])
    plain = row_twin.content(shape, values)
    assert read(plain, 70)[0] == 2
    assert read(plain, 3)[0] == 2  # no label can be zeros, and none opens: the match stays


def test_entries_shorter_than_the_widest_end_with_zeros():
    shape = row_twin.Shape({"1": 12, "49": 12}, 32, 3, {"1": 32, "49": 48})
    table = RowTable({"1": 12, "49": 12}, RowShape(32, 3, 48), {"1": 32, "49": 48})
    content = bytearray(row_twin.content(shape, [(5, 9)], [b"a" * 32]))

    def count(octets):
        leaves = bytearray(32 << table.row_bits)
        leaves[:32] = row_hash(table.what("1"), 0, bytes(octets))
        records = np.frombuffer(bytes(octets), np.uint8).reshape(1, -1)
        rows = read_records(records, np.zeros(1, np.uint32), as_nodes(leaves), table)
        return int(rows.count[0])

    assert count(content) == 1
    content[table.shape.entries_at + 32] = 1
    assert count(content) == 0
    assert row_twin.values_in(shape, bytes(content), 32) == ([], [])


@pytest.mark.parametrize("octets", [-1, 1, 16, 31, 33, 81, 255])
def test_labels_of_no_such_length_are_refused(octets):
    with pytest.raises(BadDirectory, match="no label takes"):
        RowShape(32, 99, octets)


def test_what_a_record_with_labels_takes():
    """The figures of docs/lookup.md."""
    for partition_bits, most, width in ((20, 99, 5240), (23, 115, 6168)):
        assert RowTable({"1": partition_bits}, RowShape(32, most, 48), {"1": 48}).width == width
