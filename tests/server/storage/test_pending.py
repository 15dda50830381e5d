"""Who is pending is who a search of all members would find, whatever was done before.

The operations are data: a list that fails is printed as it is, and may be put into LISTS.
"""

import contextlib
import random
from contextlib import closing

import numpy as np
import pytest
from store_tools import MEMBERS, handles_of_people, telephones

from contactsync.identifiers.kinds import KINDS
from contactsync.server.storage.ports import Members
from contactsync.server.storage.records import Origin
from contactsync.server.storage.sqlite.members import SqliteMembers

AUDIENCES = ("people", "business")
EPOCHS = (1, 2)
ORIGIN = Origin("app", "anna")
STEPS = 120
PARTITIONS = ["1", "49", "acct.1", "acct.3"]


class Undone(Exception):
    """Undoes a transaction."""


def rows_for(members, width):
    rows = np.zeros((len(members), width), np.uint8)
    for row, identifier in zip(rows, members.identifiers(), strict=True):
        row[:] = np.frombuffer(abs(hash(identifier)).to_bytes(width, "big"), np.uint8)
    return rows


def pages(store, audience, epoch, partition, keyed):
    """All that `unevaluated` finds, page by page."""
    found, after = [], None
    while page := store.unevaluated(audience, epoch, partition, after, 2, keyed=keyed):
        found += page.keys.tolist()
        after = page.last
    return found


QUESTIONS = [
    (audience, epoch, partition, keyed)
    for audience in AUDIENCES
    for epoch in EPOCHS
    for partition in PARTITIONS
    for keyed in (False, True)
]


def searching(store, monkeypatch):
    """The same store, as if nothing had ever been searched."""
    with monkeypatch.context() as patched:
        patched.setattr(type(store), "_is_searched", lambda *_of, **_how: False)
        return {of: pages(store, *of) for of in QUESTIONS}


def evaluate(store, of, partition, keyed, until):
    """What a publish does for one partition; it is killed before the step `until`, if that is none of 99."""
    if until == 0:
        return
    audience, epoch = of
    store.begin_search(audience, epoch, partition, keyed=keyed)
    after, step = None, 0
    while page := store.unevaluated(audience, epoch, partition, after, 2, keyed=keyed):
        step += 1
        if step == until:
            return
        store.store_tokens(audience, epoch, page, rows_for(page, 42 if keyed else 10))
        after = page.last
    store.end_search(audience, epoch, {partition: keyed})


def random_operations(rng, identifiers, partitions, count):
    def some():
        return tuple(sorted(rng.sample(identifiers, rng.choice((1, 1, 2, 5)))))

    def one():
        who, epoch = rng.choice(AUDIENCES), rng.choice(EPOCHS)
        return rng.choice(
            [
                ("add", some(), who),
                ("add", some(), "people"),
                ("remove", some(), rng.choice((None, *AUDIENCES))),
                ("consent", some(), who, rng.random() < 0.6, rng.random() < 0.3),
                ("label", some(), rng.random() < 0.7),
                ("replace", some(), who),
                ("move", rng.choice(identifiers), rng.choice(identifiers)),
                ("undone", some(), who),
                ("drop", who, epoch),
                ("adopt", who, epoch, rng.choice((b"k", b"l"))),
                ("bare", some(), who, epoch),
                *[
                    ("evaluate", who, rng.choice(EPOCHS), rng.choice(partitions), rng.random() < 0.4, until)
                    for until in (0, 1, 2, 99, 99, 99, 99, 99)
                ],
            ]
        )

    return [one() for _ in range(count)]


def undone(store, members, who):
    with contextlib.suppress(Undone), store.together():
        store.add(members, who)
        store.remove(members)
        raise Undone


def move(store, old, new):
    if store.show(old) and not store.show(new):
        store.move(old, new)


OPERATIONS = {
    "add": lambda store, members, who: store.add(members, who),
    "remove": lambda store, members, who: store.remove(members, who),
    "consent": lambda store, members, who, granted, only: store.consent(
        members, who, granted=granted, origin=ORIGIN, only=only
    ),
    "label": lambda store, members, given: store.label(members, [b"x" if given else None] * len(members)),
    "replace": lambda store, members, who: store.replace(members, who, allow=lambda _difference: None),
    "move": lambda store, old, new: move(store, old, Members.of([new])),
    "undone": undone,
    # Tokens that come of no search, without label keys.
    "bare": lambda store, members, who, epoch: store.store_tokens(who, epoch, members, rows_for(members, 10)),
    "drop": lambda store, who, epoch: store.drop_tokens(who, range(epoch, epoch + 1)),
    "adopt": lambda store, who, epoch, key: store.adopt(who, epoch, key),
    "evaluate": lambda store, who, epoch, *how: evaluate(store, (who, epoch), *how),
}


