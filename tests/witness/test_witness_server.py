"""`contactsync witness` as a process: over HTTP, killed at any moment, against callers that mean no good."""

import concurrent.futures
import http.client
import random
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest
from growing_log import GrowingLog

from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.notes import Verifier, open_note, with_lines
from contactsync.publication.log.witnessing import MAX_REQUEST, SIZE_TYPE
from contactsync.witness import serve

pytestmark = pytest.mark.slow


@pytest.fixture
def log():
    return GrowingLog(9)


def is_cosigned(witness, note, answer):
    status, body, _ = answer
    assert status == 200, body
    opened = open_note(with_lines(note, [body.decode()]), [witness.verifier])
    return abs(opened.verified[witness.verifier] - time.time()) < 60


def test_it_cosigns_over_http_and_says_what_the_protocol_says(start, tmp_path, log):
    witness = start(tmp_path / "witness", log.vkey)
    status, body, headers = answer = witness.post(log.request(0, 4))
    assert is_cosigned(witness, log.note(4), answer)
    assert headers["content-type"].startswith("text/plain")
    status, body, headers = witness.post(log.request(0, 9))
    assert (status, body, headers["content-type"]) == (409, b"4\n", SIZE_TYPE)
    assert is_cosigned(witness, log.note(9), witness.post(log.request(4, 9)))
    assert is_cosigned(witness, log.note(9), witness.post(log.request(9, 9)))
    assert witness.post(log.fork(8, 9).request(9))[0] == 409
    assert witness.post(log.fork(4, 12).request(9))[0] == 422
    assert witness.post(log.request(9, 9).replace(b"old 9", b"old 10"))[0] == 400
    assert witness.post(GrowingLog(2, name="else.example.org").request())[0] == 404
    assert witness.post(GrowingLog(2, name=log.name).request())[0] == 403
    assert witness.post(b"", method="GET")[0] == 405
    assert witness.post(log.request(9), path="/other")[0] == 404
    assert witness.post(b"nothing")[0] == 400
    said = witness.stop()
    assert f"{log.name} has signed two trees of 9 entries" in said
    assert log.request()[:20].decode() not in said


