"""What a CardDAV server sends, what is kept of it, and the addresses that users and servers write."""

from __future__ import annotations

import json
import re
import shutil

from contactsync.carddav import address, authentication, discovery, store
from contactsync.carddav.multistatus import MultistatusReader, Response
from contactsync.carddav.pull import _BULKY
from contactsync.foundation.errors import BadInput, BadReply, OurError, Refused
from fuzz import scratch
from fuzz.target import Target

_ORIGIN = "https://dav.example.org"
_MULTISTATUS = (
    b'<?xml version="1.0"?><d:multistatus xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav">'
    b"<d:response><d:href>/book/a.vcf</d:href><d:propstat><d:prop><d:getetag>&quot;1&quot;</d:getetag>"
    b"<d:resourcetype><c:addressbook/><d:collection/></d:resourcetype><d:displayname>B</d:displayname>"
    b"<c:address-data>BEGIN:VCARD&#13;\nEND:VCARD</c:address-data></d:prop><d:status>HTTP/1.1 200 OK</d:status>"
    b"</d:propstat></d:response><d:response><d:href>/book/b.vcf</d:href><d:status>HTTP/1.1 404 x</d:status>"
    b"</d:response><d:sync-token>http://x/1</d:sync-token></d:multistatus>"
)
_ERROR = b'<error xmlns="DAV:"><valid-sync-token/></error>'
_XML = (
    *(
        b"<d:response>",
        b"</d:response>",
        b"<d:href>",
        b"</d:href>",
        b"<d:propstat>",
        b"<d:status>HTTP/1.1 200</d:status>",
    ),
    *(
        b"<!DOCTYPE x [<!ENTITY a 'b'>]>",
        b"&a;",
        b"&#0;",
        b"<![CDATA[",
        b"]]>",
        b"<?xml version='1.0' encoding='utf-7'?>",
    ),
    *(
        b" xmlns:d='x'",
        b"<x>" * 40,
        b"<d:sync-token/>",
        b"\xff\xfe",
        b"<d:status>HTTP/1.1 ",
        b"99999999999999999999",
    ),
)


def _multistatus(data: bytes) -> None:
    """In pieces it says what it says in one."""

    def read(cuts: list[bytes]) -> tuple[list[tuple[str, int, list[str]]], object, set[str]]:
        found: list[Response] = []
        reader = MultistatusReader("dav.example.org", found.append)
        for place, piece in enumerate(cuts):
            reader.feed(piece, last=place == len(cuts) - 1)
        told = [(one.href, one.status, sorted(one.properties)) for one in found]
        for one in found:
            one.kinds(), one.text("{DAV:}getetag")
            path = address.path_within(_ORIGIN, "/book/", one.href)
            discovery._book(path or "/", one)
        return told, reader.token, reader.conditions

    whole = read([data])
    middle = len(data) // 2
    assert read([data[:middle], data[middle:], b""]) == whole


def _address(data: bytes) -> None:
    """An address is read again as itself, and no error says what may be a password."""
    text = data.decode("utf-8", "replace")
    address.is_address(text)
    try:
        found = address.parse_address(text)
    except BadInput as error:
        secret = re.search(r"://[^/@]*:([^/@]{12,})@", text)
        assert secret is None or secret[1] not in f"{error}{error.hint}"
        raise
    assert address.origin_of(found.url) == found.origin, found
    assert re.fullmatch(r"[0-9A-Za-z._-]+", found.folder_name)
    assert address.parse_address(found.url).url == found.url


def _path(data: bytes) -> None:
    """A path that a server names stays on its host, and its spelling does not change when it is read again."""
    href = data.decode("utf-8", "replace")
    path = address.path_within(_ORIGIN, "/dav/book/", href)
    if path is None:
        return
    assert path.startswith("/") and address.origin_of(_ORIGIN + path) == _ORIGIN, path
    assert re.fullmatch(r"[!-~]+", path.partition("?")[0]), path
    key = address.key_of(path)
    assert address.key_of(key) == key
    address.is_member("/dav/book/", path)


def _challenges(data: bytes) -> None:
    """What is chosen can be answered, in a header that is one line."""
    fields = data.decode("latin-1").split("\n")
    authentication.parse_challenges(fields)
    one = authentication.Authenticator("user", lambda: "secret", "auto", "dav.example.org")
    one.challenged(fields)
    header = one.header("PROPFIND", "/dav/", b"<x/>")
    assert header is not None and "\n" not in header and "\r" not in header, header
    assert "secret" not in header


