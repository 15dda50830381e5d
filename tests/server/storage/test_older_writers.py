"""A process of an earlier version that opened the register before it was upgraded, and goes on writing.

Its statements are, letter by letter, those of the version that wrote tests/fixtures/registry-5.tar.xz (for
PostgreSQL: schema 2). They change members, and say nothing of it to who wants to know who is pending.
"""

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import numpy as np
import psycopg
import pytest
from store_tools import LATER_TABLES, created

from contactsync.foundation.errors import OurError
from contactsync.server.storage.ports import Members
from contactsync.server.storage.postgres.members import PostgresMembers
from contactsync.server.storage.sqlite.members import SqliteMembers

FIXTURES = Path(__file__).parents[2] / "fixtures"
STAYS, LEAVES, JOINS = 4915112345601, 4915112345603, 4915112345699

SERIAL = "UPDATE changes SET serial = serial + 1 RETURNING serial"
TOUCH = (
    "INSERT INTO touched VALUES (?, ?) ON CONFLICT (partition) DO UPDATE SET serial = excluded.serial",
    "49",
)
# What each of them did, after SERIAL. `:serial` is what that gave.
SQLITE = {
    "add": [
        (
            (
                "INSERT INTO members_tel (key, audiences, added, verified, since) "
                "VALUES (?, 1, 1700000000, 0, {serial}) ON CONFLICT (key) DO UPDATE "
                "SET since = excluded.since, verified = max(CASE verified WHEN 0 THEN added / 86400 "
                "ELSE verified END, 19675), audiences = audiences | excluded.audiences "
                "WHERE audiences & 65537 = 0"
            ),
            JOINS,
        )
    ],
    "remove": [
        ("UPDATE changes SET unerased = 1 WHERE unerased = 0",),
        *[
            (f"DELETE FROM {table} WHERE key = ?", LEAVES)
            for table in ("members_tel", "consents_tel", "labels_tel")
        ],
        ("DELETE FROM tokens_tel WHERE audience = ? AND epoch = ? AND key = ?", 1, 1, LEAVES),
    ],
    "consent": [
        (
            "UPDATE members_tel SET audiences = ?, since = iif(?, {serial}, since) WHERE key = ?",
            3,
            False,
            LEAVES,
        ),
        (
            "INSERT OR REPLACE INTO consents_tel VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(LEAVES, 99, 2, 1700000000, 1, "app", "anna"),
        ),
    ],
}
POSTGRES = {
    "add": [
        (
            (
                "INSERT INTO members_tel AS m (key, added, since, audiences, verified, partition) "
                "SELECT key, 1700000000, {serial}, 1, 0, %s FROM unnest(%s::bigint[]) AS given(key) "
                "WHERE NOT EXISTS (SELECT FROM members_tel AS there WHERE partition = %s "
                "AND there.key = given.key AND audiences & 65537 <> 0) ORDER BY key "
                "ON CONFLICT (key, partition) DO UPDATE SET since = excluded.since, verified = greatest(CASE "
                "m.verified WHEN 0 THEN m.added / 86400 ELSE m.verified END, 19675), "
                "audiences = m.audiences | 1 WHERE m.audiences & 65537 = 0"
            ),
            *("49", [JOINS], "49"),
        )
    ],
    "remove": [
        *[
            (f"DELETE FROM {table} WHERE partition = %s AND key = ANY (%s::bigint[])", "49", [LEAVES])
            for table in ("members_tel", "consents_tel", "labels_tel")
        ],
        (
            (
                "DELETE FROM tokens_tel WHERE partition = %s AND audience = 1 AND epoch = 1 "
                "AND key = ANY (%s::bigint[])"
            ),
            *("49", [LEAVES]),
        ),
    ],
    "consent": [
        (
            (
                "UPDATE members_tel AS m SET audiences = given.bits, "
                "since = CASE WHEN moved THEN {serial} ELSE since END "
                "FROM unnest(%s::integer[], %s::boolean[], %s::bigint[]) AS given(bits, moved, key) "
                "WHERE m.partition = %s AND m.key = given.key"
            ),
            *([3], [False], [LEAVES], "49"),
        )
    ],
}
# What a publish of then begins and ends with.
PUBLISHING = {
    "adopt": (
        (
            "INSERT INTO token_keys VALUES (?, ?, ?) ON CONFLICT (audience, epoch) DO UPDATE "
            "SET public_key = excluded.public_key"
        ),
        *(1, 1, b"another key"),
    ),
    "drop": ("DELETE FROM token_keys WHERE audience = ? AND epoch >= ? AND epoch < ?", 1, 0, 9),
    "expect": ("INSERT INTO published VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", 1, 1, 9, b"a manifest"),
}


