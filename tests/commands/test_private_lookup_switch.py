"""`server publish --private-lookup`: what it writes, says and leaves, as text and as JSON."""

import json

import pytest
from click.testing import CliRunner
from json_checks import check

from contactsync.commands import main
from contactsync.library.fingerprints import grouped
from contactsync.library.publishing import is_due
from contactsync.server.settings import DataFolder


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "server"
    run(path, "init")
    run(path, "members", "add", "+12125550101", "+4915123456789")
    run(path, "publish")
    return path


def run(data, *words, code=0):
    done = CliRunner().invoke(main, ["server", *words, "--data", str(data)])
    assert done.exit_code == code, done.output
    return done.stdout


def size_of_rows(data):
    (file,) = (data / "rows" / "people").glob("*.rows")
    return file.stat().st_size


def test_it_is_switched_on_and_off(data):
    assert "look-up" not in run(data, "status")
    said = run(data, "publish", "--private-lookup", "yes")
    line = f"128 rows for private look-up ({size_of_rows(data):,} bytes beside the data files)"
    assert "people: epoch 1, edition 2: 2 members in 2 partitions, 0 changed, 0 evaluated\n" in said
    assert line in said
    assert line in run(data, "status")
    assert DataFolder(data).settings().private_lookup == 1

    run(data, "members", "add", "+12125550102")
    assert line in run(data, "publish"), "it stays on"
    assert "edition 4" in run(data, "publish", "--private-lookup", "no")
    assert "look-up" not in run(data, "status")
    assert "unchanged" in run(data, "publish")


def test_as_json(data):
    told = check("server-publish", run(data, "publish", "--private-lookup", "yes", "--json"))
    rows = {"count": 128, "bytes": size_of_rows(data), "level": 18 + 128 * 32}
    (people,) = told["audiences"]
    assert (people["rows"], people["changed"], people["changes"]) == (rows, [], [])
    (people,) = check("server-status", run(data, "status", "--json"))["audiences"]
    assert people["rows"] == rows
    told = check("server-publish", run(data, "publish", "--private-lookup", "no", "--json"))
    assert told["audiences"][0]["rows"] is None
    (people,) = check("server-status", run(data, "status", "--json"))["audiences"]
    assert people["rows"] is None


def test_a_loop_that_publishes_sees_the_switch(data):
    """`publish --every` has no option of its own for it, and the settings may be written by hand."""
    folder = DataFolder(data)
    assert not is_due(folder)
    folder.switch_private_lookup(on=True)
    assert is_due(folder)
    run(data, "publish")
    assert not is_due(folder)


def test_another_word_is_refused(data):
    before = (data / "server.toml").read_bytes()
    run(data, "publish", "--private-lookup", "perhaps", code=2)
    (data / "server.toml").write_bytes(before.replace(b"private_lookup = 0", b"private_lookup = 2"))
    done = CliRunner().invoke(main, ["server", "publish", "--data", str(data)])
    assert done.exit_code == 3, done.output
    assert "private_lookup must be 0 or 1" in done.stderr


def test_signed_elsewhere(data, tmp_path):
    """What was prepared has rows, and is in force with them when it is finished."""
    request = str(tmp_path / "request")
    run(data, "publish", "--private-lookup", "yes", "--offline-targets", request)
    (rows,) = (data / "rows" / "people").iterdir()
    assert f"rows for private look-up: root {grouped(rows.stem)}\n" in shown(data, request)
    assert "look-up" not in run(data, "status")
    level = max((data / "public" / "data").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    octets = level.read_bytes()
    assert len(octets) == 18 + 128 * 32
    level.unlink()
    run(data, "finish", request, code=1)
    level.write_bytes(octets)
    run(data, "finish", request)
    assert "128 rows for private look-up" in run(data, "status")
    assert size_of_rows(data)
    run(data, "members", "add", "+12125550102")
    run(data, "publish", "--private-lookup", "no", "--offline-targets", request)
    assert "rows for private look-up: none any more\n" in shown(data, request)


def shown(data, request):
    """What a person sees who is asked to sign; here the server has all keys, and nothing is left to sign."""
    words = ("server", "sign", request, "--keys", str(data / "keys"), "--yes")
    return CliRunner().invoke(main, words).stdout


def test_a_backup_has_the_level_and_no_rows(data, tmp_path):
    run(data, "publish", "--private-lookup", "yes")
    rows = json.loads(run(data, "status", "--json"))["audiences"][0]["rows"]
    run(data, "backup", str(tmp_path / "backup"), "--with-keys")
    again = tmp_path / "again"
    run(again, "restore", str(tmp_path / "backup"))
    assert not (again / "rows").exists()
    assert json.loads(run(again, "status", "--json"))["audiences"][0]["rows"] == rows
    assert "unchanged" in run(again, "publish")
    assert size_of_rows(again) == rows["bytes"], "they were made again"


def test_a_backup_says_that_the_level_is_lost(data, tmp_path):
    told = json.loads(run(data, "publish", "--private-lookup", "yes", "--json"))
    assert told["audiences"][0]["rows"]
    (level,) = [path for path in (data / "public" / "data").iterdir() if path.stat().st_size == 18 + 128 * 32]
    level.unlink()
    done = CliRunner().invoke(
        main, ["server", "backup", str(tmp_path / "backup"), "--with-keys", "--data", str(data)]
    )
    assert done.exit_code == 0
    assert "people rows" in done.stderr


def test_a_store_has_the_level_and_no_rows(data, tmp_path):
    store = tmp_path / "store"
    run(data, "publish", "--private-lookup", "yes", "--store", store.as_uri())
    names = {path.name for path in store.rglob("*") if path.is_file()}
    (rows,) = (data / "rows" / "people").iterdir()
    assert rows.stem in names
    assert rows.name not in names
