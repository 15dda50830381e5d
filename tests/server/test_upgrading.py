"""`server upgrade`: tried on a copy, which changes nothing; then done."""

import sqlite3
from contextlib import closing

import psycopg
import pytest
from click.testing import CliRunner
from server_tools import run
from store_tools import LATER_TABLES

from contactsync.commands import main
from contactsync.foundation.errors import OurError
from contactsync.server.backups.making import scratch
from contactsync.server.settings import Busy, DataFolder
from contactsync.server.storage.migrations import ACCOUNTS_STEPS, REGISTRY_STEPS
from contactsync.server.storage.sqlite.copying import version_of
from contactsync.server.upgrading import try_upgrade, upgrade


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_tried_on_a_copy_and_then_done(version_1):
    folder = DataFolder(version_1 / "server")
    before = files(folder.path)
    tried = try_upgrade(folder)
    assert files(folder.path) == before
    assert [(one.name, one.version, one.to) for one in tried.databases] == [
        ("registry", 1, len(REGISTRY_STEPS) + 1),
        ("accounts", 0, len(ACCOUNTS_STEPS) + 1),
    ]
    assert tried.is_needed
    assert tried.members["people"] > 0
    done = upgrade(folder)
    assert (done.databases, done.members) == (tried.databases, tried.members)
    assert version_of(folder.registry, "registry", live=True) == len(REGISTRY_STEPS) + 1
    assert not try_upgrade(folder).is_needed
    assert not upgrade(folder).is_needed


def test_what_is_refused_is_found_on_the_copy(version_1):
    folder = DataFolder(version_1 / "server")
    with scratch(folder.path / ".upgrade", "upgrade"), pytest.raises(Busy):
        try_upgrade(folder)
    with closing(sqlite3.connect(folder.registry)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = files(folder.path)
    for attempt in (try_upgrade, upgrade):
        with pytest.raises(OurError, match="99") as caught:
            attempt(folder)
        assert "update contactsync" in caught.value.hint
    assert files(folder.path).keys() - {folder.path / "publish.lock"} == before.keys() - {
        folder.path / "publish.lock"
    }


def test_the_command_says_what_to_do(version_1):
    data = version_1 / "server"
    done = CliRunner().invoke(main, ["server", "upgrade", "--dry-run", "--data", str(data)])
    assert done.exit_code == 0, done.output
    assert "registry: version 1 to" in done.stdout
    for text in ("server backup", "stop `serve`", "builds every file of people again"):
        assert text in done.stderr
    assert "version 1 to" in run("upgrade", data=data)
    assert "nothing to do" in run("upgrade", data=data)


@pytest.fixture
def in_postgresql(database, tmp_path, monkeypatch):
    """A folder whose members and accounts are in PostgreSQL, as version 3 of the members has them."""
    data, url = tmp_path / "server", database()
    monkeypatch.setenv("CONTACTSYNC_DATABASE", url)
    run("init", data=data)
    run("members", "add", "+491512345671", data=data)
    with psycopg.connect(url, autocommit=True) as older:
        older.execute("SET search_path = contactsync_members")
        older.execute(f"DROP TABLE {LATER_TABLES}")
        older.execute("DROP FUNCTION check_writer CASCADE")
        older.execute("UPDATE version SET version = 3")
    return data, url


def contents(url):
    """The version, and what there is in the schema: tables, columns, functions and triggers."""
    with psycopg.connect(url) as connection:
        return [
            connection.execute(query).fetchall()
            for query in (
                "SELECT version FROM contactsync_members.version",
                "SELECT table_name, column_name, data_type FROM information_schema.columns ORDER BY 1, 2",
                "SELECT pronamespace::regnamespace::text, proname FROM pg_proc ORDER BY 1, 2",
                "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
            )
        ]


@pytest.mark.slow
def test_a_database_is_read_and_left_as_it_is(in_postgresql):
    data, url = in_postgresql
    before = contents(url)
    done = CliRunner().invoke(main, ["server", "upgrade", "--dry-run", "--data", str(data)])
    assert done.exit_code == 0, done.output
    assert "version 3 to 7, 4 migrations" in done.stdout
    assert "nothing to do" in done.stdout, "of the accounts"
    for text in ("not tried, as PostgreSQL is not copied", "server backup", "stop `serve`"):
        assert text in done.stderr
    assert contents(url) == before
    tried = try_upgrade(DataFolder(data))
    assert (tried.tried, tried.is_needed, tried.members) == (False, True, {})
    assert "version 3 to 7" in run("upgrade", data=data)
    after = contents(url)
    assert after[0] == [(7,)]
    assert after != before
    assert not try_upgrade(DataFolder(data)).is_needed
    assert "nothing to do" in run("upgrade", data=data)


@pytest.mark.slow
def test_a_database_that_cannot_be_upgraded(in_postgresql, monkeypatch):
    data, url = in_postgresql

    def refused(words):
        done = CliRunner().invoke(main, ["server", "upgrade", "--dry-run", "--data", str(data)])
        assert done.exit_code != 0
        assert "Traceback" not in done.output
        assert words in done.output

    with psycopg.connect(url, autocommit=True) as newer:
        newer.execute("UPDATE contactsync_members.version SET version = 99")
        refused("update contactsync")
        newer.execute("DROP SCHEMA contactsync_members CASCADE")
        refused("run `server init --database`, or restore it from a backup")
    monkeypatch.setenv("CONTACTSYNC_DATABASE", f"{url.rpartition('/')[0]}/there_is_none")
    refused("there is no such database")
    monkeypatch.setenv("CONTACTSYNC_DATABASE", "postgresql://somebody@127.0.0.1:1/contacts")
    refused("check that it runs, and the address")
