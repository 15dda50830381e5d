"""What is SQLite's own: snapshots, traces in the files, damage, versions, a full disk."""

import re
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from contactsync.foundation.errors import OurError
from contactsync.identifiers.kinds import KINDS
from contactsync.server.storage.ports import Members
from contactsync.server.storage.records import Origin
from contactsync.server.storage.sqlite import bulk
from contactsync.server.storage.sqlite.accounts import CHARGE, SqliteAccounts
from contactsync.server.storage.sqlite.members import SqliteMembers

A, B = 4915100000001, 4915100000002
OPEN = {"registry": SqliteMembers, "accounts database": SqliteAccounts}


def numbers(*values):
    return Members("tel", np.array(sorted(values), np.uint64))


def test_a_snapshot_sees_one_moment_while_another_process_writes(tmp_path):
    with (
        closing(SqliteMembers.create(tmp_path / "r.sqlite")) as store,
        closing(SqliteMembers(tmp_path / "r.sqlite")) as other,
    ):
        store.add(numbers(A))
        with store.snapshot():
            other.add(numbers(B))
            assert store.count("people") == 1
        assert store.count("people") == 2


def test_nothing_of_a_credential_or_of_who_was_removed_is_in_the_files(tmp_path):
    with (
        closing(SqliteMembers.create(tmp_path / "registry.sqlite")) as store,
        closing(SqliteAccounts.create(tmp_path / "accounts.sqlite")) as accounts,
    ):
        accounts.add("shop", "people", "cs_very_secret")
        store.add(numbers(A, B))
        store.store_tokens("people", 1, numbers(A, B), np.full((2, 10), 0xEE, np.uint8))
        store.remove(numbers(A, B))
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"cs_very_secret" not in files
    assert A.to_bytes(6, "big") not in files
    assert b"\xee" * 10 not in files
    assert all(file.stat().st_mode & 0o077 == 0 for file in tmp_path.iterdir())


def test_publishing_moves_pages_not_rows(tmp_path, monkeypatch):
    """Statements and rows cost more than what SQLite does for them, and the lock that evaluators wait for."""
    monkeypatch.setattr(bulk, "_AT_ONCE", 1000)
    everyone = numbers(*range(A, A + 3000))
    with closing(SqliteMembers.create(tmp_path / "r.sqlite")) as store:
        store.add(everyone)
        said = []
        store._database.connection.set_trace_callback(said.append)
        page = store.unevaluated("people", 1, "49", None, 2500)
        rows = np.arange(25_000, dtype=np.uint32).astype(np.uint8).reshape(-1, 10)
        store.store_tokens("people", 1, page, rows)
        (rest,) = [store.unevaluated("people", 1, "49", page.last, 2500)]
        pages = [chunk.to_bytes() for chunk in store.tokens("people", 1, "49")]
        assert len(said) < 100
        assert (len(page), len(rest)) == (2500, 500)
        assert [len(one) for one in pages] == [1000, 1000, 500]
        assert sorted(map(bytes, np.concatenate(pages))) == sorted(map(bytes, rows))


def test_numbers_are_integer_primary_keys(tmp_path):
    """8 octets at most, and no index beside the table: an import writes each page once.

    And no rowids: the inner pages of such a tree keep the keys of rows that are gone.
    """
    with closing(SqliteMembers.create(tmp_path / "r.sqlite")) as store:
        store.add(numbers(A))
        assert store._database.one("SELECT typeof(key) FROM members_tel") == "integer"
        with pytest.raises(OurError, match="no such column: rowid"):
            store._database.one("SELECT rowid FROM members_tel")
        indices = store._database.all("SELECT tbl_name FROM sqlite_master WHERE type = 'index'")
        assert indices == [("pairs",), ("departed_tokens",), ("answers",)], "no table of numbers has one"


