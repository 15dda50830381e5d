"""What a log says of labels leads from the entries of then to those of now, whatever was done."""

import random
import secrets
from contextlib import closing
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from store_tools import MEMBERS, handles_of_people, telephones
from test_token_log import AUDIENCES, ORIGIN, Publishing, evaluate, manifest_of, octets_of, token_of

from contactsync.directory.format import DataFile
from contactsync.identifiers.kinds import KINDS
from contactsync.publication.manifest import Labels
from contactsync.server.storage import token_log
from contactsync.server.storage.label_log import label_log
from contactsync.server.storage.ports import Members
from contactsync.server.storage.token_log import noted_as

STEPS = 200
WHAT = ("add", "add", "remove", "forget", "consent", "object", "back", "label", "label", "label", "unlabel")
WHAT += ("same", "pair", "move", "publish", "publish", "killed", "drop", "evaluate", "unkeyed")


def entries(store, audience, epoch, partition):
    """Token → label key and label, of all."""
    return {
        token.tobytes(): (key.tobytes(), label)
        for tokens, keys, labels in store.outputs(audience, epoch, partition)
        for token, key, label in zip(tokens.to_bytes(), keys, labels, strict=True)
    }


def with_labels(manifest, sidecars):
    partitions = {
        name: replace(one, labels=Labels(one.edition, 16, "0" * 64, DataFile(sidecars[name], 1, "0" * 16)))
        for name, one in manifest.partitions.items()
    }
    return replace(manifest, partitions=partitions)


class Labelling(Publishing):
    """A publish with labels. A base is named by its tokens: it stays where labels alone change."""

    def publish(self, audience, epoch, *, killed=False):
        store, of = self.store, (audience, epoch)
        for name in self.partitions:
            evaluate(store, *of, name, keyed=True)
        store.begin_log({of: self.partitions}, self.draw())
        with store.snapshot():
            serial = store.serial()
            found = {name: entries(store, *of, name) for name in self.partitions}
        self.edition += 1
        found = {name: content for name, content in found.items() if content}
        bases = {name: sha256(b"".join(sorted(content))).hexdigest() for name, content in found.items()}
        manifest = with_labels(
            manifest_of(*of, self.edition, bases), {name: secrets.token_hex(32) for name in found}
        )
        for name, content in found.items():
            state = noted_as(manifest.partitions[name])
            self.made[state] = content
            store.note_base(*of, name, state, serial=serial, count=len(content))
        if killed:
            return
        self.published[of] = {name: noted_as(one) for name, one in manifest.partitions.items()}
        store.settle(serial, [manifest])
        needed = store.sealed_to()
        self.keys = {public: key for public, key in self.keys.items() if public in needed}

    def check(self):
        known = 0
        for (audience, epoch), states in self.published.items():
            for name, state in states.items():
                of, before = (audience, epoch, name), self.made[state]
                changes = self.store.token_changes(*of, state, self.keys)
                outputs = self.store.changed_outputs(*of, state)
                if changes is None or outputs is None:
                    continue
                known += 1
                left = {bytes(one) for one in octets_of(changes.left)}
                tokens, keys, labels = outputs
                changed = {
                    token.tobytes(): (key.tobytes(), label)
                    for token, key, label in zip(tokens.to_bytes(), keys, labels, strict=True)
                }
                after = {token: one for token, one in before.items() if token not in left} | changed
                assert after == entries(self.store, *of)
                assert set(octets_of(changes.joined)) <= changed.keys(), "each has an entry"
        return known


def kept(store):
    return {
        (bit, epoch, name, key)
        for kind in KINDS
        for bit, epoch, name, key in store._database.all(
            f"SELECT audience, epoch, partition, key FROM {label_log(kind)}"
        )
    }


def check_kept(store):
    """Nothing is kept of who has no token, so of nobody who left."""
    there = {
        (bit, epoch, key)
        for kind in KINDS
        for bit, epoch, key in store._database.all(f"SELECT audience, epoch, key FROM tokens_{kind}")
    }
    assert {(bit, epoch, key) for bit, epoch, _, key in kept(store)} <= there


@pytest.fixture(params=["tel", "acct"])
def crowd(request, handles):
    return telephones() if request.param == "tel" else handles_of_people()