class OlderSqlite:
    """A connection as registry 5 opened it, which has read and written already."""

    def __init__(self, path, *, writes=True):
        self._connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        for name, value in (("journal_mode", "WAL"), ("synchronous", "FULL"), ("secure_delete", "ON")):
            self._connection.execute(f"PRAGMA {name} = {value}")
        if writes:
            self.write([])

    def write(self, statements):
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            (serial,) = self._connection.execute(SERIAL).fetchall()[0]
            for text, *values in statements:
                self._connection.execute(text.format(serial=serial), values)
            self._connection.execute(TOUCH[0], (TOUCH[1], serial))
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def publish(self, statement):
        self._connection.execute(statement[0], statement[1:])

    def change(self, what):
        self.write(SQLITE[what])

    def read(self):
        return self._connection.execute("SELECT key, audiences FROM members_tel ORDER BY key").fetchall()

    def close(self):
        self._connection.close()


class OlderPostgres:
    """The same of schema 2 in PostgreSQL."""

    def __init__(self, url):
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute("SET search_path = contactsync_members, pg_temp")
        self.write([])

    def write(self, statements):
        self._connection.execute("BEGIN")
        try:
            self._connection.execute("SELECT pg_advisory_xact_lock(25459, 1)")
            (serial,) = self._connection.execute(SERIAL).fetchone()
            for text, *values in statements:
                self._connection.execute(text.format(serial=serial), values)
            self._connection.execute(TOUCH[0].replace("?", "%s"), (TOUCH[1], serial))
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise

    def publish(self, statement):
        self._connection.execute(statement[0].replace("?", "%s"), statement[1:])

    def change(self, what):
        self.write(POSTGRES[what])

    def read(self):
        return self._connection.execute("SELECT key, audiences FROM members_tel ORDER BY key").fetchall()

    def close(self):
        self._connection.close()


def numbers(*keys):
    return Members("tel", np.array(sorted(keys), np.uint64))


def evaluate(store):
    """What a publish does for one partition; who was evaluated."""
    store.begin_search("people", 1, "49")
    page = store.unevaluated("people", 1, "49", None, 99)
    store.store_tokens("people", 1, page, np.zeros((len(page), 10), np.uint8))
    store.end_search("people", 1, {"49": False})
    return page.keys.tolist()


