"""A page's way in: from the back end's request for a code to a sync with what it brings."""

import json
import socket
import time
from datetime import UTC, datetime, timedelta

import pytest
from server_tools import GERMAN, Operator, Process, ask

from contactsync.foundation.errors import BadInput
from contactsync.library.accounts import Accounts
from contactsync.server.sign_in import credential_seconds, new_code

JSON = {"content_type": "application/json"}


@pytest.fixture(scope="module")
def operator(tmp_path_factory):
    operator = Operator(tmp_path_factory.mktemp("signing-in") / "server")
    operator.accounts.add("ada", "people", "cs_ada")
    operator.add(GERMAN)
    operator.publish()
    yield operator
    operator.close()


@pytest.fixture(scope="module")
def served(operator):
    with Process(operator.folder.path, "--web-origin", "https://app.example") as process:
        yield process


@pytest.fixture
def known(operator):
    return Accounts(operator.folder)


def asked_for(*request, **fields):
    reply, data = ask(*request, **fields)
    return reply, json.loads(data) if data else None


def sign_in(served, code, **fields):
    return asked_for(served.port, "POST", "/v1/sign-in", json.dumps({"code": code}), **JSON, **fields)


def account(served, credential):
    return asked_for(served.port, "GET", "/v1/account", authorization=f"Bearer {credential}")[0].status


def test_a_page_gets_in_once_and_has_the_quota_of_its_account(served, known):
    code = known.sign_in("ada", lasts=3600)
    reply, body = sign_in(served, code, origin="https://app.example")
    assert (reply.status, body["audience"]) == (200, "people")
    assert reply.getheader("cache-control") == "no-store"
    assert reply.getheader("access-control-allow-origin") == "https://app.example"
    ends = datetime.fromisoformat(body["until"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < ends <= timedelta(hours=1)
    assert account(served, body["credential"]) == 200
    again, problem = sign_in(served, code)
    assert (again.status, problem["type"]) == (403, "urn:contactsync:problem:bad-code")
    assert account(served, code) == 401, "a code is no credential"


def test_it_ends_by_itself_and_with_the_account(served, known, operator):
    operator.accounts.add("bodo", "people", "cs_bodo")
    soon = sign_in(served, known.sign_in("bodo", lasts=10))[1]["credential"]
    later = sign_in(served, known.sign_in("bodo"))[1]["credential"]
    assert (account(served, soon), account(served, later)) == (200, 200)
    deadline = time.monotonic() + 30
    while account(served, soon) == 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert account(served, later) == 200
    operator.accounts.revoke("bodo")
    assert account(served, later) == 401


def test_nobody_makes_a_credential_last_longer_than_the_code_says(served, known):
    code = known.sign_in("ada", lasts=60)
    for longer in (code.replace(".60", ".600000"), code + "0", code.replace(".60", "")):
        assert sign_in(served, longer)[0].status == 403
    assert sign_in(served, code)[0].status == 200


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        (b"", 400, "bad-request"),
        (b"{", 400, "bad-request"),
        (b"[" * 1000, 400, "bad-request"),
        (b"[]", 400, "bad-request"),
        (b'{"code": 7}', 400, "bad-request"),
        (b'{"credential": "cs_ada"}', 400, "bad-request"),
        (b'{"code": ""}', 403, "bad-code"),
        (b'{"code": "cs_ada"}', 403, "bad-code"),
        (b'{"code": "\\ud800"}', 403, "bad-code"),
        (b'{"code": "csc_%s.43200"}' % (b"x" * 43), 403, "bad-code"),
        (b" " * 1025, 413, "body-too-large"),
    ],
)
def test_anything_else_is_refused(served, body, status, slug):
    reply, problem = asked_for(served.port, "POST", "/v1/sign-in", body, **JSON)
    assert (reply.status, problem["type"]) == (status, f"urn:contactsync:problem:{slug}")
    assert reply.getheader("cache-control") == "no-store"
    if len(body) > 4:
        assert body.decode() not in json.dumps(problem)


def test_other_ways_to_ask_are_refused(served):
    assert asked_for(served.port, "POST", "/v1/sign-in", b"{}", content_type="text/plain")[0].status == 415
    assert asked_for(served.port, "GET", "/v1/sign-in")[0].status == 405


def test_a_chunked_body_is_bounded_too(served):
    head = b"POST /v1/sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    chunks = b"".join(b"258\r\n" + b" " * 600 + b"\r\n" for _ in range(4))
    with socket.create_connection(("127.0.0.1", served.port), 30) as connection:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_codes_say_their_time_and_nothing_else_has_the_form():
    assert credential_seconds(new_code(600)) == 600
    assert new_code() != new_code()
    for text in ("", new_code(600)[:-1] + "x", new_code(600) + "\n", new_code(10**7), "x" + new_code()):
        assert credential_seconds(text) is None


def test_times_are_bounded(known):
    for times in ({"valid": 9}, {"valid": 3601}, {"lasts": 9}, {"lasts": 31 * 86_400}):
        with pytest.raises(BadInput, match="seconds"):
            known.sign_in("ada", **times)
