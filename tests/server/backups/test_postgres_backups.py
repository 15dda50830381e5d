"""Backups of a server whose members and accounts are in PostgreSQL, and restores into a database."""

import json
import os
import shutil
import signal
import tarfile
from contextlib import closing
from pathlib import Path

import postgres_server
import psycopg
import pytest
from click.testing import CliRunner
from server_tools import AMERICAN, GERMAN, Operator, numbers

from contactsync.commands import main
from contactsync.foundation.errors import BadInput, OurError
from contactsync.publication.tuf.repository import Repository
from contactsync.server.backups import restoring
from contactsync.server.backups.making import SCRATCH, back_up
from contactsync.server.backups.restoring import restore, undo
from contactsync.server.belonging import doubts_of
from contactsync.server.keyring import DEPARTED
from contactsync.server.settings import DataFolder
from contactsync.server.storage import opening
from contactsync.server.storage.opening import export_stores, import_stores, open_accounts, open_members
from contactsync.server.storage.postgres.address import DatabaseUrl
from contactsync.server.storage.postgres.members import PostgresMembers

pytestmark = pytest.mark.slow


class Site:
    """A published server in PostgreSQL. `empty` is the URL of another database, with nothing in it."""

    def __init__(self, path, url, empty):
        operator = Operator(path / "server")
        operator.add(GERMAN, AMERICAN)
        operator.accounts.add("shop", "people", "cs_secret")
        operator.publish()
        operator.close()
        self.url, self.empty, self.data = DatabaseUrl.parse(url), DatabaseUrl.parse(empty), path / "server"
        self.folder = operator.folder
        export_stores(self.folder, path / "stores")
        import_stores(self.folder, path / "stores", self.url)
        for name in (self.folder.registry, self.folder.accounts):
            name.unlink()

    def add(self, *values):
        with closing(PostgresMembers(self.url)) as members:
            members.add(numbers(*values))

    def back_up(self, target):
        return back_up(self.folder, target, "0", with_keys=True)


@pytest.fixture
def site(tmp_path, database, postgres, monkeypatch):
    """What server.toml says of a database counts; the password comes as libpq finds it."""
    url, name = database(), f"contactsync_empty_{postgres_server.worker()}"
    empty = postgres_server.create_database(postgres, name)
    monkeypatch.setenv("PGPASSWORD", DatabaseUrl.parse(url).password)
    monkeypatch.delenv("CONTACTSYNC_DATABASE", raising=False)
    yield Site(tmp_path, url, empty)
    postgres_server.drop_database(postgres, name)


def contents(data):
    folder = DataFolder(data)
    with closing(open_members(folder)) as members, closing(open_accounts(folder)) as accounts:
        assert doubts_of(members, Repository(folder.public)) == {}
        return (
            [repr(one) for one in members.show(numbers(GERMAN, AMERICAN))],
            [chunk.to_bytes().tobytes() for chunk in members.tokens("people", 1, "49")],
            [(one.name, one.audience) for one in accounts.list()],
            {
                path.name: path.read_bytes()
                for part in ("keys", "public/data")
                for path in (data / part).iterdir()
                if not path.name.startswith(DEPARTED)
            },
        )


def is_empty(address):
    with psycopg.connect(address.url, password=address.password) as connection:
        found = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'contactsync%'")
        return found.fetchall() == []


def test_it_comes_back_in_another_database_or_as_files(site, tmp_path):
    made = site.back_up(tmp_path / "backup")
    assert made.about.postgres
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600
    assert not (site.data / SCRATCH).exists()
    for place, to in (("new", {"database": site.empty}), ("filed", {"files": True})):
        done = restore(tmp_path / "backup", tmp_path / place, **to)
        assert (done.about.published, done.damaged) == ({"people": (1, 1)}, ())
        assert contents(tmp_path / place) == contents(site.data)
    new, filed = DataFolder(tmp_path / "new"), DataFolder(tmp_path / "filed")
    assert (new.database()[0], filed.database()[0]) == (site.empty.url, "")
    assert not [path for path in new.path.iterdir() if "sqlite" in path.name or path.name == ".restoring"]
    site.add(GERMAN + 1)
    assert contents(tmp_path / "new") == contents(tmp_path / "filed"), "it is not the database of the server"
    # And once more, from there.
    back_up(new, tmp_path / "again", "0", with_keys=True)
    restore(tmp_path / "again", tmp_path / "twice", files=True)
    assert contents(tmp_path / "twice") == contents(tmp_path / "filed")


def test_files_may_come_back_in_a_database(site, tmp_path):
    site.back_up(tmp_path / "b")
    restore(tmp_path / "b", tmp_path / "filed", files=True)
    made = back_up(DataFolder(tmp_path / "filed"), tmp_path / "of files", "0", with_keys=True)
    assert not made.about.postgres
    restore(tmp_path / "of files", tmp_path / "new", database=site.empty)
    assert contents(tmp_path / "new") == contents(site.data)


def test_it_has_to_be_said_where_to(site, tmp_path):
    site.back_up(tmp_path / "backup")
    with pytest.raises(BadInput, match="were in PostgreSQL") as caught:
        restore(tmp_path / "backup", tmp_path / "new")
    assert "--database" in caught.value.hint
    assert "--files" in caught.value.hint
    assert restore(tmp_path / "backup", tmp_path / "new", dry_run=True, database=site.empty).about.postgres
    assert not (tmp_path / "new").exists()
    assert is_empty(site.empty)


