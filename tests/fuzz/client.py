"""What a server sends to a client, what a client keeps, and what its user writes."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import re
import socket
import threading

import click
import urllib3

from contactsync.client import (
    byteranges,
    ledger,
    moving,
    quota,
    replies,
    results,
    state,
    transcript,
    trust,
)
from contactsync.client.cache import Cache
from contactsync.client.patience import Patience
from contactsync.client.transport import Transport
from contactsync.commands import _options
from contactsync.foundation import route
from contactsync.foundation.errors import (
    BadInput,
    ContactSyncError,
    NetworkError,
    OurError,
    PeerError,
    Refused,
)
from contactsync.marking import places, undo
from fuzz import scratch
from fuzz.target import Target

_URL = "https://contacts.example"
JSON_WORDS = (
    b'{"',
    b'": ',
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"1e999",
    b"-1",
    b"NaN",
    b"0.5",
    b'""',
    b"[" * 2000,
)
_JSON = (
    *JSON_WORDS,
    *(
        b'"version": 2',
        b"1" * 400,
        b"\xff",
        b"\\ud800",
        b'"2026-01-01T00:00:00+00:00"',
        b'"0001-01-01T00:00:00+23:59"',
        b'"9999-12-31"',
    ),
)


# ---- Replies


def head_of(data: bytes) -> tuple[int, dict[str, str], bytes]:
    """A status, fields and a body out of octets: `200`, lines of fields, an empty line, the body."""
    head, _, body = data.partition(b"\n\n")
    status, *lines = head.decode("latin-1").split("\n")
    fields = dict(line.split(": ", 1) for line in lines if ": " in line)
    return int(status) if status.isascii() and status.isdigit() and len(status) == 3 else 200, fields, body


def _reply(status: int, fields: dict[str, str], body: bytes) -> urllib3.HTTPResponse:
    return urllib3.HTTPResponse(io.BytesIO(body), fields, status, preload_content=False)


def _problem(data: bytes) -> None:
    """Any reply that is not the one that was wanted becomes an error with something to print."""
    status, fields, body = head_of(data)
    reply = _reply(status, fields, body)
    wait = replies.retry_after(reply)
    assert wait is None or wait > 0
    error = replies.error_of(reply)
    assert isinstance(error, ContactSyncError)
    raise error


def _quota_fields(data: bytes) -> None:
    _, fields, _ = head_of(data)
    found = quota.Quota.from_fields(fields)
    assert found is None or (0 <= found.left <= found.burst and found.per_day >= 0), found


def _ranges(data: bytes) -> None:
    """What comes out lies in the file, and each part has the octets of its place."""
    _, fields, body = head_of(data)
    for place, octets in byteranges._parts(_reply(206, fields, body), body, 1000):
        assert 0 <= place.start < place.stop <= 1000
        assert len(octets) == len(place)


@functools.cache
def _server() -> tuple[socket.socket, list[bytes]]:
    """A server that answers every request with the same octets, and hangs up."""
    listening, answers = socket.create_server(("127.0.0.1", 0)), [b""]

    def serve() -> None:
        while True:
            with listening.accept()[0] as connection:
                try:
                    connection.recv(1 << 16)
                    connection.sendall(answers[0])
                except OSError:
                    pass

    threading.Thread(target=serve, daemon=True).start()
    return listening, answers


def _http_reply(data: bytes) -> None:
    listening, answers = _server()
    answers[0] = data
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    transport = Transport(url, credential="cs_x", patience=Patience(0), read_seconds=2)
    try:
        transport.check_account()
        assert transport.quota is None or transport.quota.burst >= 0
    finally:
        transport._pool.clear()


# ---- What is kept


def _ledger(data: bytes) -> None:
    """What could be read is the same when it is written and read again, and has odds."""
    found = ledger.Ledger.read(scratch.written("ledger.json", data))
    assert all(one >= 1 for one in found.odds().values())
    found.save()
    again = ledger.Ledger.read(scratch.folder() / "ledger.json")
    assert (again.told, again.url, again.decoy_secret, again._asked) == (
        found.told,
        found.url,
        found.decoy_secret,
        found._asked,
    )


def _results(data: bytes) -> None:
    for one in results.recall(scratch.written("results.json", data)).values():
        assert one.when.tzinfo is not None


def _account(data: bytes) -> None:
    path = scratch.written("quota.json", data)
    for who, one in quota.recall(path).items():
        one.covers(8)
        used = one.used(8, None)
        quota.remember(path, who, used)
        assert quota.recall(path)[who] == used


def _moves(data: bytes) -> None:
    path = scratch.written("moves.json", data)
    for who, one in moving.recall_moves(path).items():
        moving.keep_move(path, who, one)
        assert moving.recall_moves(path)[who] == one


def _state(data: bytes) -> None:
    folder = scratch.state_folder()
    path = folder / "server.json"
    before = path.read_bytes()
    try:
        path.write_bytes(data)
        found = state.State(folder.parents[1]).load(folder)
        assert state.canonical_url(found.url) == found.url
    finally:
        path.write_bytes(before)


def _cache(data: bytes) -> None:
    """A damaged cache is called damaged, whatever is asked of it."""
    journal = scratch.folder() / "cache.sqlite-journal"
    journal.unlink(missing_ok=True)
    with Cache(scratch.written("cache.sqlite", data), _URL) as cache:
        cache.newest_epoch("people")
        cache.holdings("people", 1)
        cache.tokens("people", 1, [b"tel:+4917604069001"])
        cache.findings("people", [b"tel:+4917604069001"])
        cache.epoch("people", 1)
        cache.unfinished_round("people", 1)
        cache.held_files()
        cache.take_asked()
        cache.counts()


def _transcript(data: bytes) -> None:
    for piece in transcript.read_transcript(scratch.written("transcript", data)):
        assert isinstance(piece.data, bytes)


def _undo(data: bytes) -> None:
    path = scratch.written("undo.json", data)
    found = undo.UndoList.read(path)
    found.write(path)
    assert undo.UndoList.read(path) == found


def _marked_file(data: bytes) -> None:
    """A file that is replaced by itself has the same octets."""
    seen = places.read_file(scratch.written("book.vcf", data))
    places.replace_file(seen, seen.data)
    assert seen.path.read_bytes() == data


# ---- What users write


def _configuration(data: bytes) -> None:
    from contactsync.commands._configuration import load
    from contactsync.commands.sync import sync

    load(scratch.written("config.toml", data), sync.params)


def _url(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    found = state.canonical_url(text)
    assert state.canonical_url(found) == found
    state.is_in_clear(found)
    assert found.isascii() and "@" not in found


def _proxy(data: bytes) -> None:
    """What passes the check can be used, and no error shows the URL: it may hold a password."""
    text, _, names = data.decode("utf-8", "replace").partition("\n")
    try:
        found = route.Route.to(_URL, proxy=text or None, environment={"NO_PROXY": names, "https_proxy": text})
    except BadInput as error:
        secret = re.search(r"://[^/@]*:([^/@]{6,})@", text)
        assert secret is None or secret[1] not in f"{error}{error.hint}"
        raise
    found.manager(urllib3.Timeout(1)).clear()
    assert repr(found) == repr(route.Route(None)), "it shows the proxy"


def _authorities(data: bytes) -> None:
    route.Route.to(_URL, ca_file=scratch.written("ca.pem", data), environment={})


def _fingerprint(data: bytes) -> None:
    found = trust.read_fingerprint(data.decode("utf-8", "replace"))
    assert trust.read_fingerprint(found) == found


def _credential(data: bytes) -> None:
    found = _options.read_credential(scratch.written("credential", data))
    assert found.isascii() and found.isprintable()


def _option(data: bytes) -> None:
    """A time, a size, points, a day, a portion: a value, or click's own refusal."""
    accounts = importlib.import_module("contactsync.commands.server.accounts")  # the group has the same name
    text = data.decode("utf-8", "replace")
    for kind, least in (
        (_options.Duration(), 0),
        (_options.Size(), 0),
        (accounts._Points(reset=False), 1),
        (accounts._Since(), 0),
    ):
        try:
            assert kind.convert(text, None, None) >= least
        except click.UsageError as error:
            assert len(str(error.message)) < 2 * len(text) + 200
    portion = importlib.import_module("contactsync.commands.server.member_import").Portion()
    with contextlib.suppress(click.UsageError):
        portion.convert(text, None, None)


