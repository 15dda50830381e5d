"""What a log says of tokens is what became of them, whatever was done; and how many members there are."""

import random
import secrets
from contextlib import closing

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from store_tools import MEMBERS, handles_of_people, telephones

from contactsync.directory.format import DataFile
from contactsync.publication.manifest import Manifest, Partition
from contactsync.server.storage import token_log
from contactsync.server.storage.ports import Members
from contactsync.server.storage.records import Origin

AUDIENCES = ("people", "business")
ORIGIN = Origin("app", "anna")
STEPS = 200
WHAT = ("add", "add", "remove", "forget", "consent", "object", "move")
WHAT += ("publish", "killed", "drop", "evaluate")


def token_of(identifier, epoch):
    return random.Random(identifier + bytes([epoch])).randbytes(42)


def stored(store, audience, epoch, partition):
    """All tokens of a partition, as octets, ascending."""
    return sorted(
        row.tobytes() for tokens in store.tokens(audience, epoch, partition) for row in tokens.to_bytes()
    )


def octets_of(tokens):
    return sorted(row.tobytes() for row in tokens.to_bytes())


def evaluate(store, audience, epoch, partition, *, keyed=False):
    store.begin_search(audience, epoch, partition, keyed=keyed)
    after = None
    while page := store.unevaluated(audience, epoch, partition, after, 3, keyed=keyed):
        octets = b"".join(token_of(one, epoch)[: 42 if keyed else 10] for one in page.identifiers())
        store.store_tokens(audience, epoch, page, np.frombuffer(octets, np.uint8).reshape(len(page), -1))
        after = page.last
    store.end_search(audience, epoch, {partition: keyed})


def manifest_of(audience, epoch, edition, bases):
    partitions = {
        name: Partition(name, edition, 1, 12, 32, "0" * 64, DataFile(sha256, 1, "0" * 16))
        for name, sha256 in bases.items()
    }
    return Manifest(audience, epoch, edition, bytes(32), 1, partitions, None)


class Publishing:
    """What a publish does with a store; bases are random names, and what each was made of is remembered."""

    def __init__(self, store, partitions):
        self.store, self.partitions, self.edition = store, partitions, 0
        self.made = {}
        self.published = {}
        self.keys = {}

    def publish(self, audience, epoch, *, killed=False):
        store, of = self.store, (audience, epoch)
        for name in self.partitions:
            evaluate(store, *of, name)
        store.begin_log({of: self.partitions}, self.draw())
        with store.snapshot():
            serial = store.serial()
            found = {name: stored(store, *of, name) for name in self.partitions}
        self.edition += 1
        bases = {}
        for name, tokens in found.items():
            if tokens:
                bases[name] = secrets.token_hex(32)
                self.made[bases[name]] = tokens
                store.note_base(*of, name, bases[name], serial=serial, count=len(tokens))
        self.published[of] = bases
        if not killed:
            store.settle(serial, [manifest_of(*of, self.edition, bases)])
            needed = store.sealed_to()
            self.keys = {public: key for public, key in self.keys.items() if public in needed}

    def draw(self):
        key = X25519PrivateKey.generate()
        public = key.public_key().public_bytes_raw()
        self.keys[public] = key
        return public

    def check(self):
        """What the log says leads from each published base to what is stored."""
        known = 0
        for (audience, epoch), bases in self.published.items():
            for name, sha256 in bases.items():
                changes = self.store.token_changes(audience, epoch, name, sha256, self.keys)
                if changes is None:
                    continue
                known += 1
                before, after = set(self.made[sha256]), set(stored(self.store, audience, epoch, name))
                assert octets_of(changes.joined) == sorted(after - before)
                assert octets_of(changes.left) == sorted(before - after)
                assert (changes.count, changes.count_after) == (len(before), len(after))
        return known


def recounted(store):
    return {audience: store._counted(1 << place) for place, audience in enumerate(AUDIENCES)}


@pytest.fixture(params=["tel", "acct"])
def crowd(request, handles):
    return telephones() if request.param == "tel" else handles_of_people()


