"""Which rows are served: real tables, made and opened as a server does."""

import gc
import threading
import weakref

import numpy as np
import pytest

from contactsync.directory import build, open_directory
from contactsync.lookup.table_file import build_table, open_table
from contactsync.server.row_sets import RowSet, RowSets
from contactsync.tokens import Tokens


class Edition:
    """A table of rows on the disk."""

    def __init__(self, folder, seed):
        octets = np.random.default_rng(seed).integers(0, 256, (3000, 10), dtype=np.uint8)
        info = build(folder / "directory", [Tokens.from_bytes(octets)])
        self.path = folder / "rows"
        with open_directory(folder / "directory", expect=info) as directory:
            built = build_table(self.path, {"49": directory})
        self.table, self.root = built.table, built.root
        self.opened = 0
        self.gate = threading.Event()
        self.gate.set()

    def open(self):
        self.opened += 1
        assert self.gate.wait(30)
        return open_table(self.path, self.table, self.root)

    def as_set(self, audience="people"):
        return RowSet(audience, self.root, self.table.layout, self.open)

    def damage(self):
        octets = bytearray(self.path.read_bytes())
        octets[len(octets) // 2] ^= 1
        self.path.write_bytes(octets)


@pytest.fixture
def editions(tmp_path):
    made = []
    for i in range(3):
        folder = tmp_path / str(i)
        folder.mkdir()
        made.append(Edition(folder, i))
    return made


def served(sets, editions, audience="people"):
    return [sets.find(audience, one.root) is not None for one in editions]


def test_rows_are_taken_up_and_let_go(editions):
    sets = RowSets()
    assert sets.take_up([editions[0].as_set()])
    assert sets.take_up([editions[1].as_set(), editions[0].as_set()])
    assert served(sets, editions) == [True, True, False]
    assert sets.take_up([editions[2].as_set(), editions[1].as_set()])
    assert served(sets, editions) == [False, True, True]
    assert [one.opened for one in editions] == [1, 1, 1], "what is open is not verified again"
    assert served(sets, editions, "business") == [False] * 3
    assert sets.take_up([])
    assert len(sets) == 0


def test_the_old_rows_are_served_while_the_new_ones_are_verified(editions):
    old, new = editions[:2]
    sets = RowSets()
    sets.take_up([old.as_set()])
    new.gate.clear()
    taking = threading.Thread(target=sets.take_up, args=([new.as_set()],))
    taking.start()
    while not new.opened:
        pass
    assert served(sets, [old, new]) == [True, False]
    new.gate.set()
    taking.join(30)
    assert served(sets, [old, new]) == [False, True]


def test_rows_that_do_not_verify_are_never_served_and_what_was_goes_on(editions, caplog):
    old, new, older = editions
    sets = RowSets()
    sets.take_up([old.as_set(), older.as_set()])
    good = new.path.read_bytes()
    new.damage()
    for _ in range(3):
        assert not sets.take_up([new.as_set(), old.as_set()])
        assert served(sets, editions) == [True, False, True], "nothing is let go before the newest is there"
    assert len([line for line in caplog.messages if "not served" in line]) == 1, "said once"
    new.path.write_bytes(good)
    assert sets.take_up([new.as_set(), old.as_set()])
    assert served(sets, editions) == [True, True, False]


def test_an_older_edition_that_is_gone_does_not_keep_others(editions):
    newest, gone, old = editions
    sets = RowSets()
    sets.take_up([old.as_set()])
    gone.path.unlink()
    assert not sets.take_up([newest.as_set(), gone.as_set()])
    assert served(sets, editions) == [True, False, False]


def test_each_audience_has_its_own(editions):
    sets = RowSets()
    sets.take_up([editions[0].as_set(), editions[1].as_set("business")])
    assert served(sets, editions) == [True, False, False]
    assert served(sets, editions, "business") == [False, True, False]
    sets.take_up([editions[2].as_set(), editions[1].as_set("business")])
    assert served(sets, editions) == [False, False, True]
    assert editions[1].opened == 1


def test_an_audience_that_cannot_be_served_keeps_no_rows_of_others(editions, tmp_path):
    """Nor more than two of its own, however often the other one is published."""
    for name in "ab":
        (tmp_path / name).mkdir()
    (lost, *_), more = editions, [Edition(tmp_path / name, 10 + i) for i, name in enumerate("ab")]
    lost.path.unlink()
    sets = RowSets()
    for newest in [*editions[1:], *more]:
        assert not sets.take_up([newest.as_set(), lost.as_set("business")])
        assert len(sets) == 1
    own = RowSets()
    for older in [*editions[1:], *more]:
        assert not own.take_up([lost.as_set(), older.as_set()])
        assert own.find("people", older.root)
    assert len(own) == 3


def test_what_was_let_go_is_unmapped(editions):
    sets = RowSets()
    sets.take_up([editions[0].as_set()])
    rows = sets.find("people", editions[0].root)
    gone = weakref.ref(rows.blocks)
    del rows
    sets.take_up([editions[1].as_set()])
    gc.collect()
    assert gone() is None
