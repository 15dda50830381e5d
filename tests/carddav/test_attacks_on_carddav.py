"""What a hostile CardDAV server, or somebody on the way to it, may try."""

import itertools
import resource
import time

import pytest
from simulated_carddav import BASIC, BOOK, DavReply, card, multistatus, response

from contactsync.carddav import connection, pull
from contactsync.carddav.address import is_member, parse_address, path_within
from contactsync.foundation.errors import BadInput, BadReply, NetworkError, Refused


def at(path, reply, kind=""):
    """A hook that gives this reply to requests for a path, once they carry the password."""

    def before(request):
        if request.path == path and kind in request.body and request.headers.get("authorization") == BASIC:
            return reply(request) if callable(reply) else reply
        return None

    return before


@pytest.mark.slow
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_gets_nothing(dav, other_dav, fetch, status):
    dav.before = at("/.well-known/carddav", DavReply(status, b"", {"Location": other_dav.origin + "/dav/"}))
    with pytest.raises((BadReply, BadInput, Refused)) as caught:
        fetch()
    assert other_dav.requests == []
    if status != 303:  # which is no redirect for PROPFIND
        assert other_dav.origin in str(caught.value)
        assert "if you trust" in caught.value.hint or "not encrypted" in caught.value.hint


@pytest.mark.parametrize("status", [301, 307])
def test_no_redirect_leads_from_https_to_http(status):
    for location in ("http://dav.example.org/dav/", "//other.example.org/", "https://dav.example.org:444/"):
        assert path_within("https://dav.example.org", "/x/", location) is None
    assert path_within("https://dav.example.org", "/x/", "https://dav.example.org:443/dav/") == "/dav/"
    assert path_within("https://dav.example.org", "/x/", "https://u@dav.example.org/dav/") is None


@pytest.mark.parametrize("name", ["current-user-principal", "C:addressbook-home-set"])
def test_the_place_of_the_books_on_another_host_is_named_and_not_asked(dav, other_dav, fetch, name):
    there = f"<{name}><href>{other_dav.origin}/dav/ada/</href></{name}>"
    dav.before = at("/dav/", multistatus(response("/dav/", there)))
    with pytest.raises(BadReply, match="another server") as caught:
        fetch()
    assert f"{other_dav.origin.partition('//')[2]}/dav/ada/" in caught.value.hint
    assert other_dav.requests == []


def test_a_redirect_in_a_circle(dav, fetch):
    dav.before = at("/.well-known/carddav", DavReply(301, b"", {"Location": "/.well-known/carddav"}))
    with pytest.raises(BadReply, match="circle"):
        fetch()
    assert len(dav.requests) < 10


BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%b">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
    + b']><multistatus xmlns="DAV:"><response><href>&j;</href></response></multistatus>'
)
FILE = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
    b'<multistatus xmlns="DAV:"><response><href>&a;</href></response></multistatus>'
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (BOMB, "document type"),
        (FILE, "document type"),
        (b"<html><body>Welcome!</body></html>", "not a WebDAV document"),
        (b'<multistatus xmlns="DAV:"><response>', "not well-formed"),
        (b'<multistatus xmlns="DAV:">' + b"<a>" * 100_000, "nested too deeply"),
        (b'<multistatus xmlns="DAV:"><response>' + b"<a/>" * 100_000, "too long"),
        (b'<?xml version="1.0" encoding="x-none"?><multistatus xmlns="DAV:"/>', "encoding|well-formed"),
        (b"", "not well-formed"),
        (b"\0" * 100, "not well-formed"),
    ],
)
def test_documents_that_are_none(dav, fetch, body, reason):
    dav.before = at("/dav/", DavReply(207, body))
    begun = time.monotonic()
    with pytest.raises(BadReply, match=reason):
        fetch()
    assert time.monotonic() - begun < 2


@pytest.mark.slow
@pytest.mark.parametrize("where", ["PROPFIND", "sync-collection", "multiget"])
def test_an_endless_body(dav, fetch, monkeypatch, where):
    monkeypatch.setattr(connection, "MAX_REPLY", 1 << 20)
    dav.put("a.vcf", card("Ada", "+4915112345678"))

    def endless(_):
        yield b'<multistatus xmlns="DAV:">'
        for number in itertools.count():
            yield response(f"{BOOK}{number}.vcf", "<getetag>x</getetag>").encode() * 100

    def before(request):
        if where in request.body or (where == request.method and request.path == BOOK):
            return DavReply(207, endless(request))
        return None

    dav.reports = where != "PROPFIND"
    dav.before = before
    if where == "sync-collection":  # the list of all cards does it then
        assert len(fetch().books[0].cards) == 1
    elif where == "multiget":
        assert "larger" in fetch().books[0].faults[0].reason
    else:
        with pytest.raises(BadReply, match="too long"):
            fetch()
    assert len(dav.requests) < 12


