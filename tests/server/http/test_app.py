"""What cannot be seen from outside a healthy server: faults, stalls, ageing signatures. ASGI, no socket."""

import asyncio
import json
import logging
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from server_tools import GERMAN

from contactsync.foundation.errors import OurError
from contactsync.server.admission import Overloaded
from contactsync.server.company import SMALL
from contactsync.server.evaluation import Evaluator
from contactsync.server.http import app as module
from contactsync.server.http import callers, charging, served, threads, together
from contactsync.server.http import evaluating as evaluating_module
from contactsync.server.http.app import App
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order
from contactsync.server.quota import Terms
from contactsync.server.settings import Busy, DataFolder
from contactsync.server.storage.files import PublicFolder
from contactsync.server.storage.sqlite.accounts import SqliteAccounts
from contactsync.voprf import wire
from contactsync.voprf.client import blind, finalize

SECRET = "tel:+491511234567 cs_secret"
BLINDED = blind([b"somebody"]).blinded.tobytes()


@pytest.fixture
def app(operator):
    operator.add(GERMAN)
    operator.publish()
    operator.accounts.add("shop", "people", "cs_shop")
    with closing(Evaluator(1, 1)) as evaluator:
        yield App(
            operator.folder,
            operator.accounts,
            PublicFolder(operator.folder.public),
            operator.keyring,
            evaluator,
        )


def ask(app, method, path, **options):
    """One request; the messages of the answer."""
    return asyncio.run(talk(app, method, path, **options))


async def talk(app, method, path, *, credential="cs_shop", receive=None, send=None, headers=()):
    """The same on a loop that runs. `receive` gives the body, `send` may stand in the way."""
    sent = []

    async def collect(message):
        if send is not None:
            await send(message)
        sent.append(message)

    given = [
        (b"authorization", b"Bearer " + credential.encode()),
        (b"content-type", b"application/octet-stream"),
    ]
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
    return sent


def body_of(data):
    async def receive():
        return {"type": "http.request", "body": data, "more_body": False}

    return receive


def problem(sent):
    return sent[0]["status"], json.loads(sent[1]["body"])["type"].rpartition(":")[2]


def test_a_fault_discloses_nothing(app, operator, monkeypatch, caplog):
    def fail(*_arguments):
        raise RuntimeError(SECRET)

    monkeypatch.setattr(operator.accounts, "find", fail)
    with caplog.at_level(logging.DEBUG):
        sent = ask(app, "POST", "/v1/evaluate/people/1")
    assert problem(sent) == (500, "internal")
    assert SECRET not in str(sent)
    assert "RuntimeError in " in caplog.text
    assert SECRET not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.slow
def test_a_slow_body(app, monkeypatch):
    monkeypatch.setattr(evaluating_module, "BODY_TIMEOUT", 0.1)

    async def never():
        await asyncio.sleep(60)

    sent = ask(app, "POST", "/v1/evaluate/people/1", receive=never)
    assert problem(sent) == (408, "too-slow")
    assert (b"connection", b"close") in sent[0]["headers"]


def test_overloaded(app, monkeypatch):
    monkeypatch.setattr(app.direct.evaluating.admission, "_room", 0)
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


def test_it_is_said_once_a_day_what_runs_out_without_a_publish(app, operator, caplog):
    signers = operator.keyring.signers()
    app._refresh()
    assert "expires on" not in caplog.text
    operator.repository.publish([operator.manifest()], signers, datetime.now(UTC) - timedelta(days=65))
    app._reminded = None
    for _ in range(2):
        app._refresh()
    assert caplog.text.count("the targets metadata expires on") == 1
    assert "the root metadata" not in caplog.text


def test_a_key_that_is_put_back_is_found_without_a_restart(app, operator, monkeypatch):
    monkeypatch.setattr(served, "RETRY_SECONDS", 0.0)
    key = operator.folder.keys / "voprf-people-1.json"
    away = key.rename(operator.folder.path / "away")
    assert ask(app, "GET", "/v1/health")[0]["status"] == 503
    away.rename(key)
    assert ask(app, "GET", "/v1/health")[0]["status"] == 200


# Slow stores


class SlowAccounts(SqliteAccounts):
    """Takes until `ready` is set for the account `slow`, and for whoever is unknown; counts the look-ups."""

    asked = 0

    def __init__(self, path, ready):
        super().__init__(path)
        self._ready = ready

    def find(self, credential):
        self.asked += 1
        account = super().find(credential)
        if account is None or account.name == "slow":
            self._ready.wait(20)
        return account