@pytest.mark.parametrize("seed", range(4))
def test_a_log_leads_from_what_was_published_to_what_is_stored(store, crowd, seed, monkeypatch):
    monkeypatch.setattr(token_log, "WORTH", 0.01)
    monkeypatch.setattr(token_log, "OPENED", 0)
    rng = random.Random(seed)
    identifiers = crowd.P[:12] + crowd.Q[:12]
    publishing = Publishing(store, [crowd.p, crowd.q])
    store.add(crowd.members(*identifiers[::2]))
    known = 0
    for _ in range(STEPS):
        some = crowd.members(*rng.sample(identifiers, rng.choice((1, 1, 2, 5))))
        audience = rng.choice(AUDIENCES)
        step = rng.choice(WHAT)
        if step == "add":
            store.add(some, audience, origin=ORIGIN)
        elif step == "remove":
            store.remove(some, audience)
        elif step == "forget":
            store.remove(some)
        elif step in {"consent", "object"}:
            store.consent(some, audience, granted=step == "consent", origin=ORIGIN)
        elif step == "move":
            with store.together():  # leaves and comes back with one serial
                store.remove(some)
                store.add(some)
        elif step in {"publish", "killed"}:
            publishing.publish(audience, rng.choice((1, 2)), killed=step == "killed")
        elif step == "drop" and rng.random() < 0.2:
            store.drop_tokens(audience, range(2))
        elif step == "evaluate":
            evaluate(store, audience, 1, rng.choice(publishing.partitions))
        known += publishing.check()
        assert {one: store.count(one) for one in AUDIENCES} == recounted(store)
    assert known > STEPS, "most bases are known"


def kept(store):
    return [bytes(token) for (token,) in store._database.all("SELECT token FROM token_changes")]


def test_changes_are_kept_only_from_the_first_base_on(store, people):
    store.add(people.members(*people.P[:9]))
    evaluate(store, "people", 1, people.p)
    assert kept(store) == []
    publishing = Publishing(store, [people.p])
    assert store.token_changes("people", 1, people.p, "ab" * 32, publishing.keys) is None
    publishing.publish("people", 1)
    store.add(people.members(people.P[9]))
    evaluate(store, "people", 1, people.p)
    assert kept(store) == [token_of(people.P[9], 1)[:10]]
    assert publishing.check() == 1
    publishing.publish("people", 1)
    assert kept(store) == [], "settled"
    assert store._database.one("SELECT count(*) FROM bases") == 1


def sealed(store):
    return [bytes(row[0]) for row in store._database.all("SELECT sealed FROM departed_tokens")]


def test_of_who_leaves_only_what_is_sealed_is_kept(store, people, monkeypatch):
    """Of who was published, and of who joined since: no token, and as long a row for each."""
    monkeypatch.setattr(token_log, "OPENED", 0)
    monkeypatch.setattr(token_log, "WORTH", 1)
    publishing = Publishing(store, [people.p, people.q])
    store.add(people.members(*people.P[:9], *people.Q[:9]))
    publishing.publish("people", 1)
    store.add(people.members(people.P[9], people.P[10]))
    evaluate(store, "people", 1, people.p)
    for one in (people.P[9], people.P[0]):
        store.remove(people.members(one))
    assert kept(store) == [token_of(people.P[10], 1)[:10]]
    rows = sealed(store)
    assert len({len(row) for row in rows}) == 1
    assert not any(token_of(one, 1)[:4] in row for row in rows for one in people.P[:11])
    assert publishing.check() == 2
    publishing.publish("people", 1)
    assert (kept(store), sealed(store)) == ([], []), "settled"
    assert publishing.check() == 2


def test_without_the_key_all_tokens_are_read(store, people, monkeypatch):
    """It was destroyed, is of another register, or the row was changed: never is half of it believed."""
    monkeypatch.setattr(token_log, "OPENED", 0)
    publishing = Publishing(store, [people.p])
    store.add(people.members(*people.P[:9]))
    publishing.publish("people", 1)
    store.remove(people.members(people.P[0]))
    assert publishing.check() == 1
    keys = publishing.keys
    publishing.keys = {}
    assert publishing.check() == 0
    publishing.keys = {public: X25519PrivateKey.generate() for public in keys}
    assert publishing.check() == 0
    publishing.keys = keys
    store._database.change("UPDATE departed_tokens SET serial = serial + 1, tokens = 0")
    assert publishing.check() == 1
    (row,) = sealed(store)
    damaged = row[:-1] + bytes([row[-1] ^ 1])
    store._database.change(store._sql("UPDATE departed_tokens SET sealed = ?"), damaged)
    assert publishing.check() == 0


