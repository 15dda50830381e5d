"""docs/json-schema.json describes what every command with --json prints, and leaves out no member."""

import json
import os
import time
from contextlib import closing
from pathlib import Path

import click
import jsonschema
import pytest
from click.testing import CliRunner
from growing_log import GrowingLog
from json_checks import SCHEMA, STRICT, check

from contactsync.client.core.mode import AskedList
from contactsync.client.ledger import Ledger
from contactsync.client.state import State
from contactsync.commands import _json, main
from contactsync.foundation import errors
from contactsync.server.quota import DAY_MS, PointQuota
from contactsync.server.storage.ports import Charge, NewAccount
from contactsync.server.storage.sqlite.accounts import SqliteAccounts
from contactsync.witness.cosigning import Witness
from contactsync.witness.folder import WitnessFolder


def with_json(command=main, path=()):
    """The names of all commands that have --json."""
    context = click.Context(command)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from with_json(command.get_command(context, name), (*path, name))
    elif any(one.name == "as_json" for one in command.params):
        yield "-".join(path)


@pytest.mark.slow
def test_the_schema_is_one_and_names_every_command():
    for schema in (SCHEMA, STRICT):
        jsonschema.Draft202012Validator.check_schema(schema)
    assert set(with_json()) <= set(SCHEMA["$defs"])


@pytest.mark.slow
def test_sync_of_one_of_several_and_what_would_be_sent(configured):
    configured.work.quota = {"left": 900, "burst": 1000, "per_day": 100}
    configured.book.write_text(configured.book.read_text() + "Carl,no number,\n")
    check("sync", configured.run("sync", "--dry-run", "--json").stdout)
    check("sync", configured.run("sync", "--dry-run", "--json", "--server", "work").stdout)
    configured.club.tamper = lambda _, reply: setattr(reply, "cut", 0)
    several = check("sync", configured.run("sync", "--json").stdout)
    assert ["error" in one for one in several["servers"]] == [False, True]
    one = check("sync-one", configured.run("sync", "--json", "--server", "work").stdout)
    assert one["quota"]
    assert one["unreadable"]
    check("sync", json.dumps(one))
    file = str(configured.book.parent / "transcript")
    configured.run("sync", "--server", "work", "--transcript", file)
    assert check("audit-transcript", run("audit", "transcript", file, "--json"))["outcome"] == "unchecked"


@pytest.mark.slow
def test_what_is_kept(configured):
    configured.configure(work='privacy = "screen"\nproxy = "none"', general="cover = false")
    configured.run("sync")
    ledger = Ledger.open(State(configured.state).server(configured.work.url).ledger, configured.work.url)
    ledger.record("people", "49", AskedList(1, 20, 5, b"", (1, 2)), total=1 << 20)
    status = check("status", configured.run("status", "--json").stdout)
    assert [one["last_sync"].keys() for one in status["servers"]] == [{"people"}, {"people"}]
    assert status["servers"][0]["told"] or status["servers"][1]["told"]
    check("matches", configured.run("matches", "--json").stdout)
    check("search", configured.run("search", "anna", "--json").stdout)
    check("config-show", configured.run("config", "show", "--json").stdout)
    check("config-check", configured.run("config", "check", "--json").stdout)


def run(*arguments):
    return CliRunner().invoke(main, list(arguments)).stdout


