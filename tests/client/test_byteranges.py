"""Many places of a file with one request, whatever a server makes of it."""

import re

import pytest
from simulated_service import Reply, ranged

from contactsync.client.byteranges import MAX_RANGES, fetch_ranges
from contactsync.foundation.errors import BadReply, NetworkError
from contactsync.publication.manifest import DataFile

CONTENT = bytes(i * i % 251 for i in range(40_000))
NAME = "a" * 64
PLACES = [range(64), range(100, 101), range(5000, 9000), range(39_990, 40_000)]


@pytest.fixture
def fetch(person, service):
    (service.folder / "data" / NAME).write_bytes(CONTENT)

    def fetch(places=PLACES):
        parts = fetch_ranges(person.transport(), DataFile(NAME, len(CONTENT), "0" * 16), places)
        assert parts == [CONTENT[place.start : place.stop] for place in places]
        return [r.headers["range"] for r in service.requests]

    return fetch


def asked(request):
    ends = re.findall(r"(\d+)-(\d+)", request.headers["range"])
    return [range(int(first), int(last) + 1) for first, last in ends]


def test_one_request_for_all(fetch, service):
    assert fetch() == ["bytes=0-63,100-100,5000-8999,39990-39999"]
    assert service.requests[0].headers["if-range"] == f'"{NAME}"'


def test_neighbours_duplicates_and_any_order(fetch):
    places = [range(500, 600), range(600, 700), range(10, 20), range(500, 600), range(510, 520)]
    assert fetch(places) == ["bytes=10-19,500-699"]


def test_nothing_wanted(fetch):
    assert fetch([]) == []


def test_no_more_ranges_in_a_request_than_servers_take(fetch):
    counts = [text.count("-") for text in fetch([range(i, i + 1) for i in range(0, 300, 2)])]
    assert counts == [MAX_RANGES, MAX_RANGES, 150 - 2 * MAX_RANGES]


def test_a_server_without_lists_is_asked_range_by_range(fetch, service):
    def no_lists(request, reply):
        if "," in request.headers["range"]:
            reply.status, reply.headers, reply.body = 200, {}, CONTENT

    service.tamper = no_lists
    assert [text.count("-") for text in fetch()] == [4, 1, 1, 1, 1]


@pytest.mark.parametrize(
    "answer",
    [
        lambda places: places[:1],
        lambda places: places[::-1],
        lambda places: places + places[:1],
        lambda places: [range(places[0].start, places[1].stop), *places[2:]] if places[1:] else places,
    ],
    ids=["the first only", "in another order", "one twice", "joined over a small gap"],
)
def test_answers_that_are_allowed(fetch, service, answer):
    def tamper(request, reply):
        new = ranged(CONTENT, answer(asked(request)), {})
        reply.headers, reply.body = new.headers, new.body

    service.tamper = tamper
    fetch()


def test_preamble_padding_and_a_quoted_boundary(fetch, service):
    def tamper(_, reply):
        reply.headers["Content-Type"] = 'MULTIPART/byteranges; charset=x; boundary="limit"'
        reply.body = b"preamble\r\n" + reply.body.replace(
            b"Content-Range:", b"CONTENT-RANGE :".replace(b" ", b"")
        )

    service.tamper = tamper
    fetch()


def test_a_cut_is_tried_again(fetch, service):
    def cut(_, reply):
        reply.cut = 3000 if len(service.requests) < 3 else None

    service.tamper = cut
    assert len(fetch()) == 3
    service.requests.clear()
    service.tamper = lambda _, reply: setattr(reply, "cut", 3000)
    with pytest.raises(NetworkError):
        fetch()
    assert len(service.requests) == 3


def wrong_replies(request, good):
    """Everything that is not an answer."""
    first = asked(request)[0]
    single = ranged(CONTENT, [first], {})
    yield Reply(200, {}, CONTENT)
    yield Reply(416, {"Content-Range": f"bytes */{len(CONTENT)}"}, b"")
    yield Reply(206, {}, CONTENT[:100])
    yield Reply(206, {"Content-Type": "multipart/byteranges"}, good.body)
    yield Reply(206, {"Content-Type": "text/plain; boundary=limit"}, good.body)
    strange = (
        "boundary*=a; boundary*0=b",
        'x="' + ";" * 9000 + '"',
        "boundary=",
        'boundary=""',
        "a=;" * 3000,
    )
    for parameters in strange:
        yield Reply(206, {"Content-Type": f"multipart/byteranges; {parameters}"}, good.body)
    yield Reply(206, {"Content-Type": "multipart/byteranges; boundary=other"}, good.body)
    yield Reply(206, good.headers, good.body[:-11])
    yield Reply(206, good.headers, b"")
    yield Reply(206, good.headers, b"--limit--")
    yield Reply(206, good.headers, b"--limit\r\n\r\n" + CONTENT[:64] + b"\r\n--limit--")
    yield Reply(206, good.headers, b"--limit\r\n" + b"x" * 5000)
    yield Reply(206, good.headers, good.body.replace(b"bytes 0-63", b"bytes 0-62"))
    yield Reply(206, good.headers, good.body.replace(b"bytes 0-63", b"bytes 0-64"))
    yield Reply(206, good.headers, good.body.replace(b"bytes 0-63", b"bytes 0-" + b"9" * 18))
    yield Reply(206, good.headers, good.body.replace(b"bytes 0-63", b"bytes 63-0"))
    yield Reply(206, good.headers, good.body.replace(b"/40000", b"/40001"))
    yield Reply(206, good.headers, good.body.replace(b"/40000", b"/*"))
    yield Reply(206, {"Content-Range": "nonsense"}, single.body)
    yield Reply(206, single.headers, single.body + b"x")
    yield Reply(206, single.headers, single.body[1:])
    yield ranged(CONTENT, [range(200, 300)], {})
    yield ranged(CONTENT, [range(40_000)], {})
    yield ranged(CONTENT, [range(200, 300), range(400, 500)], {})


@pytest.mark.slow
def test_answers_that_are_none(fetch, service):
    service.tamper = lambda request, reply: None
    fetch()
    good = ranged(CONTENT, PLACES, {})
    count = len(list(wrong_replies(service.requests[0], good)))
    for number in range(count):

        def tamper(request, reply, number=number):
            wrong = list(wrong_replies(request, ranged(CONTENT, asked(request), {})))[number]
            reply.status, reply.headers, reply.body = wrong.status, wrong.headers, wrong.body

        service.tamper = tamper
        with pytest.raises(BadReply, match=r"range|malformed"):
            fetch()