def run(store, operation):
    what, first, *rest = operation
    if what not in {"drop", "adopt", "evaluate"}:
        first = Members.of([first] if what == "move" else list(first))
    OPERATIONS[what](store, first, *rest)


def check(store, monkeypatch, done):
    wanted = searching(store, monkeypatch)
    found = {of: pages(store, *of) for of in QUESTIONS}
    assert found == wanted, done
    for kind in KINDS:
        rows = store._database.all(f"SELECT audience, epoch, key FROM pending_{kind}")
        for bit, epoch, key in rows:
            audience = AUDIENCES[bit - 1]
            (partition,) = (name for name, _ in KINDS[kind].by_partition(Members.from_keys(kind, [key]).keys))
            assert key in wanted[audience, epoch, partition, True], (done, "nobody is left behind")


def searched(store):
    return store._database.one("SELECT count(*) FROM searches WHERE ended = 1")


def play(store, monkeypatch, operations):
    ended = 0
    for place, operation in enumerate(operations):
        run(store, operation)
        check(store, monkeypatch, operations[: place + 1])
        ended += searched(store) > 0
    return ended


def people_of(kind):
    people = telephones() if kind == "tel" else handles_of_people()
    # Few, so that most of what is done is done to somebody who is known.
    return [*people.P[:8], *people.Q[:4]], [people.p, people.q]


@pytest.mark.parametrize("kind", ["tel", "acct"])
def test_it_is_who_a_search_finds(store, monkeypatch, kind):
    identifiers, partitions = people_of(kind)
    operations = random_operations(random.Random(1), identifiers, partitions, STEPS)
    assert play(store, monkeypatch, operations) > STEPS // 3, "or this would show nothing"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 112))
def test_it_is_who_a_search_finds_many_times(tmp_path, handles, monkeypatch, seed):
    identifiers, partitions = people_of(("tel", "acct")[seed % 2])
    with closing(MEMBERS["sqlite"](tmp_path, None)) as store:
        play(store, monkeypatch, random_operations(random.Random(seed), identifiers, partitions, STEPS))


P, B = "people", "business"
LISTS = (
    # Who joins while others are evaluated, and who comes back.
    (("add", (0, 1, 2), P), ("begin",), ("add", (3,), P), ("remove", (0,), None), ("rest",)),
    (("add", (0, 1, 2), P), ("all",), ("remove", (0,), None), ("add", (0, 1), P)),
    # Label keys are wanted, and then not any more.
    (("add", (0, 1), P), ("all",), ("keyed",), ("add", (2,), P), ("all",), ("add", (3,), P)),
    (("add", (0, 1), P), ("keyed",), ("add", (2,), P), ("all",), ("keyed",)),
    # An opt-in counts for its own audience.
    (("add", (0, 1, 2), P), ("add", (2,), B), ("all",), ("consent", (0,), B, True, False), ("add", (1,), B)),
    # Who objected, and comes back by an opt-in.
    (("add", (0, 1), P), ("all",), ("consent", (0,), P, False, False), ("consent", (0,), P, True, False)),
)  # fmt: skip


@pytest.mark.parametrize("operations", LISTS)
def test_literal_lists(store, people, monkeypatch, operations):
    found = []
    for what, *of in operations:
        if of:
            found.append((what, tuple(sorted(people.P[i] for i in of[0])), *of[1:]))
        else:
            keyed, until = what == "keyed", 2 if what == "begin" else 99
            found += [("evaluate", who, 1, people.p, keyed, until) for who in (P, B)]
    play(store, monkeypatch, found)


def asked(store, monkeypatch):
    """The statements that a store sends from now on."""
    statements, plain = [], store._database.all
    monkeypatch.setattr(
        store._database, "all", lambda query, *of, **how: statements.append(query) or plain(query, *of, **how)
    )
    return statements


def reads_all(statement):
    """Whether a statement reads members or tokens, and not only those who are pending."""
    return "pending_" not in statement and ("members_" in statement or "tokens_" in statement)


def test_members_are_not_read_again(store, people, monkeypatch):
    store.add(people.members(*people.P[:4]))
    evaluate(store, ("people", 1), people.p, keyed=False, until=99)
    store.add(people.members(people.P[4]))
    statements = asked(store, monkeypatch)
    assert store.unevaluated("people", 1, people.p, None, 99).identifiers() == [people.P[4]]
    assert not [one for one in statements if reads_all(one)]
    statements.clear()
    assert len(store.unevaluated("people", 2, people.p, None, 99)) == 5
    assert [one for one in statements if reads_all(one)], "an epoch that was never searched for"


