"""Clients that come back after any number of editions, or while files are replaced: what they find and pay.

A real server over its socket, real publishes, and the library's client. The truth is who was a member in the
edition that the client says its result is of.
"""

import contextlib
import socket
import threading

import numpy as np
import pytest
from server_tools import GERMAN, Process

from contactsync import Client, Server, book_of_numbers
from contactsync.publication.history import MANIFESTS_KEPT, Gap, Position
from contactsync.publication.manifest import MAX_DELTAS
from contactsync.publication.tuf.repository import Repository
from contactsync.server.settings import EDITIONS_SERVED

pytestmark = pytest.mark.slow

LAST = 501
BEHIND = (0, 1, 31, 32, 33, 500)
EVERY = 20
"""Editions between two syncs of a client that comes back regularly."""

MOST_HELD = 64
"""Deltas that a client carries on from one base (docs/protocol.md, "Large partitions")."""

METADATA = 60_000
"""Octets that a sync takes at most beside data files and the manifests of its walk."""

JOINING, BACK_AND_FORTH = GERMAN + 10_000, GERMAN + 20_000
BOOK = np.array(
    [
        *range(GERMAN + 2900, GERMAN + 2910),  # who stays
        *range(GERMAN, GERMAN + LAST + 20, 7),  # who leaves, some after the last edition
        *range(JOINING, JOINING + LAST + 20, 6),
        BACK_AND_FORTH,
        *range(GERMAN + 30_000, GERMAN + 30_010),  # who never joins
    ],
    np.uint64,
)


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """Requests keep no beat: tests/client/test_transport.py measures that."""
    monkeypatch.setattr("contactsync.client.transport.PACE_SECONDS", 0.001)
    monkeypatch.setattr("contactsync.client.patience.BACKOFF_SECONDS", 0.001)


class Site:
    """A server with members of one partition, of which it knows who they were in each edition."""

    def __init__(self, folder, *members):
        self.server = Server.create(folder / "server")
        self.truth, self.partitions, self.manifests = {}, {}, {}
        self.now = set()
        self.publish(join=members)

    def publish(self, *, join=(), leave=()):
        """The next edition."""
        self.server.members.add(np.array(sorted(join), np.uint64))
        if leave:
            self.server.members.remove(np.array(sorted(leave), np.uint64))
        self.now = (self.now | set(join)) - set(leave)
        (outcome,) = self.server.publish()
        manifest = Repository(self.server.folder.public).current("people")
        assert manifest.edition == outcome.edition
        (self.partitions[outcome.edition],) = manifest.partitions.values()
        self.manifests[outcome.edition] = len(manifest.to_bytes())
        self.truth[outcome.edition] = frozenset(self.now)

    def found(self, edition):
        """Who of the book was a member then."""
        return set(BOOK.tolist()) & self.truth[edition]

    def deltas(self, since, until):
        """The lengths of the deltas that lead from an edition to another."""
        return [self.partitions[edition].deltas[-1].file.length for edition in range(since + 1, until + 1)]


class Caller:
    """A client with a state of its own, and what it should have."""

    def __init__(self, folder, site, url):
        self.site, self.client = site, Client(folder)
        self.client.introduce(url).accept()
        self.credential = site.server.accounts.add(folder.name)
        self.edition, self.held = None, 0

    def look(self, **options):
        return self.client.sync(book_of_numbers(BOOK), credential=self.credential, **options)

    def sync(self):
        """Sync, and check all that can be told of the result; what it cost."""
        result = self.look()
        report, before, now = result.report, self.edition, max(self.site.truth)
        assert report.edition == now
        assert set(result.numbers.tolist()) == self.site.found(now)
        earlier = self.site.found(now if before is None else before)
        assert self.changed(report.joined) == self.site.found(now) - earlier
        assert self.changed(report.left) == earlier - self.site.found(now)
        assert report.downloaded == self.expected(now)
        # All octets of the socket: files, the manifests of the walk, and little else.
        steps = min(now - (before or now), MANIFESTS_KEPT)
        walked = max(self.site.manifests.values()) * (steps + 1)
        assert report.downloaded < result.received < report.downloaded + walked + METADATA
        lost = before is not None and now - before > MANIFESTS_KEPT
        assert report.unchecked == (Gap(Position(1, before), Position(1, now)) if lost else None)
        self.edition = now
        return report.downloaded

    def expected(self, now):
        """Octets of data files, as docs/protocol.md has it; which deltas are held then."""
        base = self.site.partitions[now].base.length
        steps = MAX_DELTAS + 1 if self.edition is None else now - self.edition
        if steps <= MAX_DELTAS and self.held + steps <= MOST_HELD:
            deltas = sum(self.site.deltas(self.edition, now))
            if deltas < base:
                self.held += steps
                return deltas
        self.held = 0
        return base

    @staticmethod
    def changed(matches):
        return {int(match.identifier.removeprefix("tel:+")) for match in matches}


