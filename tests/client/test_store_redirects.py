"""The one redirect that is followed: a data file's, to another host that learns nothing of the account."""

import contextlib
import hashlib
import http.server
import threading

import pytest
import urllib3
import xxhash
from simulated_service import CREDENTIAL

from contactsync.client.download import fetch_file
from contactsync.client.stores import store_url
from contactsync.client.transport import STORE_CHANCES
from contactsync.foundation.errors import BadDirectory, BadReply, ChoiceNeeded
from contactsync.publication.manifest import DataFile

CONTENT = bytes(range(256)) * 1200
SIGNED = "?X-Amz-Signature=abc"


@pytest.fixture
def file(service):
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    (service.folder / "data" / sha256).write_bytes(CONTENT)
    return DataFile(sha256, len(CONTENT), xxhash.xxh3_64_hexdigest(CONTENT))


class Store:
    """Another host. `answer` gives status, fields and body for the fields of a request."""

    def __init__(self):
        store = self
        self.asked, self.answer = [], lambda _: (200, {}, CONTENT)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                asked = {name.lower(): value for name, value in self.headers.items()}
                store.asked.append((self.path, asked))
                status, fields, body = store.answer(asked)
                length = fields.pop("Content-Length", str(len(body)))
                self.send_response(status)
                for name, value in {**fields, "Content-Length": length}.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(body)
                self.close_connection = length != str(len(body))

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def store():
    store = Store()
    yield store
    store.close()


@pytest.fixture
def redirecting(service, store):
    """The server sends whoever asks for it to the store; `told` is what it was asked for data files."""
    told = []

    def tamper(request, reply):
        if "/data/" in request.path:
            told.append(request.headers)
            if request.headers.get("prefer") == "redirect":
                reply.status, reply.body = 307, b""
                reply.headers["Location"] = f"http://{store.host}{request.path}{SIGNED}"

    service.tamper = tamper
    return told


def fetched(person, file, transport=None):
    transport = transport or person.transport()
    path = fetch_file(transport, person.server.data, file)
    assert path.read_bytes() == CONTENT
    return transport


def test_the_store_is_sent_nothing_of_the_account(person, file, redirecting, store):
    transport = fetched(person, file)
    [(path, asked)] = store.asked
    assert path == f"/v1/data/{file.sha256}{SIGNED}"
    assert asked.keys() == {"host", "user-agent", "accept-encoding"}
    assert CREDENTIAL not in f"{path}{asked}"
    assert transport.stores == (store.host,)
    [told] = redirecting
    assert told["authorization"] == f"Bearer {CREDENTIAL}"


def test_a_part_is_continued_at_the_store(person, file, redirecting, store):
    def answer(asked):
        if "range" not in asked:
            return 200, {"Content-Length": str(len(CONTENT))}, CONTENT[:100_000]
        first = int(asked["range"].removeprefix("bytes=").removesuffix("-"))
        place = f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}"
        return 206, {"Content-Range": place}, CONTENT[first:]

    store.answer = answer
    fetched(person, file)
    assert [asked.get("range") for _, asked in store.asked] == [None, "bytes=100000-"]
    assert all("if-range" not in asked and "authorization" not in asked for _, asked in store.asked)


