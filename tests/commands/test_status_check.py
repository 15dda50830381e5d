"""`server status --check`: for cron. Silent and 0, or a line for each thing to do and another exit code."""

import json
from datetime import timedelta

import pytest
from click.testing import CliRunner

from contactsync.commands import main
from contactsync.commands.server import status
from contactsync.publication.tuf.signed import LIFETIMES
from contactsync.server.machine import TO_DO


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "server"
    run(path, "init")
    run(path, "members", "add", "+12125550101")
    run(path, "publish")
    return path


def run(data, *words, code=0):
    done = CliRunner().invoke(main, ["server", *words, "--data", str(data)])
    assert done.exit_code == code, done.output
    return done.stdout


def check(data):
    """The lines; there are none exactly if the exit code is 0."""
    done = CliRunner().invoke(main, ["server", "status", "--check", "--data", str(data)])
    assert done.exit_code in {0, TO_DO}, done.output
    assert bool(done.stdout) == (done.exit_code == TO_DO)
    return done.stdout.splitlines()


def test_nothing_to_do(data):
    assert check(data) == [], "advice alone, such as a passphrase, is no reason to wake somebody"
    run(data, "members", "add", "+12125550102")
    assert check(data) == [], "changes wait for the next publish"


def test_nothing_published(tmp_path):
    run(tmp_path / "new", "init")
    assert check(tmp_path / "new") == ["nothing is published: `server publish`"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "left", "says"),
    [
        ("timestamp", timedelta(days=1), "not being renewed: start `serve`"),
        ("snapshot", timedelta(days=3), "not being renewed"),
        ("targets", timedelta(days=20), "the targets metadata expires on"),
        ("root", timedelta(days=60), "the root metadata expires on"),
        ("timestamp", timedelta(seconds=-1), "the timestamp metadata has expired"),
        ("root", timedelta(seconds=-1), "the root metadata has expired"),
    ],
)
def test_signatures(tmp_path, monkeypatch, role, left, says):
    data = tmp_path / "server"
    real = LIFETIMES[role]
    monkeypatch.setitem(LIFETIMES, role, real if left < timedelta() else left)
    if role == "root":
        monkeypatch.setitem(LIFETIMES, role, left if left > timedelta() else timedelta(days=1))
    run(data, "init")
    run(data, "members", "add", "+12125550101")
    (data / "keys" / "tuf-root.json").rename(data / "keys" / "elsewhere")
    run(data, "publish")
    monkeypatch.setitem(LIFETIMES, role, real)
    if left < timedelta():

        class Later(status.datetime):
            @classmethod
            def now(cls, tz=None):
                return super().now(tz) + (LIFETIMES[role] if role != "root" else timedelta(days=2))

        monkeypatch.setattr(status, "datetime", Later)
    assert any(says in line for line in check(data)), check(data)


def test_what_clients_refuse(data):
    (path,) = (data / "public" / "metadata").glob("*.snapshot.json")
    path.write_bytes(path.read_bytes()[:-5])
    done = CliRunner().invoke(main, ["server", "status", "--check", "--data", str(data)])
    assert done.exit_code == 1, "the status itself cannot be told"
    assert "clients refuse what is served" in done.stdout
    assert "restore" in done.stderr


def test_files_and_keys(data):
    for path in (data / "public" / "data").iterdir():
        path.unlink()
    (data / "keys" / "tuf-timestamp.json").unlink()
    lines = check(data)
    assert any("1 data files of people are missing or cut: publish" in line for line in lines)
    assert any("not enough keys of the role timestamp" in line for line in lines)


def test_json(data):
    (data / "keys" / "voprf-people-1.json").chmod(0o644)
    told = json.loads(run(data, "status", "--check", "--json", code=TO_DO))
    assert told["due"] == ["other users can read the data folder or its keys"]
    assert len(told["warnings"]) > len(told["due"])
