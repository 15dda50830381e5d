"""A registry of version 2, before consents: opened, read, and what was published is recorded from then on."""

import sqlite3
import tarfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contactsync.publication.tuf.repository import Repository
from contactsync.server.keyring import Keyring
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_members
from contactsync.server.storage.ports import Members
from contactsync.server.storage.records import Added, Origin

ARCHIVE = Path(__file__).parents[2] / "fixtures" / "registry-2.tar.xz"


@pytest.fixture
def folder(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="tar")
    return DataFolder(tmp_path / "v2" / "server")


def rows(folder):
    with closing(sqlite3.connect(folder.registry)) as connection:
        members = connection.execute("SELECT key, audiences, added FROM members_tel ORDER BY key").fetchall()
        tokens = connection.execute("SELECT * FROM tokens_tel ORDER BY audience, epoch, key").fetchall()
        touched = connection.execute("SELECT * FROM touched").fetchall()
        return connection.execute("PRAGMA user_version").fetchone()[0], members, tokens, touched


def test_nothing_is_lost(folder):
    version, *before = rows(folder)
    assert (version, len(before[0]), len(before[1])) == (2, 6, 7)
    open_members(folder).close()
    assert rows(folder) == (10, *before)


def test_its_members_were_verified_when_they_were_added(folder):
    with closing(open_members(folder)) as store:
        entries = store.entries("tel", None, 99)
        assert [len(entry.audiences) for entry in entries] == [2, 1, 2, 1, 1, 1]
        days = {entry.verified for entry in entries}
        assert days == {datetime.fromtimestamp(entry.added, UTC).date() for entry in entries}
        both = Members("tel", store.unevaluated("business", 9, "49", None, 9).keys)
        (record,) = store.show(both)
        assert record.changed == {"people": 0, "business": 0}, "nobody wrote it down then"
        assert record.consents == ()
        origin = Origin("letter")
        assert store.consent(both, "people", granted=False, origin=origin).changed == 1
        assert store.add(both) == Added(0, 0, 1)
        assert store.expire(max(days)) == 0


def test_what_is_published_from_now_on_is_recorded(folder):
    with closing(open_members(folder)) as store:
        assert store.edition_of("people", 0) is None
        serial = store.serial()
        Publisher(folder, store, Keyring.open(folder.keys, None)).publish()
        people, business = store.edition_of("people", serial), store.edition_of("business", serial)
        assert (people.edition, business.edition) == (3, 1)
        current = Repository(folder.public).current("people")
        assert (people.epoch, people.edition) == (current.epoch, current.edition)
        assert store.edition_of("people", serial + 1) is None
