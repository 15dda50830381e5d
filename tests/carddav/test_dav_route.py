"""TLS, the server's own authority, and proxies: as for a contactsync server."""

import pytest
from authority import Authority
from simulated_carddav import PASSWORD, DavReply, card, serving

from contactsync.carddav.address import parse_address
from contactsync.carddav.connection import DavAccount
from contactsync.carddav.pull import pull
from contactsync.foundation.errors import BadReply, NetworkError


@pytest.fixture
def secure(tmp_path):
    issuer = Authority()
    with serving(issuer.context(tmp_path, ("127.0.0.1",))) as service:
        service.put("anna.vcf", card("Anna", "+491512345671"))
        service.authority = issuer.write(tmp_path / "ca.pem")
        yield service


def account(service, *, ca_file=None, proxy=None):
    address = service.address.replace("https://", "carddav://")
    return DavAccount(parse_address(address), lambda: PASSWORD, ca_file=ca_file, proxy=proxy)


def test_carddav_means_tls_and_only_the_given_authority_counts(secure, tmp_path):
    books = pull(account(secure, ca_file=secure.authority), tmp_path / "books").books
    assert [len(book.cards) for book in books] == [1]
    with pytest.raises(NetworkError, match="not signed by an authority") as caught:
        pull(account(secure), tmp_path / "books")
    assert "--ca-file" in caught.value.hint
    assert "contactsync trust" not in caught.value.hint


def test_a_redirect_from_https_to_http_gets_nothing(secure, dav, tmp_path):
    secure.before = lambda request: (
        DavReply(301, b"", {"Location": dav.origin + "/dav/"}) if "well-known" in request.path else None
    )
    with pytest.raises(BadReply, match="the password was not sent there") as caught:
        pull(account(secure, ca_file=secure.authority), tmp_path / "books")
    assert "not encrypted" in caught.value.hint
    assert dav.requests == []


def test_a_proxy_that_cannot_be_used_is_not_bypassed(secure, tmp_path):
    with pytest.raises(NetworkError, match="through the proxy"):
        pull(account(secure, ca_file=secure.authority, proxy="http://127.0.0.1:9"), tmp_path / "books")
    assert secure.requests == []