_CERTIFICATE = (  # of an authority for tests that has long expired
    b"MIIBRjCB7KADAgECAhROV2ZTkNmnqUc/8Dl5cCe8v54vgTAKBggqhkjOPQQDAjAX\n"
    b"MRUwEwYDVQQDDAxhbiBhdXRob3JpdHkwHhcNMjYxMTI0MDQzMDQ0WhcNMjYxMTI4\n"
    b"MDQzMDQ0WjAXMRUwEwYDVQQDDAxhbiBhdXRob3JpdHkwWTATBgcqhkjOPQIBBggq\n"
    b"hkjOPQMBBwNCAASFTz5ZcXicMUaMEKItbE/rKw/qZUKc5lauoe8vK3pa9Xc42P/k\n"
    b"Hu7xOU+B/oUXRwmaGCgNsMSyltZtvLlMJwNCoxYwFDASBgNVHRMBAf8ECDAGAQH/\n"
    b"AgEAMAoGCCqGSM49BAMCA0kAMEYCIQC+6CwPFK836ovieK3S4KE5zYrDvur7GZA3\n"
    b"rpdjs/lajAIhANfDhk772D/bANtngKgPAThQkmSwf3QE6DQ5exkyIK0l\n"
)
_PROBLEM = (
    b"429\nContent-Type: application/problem+json\nRetry-After: 60\n"
    b'RateLimit-Policy: "points";q=16384;w=86400\nRateLimit: "points";r=10;t=5\n\n'
    b'{"type": "https://contactsync.example/problems/out-of-quota", "detail": "x", "left": 1, "burst": 2, "per_day": 3}'
)
_FIELDS = (
    b"Retry-After: ",
    b"Sun, 06 Nov 1994 08:49:37 GMT",
    b'RateLimit: "points";r=1',
    b'RateLimit-Policy: "points";q=10;w=1',
    b"\n",
    b"\n\n",
    b"503",
    b"Content-Type: ",
    b"application/problem+json",
    b'"detail": "\\u001b[2J"',
)
_MULTIPART = (
    b"206\nContent-Type: multipart/byteranges; boundary=x\n\n--x\r\nContent-Range: bytes 0-3/1000\r\n\r\nabcd"
    b"\r\n--x\r\nContent-Range: bytes 900-901/1000\r\n\r\nef\r\n--x--"
)
_OK = b'HTTP/1.1 200 OK\r\nContent-Length: 47\r\nContent-Type: application/json\r\n\r\n{"quota": {"left": 1, "burst": 2, "per_day": 3}}'
_HTTP = (
    *(
        b"HTTP/1.1 ",
        b"\r\n",
        b"\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"ffffffffff\r\n",
        b"0\r\n\r\n",
        b"Content-Length: -1\r\n",
    ),
    *(
        b"Content-Encoding: gzip\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"302 Found\r\nLocation: http://x/\r\n",
        b": ",
        b" folded",
        b"\0",
        b"Retry-After: 1\r\n",
    ),
)
_LEDGER = json.dumps(
    {
        "version": 1,
        "url": _URL,
        "decoy_secret": "ab" * 32,
        "told": [
            {
                "audience": "people",
                "partition": "49",
                "lists": 1,
                "log2_odds": 3.5,
                "first": "2026-01-01",
                "last": "2026-01-02",
            }
        ],
        "asked": [
            {
                "audience": "people",
                "partition": "49",
                "epoch": 1,
                "slot_bits": 18,
                "edition": 1,
                "seed": "cd" * 32,
                "numbers": [1, 2],
            }
        ],
    }
).encode()
_RESULTS = json.dumps(
    {
        "version": results.FORMAT,
        "audiences": {
            "people": {
                "at": "2026-01-01T00:00:00+00:00",
                "epoch": 1,
                "edition": 1,
                "members": 2,
                "contacts": 3,
                "identifiers": 3,
                "people": [{"name": "Ada", "identifiers": ["tel:+4917604069001"]}],
            }
        },
    }
).encode()
_FIGURES = {"left": 1, "burst": 2, "per_day": 3}
_ACCOUNT = json.dumps(
    {
        "version": 1,
        "audiences": {
            "people": {"said": _FIGURES, "most": _FIGURES, "spent": 1.5, "at": "2026-01-01T00:00:00+00:00"}
        },
    }
).encode()
_MOVES = json.dumps(
    {
        "version": 1,
        "audiences": {"people": {"epoch": 2, "public_key": "ab" * 32, "at": 1, "until": 5, "moved": False}},
    }
).encode()
_TRANSCRIPT = (
    b'{"format": "%s"}\n{"connection": 1, "sent": "R0VU"}\n{"connection": 1, "received": ""}\n'
    % transcript.FORMAT.encode()
)
_UNDO = json.dumps(
    {
        "contactsync_undo_list": 1,
        "version": 1,
        undo._KEY: 1,
        "category": "x",
        "cards": [{"uid": "u", "after": "00", "file": "/a.vcf"}],
    }
).encode()
_CONFIG = (
    b'region = "DE"\nserver = []\n',
    b'[server.home]\nurl = "https://contacts.example"\ncredential_file = "c"\n'
    b'[source.mine]\npath = "contacts.vcf"\n[source.dav]\nurl = "carddav://me@dav.example"\npassword_command = "pass x"\n',
)
_TOML = (
    b"[server.a]\n",
    b"[source.b]\n",
    b"url = ",
    b'"https://x"',
    b"region = ",
    b"area_code = ",
    b'"""',
    b"'",
    b"= 1e999",
    b"1979-05-27T07:32:00Z",
    b"[[x]]",
    b"{a = 1}",
    b"inf",
    b"\n",
    b"[" * 1500,
    b"privacy = ",
)
_URLS = (
    b"https://",
    b"http://",
    b"socks5h://",
    b":",
    b"@",
    b"/",
    b"[::1]",
    b"%",
    b"localhost",
    b"?",
    b"#",
    b"\n",
    b"*.example",
    b"65536",
    b"\xc3\xa4",
    b"user:password",
)


