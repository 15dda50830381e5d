"""`contactsync witness` as a process: over HTTP, killed at any moment, against callers that mean no good."""

import concurrent.futures
import http.client
import json
import os
import random
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time

import pytest
from authority import Authority
from growing_log import GrowingLog

from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.notes import Verifier, open_note, with_lines
from contactsync.publication.log.witnessing import MAX_REQUEST, SIZE_TYPE
from contactsync.serving.protocol import HEADER_LIMIT
from contactsync.witness.app import BODY_WAIT, MAX_WAITING

pytestmark = pytest.mark.slow


@pytest.fixture
def log():
    return GrowingLog(9)


def run(*words, check=True):
    """`contactsync witness …` as a process."""
    command = [sys.executable, "-m", "contactsync", "witness", *map(str, words)]
    return subprocess.run(command, check=check, capture_output=True, text=True, timeout=60)


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
    assert f"the log {log.name} has signed two trees of 9 entries" in said
    assert log.request()[:20].decode() not in said


def test_it_follows_the_logs_of_a_file_and_shows_what_it_knows(start, tmp_path, log):
    other = GrowingLog(3, name="other.example.org/log")
    file = tmp_path / "logs"
    file.write_text(f"# logs that we follow\n\n{other.vkey}  # ours\n")
    witness = start(tmp_path / "witness", log.vkey, options=("--logs", str(file)))
    assert is_cosigned(witness, other.note(), witness.post(other.request()))
    assert is_cosigned(witness, log.note(), witness.post(log.request()))
    witness.stop()
    key, *lines = run("show", "--state", tmp_path / "witness").stdout.splitlines()
    assert Verifier.parse(key) == witness.verifier
    assert [line.partition(", ")[0] for line in lines] == [f"{log.name}: size 9", f"{other.name}: size 3"]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "witness").rglob("*")}
    assert modes == {"witness.json": 0o600, "logs.sqlite": 0o600}


HERE = ["--state", "S", "--listen", "127.0.0.1:0"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "Give --listen"),
        (["--state", "S"], 2, "Give --listen"),
        (HERE, 3, "no log to follow"),
        (["--state", "S", "--listen", "127.0.0.1"], 2, "not HOST:PORT"),
        (["--state", "S", "--listen", "127.0.0.1:70000"], 2, "not HOST:PORT"),
        ([*HERE, "--log", "x"], 3, "no verifier key"),
        ([*HERE, "--logs", "/nonexistent/logs"], 3, "cannot read"),
        ([*HERE, "--logs", "FILE"], 3, "line 2"),
        ([*HERE, "--log", "VKEY"], 3, "witness init"),
        ([*HERE, "--log", "VKEY", "--name", "a b"], 3, "name of a key"),
        ([*HERE, "--log", "VKEY", "--name", "w", "--tls-cert", "x"], 2, "both"),
        ([*HERE, "--log", "VKEY", "--name", "w", "--tls-cert", "x", "--tls-key", "x"], 3, "cannot read"),
        (["--state", "S", "--listen", "192.0.2.1:1", "--log", "VKEY", "--name", "w"], 3, "192.0.2.1"),
        (["--state", "/proc/x", "--listen", "127.0.0.1:0", "--log", "VKEY", "--name", "w"], 3, "cannot make"),
        (["show", "--state", "S"], 3, "no witness"),
    ],
)
def test_what_cannot_run_says_why(tmp_path, log, arguments, code, said):
    file = tmp_path / "logs"
    file.write_text(f"{log.vkey}\nx\n")
    words = [{"S": tmp_path / "S", "VKEY": log.vkey, "FILE": file}.get(word, word) for word in arguments]
    done = run(*words, check=False)
    assert done.returncode == code, done.stderr
    assert "listening" not in done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_its_key_may_be_made_before_it_runs(start, tmp_path, log):
    made = run("init", "--state", tmp_path / "w", "--name", "witness.example.org/w1").stdout.strip()
    again = run("init", "--state", tmp_path / "w", "--name", "witness.example.org/w1", check=False)
    assert (again.returncode, again.stdout) == (3, "")
    assert start(tmp_path / "w", log.vkey).verifier.vkey() == made
    other = run(
        *("--state", tmp_path / "w", "--listen", "127.0.0.1:0", "--log", log.vkey, "--name", "w2"),
        check=False,
    )
    assert "is witness.example.org/w1" in other.stderr


