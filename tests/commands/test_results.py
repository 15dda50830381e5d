"""`matches`, `search` and `status` after a sync, without the network; what is kept, and how it goes."""

import json
import re

import pytest
from configured_desk import ANNA, CARL

from contactsync.client import results
from contactsync.client.state import State
from contactsync.foundation.errors import OurError


@pytest.fixture
def synced(configured):
    configured.run("sync")
    for service in (configured.work, configured.club):
        service.requests.clear()
    return configured


def kept(desk, service):
    return State(desk.state).server(service.url).results


@pytest.mark.slow
def test_matches_by_person_without_the_network(synced):
    result = synced.run("matches")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["NAME", "NUMBER", "SERVICES"],
        ["Anna", ANNA, "work,", "club"],
        ["Bodo", CARL, "work"],
    ]
    assert re.search(
        r"work, people: 2 members among 3 contacts, synced 20\d\d-\d\d-\d\d \d\d:\d\d", result.stdout
    )
    assert synced.work.requests == synced.club.requests == []
    value = json.loads(synced.run("matches", "--json").stdout)
    assert {one["name"] for one in value["people"]} == {"Anna", "Bodo"}
    assert {one["service"] for one in value["services"]} == {"work", "club"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["ANNA"], ["Anna"]),
        (["änna"], ["Anna"]),
        (["7911 123456"], ["Bodo"]),
        (["o", "b"], ["Bodo"]),
        (["x"], []),
    ],
)
def test_search_by_name_and_number(synced, words, names):
    value = json.loads(synced.run("search", *words, "--json").stdout)
    assert [one["name"] for one in value["people"]] == names
    result = synced.run("search", *words)
    assert result.exit_code == 0
    assert ("no match is called" in result.stdout) == (not names)


@pytest.mark.slow
def test_only_matches_are_kept_and_privately(synced):
    path = kept(synced, synced.club)
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert "Anna" in text
    assert "Bodo" not in text, "no member there"
    assert CARL not in text


@pytest.mark.slow
def test_names_go_when_they_are_switched_off(synced):
    synced.configure(general="keep_results = false")
    assert synced.run("sync").exit_code == 0
    assert b"Anna" not in kept(synced, synced.work).read_bytes()
    result = synced.run("matches")
    assert (result.exit_code, "names are not kept" in result.stdout, "Anna" in result.stdout) == (
        0,
        True,
        False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("what", [["--only", "contacts"], []])
def test_forget_takes_them_too(synced, what):
    path = kept(synced, synced.work)
    scratch = path.with_name(".results.json.0123456789abcdef.part")
    scratch.write_text("Anna")
    assert synced.run("forget", "--server", synced.work.url, *what).exit_code == 0
    assert not path.exists()
    assert not scratch.exists()
    assert kept(synced, synced.club).exists()


@pytest.mark.slow
def test_a_damaged_file_is_said_and_the_next_sync_mends_it(synced):
    for content in ("{", "[]", '{"version": 2}', '{"version": 1, "audiences": {"people": {"people": 3}}}'):
        kept(synced, synced.work).write_text(content)
        with pytest.raises(OurError, match="damaged"):
            results.recall(kept(synced, synced.work))
    result = synced.run("matches")
    assert (result.exit_code, "sync again" in result.stderr) == (1, True)
    assert synced.run("status").exit_code == 1
    assert synced.run("sync").exit_code == 0
    assert synced.run("matches").exit_code == 0


def test_nothing_kept_is_an_error_that_says_what_to_do(configured):
    result = configured.run("matches")
    assert (result.exit_code, "contactsync sync" in result.stderr) == (3, True)
    configured.run("forget", "--all")
    result = configured.run("search", "anna")
    assert (result.exit_code, "contactsync trust" in result.stderr) == (3, True)


@pytest.mark.slow
def test_status_has_the_time_of_the_last_sync(synced):
    assert re.search(r"last sync    people: 20\d\d-", synced.run("status").stdout)
    (one, _) = json.loads(synced.run("status", "--json").stdout)["servers"]
    assert one["last_sync"]["people"].endswith("+00:00")


@pytest.mark.slow
def test_a_broken_configuration_does_not_hide_the_results(synced, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "contactsync").mkdir()
    (tmp_path / "contactsync" / "config.toml").write_text("[[")
    from click.testing import CliRunner

    from contactsync.commands import main

    result = CliRunner().invoke(main, ["matches", "--state", str(synced.state)])
    assert (result.exit_code, "Anna" in result.stdout) == (0, True)


def test_two_people_of_one_name_stay_two():
    from contactsync.client.results import FoundPerson
    from contactsync.commands._people import of_results

    one, other, both = (
        FoundPerson("A", numbers) for numbers in (("tel:+1",), ("tel:+2",), ("tel:+2", "tel:+3"))
    )
    people = of_results([("work", [one, other]), ("club", [both])])
    assert [(p.name, p.services) for p in people] == [
        ("A", {"work": ["tel:+1"]}),
        ("A", {"work": ["tel:+2"], "club": ["tel:+2", "tel:+3"]}),
    ]


@pytest.mark.slow
def test_quiet_says_errors_and_how_much_was_skipped(configured):
    result = configured.run("sync", "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    configured.book.write_text(configured.book.read_text() + "Carl,no number,\nDora,neither,\n")
    result = configured.run("sync", "--quiet")
    assert (result.stdout, result.stderr) == ("", "2 entries skipped, see --verbose\n")
    assert configured.run("sync", "--verbose").stderr.count("skipped: ") == 2
    assert configured.run("sync", "-q", "-v").exit_code == 2
    assert json.loads(configured.run("sync", "--quiet", "--json").stdout)["people"]
    configured.club.tamper = lambda _, reply: setattr(reply, "cut", 0)
    result = configured.run("sync", "--quiet")
    assert (result.exit_code, result.stdout) == (4, "")
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [
        "2 entries skipped, see --verbose",
        "error",
        "hint",
    ]
