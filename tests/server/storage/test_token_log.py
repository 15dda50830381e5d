"""What a log says of tokens is who joined, whatever was done; and how many members there are."""

import random
import secrets
from contextlib import closing

import numpy as np
import pytest
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

    def publish(self, audience, epoch, *, killed=False):
        store, of = self.store, (audience, epoch)
        for name in self.partitions:
            evaluate(store, *of, name)
        store.begin_log({of: self.partitions})
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

    def check(self):
        """What the log says leads from each published base to what is stored."""
        known = 0
        for (audience, epoch), bases in self.published.items():
            for name, sha256 in bases.items():
                changes = self.store.token_changes(audience, epoch, name, sha256)
                if changes is None:
                    continue
                known += 1
                before, after = set(self.made[sha256]), set(stored(self.store, audience, epoch, name))
                tokens = [row.tobytes() for row in changes.tokens.to_bytes()]
                assert len(set(tokens)) == len(tokens)
                assert before <= after, "nobody left"
                assert set(tokens) == after - before
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
    assert known > STEPS // 4, "or nothing was compared"


def kept(store):
    return [bytes(token) for (token,) in store._database.all("SELECT token FROM token_changes")]


def test_changes_are_kept_only_from_the_first_base_on(store, people):
    store.add(people.members(*people.P[:9]))
    evaluate(store, "people", 1, people.p)
    assert kept(store) == []
    assert store.token_changes("people", 1, people.p, "ab" * 32) is None
    publishing = Publishing(store, [people.p])
    publishing.publish("people", 1)
    store.add(people.members(people.P[9]))
    evaluate(store, "people", 1, people.p)
    assert kept(store) == [token_of(people.P[9], 1)[:10]]
    assert publishing.check() == 1
    publishing.publish("people", 1)
    assert kept(store) == [], "settled"
    assert store._database.one("SELECT count(*) FROM bases") == 1


def test_nothing_is_kept_of_who_leaves(store, people):
    """Not of who was published, nor of who joined since; and all tokens are read for the next base."""
    publishing = Publishing(store, [people.p, people.q])
    store.add(people.members(*people.P[:9], *people.Q[:9]))
    publishing.publish("people", 1)
    store.add(people.members(people.P[9], people.P[10]))
    evaluate(store, "people", 1, people.p)
    store.remove(people.members(people.P[9], people.P[0]))
    assert kept(store) == []
    assert {name for _, _, name, *_ in store._bases()} == {people.q}, "of the partition that somebody left"
    publishing.publish("people", 1)
    assert publishing.check() == 2


def test_who_leaves_while_a_base_is_made_is_not_in_the_next(store, people):
    store.add(people.members(*people.P[:9]))
    evaluate(store, "people", 1, people.p)
    store.begin_log({("people", 1): [people.p]})
    with store.snapshot():
        serial, before = store.serial(), stored(store, "people", 1, people.p)
    store.remove(people.members(people.P[0]))
    store.note_base("people", 1, people.p, "ab" * 32, serial=serial, count=len(before))
    store.settle(serial, [manifest_of("people", 1, 1, {people.p: "ab" * 32})])
    assert store.token_changes("people", 1, people.p, "ab" * 32) is None


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
    changes = store.token_changes("people", 1, people.p, sha256)
    assert (len(changes.tokens), changes.count_after) == (1, 9)


@pytest.mark.slow
def test_many_tokens_at_once_are_all_kept(tmp_path, database, handles):
    """So many that PostgreSQL copies them."""
    for name, make in MEMBERS.items():
        with closing(make(tmp_path, database)) as store:
            keys = np.arange(4915100000000, 4915100020000, dtype=np.uint64)
            store.add(Members("tel", keys[:12_000]))
            store.begin_log({("people", 1): ["49"]})
            page = store.unevaluated("people", 1, "49", None, 20_000)
            rows = np.random.default_rng(1).integers(0, 256, (len(page), 10), np.uint8)
            store.store_tokens("people", 1, page, rows)
            store.note_base("people", 1, "49", "ab" * 32, serial=store.serial(), count=len(page))
            store.settle(store.serial(), [manifest_of("people", 1, 1, {"49": "ab" * 32})])
            store.begin_log({("people", 1): ["49"]})
            store.add(Members("tel", keys[12_000:14_500]))
            page = store.unevaluated("people", 1, "49", None, 20_000)
            more = np.random.default_rng(2).integers(0, 256, (len(page), 10), np.uint8)
            store.store_tokens("people", 1, page, more)
            changes = store.token_changes("people", 1, "49", "ab" * 32)
            assert {row.tobytes() for row in changes.tokens.to_bytes()} == {row.tobytes() for row in more}, (
                name
            )
