"""After a deletion over the API no file holds the number; after an expunging publish none has the token."""

import sqlite3
import time
from contextlib import closing

import pytest
from admin_tools import AdminProcess, member
from server_tools import GERMAN, numbers

from contactsync.server.admin import app as admin_app

CROWD = range(GERMAN + 1, GERMAN + 300)
NEEDLES = [str(GERMAN).encode(), GERMAN.to_bytes(6, "big"), GERMAN.to_bytes(6, "little")]


def found_in(folder, needles):
    """The files that hold one of these octets, raw."""
    return {
        path.name
        for path in folder.rglob("*")
        if path.is_file() and any(one in path.read_bytes() for one in needles)
    }


def until_erased(operator, seconds=20):
    end = time.monotonic() + seconds
    while operator.registry.unerased():
        assert time.monotonic() < end, "what was removed was not overwritten"
        time.sleep(0.02)


@pytest.fixture
def prompt(monkeypatch):
    monkeypatch.setattr(admin_app, "ERASE_SECONDS", 0.05)


@pytest.fixture
def published(operator):
    operator.add(GERMAN, *CROWD)
    operator.publish()
    return operator


REMOVALS = {
    "delete": lambda admin: admin("DELETE", member(GERMAN)),
    "batch": lambda admin: admin("POST", "/v1/members/batch", {"delete": [f"tel:+{GERMAN}"]}),
    "keyed": lambda admin: admin(
        "DELETE", member(GERMAN), idempotency_key='"6f0c1c9e-7d5f-4f0e-9a51-0123456789ab"'
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", REMOVALS)
def test_who_is_deleted_is_in_no_file(prompt, published, admin, how):
    assert found_in(published.folder.path, NEEDLES)
    assert REMOVALS[how](admin).status == 200
    until_erased(published)
    assert found_in(published.folder.path, NEEDLES) == set()


@pytest.mark.slow
def test_no_file_has_the_token_after_expunging(prompt, published, admin):
    published.add(GERMAN + 1000)
    published.publish()
    (record,) = published.registry.show(numbers(GERMAN))
    tokens = list(record.tokens.values())
    admin("DELETE", member(GERMAN))
    plain = admin("POST", "/v1/publications", prefer="wait=60").body
    assert (plain["state"], plain["expunge"], plain["files_taken_out"]) == ("done", False, 0)
    done = admin("POST", "/v1/publications", {"expunge": True}, prefer="wait=60").body
    assert (done["state"], done["expunge"], done["problem"]) == ("done", True, None)
    assert done["files_taken_out"] > 0
    assert done["registry_erased"] is True
    assert found_in(published.folder.path, NEEDLES + tokens) == set()
    assert admin("POST", "/v1/publications", {"expunge": 1}).slug == "not-valid"


@pytest.mark.slow
def test_a_reader_delays_it_and_changes_go_on(prompt, published, admin, caplog):
    with closing(sqlite3.connect(published.folder.registry, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        admin("DELETE", member(GERMAN))
        end = time.monotonic() + 20
        while "not overwritten yet" not in caplog.text:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert admin("PUT", member(GERMAN + 5000)).status == 201
        reader.execute("COMMIT")
    until_erased(published)
    assert found_in(published.folder.path, NEEDLES) == set()


@pytest.mark.slow
def test_who_withdraws_keeps_no_token(prompt, published, admin):
    """The objection is remembered, and so the number; the tokens go, first from the registry."""
    (record,) = published.registry.show(numbers(GERMAN))
    tokens = list(record.tokens.values())
    assert found_in(published.folder.path, tokens)
    off = {"granted": False, "source": "app 3.1"}
    assert admin("PUT", member(GERMAN, "/consents/people"), off).body["changed"] is True
    until_erased(published)
    registry = {name for name in found_in(published.folder.path, tokens) if "registry" in name}
    assert registry == set()
    admin("POST", "/v1/publications", {"expunge": True}, prefer="wait=60")
    assert found_in(published.folder.path, tokens) == set()


@pytest.mark.slow  # it starts a process
def test_a_process_that_stops_erases_first(published, tmp_path):
    with AdminProcess(published.folder.path, "--socket", str(tmp_path / "own" / "s")) as process:
        answer = process.raw(
            f"DELETE {member(GERMAN)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        assert b" 200 " in answer.split(b"\r\n")[0]
        assert process.stop() == 0
    assert found_in(published.folder.path, NEEDLES) == set()