class ReadOnlyAccounts(SqliteAccounts):
    """As on a file system that was mounted read-only meanwhile."""

    def _database(self):
        database = super()._database()
        database.connection.execute("PRAGMA query_only = ON")
        return database


class SlowFolder(PublicFolder):
    """Takes until `ready` is set to find a data file."""

    def __init__(self, path, ready):
        super().__init__(path)
        self._ready = ready

    def data(self, sha256):
        self._ready.wait(20)
        return super().data(sha256)


@pytest.fixture
def ready():
    """What slow stores wait for."""
    return threading.Event()


@pytest.fixture
def slow(app, operator, ready):
    """The app on stores that can be slow, its accounts, and what was asked of them."""
    operator.accounts.add("slow", "people", "cs_slow")
    accounts = SlowAccounts(operator.folder.accounts, ready)
    folder = SlowFolder(operator.folder.public, ready)
    with closing(Evaluator(1, 64)) as evaluator, closing(accounts):
        yield App(operator.folder, accounts, folder, operator.keyring, evaluator)
        ready.set()


def evaluate(app, credential, body=BLINDED):
    return talk(app, "POST", "/v1/evaluate/people/1", credential=credential, receive=body_of(body))


async def within(seconds, *requests):
    """The status of each, if they are all answered in time."""
    async with asyncio.timeout(seconds):
        return [sent[0]["status"] for sent in await asyncio.gather(*requests)]


def test_a_slow_store_delays_only_who_waits_for_it(slow, operator, ready):
    name = operator.manifest().partitions["49"].base.sha256

    async def run():
        await within(10, talk(slow, "GET", "/v1/health"), evaluate(slow, "cs_shop"))  # all is loaded
        waiting = [
            asyncio.create_task(request)
            for request in (
                evaluate(slow, "cs_slow"),
                evaluate(slow, "cs_nobody"),
                talk(slow, "GET", f"/v1/data/{name}"),
            )
        ]
        for _ in range(3):
            quick = talk(slow, "GET", "/v1/health"), evaluate(slow, "cs_shop")
            meta = talk(slow, "GET", "/v1/tuf/metadata/timestamp.json")
            assert await within(1, *quick, meta) == [200, 200, 200]
        assert not any(task.done() for task in waiting)
        ready.set()
        assert await within(10, *waiting) == [200, 401, 200]

    asyncio.run(run())


@pytest.mark.slow
def test_look_ups_that_would_fill_the_memory_are_refused(slow, ready, monkeypatch):
    monkeypatch.setattr(threads, "WAITING", 2)

    async def run():
        waiting = [asyncio.create_task(evaluate(slow, f"cs_{i}")) for i in range(8 + 2)]
        await asyncio.sleep(0.2)
        sent = await evaluate(slow, "cs_shop")
        assert problem(sent) == (503, "overloaded")
        assert (b"retry-after", b"1") in sent[0]["headers"]
        ready.set()
        assert set(await within(10, *waiting)) == {401}
        assert await within(1, evaluate(slow, "cs_shop")) == [200]

    asyncio.run(run())


def test_a_caller_is_looked_up_once_and_again_after_any_change(slow, operator, ready):
    accounts = slow._callers._accounts
    ready.set()

    async def run():
        for _ in range(5):
            assert await within(1, evaluate(slow, "cs_shop")) == [200]
        assert accounts.asked == 1
        operator.accounts.add("other", "business", "cs_other")
        assert await within(1, evaluate(slow, "cs_shop"), evaluate(slow, "cs_other")) == [200, 403]
        assert accounts.asked == 3
        operator.accounts.revoke("shop")
        operator.accounts.revoke("other")
        operator.accounts.add("other", "people", "cs_other")  # of another audience
        assert await within(5, evaluate(slow, "cs_shop"), evaluate(slow, "cs_other")) == [401, 200]

    asyncio.run(run())


@pytest.mark.slow
def test_a_look_up_that_a_change_overtakes_is_not_remembered(slow, operator, ready):
    async def run():
        waiting = asyncio.create_task(evaluate(slow, "cs_slow"))
        await asyncio.sleep(0.3)  # found, and held back
        operator.accounts.revoke("slow")
        assert await within(1, evaluate(slow, "cs_shop")) == [200]  # the new revision was seen
        assert not waiting.done()
        ready.set()
        assert await within(5, waiting) == [401], "there is nobody to be charged any more"
        assert await within(5, evaluate(slow, "cs_slow")) == [401]

    asyncio.run(run())


