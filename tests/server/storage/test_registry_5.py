"""A registry of version 5, before searches were remembered: opened, published, moved; and its schema."""

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
from contactsync.server.storage.opening import import_stores, open_members
from contactsync.server.storage.ports import Members
from contactsync.server.storage.postgres.members import PostgresMembers
from contactsync.server.storage.sqlite.members import SqliteMembers

ARCHIVE = Path(__file__).parents[2] / "fixtures" / "registry-5.tar.xz"
TABLES = ("members_tel", "tokens_tel", "consents_tel", "labels_tel", "editions", "published", "touched")
NEW, LEFT = 4915112345606, 4915112345603


@pytest.fixture
def v5(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="tar")
    return tmp_path / "v5"


@pytest.fixture
def folder(v5):
    return DataFolder(v5 / "server")


def rows(path, tables=TABLES):
    """The version, and everything in the registry, read without any of our code."""
    with closing(sqlite3.connect(path)) as connection:
        found = [connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3").fetchall() for name in tables]
        return connection.execute("PRAGMA user_version").fetchone()[0], *found


def publish(folder):
    with closing(open_members(folder)) as store:
        return Publisher(folder, store, Keyring.open(folder.keys, None)).publish()


def test_nothing_is_lost_and_nothing_counts_as_searched(folder):
    version, *before = rows(folder.registry, ("members_tel", "tokens_tel"))
    assert (version, len(before[0]), len(before[1])) == (5, 6, 5)
    with closing(open_members(folder)) as store:
        assert store.unevaluated("people", 1, "49", None, 9).keys.tolist() == [NEW]
    version, *after = rows(folder.registry, ("members_tel", "tokens_tel", "searches", "pending_tel"))
    assert (version, *after) == (10, *before, [], [])


def test_it_is_published_as_before_and_then_knows_who_is_pending(folder):
    before = Repository(folder.public).current("people")
    people, _ = publish(folder)
    after = Repository(folder.public).current("people")
    assert (before.edition, after.edition) == (2, 3)
    assert after.partitions["1"] == before.partitions["1"], "with its label"
    assert (people.evaluated, after.partitions["49"].count) == (1, 3)
    _, searches, pending = rows(folder.registry, ("searches", "pending_tel"))
    assert (1, 1, "49", 0, 1) in searches
    assert pending == []
    with closing(open_members(folder)) as store:
        store.add(Members("tel", np.array([LEFT], np.uint64)))
    assert rows(folder.registry, ("pending_tel",))[1] == [(1, 1, LEFT)]
    assert publish(folder)[0].evaluated == 1
    assert rows(folder.registry, ("pending_tel",))[1] == []


def test_it_is_then_as_one_that_is_made_today(folder, tmp_path):
    def schema(path):
        with closing(sqlite3.connect(path)) as connection:
            query = "SELECT type, name, tbl_name, sql FROM sqlite_master"
            return {row[:3]: " ".join((row[3] or "").split()) for row in connection.execute(query)}

    open_members(folder).close()
    SqliteMembers.create(tmp_path / "new.sqlite").close()
    assert schema(folder.registry) == schema(tmp_path / "new.sqlite")


def test_an_archive_of_then_is_imported_and_searched_once(folder, v5):
    publish(folder)
    wanted = Repository(folder.public).current("people")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(v5 / "again", filter="tar")
    again = DataFolder(v5 / "again" / "v5" / "server")
    again.registry.unlink()
    again.accounts.unlink()
    import_stores(again, v5 / "stores.json", None)
    assert publish(again)[0].evaluated == 1
    assert Repository(again.public).current("people").partitions == wanted.partitions


@pytest.mark.slow
def test_a_schema_of_version_2_in_postgresql_gets_tables_for_whom_it_has(database, handles):
    address = created(database())
    with closing(PostgresMembers(address)) as store:
        store.add(Members("tel", np.array([NEW], np.uint64)))
        store.add(Members.of([b"acct:anna"]))
    with psycopg.connect(database(), autocommit=True) as connection:
        connection.execute("SET search_path = contactsync_members")
        connection.execute(f"DROP TABLE {LATER_TABLES}, searches, pending_tel, pending_mailto, pending_acct")
        connection.execute("DROP TABLE label_changes_acct")
        connection.execute("DROP FUNCTION check_writer CASCADE")
        connection.execute("UPDATE version SET version = 2")
    for partition in ("49", "1"):  # the one that it had, and one that comes later
        with closing(PostgresMembers(address)) as store:
            first, second = {"49": (NEW, LEFT), "1": (12025550101, 12025550102)}[partition]
            store.add(Members("tel", np.array([first], np.uint64)))
            store.begin_search("people", 1, partition)
            page = store.unevaluated("people", 1, partition, None, 9)
            assert page.keys.tolist() == [first]
            store.store_tokens("people", 1, page, np.zeros((1, 10), np.uint8))
            store.end_search("people", 1, {partition: False})
            store.add(Members("tel", np.array([second], np.uint64)))
            assert store._database.all("SELECT key FROM pending_tel WHERE partition = %s", partition) == [
                (second,)
            ]
            assert store.unevaluated("people", 1, partition, None, 9).keys.tolist() == [second]
            store.remove(Members("tel", np.array([first, second], np.uint64)))
            assert store.erase() == ""