def test_what_it_knows_is_shown_as_json_with_the_proof_of_a_fork(start, tmp_path, log):
    witness = start(tmp_path / "w", log.vkey)
    assert json.loads(run("show", "--state", tmp_path / "w", "--json").stdout)["logs"] == []
    witness.post(log.request(0, 9))
    fork = log.fork(8, 9)
    assert witness.post(fork.request(9))[0] == 409
    shown = json.loads(run("show", "--state", tmp_path / "w", "--json").stdout)
    assert shown["vkey"] == witness.verifier.vkey()
    (one,) = shown["logs"]
    assert (one["origin"], one["size"]) == (log.name, 9)
    (proof,) = shown["forks"]
    roots = set()
    for note in proof["checkpoints"]:
        opened = open_note(note.encode(), [log.signer.verifier])
        assert opened.verified
        roots.add(Checkpoint.parse(opened.text))
    assert roots == {log.checkpoint(), fork.checkpoint()}
    assert "FORKED" in run("show", "--state", tmp_path / "w").stdout
    witness.stop()


def test_it_speaks_tls(start, tmp_path, log):
    authority = Authority()
    authority.context(tmp_path, ("127.0.0.1",))
    pem = tmp_path / "server.pem"
    pem.chmod(0o600)
    witness = start(tmp_path / "w", log.vkey, options=("--tls-cert", str(pem), "--tls-key", str(pem)))
    assert witness.url.startswith("https://")
    context = ssl.create_default_context(cafile=authority.write(tmp_path / "ca.pem"))
    connection = http.client.HTTPSConnection("127.0.0.1", witness.port, timeout=20, context=context)
    connection.request("POST", "/add-checkpoint", log.request())
    assert connection.getresponse().status == 200
    connection.close()
    witness.stop()


KILLS = int(os.environ.get("CONTACTSYNC_TEST_KILLS", "12"))


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
                old = int(body) if body[:1].isdigit() else 0  # else it has signed the other tree of this size


def test_a_witness_that_is_killed_at_any_moment_never_cosigns_two_trees(start, tmp_path, log):
    """Two logs that differ fight for its cosignature while it is killed, and starts again, and is killed."""
    chance = random.Random(1)
    logs = [GrowingLog(10 + 12 * KILLS, name=log.name, key=log.key, word=word) for word in ("one", "two")]
    cosigned = []
    for _ in range(KILLS):
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
        caller.sendall(b"POST /add-checkpoint HTTP/1.1\r\nX: " + b"x" * (HEADER_LIMIT + 1000))
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
    witness = start(tmp_path / "witness", log.vkey, files=200)
    head = b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 1000\r\n\r\nold"
    held = []
    for number in range(150):
        held.append(socket.create_connection(("127.0.0.1", witness.port), timeout=20))
        held[-1].sendall((b"", head[:10], head)[number % 3])
    begun = time.monotonic()
    assert is_cosigned(witness, log.note(), witness.post(log.request()))
    assert time.monotonic() - begun < 10
    slow = socket.create_connection(("127.0.0.1", witness.port), timeout=3 * BODY_WAIT)
    slow.sendall(head)
    begun = time.monotonic()
    for _ in range(3):  # a byte now and then buys no time
        time.sleep(1)
        slow.sendall(b"x")
    assert slow.recv(100).startswith(b"HTTP/1.1 408")
    assert time.monotonic() - begun < 2 * BODY_WAIT
    for each in (slow, *held):
        each.close()
    assert "add-checkpoint" not in witness.stop()


def test_bodies_that_never_end_take_nobodys_turn(start, tmp_path, log):
    witness = start(tmp_path / "witness", log.vkey)
    head = b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 1000\r\n\r\nold"
    held = []
    for _ in range(MAX_WAITING + 20):
        held.append(socket.create_connection(("127.0.0.1", witness.port), timeout=20))
        held[-1].sendall(head)
    assert is_cosigned(witness, log.note(), witness.post(log.request()))
    for each in held:
        each.close()


def test_a_record_that_is_gone_stops_it_from_cosigning(start, tmp_path, log):
    witness = start(tmp_path / "witness", log.vkey)
    assert witness.post(log.request(0, 4))[0] == 200
    record, away = tmp_path / "witness" / "logs.sqlite", tmp_path / "away"
    record.rename(away)
    status, body, _ = witness.post(log.request(4, 9))
    assert (status, body) == (503, b"the witness cannot use its record; nothing was cosigned\n")
    away.rename(record)
    assert is_cosigned(witness, log.note(), witness.post(log.request(4, 9)))
    assert "was removed or replaced" in witness.stop()
