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


def test_further_forms_and_why():
    result = run("011 15-2345-6789", "--region", "AR")
    assert result.stdout.splitlines()[-1].startswith(
        "also        tel:+541123456789   an Argentine mobile number"
    )
    value = json.loads(run("+39 549 882345", "--json").stdout)
    assert [one["identifier"] for one in value["further_forms"]] == [
        "tel:+390549882345",
        "tel:+3780549882345",
    ]
    assert "zero" in value["further_forms"][0]["why"]
    assert json.loads(run("+49 151 12345678", "--json").stdout)["further_forms"] == []
    assert json.loads(run("110", "--region", "DE", "--json").stdout)["further_forms"] == []


def test_an_unknown_region():
    result = run("030 123456", "--region", "UK")
    assert result.exit_code == 3
    assert "GB" in result.stderr


def test_nothing_moves_the_terminal():
    result = run("\x1b[2J\u202e030\n1")
    assert result.exit_code == 3
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout


def test_several_numbers_one_after_the_other():
    result = run("+491512345678", "110", "+447911123456", "--region", "DE")
    assert result.exit_code == 3, "one is rejected"
    blocks = result.stdout.split("\n\n")
    assert [block.splitlines()[-1].split()[0] for block in blocks] == ["identifier", "rejected", "identifier"]
    value = json.loads(run("+491512345678", "+447911123456", "--json").stdout)
    assert [one["identifier"] for one in value["numbers"]] == ["tel:+491512345678", "tel:+447911123456"]
    assert value["version"] == 1


def test_auto_shows_what_it_would_be_in_every_country_and_decides_nothing():
    result = run("0176 04069001", "--region", "auto", "--json")
    value = json.loads(result.stdout)
    assert (result.exit_code, value["identifier"], value["region"]) == (0, None, None)
    by_identifier = {one["identifier"]: one for one in value["candidates"]}
    assert by_identifier["tel:+4917604069001"] == {
        "identifier": "tel:+4917604069001",
        "regions": ["DE"],
        "allotted": True,
    }
    assert len(by_identifier) > 5
    allotted = [one["allotted"] for one in value["candidates"]]
    assert allotted == sorted(allotted, reverse=True)
    lines = run("0176 04069001", "--region", "AUTO").stdout.splitlines()
    assert lines[0].split("  ")[0] == "text"
    assert ["candidate", "tel:+4917604069001", "DE"] in [line.split() for line in lines]
    assert any("(not allotted)" in line for line in lines)


def test_auto_and_a_number_that_is_complete_or_none_anywhere():
    value = json.loads(run("+491512345678", "--region", "auto", "--json").stdout)
    assert (value["identifier"], value["candidates"]) == ("tel:+491512345678", [])
    result = run("1", "--region", "auto", "--json")
    assert (result.exit_code, json.loads(result.stdout)["candidates"]) == (3, [])


def test_auto_joins_the_countries_of_one_plan():
    value = json.loads(run("(212) 555-0100", "--region", "auto", "--json").stdout)
    (one,) = [c for c in value["candidates"] if c["identifier"] == "tel:+12125550100"]
    assert {"US", "CA"} <= set(one["regions"])
