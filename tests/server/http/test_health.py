"""Health says 503 as soon as clients would refuse what is served, and why."""

import asyncio
import json
import logging
import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from server_tools import GERMAN
from test_app import ask

from contactsync.publication.tuf.signed import LIFETIMES
from contactsync.server.evaluation import Evaluator
from contactsync.server.http import health as module
from contactsync.server.http.app import App
from contactsync.server.http.problems import Problem
from contactsync.server.storage.files import PublicFolder


@pytest.fixture
def app(operator, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)
    operator.add(GERMAN)
    operator.publish()
    with closing(Evaluator(1, 1)) as evaluator:
        yield App(
            operator.folder,
            operator.accounts,
            PublicFolder(operator.folder.public),
            operator.keyring,
            evaluator,
        )


def health(app):
    """Status, slug and the whole problem."""
    sent = ask(app, "GET", "/v1/health")
    body = json.loads(sent[1]["body"])
    return sent[0]["status"], body.get("type", "").rpartition(":")[2], body


def watch(app):
    return asyncio.run(app._healthy.watch())


@pytest.mark.slow
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "root"])
def test_in_the_second_in_which_a_signature_expires(app, operator, role):
    assert health(app)[:2] == (200, "")
    end = operator.repository.expiries()[role]
    app._healthy._now = lambda: end - timedelta(seconds=1)
    later = [other for other in LIFETIMES if operator.repository.expiries()[other] < end]
    if not later:
        assert health(app)[:2] == (200, "")
    app._healthy._now = lambda: end
    status, slug, body = health(app)
    assert (status, slug) == (503, "expired")
    assert body["role"] in {role, *later}
    assert f"{body['role']} metadata expired at 20" in body["detail"]
    assert body["hint"]


def test_the_expiry_is_seen_between_two_looks(app, operator, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 3600)
    assert health(app)[0] == 200
    app._healthy._now = lambda: datetime.now(UTC) + timedelta(days=8)
    assert health(app)[:2] == (503, "expired")


def damage_root(operator):
    path = operator.folder.public / "metadata" / "1.root.json"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"expires":"20', b'"expires":"21'))
    assert path.read_bytes() != data


def lose(kind):
    def loss(operator):
        (path,) = operator.folder.public.glob(kind)
        path.unlink()

    return loss


def change_targets(operator):
    (path,) = (operator.folder.public / "metadata").glob("*.targets.json")
    path.write_bytes(path.read_bytes().replace(b"people", b"peopel"))


def forge_timestamp(operator):
    path = operator.folder.public / "metadata" / "timestamp.json"
    value = json.loads(path.read_bytes())
    value["signed"]["expires"] = "2099-01-01T00:00:00Z"
    path.write_text(json.dumps(value))


@pytest.mark.slow
@pytest.mark.parametrize(
    "harm",
    [
        lose("targets/*.people.json"),
        lose("metadata/*.snapshot.json"),
        lose("metadata/*.targets.json"),
        lose("metadata/*.root.json"),
        damage_root,
        change_targets,
        forge_timestamp,
    ],
)
@pytest.mark.parametrize("served_before", [True, False])
def test_what_clients_refuse(app, operator, harm, served_before):
    if served_before:
        assert health(app)[0] == 200
    harm(operator)
    assert health(app)[:2] == (503, "unverifiable")


def test_it_is_well_again(app, operator):
    (path,) = operator.folder.public.glob("targets/*.people.json")
    kept = path.rename(path.with_suffix(".kept"))
    assert health(app)[0] == 503
    kept.rename(path)
    assert health(app)[0] == 200


def test_a_data_file_that_is_cut_or_gone(app, operator):
    path = operator.folder.data / operator.manifest().partitions["49"].base.sha256
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert health(app)[:2] == (503, "files-missing")
    path.write_bytes(data)
    assert health(app)[0] == 200
    path.unlink()
    assert health(app)[:2] == (503, "files-missing")
    operator.publish()
    assert health(app)[0] == 200


def test_accounts_that_were_replaced(app, operator):
    accounts = operator.folder.accounts
    shutil.copy(accounts, accounts.with_suffix(".new"))
    assert health(app)[0] == 200
    accounts.with_suffix(".new").rename(accounts)
    status, slug, body = health(app)
    assert (status, slug) == (503, "store-replaced")
    assert "restart" in body["hint"]


def test_changes_are_logged_once(app, operator, caplog):
    registry = operator.folder.registry
    with caplog.at_level(logging.INFO, "contactsync.server"):
        assert watch(app)
        (path,) = operator.folder.public.glob("targets/*.people.json")
        kept = path.rename(path.with_suffix(".kept"))
        shutil.copy(registry, registry.with_suffix(".new"))
        registry.with_suffix(".new").rename(registry)
        for _ in range(3):
            assert not watch(app)
        kept.rename(path)
        assert watch(app)
    said = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line.partition(":")[0] for line in said] == [
        "clients cannot use this server",
        "registry.sqlite was replaced while this process runs",
        "clients can use this server again",
    ]


def test_every_reason_is_503():
    assert {
        Problem.kinds[slug][0] for slug in ("expired", "unverifiable", "files-missing", "store-replaced")
    } == {503}
