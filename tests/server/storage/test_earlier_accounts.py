"""accounts.sqlite as versions 1 and 2 wrote it: before there were quotas, and before there were breakers."""

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from contactsync.foundation.errors import BadInput
from contactsync.server.quota import PointQuota, Terms, Verdict
from contactsync.server.storage.ports import Charge
from contactsync.server.storage.sqlite.accounts import SqliteAccounts

FIXTURES = Path(__file__).parents[2] / "fixtures"


def extracted(folder, version):
    folder.mkdir()
    with tarfile.open(FIXTURES / f"accounts-{version}.tar.xz") as archive:
        archive.extractall(folder, filter="tar")
    path = folder / "accounts.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (version,)
    return path


@pytest.fixture
def path(tmp_path):
    return extracted(tmp_path / "1", 1)


@pytest.fixture(params=[1, 2])
def any_path(request, tmp_path):
    return extracted(tmp_path / "any", request.param)


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


def test_version_2_keeps_what_was_charged(tmp_path):
    now = 1_700_000_000_000
    with closing(SqliteAccounts(extracted(tmp_path / "2", 2), lambda: now)) as accounts:
        shop, other = accounts.uses()
        assert (shop.points_total, shop.batches, shop.epoch_points) == (520, 2, 520)
        assert (other.refused, other.account.terms) == (1, Terms("partner", 1000, 50))
        account = accounts.find("cs_fixture_people")
        assert account.until == now + 7 * 86_400_000
        assert accounts.standing(account.id, PointQuota()).left(PointQuota()) == 16_384 - 520
        # Which epoch they were for is not known: the first charge says it. The next epoch grants them all.
        quota = PointQuota()
        (again, _, moved) = accounts.charge(
            [
                Charge(account.id, 512, b"1" * 16, quota, 3),
                Charge(account.id, 8, b"3" * 16, quota, 3),
                Charge(account.id, 28, b"4" * 16, quota, 4),
            ]
        )
        assert (again.outcome, moved.outcome, moved.granted) == (Verdict.REPEATED, Verdict.CHARGED, 500)


def test_it_is_then_as_one_that_is_made_today(any_path, tmp_path):
    path = any_path
    SqliteAccounts(path).close()
    SqliteAccounts.create(tmp_path / "new.sqlite").close()
    assert schema(path) == schema(tmp_path / "new.sqlite")


def test_two_that_come_first_have_one_secret(path):
    with closing(SqliteAccounts(path)) as one, closing(SqliteAccounts(path)) as other:
        assert one.secret() == other.secret()
