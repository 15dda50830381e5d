"""Screen mode of both clients: with one secret, the same lists, requests and results."""

import base64
import hashlib
import json
import random
import time
from pathlib import Path

import numpy as np
import pytest
import simulated_service
from javascript import needs_node, needs_packages, node
from simulated_service import CREDENTIAL, hurry, service

from contactsync.client.ledger import Ledger
from contactsync.directory.ranges import chosen

__all__ = ["hurry", "service"]
pytestmark = pytest.mark.slow
LISTS = Path(__file__).parent / "lists.mjs"
SCREENED = Path(__file__).parent / "screened.mjs"
CROWD = 150_000  # 32 buckets
NUMBERS = [f"+49151{i:07}" for i in range(120)]
ABROAD = [f"+44791112{i:04}" for i in range(20)]


# ---- lists alone ------------------------------------------------------------------------------------------


def lists_of(cases):
    return json.loads(node(LISTS, given=json.dumps(cases)).stdout)


def case_of(chance, before=None):
    q = chance.choice([17, 18, 19, 20, 21])
    tested = [chance.randbytes(10).hex() for _ in range(chance.randrange(1, 40))]
    return {
        "partition": {"slot_bits": q, "remainder_bits": 32, "edition": chance.randrange(1, 4)},
        "epoch": 1,
        "candidates": chance.sample(tested, chance.randrange(len(tested) + 1)),
        "tested": tested,
        "secret": chance.randbytes(32).hex(),
        "before": before,
        "buckets": chance.choice([1, 4, 16, 64, 100]),
    }


def expected(case):
    """The list by the Python client's functions."""
    q, edition = case["partition"]["slot_bits"], case["partition"]["edition"]
    question = b"".join(sorted(map(bytes.fromhex, case["tested"])))
    seed = hashlib.blake2b(question, key=bytes.fromhex(case["secret"]), digest_size=32).digest()
    wanted = [int(token, 16) >> (80 - (q - 12)) for token in case["candidates"]]
    before = case["before"]
    asked = [] if before is None else before["numbers"]
    if before is not None:
        more = q - before["slot_bits"]
        asked = (
            [n >> -more for n in asked]
            if more <= 0
            else [(n << more) + i for n in asked for i in range(1 << more)]
        )
    total = 1 << (q - 12)
    numbers = chosen(wanted, total, seed, total=case["buckets"], asked=[n for n in asked if n < total])
    return {"epoch": 1, "slot_bits": q, "edition": edition, "seed": seed.hex(), "numbers": numbers}


@needs_packages
def test_two_thousand_lists_and_what_follows_a_list_that_was_not_settled():
    chance = random.Random(64)
    cases = [case_of(chance) for _ in range(1000)]
    first = lists_of(cases)
    assert first == [expected(case) for case in cases]
    # The same client, another question, perhaps another number of slot bits: all of the list before is in it.
    again = [
        {**case_of(chance, before=before), "secret": case["secret"]}
        for case, before in zip(cases, first, strict=True)
    ]
    second = lists_of(again)
    assert second == [expected(case) for case in again]
    # The very question: the very list.
    assert lists_of([{**case, "before": before} for case, before in zip(cases, first, strict=True)]) == first


@needs_packages
def test_how_many_are_asked_does_not_depend_on_who_passes():
    chance = random.Random(65)
    case = {
        **case_of(chance),
        "partition": {"slot_bits": 21, "remainder_bits": 32, "edition": 1},
        "buckets": 64,
    }
    tested = [chance.randbytes(10).hex() for _ in range(64)]
    sizes = {
        len(one["numbers"])
        for one in lists_of([{**case, "tested": tested, "candidates": tested[:n]} for n in range(65)])
    }
    assert sizes == {64}
    before = lists_of([{**case, "tested": tested, "candidates": tested[:20]}])[0]
    more = [*tested, chance.randbytes(10).hex()]
    again = [
        {**case, "tested": more, "candidates": candidates, "before": before}
        for candidates in (tested[:20], [*tested[:20], more[-1]], [])
    ]
    assert {len(one["numbers"]) for one in lists_of(again)} == {128}
    assert all(set(before["numbers"]) <= set(one["numbers"]) for one in lists_of(again))