def to_schema_2(url):
    """Take from a register in PostgreSQL what later versions have added."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET search_path = contactsync_members")
        connection.execute(f"DROP TABLE {LATER_TABLES}, searches, pending_tel, pending_mailto")
        connection.execute("DROP FUNCTION IF EXISTS check_writer CASCADE")
        connection.execute("UPDATE version SET version = 2")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def meeting(request, tmp_path, database):
    """A writer of then, and the upgraded register in which LEAVES is pending and STAYS was evaluated."""
    if request.param == "sqlite":
        with tarfile.open(FIXTURES / "registry-5.tar.xz") as archive:
            archive.extractall(tmp_path, filter="tar")
        path = tmp_path / "v5" / "server" / "registry.sqlite"
        older, opened = OlderSqlite(path), lambda: SqliteMembers(path)
    else:
        address = created(database())
        with closing(PostgresMembers(address)) as store:
            store.add(numbers(STAYS))
        to_schema_2(database())
        older, opened = OlderPostgres(database()), lambda: PostgresMembers(address)
    with closing(older), closing(opened()) as store:
        evaluate(store)
        store.add(numbers(LEAVES))
        yield older, store


@pytest.mark.parametrize("what", ["add", "remove", "consent"])
def test_it_fails_and_changes_nothing(meeting, what):
    older, store = meeting
    before = older.read(), store.serial(), store.touched(99)
    assert (LEAVES, 1) in before[0]
    with pytest.raises((sqlite3.Error, psycopg.Error)) as caught:
        older.change(what)
    assert "restart_this_process" in str(caught.value)
    assert (older.read(), store.serial(), store.touched(99)) == before
    assert evaluate(store) == [LEAVES]


@pytest.mark.parametrize("what", sorted(PUBLISHING))
def test_nor_can_it_publish(meeting, what):
    older, store = meeting
    before = store.provenance()
    with pytest.raises((sqlite3.Error, psycopg.Error), match="restart_this_process"):
        older.publish(PUBLISHING[what])
    assert store.provenance() == before


def test_who_is_new_goes_on_meanwhile_and_after(meeting):
    older, store = meeting
    with pytest.raises((sqlite3.Error, psycopg.Error)):
        older.change("add")
    assert store.add(numbers(JOINS)).new == 1
    assert store.remove(numbers(LEAVES)) == 1
    assert evaluate(store) == [JOINS]
    assert store.adopt("people", 1, b"a key") is True
    assert older.read() == store._database.all("SELECT key, audiences FROM members_tel ORDER BY key")


def test_a_later_version_is_refused_with_what_to_do(tmp_path):
    """The same the other way round: this version is the older one."""
    path = tmp_path / "registry.sqlite"
    with closing(SqliteMembers.create(path)) as store:
        with closing(sqlite3.connect(path)) as later:
            later.executescript(
                "DROP TRIGGER writer_changes; "
                "CREATE TRIGGER writer_changes BEFORE UPDATE OF serial ON changes "
                "BEGIN SELECT contactsync_registry_11_restart_this_process(); END; PRAGMA user_version = 11"
            )
        with pytest.raises(OurError, match="a newer contactsync has upgraded the registry") as caught:
            store.add(numbers(STAYS))
        assert "restart this process" in caught.value.hint
        assert store.count("people") == 0
    with pytest.raises(OurError, match="version 11; this contactsync knows versions up to 10"):
        SqliteMembers(path)


@pytest.mark.slow
def test_so_it_is_in_postgresql(database):
    with closing(PostgresMembers(created(database()))) as store:
        with psycopg.connect(database(), autocommit=True) as later:
            later.execute("SET search_path = contactsync_members")
            body = later.execute("SELECT pg_get_functiondef('check_writer'::regproc)").fetchone()[0]
            later.execute(body.replace("0) < 7", "0) < 8"))
        with pytest.raises(OurError, match="a newer contactsync has upgraded it") as caught:
            store.add(numbers(STAYS))
        assert "restart this process" in caught.value.hint
        assert store.count("people") == 0


def test_reading_and_copying_by_hand_need_nothing(tmp_path):
    path = tmp_path / "registry.sqlite"
    with closing(SqliteMembers.create(path)) as store:
        store.add(numbers(STAYS, LEAVES))
        evaluate(store)
        with closing(OlderSqlite(path, writes=False)) as reader:
            assert reader.read() == [(STAYS, 1), (LEAVES, 1)]
        store.remove(numbers(LEAVES))
        assert store.erase() == ""
    with closing(sqlite3.connect(path, isolation_level=None)) as plain:
        plain.execute("VACUUM")
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        plain.execute("VACUUM INTO ?", (str(tmp_path / "vacuumed.sqlite"),))
        version = plain.execute("PRAGMA user_version").fetchone()[0]
        with closing(sqlite3.connect(tmp_path / "dumped.sqlite", isolation_level=None)) as again:
            again.executescript("".join(plain.iterdump()))
            again.execute(f"PRAGMA user_version = {version}")
    for name in ("registry", "vacuumed", "dumped"):
        copy = tmp_path / f"{name}.sqlite"
        with closing(OlderSqlite(copy, writes=False)) as older, pytest.raises(sqlite3.OperationalError):
            older.change("add")
        with closing(SqliteMembers(copy)) as store:
            assert store.add(numbers(STAYS, JOINS)).new == 1
            assert evaluate(store) == [JOINS]


def test_a_file_that_sqlite_was_built_not_to_trust(tmp_path, monkeypatch):
    """Some builds have `trusted_schema` off, in which no trigger may call a function of its program."""
    plain = sqlite3.connect

    def connect(*of, **how):
        connection = plain(*of, **how)
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)
    with closing(SqliteMembers.create(tmp_path / "registry.sqlite")) as store:
        assert store.add(numbers(STAYS)).new == 1
