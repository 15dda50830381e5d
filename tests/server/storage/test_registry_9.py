"""A registry of version 9, which noted bases without their sidecars: opened, published, and its schema."""

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import numpy as np
import psycopg
import pytest
from store_tools import created
from test_registry_7 import KEPT, publish, rows, schema
from test_registry_8 import jobs

from contactsync.publication.tuf.repository import Repository
from contactsync.server.settings import DataFolder
from contactsync.server.storage.migrations import REGISTRY_STEPS
from contactsync.server.storage.opening import open_members
from contactsync.server.storage.ports import Members
from contactsync.server.storage.postgres.members import PostgresMembers
from contactsync.server.storage.sqlite.members import SqliteMembers
from contactsync.server.upgrading import try_upgrade

__all__ = ["jobs"]

ARCHIVE = Path(__file__).parents[2] / "fixtures" / "registry-9.tar.xz"
LABELLED, AMERICAN = 4915112345603, 12025550101
"""Whose label changed since the last publish, and nothing was kept; a member of another partition."""

# The tables of logs as version 9 has them.
LOGS = {
    "bases": (
        "CREATE TABLE bases ( audience INTEGER NOT NULL, epoch INTEGER NOT NULL, partition TEXT NOT NULL, "
        "base BLOB NOT NULL, serial INTEGER NOT NULL, tokens INTEGER NOT NULL, "
        "PRIMARY KEY (audience, epoch, partition, base) ) WITHOUT ROWID"
    ),
    "token_changes": (
        "CREATE TABLE token_changes ( audience INTEGER NOT NULL, epoch INTEGER NOT NULL, "
        "partition TEXT NOT NULL, serial INTEGER NOT NULL, token BLOB NOT NULL, "
        "PRIMARY KEY (audience, epoch, partition, token) ) WITHOUT ROWID"
    ),
    "departed_tokens": (
        "CREATE TABLE departed_tokens ( audience INTEGER NOT NULL, epoch INTEGER NOT NULL, "
        "partition TEXT NOT NULL, serial INTEGER NOT NULL, tokens INTEGER NOT NULL, public BLOB NOT NULL, "
        "sealed BLOB NOT NULL )"
    ),
}


@pytest.fixture
def folder(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="tar")
    return DataFolder(tmp_path / "v9" / "server")


def numbers(*keys):
    return Members("tel", np.array(sorted(keys), np.uint64))


def sidecar(folder, name):
    return Repository(folder.public).current("people").partitions[name].labels


def test_nothing_of_members_is_lost_and_the_logs_stay(folder, tmp_path):
    kept = (*KEPT, "counts", *LOGS)
    version, *before = rows(folder.registry, kept)
    assert version == 9
    assert {name: schema(folder.registry)["table", name, name] for name in LOGS} == LOGS
    assert [(one.version, one.to) for one in try_upgrade(folder).databases] == [(9, 10), (3, 3)]
    open_members(folder).close()
    assert rows(folder.registry, kept) == (10, *before)
    assert rows(folder.registry, ("label_changes_tel",))[1:] == ([],)
    SqliteMembers.create(tmp_path / "new.sqlite").close()
    assert schema(folder.registry) == schema(tmp_path / "new.sqlite")


def test_the_first_publish_reads_all_outputs_and_the_next_what_changed(folder, jobs):
    """Its log has the base, and not that a label is another."""
    before = sidecar(folder, "49")
    people, *_ = publish(folder)
    assert (people.edition, people.changed) == (9, ("49",))
    assert ("BuildJob", "49") in jobs
    assert jobs.count(("AmendJob", "49")) == 1, "business has no labels there"
    first = sidecar(folder, "49")
    assert (first.edition, len(first.deltas)) == (9, 1)
    assert first.file != before.file
    del jobs[:]
    with closing(open_members(folder)) as store:
        store.label(numbers(LABELLED), [b"anna"])
    assert publish(folder)[0].changed == ("49",)
    assert jobs == [("AmendJob", "49")] * 2
    with closing(open_members(folder)) as store:
        store.label(numbers(LABELLED), [b"bert"])
    publish(folder)
    assert sidecar(folder, "49").file == first.file


def test_a_partition_without_labels_needs_no_such_publish(folder, jobs):
    """And one whose labels did not change is made anew when it is touched."""
    with closing(open_members(folder)) as store:
        store.label(numbers(AMERICAN), [b"aunt"])
    people, business = publish(folder)
    assert (people.changed, business.changed) == (("1", "49"), None)
    assert ("BuildJob", "1") in jobs


def test_a_process_of_version_9_cannot_write_any_more(folder):
    """It would change labels and keep nothing of it."""
    older = sqlite3.connect(folder.registry, isolation_level=None)
    older.create_function("contactsync_registry_9_restart_this_process", 0, lambda: None)
    with closing(older):
        older.execute("UPDATE changes SET serial = serial + 1")
        open_members(folder).close()
        with pytest.raises(sqlite3.OperationalError, match="registry_10_restart_this_process"):
            older.execute("UPDATE changes SET serial = serial + 1")


def test_a_killed_migration_is_made_again(folder):
    with closing(sqlite3.connect(folder.registry, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        REGISTRY_STEPS[8](connection)  # and then it is gone
    assert rows(folder.registry, ())[0] == 9
    open_members(folder).close()
    assert rows(folder.registry, ("label_changes_tel",)) == (10, [])


@pytest.mark.slow
def test_a_schema_of_version_6_in_postgresql(database):
    address = created(database())
    with closing(PostgresMembers(address)) as store:
        store.add(numbers(LABELLED))
    with psycopg.connect(database(), autocommit=True) as older:
        older.execute("SET search_path = contactsync_members")
        older.execute("DROP TABLE label_changes_tel, label_changes_mailto")
        (body,) = older.execute("SELECT prosrc FROM pg_proc WHERE proname = 'check_writer'").fetchone()
        older.execute(
            "CREATE OR REPLACE FUNCTION check_writer() RETURNS trigger LANGUAGE plpgsql AS "
            f"$${body.replace('< 7', '< 6').replace('members_7', 'members_6')}$$"
        )
        older.execute("UPDATE version SET version = 6")
        older.execute("SET contactsync_members.version = 6")
        older.execute("UPDATE changes SET serial = serial + 1")
        with closing(PostgresMembers(address)) as store:
            assert store._database.one("SELECT version FROM version") == 7
            store.begin_search("people", 1, "49", keyed=True)
            store.begin_log({("people", 1): ["49"]}, bytes(32))
            page = store.unevaluated("people", 1, "49", None, 9, keyed=True)
            store.store_tokens("people", 1, page, np.zeros((1, 42), np.uint8))
            assert store._database.all("SELECT key FROM label_changes_tel_49") == [(LABELLED,)]
        with pytest.raises(psycopg.errors.DatabaseError) as caught:
            older.execute("UPDATE changes SET serial = serial + 1")
        assert caught.value.sqlstate == "CS001"