def _record(data: bytes) -> None:
    _opened_store(data, b"")


def _pack(data: bytes) -> None:
    _opened_store(_RECORD, data)


def _opened_store(record: bytes, pack: bytes) -> None:
    """Whatever is on the disk: a copy that can be used, and is then the same when it is opened again."""
    account = scratch.folder() / "dav"
    shutil.rmtree(account, ignore_errors=True)
    name = store._name(_URL)
    scratch.written(f"dav/{name}/{store._RECORD}", record)
    scratch.written(f"dav/{name}/00000001{store._PACK}", pack)
    opened = store.BookStore(account, _URL)
    held = {key: (card.path, card.data) for key, card in opened.cards.items()}, opened.token, opened.wanted
    again = store.BookStore(account, _URL)
    assert (
        {key: (card.path, card.data) for key, card in again.cards.items()},
        again.token,
        again.wanted,
    ) == held


def _pictures(data: bytes) -> None:
    """Taking pictures out leaves every line that is read."""
    rest = _BULKY.sub(b"", data)
    assert len(rest) <= len(data)
    assert _BULKY.sub(b"", rest).count(b"TEL") <= rest.count(b"TEL")


_URL = f"{_ORIGIN}/dav/book/"
_RECORD = json.dumps(
    {
        "version": 1,
        "url": _URL,
        "token": "t",
        "whole": False,
        "cards": 1,
        "gone": [],
        "listed": {"/dav/book/b.vcf": ["/dav/book/b.vcf", '"2"']},
    }
).encode()
_CARD = b"BEGIN:VCARD\nFN:A\nPHOTO;ENCODING=b:AAAA\n BBBB\nTEL:1\nEND:VCARD\n"
_PACK = (
    json.dumps({"path": "/dav/book/a.vcf", "etag": '"1"', "octets": len(_CARD)}).encode()
    + b"\n"
    + _CARD
    + b"\n"
)
_HREFS = (
    b"/dav/book/a.vcf",
    b"a%20b.vcf",
    b"https://dav.example.org/dav/book/%C3%A4.vcf",
    b"//other/x",
    b"../x",
    b"/dav//book/?q",
)
_PARTS = (
    b"%2e%2e",
    b"%2F",
    b"/",
    b"..",
    b"//",
    b"\\",
    b"@",
    b":",
    b"?",
    b"#",
    b"%",
    b"%zz",
    b"http:",
    b"[::1]",
    b"\n",
    b"user:pass@",
)
_CHALLENGES = (
    b'Digest realm="a", nonce="b", qop="auth,auth-int", algorithm=SHA-256, opaque="c", userhash=true',
    b'Basic realm="x", charset="UTF-8"\nBearer',
    b'Digest realm="a\\"b", nonce=n, algorithm=MD5-sess, Negotiate abc==',
)
_DIGEST = (
    b"Digest ",
    b"Basic ",
    b"nonce=",
    b'"',
    b"\\",
    b", ",
    b"=",
    b"algorithm=",
    b"SHA-512-256",
    b"-sess",
    b"qop=auth-int",
    b"\n",
    b"userhash=true",
    b"\r",
)
_JSON = (
    b'{"',
    b'": ',
    b"null",
    b"[]",
    b"{}",
    b"1e999",
    b"-1",
    b'"listed"',
    b'"gone"',
    b'"cards"',
    b'"octets"',
    b"\n",
    b"[" * 2000,
)

TARGETS = (
    Target("dav-multistatus", _multistatus, lambda: [_MULTISTATUS, _ERROR], (BadReply,), words=_XML),
    Target(
        "dav-address",
        _address,
        lambda: [b"carddav://me@dav.example.org/a", b"http://localhost:5232/u/b/", b"https://u:secretpw@h/"],
        (BadInput,),
        words=_PARTS + (b"carddav://", b"https://"),
        longest=400,
    ),
    Target("dav-path", _path, lambda: _HREFS, words=_PARTS, longest=400),
    Target(
        "dav-challenges", _challenges, lambda: _CHALLENGES, (BadInput, Refused), words=_DIGEST, longest=1000
    ),
    Target("dav-record", _record, lambda: [_RECORD], (OurError,), words=_JSON),
    Target("dav-pack", _pack, lambda: [_PACK, _PACK * 2], (OurError,), words=_JSON),
    Target(
        "dav-pictures",
        _pictures,
        lambda: [_CARD],
        words=(b"PHOTO;", b"=\n", b"\n ", b"\r\n", b"KEY:", b"item1.", b":"),
    ),
)
