"""What of an address book can be read on the raw disk after a sync, and after `forget`.

The attack: whoever gets the disk reads what no file leads to any more.
"""

import errno
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from power_cut import needs_strace, record
from raw_disk import can_mount, created, ghosts, image, readable, used
from simulated_service import CREDENTIAL

from contactsync.client.cache import Cache
from contactsync.client.core.round import PendingBatch
from contactsync.client.state import State
from contactsync.foundation import erasure
from contactsync.foundation.errors import OurError
from contactsync.tokens import Tokens

KEPT = [f"+49151{i:07}" for i in range(0, 240, 2)]
REMOVED = [f"+49151{i:07}" for i in range(1, 240, 2)]
MEMBERS = KEPT[:20] + REMOVED[:20]
KEY = np.zeros((1, 32), np.uint8)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "credential").write_text(CREDENTIAL)
    (tmp_path / "credential").chmod(0o600)
    return tmp_path


def command(*arguments):
    return [sys.executable, "-m", "contactsync", *map(str, arguments)]


def sync_command(files, state, numbers):
    book = files / "book.csv"
    rows = np.random.default_rng(1).permutation(numbers).tolist()
    book.write_text("name,phone\n" + "".join(f"Somebody,{number}\n" for number in rows))
    return command("sync", book, "--credential-file", files / "credential", "--state", state)


def digits(numbers):
    return {number[1:].encode() for number in numbers}


def tokens_in(state, service):
    """The tokens that the cache holds now."""
    with Cache(state.server(service.url).cache, service.url) as cache:
        return {token for (token,) in cache._db.execute("SELECT token FROM tokens")}


@pytest.mark.slow
def test_what_sqlite_leaves_of_rows_that_it_moved_is_gone_too(tmp_path):
    """`secure_delete` overwrites rows where they are, not copies in pages that were split or joined."""
    numbers = np.random.default_rng(1).choice(10**7, 20_000, replace=False).tolist()
    identifiers = [b"tel:+49151%07d" % number for number in numbers]

    def keep(epoch, some):
        rows = np.random.default_rng(epoch).integers(0, 256, (len(some), 10), np.uint8)
        cache.add_tokens("people", epoch, some, Tokens.from_bytes(rows), np.zeros((len(some), 32), np.uint8))

    def finish(epoch, some):
        found = {"member": np.ones(len(some), bool), "edition": np.ones(len(some), np.int64)}
        cache.finish("people", epoch, some, holdings={}, **found)

    with Cache(tmp_path / "cache", "https://one.example") as cache:
        for start in range(0, len(identifiers), 3000):
            keep(1, identifiers[start : start + 3000])
        finish(1, identifiers)
        keep(2, identifiers[::2])
        finish(2, identifiers[::2])
        known = [cache.tokens("people", epoch, identifiers).known.sum() for epoch in (1, 2)]
        assert known == [0, len(identifiers) // 2]
        found = cache.findings("people", identifiers)
        assert (found[::2].all(), set(found[1::2])) == (True, {-1})
        assert cache._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "cache-journal"}
    raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert set(re.findall(rb"tel:\+49151\d{7}", raw)) == set(identifiers[::2])


def test_an_identifier_stays_until_the_epoch_changes_and_its_round_with_it(tmp_path):
    """Taken out of the book, it is not looked up again if it comes back; under a new key it goes."""
    stays, goes, cut = b"tel:+4915100000001", b"tel:+4915100000002", b"tel:+4915100000003"
    token = Tokens.from_bytes(np.full((1, 10), 7, np.uint8))

    def finish(epoch, *identifiers):
        found = {"member": np.ones(len(identifiers), bool), "edition": np.ones(len(identifiers), np.int64)}
        cache.finish("people", epoch, identifiers, holdings={}, **found)

    with Cache(tmp_path / "cache", "https://one.example") as cache:
        for identifier in (stays, goes):
            cache.add_tokens("people", 1, [identifier], token, KEY)
        cache.begin_round("people", 1, [PendingBatch("batch", 8, (cut,))])
        finish(1, stays, goes)
        finish(1, stays)
        assert cache.tokens("people", 1, [goes]).known.all()
        assert cache.findings("people", [goes]).tolist() == [1]
        cache.add_tokens("people", 2, [stays], token, KEY)
        finish(2, stays)
        assert cache.findings("people", [stays, goes]).tolist() == [1, -1]
        assert cache.counts() == {"identifiers": 1, "matches": 1, "tokens": 1}
    raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert readable({stays, goes, cut}, raw) == {stays}


def test_the_journal_of_a_cache_that_is_gone_is_overwritten(tmp_path):
    """SQLite takes it for a leftover of another file, and unlinks it."""
    path = tmp_path / "cache-journal"
    path.write_bytes(b"tel:+4915100000001" * 100)
    with path.open("rb") as journal:
        with Cache(tmp_path / "cache", "https://one.example"):
            pass
        assert not journal.read().strip(b"\0")


