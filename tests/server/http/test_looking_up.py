"""The route of look-ups by itself, as a second server mounts it. ASGI, no socket."""

import asyncio
import contextlib
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from contactsync.lookup import dpf
from contactsync.lookup.answer import RowLayout
from contactsync.lookup.batch import Sharing
from contactsync.server.http import looking_up
from contactsync.server.http.problems import Problem, on_http_exception
from contactsync.server.lookups import LookupRoom, OpenRows

ROOT, OTHER = bytes(range(32)), bytes(32)


class Site:
    """A second server: whoever asks is counted under an address."""

    def __init__(self, memory=1 << 30, **options):
        self.room = LookupRoom(memory)
        records = np.random.default_rng(7).integers(0, 256, (2100, 72), np.uint8)
        self.rows = OpenRows(records, RowLayout(12, 0, records.shape[1], 0))
        route = looking_up.lookup_route(self.room, self.find, self.who, **options)
        self.app = Starlette(routes=[route], exception_handlers={HTTPException: on_http_exception})
        self.asked = []

    def find(self, audience, root):
        return self.rows if (audience, root) == ("people", ROOT) else None

    async def who(self, request, audience):
        if "authorization" in request.headers:
            raise Problem("bad-request", "a second server wants no credential")
        self.asked.append(audience)
        return request.headers.get("from", "an address")

    def keys(self, size, seed=1):
        sharing = Sharing(size, self.rows.layout.row_bits)
        positions = np.random.default_rng(seed).integers(
            0, 1 << sharing.position_bits, sharing.sub_databases, np.uint32
        )
        return dpf.generate(positions, sharing.position_bits)[0].tobytes()

    def answer(self, octets):
        return self.rows.answer([self.rows.read_keys(octets)])[0].tobytes()


@pytest.fixture
def site():
    site = Site()
    yield site
    assert site.room.waiting() == 0
    site.room.close()


PATH = f"/v1/lookup/people/{ROOT.hex()}"
OCTETS = (b"content-type", b"application/octet-stream")


def ask(site, body=b"", path=PATH, *, method="POST", headers=(OCTETS,), announce=True, receive=None):
    """One request: status, fields, body of the reply."""
    fields = [*headers, *([(b"content-length", str(len(body)).encode())] if announce else [])]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": fields,
    }
    sent, pieces = [], [body[i : i + 1000] for i in range(0, len(body), 1000)] or [b""]

    async def pieces_of_body():
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def collect(message):
        sent.append(message)

    asyncio.run(site.app(scope, receive or pieces_of_body, collect))
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(part["body"] for part in sent[1:])


async def unread():
    raise AssertionError("the body was read")


def kind(reply):
    status, headers, body = reply
    assert headers[b"content-type"] == b"application/problem+json"
    return status, json.loads(body)["type"].rpartition(":")[2]


@pytest.mark.parametrize("size", [8, 64, 512])
@pytest.mark.parametrize("announce", [True, False])
def test_an_answer(site, size, announce):
    body = site.keys(size)
    status, headers, answer = ask(site, body, announce=announce)
    assert status == 200
    assert headers[b"content-type"] == b"application/octet-stream"
    assert headers[b"cache-control"] == b"no-store"
    assert int(headers[b"content-length"]) == len(answer) == 3 * size // 2 * 72
    assert answer == site.answer(body)


def test_many_at_once(site):
    bodies = [site.keys((8, 64, 512)[i % 3], i) for i in range(40)]
    with ThreadPoolExecutor(12) as threads:
        replies = list(threads.map(lambda body: ask(site, body), bodies))
    assert [reply[2] for reply in replies] == [site.answer(body) for body in bodies]


@pytest.mark.parametrize(
    ("path", "slug"),
    [
        (f"people/{OTHER.hex()}", "unknown-rows"),
        (f"business/{ROOT.hex()}", "unknown-rows"),
        (f"nobody/{ROOT.hex()}", "not-found"),
        (f"people/{ROOT.hex()[:-1]}A", "not-found"),
        (f"people/{ROOT.hex()[:-2]}", "not-found"),
        ("people/x", "not-found"),
    ],
)
def test_rows_that_are_not_here(site, path, slug):
    assert kind(ask(site, site.keys(8), f"/v1/lookup/{path}", receive=unread)) == (404, slug)


def test_only_post(site):
    assert kind(ask(site, method="GET")) == (405, "method-not-allowed")


def test_who_asks_is_judged_first(site):
    headers = (OCTETS, (b"authorization", b"Bearer cs_x"))
    assert kind(ask(site, site.keys(8), headers=headers, receive=unread)) == (400, "bad-request")
    assert site.asked == []


@pytest.mark.parametrize("length", [1, 995, 997, 3073, 24_575])
def test_a_length_that_no_batch_has_is_refused_unread(site, length):
    reply = ask(site, bytes(length), receive=unread)
    assert kind(reply) == (400, "bad-batch")
    assert kind(ask(site, bytes(length), announce=False)) == (400, "bad-batch")


def test_a_body_that_is_too_long_is_refused_unread_or_at_the_limit(site):
    limit = site.rows.key_bytes(512)
    reply = ask(site, bytes(limit + 1), receive=unread)
    assert kind(reply) == (413, "body-too-large")
    assert json.loads(reply[2])["limit"] == limit
    assert kind(ask(site, bytes(limit + 1), announce=False)) == (413, "body-too-large")


def test_an_empty_body(site):
    assert kind(ask(site)) == (400, "bad-batch")


def test_malformed_keys(site):
    body = bytearray(site.keys(8))
    body[32] = 4  # the control bits of the first key's first level
    assert kind(ask(site, bytes(body))) == (400, "bad-batch")


def test_another_media_type(site):
    headers = ((b"content-type", b"application/json"),)
    assert kind(ask(site, site.keys(8), headers=headers, receive=unread)) == (415, "wrong-media-type")


def test_a_slow_body_is_given_up_and_leaves_its_place():
    site = Site(keys_seconds=0.05)

    async def never():
        await asyncio.sleep(60)

    with contextlib.closing(site.room):
        assert kind(ask(site, site.keys(8), receive=never)) == (408, "too-slow")
        assert site.room.waiting() == 0


def test_a_caller_who_goes_away_leaves_its_place(site):
    async def gone():
        return {"type": "http.disconnect"}

    with pytest.raises(IndexError):  # nothing was sent
        ask(site, site.keys(8), receive=gone)


def test_beyond_the_memory_nothing_is_read():
    site = Site(memory=1)
    with contextlib.closing(site.room):
        with site.room.admit("another", site.rows, 8):
            reply = ask(site, site.keys(8), receive=unread)
            assert kind(reply) == (503, "overloaded")
            assert reply[1][b"retry-after"] == b"1"
        assert ask(site, site.keys(8))[0] == 200


def test_a_server_that_ends_says_so(site):
    site.room.close()
    assert kind(ask(site, site.keys(8))) == (503, "overloaded")
