"""A registry of version 4, before labels: opened, labelled and published; and what was exported from it."""

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import numpy as np
import psycopg
import pytest
from store_tools import LATER_TABLES, created

from contactsync.identifiers.kinds import partition_of
from contactsync.publication.tuf.repository import Repository
from contactsync.server.keyring import Keyring
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import export_stores, import_stores, open_members
from contactsync.server.storage.ports import Members
from contactsync.server.storage.postgres.members import PostgresMembers
from contactsync.server.storage.records import Consented
from contactsync.server.storage.sqlite.members import SqliteMembers

ARCHIVE = Path(__file__).parents[2] / "fixtures" / "registry-4.tar.xz"
TABLES = ("members_tel", "tokens_tel", "consents_tel", "editions", "published", "token_keys")
A, B = 4915112345601, 4915112345602


@pytest.fixture
def v4(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="tar")
    return tmp_path / "v4"


@pytest.fixture
def folder(v4):
    return DataFolder(v4 / "server")


def rows(path):
    """The version, and everything in the registry, read without any of our code."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3").fetchall() for name in TABLES]
        return connection.execute("PRAGMA user_version").fetchone()[0], *tables


def numbers(*values):
    return Members("tel", np.array(sorted(values), np.uint64))


def test_nothing_is_lost_and_members_can_be_labelled(folder):
    version, *before = rows(folder.registry)
    assert (version, len(before[0]), len(before[1])) == (4, 6, 6)
    with closing(open_members(folder)) as store:
        assert [one.label for one in store.show(numbers(A, B))] == [None, None]
        assert store.labelled("people") == {}
        page = store.unevaluated("people", 1, "49", None, 9, keyed=True)
        assert len(page) == 4, "none has a label key"
        assert store.label(numbers(A, B), [b"anna", None]) == Consented(1, 1, 0)
        assert store.labelled("people") == {"49": 4}
    version, *after = rows(folder.registry)
    assert (version, *after) == (10, *before)


def test_it_is_published_as_before(folder):
    before = Repository(folder.public).current("people")
    with closing(open_members(folder)) as store:
        Publisher(folder, store, Keyring.open(folder.keys, None)).publish()
    after = Repository(folder.public).current("people")
    assert (before.edition, after.edition) == (2, 3)
    assert after.partitions["1"] == before.partitions["1"]
    assert after.partitions["49"].count == 4
    assert len(after.partitions["49"].deltas) == 1


def test_it_is_then_as_one_that_is_made_today(folder, tmp_path):
    def schema(path):
        with closing(sqlite3.connect(path)) as connection:
            query = "SELECT type, name, tbl_name, sql FROM sqlite_master"
            return {row[:3]: " ".join((row[3] or "").split()) for row in connection.execute(query)}

    open_members(folder).close()
    SqliteMembers.create(tmp_path / "new.sqlite").close()
    assert schema(folder.registry) == schema(tmp_path / "new.sqlite")


def test_an_archive_of_then_is_imported(folder, v4):
    open_members(folder).close()
    _, *before = rows(folder.registry)
    folder.registry.unlink()
    folder.accounts.unlink()
    import_stores(folder, v4 / "stores.json", None)
    _, *after = rows(folder.registry)
    assert after == before
    # One that has labels is of another format: an earlier program says that it does not know it.
    export_stores(folder, v4 / "again.json")
    assert b"contactsync-stores-2" in (v4 / "again.json").read_bytes()[:50]
    with closing(open_members(folder)) as store:
        assert store.labelled("people") == {}


@pytest.mark.slow
def test_a_schema_of_version_1_in_postgresql_gets_tables_for_whom_it_has(database, handles):
    address = created(database())
    with closing(PostgresMembers(address)) as store:
        store.add(numbers(A, B))
        store.add(Members.of([b"acct:anna"]))
    with psycopg.connect(database(), autocommit=True) as connection:
        connection.execute("SET search_path = contactsync_members")
        connection.execute("DROP TABLE labels_tel, labels_acct, pairs, searches, pending_tel, pending_acct")
        connection.execute(f"DROP TABLE {LATER_TABLES}, label_changes_acct")
        connection.execute("DROP FUNCTION check_writer CASCADE")
        connection.execute("UPDATE version SET version = 1")
    with closing(PostgresMembers(address)) as store:
        assert store.label(numbers(A, B), [b"anna", None]).changed == 1
        assert store.label(Members.of([b"acct:anna"]), [b"anna"]).changed == 1
        store.add(numbers(12025550101))
        assert store.label(numbers(12025550101), [b"one more"]).changed == 1
        assert store.labelled("people") == {"1": 8, "49": 4, partition_of(b"acct:anna"): 4}
        store.remove(numbers(A, B, 12025550101))
        assert store.erase() == ""
