"""Tables in blocks: octet for octet as a twin in plain ints has them; where rows stand; what is refused."""

import numpy as np
import pytest
import row_twin

from contactsync.foundation.errors import BadDirectory
from contactsync.lookup import table as tables
from contactsync.lookup.batch import MAX_FOLD_BITS, Sharing, plan_batch, plan_batches
from contactsync.lookup.table import RowTable, check_level, read_records, usual_fold_bits
from contactsync.lookup.table_file import open_table
from contactsync.tokens import Tokens

COUNTS = {"1": 300_000, "49": 90_000, "351": 3, "mailto": 70}
LABELS = (("49", 32), ("351", 64))


def of_partitions(bits, fold):
    """A table of such partitions, without any file."""
    return RowTable(bits, tables.RowShape(32, 90, 0, 32), {}, fold)


@pytest.fixture(params=[(1, 32, ()), (1, 40, ()), (1, 32, LABELS)], ids=["r32", "r40", "labels"])
def made(make_table, request):
    fold, r, labels = request.param
    return make_table(COUNTS, r, labels, fold)


@pytest.mark.slow
def test_it_is_that_of_the_twin(made):
    entries = {name: [one.tobytes() for one in each] for name, each in made.in_order.items()}
    shape, records, level, root = row_twin.file_of_rows(made.parts, made.remainder_bits, entries, f=1)
    table = made.table
    assert (table.total, table.row_bits, table.depth, table.width) == (shape.total, shape.b, 1, shape.W)
    assert table.shape.content_bytes % 32 == 0
    assert (made.built.level, made.built.root) == (level, root)
    assert made.path.read_bytes() == row_twin.file_of_blocks(shape, records)
    assert [record.tobytes() for record in made.records] == records
    assert np.array_equal(open_table(made.path, table, root).reshape(-1), np.fromfile(made.path, np.uint8))


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_each_row_has_one_number_and_its_place(fold):
    table = of_partitions({"1": 20, "49": 18, "351": 12}, fold)
    assert table.row_bits == 15
    shape = row_twin.Shape(dict(table.slot_bits), 32, table.shape.most, f=fold)
    rng = np.random.default_rng(fold)
    seen = []
    for name, bits in table.slot_bits.items():
        rows = 1 << (bits - 6)
        octets = np.zeros((rows, 10), np.uint8)
        leading = np.arange(rows, dtype=np.uint64) << np.uint64(64 - (bits - 6))
        octets[:, :8] = leading.astype(">u8").view(np.uint8).reshape(-1, 8)
        places = table.places(name, Tokens.from_bytes(octets))
        expected = [shape.number(table.first[name] + i) for i in range(rows)]
        assert places.row.tolist() == expected
        which = list(table.slot_bits).index(name)
        assert (table.partitions(places.row) == which).all()
        seen += expected
    assert sorted(seen) == list(range(table.total))
    for number in rng.choice(table.total, 50).tolist():
        for group in range(3):
            sub, position = Sharing(64, 15, fold).place(np.array([number], np.uint32))
            place = row_twin.place(group, number, 15, 64, fold)
            assert place == (int(sub[group, 0]), int(position[group, 0]))


