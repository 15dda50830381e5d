"""The transport: every byte counted and recorded, nothing followed, the credential for its server only."""

import contextlib
import json
import socket
import threading
import time

import pytest
from simulated_service import CREDENTIAL
from tuf.api.exceptions import DownloadHTTPError

from contactsync.client.core.planner import Options
from contactsync.client.patience import PATIENCE_SECONDS, Patience
from contactsync.client.recording import Recording
from contactsync.client.transcript import read_transcript
from contactsync.client.transport import MetadataFetcher, Transport
from contactsync.foundation.errors import BadReply, NetworkError, Refused, ServerFailed


def read(transport, path, **options):
    with transport.get(path, **options) as reply:
        return b"".join(transport.chunks(reply, 1 << 20))


@pytest.fixture
def recorder():
    """A server that keeps what arrives as it arrives, and answers every request alike."""
    got, sent = bytearray(), bytearray()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                pending = b""
                while data := peer.recv(1 << 16):
                    got.extend(data)
                    pending += data
                    head, end, body = pending.partition(b"\r\n\r\n")
                    if not end or (head.startswith(b"POST") and len(body) < 32):
                        continue
                    pending = b""
                    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
                    sent.extend(answer)
                    peer.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", got, sent
    listener.close()


def test_what_is_counted_and_recorded_is_what_went_over_the_wire(recorder, tmp_path):
    url, got, sent = recorder
    path = tmp_path / "transcript"
    with Recording(path, url, Options(), hides={"credential": b"cs_secret"}) as recording:
        recording.begins({}, [])
        transport = Transport(url, credential="cs_secret", record=recording.record)
        assert read(transport, "/v1/data/x", authorised=True) == b"hello"
        assert transport.post("/v1/evaluate/people/1", b"\0\xff" * 16, reply_length=5) == b"hello"
        transport.close()
    assert (transport.sent, transport.received) == (len(got), len(sent))
    pieces = list(read_transcript(path))
    seen = b"".join(piece.data for piece in pieces if piece.sent)
    assert seen == got.replace(b"cs_secret", bytes(9)), "every octet but the credential"
    assert b"".join(piece.data for piece in pieces if not piece.sent) == sent
    assert {piece.connection for piece in pieces} == {1}
    assert b"Bearer cs_secret" in got
    assert b"accept-encoding: identity" in got.lower()
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_credential_is_sent_only_where_it_is_needed(service):
    service.publish("+491512345671")
    transport = Transport(service.url, credential="cs_secret")
    read(transport, "/v1/tuf/metadata/root.json")
    assert "authorization" not in service.requests[0].headers


def test_a_redirect_is_not_followed(service):
    def redirect(_, reply):
        reply.status = 302
        reply.headers["Location"] = f"{service.url}/elsewhere"

    service.tamper = redirect
    with pytest.raises(BadReply, match="redirect"):
        read(Transport(service.url), "/v1/tuf/metadata/root.json")
    assert service.asked("elsewhere") == []


@pytest.mark.parametrize("pause", ["0", "1"])
def test_an_overloaded_server_is_asked_again(service, pause, monkeypatch):
    slept = []
    monkeypatch.setattr("contactsync.client.patience.time.sleep", slept.append)

    def busy(_, reply):
        if len(service.requests) < 3:
            reply.status, reply.headers["Retry-After"] = 503, pause

    service.tamper = busy
    assert read(Transport(service.url), "/v1/tuf/metadata/root.json")
    assert len(slept) == 2


def test_one_that_stays_overloaded_is_an_error_with_its_own_words(service, monkeypatch):
    monkeypatch.setattr("contactsync.client.patience.time.sleep", lambda _: None)

    def busy(_, reply):
        reply.status, reply.headers["Retry-After"] = 503, "9"
        value = {"type": "urn:contactsync:problem:overloaded", "detail": "busy\x1b[2J", "hint": "come back"}
        reply.body = json.dumps(value).encode()

    service.tamper = busy
    with pytest.raises(ServerFailed) as failed:
        read(Transport(service.url), "/v1/tuf/metadata/root.json")
    assert (failed.value.kind, failed.value.hint) == ("overloaded", "try again later")
    assert failed.value.exit_code == 4
    assert str(failed.value) == 'the server failed: status 503. It says: "busy [2J; come back"'
    assert len(service.requests) == 1 + PATIENCE_SECONDS // 9