def test_an_endless_head(dav, fetch):
    dav.before = at("/dav/", DavReply(207, b"", {"X-Many": ["y" * 1000] * 90}))
    with pytest.raises(NetworkError, match="too large"):
        fetch()


def test_all_replies_together_are_bounded(dav, fetch, monkeypatch):
    monkeypatch.setattr(connection, "MAX_OCTETS", 2000)
    dav.put("a.vcf", card("Ada", "+4915112345678", "NOTE:" + "x" * 3000 + "\r\n"))
    with pytest.raises(BadReply, match="in all"):
        fetch()


@pytest.mark.slow
def test_a_hundred_thousand_addresses(dav, fetch, monkeypatch):
    listed = [response(f"{BOOK}{number}.vcf", "<getetag>x</getetag>") for number in range(100_000)]
    dav.before = at(BOOK, multistatus(*listed, token="http://dav/1"), kind="sync-collection")
    monkeypatch.setattr(pull, "MAX_FILES", 50_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    with pytest.raises(BadInput, match="more than 50,000 cards"):
        fetch()
    assert time.process_time() - begun < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10
    assert not dav.asked("multiget")


OUTSIDE = [
    "/dav/eve/book/a.vcf",
    "/dav/ada/book/../other/a.vcf",
    "/dav/ada/book/%2e%2e/a.vcf",
    "/dav/ada/book/deep/a.vcf",
    "http://169.254.169.254/latest/meta-data",
    "//evil.example/dav/ada/book/a.vcf",
    "https://ada:x@127.0.0.1/dav/ada/book/a.vcf",
    "http://[::1/dav/ada/book/a.vcf",
    "javascript:alert(1)",
    "/dav/ada/bookworm/a.vcf",
]


@pytest.mark.parametrize("reports", [True, False])
def test_an_address_outside_of_the_book_is_reported_and_never_asked_for(dav, fetch, reports):
    dav.put("a.vcf", card("Ada", "+4915112345678"))
    dav.reports = reports
    parts = [response(href, "<getetag>x</getetag>") for href in OUTSIDE]
    own = [dav.listed("a.vcf"), response(BOOK, "<resourcetype><collection/></resourcetype>")]
    kind = "sync-collection" if reports else "<getetag/><resourcetype/>"
    dav.before = at(BOOK, multistatus(*parts, *own, token="http://dav/1"), kind=kind)
    (book,) = fetch().books
    assert len(book.cards) == 1
    (fault,) = book.faults
    assert (fault.place, fault.reason) == (f"{len(OUTSIDE)} cards", "an address outside of the address book")
    assert all(
        request.path in {"/.well-known/carddav", "/dav/", "/dav/ada/", BOOK} for request in dav.requests
    )
    assert all(bad not in request.body for request in dav.requests for bad in OUTSIDE)


def test_a_card_that_was_not_asked_for_is_not_kept(dav, fetch):
    dav.put("a.vcf", card("Ada", "+4915112345678"))

    def more(request):
        data = "<getetag>x</getetag><C:address-data>BEGIN:VCARD\nFN:Eve\nEND:VCARD</C:address-data>"
        parts = [response(href, data) for href in (BOOK + "eve.vcf", "http://evil.example/a.vcf")]
        reply = dav.multiget(request)
        reply.body = reply.body.replace(b"</multistatus>", "".join(parts).encode() + b"</multistatus>")
        return reply

    dav.before = at(BOOK, more, kind="multiget")
    (book,) = fetch().books
    assert [b"Eve" in one.data for one in book.cards] == [False]


@pytest.mark.parametrize("kind", ["same token", "new tokens", "same card", "invalid again and again"])
def test_a_loop_of_sync_tokens_ends(dav, fetch, kind):
    dav.put("a.vcf", card("Ada", "+4915112345678"))
    count = itertools.count()

    def page(_):
        number = next(count)
        if kind == "invalid again and again" and number % 2:
            return DavReply(403, b'<error xmlns="DAV:"><valid-sync-token/></error>')
        parts = [response(BOOK, status=507)]
        if kind == "same card":
            parts.append(dav.listed("a.vcf"))
        if kind.startswith("invalid"):
            parts.append(response(f"{BOOK}{number}.vcf", "<getetag>x</getetag>"))
        return multistatus(*parts, token="t" if kind == "same token" else f"t{number}")

    dav.before = at(BOOK, page, kind="sync-collection")
    if kind.startswith("invalid"):
        assert len(fetch().books[0].cards) == 1  # by the list of all cards
    else:
        with pytest.raises(BadReply, match="without end"):
            fetch()
    assert len(dav.requests) < 20


def test_a_password_that_was_refused_is_sent_once(dav, fetch):
    with pytest.raises(Refused, match="did not accept the password") as caught:
        fetch(password="wr0ng")
    assert "app password" in caught.value.hint
    assert "wr0ng" not in str(caught.value) + caught.value.hint
    assert len([one for one in dav.requests if "authorization" in one.headers]) == 1


def test_nothing_is_sent_before_the_server_asks(dav, fetch):
    dav.put("a.vcf", card("Ada", "+4915112345678"))
    fetch()
    assert "authorization" not in dav.requests[0].headers
    assert all("authorization" in one.headers for one in dav.requests[1:])


def test_a_nonce_that_is_always_stale(dav, fetch):
    count = itertools.count()

    def stale(_):
        return DavReply(
            401, b"", {"WWW-Authenticate": f'Digest realm="x", nonce="{next(count)}", stale=true, qop="auth"'}
        )

    dav.before = stale
    with pytest.raises((BadReply, Refused)):
        fetch()
    assert len(dav.requests) < 8


def test_a_second_challenge_of_a_weaker_kind_gets_no_password(dav, fetch):
    """Digest was refused. The server then asks for Basic, which would reveal the password."""
    dav.before = lambda _: DavReply(
        401,
        b"",
        {
            "WWW-Authenticate": 'Basic realm="x"'
            if len(dav.requests) > 1
            else 'Digest realm="x", nonce="a", qop="auth"'
        },
    )
    with pytest.raises(Refused):
        fetch()
    assert not any(one.headers.get("authorization", "").startswith("Basic") for one in dav.requests)


def test_a_large_card_costs_itself(dav, fetch, monkeypatch):
    monkeypatch.setattr("contactsync.carddav.multistatus.MAX_CARD", 10_000)
    dav.put("a.vcf", card("Ada", "+4915112345678", "NOTE:" + "x" * 20_000 + "\r\n"))
    dav.put("b.vcf", card("Bob", "+4915112345679"))
    (book,) = fetch().books
    assert [b"FN:Bob" in one.data for one in book.cards] == [True]
    assert "larger than" in book.faults[0].reason


def test_a_batch_that_is_too_large_is_asked_for_in_halves(dav, fetch, monkeypatch):
    monkeypatch.setattr(connection, "MAX_REPLY", 30_000)
    for number in range(12):
        extra = "PHOTO;ENCODING=b:" + "QUJD" * (10_000 if number == 7 else 1500) + "\r\n"
        dav.put(f"{number}.vcf", card(f"P{number}", f"+49151123456{number:02d}", extra))
    (book,) = fetch().books
    assert len(book.cards) == 11
    assert [fault.place for fault in book.faults] == ["1 card"]


def test_a_name_of_a_book_is_fit_for_a_terminal(dav, fetch):
    kind = "<resourcetype><collection/><C:addressbook/></resourcetype>"
    bad = f"{kind}<displayname>A\u202eB{'x' * 999}</displayname>"
    dav.before = at(BOOK, multistatus(response(BOOK, bad)), kind="displayname")
    (book,) = fetch(dav.address + BOOK).books
    assert book.name.isprintable()
    assert len(book.name) <= 200


def test_members_of_a_collection():
    assert is_member("/a/b/", "/a/b/c.vcf")
    assert is_member("/a/b", "/a/%62/c%20d.vcf")
    for path in ("/a/b/", "/a/b", "/a/bc", "/a/b/c/d", "/a/b//c"):
        assert not is_member("/a/b/", path), path


@pytest.mark.parametrize(
    "text", ["carddav://ada:s3cret@dav.example", "https://:s3cret@dav.example/", "http://a:@h"]
)
def test_a_password_in_an_address_is_refused_and_not_shown(text):
    with pytest.raises(BadInput) as caught:
        parse_address(text)
    assert "s3cret" not in str(caught.value) + caught.value.hint
    assert "--password-file" in caught.value.hint


def test_cards_together_are_bounded(dav, fetch, monkeypatch):
    monkeypatch.setattr(pull, "MAX_FILE", 10_000)
    for number in range(120):
        dav.put(
            f"{number}.vcf", card(f"P{number}", f"+49151123456{number:03d}", "NOTE:" + "x" * 300 + "\r\n")
        )
    with pytest.raises(BadInput, match="without photos"):
        fetch()
    assert len(dav.asked("multiget")) == 1
