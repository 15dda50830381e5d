"""What comes from an object store, from the page of a server, and from who asks for a way in."""

from __future__ import annotations

import json

import urllib3

from contactsync.client import stores
from contactsync.foundation.errors import BadInput, BadReply, OurError
from contactsync.library import page
from contactsync.server.http import signing_in
from contactsync.server.http.problems import Problem
from contactsync.server.objects import copying
from contactsync.server.objects.address import StoreUrl
from contactsync.server.objects.lease import LeaseText
from fuzz.client import JSON_WORDS
from fuzz.target import Target

_SERVER = "https://contacts.example"


def _redirect(data: bytes) -> None:
    """A place that a client goes to has TLS, and is read back as it was."""
    text = data.decode("latin-1")
    reply = urllib3.HTTPResponse(headers={"Location": text}, status=307)
    assert stores.store_url(reply, _SERVER).startswith("https://")
    assert stores.host_of(text)


def _address(data: bytes) -> None:
    address = StoreUrl.parse(data.decode("utf-8", "surrogateescape"))
    assert StoreUrl.parse(str(address)) == address


def _lease(data: bytes) -> None:
    lease = LeaseText.from_bytes(data)
    assert LeaseText.from_bytes(lease.to_bytes()) == lease or lease.seconds != lease.seconds


_LEASE = LeaseText(
    owner="a", generation=2, beat=3, seconds=60.0, expires="2026-01-01T00:00:00Z", released=False
)
_TIMESTAMP = {
    "signed": {"version": 7, "meta": {"snapshot.json": {"version": 6, "hashes": {"sha256": "00" * 32}}}}
}
_SERVICE = {"format": page.SERVICE_FORMAT, "root": "{}", "url": "", "name": "", "label_link": ""}

TARGETS = (
    Target(
        "store-redirect",
        _redirect,
        lambda: [b"https://bucket.example/a?X-Sig=1", b"http://127.0.0.1/x", b"//x", b"https://u:p@h/"],
        (BadReply,),
        words=(b"https://", b"[::1]", b"@", b"#", b"%2f", b"\r\n", b":443", b"\\"),
        longest=5000,
    ),
    Target(
        "store-address",
        _address,
        lambda: [b"s3://bucket/prefix", b"file:///var/www", b"az://account/container/a", b"gs://b"],
        (BadInput,),
        words=(b"s3://", b"file:///", b"..", b"%2e", b"%00", b"%ff", b"@", b"?", b"#"),
        longest=300,
    ),
    Target("store-lease", _lease, lambda: [_LEASE.to_bytes()], (OurError,), words=JSON_WORDS),
    Target(
        "store-timestamp",
        copying._leads_to,
        lambda: [json.dumps(_TIMESTAMP).encode()],
        (OurError,),
        words=JSON_WORDS,
    ),
    Target(
        "page-service",
        lambda data: page._read_service(_SERVER, data),
        lambda: [json.dumps(_SERVICE).encode()],
        (BadReply,),
        words=JSON_WORDS,
    ),
    Target(
        "sign-in-code",
        signing_in._code_in,
        lambda: [b'{"code": "csc_x.60"}', b"[]"],
        (Problem,),
        words=JSON_WORDS,
        longest=1024,
    ),
)
