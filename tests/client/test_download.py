"""Data files: resumed after a cut, and believed only if they are the ones of the manifest."""

import hashlib

import pytest
import xxhash

from contactsync.client.download import fetch_file, octets_held
from contactsync.foundation.errors import BadDirectory, BadReply, ChoiceNeeded, NetworkError
from contactsync.publication.manifest import DataFile

CONTENT = bytes(range(256)) * 1200  # a few of the pieces that a body is read in


@pytest.fixture
def file(service):
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    (service.folder / "data" / sha256).write_bytes(CONTENT)
    return DataFile(sha256, len(CONTENT), xxhash.xxh3_64_hexdigest(CONTENT))


@pytest.fixture
def fetch(person, file):
    def fetch():
        moves = [octets_held(person.server.data, file)]
        path = fetch_file(person.transport(), person.server.data, file, moves.append)
        assert sum(moves) == file.length, "progress adds up to the file"
        assert path.read_bytes() == CONTENT
        assert list(person.server.data.iterdir()) == [path]
        return path

    return fetch


def ranges(service):
    return [r.headers.get("range") for r in service.requests if "/data/" in r.path]


def test_a_whole_file_and_then_nothing(service, fetch):
    fetch()
    fetch()
    assert ranges(service) == [None]


def test_a_cut_is_resumed_where_it_happened(service, fetch, file):
    def cut(request, reply):
        if request.headers.get("range") in {None, "bytes=100000-"}:
            reply.cut = 100_000

    service.tamper = cut
    fetch()
    assert ranges(service) == [None, "bytes=100000-", "bytes=200000-"]
    assert {r.headers["if-range"] for r in service.requests[1:]} == {f'"{file.sha256}"'}


def test_what_a_failed_run_left_is_continued(service, fetch):
    def cut(_, reply):
        reply.cut = 1000 if len(service.requests) == 1 else 0

    service.tamper = cut
    with pytest.raises(NetworkError):
        fetch()
    service.tamper = lambda *_: None
    service.requests.clear()
    fetch()
    assert ranges(service) == ["bytes=1000-"]


def test_a_damaged_beginning_costs_one_more_download(service, fetch, person, file):
    person.server.data.joinpath(f"{file.sha256}.part").write_bytes(b"x" * 5000)
    fetch()
    assert ranges(service) == ["bytes=5000-", None]


def test_too_long_a_beginning_is_thrown_away(service, fetch, person, file):
    person.server.data.joinpath(f"{file.sha256}.part").write_bytes(CONTENT + b"x")
    fetch()
    assert ranges(service) == [None]


def test_a_server_that_ignores_range(service, fetch):
    def ignore(request, reply):
        if "range" in request.headers:
            reply.status, reply.body = 200, CONTENT
            reply.headers.pop("Content-Range", None)
        else:
            reply.cut = 70_000

    service.tamper = ignore
    fetch()


def test_a_server_that_answers_another_range(service, fetch):
    def wrong(request, reply):
        if "range" in request.headers:
            reply.body = CONTENT[5:]
            reply.headers["Content-Range"] = f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"
        elif len(service.requests) == 1:
            reply.cut = 70_000

    service.tamper = wrong
    fetch()
    assert ranges(service) == [None, "bytes=70000-", None]


def test_a_server_that_never_answers_a_range_rightly(service, fetch):
    def wrong(_, reply):
        reply.status = 206
        reply.headers["Content-Range"] = "bytes nonsense"

    service.tamper = wrong
    with pytest.raises(BadReply):
        fetch()


@pytest.mark.parametrize("length", [len(CONTENT) - 1, len(CONTENT) + 1, 0])
def test_a_file_of_another_length(service, fetch, person, length):
    def change(_, reply):
        reply.body = (CONTENT + b"more")[:length]

    service.tamper = change
    with pytest.raises(BadDirectory):
        fetch()
    assert [p for p in person.server.data.iterdir() if p.suffix != ".part"] == []


def test_another_file_of_the_same_length(service, fetch, person):
    def change(_, reply):
        reply.body = bytes(len(CONTENT))

    service.tamper = change
    with pytest.raises(BadDirectory, match="does not match the signed manifest"):
        fetch()
    assert list(person.server.data.iterdir()) == []


def test_a_right_xxh3_does_not_make_a_file_right(person, service, file):
    other = CONTENT[::-1]
    forged = DataFile(file.sha256, len(other), xxhash.xxh3_64_hexdigest(other))
    service.tamper = lambda _, reply: setattr(reply, "body", other)
    with pytest.raises(BadDirectory):
        fetch_file(person.transport(), person.server.data, forged)


def test_a_server_that_sends_a_little_each_time_is_not_asked_for_ever(service, fetch):
    def one_octet(request, reply):
        if "range" in request.headers:
            reply.status, reply.body, reply.cut = 416, b"", None
            reply.headers.pop("Content-Range", None)
        else:
            reply.cut = 1

    service.tamper = one_octet
    with pytest.raises((NetworkError, BadReply)):
        fetch()
    assert len(service.requests) < 10

    def less_and_more(_, reply):
        reply.status, reply.body = 200, CONTENT
        reply.headers.pop("Content-Range", None)
        reply.cut = 60 - 10 * (len(service.requests) % 2)

    service.tamper = less_and_more
    service.requests.clear()
    with pytest.raises((NetworkError, BadReply)):
        fetch()
    assert len(service.requests) < 10


@pytest.mark.slow
def test_a_server_that_cuts_and_ignores_ranges_sends_no_more_than_was_allowed(service, person):
    """Each time a little more than before: that was progress, for as long as the server liked."""
    service.crowd = {"49": 200_000}
    service.publish("+491512345671")
    length = service.manifest.partitions["49"].base.length
    allowed, sent = 2 * length, []

    def repeat(request, reply):
        if "/data/" in request.path:
            reply.status, reply.body = 200, (service.folder / "data" / request.path[-64:]).read_bytes()
            reply.headers.pop("Content-Range", None)
            reply.cut = min(len(reply.body) - 1, 70_000 * (len(sent) + 1))
            sent.append(reply.cut)

    service.tamper = repeat
    transport = person.transport(max_data=allowed)
    with pytest.raises(ChoiceNeeded, match="more than --max-download"):
        person.sync("+491512345671", transport=transport)
    assert len(sent) > 3
    assert transport.received < allowed + 100_000
