"""A registry of version 6, to which a forgotten older process could write: opened, published, moved."""

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import numpy as np
import psycopg
import pytest
from store_tools import LATER_TABLES, created

from contactsync.publication.tuf.repository import Repository
from contactsync.server.keyring import Keyring
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import export_stores, import_stores, open_members
from contactsync.server.storage.ports import Members
from contactsync.server.storage.postgres.members import PostgresMembers
from contactsync.server.storage.sqlite.members import SqliteMembers
from contactsync.server.upgrading import try_upgrade

ARCHIVE = Path(__file__).parents[2] / "fixtures" / "registry-6.tar.xz"
KEPT = ("members_tel", "tokens_tel", "consents_tel", "labels_tel", "editions", "published", "token_keys")
PENDING, UNNOTED = 4915112345603, 4915112345677


@pytest.fixture
def v6(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="tar")
    return tmp_path / "v6"


@pytest.fixture
def folder(v6):
    return DataFolder(v6 / "server")


def rows(path, tables):
    """The version, and what is in some tables, read without any of our code."""
    with closing(sqlite3.connect(path)) as connection:
        found = [connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in tables]
        return connection.execute("PRAGMA user_version").fetchone()[0], *found


def schema(path):
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT type, name, tbl_name, sql FROM sqlite_master"
        return {row[:3]: " ".join((row[3] or "").split()) for row in connection.execute(query)}


def publish(folder):
    with closing(open_members(folder)) as store:
        return Publisher(folder, store, Keyring.open(folder.keys, None)).publish()


def test_nothing_is_lost_and_each_partition_is_searched_again(folder):
    version, *before = rows(folder.registry, KEPT)
    assert version == 6
    assert rows(folder.registry, ("searches", "pending_tel"))[1:] == (
        [(1, 1, "49", 0, 1), (2, 1, "49", 0, 1)],
        [(1, 1, PENDING)],
    )
    assert [(one.name, one.version, one.to) for one in try_upgrade(folder).databases] == [
        ("registry", 6, 10),
        ("accounts", 3, 3),
    ]
    assert rows(folder.registry, KEPT) == (6, *before), "tried on a copy"
    open_members(folder).close()
    assert rows(folder.registry, KEPT) == (10, *before)
    assert rows(folder.registry, ("searches", "pending_tel"))[1:] == ([], [])


def test_what_an_older_process_did_meanwhile_is_found(folder):
    """Somebody was added who is not pending, and somebody removed who still is."""
    with closing(sqlite3.connect(folder.registry)) as older, older:
        older.execute("UPDATE changes SET serial = serial + 1")
        older.execute("INSERT INTO members_tel VALUES (?, 1, 1700000000, 0, 9)", (UNNOTED,))
        older.execute("DELETE FROM members_tel WHERE key = ?", (PENDING,))
        older.execute("INSERT OR REPLACE INTO touched VALUES ('49', 9)")
    (people, _), current = publish(folder), Repository(folder.public).current("people")
    assert (people.evaluated, people.members) == (1, 6)
    assert current.partitions["49"].count == 4
    tokens = {row[2] for row in rows(folder.registry, ("tokens_tel",))[1] if row[0] == 1}
    assert (UNNOTED in tokens, PENDING in tokens) == (True, False)
    assert publish(folder)[0].changed is None


def test_it_is_then_as_one_that_is_made_today(folder, tmp_path):
    open_members(folder).close()
    SqliteMembers.create(tmp_path / "new.sqlite").close()
    assert schema(folder.registry) == schema(tmp_path / "new.sqlite")


def test_archives_of_then_and_of_now_make_one_that_refuses_older_writers(folder, v6):
    publish(folder)
    wanted = schema(folder.registry)
    export_stores(folder, v6 / "now.json")
    for archive in ("stores.json", "now.json"):
        folder.registry.unlink()
        folder.accounts.unlink()
        import_stores(folder, v6 / archive, None)
        assert schema(folder.registry) == wanted
        refused = pytest.raises(sqlite3.OperationalError, match="registry_10_restart_this_process")
        with closing(sqlite3.connect(folder.registry)) as older, refused:
            older.execute("UPDATE changes SET serial = serial + 1")
    assert publish(folder)[0].evaluated == 0


@pytest.mark.slow
def test_a_schema_of_version_3_in_postgresql(database):
    address = created(database())
    one, other = (Members("tel", np.array([key], np.uint64)) for key in (PENDING, 4915112345601))
    with closing(PostgresMembers(address)) as store:
        store.add(other)
        store.begin_search("people", 1, "49")
        store.store_tokens(
            "people", 1, store.unevaluated("people", 1, "49", None, 9), np.zeros((1, 10), "u1")
        )
        store.end_search("people", 1, {"49": False})
        store.add(one)
    with psycopg.connect(database(), autocommit=True) as older:
        older.execute("SET search_path = contactsync_members")
        older.execute(f"DROP TABLE {LATER_TABLES}")
        older.execute("DROP FUNCTION check_writer CASCADE")
        older.execute("UPDATE version SET version = 3")
        older.execute("UPDATE changes SET serial = serial + 1")
        older.execute("INSERT INTO members_tel VALUES (%s, 1700000000, 9, 1, 0, '49')", (UNNOTED,))
        older.execute("DELETE FROM members_tel WHERE key = %s", (PENDING,))
        with closing(PostgresMembers(address)) as store:
            assert store.unevaluated("people", 1, "49", None, 9).keys.tolist() == [UNNOTED]
            assert store._database.one("SELECT count(*) FROM pending_tel") == 0
            assert store._database.one("SELECT version FROM version") == 7
        with pytest.raises(psycopg.errors.DatabaseError) as caught:
            older.execute("UPDATE changes SET serial = serial + 1")
        assert caught.value.sqlstate == "CS001"
        assert "upgraded" in caught.value.diag.message_hint
