"""The ledger: what bucket lists tell adds up, whatever a server or a person does in between."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from contactsync.client.core.mode import AskedList
from contactsync.client.core.planner import LEAK_BUDGET
from contactsync.client.ledger import Ledger
from contactsync.directory import open_directory, slot_bits_for
from contactsync.directory.ranges import buckets_of
from contactsync.foundation.errors import ChoiceNeeded, NetworkError, OurError, Refused
from contactsync.tokens import Tokens
from contactsync.voprf.server import evaluate

NUMBERS = [f"+49151{i:07}" for i in range(60)]
STRANGERS = [f"+49171{i:07}" for i in range(4000)]
CROWD = 400_000
SCREEN = {"privacy": "screen", "buckets": 16}


@pytest.fixture
def crowded(service):
    service.crowd = {"49": CROWD}
    service.publish(*NUMBERS[:5])
    return service


def ledger_of(person):
    return Ledger.open(person.server.ledger, person.server.url)


def lists(service):
    """The requests for buckets, without those for the top and the index pages that come before each."""
    asked = [request for request in service.requests if "range" in request.headers]
    return asked[2::3]


@pytest.mark.slow
def test_odds_multiply_over_lists_editions_and_epochs_and_stay_after_forget(crowded, person):
    once = 128 / 16
    assert person.sync(*NUMBERS[:10], **SCREEN).leak_odds == {"49": once}
    assert person.sync(*NUMBERS[:10], **SCREEN).leak_odds == {"49": once}, "no list, nothing told"
    assert person.sync(*NUMBERS[:11], **SCREEN).leak_odds == {"49": once**2}
    crowded.rotate(*NUMBERS[:5])
    report = person.sync(*NUMBERS[:11], **SCREEN)
    assert report.leak_odds == {"49": once**3}
    assert f"multiply the odds of a guess by up to {once**3:.0f})" in report.leak
    secret = ledger_of(person).decoy_secret
    person.state.forget(person.server.folder)
    person.state.pin(crowded.url, crowded.repository.root_bytes())
    with pytest.raises(ChoiceNeeded, match="by 4,096 in all, more than --leak-budget 1,000"):
        person.sync(*NUMBERS[:11], **SCREEN)
    assert ledger_of(person).decoy_secret == secret
    (told,) = ledger_of(person).told
    assert (told.audience, told.partition, told.lists, told.odds) == ("people", "49", 3, once**3)
    assert ledger_of(person).odds() == {"49": once**3}


@pytest.mark.slow
def test_past_the_budget_nothing_is_sent_and_each_way_on_leads_on(crowded, person):
    with pytest.raises(ChoiceNeeded) as stopped:
        person.sync(*NUMBERS, leak_budget=5, **SCREEN)
    assert lists(crowded) == []
    assert ledger_of(person).told == []
    hint = stopped.value.hint
    assert "--privacy download --partitions all" in hint
    larger = int(re.search(r"--buckets (\d+)", hint)[1])
    assert larger == 32
    allowed = float(re.search(r"--leak-budget (\d+)", hint)[1])
    assert person.sync(*NUMBERS, privacy="screen", buckets=larger, leak_budget=5).leak_odds == {"49": 4.0}
    with pytest.raises(ChoiceNeeded):
        person.sync(*NUMBERS, STRANGERS[0], leak_budget=allowed, **SCREEN)
    assert person.sync(*NUMBERS, STRANGERS[0], leak_budget=32, **SCREEN).leak_odds == {"49": 32.0}


def test_a_list_is_in_the_ledger_before_it_is_sent(crowded, person):
    seen = []

    def look(request, _):
        if "range" in request.headers:
            seen.append([one.lists for one in ledger_of(person).told])

    crowded.tamper = look
    person.sync(*NUMBERS, **SCREEN)
    assert seen == [[1], [1], [1]]


@pytest.mark.slow
def test_all_buckets_tell_nothing_and_cost_no_odds(crowded, person):
    report = person.sync(*NUMBERS[:3], privacy="screen", buckets=128, leak_budget=1)
    assert report.leak_odds in ({}, {"49": 1.0})


@pytest.mark.slow
def test_no_server_can_have_a_second_list_in_one_run(crowded, person):
    """A new epoch and one 404 made the client begin again by itself: two lists for one question."""

    def rotate(request, reply):
        if "range" in request.headers and len(lists(crowded)) == 1 and crowded.epoch == 1:
            crowded.rotate(*NUMBERS[:5])
            kind = "urn:contactsync:problem:not-found"
            reply.status, reply.headers, reply.body = 404, {}, json.dumps({"type": kind}).encode()

    crowded.tamper = rotate
    with pytest.raises(Refused) as refused:
        person.sync(*NUMBERS, **SCREEN)
    assert "sync again" in refused.value.hint
    assert len(lists(crowded)) == 1
    assert ledger_of(person).odds() == {"49": 8.0}
    # Asked by the person, a second run counts what the first one told.
    assert person.sync(*NUMBERS, **SCREEN).leak_odds == {"49": 64.0}


@pytest.mark.slow
def test_what_two_lists_name_is_what_the_ledger_says(crowded, person):
    """The attack of the review, by the key's owner: whom do the lists of two epochs leave as candidates?

    A guess is left over by chance as often as the odds say, and not less: the figure is honest.
    """
    contacts = STRANGERS[:40]
    left = set(range(len(STRANGERS)))
    for epoch in (1, 2):
        if epoch == 2:
            crowded.rotate(*NUMBERS[:5])
        crowded.requests.clear()
        report = person.sync(*contacts, **SCREEN, leak_budget=1e9)
        partition = crowded.manifest.partitions["49"]
        with open_directory(crowded.folder / "data" / partition.base.sha256, expect=None) as base:
            starts = 8 * base.span.start
        (request,) = lists(crowded)
        places = [part.split("-") for part in request.headers["range"].removeprefix("bytes=").split(",")]
        asked = {int(n) for a, b in places for n in np.flatnonzero((starts >= int(a)) & (starts <= int(b)))}
        tokens = Tokens.from_outputs(evaluate(crowded.key, [f"tel:{n}".encode() for n in STRANGERS]))
        of = buckets_of(partition.directory, tokens).tolist()
        left &= {i for i in range(len(STRANGERS)) if of[i] in asked}
    assert len(left) == pytest.approx(len(STRANGERS) / report.leak_odds["49"], rel=0.35)


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        b"", b"{}", b"[]", b'{"version": 1}',
        lambda r: r | {"url": "http://other"},
        lambda r: r | {"decoy_secret": "00"},
        lambda r: r | {"told": [{"audience": "people"}]},
        lambda r: r | {"told": [r["told"][0] | {"log2_odds": -1.0}]},
        lambda r: r | {"told": [r["told"][0] | {"lists": 0}]},
        lambda r: r | {"version": 99},
    ],
)  # fmt: skip
def test_a_damaged_ledger_is_not_a_new_one(crowded, person, damage):
    person.sync(*NUMBERS[:10], **SCREEN)
    path = person.server.ledger
    assert path.stat().st_mode & 0o777 == 0o600
    record = json.loads(path.read_bytes())
    path.write_bytes(damage if isinstance(damage, bytes) else json.dumps(damage(record)).encode())
    with pytest.raises(OurError) as refused:
        person.sync(*NUMBERS[:10], **SCREEN)
    assert refused.value.hint


@pytest.mark.slow
def test_the_very_list_that_was_not_answered_is_not_counted_again(crowded, person):
    """One reset of the connection ended screen mode for good."""

    def cut(request, reply):
        if "range" in request.headers and len(lists(crowded)) > 0:
            reply.cut = 0

    for _ in range(3):
        crowded.tamper = cut
        with pytest.raises(NetworkError):
            person.sync(*NUMBERS, leak_budget=8, **SCREEN)
    crowded.tamper = lambda *_: None
    report = person.sync(*NUMBERS, leak_budget=8, **SCREEN)
    assert report.leak_odds == {"49": 8.0}
    asked = {request.headers["range"] for request in crowded.requests if "range" in request.headers}
    assert len([one for one in asked if one.count(",") > 5]) == 1
    assert ledger_of(person).asked("people", 1) == {}


def test_a_list_that_was_cut_stays_after_forget(crowded, person):
    """Else the next one, with other decoys, would have just the wanted buckets in common with it."""

    def cut(request, reply):
        if "range" in request.headers and len(lists(crowded)) > 0:
            reply.cut = 0

    crowded.tamper = cut
    with pytest.raises(NetworkError):
        person.sync(*NUMBERS, **SCREEN)
    crowded.tamper = lambda *_: None
    (first,) = ledger_of(person).asked("people", 1).values()
    person.state.forget(person.server.folder)
    person.state.pin(crowded.url, crowded.repository.root_bytes())
    crowded.requests.clear()
    person.sync(*NUMBERS, STRANGERS[0], **SCREEN)
    (request,) = lists(crowded)
    ranges = request.headers["range"].count(",") + 1
    assert ranges > 16
    assert len(first.numbers) == 16


@pytest.mark.slow
def test_the_size_of_the_next_list_does_not_tell_whether_a_new_contact_passes(crowded, person, other_person):
    """After a list of 16 that was cut: 32 buckets with one more member, 16 with one more stranger."""
    sizes = []
    for one, number in ((person, NUMBERS[4]), (other_person, STRANGERS[1])):

        def cut(request, reply):
            if "range" in request.headers and len(lists(crowded)) > 0:
                reply.cut = 0

        crowded.requests.clear()
        crowded.tamper = cut
        with pytest.raises(NetworkError):
            one.sync(*NUMBERS[:4], *STRANGERS[5:50], **SCREEN)
        crowded.tamper = lambda *_: None
        crowded.requests.clear()
        one.sync(*NUMBERS[:4], *STRANGERS[5:50], number, **SCREEN)
        sizes.append(ledger_of(one).told[0].log2_odds)
    assert sizes[0] == sizes[1]


def test_two_audiences_are_one_server(tmp_path):
    ledger = Ledger(tmp_path / "l.json", "http://x", bytes(32))
    asked = AskedList(1, 20, 1, bytes(32), tuple(range(64)))
    ledger.record("people", "49", asked, total=64 * 512)
    ledger.record("business", "49", asked, total=64 * 512)
    assert ledger.odds() == {"49": 512.0**2}


def test_download_mode_writes_no_ledger(crowded, person):
    assert person.sync(*NUMBERS).leak_odds == {}
    assert not person.server.ledger.exists()


def test_the_table_of_the_threat_model():
    """It is computed from the formulas that stand beside it: m = 100 contacts, lists of 64 buckets."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "threat-model.md").read_text()
    assert f"The default budget is {LEAK_BUDGET:,.0f}." in text
    rows = re.findall(
        r"^\| 10\^(\d+) \| ([\d,]+) \| (\d+|none)\b.*? \| ([\d.]+) % \| ([\d.]+) \|$", text, re.MULTILINE
    )
    assert [int(row[0]) for row in rows] == [6, 7, 8, 9]
    for power, odds, lists, chance, name in rows:
        members, once = 10 ** int(power), 2 ** (slot_bits_for(10 ** int(power)) - 12) / 64
        assert once == int(odds.replace(",", ""))
        within = int(math.log(LEAK_BUDGET) / math.log(once))
        assert within == (0 if lists == "none" else int(lists))
        total = once**within if within else once * 64 / 320
        assert total <= LEAK_BUDGET
        assert float(chance) == pytest.approx(100 * total * 100 / members, rel=0.06)
        assert float(name) == pytest.approx(math.log2(members / 100) / math.log2(once), abs=0.06)
