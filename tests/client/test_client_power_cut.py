"""Every writer of the client, by its command, with the power cut at every moment."""

import hashlib
import json
import sys

import pytest
from power_cut import needs_strace, python, record
from simulated_service import CREDENTIAL
from tuf.api.metadata import Metadata

from contactsync.client.cache import Cache
from contactsync.client.core.planner import Options
from contactsync.client.ledger import Ledger
from contactsync.client.session import sync
from contactsync.client.state import State
from contactsync.client.transport import Transport
from contactsync.client.trust import is_known, seen_manifests
from contactsync.foundation.errors import NotTrusted, OurError
from contactsync.sources import read_address_books

pytestmark = [needs_strace, pytest.mark.slow]

BOOK = ("+4915100000001", "+4915100000002", "+12125550100")
MEMBERS = ("+4915100000001", "+12125550100")


@pytest.fixture
def disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    return disk


@pytest.fixture
def files(tmp_path):
    (tmp_path / "credential").write_text(CREDENTIAL)
    (tmp_path / "credential").chmod(0o600)
    (tmp_path / "book.csv").write_text("name,phone\n" + "".join(f"Somebody,{number}\n" for number in BOOK))
    return tmp_path


def command(*arguments):
    return [sys.executable, "-m", "contactsync", *map(str, arguments)]


def sync_command(files, disk, *options):
    credential = ("--credential-file", files / "credential")
    return command("sync", files / "book.csv", *credential, "--state", disk / "state", *options)


def sync_here(state, service, files):
    """A sync in this process; the identifiers of its matches."""
    transport = Transport(service.url, credential=CREDENTIAL, read_seconds=5)
    book = read_address_books([files / "book.csv"], region="DE")
    report = sync(state.server(service.url), book, transport, Options())
    transport.close()
    return {match.identifier for match in report.matches}


def test_trust(service, disk):
    recording = record(disk, command("trust", service.url, "--yes", "--state", disk / "state"))
    assert recording.said.endswith("trusted\n")
    pinned = set()
    for cut in recording.cuts():
        with cut.at() as found:
            state = State(found / "state")
            servers = state.servers()
            pinned.add((bool(servers), "\ntrusted" in cut.said))
            for server in servers:
                assert server.root == service.repository.root_bytes()
            if not servers:
                with pytest.raises(NotTrusted):
                    state.server(service.url)
                state.pin(service.url, service.repository.root_bytes())  # again, over what is left
                assert len(state.servers()) == 1
    assert {(False, False), (True, True)} <= pinned
    assert (False, True) not in pinned


def test_forget(service, disk):
    state = State(disk / "state")
    state.pin(service.url, service.repository.root_bytes())
    recording = record(disk, command("forget", "--state", disk / "state"))
    forgot = [cut for cut in recording.cuts() if "forgot" in cut.said]
    assert forgot
    for cut in forgot:
        with cut.at() as found:
            assert State(found / "state").folders() == []


def test_sync(service, disk, files):
    """The first sync, and one after another edition, both of which replace what has to survive."""
    service.publish("+4915100000001", "+447700900123")
    first = service.manifest
    state = State(disk / "state")
    server = state.pin(service.url, service.repository.root_bytes())
    check_cuts(record(disk, sync_command(files, disk)), None, service, files)
    service.publish(*MEMBERS)
    recording = record(disk, sync_command(files, disk))
    check_cuts(recording, first, service, files)
    assert seen_manifests(server) == [service.manifest]


def check_cuts(recording, before, service, files):
    reported = "the server could learn"
    assert reported in recording.said
    wanted = {f"tel:{number}" for number in service_members(service)}
    new = service.manifest
    timestamps = set()
    for count, cut in enumerate(recording.cuts(most=160)):
        with cut.at() as found:
            state = State(found / "state")
            server = state.server(service.url)
            assert is_known(server, service.repository.root_bytes())
            timestamp = server.tuf / "metadata" / "timestamp.json"
            if timestamp.exists():
                timestamps.add(Metadata.from_file(str(timestamp)).signed.version)
            seen = seen_manifests(server)
            assert seen in ([], [before], [new])
            for path in server.data.iterdir():
                if len(path.name) == 64:
                    assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
            with Cache(server.cache, server.url) as cache:
                assert cache._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                held = cache.held_files()
                if reported in cut.said:
                    assert seen == [new]
                    assert cache.counts()["tokens"] == len(BOOK)
                    assert held <= {path.name for path in server.data.iterdir()}
            if before is not None:
                assert seen, "what was seen is forgotten"
            if count % 12 == 0:
                assert sync_here(state, service, files) == wanted
    current = service.repository.published().timestamp.signed.version
    assert timestamps == {current} if before is None else timestamps == {current - 1, current}


