"""Private look-ups end to end: two real servers, and a client of plain functions (docs/lookup.md).

What one server receives says nothing of the book, whoever lies is found out, and no answer mixes editions.
"""

import contextlib
import json
import math
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing

import numpy as np
import pytest
from middleman import Middleman
from server_tools import AMERICAN, GERMAN, Operator, Process, ask

from contactsync.foundation.errors import BadDirectory
from contactsync.lookup import dpf
from contactsync.lookup.batch import Sharing, plan_batches, sharings
from contactsync.lookup.rows import Places
from contactsync.lookup.table import check_level, read_records
from contactsync.tokens import Tokens
from contactsync.voprf.server import evaluate

BRITISH, AUSTRIAN = 447700900000, 43660100000
OCTETS = "application/octet-stream"


class Server:
    """One of the two, as a client knows it. What it is sent is kept; `lie` may change what it says."""

    def __init__(self, port, credential="cs_people"):
        self.port, self.credential = port, credential
        self.received = []
        self.lie = lambda _root, _keys, answer: answer

    def send(self, root, keys, audience="people"):
        fields = {"Content_Type": OCTETS, "Authorization": f"Bearer {self.credential}"}
        return ask(self.port, "POST", f"/v1/lookup/{audience}/{root.hex()}", keys, **fields)

    def answer(self, root, keys):
        self.received.append(keys)
        reply, body = self.send(root, keys)
        assert reply.status == 200, body
        assert reply.getheader("content-type") == OCTETS
        return np.frombuffer(self.lie(root, keys, body), np.uint8)


class Client:
    """Looks up tokens at two servers, with the functions of contactsync/lookup alone."""

    def __init__(self, servers, manifest):
        self.servers = servers
        self.root, self.table = manifest.rows.root, manifest.rows.table(manifest.partitions)
        fields = {"Authorization": f"Bearer {servers[0].credential}"}
        reply, level = ask(servers[0].port, "GET", f"/v1/data/{self.root.hex()}", **fields)
        assert reply.status == 200
        self.level = check_level(level, self.table, self.root)

    def look_up(self, book, sizes):
        """Which tokens of a book, by partition, are found; -1: it waits for the next batch."""
        places = Places.concatenate([self.table.places(name, tokens) for name, tokens in book.items()])
        found = np.full(len(places.row), -1)
        for plan in plan_batches(places.row, sizes, self.table.row_bits):
            rows = self.rows_at(plan)
            found[plan.query] = rows.take(plan.answer).contains(places.take(plan.query))
        return found

    def rows_at(self, plan):
        keys = dpf.generate(plan.position.ravel(), plan.sharing.position_bits)
        answers = [
            server.answer(self.root, some.tobytes()) for server, some in zip(self.servers, keys, strict=True)
        ]
        if answers[0].size != answers[1].size:
            raise BadDirectory("the answers have two lengths")
        records = (answers[0] ^ answers[1]).reshape(-1, self.table.width)
        return read_records(records, plan.row.ravel(), self.level, self.table)


