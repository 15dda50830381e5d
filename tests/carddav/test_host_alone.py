"""A domain that is no CardDAV server: what to enter is said. Nothing is looked up in the DNS but the host."""

import pytest
from simulated_carddav import DavReply, serving

from contactsync.carddav.address import parse_address
from contactsync.carddav.connection import DavAccount, DavConnection
from contactsync.carddav.discovery import find_books
from contactsync.client.patience import Patience
from contactsync.foundation.errors import ContactSyncError


def failure(address):
    account = DavAccount(parse_address(address), lambda: "a password")
    with pytest.raises(ContactSyncError) as caught:
        find_books(DavConnection(account, patience=Patience()), account.address.path)
    return caught.value


@pytest.mark.parametrize("status", [404, 405, 200])
def test_a_web_server_that_is_none(status):
    with serving() as dav:
        dav.before = lambda _: DavReply(status)
        error = failure(dav.address)
        assert "enter the host of its CardDAV server" in error.hint
        assert f"if {dav.origin.partition('//')[2]} is what follows the @" in error.hint


def test_a_domain_without_a_host():
    error = failure("carddav://me@no-such-host.invalid")
    assert "enter the host of its CardDAV server" in error.hint


def test_a_wrong_password_says_nothing_of_hosts():
    with serving() as dav:
        assert "enter the host" not in failure(dav.address).hint