@pytest.mark.parametrize(
    "answer",
    [
        (403, {}, b"<Error/>"),
        (404, {}, b""),
        (500, {}, b""),
        (503, {"Retry-After": "1000000"}, b""),
        (307, {"Location": "http://127.0.0.1:1/again"}, b""),
        (301, {"Location": "https://127.0.0.1:1/again"}, b""),
        (401, {"WWW-Authenticate": "Bearer"}, b""),
        (200, {}, CONTENT[:-1] + b"?"),
        (200, {}, CONTENT[:-1]),
        (200, {}, CONTENT + b"?"),
        (206, {"Content-Range": "bytes 5-9/10"}, b"12345"),
        (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b\x08" + bytes(99)),
        (200, {"Content-Length": "99999999999999999999"}, b""),
    ],
)
def test_whatever_is_wrong_at_the_store_the_server_is_asked_instead(person, file, redirecting, store, answer):
    store.answer = lambda _: (answer[0], dict(answer[1]), answer[2])
    transport = fetched(person, file)
    assert 1 <= len(store.asked) <= STORE_CHANCES
    assert "prefer" not in redirecting[-1]
    assert all("authorization" not in asked for _, asked in store.asked)
    assert not transport.leave_stores()  # it has left them for good


def test_a_store_that_cannot_be_reached_is_left(person, file, redirecting, store, service):
    store.close()
    fetched(person, file)
    assert "prefer" not in redirecting[-1]
    assert len(redirecting) <= STORE_CHANCES + 1


def test_a_wrong_file_of_both_is_refused(person, file, redirecting, store, service):
    store.answer = lambda _: (200, {}, b"?" * len(CONTENT))
    (service.folder / "data" / file.sha256).write_bytes(b"!" * len(CONTENT))
    with pytest.raises(BadDirectory, match="does not match"):
        fetch_file(person.transport(), person.server.data, file)
    assert list(person.server.data.iterdir()) == []


def test_what_may_be_downloaded_bounds_the_store_too(person, file, redirecting, store):
    transport = person.transport(max_data=1000)
    with pytest.raises(ChoiceNeeded):
        fetch_file(transport, person.server.data, file)


def test_what_is_recorded_goes_to_the_server_alone(person, file, redirecting, store):
    pieces = []
    fetched(person, file, person.transport(record=lambda *piece: pieces.append(piece)))
    assert store.asked == []
    # It asks as any client does, so that only a server that redirects could tell.
    assert ["prefer" in told for told in redirecting] == [True, False]
    assert pieces


def test_nothing_else_is_redirected(person, service, store):
    """Metadata and accounts: the transport refuses, and the store is never asked."""

    def tamper(request, reply):
        if "/data/" not in request.path:
            reply.status, reply.headers["Location"] = 307, f"http://{store.host}{request.path}"

    service.tamper = tamper
    with pytest.raises(BadReply, match="redirect"):
        person.transport().check_account()
    with pytest.raises(BadReply, match="redirect"), person.transport().get("/v1/tuf/metadata/timestamp.json"):
        pass
    assert store.asked == []


def test_a_server_that_redirects_unasked_is_refused(person, file, service, store):
    def tamper(request, reply):
        if "/data/" in request.path:
            reply.status, reply.headers["Location"] = 307, f"http://{store.host}/x"

    service.tamper = tamper
    with pytest.raises(BadReply, match="redirect"):
        fetched(person, file, person.transport(record=lambda *_: None))
    assert store.asked == []


def reply(location):
    return urllib3.HTTPResponse(b"", headers={"Location": location}, status=307)


@pytest.mark.parametrize(
    "location",
    [
        *("", "/v1/other", "//host/x", "ftp://host/x", "file:///etc/passwd", "http://store.example/x"),
        *("https://user:secret@store.example/x", "https://store.example/x#y", "https:///x", "https://"),
        *("http://127.0.0.1/x", "https://127.0.0.1:8443/x", "https://localhost/x", "https://[::1]/x"),
        *("http://0x7f.1/x", "https://store.example/a b", "https://store.example/ä", "https://[x/"),
        "https://store.example/" + "x" * 5000,
    ],
)
def test_places_that_no_client_goes_to(location):
    with pytest.raises(BadReply, match="does not go to"):
        store_url(reply(location), "https://contacts.example")


def test_places_that_a_client_goes_to():
    far, near = "https://store.example:8443/a?b=c", "http://127.0.0.1:9000/a?b=c"
    assert store_url(reply(far), "https://contacts.example") == far
    assert store_url(reply(near), "http://127.0.0.1:8440") == near
    assert store_url(reply(far), "http://localhost:8440") == far


def test_a_sync_says_who_saw_what(person, service, store):
    service.publish("+4915100000001")

    def tamper(request, reply):
        if "/data/" in request.path and request.headers.get("prefer") == "redirect":
            store.answer = lambda _, body=reply.body: (200, {}, body)
            reply.status, reply.headers["Location"], reply.body = 307, f"http://{store.host}/x", b""

    service.tamper = tamper
    report = person.sync("+4915100000001")
    assert report.leak.endswith(f"; {store.host} saw which files this address fetched")
    assert len(report.matches) == 1
