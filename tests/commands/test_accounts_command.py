"""`contactsync server accounts …`: what is printed where, and that nothing is half done."""

import json
import re
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from contactsync.commands import main
from contactsync.server.quota import PointQuota
from contactsync.server.storage.ports import Charge
from contactsync.server.storage.sqlite.accounts import SqliteAccounts

CREDENTIAL = r"cs_[A-Za-z0-9_-]{43}"


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.delenv("CONTACTSYNC_DATA", raising=False)
    assert CliRunner().invoke(main, ["server", "init", "--data", str(tmp_path / "server")]).exit_code == 0
    return tmp_path / "server"


@pytest.fixture
def run(data):
    def run(*words, code=0):
        result = CliRunner().invoke(main, ["server", "accounts", *words, "--data", str(data)])
        assert result.exit_code == code, result.stderr
        assert "Traceback" not in result.stderr
        return result

    return run


@pytest.fixture
def rows(run):
    return lambda: {row["name"]: row for row in json.loads(run("list", "--json").stdout)}


def error(result):
    lines = result.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    return lines[0]


def test_one_several_from_a_file_and_by_count(run, rows, tmp_path):
    assert re.fullmatch(CREDENTIAL + "\n", run("add", "solo").stdout)
    assert re.fullmatch(f"a\t{CREDENTIAL}\nb c\t{CREDENTIAL}\n", run("add", "a", "b c").stdout)
    file = tmp_path / "names"
    file.write_text("\ufeffÄrzte\r\n\n  shop \n", encoding="utf-8")
    assert re.fullmatch(f"Ärzte\t{CREDENTIAL}\nshop\t{CREDENTIAL}\n", run("add", "--from", str(file)).stdout)
    assert re.fullmatch(
        f"account-1\t{CREDENTIAL}\naccount-2\t{CREDENTIAL}\n", run("add", "--count", "2").stdout
    )
    run("add", "account-00041")
    assert run("add", "--count", "1").stdout.startswith("account-42\t")
    assert set(rows()) == {
        "solo",
        "a",
        "b c",
        "Ärzte",
        "shop",
        "account-1",
        "account-2",
        "account-00041",
        "account-42",
    }


@pytest.mark.parametrize(
    "words",
    [
        ("add", "new", "shop"),
        ("add", "new", "new"),
        ("add", "new", "tab\there"),
        ("add", "new", ""),
        ("add", "new", "x" * 101),
        ("add", "new", "--class", "unknown"),
        ("set", "shop", "missing", "--burst", "5"),
        ("set", "shop", "--class", "unknown"),
        ("revoke", "shop", "missing"),
        ("rotate", "missing"),
        ("show", "missing"),
    ],
)
def test_what_cannot_be_done_changes_nothing(run, words):
    run("add", "shop")
    before = run("list", "--json").stdout
    result = run(*words, code=3)
    assert result.stdout == ""
    error(result)
    assert run("list", "--json").stdout == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("add",),
        ("add", "a", "--count", "2"),
        ("add", "--count", "0"),
        ("add", "a", "--burst", "0"),
        ("add", "a", "--burst", "-5"),
        ("add", "a", "--burst", "1000000001"),
        ("add", "a", "--per-day", "many"),
        ("add", "a", "--per-day", "default"),
        ("add", "a", "--audience", "nobody"),
        ("add", "--from", "/does/not/exist"),
        ("set", "a"),
        ("set", "--burst", "5"),
        ("expire",),
        ("expire", "--unused-since", "yesterday"),
        ("expire", "--unused-since", "9999-01-01"),
        ("rotate", "a", "--overlap", "soon"),
        ("revoke",),
    ],
)
def test_a_wrong_command_line(run, words):
    result = run(*words, code=2)
    assert result.stdout == ""
    assert run("list").stdout == ""


def test_a_file_that_cannot_be_used(run, tmp_path):
    for content, said in (
        (b"\xff\xfe", "not UTF-8"),
        (b"\n \n", "no name"),
        (b"a\nb\na\n", "'a' is given twice"),
    ):
        (tmp_path / "names").write_bytes(content)
        assert said in error(run("add", "--from", str(tmp_path / "names"), code=3))
    assert run("list").stdout == ""