def test_a_store_that_cannot_tell_of_changes_is_asked_every_time(slow, monkeypatch):
    accounts = slow._callers._accounts
    monkeypatch.setattr(accounts, "revision", lambda: None)
    for _ in range(3):
        assert asyncio.run(within(5, evaluate(slow, "cs_shop"))) == [200]
    assert accounts.asked == 3


def test_callers_in_memory_are_bounded(slow, operator, monkeypatch):
    monkeypatch.setattr(callers, "REMEMBERED", 2)
    for i in range(5):
        operator.accounts.add(str(i), "people", f"cs_{i}")

    async def run():
        for i in range(5):
            assert await within(1, evaluate(slow, f"cs_{i}")) == [200]
            assert len(slow._callers._known) <= 2

    asyncio.run(run())


# Quotas


# A batch that goes alone, and one that goes with others: each has a way of its own to the key.
WAYS = {"alone": blind([b"%d" % i for i in range(SMALL + 1)]).blinded.tobytes(), "together": BLINDED}


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


def before_the_key(app, monkeypatch, do):
    """Have `do(size)` called whenever a batch comes to the key, on either way."""
    alone, joint = app._evaluator.evaluate_decoded, together.blind_evaluate_batches

    def of_one(key, batch):
        do(len(batch.blinded))
        return alone(key, batch)

    def of_many(key, batches):
        for blinded, _ in batches:
            do(len(blinded))
        return joint(key, batches)

    monkeypatch.setattr(app._evaluator, "evaluate_decoded", of_one)
    monkeypatch.setattr(together, "blind_evaluate_batches", of_many)


def evaluating(app, monkeypatch):
    """The sizes of the batches that are evaluated from here on."""
    sizes = []
    before_the_key(app, monkeypatch, sizes.append)
    return sizes


def test_a_store_that_cannot_be_written_gives_nothing_away(operator, app, monkeypatch, caplog):
    with closing(Evaluator(1, 1)) as evaluator, closing(ReadOnlyAccounts(operator.folder.accounts)) as store:
        app = App(operator.folder, store, PublicFolder(operator.folder.public), operator.keyring, evaluator)
        sizes = evaluating(app, monkeypatch)
        for _ in range(3):
            sent = ask(app, "POST", "/v1/evaluate/people/1", receive=body_of(BLINDED))
            assert problem(sent) == (503, "store-unavailable")
            assert (b"retry-after", b"5") in sent[0]["headers"]
    assert sizes == []
    assert caplog.text.count("readonly") == 1, "one line stands for those that follow"
    assert operator.accounts.uses("shop")[0].points_total == 0


def test_a_store_that_cannot_be_read_is_no_fault_of_ours(app, operator, monkeypatch):
    def fail(_credential):
        raise OurError("the accounts database cannot be used: disk I/O error")

    monkeypatch.setattr(operator.accounts, "find", fail)
    assert problem(ask(app, "GET", "/v1/account")) == (503, "store-unavailable")


def test_nothing_is_evaluated_that_is_not_charged(app, operator, monkeypatch, way):
    sizes = evaluating(app, monkeypatch)
    points = len(way) // 32
    operator.accounts.change(["shop"], lambda _: Terms("", points, 1))
    assert ask(app, "POST", "/v1/evaluate/people/1", receive=body_of(way))[0]["status"] == 200
    other = body_of(blind([b"another"] * points).blinded.tobytes())
    for _ in range(3):
        sent = ask(app, "POST", "/v1/evaluate/people/1", receive=other)
        assert problem(sent) == (429, "out-of-quota")
    assert sizes == [points]


def test_who_was_charged_and_not_answered_is_answered_for_nothing(app, operator, monkeypatch, way):
    def busy(_size):
        raise Overloaded

    points = len(way) // 32
    with monkeypatch.context() as patch:
        before_the_key(app, patch, busy)
        sent = ask(app, "POST", "/v1/evaluate/people/1", receive=body_of(way))
        assert problem(sent) == (503, "overloaded")
    assert operator.accounts.uses("shop")[0].points_total == points
    assert ask(app, "POST", "/v1/evaluate/people/1", receive=body_of(way))[0]["status"] == 200
    assert operator.accounts.uses("shop")[0].points_total == points