def test_it_follows_the_logs_of_a_file_and_shows_its_key(start, tmp_path, log):
    other = GrowingLog(3, name="other.example.org/log")
    file = tmp_path / "logs"
    file.write_text(f"# logs that we follow\n\n{other.vkey}  # ours\n")
    witness = start(tmp_path / "witness", log.vkey, options=("--logs", str(file)))
    assert is_cosigned(witness, other.note(), witness.post(other.request()))
    assert is_cosigned(witness, log.note(), witness.post(log.request()))
    witness.stop()
    command = [
        sys.executable,
        "-m",
        "contactsync",
        "witness",
        "--state",
        str(tmp_path / "witness"),
        "--show-key",
    ]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert Verifier.parse(shown.strip()) == witness.verifier
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "witness").rglob("*")}
    assert set(modes.values()) == {0o600, 0o700}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "Missing option"),
        (["--state", "S"], 2, "Give --listen"),
        (["--state", "S", "--listen", "127.0.0.1:0"], 2, "key of a log"),
        (["--state", "S", "--listen", "127.0.0.1"], 2, "HOST:PORT"),
        (["--state", "S", "--listen", "127.0.0.1:70000"], 2, "HOST:PORT"),
        (["--state", "S", "--listen", "127.0.0.1:0", "--log", "x"], 3, "no verifier key"),
        (["--state", "S", "--listen", "127.0.0.1:0", "--log", "VKEY"], 3, "no key yet"),
        (["--state", "S", "--listen", "192.0.2.1:1", "--log", "VKEY", "--name", "w"], 3, "cannot listen"),
        (
            ["--state", "/proc/x", "--listen", "127.0.0.1:0", "--log", "VKEY", "--name", "w"],
            1,
            "cannot be used",
        ),
        (["--state", "S", "--show-key"], 3, "no key yet"),
    ],
)
def test_what_cannot_run_says_why(tmp_path, log, arguments, code, said):
    words = [{"S": str(tmp_path / "S"), "VKEY": log.vkey}.get(word, word) for word in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "contactsync", "witness", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


class Pusher(threading.Thread):
    """Has a witness cosign a log, step by step, until it is killed. `cosigned` are notes with its line."""

    def __init__(self, witness, log, chance, cosigned):
        super().__init__()
        self.witness, self.log, self.chance, self.cosigned = witness, log, chance, cosigned

    def run(self):
        old = 0
        while True:
            size = min(old + self.chance.randint(0, 2), len(self.log.entries))
            try:
                status, body, _ = self.witness.post(self.log.request(old, size))
            except (OSError, http.client.HTTPException):
                return
            if status == 200:
                self.cosigned.append(with_lines(self.log.note(size), [body.decode()]))
                old = size
            elif status == 409:
                old = int(body)


def test_a_witness_that_is_killed_at_any_moment_never_cosigns_two_trees(start, tmp_path, log):
    """Two logs that differ fight for its cosignature while it is killed, and starts again, and is killed."""
    chance = random.Random(1)
    logs = [GrowingLog(60, name=log.name, key=log.key, word=word) for word in ("one", "two")]
    cosigned = []
    for _ in range(4):
        witness = start(tmp_path / "witness", log.vkey)
        pushers = [Pusher(witness, one, chance, cosigned) for one in logs * 2]
        for one in pushers:
            one.start()
        enough, end = len(cosigned) + 4, time.monotonic() + 20
        while len(cosigned) < enough and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(chance.random() / 10)
        witness.kill()
        for one in pushers:
            one.join()
    roots = {}
    for note in cosigned:
        checkpoint = Checkpoint.parse(open_note(note, [log.signer.verifier, witness.verifier]).text)
        assert roots.setdefault(checkpoint.size, checkpoint.root) == checkpoint.root, "two trees of one size"
    roots.pop(0, None)
    assert len(roots) > 5
    same = [all(one.checkpoint(size).root == root for size, root in roots.items()) for one in logs]
    assert sum(same) == 1, "all of one log"


def test_two_that_race_over_http_get_one_tree(start, tmp_path, log):
    witness = start(tmp_path / "witness", log.vkey)
    assert witness.post(log.request(0, 4))[0] == 200
    bodies = [log.request(4, 9), log.fork(4, 9).request(4, 9), log.fork(4, 8, "third").request(4, 8)] * 8
    with concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
        answers = list(pool.map(witness.post, bodies))
    won = {body for body, (status, _, _) in zip(bodies, answers, strict=True) if status == 200}
    assert len(won) == 1
    assert {status for status, _, _ in answers} <= {200, 409, 422}
    witness.stop()


def test_what_is_too_large_is_cut_off(start, tmp_path, log):
    witness = start(tmp_path / "witness", log.vkey)
    assert witness.post(b"old 0\n\n" + b"x" * MAX_REQUEST)[0] == 413
    with socket.create_connection(("127.0.0.1", witness.port), timeout=20) as caller:
        caller.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(OSError, match=r"reset|[Bb]roken"):
            caller.sendall((b"1000\r\n" + b"x" * 0x1000 + b"\r\n") * 8000)
    with socket.create_connection(("127.0.0.1", witness.port), timeout=20) as caller:
        caller.sendall(b"POST /add-checkpoint HTTP/1.1\r\nX: " + b"x" * (serve.HEAD_OCTETS + 1000))
        assert caller.recv(100).startswith(b"HTTP/1.1 400")
    assert is_cosigned(witness, log.note(), witness.post(log.request()))
    assert "add-checkpoint" not in witness.stop()


NO_HTTP = [
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: -1\r\n\r\n",
    b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /add-checkpoint HTTP/1.1\r\nHost: w\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 5\r\n\r\nab",
]


def test_what_is_no_http_leaves_no_trace(start, tmp_path, log):
    witness = start(tmp_path / "witness", log.vkey)
    for octets in NO_HTTP:
        with socket.create_connection(("127.0.0.1", witness.port), timeout=20) as caller:
            caller.sendall(octets)
            caller.shutdown(socket.SHUT_WR)
            answer = caller.recv(1000)
            assert not answer or answer[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 405"}, octets
    assert is_cosigned(witness, log.note(), witness.post(log.request()))
    assert witness.stop().count("\n") == 1, "of what it cosigned, and no more"


def test_those_that_hold_connections_do_not_keep_others_out(start, tmp_path, log):
    witness = start(tmp_path / "witness", log.vkey)
    head = b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 1000\r\n\r\nold"
    held = []
    for number in range(serve.CONNECTIONS + 40):
        held.append(socket.create_connection(("127.0.0.1", witness.port), timeout=20))
        held[-1].sendall((b"", head[:10], head)[number % 3])
    begun = time.monotonic()
    assert is_cosigned(witness, log.note(), witness.post(log.request()))
    assert time.monotonic() - begun < 10
    one = held[-1]
    one.settimeout(2 * serve.REQUEST_SECONDS)
    for _ in range(3):  # a byte now and then buys no time
        time.sleep(1)
        one.sendall(b"x")
    assert one.recv(100) == b"" or pytest.fail("it was answered")
    assert time.monotonic() - begun < 2 * serve.REQUEST_SECONDS
    for each in held:
        each.close()
    witness.stop()


def test_a_state_that_can_no_longer_be_written_stops_it_from_cosigning(start, tmp_path, log):
    witness = start(tmp_path / "witness", log.vkey)
    assert witness.post(log.request(0, 4))[0] == 200
    logs = tmp_path / "witness" / "logs"
    kept = {path.name: path.read_bytes() for path in logs.iterdir()}
    for path in logs.iterdir():
        path.unlink()
    logs.rmdir()
    status, body, _ = witness.post(log.request(4, 9))
    assert (status, body) == (503, b"the witness cannot write its state\n")
    logs.mkdir(mode=0o700)
    for name, octets in kept.items():
        (logs / name).write_bytes(octets)
    assert is_cosigned(witness, log.note(), witness.post(log.request(4, 9)))
    assert "cannot keep" in witness.stop()