@pytest.fixture
def site(in_memory):
    return Site(in_memory, *range(GERMAN, GERMAN + 3000))


@pytest.mark.timeout(1200)
def test_clients_any_number_of_editions_behind(site, in_memory):
    """0, 1, 31, 32, 33 and 500 editions behind, and one that comes back all the time: each has the truth."""
    with Process(site.server.folder.path) as process:

        def caller(name):
            return Caller(in_memory / f"client-{name}", site, process.url)

        regular, late = caller("regular"), {}
        regular.sync()
        costs = []
        for edition in range(1, LAST + 1):
            if edition > 1:
                back = "join" if edition % 2 else "leave"
                changes = {"join": [JOINING + edition], "leave": [GERMAN + edition]}
                changes[back] = [*changes[back], *([BACK_AND_FORTH] if edition > 2 else [])]
                site.publish(**changes)
            if LAST - edition in BEHIND:
                late[LAST - edition] = caller(LAST - edition)
                late[LAST - edition].sync()
            if edition % EVERY == 1 and edition > 1:
                costs.append(regular.sync())
        assert late.keys() == set(BEHIND)

        base = site.partitions[LAST].base.length
        again = {behind: one.sync() for behind, one in late.items()}
        assert again[0] == 0
        assert again[1] == site.partitions[LAST].deltas[-1].file.length < 300
        assert again[31] == sum(site.deltas(LAST - 31, LAST)) < again[32] < base
        assert again[33] == again[500] == base
        # Three times 20 deltas, then the base; and all of it less than half of the bases.
        assert [cost > base // 2 for cost in costs[:8]] == [False, False, False, True] * 2
        assert sum(costs) < len(costs) * base // 2
        assert caller("new").sync() == base
        for one in [regular, *late.values()]:
            assert one.sync() == 0


class Line:
    """A connection to a server on which, once, something happens in the middle of the first data file.

    `received` are the octets of replies with data files, heads included.
    """

    def __init__(self, port, after, meanwhile, *, cut):
        self.port, self.after, self.meanwhile, self.cut = port, after, meanwhile, cut
        self.happened, self.received = False, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.port))
                asked = []
                for pump in (self._up, self._down):
                    threading.Thread(target=pump, args=(client, server, asked), daemon=True).start()

    def _up(self, client, server, asked):
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                asked[:] = [data.startswith(b"GET /v1/data/")]
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)

    def _down(self, client, server, asked):
        with client, server, contextlib.suppress(OSError):
            while data := server.recv(1 << 14):
                if asked == [True]:
                    self.received += len(data)
                    if self.received > self.after and not self.happened:
                        self.happened = True
                        self.meanwhile()
                        if self.cut:
                            client.shutdown(socket.SHUT_RDWR)
                            return
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("publishes", [1, 2, 3])
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
def test_bases_are_replaced_in_the_middle_of_a_download(in_memory, publishes, cut):
    """The base of two editions ago is still there. After that, a download that was cut begins anew."""
    site = Site(in_memory, *range(GERMAN, GERMAN + 40_000))
    half = site.partitions[1].base.length // 2

    def meanwhile():
        for edition in range(2, 2 + publishes):
            site.publish(join=[JOINING + 90_000 + edition], leave=[GERMAN + 7 * edition])

    with Process(site.server.folder.path) as process:
        line = Line(process.port, half, meanwhile, cut=cut)
        try:
            caller = Caller(in_memory / "client", site, line.url)
            result = caller.look()
            assert line.happened
            lost = cut and publishes >= EDITIONS_SERVED
            caller.edition = result.report.edition
            assert caller.edition == (1 + publishes if lost else 1)
            assert set(result.numbers.tolist()) == site.found(caller.edition)
            # What came before the cut is not fetched again if it is of the same file.
            assert abs(line.received - half * (3 if lost else 2)) < 1 << 15
            # From there on by deltas, as anybody else.
            assert (caller.sync() > 0) != lost
            assert caller.sync() == 0
        finally:
            line.close()