def test_a_database_that_is_used_is_not_touched(site, tmp_path):
    site.back_up(tmp_path / "backup")
    site.add(GERMAN + 7)
    with pytest.raises(BadInput, match="already"):
        restore(tmp_path / "backup", tmp_path / "new", database=site.url)
    with closing(open_members(site.folder)) as members:
        assert members.count("people") == 3
    assert not [path.name for path in tmp_path.iterdir() if "new" in path.name]


def test_an_older_program_refuses_it(site, tmp_path):
    """It would put server.toml in its place, and use the database that this names."""
    site.back_up(tmp_path / "backup")
    with tarfile.open(tmp_path / "backup") as tar:
        assert json.load(tar.extractfile("contactsync-backup.json"))["format"] == "contactsync-backup-2"
    restore(tmp_path / "backup", tmp_path / "filed", files=True)
    back_up(DataFolder(tmp_path / "filed"), tmp_path / "of files", "0", with_keys=True)
    with tarfile.open(tmp_path / "of files") as tar:
        assert json.load(tar.extractfile("contactsync-backup.json"))["format"] == "contactsync-backup-1"


def test_it_is_of_one_moment(site, tmp_path, monkeypatch):
    """Who comes while it is made is in neither store of it."""
    real = opening.write_files

    def write(folder, pages):
        def slowly():
            for i, page in enumerate(pages):
                if not i:
                    site.add(GERMAN + 3)
                    with closing(open_accounts(site.folder)) as accounts:
                        accounts.add("late", "people", "cs_late")
                yield page

        real(folder, slowly())

    monkeypatch.setattr(opening, "write_files", write)
    site.back_up(tmp_path / "backup")
    monkeypatch.undo()
    monkeypatch.setenv("PGPASSWORD", site.url.password)
    restore(tmp_path / "backup", tmp_path / "new", files=True)
    folder = DataFolder(tmp_path / "new")
    with closing(open_members(folder)) as members, closing(open_accounts(folder)) as accounts:
        assert members.count("people") == 2
        assert [one.name for one in accounts.list()] == ["shop"]


def test_a_restore_that_fails_leaves_an_empty_database(site, tmp_path, monkeypatch):
    site.back_up(tmp_path / "backup")

    def fail(*_):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(restoring.durable, "rename", fail)
    with pytest.raises((OurError, OSError), match="busy"):
        restore(tmp_path / "backup", tmp_path / "new", database=site.empty)
    assert is_empty(site.empty)


@pytest.mark.parametrize("moment", ["_move", "_sync"])
def test_after_a_kill_the_same_restore_goes_through(site, tmp_path, monkeypatch, moment):
    """What it left in the database is its own, and is removed; what is somebody else's is not."""
    site.back_up(tmp_path / "backup")
    name = {"_move": "move_to_database", "_sync": "_sync"}[moment]
    real = getattr(restoring, name)

    def die(*args):
        real(*args)
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        try:
            monkeypatch.setattr(restoring, name, die)
            restore(tmp_path / "backup", tmp_path / "new", database=site.empty)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert not is_empty(site.empty)
    left = tmp_path / ".new.restore"
    shutil.copytree(left, tmp_path / ".other.restore")
    (tmp_path / ".other.restore/.restoring").write_text("00" * 16)
    with pytest.raises(BadInput, match="already"):
        restore(tmp_path / "backup", tmp_path / "other", database=site.empty)
    restore(tmp_path / "backup", tmp_path / "new", database=site.empty)
    assert contents(tmp_path / "new") == contents(site.data)
    # It is in use now: what is beside it says so no more.
    assert not left.exists()
    with pytest.raises(BadInput, match="already"):
        restore(tmp_path / "backup", tmp_path / "third", database=site.empty)


def run(*words, code=0):
    result = CliRunner().invoke(main, ["server", *map(str, words)])
    assert result.exit_code == code, result.output
    return result


def test_in_the_place_of_a_server(site, tmp_path):
    """Who was removed since is compared with the database of the server that is replaced."""
    data, empty = site.data, site.empty.url
    run("backup", tmp_path / "b", "--data", data, "--with-keys")
    run("members", "remove", f"+{AMERICAN}", "--data", data)
    assert "--database URL" in run("restore", tmp_path / "b", "--replace", "--data", data, code=3).stderr
    words = ("restore", tmp_path / "b", "--replace", "--database", empty, "--data", data)
    assert "--removed remove" in run(*words, code=7).stderr
    assert is_empty(site.empty)
    done = run(*words, "--removed", "remove")
    assert "1 person who left since: removed again" in done.stderr
    assert f"members and accounts are in {site.empty}" in done.stderr
    assert "1 member" in run("status", "--data", data).stdout
    undo(data)
    assert DataFolder(data).database()[0] == site.url.url
    assert "1 member" in run("status", "--data", data).stdout
    secret = f"postgresql://somebody:{site.url.password}@db.test/x"
    refused = run("restore", tmp_path / "b", "--database", secret, "--data", Path(tmp_path / "n"), code=3)
    assert "password" in refused.stderr
    assert site.url.password not in refused.stderr
    assert (
        "either"
        in run("restore", tmp_path / "b", "--files", "--database", "x", "--data", data, code=2).stderr
    )
