"""PostgreSQL stands still (a paused machine, a disk that hangs): its sockets are open, and nobody answers."""

import os
import signal
import subprocess
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import postgres_server
import psycopg
import pytest
from callers import POINTS, Callers
from server_tools import GERMAN, Process, command, numbers, run
from store_tools import created

from contactsync.foundation.errors import OurError
from contactsync.publication.tuf.repository import Repository
from contactsync.server.quota import PointQuota
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_accounts
from contactsync.server.storage.ports import Charge
from contactsync.server.storage.postgres import database
from contactsync.server.storage.postgres.accounts import PostgresAccounts
from contactsync.server.storage.postgres.address import DatabaseUrl
from contactsync.server.storage.postgres.members import PostgresMembers

pytestmark = pytest.mark.slow

SECONDS = 10
BOUND = 15
"""Within so many seconds every request has an answer."""
MEMBERS = 60_000


@pytest.fixture
def data(own, tmp_path, monkeypatch):
    """A published server in PostgreSQL, and a credential."""
    monkeypatch.setenv("CONTACTSYNC_DATABASE", postgres_server.create_database(own, "frozen"))
    data = tmp_path / "data"
    run("init", data=data)
    run("members", "add", f"+{GERMAN}", data=data)
    run("publish", data=data)
    return data


def threads_of(process):
    return len(list(Path(f"/proc/{process.popen.pid}/task").iterdir()))


def quickly(url):
    begin = time.monotonic()
    with urllib.request.urlopen(url, timeout=BOUND) as reply:
        assert reply.status == 200
        reply.read()
    assert time.monotonic() - begin < 2


def test_requests_are_answered_while_it_stands_still_and_go_on_afterwards(own, data):
    credential = run("accounts", "add", "shop", data=data).strip()
    run("accounts", "set", "shop", "--burst", "10000000", data=data)
    with Process(data) as server:
        with Callers(server.url, credential, 24) as callers:
            time.sleep(1)
            before = threads_of(server)
            assert callers.good
            with own.frozen():
                end = time.monotonic() + SECONDS
                while time.monotonic() < end:
                    quickly(f"{server.url}/v1/health")
                    quickly(f"{server.url}/v1/tuf/metadata/timestamp.json")
                    assert threads_of(server) <= before + 10, "eight look up accounts, and one signs"
                    time.sleep(0.5)
                assert callers.refused
            good, end = callers.good, time.monotonic() + BOUND
            while callers.good < good + 24:
                assert time.monotonic() < end, "it does not recover"
                time.sleep(0.1)
        with closing(open_accounts(DataFolder(data))) as accounts:
            (use,) = accounts.uses("shop")
        text = server.log.read_text()
    longest = max(callers.times)
    print(f"{callers.good} answers, {callers.refused} refusals, the slowest after {longest:.1f} s")
    assert not callers.faults, callers.faults[:3]
    assert longest < BOUND
    assert use.points_total == callers.good * POINTS, "each batch is charged once"
    assert "Traceback" not in text
    assert "does not answer" in text


def begun(words, data, seconds):
    """A command that runs for some time already."""
    process = subprocess.Popen(
        command(*words, data=data),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=dict(os.environ),
    )
    time.sleep(seconds)
    assert process.poll() is None, process.stdout.read()
    return process


@pytest.mark.parametrize("words", [("members", "import"), ("publish",)], ids=["import", "publish"])
def test_a_command_goes_on_when_it_moves_again(own, data, tmp_path, words):
    table = tmp_path / "members.txt"
    table.write_text("".join(f"+{GERMAN + 1 + i}\n" for i in range(MEMBERS)))
    if words == ("publish",):
        run("members", "import", str(table), data=data)
    else:
        words = (*words, str(table))
    # Not while it connects: for that a command waits 10 s and no longer.
    at_work = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = {database.LOCKS:d}"
    with closing(psycopg.connect(own.url, autocommit=True)) as connection:
        process = begun(words, data, 0)
        end = time.monotonic() + 60
        while not connection.execute(at_work).fetchone()[0]:
            assert (process.poll(), time.monotonic() < end) == (None, True)
    with own.frozen():
        time.sleep(SECONDS)
        assert process.poll() is None
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 0, text
    run("publish", data=data)
    assert Repository(DataFolder(data).public).current("people").partitions["49"].count == MEMBERS + 1


def test_what_never_moves_again_ends_a_command_and_names_it(own, monkeypatch):
    monkeypatch.setattr(database, "SILENT_SECONDS", 1.0)
    address = created(postgres_server.create_database(own, "silent"))
    with (
        closing(PostgresMembers(address, wait=2)) as members,
        closing(PostgresAccounts(address, wait=2)) as accounts,
    ):
        members.add(numbers(GERMAN))
        accounts.add("one", "people", "cs_one")
        account = accounts.find("cs_one").id
        charge = Charge(account, 1, os.urandom(16), PointQuota(10, 1))
        attempts = [
            lambda: members.add(numbers(*range(GERMAN, GERMAN + 5000))),
            members.serial,
            lambda: accounts.charge([charge]),
            lambda: accounts.find("cs_one"),
        ]
        with own.frozen():
            for attempt in attempts:
                begin = time.monotonic()
                with pytest.raises(OurError, match="does not answer") as caught:
                    attempt()
                assert time.monotonic() - begin < BOUND
                assert caught.value.hint
            begin = time.monotonic()
            with pytest.raises(OurError, match="does not answer"):
                accounts.find("cs_one")
            assert time.monotonic() - begin < 0.5, "it is known already"
        time.sleep(1.5)
        assert members.add(numbers(*range(GERMAN, GERMAN + 5000))).new == 4999
        accounts.charge([charge])
        assert accounts.uses("one")[0].points_total == 1


def test_a_long_statement_is_waited_for(own, monkeypatch):
    monkeypatch.setattr(database, "SILENT_SECONDS", 0.2)
    address = created(postgres_server.create_database(own, "long"))
    with closing(PostgresMembers(address, wait=2)) as members:
        begin = time.monotonic()
        assert members._database.one("SELECT 5 FROM pg_sleep(1.5)") == 5
        assert time.monotonic() - begin > 1.4


def test_what_a_killed_command_asked_for_is_given_up(own, data):
    """Else the next one would be told that another process is publishing."""
    address = DatabaseUrl.parse(os.environ["CONTACTSYNC_DATABASE"])
    child = os.fork()
    if not child:
        members = PostgresMembers(address)
        with members.publishing():
            members._database.one("SELECT 5 FROM pg_sleep(60)")
        os._exit(0)
    with closing(PostgresMembers(address)) as members:
        end = time.monotonic() + 30
        while not members._database.one(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(60)%' AND pid <> pg_backend_pid()"
        ):
            assert time.monotonic() < end
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        time.sleep(3)
        with members.publishing():
            pass