def service_members(service):
    return MEMBERS if service.manifest.edition > 1 else MEMBERS[:1]


def test_sync_output(service, disk, files, tmp_path):
    service.publish(*MEMBERS)
    output = disk / "found.json"
    output.write_bytes(b"of yesterday")
    state = State(tmp_path / "state")
    state.pin(service.url, service.repository.root_bytes())
    recording = record(disk, sync_command(files, tmp_path, "--json", "--output", output))
    contents = set()
    for cut in recording.cuts():
        found = {name: content for name, _, content in cut.tree}["found.json"]
        contents.add(found == b"of yesterday")
        if found != b"of yesterday":
            assert len(json.loads(found)["matches"]) == 2
        else:
            assert "the server could learn" not in cut.said
    assert contents == {True, False}


def test_transcript(service, disk, files, tmp_path):
    service.publish(*MEMBERS)
    State(tmp_path / "state").pin(service.url, service.repository.root_bytes())
    recording = record(disk, sync_command(files, tmp_path, "--transcript", disk / "transcript"))
    whole = {path.name: path.read_bytes() for path in disk.iterdir()}
    assert sorted(whole) == ["transcript", "transcript.private"]
    for cut in recording.cuts():
        if "the server could learn" in cut.said:
            assert {name: content for name, _, content in cut.tree} == whole
        for name, _, content in cut.tree:
            assert not name.startswith("transcript") or content == whole[name], "whole, or not there"


BEGIN = """
import pathlib, sqlite3, sys
from contactsync.client.cache import Cache
from contactsync.client.core.round import PendingBatch
with Cache(pathlib.Path(sys.argv[1]), "http://server.test") as cache:
    cache._db.execute(f"PRAGMA synchronous = {sys.argv[2]}")
    cache._db.execute(f"PRAGMA journal_mode = {sys.argv[3]}")
    cache.begin_round("people", 1, [PendingBatch("one", 8, (b"tel:+4930123456",))])
    print("begun", flush=True)
    cache.begin_round("people", 1, [PendingBatch("two", 8, ())])
"""


def begun_after_cuts(disk, synchronous, journal="PERSIST"):
    """What is remembered of a round that is about to be sent, before and after it was to be remembered."""
    remembered = set()
    for cut in record(disk, python(BEGIN, disk / "cache.sqlite", synchronous, journal)).cuts():
        with cut.at() as found, Cache(found / "cache.sqlite", "http://server.test") as cache:
            assert cache._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            names = [batch.name for batch in cache.unfinished_round("people", 1)]
            remembered.add(("one" in names, "begun" in cut.said))
    return remembered


@pytest.mark.parametrize("synchronous", ["FULL", "EXTRA"])
def test_a_round_that_is_about_to_be_sent_is_remembered(disk, synchronous):
    assert begun_after_cuts(disk, synchronous) == {(False, False), (True, False), (True, True)}


def test_with_less_it_would_be_forgotten_or_damaged(disk, tmp_path):
    """That the pragmas of the cache are needed, and that a cut sees what SQLite does."""
    assert (False, True) in begun_after_cuts(disk, "FULL", "DELETE")
    (tmp_path / "other").mkdir()
    with pytest.raises(OurError, match="damaged"):
        begun_after_cuts(tmp_path / "other", "OFF")


ASK = """
import pathlib, sys
from contactsync.client.core.mode import AskedList
from contactsync.client.ledger import Ledger
ledger = Ledger.open(pathlib.Path(sys.argv[1]), "http://server.test")
ledger.record("people", "49", AskedList(1, 20, 1, bytes(32), (3, 5)), total=256)
print("asked", flush=True)
ledger.record("people", "44", AskedList(1, 20, 1, bytes(32), (7,)), total=256)
"""


def test_a_list_that_is_about_to_be_sent_is_remembered_and_counted(disk):
    path = disk / "ledger" / "one.json"
    remembered = set()
    for cut in record(disk, python(ASK, path)).cuts():
        with cut.at() as found:
            ledger = Ledger.open(found / "ledger" / "one.json", "http://server.test")
            here = "49" in ledger.asked("people", 1)
            assert here == ("49" in ledger.odds())
            remembered.add((here, "asked" in cut.said))
    assert remembered == {(False, False), (True, False), (True, True)}