class Changing:
    """What may be done to members, step by step."""

    def __init__(self, publishing, crowd, rng):
        self.publishing, self.store, self.crowd, self.rng = publishing, publishing.store, crowd, rng
        self.identifiers, self.spare = crowd.P[:12] + crowd.Q[:12], crowd.P[24:]

    def step(self, turn):
        who = self.rng.sample(self.identifiers, self.rng.choice((1, 1, 2, 5)))
        some, audience, what = self.crowd.members(*who), self.rng.choice(AUDIENCES), self.rng.choice(WHAT)
        store = self.store
        {
            "add": lambda: store.add(some, audience, origin=ORIGIN),
            "remove": lambda: store.remove(some, audience),
            "forget": lambda: store.remove(some),
            "consent": lambda: store.consent(some, audience, granted=True, origin=ORIGIN),
            "object": lambda: store.consent(some, audience, granted=False, origin=ORIGIN),
            "label": lambda: store.label(some, [b"%d" % turn] * len(some)),
            "unlabel": lambda: store.label(some, [None] * len(some)),
            "same": lambda: store.label(some, [b"same"] * len(some)),
            "back": lambda: self.back(some),
            "pair": lambda: self.pair(some, turn),
            "move": lambda: self.move(self.crowd.members(who[0])),
            "publish": lambda: self.publishing.publish(audience, self.rng.choice((1, 2))),
            "killed": lambda: self.publishing.publish(audience, self.rng.choice((1, 2)), killed=True),
            "drop": lambda: self.drop(audience),
            "evaluate": lambda: evaluate(store, audience, 1, self.crowd.p, keyed=True),
            "unkeyed": lambda: self.rng.random() < 0.2 and evaluate(store, audience, 1, self.crowd.q),
        }[what]()

    def back(self, some):
        with self.store.together():
            self.store.remove(some)
            self.store.add(some)

    def pair(self, some, turn):
        if self.crowd.kind == "tel":
            addresses = Members.of([b"mailto:%d.%d@example.org" % (turn, i) for i in range(len(some))])
            self.store.enrol(some, addresses.keys.tolist())

    def move(self, old):
        if self.store.show(old):
            self.store.move(old, self.crowd.members(self.spare.pop()), origin=ORIGIN)

    def drop(self, audience):
        if self.rng.random() < 0.2:
            self.store.drop_tokens(audience, range(2))
            self.publishing.published.pop((audience, 1), None)


@pytest.mark.parametrize("seed", range(4))
def test_a_log_leads_from_what_was_published_to_what_is_stored(store, crowd, seed, monkeypatch):
    monkeypatch.setattr(token_log, "WORTH", 0.01)
    monkeypatch.setattr(token_log, "OPENED", 0)
    rng = random.Random(seed)
    publishing = Labelling(store, [crowd.p, crowd.q])
    changing = Changing(publishing, crowd, rng)
    store.add(crowd.members(*changing.identifiers[::2]))
    publishing.publish("people", 1)
    known = 0
    for turn in range(STEPS):
        changing.step(turn)
        known += publishing.check()
        check_kept(store)
    assert known > STEPS / 2, "most bases are known"


def people_of(store, crowd, count=9):
    """A publishing of some people with labels."""
    publishing = Labelling(store, [crowd.p])
    store.add(crowd.members(*crowd.P[:count]))
    store.label(crowd.members(crowd.P[0]), [b"anna"])
    publishing.publish("people", 1)
    return publishing


def test_changes_are_kept_only_from_the_first_base_on(store, people):
    store.add(people.members(*people.P[:9]))
    store.label(people.members(people.P[0]), [b"anna"])
    evaluate(store, "people", 1, people.p, keyed=True)
    assert kept(store) == set()
    publishing = people_of(store, people)
    store.label(people.members(people.P[1]), [b"bert"])
    store.add(people.members(people.P[9]))
    evaluate(store, "people", 1, people.p, keyed=True)
    keys = {people.members(one).keys.tolist()[0] for one in (people.P[1], people.P[9])}
    assert kept(store) == {(1, 1, people.p, key) for key in keys}
    assert publishing.check() == 1
    publishing.publish("people", 1)
    assert kept(store) == set(), "settled"


def test_who_has_no_token_yet_leaves_no_row(store, people):
    people_of(store, people)
    store.add(people.members(people.P[9]))
    store.label(people.members(people.P[9]), [b"cora"])
    assert kept(store) == set()
    store.label(people.members(people.Q[0]), [b"a stranger"])
    assert kept(store) == set()


def test_without_published_labels_nothing_is_kept(store, people):
    publishing = Publishing(store, [people.p])
    store.add(people.members(*people.P[:9]))
    publishing.publish("people", 1)
    store.label(people.members(people.P[0]), [b"anna"])
    store.add(people.members(people.P[9]))
    evaluate(store, "people", 1, people.p)
    assert kept(store) == set()
    assert publishing.check() == 1


