"""Who was removed is nowhere in the files of the register: each file is read raw, octet by octet."""

import multiprocessing
import os
import signal
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from contactsync.server.storage.ports import Members
from contactsync.server.storage.records import Origin, today
from contactsync.server.storage.sqlite import erasing
from contactsync.server.storage.sqlite.members import SqliteMembers

FIRST = 4915100000000
MANY = 6000


def tel(values):
    return Members("tel", np.unique(np.array(values, np.uint64)))


def varint(value):
    """As SQLite writes an integer of at most 56 bits."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))


def spellings(number):
    """A number as text, as an integer in each order, and in the encodings of SQLite's file format."""
    return [
        str(number).encode(),
        number.to_bytes(8, "big"),
        number.to_bytes(8, "little"),
        number.to_bytes(6, "big"),
        number.to_bytes(6, "little"),
        varint(number),
    ]


def readable(folder, numbers, tokens):
    """Those of the numbers and tokens that can be read in a file or a file's name."""
    octets = b"".join(path.read_bytes() + b"\0" * 8 for path in folder.rglob("*") if path.is_file())
    octets += "\0".join(map(str, folder.rglob("*"))).encode()
    # Each window of the octets of a length is looked up, which is faster than a search for each needle.
    found = set()
    for length in (6, 7, 8, 10, 13):
        windows = {octets[i : i + length] for i in range(len(octets) - length + 1)}
        found |= {n for n in numbers for one in spellings(n) if len(one) == length and one in windows}
        found |= {token for token in tokens if len(token) == length and token in windows}
    return found


def tokens_of(rng, members):
    return rng.integers(0, 256, (len(members), 10), np.uint8)


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.fixture
def store(folder):
    with closing(SqliteMembers.create(folder / "registry.sqlite")) as store:
        yield store


def grow(store, rng, many=MANY):
    """A register whose pages were split and merged many times; its numbers and tokens."""
    numbers = rng.choice(50_000_000, many, replace=False).astype(np.uint64) + np.uint64(FIRST)
    secrets = {}
    for part in np.array_split(numbers, 12):
        members = tel(part)
        store.add(members)
        for who, epoch in (("people", 1), ("people", 2), ("business", 1)):
            # All but the first are pending for a while, so their numbers are in one more table.
            store.begin_search(who, epoch, "49")
        store.consent(tel(part[::5]), "business", granted=True, origin=Origin("app 3.1"))
        for audience, epoch in (("people", 1), ("people", 2)):
            rows = tokens_of(rng, members)
            store.store_tokens(audience, epoch, members, rows)
            for number, row in zip(members.keys.tolist(), rows, strict=True):
                secrets.setdefault(number, []).append(row.tobytes())
        business = tel(part[::5])
        rows = tokens_of(rng, business)
        store.store_tokens("business", 1, business, rows)
        for number, row in zip(business.keys.tolist(), rows, strict=True):
            secrets[number].append(row.tobytes())
    return secrets


