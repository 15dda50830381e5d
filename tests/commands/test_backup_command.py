"""`contactsync server backup` and `restore`: what they say, and refuse."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from contactsync.commands import main


def run(*words, code=0):
    result = CliRunner().invoke(main, ["server", *map(str, words)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    data = folder / "server"
    run("init", "--data", data)
    run("members", "add", "+4915112345678", "+12125550100", "--data", data)
    run("publish", "--data", data)
    done = run("backup", folder / "b", "--data", data, "--with-keys")
    assert "people: epoch 1, edition 1" in done.stdout
    assert "not encrypted" in done.stderr
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "made"))


def test_it_is_made_only_if_keys_are_safe_or_somebody_says_so(folder):
    done = run("backup", folder / "c", "--data", folder / "server", code=3)
    assert "--recipient" in done.stderr
    assert (
        "without keys/" in run("backup", folder / "c", "--data", folder / "server", "--without-keys").stderr
    )
    assert (
        "is there already"
        in run("backup", folder / "b", "--data", folder / "server", "--with-keys", code=3).stderr
    )


def test_a_new_server_says_what_to_check(folder):
    done = run("restore", folder / "b", "--data", folder / "new")
    for text in ("receipts", "import them again", "refuse editions older", "restart"):
        assert text in done.stderr
    assert "2 members" in run("status", "--data", folder / "new").stdout
    assert "unchanged" in run("publish", "--data", folder / "new").stdout


def test_in_the_place_of_a_server(folder):
    data = folder / "server"
    run("members", "remove", "+12125550100", "--data", data)
    run("publish", "--data", data)
    done = run("restore", folder / "b", "--replace", "--data", data, code=7)
    assert "--removed remove" in done.stderr
    done = run("restore", folder / "b", "--replace", "--removed", "remove", "--data", data)
    assert "1 person who left since: removed again" in done.stderr
    assert "stays as it was" in done.stderr
    assert "1 member" in run("status", "--data", data).stdout
    run("restore", "--undo", "--data", data)
    assert "unpublished changes: no" in run("status", "--data", data).stdout


def test_a_wrong_command_line(folder):
    assert "BACKUP" in run("restore", "--data", folder / "x", code=2).stderr
    assert "alone" in run("restore", folder / "b", "--undo", "--data", folder / "server", code=2).stderr
    assert "no backup" in run("restore", folder / "none", "--data", folder / "x", code=3).stderr
    assert (
        "no backup of contactsync"
        in run("restore", folder / "server" / "server.toml", "--data", folder / "x", code=3).stderr
    )
