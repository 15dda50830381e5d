"""Stores of each kind, and people of each kind to put into them."""

from contextlib import closing

import postgres_server
import pytest
from store_tools import ACCOUNTS, MEMBERS, HandClock, Handles, handles_of_people, telephones

from contactsync.identifiers.kinds import KINDS


@pytest.fixture
def handles(monkeypatch):
    """The kind `acct`, registered as long as the test runs."""
    monkeypatch.setitem(KINDS, "acct", Handles())
    return KINDS["acct"]


def slow_if_a_process(stores):
    """The stores as parameters; those that need a server of their own are slow."""
    return [pytest.param(name, marks=pytest.mark.slow) if name == "postgres" else name for name in stores]


@pytest.fixture(params=slow_if_a_process(MEMBERS))
def store(request, tmp_path, handles, database):
    with closing(MEMBERS[request.param](tmp_path, database)) as store:
        yield store


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture(params=slow_if_a_process(ACCOUNTS))
def accounts(request, tmp_path, clock, database):
    with closing(ACCOUNTS[request.param](tmp_path, database, clock)) as accounts:
        yield accounts


@pytest.fixture(params=["tel", "acct"])
def people(request, handles):
    return telephones() if request.param == "tel" else handles_of_people()


@pytest.fixture
def own():
    """A server that may be stopped: one that somebody gave may not."""
    server = postgres_server.OwnServer()
    yield server
    server.close()
