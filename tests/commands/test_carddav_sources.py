"""sync and forget with address books on a CardDAV server, as a person or a script meets them."""

import json

import pytest
from click.testing import CliRunner
from simulated_carddav import BOOK, PASSWORD, DavReply, card, serving

from contactsync.commands import main

ANNA, BODO = "+491512345671", "+491512345672"


@pytest.fixture
def dav():
    with serving() as service:
        service.put("anna.vcf", card("Anna", ANNA))
        service.put("bodo.vcf", card("Bodo", BODO, "TEL:not a number\r\n"))
        yield service


@pytest.fixture
def run(tmp_path, service):
    credential, password = tmp_path / "credential", tmp_path / "password"
    credential.write_text("cs_an-account\n")
    credential.chmod(0o600)
    password.touch(0o600)
    password.write_text(PASSWORD + "\n")

    def run(command, *arguments, **options):
        more = []
        if command == "sync":
            more = ["--region", "DE", "--credential-file", credential, "--password-file", password]
        words = [command, *arguments, *more, "--state", tmp_path / "state"]
        result = CliRunner().invoke(main, [str(word) for word in words if word != "no password"], **options)
        assert "Traceback" not in result.output
        return result

    service.publish(ANNA)
    assert run("trust", service.url, "--yes").exit_code == 0
    return run


@pytest.mark.slow
def test_a_sync_with_an_account(dav, run):
    result = run("sync", dav.address, "--json")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["matches"] == [
        {"name": "Anna", "identifier": f"tel:{ANNA}", "written": f"tel:{ANNA}", "label": None}
    ]
    assert value["contacts"] == 2
    (bad,) = value["unreadable"]
    assert (bad["file"], bad["reason"]) == (
        f"Book on ada@{dav.origin.partition('//')[2]}, bodo.vcf",
        "not a phone number",
    )
    assert f"read: Book ({dav.origin}{BOOK}): 2 cards, 2 fetched now" in result.stderr
    again = run("sync", dav.address, "--json")
    assert "2 cards, 0 fetched now" in again.stderr
    assert json.loads(again.stdout)["matches"] == value["matches"]


@pytest.mark.slow
def test_together_with_a_file(dav, run, tmp_path):
    (tmp_path / "more.csv").write_text("name,phone\nAnna,01512345671\nCarl,030123456\n")
    value = json.loads(run("sync", tmp_path / "more.csv", dav.address, "--json").stdout)
    assert value["contacts"] == 3  # Anna is in both


@pytest.mark.slow
def test_only_the_carddav_server_sees_its_requests(dav, run, service):
    before = len(service.requests)
    result = run("sync", dav.address, "--dry-run")
    assert result.exit_code == 0
    assert len(service.requests) == before
    assert "nothing was sent, except to read the address books" in result.stdout
    run("sync", dav.address)
    assert not any("dav" in request.path or PASSWORD in str(request.headers) for request in service.requests)
    assert not any("cs_an-account" in str(request.headers) for request in dav.requests)


@pytest.mark.slow
def test_forget_wipes_the_copies(dav, run, tmp_path):
    run("sync", dav.address)
    assert list(tmp_path.rglob("*.cards"))
    result = run("forget", "--only", "contacts")
    assert "kept: copies of CardDAV address books" in result.stdout
    assert list(tmp_path.rglob("*.cards"))
    result = run("forget", "--only", "books")
    assert result.exit_code == 0
    assert (
        "forgot the copies of CardDAV address books, and undo lists of marked cards: 3 files" in result.stdout
    )
    assert not (tmp_path / "state" / "books").exists()
    assert run("sync", dav.address).exit_code == 0  # the server is still trusted
    assert run("forget").exit_code == 0
    assert not (tmp_path / "state" / "books").exists()
    assert "nothing was stored" in run("forget").stdout
    assert "nothing was stored" in run("forget", "--only", "books").stdout


def test_one_password_does_not_go_to_several_servers(dav, run):
    other = dav.address.replace("127.0.0.1", "localhost")
    result = run("sync", dav.address, other)
    assert result.exit_code == 3
    assert "each server would be told it" in result.stderr
    assert dav.requests == []


def test_a_password_in_the_address(dav, run):
    result = run("sync", dav.address.replace("ada@", "ada:s3cret@"))
    assert result.exit_code == 3
    assert "s3cret" not in result.output
    assert "--password-file" in result.stderr


@pytest.mark.parametrize("address", ["http://ada@192.0.2.1/", "http://ada@dav.example/"])
def test_no_plain_http_to_another_machine(run, address):
    result = run("sync", address)
    assert result.exit_code == 3
    assert "--allow-plain-http" in result.stderr


def test_errors_say_what_to_do(dav, run):
    for reply, code, words in (
        (DavReply(404), 6, "docs address-books"),
        (DavReply(200, b"<html>Welcome</html>"), 5, "CardDAV server"),
        (DavReply(207, b"<html>Welcome</html>"), 5, "CardDAV server"),
    ):
        dav.before = lambda request, reply=reply: reply
        result = run("sync", dav.address)
        assert result.exit_code == code, result.output
        assert words in result.stderr
    result = run("sync", "carddav://")
    assert (result.exit_code, "give an address such as" in result.stderr) == (3, True)


