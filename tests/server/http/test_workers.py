"""Several worker processes and their supervisor, by signals, kills and real clients."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import urllib3
from server_tools import GERMAN, Operator, Process

from contactsync.foundation.errors import OurError
from contactsync.server.http import supervisor as supervisor_module
from contactsync.server.http.added import add, counts_of
from contactsync.server.http.serve import WorkerShare
from contactsync.server.http.supervisor import Supervisor
from contactsync.server.storage.opening import export_stores, import_stores
from contactsync.server.storage.postgres.accounts import PostgresAccounts
from contactsync.server.storage.postgres.address import DatabaseUrl
from contactsync.serving.systemd import Notify
from contactsync.voprf.client import blind

POINTS = 8
LARGEST = 24
"""Connections that send the largest batches, too: 4,096 points are half a second of work on some machines."""
BINARY = {"Content-Type": "application/octet-stream"}
KILLS = int(os.environ.get("CONTACTSYNC_TEST_KILLS", "50"))

IMPATIENT = """
import runpy
from contactsync.server.http import supervisor
supervisor._LONGEST_PAUSE = {True: 0.2, False: 0.2}
runpy.run_module("contactsync", run_name="__main__")
"""
"""A supervisor that starts workers again at once, however often they were killed before they were ready."""


def test_threads_are_shared_out():
    for wanted in (1, 2, 3, 7, 16):
        for workers in (1, 2, 3, 5):
            found = [WorkerShare(i, workers).threads(wanted) for i in range(workers)]
            assert sum(found) == max(wanted, workers)
            assert max(found) - min(found) <= 1
    assert [WorkerShare(i, 2).has_chores for i in range(2)] == [True, False]


def family(name, kind, **samples):
    return [name, kind, "help", [[name, {"of": label}, value] for label, value in samples.items()]]


def test_figures_are_added_up():
    first = [
        family("contactsync_requests", "counter", a=1, b=2),
        family("contactsync_queue_length", "gauge", x=4),
        family("contactsync_points", "counter", all=100),
    ]
    second = [
        family("contactsync_requests", "counter", b=5, c=7),
        family("contactsync_queue_length", "gauge", x=1),
        family("contactsync_points", "counter", all=99),
    ]
    found = {name: {s[1]["of"]: s[2] for s in samples} for name, _, _, samples in add([first, second], [])}
    assert found == {
        "contactsync_requests": {"a": 1, "b": 7, "c": 7},
        "contactsync_queue_length": {"x": 5},
        "contactsync_points": {"all": 100},
    }
    ended = counts_of(add([counts_of(first)], counts_of(second)))
    assert [one[0] for one in ended] == ["contactsync_requests"], "a queue ends with its worker"
    again = {one[0]: one[3] for one in add([second], ended)}
    assert {s[1]["of"]: s[2] for s in again["contactsync_requests"]} == {"a": 1, "b": 12, "c": 14}
    assert json.loads(json.dumps(ended)) == ended


class Service:
    """An operator with a server of two workers. `url` names a database, if its stores are not files."""

    def __init__(self, folder, url=None):
        self.operator = Operator(folder / "server")
        self.operator.add(GERMAN)
        self.operator.publish()
        self.operator.accounts.add("a", "people", "cs_a")
        if url is not None:
            export_stores(self.operator.folder, folder / "stores")
            import_stores(self.operator.folder, folder / "stores", DatabaseUrl.parse(url))
            self.operator.accounts.close()
            self.operator.accounts = PostgresAccounts(DatabaseUrl.parse(url))
        self.process = None

    def start(self, *options, program=("-m", "contactsync")):
        self.process = Process(self.operator.folder.path, "--workers", "2", *options, program=program)
        return self.process

    def start_unready(self, *options):
        """The same, without waiting until it answers."""
        process = Process(self.operator.folder.path, "--workers", "2", *options, ready=False)
        self.process = self.stack.enter_context(process)
        return self.process

    def pids(self):
        pid = self.process.popen.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def log(self):
        return self.process.log.read_text()

    def wait(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.log()
            time.sleep(0.02)

    def charged(self):
        """Points charged so far, by what the account has left."""
        return self.operator.accounts.flow().hour("all")


@pytest.fixture
def service(request, tmp_path, database, monkeypatch):
    url = database() if getattr(request, "param", "sqlite") == "postgres" else None
    if url is not None:
        monkeypatch.setenv("CONTACTSYNC_DATABASE", url)
    service = Service(tmp_path, url)
    with closing(service.operator), contextlib.ExitStack() as stack:
        service.stack = stack
        yield service


class Clients:
    """Clients that evaluate a new batch after the other, each until it is answered, as a client has to.

    `lost` are requests without a good answer; `answered` counts batches, and in the end that is all of them.
    """

    def __init__(self, port, count=3, *, keep_alive=True):
        self.url, self.stop = f"http://127.0.0.1:{port}", threading.Event()
        self.answered, self.lost, self.given_up = 0, [], False
        self.lock = threading.Lock()
        self.keep_alive = keep_alive
        self.threads = [threading.Thread(target=self.work, args=(i,)) for i in range(count)]

    def __enter__(self):
        for one in self.threads:
            one.start()
        return self

    def __exit__(self, error, *_):
        self.stop.set()
        self.given_up = error is not None
        for one in self.threads:
            one.join()

    def work(self, number):
        i = 0
        with urllib3.PoolManager(retries=False, timeout=20) as http:
            while not self.stop.is_set():
                i += 1
                body = blind([b"%d %d %d" % (number, i, j) for j in range(POINTS)]).blinded.tobytes()
                while (fault := self.ask(http, body)) is not None:
                    if self.given_up:
                        return
                    with self.lock:
                        self.lost.append(fault)
                    time.sleep(0.05)
                with self.lock:
                    self.answered += 1

    def ask(self, http, body):
        head = {**BINARY, "Authorization": "Bearer cs_a"}
        if not self.keep_alive:
            head["Connection"] = "close"
        try:
            answer = http.request("POST", f"{self.url}/v1/evaluate/people/1", headers=head, body=body)
        except urllib3.exceptions.HTTPError as error:
            return error
        if answer.status != 200:
            return answer.status
        assert len(answer.data) == 32 * POINTS + 64
        return None


def spend_freely(operator):
    settings = operator.folder.settings_file
    text = re.sub(r"(?m)^(burst|per_day|points_per_hour) = \d+$", r"\1 = 1000000000", settings.read_text())
    settings.write_text(re.sub(r"(?m)^new_points_per_hour = \d+$", "new_points_per_hour = 0", text))


@pytest.mark.slow
def test_a_reload_loses_no_request(service):
    spend_freely(service.operator)
    process = service.stack.enter_context(service.start())
    before = service.charged()
    with Clients(process.port) as kept, Clients(process.port, keep_alive=False) as fresh:
        for reload in range(3):
            old = service.pids()
            assert len(old) == 2
            process.popen.send_signal(signal.SIGHUP)
            service.wait(lambda: service.log().count("reloaded: 2 new workers") == reload + 1)  # noqa: B023
            service.wait(lambda: len(service.pids()) == 2)
            assert not set(old) & set(service.pids())
    assert (kept.lost, fresh.lost) == ([], [])
    assert min(kept.answered, fresh.answered) > 10
    assert service.charged() - before == (kept.answered + fresh.answered) * POINTS
    assert process.stop() == 0
    assert "ERROR" not in service.log()


@pytest.mark.slow
def test_a_reload_that_cannot_succeed_changes_nothing(service):
    process = service.stack.enter_context(service.start())
    old, settings = service.pids(), service.operator.folder.settings_file
    good = settings.read_text()
    settings.write_text("evaluator_threads = 'many'\n")
    process.popen.send_signal(signal.SIGHUP)
    service.wait(lambda: "not reloaded, the old workers stay" in service.log())
    settings.write_text(good)
    (service.operator.folder.accounts).chmod(0o600)
    key = next(service.operator.folder.keys.glob("keyring.json"))
    kept = key.read_bytes()
    key.write_bytes(b"broken")
    process.popen.send_signal(signal.SIGHUP)
    service.wait(lambda: "at its start: the old workers stay" in service.log())
    key.write_bytes(kept)
    service.wait(lambda: len(service.pids()) == 2)
    assert service.pids() == old
    process.popen.send_signal(signal.SIGHUP)
    service.wait(lambda: "reloaded: 2 new workers" in service.log())
    assert process.stop() == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("service", ["sqlite", "postgres"], indirect=True)
def test_workers_are_killed(service):
    """Each batch is answered in the end, and charged once, however often its answer was lost.

    Every other kill waits until batches are answered again: else all would hit workers that only start.
    """
    spend_freely(service.operator)
    process = service.stack.enter_context(service.start(program=("-c", IMPATIENT)))
    chance, before = random.Random(1), service.charged()
    with Clients(process.port) as clients:
        for kill in range(KILLS):
            answered = clients.answered
            if kill % 2:
                service.wait(lambda: clients.answered > answered + 10)  # noqa: B023
            time.sleep(chance.uniform(0, 0.5))
            victim = chance.choice(service.pids())
            os.kill(victim, signal.SIGKILL)
            service.wait(lambda: victim not in service.pids())  # noqa: B023
            service.wait(lambda: len(service.pids()) == 2)
        answered = clients.answered
        service.wait(lambda: clients.answered > answered + 10)
    assert clients.lost, "nobody was asked when a worker was killed: this shows nothing"
    assert service.charged() - before == clients.answered * POINTS
    assert process.stop() == 0
    assert service.log().count("ended with code -9: it is started again") == KILLS


# The callers' own sockets: urllib3 leaves one to the garbage collector where the peer dies while it answers.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("service", ["sqlite", "postgres"], indirect=True)
def test_the_supervisor_is_killed(service):
    """While it starts or answers: its workers end, the port is free for the next one, and as above."""
    spend_freely(service.operator)
    chance, before, workers = random.Random(2), service.charged(), set()
    begin = time.monotonic()
    with service.start() as process:
        port, longest = process.port, min(1.5 * (time.monotonic() - begin), 4)
        with Clients(port) as clients:
            service.wait(lambda: clients.answered > 10)
            for _ in range(KILLS):
                workers.update(service.pids())
                process.popen.kill()
                process.popen.wait()
                process.popen.stdout.close()
                process = service.start_unready("--port", str(port))  # noqa: PLW2901
                time.sleep(chance.uniform(0, longest))
                assert process.popen.poll() is None, service.log()
            answered = clients.answered
            service.wait(lambda: clients.answered > answered + 10, 240)
        assert clients.lost
        assert service.charged() - before == clients.answered * POINTS
        service.wait(lambda: not any(map(is_alive, workers)), 20)
        assert process.stop() == 0


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
def test_metrics_add_up_and_never_go_back(service):
    process = service.stack.enter_context(service.start("--metrics-port", "0"))
    url = re.search(r"metrics are at (\S+)", service.log())[1]

    def replies():
        with urllib3.PoolManager() as http:
            text = http.request("GET", url).data.decode()
        return float(re.search(r'contactsync_replies_total\{status="200"\} (\S+)', text)[1])

    with urllib3.PoolManager(headers={"Connection": "close"}) as http:
        for i in range(40):
            assert http.request("GET", f"{process.url}/v1/health").status == 200
            if i in {10, 20, 30}:
                assert replies() == i + 1
    assert replies() == 40
    for pid in service.pids():
        os.kill(pid, signal.SIGKILL)
        service.wait(lambda: pid not in service.pids() and len(service.pids()) == 2)  # noqa: B023
    assert replies() == 40


@pytest.mark.slow
def test_memory_of_a_worker_is_bounded_after_any_load(service):
    """Requests of every size from 64 connections: 120 MB, and little more than before (once 190 to 250)."""
    spend_freely(service.operator)
    process = service.stack.enter_context(service.start())
    pool = blind([b"%d" % i for i in range(4096)]).blinded
    head = {**BINARY, "Authorization": "Bearer cs_a"}

    def memory(what):
        found = []
        for pid in service.pids():
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            found.append(sum(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1024)
        return max(found)

    def work(number):
        with urllib3.PoolManager(retries=False, timeout=120) as http:
            for i, points in enumerate((8, 64, 512, 4096) if number < LARGEST else (8, 64, 512)):
                body = pool[(number * 37 + i) % 64 :][:points]
                body = np.concatenate([body, pool[: points - len(body)]]).tobytes()
                while True:
                    answer = http.request(
                        "POST", f"{process.url}/v1/evaluate/people/1", headers=head, body=body
                    )
                    if answer.status != 503:
                        break
                    time.sleep(0.2)
                statuses.append(answer.status)

    before, statuses = memory("Private_Dirty"), []
    threads = [threading.Thread(target=work, args=(i,)) for i in range(64)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert statuses == [200] * (3 * 64 + LARGEST)
    print({name: round(memory(name)) for name in ("Rss", "Pss", "Private_Dirty")})
    assert memory("Pss") <= 120
    assert memory("Private_Dirty") <= before + 12
    assert process.stop() == 0


def test_a_worker_that_cannot_start_ends_the_service():
    def start(_number, _channel):
        return subprocess.Popen(["false"])

    supervisor = Supervisor(2, start, lambda _: b"{}\n", Notify(), lambda: None)
    with pytest.raises(OurError, match="a worker ended at its start"):
        supervisor.run(lambda: pytest.fail("it is not ready"))


@pytest.mark.slow
def test_a_worker_that_says_nothing_is_killed(monkeypatch, caplog):
    monkeypatch.setattr(supervisor_module, "SILENT_SECONDS", 0.3)
    started = []

    def start(_number, channel):
        ready = """import socket,time; socket.socket(fileno=0).send(b'{"ready": true}\\n'); time.sleep(60)"""
        started.append(subprocess.Popen([sys.executable, "-c", ready], stdin=channel.fileno()))
        if len(started) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return started[-1]

    Supervisor(1, start, lambda _: b"{}\n", Notify(), lambda: None).run(lambda: None)
    assert [one.poll() for one in started[:2]] == [-9, -9]
    assert all(one.poll() is not None for one in started)
