"""The passphrase of all keys, changed in one step: kill -9 anywhere leaves all old or all new."""

import itertools
import os
import shutil
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner
from server_tools import GERMAN, Operator

from contactsync.commands import main
from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, OurError
from contactsync.server.keyring import Keyring
from contactsync.server.passphrases import change_passphrase
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_members

pytestmark = pytest.mark.usefixtures("cheap_passphrases")

OLD, NEW = b"old words", b"new words"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    operator = Operator(tmp_path_factory.mktemp("made") / "server")
    operator.add(GERMAN)
    operator.publish()
    operator.keyring.new_seed("people", 2, overlap=1000)
    operator.close()
    return operator.folder.path


@pytest.fixture
def folder(made, tmp_path):
    return DataFolder(Path(shutil.copytree(made, tmp_path / "server")))


def texts(folder):
    return b"".join(path.read_bytes() for path in Path(folder).rglob("*") if path.is_file())


def test_added_changed_and_removed_the_keys_stay_the_same(folder):
    plain = Keyring.open(folder.keys, None).secrets()
    assert {name.split("-")[0] for name in plain} == {"keyring.json", "tuf", "voprf", "departed"}
    seed = plain["voprf-people-1.json"][0]
    for old, new in ((None, OLD), (OLD, NEW), (NEW, None), (None, NEW)):
        assert change_passphrase(folder, old, new) == len(plain) - 1
        assert Keyring.open(folder.keys, new).secrets() == plain
        assert (seed.hex().encode() in texts(folder.path)) is (new is None)
        assert not (folder.path / "keys.sealing").exists()
        assert {path.stat().st_mode & 0o777 for path in folder.keys.iterdir()} == {0o600}
        assert folder.keys.stat().st_mode & 0o777 == 0o700
        if new is not None:
            with pytest.raises(BadInput):
                Keyring.open(folder.keys, old or b"another")


def test_what_is_wrong_changes_nothing(folder, monkeypatch):
    change_passphrase(folder, None, OLD)
    before = texts(folder.keys)
    for old, new in ((b"wrong", NEW), (None, NEW), (OLD, OLD)):
        with pytest.raises(BadInput):
            change_passphrase(folder, old, new)

    def cannot(*_):
        raise OSError(22, "Invalid argument", "keys")

    monkeypatch.setattr(durable, "exchange", cannot)
    with pytest.raises(OurError, match="sealed anew"):
        change_passphrase(folder, OLD, NEW)
    assert texts(folder.keys) == before
    assert not (folder.path / "keys.sealing").exists()


def test_a_damaged_key_changes_nothing(folder):
    (folder.keys / "voprf-people-2.json").write_text("{}")
    before = texts(folder.path)
    with pytest.raises(OurError, match="damaged"):
        change_passphrase(folder, None, NEW)
    assert texts(folder.path) == before
    assert not (folder.path / "keys.sealing").exists()


def killed(folder, limit, moment):
    """Whether a change in a child was killed, at its step `limit`: what changes the disk, or exchanges."""
    child = os.fork()
    if not child:
        steps = itertools.count(1)

        def counted(function):
            def call(*arguments, **options):
                step = next(steps)
                if (step, moment) == (limit, "before"):
                    os.kill(os.getpid(), signal.SIGKILL)
                done = function(*arguments, **options)
                if step == limit:
                    os.kill(os.getpid(), signal.SIGKILL)
                return done

            return call

        for owner, name in (
            (os, "fsync"),
            (os, "replace"),
            (os, "unlink"),
            (os, "rmdir"),
            (os, "pwrite"),
            (os, "mkdir"),
        ):
            setattr(owner, name, counted(getattr(owner, name)))
        durable.exchange = counted(durable.exchange)
        change_passphrase(folder, OLD, NEW)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_every_step_all_keys_are_old_or_all_are_new(folder, tmp_path, moment):
    change_passphrase(folder, None, OLD)
    wanted = Keyring.open(folder.keys, OLD).secrets()
    found = {OLD: 0, NEW: 0}
    for limit in itertools.count(1):
        work = DataFolder(tmp_path / "work")
        shutil.rmtree(work.path, ignore_errors=True)
        shutil.copytree(folder.path, work.path)
        if not killed(work, limit, moment):
            break
        for passphrase, other in ((OLD, NEW), (NEW, OLD)):
            try:
                keyring = Keyring.open(work.keys, passphrase)
            except BadInput:
                continue
            assert keyring.secrets() == wanted
            found[passphrase] += 1
            if limit % 2:
                change_passphrase(work, passphrase, other)
            else:
                with_members = open_members(work)
                Publisher(work, with_members, keyring).publish()
                with_members.close()
            assert not (work.path / "keys.sealing").exists()
            break
        else:
            pytest.fail("the keys are under neither passphrase")
    assert found[OLD] > 10
    assert found[NEW] > 10


# The command


def run(*words, code=0, **environment):
    clean = {"CONTACTSYNC_PASSPHRASE": None, "CONTACTSYNC_NEW_PASSPHRASE": None}
    done = CliRunner(env=clean | environment).invoke(main, ["server", "keys", "passphrase", *map(str, words)])
    assert done.exit_code == code, done.output
    assert "words" not in done.output
    return done


def test_the_command(folder, tmp_path):
    data = ("--data", folder.path)
    for name, passphrase in (("old", OLD), ("new", NEW)):
        (tmp_path / name).write_bytes(passphrase + b"\n")
    assert "no passphrase" in run("--change", *data, code=3).stderr
    assert "no new passphrase" in run("--add", *data, code=3).stderr
    assert "--add" in run(*data, code=2).stderr
    assert "restart" in run("--add", *data, "--new-passphrase-file", tmp_path / "old").stderr
    assert "have a passphrase" in run("--add", *data, CONTACTSYNC_NEW_PASSPHRASE="x", code=3).stderr
    assert "wrong" in run("--remove", *data, CONTACTSYNC_PASSPHRASE="x", code=3).stderr
    run("--change", *data, "--passphrase-file", tmp_path / "old", CONTACTSYNC_NEW_PASSPHRASE=NEW.decode())
    assert "unencrypted" in run("--remove", *data, "--passphrase-file", tmp_path / "new").stdout
    assert not Keyring.is_locked(folder.keys)
