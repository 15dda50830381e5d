"""`trust`, `status` and `forget` take the name that a server has in the configuration."""

import json

import pytest
from configured_desk import configured, other_service

__all__ = ["configured", "other_service"]


def test_status_and_forget_by_name(configured):
    shown = configured.run("status", "--server", "club", "--json")
    assert [one["url"] for one in json.loads(shown.stdout)["servers"]] == [configured.club.url]
    assert configured.run("forget", "--server", "club").exit_code == 0
    gone = configured.run("status", "--server", "club")
    assert gone.exit_code == 3
    assert f"trust it: contactsync trust {configured.club.url}" in gone.stderr
    assert configured.run("status", "--server", configured.work.url).exit_code == 0


def test_trust_by_name(configured):
    assert configured.run("forget", "--server", "work").exit_code == 0
    done = configured.run("trust", "work", "--yes")
    assert done.exit_code == 0, done.output
    assert configured.work.url in done.stdout


@pytest.mark.parametrize("command", [["trust"], ["status", "--server"], ["forget", "--server"]])
def test_a_name_that_is_nowhere(configured, command):
    result = configured.run(*command, "clbu")
    assert result.exit_code == 3
    assert "no server in the configuration is named 'clbu'" in result.stderr
    assert "it has: work, club" in result.stderr