def test_a_row_of_another_partition_opens_nothing(store, people, monkeypatch):
    """Who can write to the register moves what was sealed: it would take somebody else along."""
    monkeypatch.setattr(token_log, "OPENED", 0)
    publishing = Publishing(store, [people.p, people.q])
    store.add(people.members(*people.P[:9], *people.Q[:9]))
    publishing.publish("people", 1)
    store.remove(people.members(people.P[0]))
    assert publishing.check() == 2
    store._database.change(store._sql("UPDATE departed_tokens SET partition = ?"), people.q)
    ((name, sha256),) = [item for item in publishing.published["people", 1].items() if item[0] == people.q]
    assert store.token_changes("people", 1, name, sha256, publishing.keys) is None


@pytest.mark.parametrize("public", [bytes(32), b"", bytes(31), b"\1" + bytes(31)], ids=len)
def test_what_is_no_key_keeps_nobody_from_leaving(store, people, public):
    """Damage, or a point of low order, to which nothing can be sealed."""
    publishing = Publishing(store, [people.p])
    store.add(people.members(*people.P[:9]))
    publishing.publish("people", 1)
    store.begin_log({}, public)
    assert store.remove(people.members(people.P[0])) == 1
    assert (publishing.check(), sealed(store), store._bases()) == (0, [], [])


def test_without_a_public_key_a_log_ends_when_somebody_leaves(store, people):
    """A publisher that may not write to keys/."""
    publishing = Publishing(store, [people.p])
    store.add(people.members(*people.P[:9]))
    publishing.publish("people", 1)
    store.begin_log({}, None)
    store.add(people.members(people.P[9]))
    evaluate(store, "people", 1, people.p)
    assert publishing.check() == 1
    store.remove(people.members(people.P[0]))
    assert (publishing.check(), kept(store), sealed(store), store._bases()) == (0, [], [], [])


def test_keys_are_needed_as_long_as_rows_are(store, people):
    publishing = Publishing(store, [people.p])
    store.add(people.members(*people.P[:9]))
    publishing.publish("people", 1)
    (first,) = publishing.keys
    store.remove(people.members(people.P[0]))
    publishing.publish("people", 1, killed=True)
    assert len(store.sealed_to()) == 2
    assert first in store.sealed_to()
    publishing.publish("people", 1)
    assert len(store.sealed_to()) == 1
    assert first not in store.sealed_to()


def test_who_leaves_while_a_base_is_made_leaves_the_next(store, people, monkeypatch):
    monkeypatch.setattr(token_log, "OPENED", 0)
    publishing = Publishing(store, [people.p])
    store.add(people.members(*people.P[:9]))
    evaluate(store, "people", 1, people.p)
    store.begin_log({("people", 1): [people.p]}, publishing.draw())
    with store.snapshot():
        serial, before = store.serial(), stored(store, "people", 1, people.p)
    store.remove(people.members(people.P[0]))
    store.note_base("people", 1, people.p, "ab" * 32, serial=serial, count=len(before))
    store.settle(serial, [manifest_of("people", 1, 1, {people.p: "ab" * 32})])
    changes = store.token_changes("people", 1, people.p, "ab" * 32, publishing.keys)
    assert octets_of(changes.left) == [token_of(people.P[0], 1)[:10]]
    assert (len(changes.joined), changes.count, changes.count_after) == (0, 9, 8)


