"""PostgreSQL goes away and comes back, under a running server and under its stores."""

import json
import os
import signal
import threading
import time
import urllib.request
from contextlib import closing, suppress
from urllib.error import HTTPError

import numpy as np
import postgres_server
import pytest
from ports import free_port
from server_tools import Process, run
from store_tools import created

from contactsync.foundation.errors import OurError
from contactsync.server.quota import PointQuota
from contactsync.server.storage.ports import Charge, Members
from contactsync.server.storage.postgres.accounts import PostgresAccounts
from contactsync.server.storage.postgres.address import DatabaseUrl
from contactsync.server.storage.postgres.members import PostgresMembers

pytestmark = pytest.mark.slow


def charged_until_it_works(store, charge, seconds=30):
    """Send a batch again and again, as clients do; how often it failed."""
    end, failed = time.monotonic() + seconds, 0
    while True:
        try:
            store.charge([charge])
        except OurError:
            failed += 1
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return failed


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "killed"])
def test_nothing_is_lost_or_charged_twice_when_it_is_gone_and_back(own, how):
    address = created(postgres_server.create_database(own, "outage"))
    with closing(PostgresAccounts(address, wait=2)) as store, closing(PostgresMembers(address)) as members:
        store.add("one", "people", "cs_one")
        account = store.find("cs_one").id
        assert store.revision() is not None
        batches = [os.urandom(16) for _ in range(40)]
        failures, ended = [], threading.Event()

        def work(some):
            for batch in some:
                failures.append(charged_until_it_works(store, Charge(account, 1, batch, PointQuota(1000, 1))))
                time.sleep(0.02)

        threads = [threading.Thread(target=work, args=(batches[i::4],)) for i in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        own.stop(how)
        with pytest.raises(OurError) as caught:
            members.add(Members("tel", np.array([4915112345678], np.uint64)))
        assert caught.value.hint
        ended.wait(5)
        assert store.revision() is None, "nobody knows what was revoked meanwhile"
        own.start()
        for thread in threads:
            thread.join()
        assert sum(failures), "the outage was seen"
        (use,) = store.uses("one")
        assert (use.points_total, use.batches) == (len(batches), len(batches))
        assert members.add(Members("tel", np.array([4915112345678], np.uint64))).new == 1
        for _ in range(100):
            if store.revision() is not None:
                break
            time.sleep(0.1)
        assert store.revision() is not None


def test_after_a_failover_the_new_address_is_found(own):
    """The second of two hosts takes over: here by the same data folder on another port."""
    first = DatabaseUrl.parse(postgres_server.create_database(own, "failover"))
    created(postgres_server.create_database(own, "failover"))
    other = free_port()
    host = f"127.0.0.1:{own.port}"
    address = DatabaseUrl(first.url.replace(host, f"{host},127.0.0.1:{other}"), first.password)
    with closing(PostgresAccounts(address, wait=2)) as store:
        store.add("one", "people", "cs_one")
        own.stop(signal.SIGQUIT)
        with pytest.raises(OurError):
            store.uses("one")
        own.start(other)
        account = None
        for _ in range(100):
            with suppress(OurError):
                account = store.find("cs_one")
                break
            time.sleep(0.1)
        assert account is not None
        charged_until_it_works(store, Charge(account.id, 1, os.urandom(16), PointQuota(10, 1)))
        assert store.uses("one")[0].points_total == 1


def ask(url, credential):
    """The status of a question that needs the store, and its problem."""
    request = urllib.request.Request(f"{url}/v1/account", headers={"authorization": f"Bearer {credential}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, None, reply.headers
    except HTTPError as error:
        with error:
            return error.code, json.load(error), error.headers


def test_requests_get_503_while_it_is_gone_and_an_answer_afterwards(own, tmp_path, monkeypatch):
    monkeypatch.setenv("CONTACTSYNC_DATABASE", postgres_server.create_database(own, "served"))
    data = tmp_path / "data"
    run("init", data=data)
    run("members", "add", "+491511234567", data=data)
    run("publish", data=data)
    credential = run("accounts", "add", "shop", data=data).strip()
    with Process(data) as server:
        assert ask(server.url, credential)[0] == 200
        assert urllib.request.urlopen(f"{server.url}/v1/health").status == 200
        own.stop(signal.SIGQUIT)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            status, problem, headers = ask(server.url, credential)
            assert status == 503, problem
            assert "store-unavailable" in problem["type"]
            assert headers["retry-after"]
            time.sleep(0.5)
        own.start()
        while ask(server.url, credential)[0] != 200:
            assert time.monotonic() < end + 30
            time.sleep(0.2)
        text = server.log.read_text()
    assert "Traceback" not in text
    assert own.password not in text
    assert "does not answer" in text or "connection was lost" in text
