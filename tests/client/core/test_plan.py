"""Which files are fetched: the cheaper way on, and nothing that tells more than was agreed to."""

import hashlib
from dataclasses import replace

import pytest

from contactsync.client.cache import Cache
from contactsync.client.core.holdings import Holding
from contactsync.client.core.leak import sentence
from contactsync.client.core.plan import MAX_HELD_DELTAS, PartitionPlan
from contactsync.client.core.planner import Plan, Planner
from contactsync.client.privacy import load_modes
from contactsync.client.privacy.screen import Buckets, Crowded
from contactsync.foundation.errors import ChoiceNeeded
from contactsync.publication.manifest import DataFile, DeltaFile, Manifest, Partition
from contactsync.publication.rows import PublishedRows


def a_file(name, length=1000):
    digest = hashlib.sha256(name.encode()).hexdigest()
    return DataFile(digest, length, digest[:16])


def held_at(edition, whole, deltas=()):
    return Holding(edition, whole, partition(edition=edition).directory, deltas)


def delta(start, end, length=10):
    return DeltaFile(start, end, a_file(f"{start}-{end}", length))


def partition(code="49", edition=5, *, deltas=(), base=4_000_000, screen=None, slot_bits=20):
    screen_file = None if screen is None else a_file(f"screen {code} {edition}", screen)
    base_file = a_file(f"base {code} {edition}", base)
    return Partition(code, edition, 1 << 20, slot_bits, 32, "0" * 64, base_file, tuple(deltas), screen_file)


def plan(*partitions, held=None, wanted=(), privacy="download", which="all"):
    manifest = Manifest("people", 1, 9, bytes(32), 1, {p.name: p for p in partitions}, None)
    return Planner(manifest, held or {}, frozenset(wanted), load_modes()).plan(privacy, which)


def test_whole_files_at_first_then_nothing_then_deltas():
    first = plan(partition())
    assert first.cost == 4_000_000
    held = {("49", "base"): first.parts[0].holding}
    assert plan(partition(), held=held).cost == 0
    later = plan(partition(edition=7, deltas=[delta(4, 5), delta(5, 6), delta(6, 7)]), held=held)
    assert [f.sha256 for f in later.parts[0].fetch] == [delta(5, 6).file.sha256, delta(6, 7).file.sha256]
    holding = later.parts[0].holding
    assert (holding.edition, holding.reached) == (5, 7)
    assert holding.whole == first.parts[0].holding.whole


@pytest.mark.parametrize(
    "deltas",
    [[delta(6, 7)], [delta(4, 7)], [], [delta(5, 6, 3_000_000), delta(6, 7, 3_000_000)]],
    ids=["behind the chain", "no such start", "none", "dearer than the whole"],
)
def test_a_whole_file_when_deltas_do_not_lead_there_or_cost_more(deltas):
    held = {("49", "base"): held_at(5, a_file("old", 4_000_000))}
    (part,) = plan(partition(edition=7, deltas=deltas), held=held).parts
    assert (part.cost, part.holding.deltas) == (4_000_000, ())


def test_a_chain_does_not_grow_for_ever():
    deltas = tuple((i, i + 1, a_file(str(i), 1)) for i in range(1, MAX_HELD_DELTAS + 1))
    held = {("49", "base"): held_at(1, a_file("old"), deltas)}
    edition = MAX_HELD_DELTAS + 2
    (part,) = plan(partition(edition=edition, deltas=[delta(edition - 1, edition)]), held=held).parts
    assert part.cost == 4_000_000


def test_mine_fetches_what_the_book_needs_only():
    chosen = plan(partition("1"), partition("49"), wanted={"49"}, which="mine")
    assert chosen.fetched_names == ["49"]