def test_quotas_are_set_by_account_by_class_and_by_audience(run, rows, data):
    settings = data / "server.toml"
    settings.write_text(
        settings.read_text() + "\n[quota.business]\nburst = 100\n[quota.partner]\nburst = 200\nper_day = 20\n"
    )
    run("add", "plain")
    run("add", "shop", "--audience", "business")
    run("add", "friend", "--class", "partner")
    run("add", "own", "--class", "partner", "--burst", "300")

    def quotas():
        return {name: (row["burst"], row["per_day"], row["left"]) for name, row in rows().items()}

    assert quotas() == {
        "plain": (16_384, 256, 16_384),
        "shop": (100, 256, 100),
        "friend": (200, 20, 200),
        "own": (300, 20, 300),
    }
    run("set", "plain", "own", "--per-day", "7")
    assert (quotas()["plain"], quotas()["own"]) == ((16_384, 7, 16_384), (300, 7, 300))
    run("set", "own", "--burst", "default", "--per-day", "default", "--class", "none")
    assert quotas()["own"] == (16_384, 256, 16_384)
    assert rows()["own"]["class"] == ""


def use(data, name, points):
    with closing(SqliteAccounts(data / "accounts.sqlite")) as accounts:
        (found,) = accounts.uses(name)
        accounts.charge([Charge(found.account.id, points, name.encode().ljust(16)[:16], PointQuota(100, 1))])


def test_what_was_used_is_shown(run, rows, data):
    run("add", "shop", "--burst", "100", "--per-day", "1")
    row = rows()["shop"]
    assert list(row)[:7] == [
        *("name", "audience", "added", "last_used", "points_today", "points_total", "refused"),
    ]
    assert (row["last_used"], row["points_today"], row["points_total"], row["refused"]) == (None, 0, 0, 0)
    use(data, "shop", 60)
    use(data, "shop", 60)  # the same: free
    with closing(SqliteAccounts(data / "accounts.sqlite")) as accounts:
        accounts.charge([Charge(1, 60, b"another batch...", PointQuota(100, 1))])
    row = rows()["shop"]
    assert (row["points_today"], row["points_total"], row["refused"], row["left"]) == (60, 60, 1, 40)
    assert row["last_used"] == int(time.time()) // 86_400 * 86_400
    assert json.loads(run("show", "shop", "--json").stdout) == row
    shown = run("show", "shop").stdout
    assert "points total: 60\n" in shown
    assert "left: 40\n" in shown
    assert run("list").stdout.split("\t")[4:] == ["60", "60", "1", "40\n"]
    run("set", "shop", "--refill")
    assert rows()["shop"]["left"] == 100


def test_who_is_unused_expires(run, rows, data):
    run("add", "old", "used", "new")
    with closing(SqliteAccounts(data / "accounts.sqlite")) as accounts:
        year_ago = int(time.time()) - 365 * 86_400
        accounts._database().change("UPDATE accounts SET added = ? WHERE name != 'new'", year_ago)
    use(data, "used", 8)
    for words, said in ((("--dry-run",), "1 account would be revoked"), ((), "1 account revoked")):
        result = run("expire", "--unused-since", "90d", *words)
        assert (result.stdout, result.stderr) == ("old\n", f"{said}\n")
    assert set(rows()) == {"used", "new"}
    assert run("expire", "--unused-since", "2020-01-01").stdout == ""


def test_a_credential_is_rotated(run, data):
    old = run("add", "shop").stdout.strip()
    new = run("rotate", "shop", "--overlap", "1h").stdout.strip()
    assert re.fullmatch(CREDENTIAL, new)
    assert new != old

    def until():
        with closing(SqliteAccounts(data / "accounts.sqlite")) as accounts:
            return [(found := accounts.find(one)) and (found.name, found.until) for one in (old, new)]

    (name, end), young = until()
    assert (name, young) == ("shop", ("shop", None))
    assert end / 1000 == pytest.approx(time.time() + 3600, abs=60)
    run("rotate", "shop", "--overlap", "0")
    assert until() == [None, None]


@pytest.mark.slow
def test_30000_in_seconds_and_no_credential_is_kept(data):
    command = [sys.executable, "-m", "contactsync", "server", "accounts", "add", "--count", "30000"]
    begin = time.monotonic()
    done = subprocess.run([*command, "--data", str(data)], capture_output=True, text=True, check=True)
    assert time.monotonic() - begin < 30  # about 2 on an idle core
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert len({name for name, _ in lines}) == len({credential for _, credential in lines}) == 30_000
    with closing(SqliteAccounts(data / "accounts.sqlite")) as accounts:
        assert accounts.find(lines[-1][1]).name == lines[-1][0]
    files = b"".join(path.read_bytes() for path in data.glob("accounts.sqlite*"))
    assert not any(credential.encode() in files for _, credential in lines[:100])


@pytest.mark.slow
def test_several_whose_credentials_nobody_saw_do_not_exist(run, data):
    command = [sys.executable, "-m", "contactsync", "server", "accounts", "add", "--count", "50"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*command, "--data", str(data)], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, "No space left" in done.stderr) == (1, True)
    assert run("list").stdout == ""