@pytest.mark.slow
def test_postgresql_keeps_no_dead_row_of_who_joined_and_left(database, tmp_path):
    """A row that was settled stays in its page until the table is rewritten."""
    with closing(MEMBERS["postgres"](tmp_path, database)) as store:
        people = telephones()
        publishing = Publishing(store, [people.p])
        store.add(people.members(*people.P[:9]))
        publishing.publish("people", 1)
        store.add(people.members(people.P[9]))
        publishing.publish("people", 1)
        relation = "SELECT pg_relation_size('contactsync_members.token_changes')"
        assert store._database.one(relation) > 0
        store.remove(people.members(people.P[9]))
        assert store.erase() == ""
        assert store._database.one(relation) == 0


def test_two_members_with_one_token_end_the_log(store, people):
    """80 bits that are equal: who of them leaves must not take the other one away."""
    publishing = Publishing(store, [people.p])
    store.add(people.members(*people.P[:9]))
    publishing.publish("people", 1)
    store.add(people.members(*people.P[9:11]))
    page = store.unevaluated("people", 1, people.p, None, 9)
    store.store_tokens("people", 1, page, np.ones((2, 10), np.uint8))
    assert publishing.check() == 0
    assert store._database.one("SELECT count(*) FROM bases") == 0
    assert store._database.one("SELECT count(*) FROM token_changes") == 0


def test_more_changes_than_are_worth_it_are_no_answer(store, people):
    publishing = Publishing(store, [people.p])
    store.add(people.members(*people.P[:12]))
    publishing.publish("people", 1)
    store.add(people.members(*people.P[12:15]))
    evaluate(store, "people", 1, people.p)
    assert publishing.check() == 1
    store.add(people.members(people.P[15]))
    evaluate(store, "people", 1, people.p)
    assert publishing.check() == 0


def test_a_partition_that_is_published_no_more_is_forgotten(store, people):
    publishing = Publishing(store, [people.p, people.q])
    store.add(people.members(*people.P[:5], *people.Q[:5]))
    publishing.publish("people", 1)
    store.remove(people.members(*people.P[:5]))
    publishing.publish("people", 1)
    assert {row[2] for row in store._bases()} == {people.q}
    assert store._database.one("SELECT count(*) FROM token_changes") == 0


def test_labels_that_come_make_the_log_say_what_is_not_so(store, people):
    """A token that is stored again, with its label key, counts as one that was not there: `amend` refuses."""
    publishing = Publishing(store, [people.p])
    store.add(people.members(*people.P[:8]))
    publishing.publish("people", 1)
    store.label(people.members(people.P[0]), [b"a label"])
    page = store.unevaluated("people", 1, people.p, None, 1, keyed=True)
    octets = np.frombuffer(token_of(page.identifiers()[0], 1), np.uint8).reshape(1, -1)
    store.store_tokens("people", 1, page, octets)
    ((sha256),) = publishing.published["people", 1].values()
    changes = store.token_changes("people", 1, people.p, sha256, publishing.keys)
    assert (len(changes.joined), changes.count_after) == (1, 9)


@pytest.mark.slow
def test_many_tokens_at_once_are_all_kept(tmp_path, database, handles):
    """So many that PostgreSQL copies them."""
    for name, make in MEMBERS.items():
        with closing(make(tmp_path, database)) as store:
            keys = np.arange(4915100000000, 4915100020000, dtype=np.uint64)
            store.add(Members("tel", keys[:12_000]))
            store.begin_log({("people", 1): ["49"]}, None)
            page = store.unevaluated("people", 1, "49", None, 20_000)
            rows = np.random.default_rng(1).integers(0, 256, (len(page), 10), np.uint8)
            store.store_tokens("people", 1, page, rows)
            store.note_base("people", 1, "49", "ab" * 32, serial=store.serial(), count=len(page))
            store.settle(store.serial(), [manifest_of("people", 1, 1, {"49": "ab" * 32})])
            store.begin_log({("people", 1): ["49"]}, None)
            store.add(Members("tel", keys[12_000:14_500]))
            page = store.unevaluated("people", 1, "49", None, 20_000)
            more = np.random.default_rng(2).integers(0, 256, (len(page), 10), np.uint8)
            store.store_tokens("people", 1, page, more)
            changes = store.token_changes("people", 1, "49", "ab" * 32, {})
            assert octets_of(changes.joined) == sorted(row.tobytes() for row in more), name