TARGETS = (
    Target(
        "http-reply",
        _http_reply,
        lambda: [_OK, b"HTTP/1.1 429 x\r\nContent-Length: 2\r\n\r\n{}"],
        (NetworkError, PeerError, Refused),
        words=_HTTP,
        longest=2000,
        seconds=3,
    ),
    Target(
        "reply-problem",
        _problem,
        lambda: [_PROBLEM, b"302\nLocation: x\n\n", b"503\n\n<html>", b"407\n\n"],
        (ContactSyncError,),
        words=_JSON + _FIELDS,
    ),
    Target(
        "reply-quota",
        _quota_fields,
        lambda: [_PROBLEM],
        words=_FIELDS + (b'"points";', b"q=", b"w=0", b"9" * 30),
    ),
    Target(
        "reply-ranges",
        _ranges,
        lambda: [_MULTIPART, b"206\nContent-Range: bytes 0-1/1000\n\nab"],
        (PeerError,),
        words=(
            b"--x",
            b"\r\n",
            b"Content-Range: bytes 1-2/1000",
            b"\r\n\r\n",
            b"boundary=",
            b'"x"',
            b"--",
            b"9" * 19,
        ),
    ),
    Target(
        "kept-ledger",
        _ledger,
        lambda: [_LEDGER],
        (OurError,),
        words=_JSON + (b'"told"', b'"asked"', b'"numbers"'),
    ),
    Target("kept-results", _results, lambda: [_RESULTS], (OurError,), words=_JSON + (b'"people"', b'"at"')),
    Target("kept-account", _account, lambda: [_ACCOUNT], words=_JSON + (b'"spent"', b'"said"')),
    Target("kept-moves", _moves, lambda: [_MOVES], words=_JSON + (b'"epoch"',)),
    Target(
        "kept-server",
        _state,
        lambda: [(scratch.state_folder() / "server.json").read_bytes()],
        (OurError,),
        words=_JSON,
    ),
    Target(
        "kept-cache",
        _cache,
        lambda: [(scratch.state_folder() / "cache.sqlite").read_bytes()],
        (OurError,),
        words=(b"\0\0", b"\xff\xff", b"CREATE TABLE ", b"SQLite format 3\0", b"[]", b"null"),
        longest=32768,
        runs=40,
    ),
    Target(
        "transcript",
        _transcript,
        lambda: [_TRANSCRIPT],
        (BadInput,),
        words=_JSON + (b'"sent"', b'"received"', b"\n"),
    ),
    Target("undo-list", _undo, lambda: [_UNDO], (BadInput, OurError), words=_JSON + (b'"cards"', b'"uid"')),
    Target("marked-file", _marked_file, lambda: [b"BEGIN:VCARD\nEND:VCARD\n"], (places.NotChanged,), runs=20),
    Target("configuration", _configuration, lambda: _CONFIG, (BadInput,), words=_TOML),
    Target(
        "url-server",
        _url,
        lambda: [b"https://contacts.example:8440/a/", b"http://[::1]:80"],
        (BadInput,),
        words=_URLS,
        longest=300,
    ),
    Target(
        "url-proxy",
        _proxy,
        lambda: [b"http://user:password@proxy:3128\nlocalhost,.example", b"socks5h://127.0.0.1:9050"],
        (BadInput,),
        words=_URLS,
        longest=300,
    ),
    Target(
        "authorities",
        _authorities,
        lambda: [b"-----BEGIN CERTIFICATE-----\n" + _CERTIFICATE + b"-----END CERTIFICATE-----\n"],
        (BadInput,),
        words=(b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n", b"AAAA", b"="),
    ),
    Target(
        "fingerprint", _fingerprint, lambda: [b"ab cd" * 12 + b"0123", b"ab" * 32], (BadInput,), longest=200
    ),
    Target(
        "credential", _credential, lambda: [b"cs_abc\n", b"\xef\xbb\xbfcs_x\r\n"], (BadInput,), longest=200
    ),
    Target(
        "option",
        _option,
        lambda: [b"90s", b"1.5G", b"2026-01-31", b"90d", b"2%", b"256"],
        words=(b"9" * 20, b"\xd9\xa3", b"s", b"d", b"%", b"-", b".", b"GB"),
        longest=60,
    ),
)
