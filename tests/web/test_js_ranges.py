"""Many places of a file with one request, by the JavaScript client, whatever a server makes of it."""

import json
import re
from pathlib import Path

import pytest
from javascript import needs_packages, node
from simulated_service import CREDENTIAL, ranged, service

__all__ = ["service"]
pytestmark = [needs_packages, pytest.mark.slow]
RANGES = Path(__file__).parent / "ranges.mjs"
CONTENT = bytes(i * i % 251 for i in range(40_000))
NAME = "a" * 64
PLACES = [(0, 64), (100, 101), (5000, 9000), (39_990, 40_000)]


@pytest.fixture
def fetch(service):
    (service.folder / "data" / NAME).write_bytes(CONTENT)

    def fetch(places=PLACES):
        given = {
            "url": service.url,
            "credential": CREDENTIAL,
            "name": NAME,
            "length": len(CONTENT),
            "places": places,
        }
        done = json.loads(node(RANGES, given=json.dumps(given)).stdout)
        assert done == {"parts": [CONTENT[start:end].hex() for start, end in places]}
        return [r.headers["range"] for r in service.requests]

    return fetch


def asked(request):
    ends = re.findall(r"(\d+)-(\d+)", request.headers["range"])
    return [range(int(first), int(last) + 1) for first, last in ends]


def test_one_request_for_all_on_condition_that_it_is_this_file(fetch, service):
    assert fetch() == ["bytes=0-63,100-100,5000-8999,39990-39999"]
    assert service.requests[0].headers["if-range"] == f'"{NAME}"'


def test_neighbours_duplicates_empty_ones_and_any_order(fetch):
    places = [(500, 600), (600, 700), (10, 20), (500, 600), (510, 520), (600, 600)]
    assert fetch(places) == ["bytes=10-19,500-699"]


def test_no_more_ranges_in_a_request_than_servers_take(fetch):
    assert [text.count("-") for text in fetch([(i, i + 1) for i in range(0, 300, 2)])] == [64, 64, 22]


@pytest.mark.parametrize(
    "answer",
    [
        lambda places: places[::-1],
        lambda places: places + places[:1],
        lambda places: [range(places[0].start, places[1].stop), *places[2:]] if places[1:] else places,
    ],
    ids=["in another order", "one twice", "joined over a small gap"],
)
def test_answers_that_are_allowed(fetch, service, answer):
    def tamper(request, reply):
        new = ranged(CONTENT, answer(asked(request)), {})
        reply.headers, reply.body = new.headers, new.body

    service.tamper = tamper
    assert len(fetch()) == 1


def test_what_is_missing_is_asked_for_again(fetch, service):
    def tamper(request, reply):
        new = ranged(CONTENT, asked(request)[:1], {})
        reply.headers, reply.body = new.headers, new.body

    service.tamper = tamper
    assert [text.count("-") for text in fetch()] == [4, 3, 2, 1]


def test_preamble_padding_and_a_quoted_boundary(fetch, service):
    def tamper(_, reply):
        reply.headers["Content-Type"] = 'MULTIPART/byteranges; charset=x; boundary="limit"'
        reply.body = b"preamble\r\n" + reply.body.replace(b"Content-Range:", b"CONTENT-RANGE:")

    service.tamper = tamper
    assert len(fetch()) == 1