@pytest.mark.slow
def test_charges_that_come_together_share_a_transaction(app, operator, monkeypatch, way):
    groups, real = [], operator.accounts.charge

    def slow(charges, breakers):
        groups.append(len(charges))
        time.sleep(0.1)
        return real(charges, breakers)

    monkeypatch.setattr(operator.accounts, "charge", slow)
    monkeypatch.setattr(app.direct.evaluating.admission, "_room", 100)

    async def run():
        return await within(10, *(evaluate(app, "cs_shop", way) for _ in range(20)))

    assert asyncio.run(run()) == [200] * 20
    assert sum(groups) == 20
    assert len(groups) <= 4


@pytest.mark.slow
def test_charges_that_would_fill_the_memory_are_refused(app, operator, monkeypatch):
    monkeypatch.setattr(charging, "WAITING", 2)
    monkeypatch.setattr(app.direct.evaluating.admission, "_room", 100)
    real = operator.accounts.charge

    def slow(charges, breakers):
        time.sleep(0.3)
        return real(charges, breakers)

    monkeypatch.setattr(operator.accounts, "charge", slow)

    async def run():
        return await within(10, *(evaluate(app, "cs_shop", WAYS["alone"]) for _ in range(10)))

    statuses = asyncio.run(run())
    assert set(statuses) == {200, 503}
    assert operator.accounts.uses("shop")[0].points_total == SMALL + 1, "they were all the same batch"


@pytest.mark.slow
def test_what_is_over_is_forgotten_while_it_runs(app, operator, monkeypatch):
    swept = []
    monkeypatch.setattr(module, "SWEEP_INTERVAL", 0.05)
    monkeypatch.setattr(operator.accounts, "sweep", lambda: swept.append(1))

    async def run():
        async with app._lifespan(None):
            await asyncio.sleep(0.4)

    asyncio.run(run())
    assert len(swept) > 2


@pytest.mark.slow
def test_both_epochs_are_served_while_they_overlap(operator, app):
    """No restart: what is published decides. Each epoch is evaluated with its own key, and proved by it."""

    def published(aim, overlap=86_400):
        publisher = Publisher(operator.folder, operator.registry, operator.keyring)
        publisher.publish(order=Order(aim, overlap))
        return operator.manifest()

    def holds(epoch, public_key):
        blinding = blind([b"somebody"])
        body = body_of(blinding.blinded.tobytes())
        start, *parts = ask(app, "POST", f"/v1/evaluate/people/{epoch}", receive=body)
        reply = b"".join(part["body"] for part in parts)
        if start["status"] != 200:
            return start["status"], json.loads(reply)["epoch"]
        finalize(blinding, *wire.parse_reply(reply, 1), public_key)
        return 200, None

    first = operator.manifest().public_key
    assert holds(2, first) == (409, 1)
    manifest = published(Aim.ROTATE)
    second = manifest.next.public_key
    assert holds(1, first) == holds(2, second) == (200, None)
    assert holds(3, first) == (409, 1)
    for sha256 in manifest.files():
        assert ask(app, "GET", f"/v1/data/{sha256}")[0]["status"] == 200
    (operator.folder.keys / "voprf-people-2.json").rename(operator.folder.path / "away")
    restarted = App(
        operator.folder,
        operator.accounts,
        PublicFolder(operator.folder.public),
        operator.keyring,
        app._evaluator,
    )
    start, part = ask(restarted, "POST", "/v1/evaluate/people/2", receive=body_of(BLINDED))
    assert (start["status"], json.loads(part["body"])["type"]) == (
        503,
        "urn:contactsync:problem:key-unavailable",
    )
    assert ask(restarted, "POST", "/v1/evaluate/people/1", receive=body_of(BLINDED))[0]["status"] == 200
    assert ask(restarted, "GET", "/v1/health")[0]["status"] == 503
    (operator.folder.path / "away").rename(operator.folder.keys / "voprf-people-2.json")
    published(Aim.TAKE_BACK)
    assert holds(2, second) == (409, 1)
    manifest = published(Aim.ROTATE, 1)
    time.sleep(max(0, manifest.next.until - time.time()) + 0.1)
    assert holds(1, first) == (200, None), "until somebody publishes"
    published(Aim.PUBLISH)
    assert holds(1, first) == (409, 2)
    assert holds(2, manifest.next.public_key) == (200, None)
    for sha256 in manifest.files():
        assert ask(app, "GET", f"/v1/data/{sha256}")[0]["status"] == 200, "a download may be running"
