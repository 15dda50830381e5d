"""--privacy screen: most contacts are settled by the screen, the rest by a few buckets among decoys."""

import re

import numpy as np
import pytest

from contactsync.directory import open_directory
from contactsync.directory.ranges import BUCKETS
from contactsync.foundation.errors import BadDirectory, BadReply, ChoiceNeeded, NetworkError

MEMBERS = [f"+49151{i:07}" for i in range(5)]
OTHERS = [f"+49171{i:07}" for i in range(200)]
CROWD = 400_000


@pytest.fixture
def crowded(service):
    service.crowd = {"49": CROWD}
    service.publish(*MEMBERS, "+447911123456")
    return service


def ranges(service):
    """The places that were asked for, request by request."""
    asked = [r.headers["range"].removeprefix("bytes=") for r in service.requests if "range" in r.headers]
    return [[tuple(map(int, part.split("-"))) for part in text.split(",")] for text in asked]


def asked_numbers(service, code="49"):
    """The buckets that those places cover: the third request and all after it."""
    file = service.folder / "data" / service.manifest.partitions[code].base.sha256
    with open_directory(file, expect=None) as base:
        starts = 8 * base.span.start
    places = [place for request in ranges(service)[2:] for place in request]
    return {int(n) for first, last in places for n in np.flatnonzero((starts >= first) & (starts <= last))}


def buckets_asked(service):
    """How many they are."""
    return len(asked_numbers(service))


def found(report):
    return {match.identifier.removeprefix("tel:") for match in report.matches}


@pytest.mark.slow
def test_the_answer_is_the_same_and_the_base_is_never_fetched(crowded, person):
    report = person.sync(*MEMBERS, *OTHERS, "+447911123456", privacy="screen")
    assert found(report) == {*MEMBERS, "+447911123456"}
    base = crowded.manifest.partitions["49"].base
    assert [r for r in crowded.requests if base.sha256 in r.path and "range" not in r.headers] == []
    assert buckets_asked(crowded) == BUCKETS
    assert len(ranges(crowded)) == 3, "top, index pages and all buckets: three round trips"
    assert report.downloaded < base.length
    told = rf"fetched {BUCKETS} of 128 buckets of \+49, decoys included \(.* by up to 2\)"
    assert re.search(told, report.leak)
    assert report.leak_odds == {"49": 2.0}
    # The small partition came whole: that tells less and costs no more.
    assert crowded.manifest.partitions["44"].base.sha256 in str(crowded.asked("/data/"))


@pytest.mark.slow
def test_nothing_is_asked_again_and_deltas_carry_it_on(crowded, person):
    person.sync(*MEMBERS, *OTHERS, privacy="screen")
    crowded.requests.clear()
    report = person.sync(*MEMBERS, *OTHERS, privacy="screen")
    assert (found(report), crowded.asked("/data/")) == (set(MEMBERS), [])
    assert "bucket" not in report.leak
    crowded.publish(*MEMBERS[1:], *OTHERS[:2], "+447911123456")
    report = person.sync(*MEMBERS, *OTHERS, privacy="screen")
    assert found(report) == {*MEMBERS[1:], *OTHERS[:2]}
    assert {m.identifier[4:] for m in report.joined} == set(OTHERS[:2])
    assert {m.identifier[4:] for m in report.left} == {MEMBERS[0]}
    assert ranges(crowded) == []
    # New contacts: by the old screen, what the delta says, and buckets of the new base.
    report = person.sync(*MEMBERS, *OTHERS, "+491710009999", privacy="screen")
    assert found(report) == {*MEMBERS[1:], *OTHERS[:2]}


@pytest.mark.slow
def test_new_contacts_after_a_delta(crowded, person):
    person.sync(OTHERS[100], privacy="screen")
    crowded.publish(*MEMBERS[1:], OTHERS[0], "+447911123456")
    report = person.sync(*MEMBERS, *OTHERS, privacy="screen")
    assert found(report) == {*MEMBERS[1:], OTHERS[0]}


def sync_that_is_cut(service, person, *numbers, **options):
    """No reply to a request for buckets arrives."""

    def cut(request, reply):
        if "range" in request.headers and len(ranges(service)) > 2:
            reply.cut = 0

    service.tamper = cut
    with pytest.raises(NetworkError):
        person.sync(*numbers, privacy="screen", **options)
    service.tamper = lambda *_: None


@pytest.mark.slow
def test_the_same_question_after_a_cut_comes_with_the_same_decoys(crowded, person):
    sync_that_is_cut(crowded, person, *MEMBERS)
    first = ranges(crowded)[2:]
    assert len(first) == 3, "tried three times"
    crowded.requests.clear()
    assert found(person.sync(*MEMBERS, privacy="screen")) == set(MEMBERS)
    assert first == 3 * ranges(crowded)[2:]


@pytest.mark.slow
def test_another_question_after_a_cut_asks_for_all_of_the_first_list_too(crowded, person):
    """Else the buckets that both lists have in common would be those of the members."""
    sync_that_is_cut(crowded, person, *MEMBERS, *OTHERS[:50], buckets=16)
    first = asked_numbers(crowded)
    assert len(first) == 16
    # Both the book and the publication have changed: another screen, other contacts that pass it.
    crowded.publish(*MEMBERS, *OTHERS[:2], "+447911123456")
    crowded.requests.clear()
    report = person.sync(*MEMBERS, *OTHERS[:60], privacy="screen", buckets=16)
    assert found(report) == {*MEMBERS, *OTHERS[:2]}
    second = asked_numbers(crowded)
    assert first <= second
    assert len(second) in (16, 32)
    # It was answered: the next list owes nothing to it.
    crowded.requests.clear()
    person.sync(*MEMBERS, *OTHERS[:61], privacy="screen", buckets=16)
    assert not first <= asked_numbers(crowded)