@pytest.mark.slow
def test_commands_without_a_server(tmp_path):
    check("explain", run("explain", "+491512345678", "--json"))
    check("explain", run("explain", "1", "--region", "DE", "--json"))
    check("explain", run("explain", "0176 04069001", "+491512345678", "--region", "auto", "--json"))
    book = tmp_path / "book.csv"
    book.write_text("name,phone\nAda,0176 04069001\nBob,none\n")
    check("contacts", run("contacts", str(book), "--region", "DE", "--json"))
    check("status", run("status", "--json", "--state", str(tmp_path)))
    (tmp_path / "snapshot").write_text("")
    compared = run("audit", "compare", str(tmp_path / "snapshot"), str(tmp_path / "snapshot"), "--json")
    assert check("audit-compare", compared)["outcome"] == "unchecked"
    check("audit-vectors", run("audit", "vectors", "--json"))
    dry = ("--budget", "300", "--dry-run", "--json")
    assert check("audit-server", run("audit", "server", "https://contacts.invalid", *dry))["malformed"]
    check("audit-leakage", run("audit", "leakage", "--members", "10000000", "--contacts", "9", "--json"))
    check("audit-enumeration", run("audit", "enumeration", "--country", "AT", "--accounts", "9", "--json"))


@pytest.mark.slow
def test_what_a_witness_knows(tmp_path):
    log = GrowingLog(3)
    with closing(WitnessFolder.create(tmp_path / "w", "witness.example.org")) as folder:
        witness = Witness(folder, [log.signer.verifier])
        for one in (log, log.fork(2, 3)):
            witness.add_checkpoint(one.request(0))
    shown = check("witness-show", run("witness", "show", "--state", str(tmp_path / "w"), "--json"))
    assert len(shown["logs"]) == len(shown["forks"]) == 1


@pytest.mark.slow
def test_warmup():
    check("warmup", run("warmup", "--json"))


@pytest.mark.slow
def test_commands_of_the_operator(tmp_path):
    data = str(tmp_path / "server")
    run("server", "init", "--data", data)
    run("server", "accounts", "add", "me", "--data", data)
    check("server-status", run("server", "status", "--json", "--data", data))
    check("server-accounts-show", run("server", "accounts", "show", "me", "--json", "--data", data))
    check("server-accounts-list", run("server", "accounts", "list", "--json", "--data", data))
    members = str(tmp_path / "members.csv")
    Path(members).write_text("phone\n+491512345671\n+491512345672\n")
    command = ["server", "members", "import", members, "--json", "--data", data]
    assert check("server-members-import", run(*command))["receipt"] is None
    consent = ["server", "members", "consent", "+491512345671", "--off", "--source", "a test", "--json"]
    assert check("server-members-consent", run(*consent, "--data", data))["receipt"]["removed"] == 1
    check("server-publish", run("server", "publish", "--json", "--data", data))
    check("server-doctor", run("server", "doctor", "--json", "--data", data))
    store = (tmp_path / "store").as_uri()
    run("server", "publish", "--store", store, "--data", data)
    assert (
        check("server-store-copy", run("server", "store", "copy", "--json", "--data", data))["timestamp"] > 1
    )
    assert (
        check("server-store-check", run("server", "store", "check", "--json", "--data", data))["missing"]
        == []
    )
    assert (
        check("server-status", run("server", "status", "--json", "--data", data))["store"]["store"] == store
    )
    assert check("audit-publication", run("audit", "publication", data, "--json"))["outcome"] == "proven"
    assert check("audit-rebuild", run("audit", "rebuild", "--data", data, "--json"))["outcome"] == "proven"
    remove = ("server", "members", "remove", "+491512345672", "--json", "--reference", "R 1", "--data", data)
    assert check("server-members-remove", run(*remove))["remains"]
    published = check("server-publish", run("server", "publish", "--expunge", "--json", "--data", data))
    assert published["files_taken_out"]
    expire = ("server", "members", "expire", "--before", "2001-01-01", "--json", "--data", data)
    assert check("server-members-expire", run(*expire))["receipt"]["removed"] == 0
    assert check("server-members-expire", run(*expire, "--dry-run"))["receipt"] is None
    run("server", "members", "add", "+491512345672", "--data", data)
    check("server-status", run("server", "status", "--json", "--data", data))
    numbers = ["+491512345671", "+491512345672", "+491512345673"]
    lines = run("server", "members", "show", *numbers, "--json", "--data", data).splitlines()
    assert [check("server-members-show", line)["stored"] for line in lines] == [True, True, False]
    check("server-keys-list", run("server", "keys", "list", "--json", "--data", data))
    check("server-log-show", run("server", "log", "show", "--json", "--data", data))