@needs_packages
def test_decoys_are_spread_evenly_and_differ_between_clients():
    """3,000 clients with one question: each of 64 buckets is asked for as often as chance has it."""
    chance = random.Random(66)
    tested = [chance.randbytes(10).hex() for _ in range(5)]
    case = {
        "partition": {"slot_bits": 18, "remainder_bits": 32, "edition": 1},
        "epoch": 1,
        "candidates": [],
        "tested": tested,
        "before": None,
        "buckets": 8,
    }
    many = 3000
    lists = [
        one["numbers"]
        for one in lists_of([{**case, "secret": chance.randbytes(32).hex()} for _ in range(many)])
    ]
    counts = np.bincount(np.concatenate(lists), minlength=64)
    mean = many * 8 / 64
    # Without repetition within a list: the variance is that of drawing 8 of 64.
    chi = ((counts - mean) ** 2).sum() / (mean * (1 - 8 / 64)) * (63 / 64)
    assert 25 < chi < 120  # 63 degrees of freedom: outside of it once in 10^5
    pairs = np.array([[one in numbers for one in range(64)] for numbers in lists])
    together = pairs.T.astype(float) @ pairs
    off = together[~np.eye(64, dtype=bool)]
    assert abs(off.mean() - many * 8 * 7 / (64 * 63)) < 1e-9
    assert off.std() < 2 * np.sqrt(off.mean()), "no two buckets come together"
    assert len({tuple(one) for one in lists}) > many * 0.99


# ---- whole syncs ------------------------------------------------------------------------------------------


class Two:
    """A person with both clients, whose ledgers have one secret."""

    def __init__(self, folder, service):
        self.service = service
        (folder / "python").mkdir(parents=True)
        self.python = simulated_service.Person(folder / "python", service)
        ledger = Ledger.open(self.python.server.ledger, service.url)
        ledger.save()
        self.state = folder / "javascript"
        self.state.mkdir()
        record = json.loads(self.python.server.ledger.read_bytes())
        (self.state / "ledger.json").write_text(json.dumps(record))

    def ranges(self):
        """What was asked of data files, in order: the file, and the places."""
        asked = [(r.path, r.headers.get("range")) for r in self.service.requests if "/data/" in r.path]
        self.service.requests.clear()
        return asked

    def sync(self, books, **options):
        """What both print of these books, one after the other. They ask for the same in the same order."""
        self.service.requests.clear()
        ours = [(self._python(book, options), self.ranges()) for book in books]
        given = {
            "url": self.service.url,
            "credential": CREDENTIAL,
            "root": base64.b64encode(self.service.repository.root_bytes()).decode(),
            "state": str(self.state),
            "books": [csv_of(book) for book in books],
            "options": {"privacy": "screen", "buckets": 8, "leakBudget": 1e300, "cover": False} | options,
        }
        theirs = json.loads(node(SCREENED, given=json.dumps(given)).stdout)
        asked = self.ranges()
        for (report, ranges), found in zip(ours, theirs, strict=True):
            compare(report, found)
            assert ordered(asked[: len(ranges)]) == ordered(ranges)
            del asked[: len(ranges)]
        assert asked == []
        return theirs

    def _python(self, book, options):
        named = {"max_download": options["maxDownload"]} if "maxDownload" in options else {}
        more = {"buckets": options.get("buckets", 8), "labels": options.get("labels", True), **named}
        return self.python.sync(
            *book, privacy=options.get("privacy", "screen"), cover=False, leak_budget=1e300, **more
        )

    def ledgers(self):
        """Both ledgers, without what differs by nature."""
        ours, theirs = (
            json.loads(path.read_bytes()) for path in (self.python.server.ledger, self.state / "ledger.json")
        )
        assert theirs["decoy_secret"] == ours["decoy_secret"]
        return [
            {
                "told": [{**one, "log2_odds": round(one["log2_odds"], 9)} for one in record["told"]],
                "asked": record["asked"],
            }
            for record in (ours, theirs)
        ]


def ordered(asked):
    """Files as they are fetched: several at a time, in any order, and then ranges one after the other."""
    whole = sorted(path for path, place in asked if place is None)
    return whole, [(path, place) for path, place in asked if place is not None]


def csv_of(numbers):
    return "".join(["name,phone\n", *(f"Person {index},{number}\n" for index, number in enumerate(numbers))])