def test_rows_of_a_block_stand_together_and_all_come_back():
    for size in (8, 64, 512):
        sharing = Sharing(size, 17, 4)
        rows = np.arange(1 << 17, dtype=np.uint32)
        sub, position = sharing.place(rows)
        for group in range(3):
            places = sub[group].astype(np.int64) << sharing.position_bits | position[group]
            assert np.array_equal(np.sort(places), np.arange(1 << 17)), "each place has one row"
            assert (places.reshape(-1, 16) - places[::16, None] == np.arange(16)).all()
            assert (places[::16] % 16 == 0).all()
        positions = np.random.default_rng(1).integers(0, 1 << sharing.position_bits, (3, size // 2))
        back = sharing.rows_at(positions.astype(np.uint32))
        again, inside = sharing.place(back.ravel())
        for group in range(3):
            mine = slice(group * size // 2, (group + 1) * size // 2)
            assert again[group, mine].tolist() == list(range(size // 2))
            assert np.array_equal(inside[group, mine], positions[group])


# --- few wait, whatever the address book is ---------------------------------------------------------------


@pytest.mark.parametrize("q", [12, 14, 18, 20, 22])
def test_contacts_of_one_partition_do_not_wait_for_one_another(q):
    """Also where the partition has 64 rows, in a table of two million: no more of them than blocks."""
    table = of_partitions({"1": 26, "7": 26, "49": q, "99": 12}, 6)
    assert table.row_bits >= 21
    rng = np.random.default_rng(q)
    waited = 0
    for _ in range(20):
        tokens = Tokens.from_bytes(rng.integers(0, 256, (512, 10), np.uint8))
        wanted = table.places("49", tokens).row
        plan = plan_batch(wanted, Sharing(512, table.row_bits, 6), rng.bytes)
        waited += 512 - plan.query.size
        if q == 12:
            assert len(np.unique(wanted)) == 64
    assert waited <= 1


def test_neighbours_would_wait_which_is_why_blocks_have_none():
    """The attack on a simpler order: three rows of a block are found at a time."""
    neighbours = np.arange(64, dtype=np.uint32)
    plan = plan_batch(neighbours, Sharing(512, 21, 6))
    assert plan.query.size == 3


def test_what_waits_comes_in_the_next_batch():
    neighbours = np.arange(9, dtype=np.uint32)
    plans = plan_batches(neighbours, (64, 64, 64), 14, fold_bits=4)
    assert [plan.query.tolist() for plan in plans] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_the_publisher_has_enough_blocks():
    for q in range(12, 33):
        fold = usual_fold_bits([q])
        assert 0 <= fold <= MAX_FOLD_BITS
        assert fold == 0 or 1 << (q - 6 - fold) >= 1 << 14
        assert fold == MAX_FOLD_BITS or 1 << (q - 6 - fold - 1) < 1 << 14
    assert usual_fold_bits([20, 20, 20]) == 1, "3 · 2^14 rows"
    assert usual_fold_bits([12] * 200) == 0


# --- what is refused --------------------------------------------------------------------------------------


def test_a_damaged_file_is_found_wherever_it_is(make_table, tmp_path):
    made = make_table(COUNTS, 32, (), 1)
    whole, layout = bytearray(made.path.read_bytes()), made.table.layout
    assert len(whole) == made.table.file_bytes
    at = 3 * layout.block_bytes
    siblings = at + layout.block_rows * layout.content_bytes
    for place in (
        at,
        at + layout.content_bytes,
        siblings - 1,
        siblings,
        siblings + 32,
        at + layout.block_bytes - 1,
    ):
        whole[place] ^= 1
        (tmp_path / "wrong").write_bytes(whole)
        with pytest.raises(BadDirectory, match="not those"):
            open_table(tmp_path / "wrong", made.table, made.built.root)
        whole[place] ^= 1
    (tmp_path / "wrong").write_bytes(whole[:-32])
    with pytest.raises(BadDirectory, match="bytes instead of"):
        open_table(tmp_path / "wrong", made.table, made.built.root)
    (tmp_path / "wrong").write_bytes(whole)
    open_table(tmp_path / "wrong", made.table, made.built.root)


@pytest.mark.parametrize("fold", [-1, 3, 7])
def test_more_than_a_path_is_in_no_block(make_table, fold):
    infos = make_table(COUNTS, 32, (), 1).infos
    with pytest.raises(BadDirectory, match=rf"in no blocks of 2\^{fold}"):
        RowTable.of(infos, 255 if fold == 7 else 120, None, fold)


def test_one_root_is_not_stated_of_two_kinds_of_blocks(make_table):
    """A client of the other one would ask for rows where they are not, and fail by where its contacts are."""
    made = make_table({"1": 600_000, "49": 300_000}, 32, (), 1)
    for fold in (0, 2):
        other = RowTable.of(made.infos, made.table.shape.most, None, fold)
        with pytest.raises(BadDirectory):
            check_level(made.built.level, other, made.built.root)


def test_a_lie_about_any_octet_of_any_record_discards_all(make_table):
    made = make_table(COUNTS, 32, (), 1)
    rng = np.random.default_rng(5)
    absent = np.arange(made.table.total, 1 << made.table.row_bits, dtype=np.uint32)
    numbers = np.concatenate([rng.choice(made.table.total, 6), absent[:2]]).astype(np.uint32)
    records = np.zeros((8, made.table.width), np.uint8)
    records[:6] = made.records[numbers[:6]]
    read_records(records, numbers, made.level, made.table)
    for which in range(8):
        for place in rng.choice(made.table.width, 25):
            records[which, place] ^= 1 << rng.integers(8)
            with pytest.raises(BadDirectory, match="all of it was discarded"):
                read_records(records, numbers, made.level, made.table)
            records[which] = made.records[numbers[which]] if which < 6 else 0