def test_once_labels_are_published_no_more_nobody_is_noted(store, people):
    """What says that they are is changed by the first token that is stored without its key."""
    publishing = people_of(store, people)
    publishing.publish("people", 1)
    store.add(people.members(people.P[9]))
    evaluate(store, "people", 1, people.p)
    assert kept(store) == set()


def test_labels_that_begin_end_the_log(store, people):
    """All tokens are stored again, with their label keys: none of them is kept."""
    publishing = Publishing(store, [people.p])
    store.add(people.members(*people.P[:9]))
    publishing.publish("people", 1)
    evaluate(store, "people", 1, people.p, keyed=True)
    assert publishing.check() == 0
    assert store._database.one("SELECT count(*) FROM token_changes") == 0


def test_nothing_is_known_once_tokens_are_stored_without_keys(store, people):
    """Labels are set again before the next publish: that would not be kept in between."""
    publishing = people_of(store, people)
    assert publishing.check() == 1
    store.label(people.members(people.P[0]), [None])
    store.add(people.members(people.P[9]))
    evaluate(store, "people", 1, people.p)
    assert publishing.check() == 0
    store.label(people.members(people.P[1]), [b"not kept"])
    evaluate(store, "people", 1, people.p, keyed=True)
    assert publishing.check() == 0


def test_a_base_that_was_noted_without_its_sidecar_is_not_known(store, people):
    """What version 9 noted."""
    people_of(store, people)
    ((_, epoch, name, state, serial),) = store._bases()
    store.note_base("people", epoch, name, state[:32].hex(), serial=serial, count=9)
    assert store.changed_outputs("people", epoch, name, state[:32].hex()) is not None
    assert len(state) == 64
    of = "people", epoch, name
    store._database.change(store._sql("DELETE FROM bases WHERE base = ?"), state)
    assert store.changed_outputs(*of, state.hex()) is None


def test_more_changes_than_are_worth_it_are_no_answer(store, people):
    publishing = people_of(store, people, 12)
    store.label(people.members(*people.P[1:4]), [b"x"] * 3)
    assert publishing.check() == 1
    store.label(people.members(people.P[4]), [b"x"])
    assert publishing.check() == 0


def test_those_who_have_labels_are_found_in_each_audience(store, people):
    store.add(people.members(*people.P[:9], *people.Q[:3]))
    store.add(people.members(people.P[8]), "business", origin=ORIGIN)
    names = {people.p, people.q}
    assert store.with_labels("people", names) == set()
    store.label(people.members(people.P[0]), [b"anna"])
    assert (store.with_labels("people", names), store.with_labels("business", names)) == ({people.p}, set())
    store.label(people.members(people.P[8]), [b"bert"])
    assert store.with_labels("business", names) == {people.p}
    assert store.with_labels("business", ()) == set()


@pytest.mark.slow
def test_postgresql_keeps_no_dead_row_of_who_left(database, tmp_path):
    with closing(MEMBERS["postgres"](tmp_path, database)) as store:
        people = telephones()
        publishing = people_of(store, people)
        store.label(people.members(people.P[1]), [b"bert"])
        publishing.publish("people", 1)
        relation = f"SELECT pg_relation_size('contactsync_members.label_changes_tel_{people.p}')"
        assert (kept(store), store._database.one(relation) > 0) == (set(), True)
        store.remove(people.members(people.P[1]))
        assert store.erase() == ""
        assert store._database.one(relation) == 0


@pytest.mark.slow
def test_many_at_once_are_all_kept_and_found_by_their_keys(tmp_path, database, handles):
    """So many that PostgreSQL copies them."""
    for name, make in MEMBERS.items():
        with closing(make(tmp_path, database)) as store:
            keys = np.arange(4915100000000, 4915100020000, dtype=np.uint64)
            store.add(Members("tel", keys[:12_000]))
            store.label(Members("tel", keys[:1]), [b"anna"])
            publishing = Labelling(store, ["49"])
            publishing.publish("people", 1)
            store.add(Members("tel", keys[12_000:14_500]))
            store.label(Members("tel", keys[2:3]), [b"bert"])
            store.begin_search("people", 1, "49", keyed=True)
            page = store.unevaluated("people", 1, "49", None, 20_000, keyed=True)
            octets = b"".join(token_of(one, 1) for one in page.identifiers())
            store.store_tokens("people", 1, page, np.frombuffer(octets, np.uint8).reshape(-1, 42))
            assert (publishing.check(), len(page), len(kept(store))) == (1, 2500, 2501), name
            store.remove(Members("tel", keys[12_000:14_000]))
            assert (publishing.check(), len(kept(store))) == (1, 501), name