def compare(report, found):
    """A report of the Python client, and the object of the other one."""
    ours = [(one.name, one.identifier, one.label) for one in report.matches]
    assert [(one["name"], one["identifier"], one["label"]) for one in found["matches"]] == ours
    for mine, word in ((report.joined, "joined"), (report.left, "left")):
        assert {one["identifier"] for one in found[word]} == {one.identifier for one in mine}
    for word in ("epoch", "edition", "evaluated", "new_identifiers", "members", "privacy", "partitions"):
        assert found[word] == getattr(report, word), word
    assert found["leak"] == report.leak
    assert found["leak_odds"] == pytest.approx(report.leak_odds)
    labels = report.labels
    assert found["labels"] == (labels and {"unopened": labels.unopened, "unknown": labels.unknown})


@pytest.fixture
def two(tmp_path, service):
    service.crowd = {"49": CROWD}
    return lambda name: Two(tmp_path / name, service)


def book_of(chance, size=30):
    return chance.sample(NUMBERS, chance.randrange(size)) + chance.sample(ABROAD, chance.randrange(1, 5))


@needs_node
@pytest.mark.timeout(900)
@pytest.mark.parametrize("labels", [False, True])
def test_random_books_editions_and_epochs(service, two, labels):
    chance = random.Random(67 + labels)
    if labels:
        service.labels = {number: f"@{number[-4:]}:chat" for number in NUMBERS[::3]}
    pair = two("one")
    matches = lists = 0
    for step in range(6):
        members = chance.sample(NUMBERS, 40) + chance.sample(ABROAD, 5)
        if step == 3:
            service.rotate(*members)
        else:
            service.publish(*members)
        results = pair.sync([book_of(chance) for _ in range(4)])
        matches += sum(len(one["matches"]) for one in results)
        lists += sum("buckets of +49" in one["leak"] for one in results)
        ours, theirs = pair.ledgers()
        assert ours == theirs
    assert matches > 50
    assert lists > 10


@needs_node
def test_modes_sizes_and_labels_that_change_from_sync_to_sync(service, two):
    """What was fetched in another mode is used as by the Python client."""
    chance = random.Random(70)
    service.labels = {number: f"@{number[-4:]}:chat" for number in NUMBERS[::3]}
    pair = two("one")
    kinds = set()
    for step, modes in enumerate((["screen", "screen"], ["screen", "download"], ["screen"], ["screen"])):
        begin = service.rotate if step == 2 else service.publish
        begin(*chance.sample(NUMBERS, 40), *ABROAD[:5])
        for mode in modes:
            options = {
                "privacy": mode,
                "buckets": chance.choice([4, 8, 16]),
                "labels": chance.random() < 0.7,
            }
            (one,) = pair.sync([book_of(chance)], **options)
            kinds.add((one["privacy"], "buckets" in one["leak"], "whole directory" in one["leak"]))
    assert {("screen", True, False), ("download", False, False)} <= kinds
    ours, theirs = pair.ledgers()
    assert ours == theirs


@needs_node
def test_an_announced_epoch_that_begins_costs_no_second_list(service, two):
    members = NUMBERS[:4]
    service.publish(*members)
    service.announce(*members, until=int(time.time()) + 10_000)
    new = two("new")  # first contact: it uses the announced epoch at once
    (first,) = new.sync([NUMBERS[:50]])
    assert (first["epoch"], first["leak_odds"]) == (2, {"49": 4.0})
    service.promote()
    (again,) = new.sync([NUMBERS[:50]])
    assert (again["epoch"], again["edition"], again["leak_odds"]) == (2, 1, {"49": 4.0})
    assert [one["identifier"] for one in again["matches"]] == [f"tel:{one}" for one in members]
    (more,) = new.sync([NUMBERS[:60]])
    assert more["leak_odds"] == {"49": 16.0}
    ours, theirs = new.ledgers()
    assert ours == theirs


@needs_node
def test_who_asks_for_lists_stays_until_the_epoch_begins(service, two):
    service.publish(*NUMBERS[:4])
    old = two("old")
    old.sync([NUMBERS[:50]])
    service.announce(*NUMBERS[:4], until=int(time.time()) - 10)  # the time that is drawn is over
    (stays,) = old.sync([NUMBERS[:50]])
    assert (stays["epoch"], stays["leak_odds"]) == (1, {"49": 4.0})
    service.promote()
    (moves,) = old.sync([NUMBERS[:50]])
    assert (moves["epoch"], moves["leak_odds"]) == (2, {"49": 16.0})