def test_nor_when_label_keys_are_wanted_or_not_any_more(store, people, monkeypatch):
    store.add(people.members(*people.P[:4]))
    for keyed in (False, True, True, False):
        evaluate(store, ("people", 1), people.p, keyed=keyed, until=2)  # killed: searched again, from new
        evaluate(store, ("people", 1), people.p, keyed=keyed, until=99)
        statements = asked(store, monkeypatch)
        assert not len(store.unevaluated("people", 1, people.p, None, 99, keyed=keyed))
        assert not [one for one in statements if reads_all(one)]


@pytest.mark.parametrize("others", [2_000, 20_000])
def test_the_work_is_that_of_the_changes(tmp_path, others):
    """Counted in instructions of SQLite's machine, which nothing else on this one disturbs."""
    with closing(SqliteMembers.create(tmp_path / "registry.sqlite")) as store:
        store.add(Members("tel", np.arange(4915100000000, 4915100000000 + others, dtype=np.uint64)))

        def publish():
            ticks = 0

            def tick():
                nonlocal ticks
                ticks += 1

            store.begin_search("people", 1, "49")
            store._database.connection.set_progress_handler(tick, 100)
            page = store.unevaluated("people", 1, "49", None, 1 << 16)
            store._database.connection.set_progress_handler(None, 0)
            store.store_tokens("people", 1, page, rows_for(page, 10))
            store.end_search("people", 1, {"49": False})
            return ticks * 100, len(page)

        all_of_them, found = publish()
        assert found == others
        assert all_of_them > others
        store.add(Members("tel", np.array([4915199999999], np.uint64)))
        steps, found = publish()
        assert (found, steps <= 500) == (1, True), steps


@pytest.mark.slow
def test_so_it_is_in_postgresql(database):
    """Counted in rows that PostgreSQL has read."""
    with closing(MEMBERS["postgres"](None, database)) as store:
        keys = np.arange(4915100000000, 4915100000000 + 5_000, dtype=np.uint64)
        store.add(Members("tel", keys))
        evaluate(store, ("people", 1), "49", keyed=False, until=5)
        store.store_tokens("people", 1, Members("tel", keys), np.zeros((keys.size, 10), np.uint8))
        store.end_search("people", 1, {"49": False})
        store.add(Members("tel", np.array([4915199999999], np.uint64)))
        read = (
            "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables "
            "WHERE relname LIKE 'members%'"
        )
        with store.together():
            before = store._database.one(read)
            assert len(store.unevaluated("people", 1, "49", None, 1 << 16)) == 1
            assert store._database.one(read) - before <= 2
            assert len(store.unevaluated("people", 2, "49", None, 1 << 16)) == keys.size + 1
            assert store._database.one(read) - before > keys.size


def test_who_is_no_member_is_not_published_though_pending(store, people):
    """Nothing that we write leaves such a row; whoever did, it does no harm."""
    there, gone, elsewhere = people.P[:3]
    store.add(people.members(there, elsewhere))
    evaluate(store, ("people", 1), people.p, keyed=False, until=99)
    store.add(people.members(gone))
    store.consent(people.members(elsewhere), "people", granted=False, origin=ORIGIN)
    store.add(people.members(elsewhere), "business")
    kind = people.members(gone).kind
    with store._database.transaction():
        for keys in (people.members(gone).keys.tolist(), people.members(elsewhere).keys.tolist()):
            store._database.change(store._sql(f"DELETE FROM pending_{kind} WHERE key = ?"), *keys)
            columns, values = "audience, epoch, key", (1, 1, *keys)
            if store.MARK != "?":
                columns, values = f"{columns}, partition", (*values, people.p)
            marks = ", ".join("?" * len(values))
            insert = store._sql(f"INSERT INTO pending_{kind} ({columns}) VALUES ({marks})")
            store._database.change(insert, *values)
        store._database.change(
            store._sql(f"DELETE FROM members_{kind} WHERE key = ?"), *keys_of(people, gone)
        )
    assert pages(store, "people", 1, people.p, keyed=False) == []
    store.add(people.members(gone))
    assert pages(store, "people", 1, people.p, keyed=False) == keys_of(people, gone)


def keys_of(people, identifier):
    return people.members(identifier).keys.tolist()
