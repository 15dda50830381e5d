"""What cannot be seen from outside a healthy server: faults, stalls, ageing signatures. ASGI, no socket."""

import asyncio
import json
import logging
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from server_tools import GERMAN

from contactsync.server.evaluation import Evaluator
from contactsync.server.http import app as module
from contactsync.server.http import served
from contactsync.server.http.app import App
from contactsync.server.settings import Busy, DataFolder
from contactsync.voprf.client import blind

SECRET = "tel:+491511234567 cs_secret"
BLINDED = blind([b"somebody"]).blinded.tobytes()


@pytest.fixture
def app(operator):
    operator.add(GERMAN)
    operator.publish()
    operator.registry.add_account("shop", "people", "cs_shop")
    with closing(Evaluator(1, 1)) as evaluator:
        yield App(operator.folder, operator.registry, operator.keyring, evaluator)


def ask(app, method, path, *, receive=None, send=None, headers=()):
    """One request; the messages of the answer. `receive` gives the body, `send` may stand in the way."""
    sent = []

    async def collect(message):
        if send is not None:
            await send(message)
        sent.append(message)

    async def run():
        given = [(b"authorization", b"Bearer cs_shop"), (b"content-type", b"application/octet-stream")]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [*given, *headers],
        }
        await app.asgi(scope, receive or body_of(b""), collect)

    asyncio.run(run())
    return sent


def body_of(data):
    async def receive():
        return {"type": "http.request", "body": data, "more_body": False}

    return receive


def problem(sent):
    return sent[0]["status"], json.loads(sent[1]["body"])["type"].rpartition(":")[2]


def test_a_fault_discloses_nothing(app, monkeypatch, caplog):
    def fail(*_arguments):
        raise RuntimeError(SECRET)

    monkeypatch.setattr(app._registry, "find_account", fail)
    with caplog.at_level(logging.DEBUG):
        sent = ask(app, "POST", "/v1/evaluate/people/1")
    assert problem(sent) == (500, "internal")
    assert SECRET not in str(sent)
    assert "RuntimeError in " in caplog.text
    assert SECRET not in caplog.text
    assert "Traceback" not in caplog.text


def test_a_slow_body(app, monkeypatch):
    monkeypatch.setattr(module, "BODY_TIMEOUT", 0.1)

    async def never():
        await asyncio.sleep(60)

    sent = ask(app, "POST", "/v1/evaluate/people/1", receive=never)
    assert problem(sent) == (408, "too-slow")
    assert (b"connection", b"close") in sent[0]["headers"]


def test_a_reader_that_stalls_is_let_go(app, operator, monkeypatch):
    monkeypatch.setattr(module, "STALL_TIMEOUT", 0.1)

    async def stall(message):
        if message["type"] == "http.response.body":
            await asyncio.sleep(60)

    name = operator.manifest().partitions["49"].base.sha256
    sent = ask(app, "GET", f"/v1/data/{name}", send=stall)
    assert [message["type"] for message in sent] == ["http.response.start"]


def test_overloaded(app, monkeypatch):
    monkeypatch.setattr(app._evaluator, "_room", 0)
    sent = ask(app, "POST", "/v1/evaluate/people/1", receive=body_of(BLINDED))
    assert problem(sent) == (503, "overloaded")
    assert (b"retry-after", b"1") in sent[0]["headers"]


def test_signatures_are_renewed_before_they_end(app, operator):
    signers = operator.keyring.signers()
    old = datetime.now(UTC) - timedelta(days=5)
    operator.repository.publish([operator.manifest()], signers, old)
    assert operator.repository.expiries()["timestamp"] < datetime.now(UTC) + timedelta(days=3)
    app._refresh()
    assert operator.repository.expiries()["timestamp"] > datetime.now(UTC) + timedelta(days=6)
    stamp = operator.repository.stamp()
    app._refresh()
    assert operator.repository.stamp() == stamp, "nothing is due any more"
    with DataFolder(operator.folder.path).lock(), pytest.raises(Busy):
        app._refresh()


def test_a_key_that_is_put_back_is_found_without_a_restart(app, operator, monkeypatch):
    monkeypatch.setattr(served, "RETRY_SECONDS", 0.0)
    key = operator.folder.keys / "voprf-people-1.json"
    away = key.rename(operator.folder.path / "away")
    assert ask(app, "GET", "/v1/health")[0]["status"] == 503
    away.rename(key)
    assert ask(app, "GET", "/v1/health")[0]["status"] == 200
