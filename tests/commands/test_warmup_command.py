"""`contactsync warmup` compiles ahead of time and says what there is."""

import json

import pytest
from click.testing import CliRunner

from contactsync.commands import main


@pytest.mark.slow
def test_it_says_how_many_lanes_and_where_the_code_is(lanes, monkeypatch, tmp_path) -> None:
    result = CliRunner().invoke(main, ["warmup"])
    assert result.exit_code == 0, result.output
    assert f"{lanes} lane" in result.stdout
    assert "self-test passed" in result.stdout
    report = json.loads(CliRunner().invoke(main, ["warmup", "--json"]).stdout)
    assert report["lanes"] == lanes
    assert report["seconds"] >= 0
    assert report["cache"]


def test_an_impossible_width_is_a_users_error(monkeypatch) -> None:
    from contactsync.kernels import policy
    from contactsync.ristretto255 import start

    monkeypatch.setenv(policy.LANES, "4")
    policy.lanes.cache_clear()
    start.default_engine.cache_clear()
    result = CliRunner().invoke(main, ["warmup"])
    policy.lanes.cache_clear()
    assert result.exit_code == 3
    assert "CONTACTSYNC_LANES is neither 1 nor 8" in result.stderr