@pytest.mark.slow
def test_backups_and_upgrades(tmp_path):
    data, file = str(tmp_path / "server"), str(tmp_path / "backup")
    run("server", "init", "--data", data)
    run("server", "members", "add", "+491512345671", "+491512345672", "--data", data)
    run("server", "publish", "--data", data)
    made = check("server-backup", run("server", "backup", file, "--with-keys", "--json", "--data", data))
    assert made["bytes"] == Path(file).stat().st_size
    assert made["published"] == [{"audience": "people", "epoch": 1, "edition": 1}]
    restore = ("server", "restore", file, "--json", "--data")
    dry = check("server-restore", run(*restore, str(tmp_path / "new"), "--dry-run"))
    assert (dry["dry_run"], dry["compared"], (tmp_path / "new").exists()) == (True, False, False)
    run("server", "members", "remove", "+491512345672", "--data", data)
    run("server", "publish", "--data", data)
    replace = ("--replace", "--removed", "remove", "--old-public")
    done = check("server-restore", run(*restore, data, *replace))
    assert (done["left_since"], done["seen"][0]["edition"]) == (1, 2)
    assert Path(done["before"]).is_dir()
    assert check("server-restore", run("server", "restore", "--undo", "--json", "--data", data))["undone"]
    tried = check("server-upgrade", run("server", "upgrade", "--dry-run", "--json", "--data", data))
    assert (tried["needed"], tried["members"]["people"]) == (False, 1)
    check("server-upgrade", run("server", "upgrade", "--json", "--data", data))


def test_what_stands_out_among_accounts(tmp_path):
    data = tmp_path / "server"
    run("server", "init", "--data", str(data))
    command = ("server", "accounts", "suspicious", "--json", "--data", str(data))
    assert check("server-accounts-suspicious", run(*command))["suspects"] == []
    now = [time.time_ns() // 1_000_000 - 400 * DAY_MS]
    with closing(SqliteAccounts(data / "accounts.sqlite", lambda: now[0])) as store:

        def use(name, points):
            store.add_all([NewAccount(name, "people", name)])
            batches = [min(4096, points - i) for i in range(0, points, 4096)]
            allowance = PointQuota(10**9, 1)
            charges = [
                Charge(store.find(name).id, n, os.urandom(16), allowance, 1, n == 4096) for n in batches
            ]
            store.charge(charges)

        for i in range(60):
            now[0] += 6 * DAY_MS
            use(f"user-{i}", 64 << i % 5)
        use("crawler", 20 * 4096)
        now[0] += 35 * DAY_MS
        for i in range(30):
            use(f"farm-{i}", 3000)
    found = check("server-accounts-suspicious", run(*command))
    assert found["suspects"][0]["name"] == "crawler"
    assert [len(group["accounts"]) for group in found["groups"]] == [30]


def test_errors_of_every_kind(monkeypatch, tmp_path):
    def classes(error):
        yield error
        for one in error.__subclasses__():
            yield from classes(one)

    kinds = STRICT["$defs"]["error-members"]["properties"]["kind"]["enum"]
    for one in classes(errors.ContactSyncError):
        if one.__module__ != errors.__name__:
            continue
        error = one("what", index=3) if one is errors.InvalidElement else one("what", hint="do")
        value = _json.error_value(error)
        check("error", _json.text({"error": value}))
        assert value["kind"] in kinds
    check("error", run("sync", "--json", "--state", str(tmp_path)))
    check("error", run("explain", "--json"))
    check("error", run("status", "--json", "--nonsense"))


def test_every_command_with_json_is_run_here_or_with_a_page():
    source = Path(__file__).read_text() + Path(__file__).with_name("test_web_commands.py").read_text()
    assert [name for name in with_json() if f'check("{name}"' not in source] == []