def test_a_screen_is_taken_where_it_is_cheaper_whatever_the_book_holds():
    large, small = partition("49", screen=1_000_000), partition("1", base=5000, screen=1300, slot_bits=12)
    plans = [
        plan(large, small, wanted=wanted, privacy="screen") for wanted in ([], ["49"], ["1"], ["1", "49"])
    ]
    assert {tuple((s.partition.name, s.kind) for s in p.parts) for p in plans} == {
        (("1", "base"), ("49", "screen"))
    }
    assert plans[1].cost - plans[0].cost == pytest.approx(4_000_000 * 64 // 256, rel=0.01)


def test_a_base_that_is_held_is_continued_rather_than_screened():
    held = {("49", "base"): held_at(5, a_file("old"))}
    (part,) = plan(
        partition(edition=6, screen=1_000_000, deltas=[delta(5, 6)]), held=held, privacy="screen"
    ).parts
    assert (part.kind, part.cost) == ("base", 10)


def test_without_a_screen_the_base_is_taken():
    assert [s.kind for s in plan(partition(), privacy="screen").parts] == ["base"]


def test_holdings_come_back_as_they_were_kept(tmp_path):
    holding = held_at(5, a_file("whole"), ((5, 6, a_file("d")),))
    with Cache(tmp_path / "cache.sqlite", "http://server") as cache:
        import numpy as np

        nothing = np.zeros(0, np.bool_), np.zeros(0, np.int64)
        cache.finish(
            "people", 1, [], member=nothing[0], edition=nothing[1], holdings={("49", "base"): holding}
        )
        assert cache.holdings("people", 1) == {("49", "base"): holding}
        assert cache.holdings("people", 2) == cache.holdings("business", 1) == {}
        assert cache.held_files() == {holding.whole.sha256, holding.deltas[0][2].sha256}
    assert replace(holding, deltas=()).reached == 5


def test_what_the_server_could_learn():
    assert "asked for updates" in sentence(points=0, covered=False, names=None)
    text = sentence(points=16, covered=True, names=None)
    assert "9 to 16 new numbers" in text
    assert "countries" in text
    text = sentence(points=8, covered=False, names=["49", "1"])
    assert "1 to 8" in text
    assert "0 to 8 new numbers" in sentence(points=8, covered=True, names=None)
    assert "+1, +49" in text
    assert "countries" not in text


def test_the_odds_of_a_bucket():
    """At 1e8 members, 4096 a bucket, 500 fetched: 49x. All of them tell nothing."""
    bucket = Buckets("49", 500, 10**8 // 4096)
    assert bucket.odds == pytest.approx(48.8, abs=0.1)
    assert Buckets("49", 256, 256).odds == 1
    told = load_modes()["screen"].sentence([bucket, Buckets("1", 64, 64), Crowded("44")])
    text = sentence(points=512, covered=True, names=None, told=told)
    assert "up to 48.8" in text
    assert "+1, +49" in text
    assert "members among its contacts in +44 that the whole directory" in text
    assert Buckets("1", 64, 64).odds < 2


def test_choices_are_those_that_cost_less_than_what_tells_less():
    class Priced(Planner):
        """A planner whose plans have given costs."""

        def plan(self, privacy, partitions):
            whole = partition(base=self.holdings[privacy, partitions])
            part = PartitionPlan(whole, "base", (whole.base,), held_at(5, whole.base))
            return Plan(privacy, partitions, (part,))

    def choices(costs, rows=None):
        manifest = Manifest("people", 1, 9, bytes(32), 1, {}, None, rows=rows)
        with pytest.raises(ChoiceNeeded) as raised:
            Priced(manifest, costs, frozenset(), load_modes()).affordable("download", "all", limit=10)
        return [line.split(":")[0].strip() for line in raised.value.hint.splitlines()[1:]]

    def costs(*four):
        names = [("download", "all"), ("download", "mine"), ("screen", "all"), ("screen", "mine")]
        return dict(zip(names, four, strict=True))

    mine, screen, both = (
        "--privacy download --partitions mine",
        "--privacy screen --partitions all",
        "--privacy screen --partitions mine",
    )
    assert choices(costs(100, 50, 60, 30)) == ["--max-download 100", mine, screen, both]
    assert choices(costs(100, 100, 60, 60)) == ["--max-download 100", screen]
    assert choices(costs(100, 50, 60, 50)) == ["--max-download 100", mine, screen]
    assert choices(costs(100, 100, 100, 100)) == ["--max-download 100"]

    # Two servers, where there are rows and a second one: before the screen, which tells more.
    two = {**costs(100, 100, 60, 60), ("two-server", "all"): 20}
    rows = PublishedRows(a_file("level"), 9)
    assert choices(two, rows) == ["--max-download 100", "--privacy two-server", screen]
    assert choices(two) == ["--max-download 100", screen]
