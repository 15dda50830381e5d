"""What is published is the same, byte for byte, whether a publish reads who is pending or everybody."""

import random

import numpy as np
import pytest
from publishing_tools import copy_of, published
from server_tools import AMERICAN, GERMAN, Operator

from contactsync.server.storage.ports import Members
from contactsync.server.storage.records import Origin

NUMBERS = [*range(GERMAN, GERMAN + 300), *range(AMERICAN, AMERICAN + 60)]


@pytest.fixture
def twins(tmp_path):
    """An operator, and a copy of it that forgets before each publish what was searched."""
    operator = Operator(tmp_path / "one")
    operator.add(*NUMBERS[::2])
    operator.add(NUMBERS[0], audience="business")  # so that both have the same keys
    operator.publish()
    twin = copy_of(operator, tmp_path / "other")
    yield operator, twin
    operator.close()
    twin.close()


def change(rng, store):
    """Some random changes; the same for the same state of `rng`."""
    for _ in range(rng.randrange(1, 6)):
        some = Members("tel", np.array(sorted(rng.sample(NUMBERS, rng.randrange(1, 9))), np.uint64))
        what = rng.choice(("add", "add", "remove", "opt in", "object", "label"))
        if what == "add":
            store.add(some)
        elif what == "remove":
            store.remove(some)
        elif what == "label":
            store.label(some, [b"%d" % key for key in some.keys.tolist()])
        else:
            audience = "business" if what == "opt in" else "people"
            store.consent(some, audience, granted=what == "opt in", origin=Origin("app"))


@pytest.mark.parametrize("seed", range(2))
def test_the_bytes_are_those_of_a_search_of_all(twins, seed):
    rngs, few = [random.Random(seed), random.Random(seed)], 0
    for turn in range(8):
        outcomes = []
        for one, rng, forgets in zip(twins, rngs, (False, True), strict=True):
            change(rng, one.registry)
            if forgets:
                one.registry._database.change("DELETE FROM searches")
                one.registry._database.change("DELETE FROM pending_tel")
            outcomes.append(one.publish())
        assert outcomes[0] == outcomes[1], turn
        assert published(twins[0]) == published(twins[1]), turn
        few += twins[0].registry._database.one("SELECT count(*) FROM searches WHERE ended = 1")
    assert few > 8, "or this would compare a search with itself"


def test_a_publish_reads_nobody_who_has_a_token(twins, monkeypatch):
    operator, _ = twins
    statements, plain = [], operator.registry._database.all
    monkeypatch.setattr(
        operator.registry._database,
        "all",
        lambda query, *of: statements.append(query) or plain(query, *of),
    )
    operator.add(GERMAN + 1)
    statements.clear()
    outcome, _ = operator.publish()
    assert (outcome.evaluated, outcome.changed) == (1, ("49",))
    assert any("FROM pending_tel" in one for one in statements)
    assert not any("NOT EXISTS" in one for one in statements), "the search of all"


def test_each_epoch_is_searched_for_itself(operator):
    operator.add(GERMAN, GERMAN + 1)
    operator.publish()
    operator.publish(new_epoch=True)
    operator.add(GERMAN + 2)
    (outcome,) = operator.publish()
    assert (outcome.epoch, outcome.evaluated, operator.manifest().count) == (2, 1, 3)
    rows = operator.registry._database.all("SELECT audience, epoch, partition, keyed, ended FROM searches")
    assert rows == [(1, 2, "49", 0, 1)], "those of an epoch that is over are gone"
