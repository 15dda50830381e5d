"""`contactsync explain`: steps and reasons on stdout, exit codes for scripts."""

import json

import pytest
from click.testing import CliRunner

from contactsync.commands import main


@pytest.fixture(autouse=True)
def _no_locale(monkeypatch):
    for variable in ("LC_ALL", "LC_TELEPHONE", "LANG"):
        monkeypatch.delenv(variable, raising=False)


def run(*arguments):
    return CliRunner().invoke(main, ["explain", *arguments])


def test_each_step_on_a_line_and_the_identifier_last():
    result = run("(0151) 1234 5678 x9", "--region", "de")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["text", "extension", "digits", "country", "identifier"]
    assert "region DE (from --region)" in lines[0]
    assert "tel:+4915112345678" in lines[-1]


def test_a_rejection_says_why_and_what_to_do():
    result = run("0151 12345678")
    assert result.exit_code == 3
    assert "no region" in result.stdout.splitlines()[0]
    assert result.stdout.splitlines()[-1].split("  ")[0] == "rejected"
    assert "no country code" in result.stdout
    assert "--region" in result.stdout


def test_the_region_of_the_locale(monkeypatch):
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    result = run("0151 12345678")
    assert result.exit_code == 0
    assert "region DE (from the locale)" in result.stdout


def test_json():
    result = json.loads(run("+52 1 55 1234 5678", "--json").stdout)
    assert result["identifier"] == "tel:+525512345678"
    assert result["profile"] == 1
    assert [step["name"] for step in result["steps"]] == ["digits", "country", "renumbered"]
    rejected = json.loads(run("110", "--region", "DE", "--json").stdout)
    assert rejected["identifier"] is None
    assert rejected["reason"] == "a short code or an emergency number"


def test_an_unknown_region():
    result = run("030 123456", "--region", "UK")
    assert result.exit_code == 3
    assert "GB" in result.stderr


def test_nothing_moves_the_terminal():
    result = run("\x1b[2J\u202e030\n1")
    assert result.exit_code == 3
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout
