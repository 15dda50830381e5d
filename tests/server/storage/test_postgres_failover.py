"""A standby of PostgreSQL takes over: real streaming replication, and an address with both hosts."""

import contextlib
import signal
import time
from contextlib import closing
from urllib.parse import urlsplit, urlunsplit

import postgres_server
import psycopg
import pytest
from callers import POINTS, Callers
from server_tools import GERMAN, Process, run

from contactsync.publication.tuf.repository import Repository
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_accounts

pytestmark = pytest.mark.slow

BOUND = 40


@pytest.fixture
def pair():
    """A primary server, and a standby that confirms every commit of it."""
    primary = postgres_server.OwnServer()
    postgres_server.create_database(primary, "served")
    primary.stop()
    standby = postgres_server.OwnServer(primary)
    yield primary, standby
    for one in (primary, standby):
        one.close()


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_serving_and_publishing_go_on_at_the_new_address(pair, tmp_path, monkeypatch, how):
    primary, standby = pair
    parts = urlsplit(primary.url)
    hosts = f"{parts.netloc},127.0.0.1:{standby.port}"
    monkeypatch.setenv("CONTACTSYNC_DATABASE", urlunsplit(parts._replace(netloc=hosts, path="/served")))
    data = tmp_path / "data"
    run("init", data=data)
    run("members", "add", f"+{GERMAN}", data=data)
    run("publish", data=data)
    credential = run("accounts", "add", "shop", data=data).strip()
    run("accounts", "set", "shop", "--burst", "10000000", data=data)
    folder = DataFolder(data)
    with contextlib.ExitStack() as stack, Process(data, "--workers", "2") as server:
        with Callers(server.url, credential, 8) as callers:
            time.sleep(2)
            before = callers.good
            assert before
            if how == "killed":
                primary.stop(signal.SIGQUIT)
            else:
                stack.enter_context(primary.frozen())
            time.sleep(1)
            with closing(psycopg.connect(standby.url, autocommit=True)) as connection:
                assert connection.execute("SELECT pg_promote()").fetchone()[0]
            end = time.monotonic() + BOUND
            while callers.good < before + 200:
                assert time.monotonic() < end, "it does not recover"
                time.sleep(0.1)
            if how == "killed":  # else each connection waits ten seconds for the first host
                run("members", "add", f"+{GERMAN + 1}", data=data)
                run("publish", data=data)
        with closing(open_accounts(folder)) as accounts:
            (use,) = accounts.uses("shop")
        text = server.log.read_text()
    print(f"{callers.good} answers, {callers.refused} refusals, the slowest after {max(callers.times):.1f} s")
    assert not callers.faults, callers.faults[:3]
    assert max(callers.times) < BOUND
    assert use.points_total == callers.good * POINTS, "nothing is lost, nothing is charged twice"
    assert Repository(folder.public).current("people").partitions["49"].count == 1 + (how == "killed")
    assert "Traceback" not in text