@pytest.mark.slow
def test_a_new_contact_who_is_no_member_looks_like_one_who_is(crowded, person, other_person):
    told = []
    for one, number in ((person, "+491710009999"), (other_person, MEMBERS[0])):
        one.sync(*OTHERS, privacy="screen")
        crowded.requests.clear()
        report = one.sync(*OTHERS, number, privacy="screen")
        assert buckets_asked(crowded) == BUCKETS
        told.append((len(ranges(crowded)), report.evaluated, report.leak))
    assert told[0] == told[1]
    # Each new contact comes with decoys of its own, whether it passes or not.
    lists = []
    for number in ("+491710009998", "+491710009997"):
        crowded.requests.clear()
        person.sync(*OTHERS, "+491710009999", number, privacy="screen")
        lists.append(ranges(crowded)[2])
    assert lists[0] != lists[1]


@pytest.mark.slow
def test_many_matches_cost_the_base_and_no_more(service, person):
    members = [f"+49151{i:07}" for i in range(1500)]
    service.crowd = {"49": CROWD}
    service.publish(*members)
    base = service.manifest.partitions["49"].base
    report = person.sync(*members, *OTHERS, privacy="screen")
    assert found(report) == set(members)
    assert ranges(service) == []
    assert f"/v1/data/{base.sha256}" in service.asked("/data/")
    assert "so many members among its contacts in +49" in report.leak
    assert report.downloaded == base.length + service.manifest.partitions["49"].screen.length
    # It is held now, and goes on like any base.
    service.publish(*members[1:])
    service.requests.clear()
    report = person.sync(*members, "+491519999999", privacy="screen")
    assert (found(report), len(service.asked("/data/"))) == (set(members[1:]), 1)


@pytest.mark.slow
def test_the_allowed_download_holds_for_buckets_too(service, person):
    members = [f"+49151{i:07}" for i in range(30)]
    service.crowd = {"49": CROWD}
    service.publish(*members)
    planned = service.manifest.partitions["49"].screen.length + 300_000
    with pytest.raises(ChoiceNeeded, match="too many contacts pass the screen of \\+49") as raised:
        person.sync(*members, privacy="screen", buckets=16, max_download=planned)
    assert ranges(service) == []
    needed = re.search(r"--max-download (\d+)K", raised.value.hint)
    assert "--privacy download --partitions all" in raised.value.hint
    service.requests.clear()
    report = person.sync(*members, privacy="screen", buckets=16, max_download=int(needed[1]) * 1000)
    assert found(report) == set(members)
    assert report.downloaded <= int(needed[1]) * 1000
    assert buckets_asked(service) == 32
    assert [r.path for r in service.requests if "range" not in r.headers and "/data/" in r.path] == []


@pytest.mark.slow
def test_another_number_of_buckets(crowded, person):
    person.sync(*MEMBERS, privacy="screen", buckets=16)
    assert buckets_asked(crowded) == 16


@pytest.mark.slow
def test_a_base_that_nothing_leads_on_from_is_not_kept(crowded, person):
    person.sync(*MEMBERS)
    old = crowded.manifest.partitions["49"].base
    assert (person.server.data / old.sha256).exists()
    anew = crowded.partition
    crowded.partition = lambda code, edition, tokens, _: anew(code, edition, tokens, None)  # without a delta
    crowded.publish(*MEMBERS[1:], "+447911123456")
    assert found(person.sync(*MEMBERS, privacy="screen")) == set(MEMBERS[1:])
    kept = {path.name for path in person.server.data.iterdir()}
    assert old.sha256 not in kept
    assert crowded.manifest.partitions["49"].screen.sha256 in kept


@pytest.mark.slow
def test_two_clients_have_different_decoys(crowded, person, other_person):
    asked = []
    for one in (person, other_person):
        crowded.requests.clear()
        one.sync(*MEMBERS, privacy="screen")
        asked.append(ranges(crowded)[2:])
    assert asked[0] != asked[1]


@pytest.mark.slow
def test_forged_buckets_and_answers_that_are_no_ranges(crowded, person):
    def forged(request, reply):
        if "range" in request.headers and len(ranges(crowded)) > 2:
            reply.body = reply.body[:5000] + bytes([reply.body[5000] ^ 1]) + reply.body[5001:]

    def whole(request, reply):
        if "range" in request.headers:
            reply.status = 200
            reply.headers.pop("Content-Range", None)

    def another(request, reply):
        if "Content-Range" in reply.headers:
            reply.headers["Content-Range"] = reply.headers["Content-Range"].replace("bytes ", "bytes 1")

    for tamper, error in ((forged, BadDirectory), (whole, BadReply), (another, BadReply)):
        crowded.tamper = tamper
        with pytest.raises(error):
            person.sync(*MEMBERS, privacy="screen")
    crowded.tamper = lambda *_: None
    assert found(person.sync(*MEMBERS, privacy="screen")) == set(MEMBERS)


@pytest.mark.slow
def test_a_base_that_is_held_is_used_in_screen_mode_too(crowded, person):
    person.sync(*MEMBERS)
    crowded.requests.clear()
    report = person.sync(*MEMBERS, *OTHERS, privacy="screen")
    assert (found(report), crowded.asked("/data/")) == (set(MEMBERS), [])