@pytest.mark.parametrize("what", OPEN)
def test_damaged_missing_or_newer(tmp_path, what):
    path = tmp_path / "r.sqlite"
    with pytest.raises(OurError, match=f"no {what}"):
        OPEN[what](path)
    path.write_bytes(b"SQLite format 3\0" + b"rubbish" * 1000)
    with pytest.raises(OurError, match=f"the {what} .* cannot be used") as raised:
        OPEN[what](path)
    assert "backup" in raised.value.hint
    path.unlink()
    OPEN[what].create(path).close()
    OPEN[what](path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(OurError, match=f"the {what} has version 99") as raised:
        OPEN[what](path)
    assert "update contactsync" in raised.value.hint
    assert path.read_bytes() == before


def test_a_kind_that_comes_later_gets_its_tables_and_one_that_is_unknown_is_refused(
    tmp_path, handles, monkeypatch
):
    path = tmp_path / "r.sqlite"
    with monkeypatch.context() as patch:
        patch.delitem(KINDS, "acct")
        with closing(SqliteMembers.create(path)) as store:
            store.add(numbers(A))
    with closing(SqliteMembers(path)) as store:
        store.add(Members.of([b"acct:somebody"]))
        assert store.count("people") == 2
    monkeypatch.delitem(KINDS, "acct")
    with pytest.raises(OurError, match="of an unknown kind: acct") as raised:
        SqliteMembers(path)
    assert "update contactsync" in raised.value.hint


def test_a_full_disk_is_called_that_and_loses_nothing(tmp_path):
    with closing(SqliteMembers.create(tmp_path / "registry.sqlite")) as store:
        store.add(numbers(493012345))
        (pages,) = store._database.connection.execute("PRAGMA page_count").fetchone()
        store._database.connection.execute(f"PRAGMA max_page_count = {pages}")  # what a full disk looks like
        with pytest.raises(OurError, match="full"):
            store.add(Members("tel", np.arange(493_000_000, 493_100_000, dtype=np.uint64)))
        assert store.count("people") == 1


def test_an_accounts_database_is_not_mixed_with_what_one_that_was_lost_has_left(tmp_path):
    path = tmp_path / "accounts.sqlite"
    with closing(SqliteAccounts.create(path)) as accounts:
        accounts.add("old", "people", "cs_old")
        log = path.with_name(path.name + "-wal").read_bytes()
        assert log
    path.unlink()
    path.with_name(path.name + "-wal").write_bytes(log)
    with closing(SqliteAccounts.create(path)) as accounts:
        assert accounts.list() == []


def test_a_charge_is_on_the_disk_when_it_is_reported(tmp_path):
    with closing(SqliteAccounts.create(tmp_path / "accounts.sqlite")) as accounts:
        assert accounts._database().one("PRAGMA synchronous") == 2, "FULL: an fsync before COMMIT returns"
        assert accounts._database().one("PRAGMA journal_mode") == "wal"


def test_a_charge_is_one_statement_that_walks_no_table(tmp_path):
    with closing(SqliteAccounts.create(tmp_path / "accounts.sqlite")) as accounts:
        plan = accounts._database().connection.execute(
            "EXPLAIN QUERY PLAN " + CHARGE, dict.fromkeys(re.findall(r":(\w+)", CHARGE), 1)
        )
        steps = [row[-1] for row in plan]
    assert not any("SCAN" in step for step in steps), steps


def steps(store, act):
    """How many steps SQLite's machine takes for it: they do not depend on the load of this one."""
    count = 0

    def tick():
        nonlocal count
        count += 1

    store._database.connection.set_progress_handler(tick, 1)
    try:
        act()
    finally:
        store._database.connection.set_progress_handler(None, 0)
    return count


def test_what_is_done_to_one_member_costs_the_same_among_many(tmp_path):
    """Each of these once walked over all tokens to find of which epochs there are any."""
    costs = []
    for many in (200, 20_000):
        with closing(SqliteMembers.create(tmp_path / f"{many}.sqlite")) as store:
            everyone = numbers(*range(A, A + many))
            store.add(everyone)
            for audience, epoch in (("people", 1), ("people", 2), ("business", 1)):
                tokens = np.random.default_rng(epoch).integers(0, 256, (many, 10), np.uint8)
                store.store_tokens(audience, epoch, everyone, tokens)
            one, another = numbers(A + many // 2), numbers(A + many // 3)
            acts = {
                "show": lambda store=store, one=one: store.show(one),
                "remove": lambda store=store, one=one: store.remove(one),
                "consent": lambda store=store, one=another: store.consent(
                    one, "business", granted=True, origin=Origin("app", "anna")
                ),
                "withdraw": lambda store=store, one=another: store.consent(
                    one, "business", granted=False, origin=Origin("app", "anna")
                ),
                "add": lambda store=store: store.add(numbers(B + 10**9)),
            }
            costs.append({name: steps(store, act) for name, act in acts.items()})
    few, lots = costs
    assert all(lots[name] < 1.5 * few[name] + 100 for name in few), costs
