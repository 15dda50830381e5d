"""`server upgrade`: tried on a copy, which changes nothing; then done."""

import sqlite3
from contextlib import closing

import pytest
from click.testing import CliRunner
from server_tools import run

from contactsync.commands import main
from contactsync.foundation.errors import BadInput, OurError
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
    text = folder.settings_file.read_text()
    folder.settings_file.write_text('database = "postgresql://somebody@db.test/contacts"\n' + text)
    with pytest.raises(BadInput, match="PostgreSQL"):
        try_upgrade(folder)


def test_the_command_says_what_to_do(version_1):
    data = version_1 / "server"
    done = CliRunner().invoke(main, ["server", "upgrade", "--dry-run", "--data", str(data)])
    assert done.exit_code == 0, done.output
    assert "registry: version 1 to" in done.stdout
    for text in ("server backup", "stop `serve`", "builds every file of people again"):
        assert text in done.stderr
    assert "version 1 to" in run("upgrade", data=data)
    assert "nothing to do" in run("upgrade", data=data)