class Site:
    """An operator whose server runs, and a copy of what is published, which another process serves."""

    def __init__(self, folder, **members):
        self.operator = Operator(folder / "server")
        self.operator.folder.switch_private_lookup(on=True)
        self.operator.accounts.add("people", "people", "cs_people")
        self.operator.accounts.add("business", "business", "cs_business")
        for numbers in members.values():
            self.operator.add(*numbers)
        self.operator.publish()
        self.copy = folder / "copy"
        shutil.copytree(self.operator.folder.path, self.copy)
        shutil.rmtree(self.copy / "rows")  # the second one makes them itself
        self.options = ("--private-lookup",)

    @contextlib.contextmanager
    def running(self):
        self.process = Process(self.operator.folder.path, *self.options)
        self.second = Process(self.copy, *self.options, log="second.log")
        with closing(self.operator), self.process, self.second:
            yield self
            assert self.process.stop() == 0
            assert self.second.stop() == 0
        for one in (self.process, self.second):
            log = one.log.read_text()
            assert "ERROR" not in log
            assert "Traceback" not in log
            assert "verified" in log

    def servers(self):
        return Server(self.process.port), Server(self.second.port)

    def client(self):
        servers = self.servers()
        return Client(servers, self.operator.manifest())

    def tokens(self, *numbers):
        manifest = self.operator.manifest()
        key = self.operator.keyring.key_pair("people", manifest.epoch)
        return Tokens.from_outputs(evaluate(key, [b"tel:+%d" % number for number in numbers]))

    def book(self, members, strangers):
        """A book of numbers by partition, and who of it is found."""
        names = dict.fromkeys([*members, *strangers])
        book = {name: self.tokens(*members.get(name, ()), *strangers.get(name, ())) for name in names}
        truth = [
            one
            for name in names
            for one in [True] * len(members.get(name, ())) + [False] * len(strangers.get(name, ()))
        ]
        return book, np.array(truth)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(
        tmp_path_factory.mktemp("lookups"),
        german=range(GERMAN, GERMAN + 6000),
        american=range(AMERICAN, AMERICAN + 300),
        british=range(BRITISH, BRITISH + 7),
        austrian=range(AUSTRIAN, AUSTRIAN + 20),
    )
    with site.running():
        yield site


MEMBERS = {
    "49": [GERMAN + 7 * i for i in range(20)],
    "1": [AMERICAN + i for i in range(10)],
    "44": [BRITISH, BRITISH + 6],
}
STRANGERS = {
    "49": [GERMAN + 100_000 + i for i in range(20)],
    "1": [AMERICAN + 1000 + i for i in range(10)],
    "44": [BRITISH + 7, BRITISH + 500],
}


def test_two_servers_find_exactly_the_members_of_a_book(site):
    client = site.client()
    assert client.table.total < 1 << client.table.row_bits, "some leaves have no row"
    book, truth = site.book(MEMBERS, STRANGERS)
    assert len(truth) == 64
    found = client.look_up(book, [64, 64])
    assert np.array_equal(found, truth)
    small = {"49": site.tokens(GERMAN, GERMAN + 500_000), "44": site.tokens(BRITISH + 1)}
    assert client.look_up(small, [8, 8]).tolist() == [True, False, True]
    assert {len(one) for one in client.servers[0].received} == {
        client_octets(client, 64),
        client_octets(client, 8),
    }


def client_octets(client, size):
    sharing = Sharing(size, client.table.row_bits)
    return sharing.sub_databases * dpf.key_length(sharing.position_bits)


@pytest.mark.slow
def test_batches_of_512_over_many_rows(tmp_path):
    site = Site(
        tmp_path,
        german=range(GERMAN, GERMAN + 95_000),
        american=range(AMERICAN, AMERICAN + 3000),
        austrian=range(AUSTRIAN, AUSTRIAN + 40),
    )
    with site.running():
        client = site.client()
        assert [one.size for one in sharings(client.table.row_bits)] == [8, 64, 512]
        members = {"49": range(GERMAN, GERMAN + 200), "1": range(AMERICAN, AMERICAN + 50)}
        austrians, germans = AUSTRIAN + 40, GERMAN + 10**6
        strangers = {"43": range(austrians, austrians + 100), "49": range(germans, germans + 162)}
        book, truth = site.book(members, strangers)
        assert len(truth) == 512
        assert np.array_equal(client.look_up(book, [512, 8]), truth)