def test_a_cache_can_be_read_while_it_is_written_and_a_reader_wipes_nothing_that_is_needed(tmp_path):
    token = Tokens.from_bytes(np.full((1, 10), 7, np.uint8))
    with Cache(tmp_path / "cache", "https://one.example") as writer:
        writer.add_tokens("people", 1, [b"tel:+4915100000001"], token, KEY)
        writer._db.execute("PRAGMA cache_size = 1")
        writer._db.execute("BEGIN IMMEDIATE")
        writer._db.execute("DELETE FROM tokens")
        before = (tmp_path / "cache-journal").read_bytes()
        with Cache(tmp_path / "cache", "https://one.example") as reader:
            reader._db.execute("PRAGMA busy_timeout = 10")
            assert reader.counts()["tokens"] == 1
        assert (tmp_path / "cache-journal").read_bytes() == before
        writer._db.execute("ROLLBACK")
        assert writer.counts()["tokens"] == 1


def test_a_journal_that_cannot_be_wiped_is_said_by_who_wrote_it(tmp_path, monkeypatch):
    token = Tokens.from_bytes(np.full((1, 10), 7, np.uint8))

    def full(_descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("contactsync.foundation.durable.overwrite", full)
    cache = Cache(tmp_path / "cache", "https://one.example")
    cache.add_tokens("people", 1, [b"tel:+4915100000001"], token, KEY)
    with pytest.raises(OurError, match="cannot write the state"):
        cache.close()
    Cache(tmp_path / "cache", "https://one.example").close()  # this one only reads
    monkeypatch.undo()
    Cache(tmp_path / "cache", "https://one.example").close()
    assert erasure.is_blank(tmp_path / "cache-journal")


@needs_strace
@pytest.mark.slow
def test_nothing_that_a_sync_removed_or_forget_wiped_is_on_the_disk(service, files, monkeypatch):
    """Three syncs (the last under a new key, of a smaller book) and `forget`, each recorded."""
    disk = files / "disk"
    (disk / "temporary").mkdir(parents=True)
    monkeypatch.setenv("SQLITE_TMPDIR", str(disk / "temporary"))
    state = State(disk / "state")
    state.pin(service.url, service.repository.root_bytes())
    service.publish(*MEMBERS)
    recordings = [record(disk, sync_command(files, disk / "state", KEPT[:100] + REMOVED[:100]))]
    recordings.append(record(disk, sync_command(files, disk / "state", KEPT + REMOVED)))
    old_tokens = tokens_in(state, service)
    assert len(old_tokens) == len(KEPT + REMOVED)
    service.rotate(*MEMBERS)
    recordings.append(record(disk, sync_command(files, disk / "state", KEPT)))
    gone = digits(REMOVED) | old_tokens
    live = b"".join(path.read_bytes() for path in (disk / "state").rglob("*") if path.is_file())
    assert readable(gone, live) == set(), "removed, and still in a file"
    assert readable(digits(KEPT), live) == digits(KEPT)
    new_tokens = tokens_in(state, service)
    recordings.append(record(disk, command("forget", "--state", disk / "state")))
    assert State(disk / "state").folders() == []
    needles = gone | new_tokens | digits(KEPT)
    written = b"".join(bytes(e.octets) for r in recordings for e in r.events if hasattr(e, "octets"))
    assert readable(needles, written) == needles, "the attack looks for what was really written"
    freed = [(path, readable(needles, octets)) for r in recordings for path, octets in ghosts(r)]
    assert [(path, len(hits)) for path, hits in freed if hits] == []
    assert {path for r in recordings for path in created(r) if path.startswith("temporary/")} == set()


@pytest.mark.slow
def test_nothing_is_on_a_real_disk(service, files):
    if os.geteuid() != 0 or not can_mount(files):
        pytest.skip("this needs to mount an image")
    service.publish(*MEMBERS)
    with image(files) as (place, disk):
        state = State(place / "state")
        state.pin(service.url, service.repository.root_bytes())
        for numbers in (KEPT[:100] + REMOVED[:100], KEPT + REMOVED):
            subprocess.run(sync_command(files, place / "state", numbers), check=True, capture_output=True)
        old = tokens_in(state, service)
        service.rotate(*MEMBERS)
        subprocess.run(sync_command(files, place / "state", KEPT), check=True, capture_output=True)
        new = tokens_in(state, service)
    raw = used(disk)
    removed = (len(readable(digits(REMOVED), raw)), len(readable(old, raw)))
    kept = (len(readable(digits(KEPT), raw)), len(readable(new, raw)))
    subprocess.run(["mount", "-o", "loop", str(disk), str(place)], check=True)
    try:
        subprocess.run(command("forget", "--state", place / "state"), check=True, capture_output=True)
    finally:
        subprocess.run(["umount", str(place)], check=True)
    after = used(disk)
    left = len(readable(digits(KEPT + REMOVED) | old | new, after))
    assert (kept, removed, left) == ((len(KEPT), len(KEPT)), (0, 0), 0)
