"""The simulated CardDAV server, and an account there."""

import pytest
from simulated_carddav import PASSWORD, DavService, serve

from contactsync.carddav.address import parse_address
from contactsync.carddav.connection import DavAccount
from contactsync.carddav.pull import pull


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """Nobody waits between attempts."""
    monkeypatch.setattr("contactsync.client.patience.BACKOFF_SECONDS", 0.001)


@pytest.fixture
def dav():
    service = DavService()
    server = serve(service)
    yield service
    server.shutdown()
    server.server_close()


@pytest.fixture
def other_dav():
    service = DavService()
    server = serve(service)
    yield service
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(dav, tmp_path):
    """Pull an address (by default that of the simulated server) into one state folder."""

    def run(address=None, *, password=PASSWORD, scheme="auto", **options):
        account = DavAccount(parse_address(address or dav.address), lambda: password, scheme)
        return pull(account, tmp_path / "state" / "books", **options)

    return run
