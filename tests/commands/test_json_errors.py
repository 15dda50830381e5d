"""With --json, an error is one object on stdout too, whatever the command; stderr and the exit code stay."""

import json

import click
import pytest
from click.testing import CliRunner

from contactsync import commands
from contactsync.commands import _json
from contactsync.foundation import errors


def run(monkeypatch, error, *arguments):
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    @click.option("--number", type=int)
    def fails(as_json, number):
        raise error

    monkeypatch.setattr(commands.RootGroup, "get_command", lambda *_: fails)
    return CliRunner().invoke(commands.main, ["fails", *arguments])


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.BadInput("no such file", hint="check"), {"kind": "bad-input", "exit_code": 3}),
        (errors.NotTrusted("who?", hint="trust"), {"kind": "not-trusted", "exit_code": 3}),
        (errors.NetworkError("cut"), {"kind": "network", "exit_code": 4, "hint": ""}),
        (
            errors.Refused("no", status=401, kind="bad-credential"),
            {"kind": "refused", "exit_code": 6, "status": 401, "problem": "bad-credential"},
        ),
        (
            errors.OutOfQuota("empty", retry_after=9, left=1, burst=2, per_day=3),
            {"kind": "quota", "exit_code": 8, "retry_after": 9, "left": 1, "burst": 2, "per_day": 3},
        ),
        (errors.BadProof("wrong"), {"kind": "bad-proof", "exit_code": 5, "refusal": "bad-proof"}),
        (errors.OurError("full"), {"kind": "installation", "exit_code": 1}),
        (KeyboardInterrupt(), {"kind": "interrupted", "exit_code": 130}),
        (ValueError("secret +491512345678"), {"kind": "internal", "exit_code": 1}),
        (OSError(28, "No space left"), {"kind": "internal", "message": "No space left on device"}),
    ],
)
def test_every_error_is_an_object(monkeypatch, error, expected):
    result = run(monkeypatch, error, "--json")
    value = json.loads(result.stdout)
    assert value["version"] == 1
    assert value["error"] | expected == value["error"]
    assert set(value["error"]) >= {"kind", "message", "hint", "exit_code"}
    assert value["error"]["exit_code"] == result.exit_code
    assert "secret" not in result.stdout
    without = run(monkeypatch, error)
    assert (without.stdout, without.stderr, without.exit_code) == ("", result.stderr, result.exit_code)


def test_a_wrong_command_line_is_one_too(monkeypatch):
    result = run(monkeypatch, ValueError(), "--number", "many", "--json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert (error["kind"], error["exit_code"]) == ("usage", 2)
    assert "--number" in error["message"]
    assert "Usage:" in result.stderr
    assert run(monkeypatch, ValueError(), "--number", "many").stdout == ""


def test_what_follows_two_dashes_is_no_option():
    meta = {}
    _json.note_arguments(meta, ["explain", "--", "--json"])
    _json.emit_error(meta, {})
    assert CliRunner().invoke(commands.main, ["explain", "--region", "UK", "--", "--json"]).stdout == ""


def test_stdout_is_one_value_even_if_the_command_fails_after_it_was_printed(tmp_path):
    folder = tmp_path / "servers" / "damaged-00000000"
    folder.mkdir(parents=True)
    (folder / "server.json").write_text("{")
    result = CliRunner().invoke(commands.main, ["status", "--json", "--state", str(tmp_path)])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["problems"]


def test_each_class_of_errors_has_its_own_word():
    def classes(error):
        yield error
        for one in error.__subclasses__():
            yield from classes(one)

    tree = [one for one in classes(errors.ContactSyncError) if one.__module__ == errors.__name__]
    kinds = [_json.kind_of(one) for one in tree]
    assert len(set(kinds)) == len(kinds)
    assert all(kind.replace("-", "").isalpha() for kind in kinds)
    everywhere = {_json.kind_of(one) for one in classes(errors.ContactSyncError)}
    assert everywhere == set(kinds), "others have the word of their base"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense", "status", "--json"],
        ["nonsense", "--json"],
        ["--json"],
        ["--version=3", "--json"],
        ["sync", "--nonsense", "--json"],
        ["config", "nonsense", "--json"],
        ["server", "members", "--nonsense", "--json"],
    ],
)
def test_options_and_commands_that_are_not_there(arguments):
    result = CliRunner().invoke(commands.main, arguments)
    assert result.exit_code == 2
    value = json.loads(result.stdout)
    assert (value["error"]["kind"], value["error"]["exit_code"]) == ("usage", 2)
    assert value["error"]["message"] in result.stderr
