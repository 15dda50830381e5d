"""Quotas over a real socket: charged before the answer, exactly, by several processes, whatever fails."""

import json
import os
import re
import resource
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
import urllib3
from server_tools import GERMAN, Operator, Process

from contactsync.server.quota import Terms
from contactsync.server.storage.ports import NewAccount
from contactsync.voprf.client import blind, finalize

BINARY = {"Content-Type": "application/octet-stream"}
EVALUATE = "/v1/evaluate/people/1"


def batch(n=8):
    return blind([os.urandom(8) for _ in range(n)]).blinded.tobytes()


class Site:
    """An operator, as many servers as wanted, and clients of them."""

    def __init__(self, folder, processes=1, **options):
        self.operator = Operator(folder / "server")
        self.operator.add(*range(GERMAN, GERMAN + 3))
        self.operator.publish()
        self.path = self.operator.folder.path
        self.processes = [Process(self.path, log=f"{i}.log", **options) for i in range(processes)]
        self.http = urllib3.PoolManager(num_pools=100, maxsize=100, retries=False, timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.http.clear()
        for process in self.processes:
            process.__exit__()
        self.operator.close()

    def account(self, name, burst=None, per_day=None, **options):
        self.operator.accounts.add_all([NewAccount(name, "people", f"cs_{name}", Terms("", burst, per_day))])
        return lambda *words, **more: self(f"cs_{name}", *words, **options, **more)

    def __call__(self, credential, method="POST", path=EVALUATE, *, body=None, at=0, **options):
        head = {"Authorization": f"Bearer {credential}", **BINARY}
        return self.http.request(method, self.processes[at].url + path, headers=head, body=body, **options)

    def used(self, name):
        return self.operator.accounts.uses(name)[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Site(tmp_path_factory.mktemp("quotas")) as site:
        yield site
        assert "ERROR" not in site.processes[0].log.read_text()


def problem(response, status, slug):
    body = json.loads(response.data)
    assert (response.status, body["type"]) == (status, f"urn:contactsync:problem:{slug}")
    return body


def limits(response):
    """The RateLimit fields: q, w, r, t."""
    policy = re.fullmatch(r'"points";q=(\d+);w=(\d+)', response.headers["ratelimit-policy"])
    state = re.fullmatch(r'"points";r=(\d+);t=(\d+)', response.headers["ratelimit"])
    return *map(int, policy.groups()), *map(int, state.groups())


@pytest.mark.slow
def test_a_crawler_is_stopped_at_the_burst(site):
    """The attack: as many batches as there is time for."""
    crawler = site.account("crawler", 1000, 24)
    statuses = [crawler(body=batch(96)).status for _ in range(30)]
    assert statuses == [200] * 10 + [429] * 20
    used = site.used("crawler")
    assert (used.points_today, used.points_total, used.refused) == (960, 960, 20)
    assert used.last_used == int(time.time()) // 86_400 * 86_400


@pytest.mark.slow
def test_what_a_client_is_told(site):
    ask = site.account("told", 100, 86_400)  # a point a second
    answer = ask("GET", "/v1/account")
    assert json.loads(answer.data) == {
        "audience": "people",
        "quota": {"left": 100, "burst": 100, "per_day": 86_400},
        "grant": 0,
    }
    assert answer.headers["cache-control"] == "no-store"
    assert limits(answer) == (100, 100, 100, 0)
    answer = ask(body=batch(90))
    assert answer.status == 200
    assert limits(answer) == (100, 100, 10, 8)
    refused = ask(body=batch(64))
    said = problem(refused, 429, "out-of-quota")
    q, w, r, t = limits(refused)
    assert (q, w) == (100, 100)
    assert 10 <= r <= 14
    assert t == int(refused.headers["retry-after"]) == said["retry_after"] == pytest.approx(64 - r, abs=1)
    assert (said["left"], said["burst"], said["per_day"], said["needed"]) == (r, 100, 86_400, 64)
    assert said["hint"]
    assert refused.headers["cache-control"] == "no-store"


@pytest.mark.slow
def test_who_waits_as_long_as_it_is_told_passes(site):
    ask = site.account("patient", 8, 8 * 86_400 // 2)  # eight points in two seconds
    body = batch()
    assert ask(body=batch()).status == 200
    wait = int(ask(body=body).headers["retry-after"])
    assert wait == 2
    time.sleep(wait)
    assert ask(body=body).status == 200


def test_a_batch_beyond_the_burst_would_never_pass_and_is_refused_as_too_large(site):
    ask = site.account("small", 50, 1)
    said = problem(ask(body=batch(51)), 413, "batch-too-large")
    assert (said["limit"], said["hint"]) == (50, "split it")
    assert "50" in said["detail"]
    chunked = ask(body=iter([batch(51)]))
    assert problem(chunked, 413, "body-too-large")["limit"] == 50 * 32
    assert ask(body=batch(50)).status == 200


def test_the_same_batch_again_is_free_and_gives_the_same_elements(site):
    ask = site.account("again", 16, 1)
    blinding = blind([b"tel:+4915100000001"] * 8)
    body = blinding.blinded.tobytes()
    first, second = ask(body=body), ask(body=body)
    assert first.data[:256] == second.data[:256]
    assert limits(first)[2] == limits(second)[2] == 8
    key = site.operator.manifest().public_key
    outputs = []
    for answer in (first, second):
        evaluated = np.frombuffer(answer.data[:256], np.uint8).reshape(8, 32)
        outputs.append(finalize(blinding, evaluated, answer.data[256:], key).tobytes())
    assert outputs[0] == outputs[1]
    other = bytearray(batch())
    assert ask(body=bytes(other)).status == 200
    problem(ask(body=batch(1)), 429, "out-of-quota")
    assert ask(body=body).status == 200, "also when nothing is left"
    assert site.used("again").points_total == 16


def test_the_same_batch_of_another_account_or_in_part_is_not_free(site):
    one, two = site.account("one", 8, 1), site.account("two", 16, 1)
    body = batch()
    assert one(body=body).status == two(body=body).status == 200
    assert two(body=body[:128]).status == 200
    assert site.used("two").points_total == 12
    problem(one(body=body[:32]), 429, "out-of-quota")


def test_what_is_malformed_costs_nothing(site):
    ask = site.account("clumsy", 4096, 1)
    bad = bytearray(batch(1024))
    bad[-32:] = b"\xff" * 32
    for body, slug in (
        (b"", "bad-batch"),
        (batch()[:-1], "bad-batch"),
        (bytes(bad), "invalid-element"),
        (bytes(32), "invalid-element"),
    ):
        assert json.loads(ask(body=body).data)["type"].endswith(slug)
    problem(ask(path="/v1/evaluate/people/2", body=batch()), 409, "epoch-changed")
    problem(ask(path="/v1/evaluate/business/1", body=batch()), 403, "wrong-audience")
    problem(ask(body=bytes(4097 * 32)), 413, "batch-too-large")
    assert json.loads(ask("GET", "/v1/account").data)["quota"]["left"] == 4096
    used = site.used("clumsy")
    assert (used.points_total, used.refused) == (0, 0)


def test_nothing_of_a_batch_or_its_answer_is_kept(site):
    ask = site.account("private")
    body = batch()
    answer = ask(body=body).data
    files = b"".join(path.read_bytes() for path in site.path.glob("accounts.sqlite*"))
    assert not any(part[i : i + 16] in files for part in (body, answer) for i in range(0, len(part) - 15, 16))


@pytest.mark.parametrize("name", ["twice", "eight times"])
def test_the_same_batch_at_once_on_several_connections_is_charged_once(site, name):
    ask, body = site.account(name.replace(" ", "-"), 1024, 1), batch(512)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(body=body), range(2 if name == "twice" else 8)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.data[: 512 * 32] for answer in answers}) == 1
    assert site.used(name.replace(" ", "-")).points_total == 512


def test_a_credential_is_refused_at_once_wherever_it_is_shown(site):
    ask = site.account("guest")
    name = site.operator.manifest().partitions["49"].base.sha256
    paths = (("GET", "/v1/account"), ("GET", f"/v1/data/{name}"), ("POST", EVALUATE))
    assert [ask(*path, body=batch()).status for path in paths] == [200] * 3
    site.operator.accounts.revoke("guest")
    for method, path in paths:
        answer = ask(method, path, body=batch())
        problem(answer, 401, "bad-credential")
        assert answer.headers["www-authenticate"] == "Bearer"
    problem(site("cs_wrong", "GET", "/v1/account"), 401, "bad-credential")
    assert site.http.request("GET", site.processes[0].url + "/v1/account").status == 401


@pytest.mark.slow
def test_a_rotated_credential_ends_when_its_overlap_does(site):
    ask = site.account("rotated")
    assert ask("GET", "/v1/account").status == 200
    site.operator.accounts.rotate("rotated", "cs_rotated2", 1_500)
    for credential in ("cs_rotated", "cs_rotated2"):
        assert site(credential, "GET", "/v1/account").status == 200
        assert site(credential, body=batch()).status == 200
    time.sleep(1.6)
    for method, path in (("GET", "/v1/account"), ("POST", EVALUATE)):
        problem(site("cs_rotated", method, path, body=batch()), 401, "bad-credential")
        assert site("cs_rotated2", method, path, body=batch()).status == 200
    assert site.used("rotated").points_total == 24, "one account, one quota"


def test_what_an_operator_sets_counts_from_the_next_request_on(site):
    ask = site.account("set", 8, 1)
    assert ask(body=batch()).status == 200
    assert ask(body=batch()).status == 429
    site.operator.accounts.change(["set"], lambda _: Terms("", 16, 1))
    assert ask(body=batch()).status == 200
    assert ask(body=batch()).status == 429
    site.operator.accounts.change(["set"], lambda terms: terms, refill=True)
    assert ask(body=batch()).status == 200


def test_charges_do_not_make_the_server_forget_its_callers(site):
    """Or each would cost the look-ups of all."""
    before = site.operator.accounts.revision()
    assert site.account("frequent")(body=batch()).status == 200
    known = site.operator.accounts.revision()
    assert known != before
    for _ in range(3):
        assert site("cs_frequent", body=batch()).status == 200
    assert site.operator.accounts.revision() == known


# Faults


@pytest.mark.slow
def test_64_clients_of_one_account_on_4_processes(tmp_path):
    """What is given is what fits, to the point; one batch that all of them send is charged once."""
    with Site(tmp_path, processes=4) as site:
        ask, shared = site.account("many", 1200, 1), batch(16)
        start = threading.Barrier(64)

        def client(number):
            start.wait(60)
            statuses = [ask(body=shared, at=number % 4).status]
            start.wait(60)
            return statuses + [ask(body=batch(), at=(number + i) % 4).status for i in range(4)]

        with ThreadPoolExecutor(64) as pool:
            statuses = [status for found in pool.map(client, range(64)) for status in found]
        assert {*statuses} == {200, 429}
        assert statuses.count(200) == 64 + (1200 - 16) // 8
        used = site.used("many")
        assert used.points_total == 1200
        assert used.refused == 64 * 5 - statuses.count(200)
        for process in site.processes:
            assert "ERROR" not in process.log.read_text()


DYING = """
import os, signal, sys
from contactsync.server import evaluation
from contactsync.server.http import together
def die(size):
    if size in (13, 70):
        os.kill(os.getpid(), signal.SIGKILL)
alone, joint = evaluation.Evaluator.evaluate_decoded, together.blind_evaluate_batches
def of_one(self, key, batch):
    die(len(batch.blinded))
    return alone(self, key, batch)
def of_many(key, batches):
    for blinded, _ in batches:
        die(len(blinded))
    return joint(key, batches)
evaluation.Evaluator.evaluate_decoded, together.blind_evaluate_batches = of_one, of_many
from contactsync.commands import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("points", [13, 70])
def test_killed_between_charge_and_answer(tmp_path, points):
    """It was charged once, and the answer is had by sending the same again."""
    with Site(tmp_path, program=("-c", DYING)) as site:
        ask, body = site.account("unlucky", points + 8, 1), batch(points)
        with pytest.raises(urllib3.exceptions.ProtocolError):
            ask(body=body)
        assert site.processes[0].popen.wait(20) == -signal.SIGKILL
        assert site.used("unlucky").points_total == points
        site.processes.append(Process(site.path, log="second.log"))
        for _ in range(2):
            answer = ask(body=body, at=1)
            assert (answer.status, limits(answer)[2]) == (200, 8)
        assert site.used("unlucky").points_total == points
        assert ask(body=batch(), at=1).status == 200
        assert ask(body=batch(1), at=1).status == 429


@pytest.mark.slow
def test_a_store_that_is_locked_for_ten_seconds(tmp_path):
    with Site(tmp_path) as site:
        ask, body = site.account("waits", 16, 1), batch()
        assert ask("GET", "/v1/account").status == 200
        with closing(sqlite3.connect(site.path / "accounts.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            begin = time.monotonic()
            answer = ask(body=body)
            problem(answer, 503, "store-unavailable")
            assert answer.headers["retry-after"] == "5"
            assert len(answer.data) < 1000, "no element is given away"
            assert ask("GET", "/v1/account").status == 200, "reading goes on"
            assert ask("GET", "/v1/health").status == 200
            time.sleep(max(0, 10 - (time.monotonic() - begin)))
            other.execute("ROLLBACK")
        assert site.used("waits").points_total == 0
        assert ask(body=body).status == 200
        assert site.used("waits").points_total == 8
        assert "locked" in site.processes[0].log.read_text()


@pytest.mark.slow
def test_a_full_disk(tmp_path):
    """The server may write no further octet to any file; then there is room again."""
    with Site(tmp_path) as site:
        ask = site.account("full", 10_000, 1)
        statuses = [ask(body=batch()).status]
        pid = site.processes[0].popen.pid
        usual = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (100_000, usual[1]))
        while statuses[-1] == 200:
            assert len(statuses) < 200
            answer = ask(body=batch())
            statuses.append(answer.status)
        problem(answer, 503, "store-unavailable")
        assert site.used("full").points_total == 8 * statuses.count(200)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, usual)
        assert ask(body=batch()).status == 200
        assert site.used("full").points_total == 8 * (statuses.count(200) + 1)
        assert len(re.findall("ERROR", site.processes[0].log.read_text())) == 1


def test_an_account_that_is_revoked_during_a_download(site):
    """What runs is finished; its next request stops, and says why."""
    ask = site.account("reader")
    name = site.operator.manifest().partitions["49"].base.sha256
    first = ask("GET", f"/v1/data/{name}", preload_content=False)
    site.operator.accounts.revoke("reader")
    assert first.status == 200
    assert len(first.read()) == int(first.headers["content-length"])
    said = problem(ask("GET", f"/v1/data/{name}"), 401, "bad-credential")
    assert said["detail"]
    assert said["hint"]