@pytest.mark.slow
def test_rows_that_were_taken_out_of_service_are_not_answered_from(tmp_path):
    """`publish --expunge` removes them after the switch; a server has them mapped and must let go."""
    site = Site(tmp_path, german=range(GERMAN, GERMAN + 200))
    with site.running():
        path, before = site.operator.folder.path, site.operator.manifest()
        old = Server(site.process.port)
        keys = bytes(client_octets(site.client(), 8))
        assert old.send(before.rows.root, keys)[0].status in {200, 400}
        leaving = [sys.executable, "-m", "contactsync", "server", "members", "remove", f"+{GERMAN}"]
        for words in (leaving, [*leaving[:4], "publish", "--expunge"]):
            subprocess.run([*words, "--data", path], check=True, capture_output=True, timeout=120)
        assert not list((path / "rows" / "people").glob(f"{before.rows.root.hex()}*"))
        end = time.monotonic() + 30
        while old.send(before.rows.root, keys)[0].status != 404:
            assert time.monotonic() < end, "it still answers"
            time.sleep(0.1)
        # The edition after it does not count the expunged one among the two that are kept.
        subprocess.run(
            [*leaving[:4], "publish", "--private-lookup", "yes", "--data", path],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        assert old.send(before.rows.root, keys)[0].status == 404
        assert old.send(site.operator.manifest().rows.root, keys)[0].status in {200, 400}


# Lies


def flip_one(rng):
    def lie(_root, _keys, answer):
        octets = bytearray(answer)
        octets[rng.integers(len(octets))] ^= 1 << int(rng.integers(8))
        return bytes(octets)

    return lie


def flip_all(_root, _keys, answer):
    return bytes(octet ^ 0xFF for octet in answer)


def zeros(_root, _keys, answer):
    return bytes(len(answer))


class Replay:
    """Answers each request as an earlier one of the same size."""

    def __init__(self):
        self.earlier = {}

    def __call__(self, _root, keys, answer):
        found = self.earlier.get(len(keys))
        self.earlier[len(keys)] = answer
        return answer if found is None else found


def cut(_root, _keys, answer):
    return answer[:-1]


def refused(client, book, sizes):
    """The error of a look-up that finds nothing."""
    with pytest.raises(BadDirectory) as caught:
        client.look_up(book, sizes)
    return str(caught.value), caught.value.hint


def is_answered(client, book):
    try:
        client.look_up(book, [8])
    except BadDirectory:
        return False
    return True


BOOKS = {
    "a member": ({"49": [GERMAN]}, {}),
    "a stranger": ({}, {"49": [GERMAN + 10**6]}),
    "nobody": ({}, {}),
    "one of another partition": ({"44": [BRITISH]}, {}),
    "eight members": ({"1": list(range(AMERICAN, AMERICAN + 8))}, {}),
    "the same one eight times": ({"49": [GERMAN] * 8}, {}),
}


@pytest.mark.parametrize("which", [0, 1])
def test_a_lie_discards_the_whole_answer_whatever_was_looked_up(site, which):
    """Who lies sees the same whatever the book is: the error is one, and nothing of the answer is read."""
    rng = np.random.default_rng(which)
    lies = {"flip one": flip_one(rng), "flip all": flip_all, "zeros": zeros}
    errors = {}
    for name, lie in lies.items():
        for title, (members, strangers) in BOOKS.items():
            client = site.client()
            client.servers[which].lie = lie
            book, _ = site.book(members, strangers)
            for _ in range(4):
                errors[name, title] = refused(client, book, [8])
    assert len(set(errors.values())) == 1, errors


def test_an_answer_of_an_earlier_request_is_discarded(site):
    for title, (members, strangers) in BOOKS.items():
        client = site.client()
        client.servers[1].lie = Replay()
        book, truth = site.book(members, strangers)
        assert np.array_equal(client.look_up(book, [8]) == 1, truth), title  # there was none before
        refused(client, book, [8])


def test_an_answer_that_is_cut_is_discarded(site):
    client = site.client()
    client.servers[0].lie = cut
    refused(client, site.book(*BOOKS["a member"])[0], [8])


def test_the_same_keys_have_the_same_answer(site):
    client = site.client()
    server = client.servers[0]
    sharing = Sharing(8, client.table.row_bits)
    keys, _ = dpf.generate(np.zeros(12, np.uint32), sharing.position_bits)
    assert (
        server.answer(client.root, keys.tobytes()).tobytes()
        == server.answer(client.root, keys.tobytes()).tobytes()
    )


# What one server receives


@pytest.mark.slow
def test_what_is_sent_has_one_length_whatever_is_looked_up(site):
    """As octets on the wire, at a middleman before each server."""
    seen = {}
    with contextlib.ExitStack() as stack:
        for which, port in enumerate((site.process.port, site.second.port)):
            middleman = stack.enter_context(closing(Middleman(port)))
            for title, (members, strangers) in BOOKS.items():
                client = site.client()
                client.servers[which].port = int(middleman.url.rpartition(":")[2])
                middleman.requests.clear()
                client.look_up(site.book(members, strangers)[0], [8])
                (request,) = [one for one in middleman.requests if one.method == "POST"]
                seen[which, title] = request.head.replace(middleman.url[7:], ""), len(request.body)
    for which in range(2):
        assert len({said for (one, _), said in seen.items() if one == which}) == 1, seen


BATCHES = 600
ROW_BITS = 14


def batches(wanted, make_keys):
    """What server 0 receives in many batches of 8, uint8[batches, 12, length]."""
    sharing = Sharing(8, ROW_BITS)
    found = []
    for _ in range(BATCHES):
        (plan,) = plan_batches(wanted, [8], ROW_BITS)
        found.append(make_keys(plan.position.ravel(), sharing.position_bits))
    return np.stack(found)


def honest(positions, bits):
    return dpf.generate(positions, bits)[0]


def in_clear(positions, bits):
    """A client that is wrong: the position stands in its keys."""
    keys = dpf.generate(positions, bits)[0].copy()
    keys[:, :4] = positions[:, None].view(np.uint8)
    return keys


def weak(positions, bits):
    """One that is wrong in a single bit: the parity of the position."""
    keys = dpf.generate(positions, bits)[0].copy()
    keys[:, 5] = keys[:, 5] & 0xFE | positions & 1
    return keys


def how_different(one, other):
    """Two tests of samples of keys, as standard deviations from what two samples of the same would give.

    Of octets: 256 values at each place of a key (chi-square). Of bits: each bit of each key of a batch.
    """
    chi = degrees = 0.0
    for place in range(one.shape[2]):
        counts = np.array([np.bincount(some[:, :, place].ravel(), minlength=256) for some in (one, other)])
        counts = counts[:, counts.sum(axis=0) > 0]
        expected = counts.sum(axis=0) / 2
        chi += float(((counts - expected) ** 2 / expected).sum())
        degrees += counts.shape[1] - 1
    of_octets = (chi - degrees) / math.sqrt(2 * degrees)
    shares = [np.unpackbits(some, axis=2).mean(axis=0).ravel() for some in (one, other)]
    both = (shares[0] + shares[1]) / 2
    varies = (both > 0) & (both < 1)
    square = (shares[0] - shares[1])[varies] ** 2 / (both * (1 - both) * 2 / BATCHES)[varies]
    of_bits = (square.sum() - varies.sum()) / math.sqrt(2 * varies.sum())
    return of_octets, of_bits


FAR = 6.0  # a chance of 10^-9, for one run


def test_one_server_receives_the_same_whatever_the_book():
    rng = np.random.default_rng(1)
    books = [rng.integers(0, 1 << ROW_BITS, 8, np.uint32), np.full(8, 5, np.uint32)]
    one, other = (batches(book, honest) for book in books)
    assert one.shape == other.shape
    assert max(map(abs, how_different(one, other))) < FAR


@pytest.mark.parametrize(("make_keys", "both"), [(in_clear, True), (weak, False)])
def test_the_comparison_sees_a_client_that_is_wrong(make_keys, both):
    rng = np.random.default_rng(1)
    books = [rng.integers(0, 1 << ROW_BITS, 8, np.uint32), np.full(8, 5, np.uint32)]
    of_octets, of_bits = how_different(*(batches(book, make_keys) for book in books))
    assert of_bits > FAR
    assert not both or of_octets > FAR


# Refusals


def problem(answer):
    reply, body = answer
    assert reply.getheader("content-type") == "application/problem+json"
    return reply.status, json.loads(body)["type"].rpartition(":")[2]


def test_who_may_not_look_up(site):
    client = site.client()
    server, root = client.servers[0], client.root
    keys = bytes(client_octets(client, 8))
    assert problem(Server(server.port, "cs_nobody").send(root, keys)) == (401, "bad-credential")
    assert problem(Server(server.port, "cs_business").send(root, keys)) == (403, "wrong-audience")
    assert problem(Server(server.port, "cs_business").send(root, keys, "business")) == (404, "unknown-rows")
    assert problem(server.send(bytes(32), keys)) == (404, "unknown-rows")
    assert problem(server.send(root, keys[:-1])) == (400, "bad-batch")
    site.operator.accounts.add("left", "people", "cs_left")
    assert Server(server.port, "cs_left").send(root, keys)[0].status == 200
    site.operator.accounts.revoke("left")
    assert problem(Server(server.port, "cs_left").send(root, keys)) == (401, "bad-credential")


def test_a_third_batch_of_an_account_is_refused_before_its_body_comes(site):
    client = site.client()
    length = client_octets(client, 8)
    head = (
        f"POST /v1/lookup/people/{client.root.hex()} HTTP/1.1\r\nHost: x\r\nContent-Type: {OCTETS}\r\n"
        f"Authorization: Bearer cs_people\r\nContent-Length: {length}\r\n\r\n"
    ).encode()
    with contextlib.ExitStack() as stack:
        waiting = [
            stack.enter_context(socket.create_connection(("127.0.0.1", site.process.port), timeout=20))
            for _ in range(2)
        ]
        for one in waiting:
            one.sendall(head)
        end = time.monotonic() + 20
        while problem_of(site, head) != b"HTTP/1.1 503 Service Unavailable":
            assert time.monotonic() < end
        for one in waiting:
            one.sendall(bytes(length))
            assert one.recv(12) == b"HTTP/1.1 200"
    assert Server(site.process.port).send(client.root, bytes(length))[0].status == 200


def problem_of(site, head):
    """The first line of what comes back before the body was sent; none within a moment."""
    with socket.create_connection(("127.0.0.1", site.process.port), timeout=1) as one:
        one.sendall(head)
        try:
            return one.recv(1 << 10).partition(b"\r\n")[0]
        except TimeoutError:
            return b""


@pytest.mark.slow
def test_a_server_that_answers_no_look_ups_knows_no_rows(site, tmp_path):
    folder = tmp_path / "server"
    shutil.copytree(site.copy, folder)
    with Process(folder) as process:
        client = site.client()
        server = Server(process.port)
        assert problem(server.send(client.root, bytes(client_octets(client, 8)))) == (404, "unknown-rows")
        assert process.stop() == 0


@pytest.mark.slow
def test_rows_that_are_damaged_on_the_disk_are_made_anew_and_not_served(site, tmp_path):
    folder = tmp_path / "server"
    shutil.copytree(site.operator.folder.path, folder)
    (path,) = (folder / "rows" / "people").glob("*.rows")
    good = path.read_bytes()
    path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    with Process(folder, "--private-lookup") as process:
        assert path.read_bytes() == good
        client = site.client()
        client.servers = (client.servers[0], Server(process.port))
        book, truth = site.book(MEMBERS, STRANGERS)
        assert np.array_equal(client.look_up(book, [64, 64]), truth)
        assert process.stop() == 0


@pytest.mark.slow
def test_rows_that_do_not_follow_from_the_directories_are_not_served(site, tmp_path):
    """Whoever has the bases sees it: here they are missing, and the file of rows is another one."""
    folder = tmp_path / "server"
    shutil.copytree(site.operator.folder.path, folder)
    (path,) = (folder / "rows" / "people").glob("*.rows")
    path.write_bytes(bytes(path.stat().st_size))
    for partition in site.operator.manifest().partitions.values():
        (folder / "public" / "data" / partition.base.sha256).unlink()
    with Process(folder, "--private-lookup") as process:
        client = site.client()
        keys = bytes(client_octets(client, 8))
        assert problem(Server(process.port).send(client.root, keys)) == (404, "unknown-rows")
        assert process.stop() == 0
    assert "rows of an edition are not served" in process.log.read_text()
    assert "Traceback" not in process.log.read_text()


# Editions


def statuses(server, editions):
    found = []
    for client in editions:
        reply, body = server.send(client.root, bytes(client_octets(client, 8)))
        assert reply.status == 200 or problem((reply, body)) == (404, "unknown-rows")
        found.append(reply.status)
    return found


def wait_for(server, editions, wanted):
    end = time.monotonic() + 60
    while (found := statuses(server, editions)) != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_editions_are_taken_up_without_a_gap_and_never_mixed(tmp_path, workers):
    site = Site(tmp_path, german=range(GERMAN, GERMAN + 6000), american=range(AMERICAN, AMERICAN + 40))
    site.options = ("--private-lookup", *(["--workers", "2"] if workers == 2 else []))
    with site.running():
        first = site.client()
        server = first.servers[0]
        book, truth = site.book({"49": [GERMAN + i for i in range(4)]}, {"1": [AMERICAN + 900]})
        stop, looked_up = threading.Event(), []

        def go_on():
            while not stop.is_set():
                looked_up.append(np.array_equal(first.look_up(book, [8]), truth))

        asking = threading.Thread(target=go_on)
        asking.start()
        site.operator.add(AMERICAN + 900)
        site.operator.publish()
        second = Client(first.servers, site.operator.manifest())
        assert (second.table.width, second.table.row_bits) == (first.table.width, first.table.row_bits)
        for _ in range(workers * 10 if workers > 1 else 1):
            wait_for(server, [first, second], [200, 200])
        stop.set()
        asking.join(60)
        assert len(looked_up) > 3
        assert all(looked_up), "the older edition is answered all the time"

        # The second server has not got the new edition. The older one is what both have.
        assert problem(first.servers[1].send(second.root, bytes(client_octets(second, 8)))) == (
            404,
            "unknown-rows",
        )
        # One that answers with another edition than it was asked for is found out.
        third = Client((server, Server(site.process.port)), site.operator.manifest())
        third.servers[1].lie = lambda _root, keys, _answer: server.send(first.root, keys)[1]
        # (Of one row that differs, which one key in eight does not select in any of its three places.)
        assert sum(not is_answered(third, book) for _ in range(30)) > 10
        third.servers[1].lie = lambda _root, _keys, answer: answer
        assert third.look_up(book, [8]).tolist() == [True, True, True, True, True]

        site.operator.add(AMERICAN + 901)
        site.operator.publish()
        newest = Client(first.servers, site.operator.manifest())
        for _ in range(workers * 10 if workers > 1 else 1):
            wait_for(server, [first, second, newest], [404, 200, 200])


@pytest.mark.slow
def test_a_reload_of_the_workers_loses_no_look_up(tmp_path):
    """New workers take connections only once they have verified the rows."""
    site = Site(tmp_path, german=range(GERMAN, GERMAN + 6000))
    site.options = ("--private-lookup", "--workers", "2")
    with site.running():
        client = site.client()
        keys = bytes(client_octets(client, 8))
        stop, replies = threading.Event(), []

        def go_on():
            while not stop.is_set():
                replies.append(client.servers[0].send(client.root, keys)[0].status)

        asking = threading.Thread(target=go_on)
        asking.start()
        assert site.process.log.read_text().count("verified") == 2
        site.process.popen.send_signal(signal.SIGHUP)
        end = time.monotonic() + 120
        while "reloaded: 2 new workers" not in site.process.log.read_text():
            assert time.monotonic() < end
            time.sleep(0.05)
        before = len(replies)
        while len(replies) < before + 100:
            assert time.monotonic() < end
            time.sleep(0.05)
        stop.set()
        asking.join(60)
        assert site.process.log.read_text().count("verified") == 4
        assert set(replies) == {200}