def test_one_patience_for_all_requests_of_a_run(service, monkeypatch):
    """A thousand requests do not wait a thousand times as long as one; and who waits is told."""
    slept, said = [], []
    monkeypatch.setattr("contactsync.client.patience.time.sleep", slept.append)
    service.publish("+491512345671")
    turns = iter(range(1000))

    def busy(_, reply):
        if next(turns) % 2 == 0:
            reply.status, reply.headers["Retry-After"] = 503, "7"

    service.tamper = busy
    patience = Patience(60, progress=lambda what, *_: said.append(what))
    transport = Transport(service.url, credential=CREDENTIAL, patience=patience)
    for _ in range(60 // 7):
        assert read(transport, "/v1/tuf/metadata/root.json")
    with pytest.raises(NetworkError, match="503"):
        read(transport, "/v1/tuf/metadata/root.json")
    assert sum(slept) == patience.waited == 60 // 7 * 7
    assert set(said) == {"the server is busy; waiting 7 s"}
    # What breaks off is waited for out of the same purse: nothing of it is left.
    assert patience.wait(4, "")
    service.tamper = lambda _, reply: setattr(reply, "cut", 0)
    before = len(service.requests)
    with pytest.raises(NetworkError):
        transport.post("/v1/evaluate/people/1", bytes(32), reply_length=5)
    assert len(service.requests) == before + 1


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"type": 5}', b"<html>", b"\xff" * 100_000])
def test_an_error_that_is_no_problem_json(service, body):
    def broken(_, reply):
        reply.status, reply.body = 400, body

    service.tamper = broken
    with pytest.raises(Refused) as refused:
        read(Transport(service.url), "/v1/tuf/metadata/root.json")
    assert refused.value.status == 400
    assert ("check the address" in refused.value.hint) == (body != b'{"type": 5}')


def test_a_failing_proxy_is_the_network(service):
    def broken(_, reply):
        reply.status, reply.body = 502, b"<html>bad gateway</html>"

    service.tamper = broken
    with pytest.raises(NetworkError, match="502"):
        read(Transport(service.url), "/v1/tuf/metadata/root.json")


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    transport = Transport(f"http://127.0.0.1:{port}", credential="cs_secret")
    with pytest.raises(NetworkError, match="cannot connect"):
        read(transport, "/v1/health")
    with pytest.raises(NetworkError, match="cannot connect"):
        transport.post("/v1/evaluate/people/1", b"", reply_length=5)


def test_a_server_that_falls_silent():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        transport = Transport(f"http://127.0.0.1:{silent.getsockname()[1]}", read_seconds=0.1)
        with pytest.raises(NetworkError, match="stopped answering"):
            read(transport, "/v1/health")


def test_a_server_that_speaks_something_else():
    with socket.create_server(("127.0.0.1", 0)) as other:

        def serve():
            peer, _ = other.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"SSH-2.0-OpenSSH\r\n")

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(NetworkError):
            read(Transport(f"http://127.0.0.1:{other.getsockname()[1]}"), "/v1/health")


def test_metadata_that_is_not_there_is_tuf_s_own_error(service):
    fetcher = MetadataFetcher(Transport(service.url))
    with pytest.raises(DownloadHTTPError) as missing:
        fetcher.download_bytes(f"{service.url}/v1/tuf/metadata/99.root.json", 1000)
    assert missing.value.status_code == 404