def gone(secrets, numbers):
    return [token for number in numbers for token in secrets[number]]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_who_was_removed_is_nowhere_after_splits_and_merges(store, folder, seed):
    rng = np.random.default_rng(seed)
    secrets = grow(store, rng)
    everybody = list(secrets)
    assert len(readable(folder, everybody, gone(secrets, everybody))) > MANY * 3
    left, removed = everybody, []
    for share in (0.001, 0.2, 0.6, 0.9):
        some = rng.choice(left, max(1, int(len(left) * share)), replace=False).tolist()
        for part in np.array_split(np.array(some, np.uint64), 5):
            if part.size:
                store.remove(tel(part))
        removed += some
        left = sorted(set(left) - set(some))
        assert store.unerased()
        assert store.erase() == ""
        assert not store.unerased()
        assert readable(folder, removed, gone(secrets, removed)) == set()
        # Nothing else was harmed, and the pages that this connection has in memory are not written back.
        assert store.count("people") == len(left)
        newcomers = (rng.choice(50_000_000, 500) + FIRST + 10**8).astype(np.uint64)
        store.add(tel(newcomers))
        store.store_tokens("people", 1, tel(newcomers), tokens_of(rng, tel(newcomers)))
        store._database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert readable(folder, removed, gone(secrets, removed)) == set()
        store.remove(tel(newcomers))
    with closing(sqlite3.connect(folder / "registry.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.slow
def test_what_sqlite_does_by_itself_is_not_enough(store, folder, monkeypatch):
    """Else the test above would prove nothing."""
    secrets = grow(store, np.random.default_rng(1), 3000)
    removed = list(secrets)[::3]
    store.remove(tel(removed))
    monkeypatch.setattr(erasing, "_blank_unused", lambda _: None)
    assert store.erase() == ""
    assert readable(folder, removed, gone(secrets, removed))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["remove", "audience", "expire", "replace", "drop_tokens"])
def test_every_way_to_forget_leaves_no_trace(store, folder, way):
    secrets = grow(store, np.random.default_rng(2), 400)
    removed = sorted(secrets)[::4]
    tokens = gone(secrets, removed)
    if way == "remove":
        store.remove(tel(removed))
    elif way == "audience":
        for audience in ("people", "business"):
            store.remove(tel(removed), audience)
    elif way == "expire":
        store._database.change("UPDATE members_tel SET verified = 1 WHERE key % 3 = 0")
        removed = [number for number in secrets if number % 3 == 0]
        tokens = gone(secrets, removed)
        assert store.expire(today()) == len(removed)
    elif way == "replace":
        store.replace(tel(sorted(set(secrets) - set(removed))), "people", allow=lambda _: None)
    else:
        removed, tokens = [], [all_of[1] for all_of in secrets.values()]
        store.drop_tokens("people", range(2, 3))
    assert store.erase() == ""
    assert readable(folder, removed, tokens) == set()


@pytest.mark.slow
def test_an_objection_keeps_the_number_and_no_token(store, folder):
    secrets = grow(store, np.random.default_rng(3), 300)
    removed = sorted(secrets)[::4]
    store.consent(tel(removed), "people", granted=False, origin=Origin("letter"))
    assert store.erase() == ""
    assert readable(folder, [], gone(secrets, removed)) == set()
    assert len(store.show(tel(removed))) == len(removed)


@pytest.mark.slow
def test_with_the_register_open_elsewhere_and_with_pages_in_its_memory(store, folder):
    secrets = grow(store, np.random.default_rng(4), 1000)
    removed = sorted(secrets)[::4]
    with closing(SqliteMembers(folder / "registry.sqlite")) as other:
        assert other.count("people") == 1000
        for partition in other.partitions("people"):
            list(other.tokens("people", 1, partition))
        store.remove(tel(removed))
        assert store.erase() == ""
        assert readable(folder, removed, gone(secrets, removed)) == set()
        rest = sorted(set(secrets) - set(removed))
        other.consent(tel(rest), "business", granted=True, origin=Origin("app"))
        other._database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert readable(folder, removed, gone(secrets, removed)) == set()


@pytest.mark.slow
def test_a_snapshot_keeps_it_and_that_is_said(store, folder):
    secrets = grow(store, np.random.default_rng(5), 300)
    removed = sorted(secrets)[::4]
    with closing(SqliteMembers(folder / "registry.sqlite")) as reader:
        with reader.snapshot():
            store.remove(tel(removed))
            assert "write-ahead log still holds" in store.erase(0.2)
            assert store.unerased()
            assert reader.count("people") == 300
        assert store.erase() == ""
    assert readable(folder, removed, gone(secrets, removed)) == set()


@pytest.mark.slow
def test_another_process_that_writes_all_the_time(store, folder):
    """Nothing of what it writes is lost, and in the end the files are clean."""
    secrets = grow(store, np.random.default_rng(6), 300)
    context = multiprocessing.get_context("fork")
    writer = context.Process(target=_write, args=(folder / "registry.sqlite",))
    before = store.count("people")
    writer.start()
    removed = sorted(secrets)[::4]
    for some in np.array_split(np.array(removed, np.uint64), 10):
        store.remove(tel(some))
        store.erase()
    writer.join()
    assert writer.exitcode == 0
    assert store.erase() == ""
    assert store.count("people") == before - len(removed) + 150
    assert readable(folder, removed, gone(secrets, removed)) == set()


def _write(path):
    with closing(SqliteMembers(path)) as store:
        for step in range(150):
            store.add(tel([FIRST + 10**9 + step]))
    os._exit(0)


STEPS = ["blank", "_blank_unused", "pwrite"]


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("alive", [True, False])
def test_killed_in_the_middle_loses_nothing(store, folder, step, alive):
    secrets = grow(store, np.random.default_rng(7), 600)
    removed = sorted(secrets)[::4]
    store.remove(tel(removed))
    child = os.fork()
    if not child:
        owner = {"blank": erasing.erasure, "_blank_unused": erasing, "pwrite": os}[step]
        real = getattr(owner, step)

        def kill(*arguments):
            real(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(owner, step, kill)
        with closing(SqliteMembers(folder / "registry.sqlite")) as other:
            other.erase()
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    if not alive:
        store.close()
    with closing(SqliteMembers(folder / "registry.sqlite")) as again:
        assert again.count("people") == 600 - len(removed)
        again.add(tel([FIRST + 10**9]))
        assert again.unerased()
        assert again.erase() == ""
        assert again.count("people") == 601 - len(removed)
    with closing(sqlite3.connect(folder / "registry.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert readable(folder, removed, gone(secrets, removed)) == set()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_labels_and_addresses_of_who_was_removed_or_renamed_are_nowhere(store, folder, seed):
    """After splits and merges of their pages, too; those of the others are all there."""
    rng = np.random.default_rng(seed)
    numbers = np.unique(rng.choice(50_000_000, 3000, replace=False)).astype(np.uint64) + np.uint64(FIRST)

    place = {number: i for i, number in enumerate(numbers.tolist())}

    def label(number, which=0):
        return b"label-%d-%06d" % (which, place[number])

    def address(number):
        return b"u%06d@example.org" % place[number]

    for part in np.array_split(rng.permutation(numbers), 12):
        members = tel(part)
        keys = members.keys.tolist()
        store.enrol(members, [address(key) for key in keys])
        store.label(members, [label(key) for key in keys])

    def octets():
        return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())

    shuffled = rng.permutation(numbers)
    removed, moved, renamed, unlabelled, objected, left = np.split(shuffled, [700, 750, 1400, 1800, 2200])
    store.remove(tel(removed))
    for key in moved.tolist():
        store.move(tel([key]), tel([key + 10**9]))
    store.label(tel(renamed), [label(key, 1) for key in tel(renamed).keys.tolist()])
    store.label(tel(unlabelled), [None] * len(unlabelled))
    store.consent(tel(objected), "people", granted=False, origin=Origin("letter"))
    assert any(label(key) in octets() for key in renamed.tolist())
    assert store.erase() == ""
    there = octets()
    for some in (removed, renamed, unlabelled, objected):
        assert not [key for key in some.tolist() if label(key) in there]
    assert not [key for key in removed.tolist() if address(key) in there]
    for some in (moved, left):
        assert [record.label for record in store.show(tel(some))] in ([], [label(k) for k in sorted(some)])
    assert all(label(key, 1) in there for key in renamed.tolist())
    assert all(label(key) in there and address(key) in there for key in left.tolist())
    assert readable(folder, moved.tolist(), []) == set()
