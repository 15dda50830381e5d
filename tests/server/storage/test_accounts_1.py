"""accounts.sqlite as version 1 wrote it, before there were quotas."""

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from contactsync.foundation.errors import BadInput
from contactsync.server.quota import PointQuota, Terms
from contactsync.server.storage.sqlite.accounts import SqliteAccounts

ARCHIVE = Path(__file__).parents[2] / "fixtures" / "accounts-1.tar.xz"


@pytest.fixture
def path(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="tar")
    path = tmp_path / "accounts.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    return path


def schema(path):
    with closing(sqlite3.connect(path)) as connection:
        return sorted(
            connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall(), key=str
        )


def test_everybody_is_there_with_what_the_class_gives(path):
    with closing(SqliteAccounts(path)) as accounts:
        assert [(one.name, one.audience, one.added, one.terms) for one in accounts.list()] == [
            ("Shop app", "people", 1_700_000_000, Terms()),
            ("Ärzte & Söhne", "business", 1_700_000_000, Terms()),
        ]
        assert accounts.find("cs_fixture_people").name == "Shop app"
        assert accounts.find("cs_fixture_business").audience == "business"
        assert accounts.find("cs_gone") is None
        assert len(accounts.secret()) == 32
        standing = accounts.standing(accounts.find("cs_fixture_people").id, PointQuota())
        assert standing.left(PointQuota()) == 16_384
        with pytest.raises(BadInput, match="already"):
            accounts.add("Shop app", "people", "cs_new")
        accounts.revoke("Shop app")
        assert accounts.find("cs_fixture_people") is None


def test_it_is_then_as_one_that_is_made_today(path, tmp_path):
    SqliteAccounts(path).close()
    SqliteAccounts.create(tmp_path / "new.sqlite").close()
    assert schema(path) == schema(tmp_path / "new.sqlite")


def test_two_that_come_first_have_one_secret(path):
    with closing(SqliteAccounts(path)) as one, closing(SqliteAccounts(path)) as other:
        assert one.secret() == other.secret()
