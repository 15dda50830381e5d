"""A registry of version 7, which kept nothing of how tokens changed: opened, published, moved."""

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
from contactsync.server.publishing.job import BuildJob
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.settings import DataFolder
from contactsync.server.storage.migrations import REGISTRY_STEPS
from contactsync.server.storage.opening import open_members
from contactsync.server.storage.ports import Members
from contactsync.server.storage.postgres.members import PostgresMembers
from contactsync.server.storage.sqlite.members import SqliteMembers
from contactsync.server.upgrading import try_upgrade

ARCHIVE = Path(__file__).parents[2] / "fixtures" / "registry-7.tar.xz"
KEPT = (
    *("members_tel", "tokens_tel", "consents_tel", "labels_tel", "editions", "published", "token_keys"),
    *("searches", "pending_tel", "touched", "changes"),
)
LEFT, JOINED = 4915112345700, 4915112345800
"""Who left since the last publish, and who joined; fifty others joined before it."""


@pytest.fixture
def folder(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="tar")
    return DataFolder(tmp_path / "v7" / "server")


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


def test_nothing_is_lost_and_nothing_counts_as_known_of_its_bases(folder, tmp_path):
    version, *before = rows(folder.registry, KEPT)
    assert version == 7
    assert [(one.version, one.to) for one in try_upgrade(folder).databases] == [(7, 10), (3, 3)]
    assert rows(folder.registry, KEPT) == (7, *before), "tried on a copy"
    open_members(folder).close()
    assert rows(folder.registry, KEPT) == (10, *before)
    assert rows(folder.registry, ("bases", "token_changes", "counts"))[1:] == ([], [], [])
    with closing(open_members(folder)) as store:
        assert (store.count("people"), store.count("business")) == (56, 1)
    SqliteMembers.create(tmp_path / "new.sqlite").close()
    assert schema(folder.registry) == schema(tmp_path / "new.sqlite")


def test_the_first_publish_reads_all_tokens_and_the_next_what_changed(folder, monkeypatch):
    built = []
    monkeypatch.setattr(BuildJob, "__init__", _noting(built, BuildJob.__init__))
    people, *_ = publish(folder)
    assert (people.edition, people.evaluated, people.changed) == (6, 1, ("49",))
    assert built == ["49", "49"], "of both audiences"
    assert Repository(folder.public).current("people").partitions["49"].count == 54
    with closing(open_members(folder)) as store:
        store.add(Members("tel", np.array([LEFT], np.uint64)))
    assert publish(folder)[0].changed == ("49",)
    assert built == ["49", "49"]


def _noting(built, real):
    def init(self, **given):
        built.append(given["partition"])
        real(self, **given)

    return init


def test_a_process_of_version_7_cannot_write_any_more(folder):
    """It would change tokens, and the next base would be made without that."""
    older = sqlite3.connect(folder.registry, isolation_level=None)
    older.create_function("contactsync_registry_7_restart_this_process", 0, lambda: None)
    with closing(older):
        older.execute("UPDATE changes SET serial = serial + 1")
        open_members(folder).close()
        with pytest.raises(sqlite3.OperationalError, match="registry_10_restart_this_process"):
            older.execute("UPDATE changes SET serial = serial + 1")
        assert older.execute("SELECT count(*) FROM tokens_tel").fetchone() == (56,)


def test_a_killed_migration_is_made_again(folder):
    """Its step is one transaction: the version and the tables come together."""
    with closing(sqlite3.connect(folder.registry, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        REGISTRY_STEPS[6](connection)  # and then it is gone
    assert rows(folder.registry, ())[0] == 7
    assert not {key for key in schema(folder.registry) if key[1] in {"bases", "token_changes", "counts"}}
    open_members(folder).close()
    assert rows(folder.registry, ("bases",)) == (10, [])


@pytest.mark.slow
def test_a_schema_of_version_4_in_postgresql(database):
    address = created(database())
    with psycopg.connect(database(), autocommit=True) as older:
        older.execute("SET search_path = contactsync_members")
        older.execute(f"DROP TABLE IF EXISTS {LATER_TABLES}")
        (body,) = older.execute("SELECT prosrc FROM pg_proc WHERE proname = 'check_writer'").fetchone()
        older.execute(
            "CREATE OR REPLACE FUNCTION check_writer() RETURNS trigger LANGUAGE plpgsql AS "
            f"$${body.replace('< 7', '< 4').replace('members_7', 'members_4')}$$"
        )
        older.execute("UPDATE version SET version = 4")
        older.execute("SET contactsync_members.version = 4")
        older.execute("UPDATE changes SET serial = serial + 1")
        with closing(PostgresMembers(address)) as store:
            store.begin_log({("people", 1): ["49"]}, bytes(32))
            assert store._database.one("SELECT version FROM version") == 7
        with pytest.raises(psycopg.errors.DatabaseError) as caught:
            older.execute("UPDATE changes SET serial = serial + 1")
        assert caught.value.sqlstate == "CS001"