@pytest.fixture
def hostile():
    """A server that answers each request with a beginning, then with the same octets until nobody reads."""
    listener = socket.create_server(("127.0.0.1", 0))
    script = {"begin": b"", "repeat": b"", "pause": 0.0, "sent": 0, "requests": 0}

    def speak(peer):
        with peer, contextlib.suppress(OSError):
            while peer.recv(1 << 16):
                script["requests"] += 1
                peer.sendall(script["begin"])
                while script["repeat"]:
                    script["sent"] += peer.send(script["repeat"])
                    time.sleep(script["pause"])

    def serve():
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                threading.Thread(target=speak, args=(peer,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    script["url"] = f"http://127.0.0.1:{listener.getsockname()[1]}"
    yield script
    listener.close()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "a negative chunk": (CHUNKED + b"-1\r\n", b"x" * 65536),
    "chunks of one octet": (CHUNKED, b"1;" + b"x" * 60 + b"\r\n.\r\n"),
    "trailers": (CHUNKED + b"0\r\n", b"x: y\r\n" * 1000),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a head": (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n y\r\n"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDLESS)
def test_what_never_ends_is_cut_before_it_fills_the_memory(hostile, name):
    hostile["begin"], hostile["repeat"] = ENDLESS[name]
    transport = Transport(hostile["url"], read_seconds=5)
    with pytest.raises((NetworkError, BadReply)):
        read(transport, "/x")
    assert transport.received < 1 << 20


@pytest.mark.parametrize("limit", [5, 1 << 16, 1 << 20])
@pytest.mark.parametrize("size", [b"-1", b"-5", b"-0005;x=y"])
def test_a_negative_size_of_a_chunk_is_refused_however_much_is_read(hostile, size, limit):
    hostile["begin"], hostile["repeat"] = CHUNKED + size + b"\r\n", b"x" * 8192
    transport = Transport(hostile["url"])
    with pytest.raises(NetworkError), transport.get("/x") as reply:
        b"".join(transport.chunks(reply, limit))


@pytest.mark.slow
@pytest.mark.parametrize("size", [b"-5", b"f" * 40, b"0x10", b"", b"1_0", b"9" * 5000])
def test_a_malformed_size_of_a_chunk(hostile, size):
    hostile["begin"] = CHUNKED + size + b"\r\nhello\r\n0\r\n\r\n"
    transport = Transport(hostile["url"], read_seconds=0.5)
    with contextlib.suppress(NetworkError, BadReply):
        assert len(read(transport, "/x")) <= 30
    assert transport.received < 1 << 16


DRIPS = {
    "a head": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"."),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n.\r\n"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DRIPS)
def test_a_server_that_drips(hostile, monkeypatch, name):
    """It is given up at the least rate, and what that cost comes out of the patience of the whole run."""
    monkeypatch.setattr("contactsync.client.meter.RATE_SECONDS", 0.25)
    begin, repeat = DRIPS[name]
    hostile.update(begin=begin, repeat=repeat, pause=0.02)
    begun = time.monotonic()
    patience = Patience(0.6)
    with pytest.raises(NetworkError, match="less than 1,000 bytes a second"):
        read(Transport(hostile["url"], patience=patience), "/x")
    assert 0.2 < patience.waited < 0.6
    transport = Transport(hostile["url"], credential="cs_secret", patience=patience)
    with pytest.raises(NetworkError):
        transport.post("/v1/evaluate/people/1", bytes(32), reply_length=100_000)
    assert hostile["requests"] <= 3, "not three attempts for each request, whatever the time"
    assert time.monotonic() - begun < 5


@pytest.mark.slow
def test_a_server_just_fast_enough_is_waited_for(hostile, monkeypatch):
    monkeypatch.setattr("contactsync.client.meter.RATE_SECONDS", 0.3)
    body = b"x" * 3000
    hostile.update(begin=b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n", repeat=body[:100], pause=0.03)
    assert read(Transport(hostile["url"]), "/x") == body


@pytest.mark.slow
@pytest.mark.parametrize("name", [*DRIPS, "silence"])
def test_the_whole_run_has_an_end(hostile, name):
    begin, repeat = DRIPS.get(name, (b"", b""))
    hostile.update(begin=begin, repeat=repeat, pause=0.02)
    begun = time.monotonic()
    transport = Transport(hostile["url"], credential="cs_secret", patience=Patience(timeout=0.5))
    with pytest.raises(NetworkError):
        transport.post("/v1/evaluate/people/1", bytes(32), reply_length=100_000)
    assert 0.4 < time.monotonic() - begun < 3
    with pytest.raises(NetworkError, match="--timeout"):
        read(transport, "/x")


def test_a_problem_nested_too_deep(service):
    def deep(_, reply):
        reply.status, reply.body = 400, b"[" * 16_000

    service.tamper = deep
    with pytest.raises(Refused):
        read(Transport(service.url), "/v1/tuf/metadata/root.json")
