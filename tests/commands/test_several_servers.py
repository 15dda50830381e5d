"""`contactsync sync` alone, with a configuration: all its servers at once, one report by person."""

import csv
import io
import json
import threading

import pytest
import vobject
from configured_desk import ANNA, BODO, CARL

from contactsync.client.state import State


@pytest.mark.slow
def test_one_line_for_a_person_on_two_services(configured):
    result = configured.run("sync")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["NAME", "NUMBER", "SERVICES"]
    assert [line.split() for line in lines[1:3]] == [
        ["Anna", ANNA, "work,", "club"],
        ["Bodo", CARL, "work"],
    ]
    assert lines[4].startswith("work: 2 matches among 4 numbers of 3 contacts (people, epoch 1, edition 1")
    assert lines[5].startswith("work: the server could learn")
    assert lines[6].startswith("club: 1 match among 4 numbers")


@pytest.mark.slow
def test_json_has_each_server_as_it_would_be_alone(configured):
    value = json.loads(configured.run("sync", "--json").stdout)
    assert value["people"] == [
        {
            "name": "Anna",
            "services": [
                {"service": "work", "identifiers": [f"tel:{ANNA}"], "labels": {}},
                {"service": "club", "identifiers": [f"tel:{ANNA}"], "labels": {}},
            ],
        },
        {"name": "Bodo", "services": [{"service": "work", "identifiers": [f"tel:{CARL}"], "labels": {}}]},
    ]
    assert [(one["service"], one["url"]) for one in value["servers"]] == [
        ("work", configured.work.url),
        ("club", configured.club.url),
    ]
    alone = json.loads(configured.run("sync", "--server", "club", "--json").stdout)
    assert set(alone) - {"version"} == set(value["servers"][1]["result"])
    assert alone["matches"] == value["servers"][1]["result"]["matches"]


@pytest.mark.slow
def test_csv_and_vcards_name_the_services(configured):
    rows = list(csv.reader(io.StringIO(configured.run("sync", "--format", "csv").stdout)))
    assert rows == [
        ["name", "identifier", "services", "label work", "label club"],
        ["Anna", f"tel:{ANNA}", "work club", "", ""],
        ["Bodo", f"tel:{CARL}", "work", "", ""],
    ]
    cards = list(vobject.readComponents(configured.run("sync", "--format", "vcf").stdout))
    assert [(c.fn.value, c.categories.value) for c in cards] == [
        ("Anna", ["work", "club"]),
        ("Bodo", ["work"]),
    ]


def fails(request, reply):
    reply.cut = 0


def forged(request, reply):
    if "/targets/" in request.path:
        reply.body = reply.body.replace(b'"epoch":1', b'"epoch":2')


@pytest.mark.slow
def test_one_that_fails_hides_nothing_of_the_others(configured):
    configured.club.tamper = fails
    result = configured.run("sync")
    assert result.exit_code == 4
    assert "Anna  " in result.stdout
    assert "club: not asked to the end" in result.stdout
    assert result.stderr.startswith("error: club: ")
    value = json.loads(configured.run("sync", "--json").stdout)
    assert value["servers"][0]["result"]["matches"]
    assert value["servers"][1]["error"]["kind"] == "network"


@pytest.mark.slow
def test_the_exit_code_is_the_worst(configured):
    configured.club.tamper = fails
    configured.work.tamper = forged
    result = configured.run("sync")
    assert (result.exit_code, result.stderr.count("error: ")) == (5, 2)
    configured.work.tamper = lambda *_: None
    State(configured.state).forget(State(configured.state).server(configured.work.url).folder)
    result = configured.run("sync")
    assert (result.exit_code, "work: " in result.stderr, "is not trusted yet" in result.stderr) == (
        3,
        True,
        True,
    )


@pytest.mark.slow
def test_they_are_asked_at_the_same_time(configured):
    both = threading.Barrier(2, timeout=20)

    def meet(request, _):
        if request.path.endswith("timestamp.json"):
            both.wait()

    configured.work.tamper = configured.club.tamper = meet
    assert configured.run("sync").exit_code == 0, "each waited until the other was asked too"


@pytest.mark.slow
def test_two_accounts_with_one_server_take_turns(configured):
    url = configured.work.url
    configured.configure(
        more=f'[server.again]\nurl = "{url}"\ncredential_file = "work.credential"\n',
    )
    value = json.loads(configured.run("sync", "--json").stdout)
    assert ["error" in one for one in value["servers"]] == [False] * 3


