"""`audit leakage` and `audit enumeration` as scripts call them: gates, plots, settings, bad input."""

import json

import pytest
from click.testing import CliRunner

from contactsync.commands import main

CRAWL = ("audit", "enumeration", "--country", "AT", "--accounts", "100")
LEAK = ("audit", "leakage", "--members", "1000000", "--contacts", "64")


def run(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_a_gate_decides_the_exit_code():
    assert run(*CRAWL, "--fail-if", "months<12").exit_code == 0
    failed = run(*CRAWL, "--accounts", "10000", "--fail-if", "months<12", "--fail-if", "years<100")
    assert failed.exit_code == 9
    assert "condition met: months<12, years<100" in failed.stderr
    printed = json.loads(run(*LEAK, "--fail-if", "contact_odds>=4", "--json").stdout)
    assert printed["failed"] == ["contact_odds>=4"]


def test_a_figure_without_a_bound_is_larger_than_any_limit():
    never = (*CRAWL, "--burst", "1", "--per-day", "1", "--accounts", "1", "--points-per-hour", "0")
    assert json.loads(run(*never, "--json").stdout)["accounts_for_30_days"] > 1_000_000
    assert run(*LEAK, "--mode", "download", "--fail-if", "lists_to_name<1000").exit_code == 0
    assert run(*LEAK, "--mode", "download", "--fail-if", "lists_to_name>1000").exit_code == 9


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ((*CRAWL, "--fail-if", "months"), "no condition"),
        ((*CRAWL, "--fail-if", "moons<12"), "no figure 'moons'"),
        ((*CRAWL, "--fail-if", "country<12"), "no figure 'country'"),
        ((*CRAWL, "--country", "XX"), "XX"),
        ((*CRAWL, "--class", "gold"), "gold"),
        ((*LEAK, "--contacts", "2000000"), "not possible"),
        ((*LEAK, "--plot", "curve.jpg"), "a .png or an .svg"),
    ],
)
def test_bad_input(command, says):
    result = run(*command)
    assert result.exit_code == 3
    assert says in result.stderr


def test_the_settings_of_a_server_are_used(tmp_path):
    data = str(tmp_path / "server")
    assert run("server", "init", "--data", data).exit_code == 0
    settings = tmp_path / "server" / "server.toml"
    settings.write_text(
        "new_points_per_hour = 123\n[quota.default]\nburst = 50\nper_day = 5\n[quota.gold]\nburst = 90\n"
    )
    figures = json.loads(run(*CRAWL, "--data", data, "--json").stdout)
    assert (figures["burst"], figures["per_day"], figures["new_points_per_hour"]) == (50, 5, 123)
    assert json.loads(run(*CRAWL, "--data", data, "--class", "gold", "--json").stdout)["burst"] == 90
    assert json.loads(run(*CRAWL, "--data", data, "--burst", "7", "--json").stdout)["burst"] == 7


@pytest.mark.slow  # matplotlib is slow to import
@pytest.mark.parametrize("command", [CRAWL, LEAK])
def test_plots(tmp_path, command):
    pictures = [tmp_path / name for name in ("a.svg", "b.svg", "c.png")]
    for path in pictures:
        assert run(*command, "--plot", str(path)).exit_code == 0
    assert pictures[0].read_bytes().startswith(b"<?xml")
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    assert pictures[2].read_bytes().startswith(b"\x89PNG")
