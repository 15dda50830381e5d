"""A registry of version 8, which gave a log up where somebody left: opened, published, and its schema."""

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import numpy as np
import psycopg
import pytest
from store_tools import created
from test_registry_7 import KEPT, publish, rows, schema

from contactsync.publication.tuf.repository import Repository
from contactsync.server.publishing.amending import AmendJob
from contactsync.server.publishing.job import BuildJob
from contactsync.server.settings import DataFolder
from contactsync.server.storage import token_log
from contactsync.server.storage.migrations import REGISTRY_STEPS
from contactsync.server.storage.opening import open_members
from contactsync.server.storage.ports import Members
from contactsync.server.storage.postgres.members import PostgresMembers
from contactsync.server.storage.sqlite.members import SqliteMembers
from contactsync.server.upgrading import try_upgrade

ARCHIVE = Path(__file__).parents[2] / "fixtures" / "registry-8.tar.xz"
JOINED, LEAVING = 4915112345900, 4915112345603
"""Who joined since the last publish, and has a token in the log; and a member."""


@pytest.fixture
def folder(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="tar")
    return DataFolder(tmp_path / "v8" / "server")


@pytest.fixture
def jobs(monkeypatch):
    """How partitions are made: (kind, name)."""
    made = []
    for kind in (AmendJob, BuildJob):
        monkeypatch.setattr(kind, "__init__", _noting(made, kind.__init__, kind.__name__))
    monkeypatch.setattr(token_log, "OPENED", 0)
    return made


def _noting(made, real, kind):
    def init(self, **given):
        made.append((kind, given["partition"]))
        real(self, **given)

    return init


def test_nothing_of_members_is_lost_and_logs_begin_anew(folder, tmp_path):
    version, *before = rows(folder.registry, (*KEPT, "counts"))
    assert version == 8
    assert [len(found) for found in rows(folder.registry, ("bases", "token_changes"))[1:]] == [3, 1]
    assert [(one.version, one.to) for one in try_upgrade(folder).databases] == [(8, 10), (3, 3)]
    open_members(folder).close()
    assert rows(folder.registry, (*KEPT, "counts")) == (10, *before)
    logs = ("bases", "token_changes", "departed_tokens")
    assert rows(folder.registry, logs)[1:] == ([], [], [])
    SqliteMembers.create(tmp_path / "new.sqlite").close()
    assert schema(folder.registry) == schema(tmp_path / "new.sqlite")


def test_the_first_publish_reads_all_tokens_and_the_next_what_changed(folder, jobs):
    people, *_ = publish(folder)
    assert (people.edition, people.changed) == (7, ("49",))
    assert jobs == [("BuildJob", "49")] * 2, "of both audiences"
    assert Repository(folder.public).current("people").partitions["49"].count == 55
    with closing(open_members(folder)) as store:
        store.remove(Members("tel", np.array([LEAVING, JOINED], np.uint64)))
    assert publish(folder)[0].changed == ("49",)
    assert Repository(folder.public).current("people").partitions["49"].count == 53
    assert jobs[2:] == [("AmendJob", "49")] * 2


def test_a_process_of_version_8_cannot_write_any_more(folder):
    """It would give up what it knows of, and leave what was sealed."""
    older = sqlite3.connect(folder.registry, isolation_level=None)
    older.create_function("contactsync_registry_8_restart_this_process", 0, lambda: None)
    with closing(older):
        older.execute("UPDATE changes SET serial = serial + 1")
        open_members(folder).close()
        with pytest.raises(sqlite3.OperationalError, match="registry_10_restart_this_process"):
            older.execute("UPDATE changes SET serial = serial + 1")


def test_a_killed_migration_is_made_again(folder):
    with closing(sqlite3.connect(folder.registry, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        REGISTRY_STEPS[7](connection)  # and then it is gone
    assert [len(found) for found in rows(folder.registry, ("bases", "token_changes"))[1:]] == [3, 1]
    open_members(folder).close()
    assert rows(folder.registry, ("bases",)) == (10, [])


@pytest.mark.slow
def test_a_schema_of_version_5_in_postgresql(database):
    address = created(database())
    with psycopg.connect(database(), autocommit=True) as older:
        older.execute("SET search_path = contactsync_members")
        older.execute("DROP TABLE departed_tokens, departed_key, token_changes")
        older.execute(
            "CREATE TABLE token_changes (audience integer NOT NULL, epoch bigint NOT NULL, "
            'partition text COLLATE "C" NOT NULL, serial bigint NOT NULL, token bytea NOT NULL, '
            "PRIMARY KEY (audience, epoch, partition, serial, token))"
        )
        older.execute("INSERT INTO bases VALUES (1, 1, '49', %s, 5, 9)", (b"",))
        (body,) = older.execute("SELECT prosrc FROM pg_proc WHERE proname = 'check_writer'").fetchone()
        older.execute(
            "CREATE OR REPLACE FUNCTION check_writer() RETURNS trigger LANGUAGE plpgsql AS "
            f"$${body.replace('< 7', '< 5').replace('members_7', 'members_5')}$$"
        )
        older.execute("UPDATE version SET version = 5")
        older.execute("SET contactsync_members.version = 5")
        older.execute("UPDATE changes SET serial = serial + 1")
        with closing(PostgresMembers(address)) as store:
            assert store._bases() == []
            store.begin_log({("people", 1): ["49"]}, bytes(32))
            assert store.sealed_to() == {bytes(32)}
            assert store._database.one("SELECT version FROM version") == 7
        with pytest.raises(psycopg.errors.DatabaseError) as caught:
            older.execute("UPDATE changes SET serial = serial + 1")
        assert caught.value.sqlstate == "CS001"