@pytest.mark.slow
def test_a_command_line_goes_before_the_file(configured, tmp_path):
    other = tmp_path / "one.csv"
    other.write_text(f"name,phone\nBodo,{BODO}\n")
    value = json.loads(configured.run("sync", other, "--server", "work", "--json").stdout)
    assert (value["contacts"], value["matches"]) == (1, [])
    configured.configure(general='privacy = "screen"', club='partitions = "mine"\nprivacy = "download"')
    value = json.loads(configured.run("sync", "--json").stdout)
    kinds = [(one["result"]["privacy"], one["result"]["partitions"]) for one in value["servers"]]
    assert kinds == [("screen", "all"), ("download", "mine")]
    value = json.loads(configured.run("sync", "--json", "--privacy", "download").stdout)
    assert [one["result"]["privacy"] for one in value["servers"]] == ["download", "download"]
    result = configured.run("sync", "--server", "nobody")
    assert (result.exit_code, "it has: work, club" in result.stderr) == (3, True)


@pytest.mark.slow
def test_no_credential_goes_to_a_server_it_is_not_for(configured, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("cs_secret")
    secret.chmod(0o600)
    result = configured.run("sync", "--credential-file", secret)
    assert (result.exit_code, "each would be told" in result.stderr) == (3, True)
    assert configured.work.requests == configured.club.requests == []
    from click.testing import CliRunner

    from contactsync.commands import main

    environment = {**configured.environment(), "CONTACTSYNC_CREDENTIAL_FILE": str(secret)}
    assert CliRunner().invoke(main, ["sync"], env=environment).exit_code == 0, "the file's own go before"
    heads = [
        r.headers.get("authorization", "") for s in (configured.work, configured.club) for r in s.requests
    ]
    assert not any("secret" in head for head in heads)
    assert configured.run("sync", "--server", "work", "--credential-file", secret).exit_code == 6


@pytest.mark.slow
def test_what_would_be_sent_to_each(configured):
    configured.run("sync", "--server", "work")
    result = configured.run("sync", "--dry-run")
    assert "8 blinded points (256 bytes), 8 of them padding for 0 new numbers, to work" in result.stdout
    assert "8 blinded points (256 bytes), 4 of them padding for 4 new numbers, to club" in result.stdout
    value = json.loads(configured.run("sync", "--dry-run", "--json").stdout)
    assert [(one["service"], one["new_identifiers"]) for one in value["servers"]] == [
        ("work", 0),
        ("club", 4),
    ]


@pytest.mark.slow
def test_the_credential_of_a_command(configured, tmp_path):
    configured.configure()
    text = configured.config.read_text().replace(
        'credential_file = "club.credential"', f'credential_command = ["cat", "{tmp_path}/club.credential"]'
    )
    configured.config.write_text(text)
    assert configured.run("sync").exit_code == 0
    for command, words in (
        ('"false"', "failed with exit code 1"),
        ('["printf", "secret secret"]', "not exactly one credential"),
        ('"no-such-program-1"', "cannot run no-such-program-1"),
    ):
        configured.config.write_text(text.replace(f'["cat", "{tmp_path}/club.credential"]', command))
        result = configured.run("sync")
        assert (result.exit_code, words in result.stderr) == (3, True), result.stderr
        assert "secret" not in result.stderr
        assert "Anna" in result.stdout, "the other one was asked"


@pytest.mark.slow
def test_the_credential_of_the_keyring(configured, monkeypatch):
    keyring = pytest.importorskip("keyring")
    kept = {("contactsync", "me"): "cs_an-account"}
    monkeypatch.setattr(keyring, "get_password", lambda service, name: kept.get((service, name)))
    text = configured.config.read_text()
    configured.config.write_text(text.replace('_file = "club.credential"', '_keyring = "me"'))
    assert configured.run("sync").exit_code == 0
    kept.clear()
    result = configured.run("sync")
    assert (result.exit_code, "keyring set contactsync me" in result.stderr) == (3, True)


@pytest.mark.slow
@pytest.mark.parametrize(("error", "word"), [(KeyboardInterrupt, "interrupted")])
def test_an_interrupt_ends_all_of_them(configured, monkeypatch, error, word):
    def interrupted(thread, timeout=None):
        if timeout is None:
            raise error
        join(thread, timeout)

    join = threading.Thread.join
    configured.work.tamper = configured.club.tamper = lambda *_: threading.Event().wait(0.3)
    monkeypatch.setattr(threading.Thread, "join", interrupted)
    result = configured.run("sync")
    monkeypatch.undo()
    assert (result.exit_code, word in result.stderr, result.stdout) == (130, True, "")
    configured.work.tamper = configured.club.tamper = lambda *_: None
    assert configured.run("sync").exit_code == 0
