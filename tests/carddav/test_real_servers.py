"""The same tasks with real servers, over sockets: each is started once for this module."""

import json

import pytest
import requests
from real_carddav import PASSWORD, STARTERS
from simulated_carddav import card

from contactsync.carddav.address import parse_address
from contactsync.carddav.connection import DavAccount
from contactsync.carddav.pull import BATCH, pull
from contactsync.foundation.errors import BadInput, NetworkError, Refused

pytestmark = pytest.mark.slow  # a server takes a second to start


@pytest.fixture(scope="module", params=STARTERS)
def started(request, tmp_path_factory):
    with STARTERS[request.param](tmp_path_factory.mktemp(request.param)) as server:
        yield server


@pytest.fixture
def server(started):
    started.clear()
    return started


@pytest.fixture
def fetch(server, tmp_path):
    def run(path="", password=PASSWORD, scheme="auto"):
        account = DavAccount(parse_address(server.address + path), lambda: password, scheme)
        pulled = pull(account, tmp_path / "books")
        return next(book for book in pulled.books if book.url == server.origin + server.book)

    return run


def names(book):
    return {one.data.partition(b"FN:")[2].splitlines()[0].decode() for one in book.cards}


def test_what_changed_is_fetched_and_what_was_removed_is_erased(server, fetch, tmp_path):
    for number in range(4):
        server.put(f"c{number}.vcf", card(f"Person {number}", f"+4915112345{number:03d}"))
    first = fetch()
    assert (names(first), first.fetched) == ({f"Person {number}" for number in range(4)}, 4)
    assert fetch().fetched == 0
    text = card("Jörg", "+49151123459999").replace("UID:Jörg", "UID:Person 1")
    server.put("c1.vcf", text)
    server.delete("c2.vcf")
    server.put("c5.vcf", card("Person 5", "+4915112345005"))
    third = fetch()
    assert (names(third), third.fetched) == ({"Person 0", "Jörg", "Person 3", "Person 5"}, 2)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*.cards"))
    assert b"FN:Person 2" not in kept
    assert b"FN:Person 1" not in kept
    assert fetch(server.book).fetched == 0  # the address of the book itself leads to the same copy


def test_a_token_that_the_server_does_not_know(server, fetch, tmp_path):
    for number in range(3):
        server.put(f"c{number}.vcf", card(f"Person {number}", f"+4915112345{number:03d}"))
    fetch()
    server.delete("c0.vcf")
    (record,) = [one for one in tmp_path.rglob("book.json") if json.loads(one.read_text())["cards"]]
    value = json.loads(record.read_text())
    assert bool(value["token"]) == server.reports_changes
    record.write_text(json.dumps(value | {"token": "http://example.org/ns/sync/12345"}))
    again = fetch()
    assert names(again) == {"Person 1", "Person 2"}
    assert again.fetched == 0


def test_a_wrong_password_and_a_wrong_address(server, fetch):
    if server.user:
        with pytest.raises(Refused, match="did not accept the password"):
            fetch(password="wrong")
    with pytest.raises((Refused, BadInput)) as caught:
        fetch("/nowhere/at/all/")
    assert caught.value.hint


def test_many_cards_in_several_batches(server, fetch):
    for number in range(BATCH + 3):
        server.put(f"c{number}.vcf", card(f"Person {number}", f"+4915112345{number:03d}"))
    assert fetch().fetched == BATCH + 3


def test_names_of_files_that_must_be_escaped(server, fetch):
    server.put("ada%20%26%20b%C3%B6b%40home.vcf", card("Ada", "+4915112345000"))
    assert names(fetch()) == {"Ada"}
    assert fetch().fetched == 0


def test_digest_where_only_that_is_offered(tmp_path):
    with STARTERS["sabre"](tmp_path) as server:
        challenge = requests.request("PROPFIND", server.origin + "/dav/", timeout=20).headers[
            "WWW-Authenticate"
        ]
        assert challenge.startswith("Digest")
        server.put("a.vcf", card("Ada", "+4915112345000"))
        account = DavAccount(parse_address(server.address), lambda: PASSWORD, "basic")
        with pytest.raises(Refused, match="it offers digest"):
            pull(account, tmp_path / "books")
        account = DavAccount(parse_address(server.address), lambda: PASSWORD, "digest")
        assert len(pull(account, tmp_path / "books").books[0].cards) == 1


def test_a_server_that_is_killed_midway_costs_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("contactsync.client.patience.BACKOFF_SECONDS", 0.001)
    with STARTERS["radicale"](tmp_path) as server:
        for number in range(2 * BATCH + 10):
            server.put(f"c{number:03d}.vcf", card(f"Person {number}", f"+4915112345{number:03d}"))
        port = int(server.origin.rpartition(":")[2])
        account = DavAccount(parse_address(server.address + server.book), lambda: PASSWORD)

        def progress(stage, done, total):
            if stage.startswith("fetching") and done == BATCH:
                server.process.kill()
                server.process.wait()

        with pytest.raises(NetworkError):
            pull(account, tmp_path / "books", progress=progress)
    with STARTERS["radicale"](tmp_path, port):
        (book,) = pull(account, tmp_path / "books").books
        assert len(book.cards) == 2 * BATCH + 10
        assert book.fetched == BATCH + 10