def test_two_ways_to_give_a_password(dav, run):
    assert run("sync", dav.address, "--password-command", "true").exit_code == 2


def test_a_password_that_is_asked_for_is_not_shown(dav, tmp_path, monkeypatch):

    class Terminal:
        def isatty(self):
            return True

    streams = {"stdin": Terminal(), "stderr": Terminal()}
    monkeypatch.setattr("contactsync.commands._books.sys", type("sys", (), streams))
    monkeypatch.setattr("contactsync.carddav.passwords.from_keyring", lambda _: None)
    words = ["sync", dav.address, "--region", "DE", "--dry-run", "--state", str(tmp_path / "other")]
    result = CliRunner().invoke(main, words, input=PASSWORD + "\n")
    assert result.exit_code == 0, result.output
    assert "Password for ada@127.0.0.1" in result.stderr
    assert PASSWORD not in result.output


@pytest.mark.slow
def test_mark_and_unmark(dav, run, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "anna.vcf").write_bytes(card("Anna", ANNA).encode())
    before = dict(dav.cards)
    dry = run("sync", dav.address, folder, "--mark", "On it", "--dry-run")
    assert "would mark as On it, by what the last sync found: 0 cards" in dry.stderr  # there was none
    run("sync", dav.address, folder)
    dry = run("sync", dav.address, folder, "--mark", "On it", "--dry-run")
    assert dry.exit_code == 0
    assert f"would mark: {dav.origin}{BOOK}anna.vcf" in dry.stderr
    assert f"would mark: {folder}/anna.vcf" in dry.stderr
    assert "would mark as On it, by what the last sync found: 2 cards" in dry.stderr
    assert dav.cards == before
    result = run("sync", dav.address, folder, "--mark", "On it", "--json")
    assert result.exit_code == 0
    marked = json.loads(result.stdout)["marked"]
    assert (marked["category"], marked["changed"], marked["already"], marked["left_alone"]) == (
        "On it",
        2,
        0,
        [],
    )
    assert f"to undo it, run: contactsync unmark {marked['undo']}" in result.stderr
    assert "CATEGORIES:On it" in dav.cards["anna.vcf"]
    again = run("sync", dav.address, folder, "--mark", "On it")
    assert "marked as On it: 0 cards (2 had it already)" in again.stderr
    undone = CliRunner().invoke(
        main, ["unmark", marked["undo"], "--password-file", str(tmp_path / "password")]
    )
    assert undone.exit_code == 0, undone.output
    assert "removed On it: 2 cards" in undone.stderr
    assert dav.cards == before
    assert (folder / "anna.vcf").read_bytes() == card("Anna", ANNA).encode()
    assert not list((tmp_path / "state" / "marks").iterdir())


@pytest.mark.slow
def test_a_mark_that_fails_still_prints_the_matches(dav, run):
    dav.before = lambda request: DavReply(500) if request.method == "GET" else None
    result = run("sync", dav.address, "--mark", "On it", "--json")
    assert result.exit_code == 4
    value = json.loads(result.stdout)
    assert [one["name"] for one in value["matches"]] == ["Anna"]
    assert value["marked"]["changed"] == 0


def test_without_mark_nothing_is_written(dav, run):
    before = dict(dav.cards)
    result = run("sync", dav.address, "--json")
    assert "marked" not in json.loads(result.stdout)
    assert dav.cards == before
    assert not dav.asked("PUT")


@pytest.mark.slow
def test_forget_wipes_undo_lists(dav, run, tmp_path):
    run("sync", dav.address, "--mark", "On it")
    assert list((tmp_path / "state" / "marks").iterdir())
    run("forget", "--only", "books")
    assert not (tmp_path / "state" / "marks").exists()


def test_a_category_that_is_none(dav, run):
    result = run("sync", dav.address, "--mark", "")
    assert (result.exit_code, dav.requests) == (3, [])


def test_an_account_of_the_configuration_with_its_own_password(dav, run, tmp_path, service):
    config = tmp_path / "config.toml"
    config.write_text(
        f'region = "DE"\n[server.work]\nurl = "{service.url}"\ncredential_file = "credential"\n'
        f'[source.cloud]\nurl = "{dav.address}"\npassword_file = "password"\n'
    )
    command = ["sync", "--json", "--config", str(config), "--state", str(tmp_path / "state")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert [one["name"] for one in json.loads(result.stdout)["matches"]] == ["Anna"]
    config.write_text(config.read_text() + f'[source.again]\nurl = "{dav.address}"\n')
    given = CliRunner().invoke(main, [*command, "--password-file", str(tmp_path / "password")])
    assert given.exit_code == 3
    assert "each server would be told it" in given.stderr


@pytest.mark.slow
def test_several_services_mark_the_matches_of_all(configured, tmp_path):
    cards = tmp_path / "cards.vcf"
    cards.write_text(
        f"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Anna\r\nTEL:{ANNA}\r\nEND:VCARD\r\n"
        "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Carl\r\nTEL:+447911123456\r\nEND:VCARD\r\n"
        f"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Bodo\r\nTEL:{BODO}\r\nEND:VCARD\r\n"
    )
    configured.club.publish(BODO)
    result = configured.run("sync", cards, "--mark", "Found", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["marked"]["changed"] == 3
    assert cards.read_text().count("CATEGORIES:Found") == 3
