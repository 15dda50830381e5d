"""Screen mode in `contactsync-js sync`: what it finds and asks for, and what must not be believed."""

import json
import re
import struct
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from javascript import Person, found, needs_node
from simulated_service import CREDENTIAL, Reply, problem, ranged, service

from contactsync.directory import open_directory
from contactsync.directory.files import write_file
from contactsync.directory.sidecar import open_sidecar

__all__ = ["service"]
pytestmark = [needs_node, pytest.mark.slow]
MEMBERS = [f"+49151{i:07}" for i in range(5)]
OTHERS = [f"+49171{i:07}" for i in range(60)]
ABROAD = "+447911123456"
CROWD = 150_000  # 32 buckets
SCREEN = ("--privacy", "screen", "--buckets", "8")


@pytest.fixture
def crowded(service):
    service.crowd = {"49": CROWD}
    service.publish(*MEMBERS, ABROAD)
    return service


@pytest.fixture
def labelled(service):
    service.labels = {MEMBERS[0]: "@zero:chat", MEMBERS[1]: "@one:chat"}
    service.crowd = {"49": CROWD}
    service.publish(*MEMBERS, ABROAD)
    return service


def person_of(folder, service):
    return Person(folder, service.url, service.repository.root_bytes(), CREDENTIAL)


@pytest.fixture
def person(tmp_path, service):
    return person_of(tmp_path / "person", service)


@pytest.fixture
def other(tmp_path, service):
    return person_of(tmp_path / "other", service)


def places(service, sha256=""):
    """The places that were asked for, request by request."""
    texts = [r.headers["range"] for r in service.requests if "range" in r.headers and sha256 in r.path]
    return [
        [tuple(map(int, one.split("-"))) for one in text.removeprefix("bytes=").split(",")] for text in texts
    ]


def covered(starts, spans):
    """Which buckets these places touch; `starts` has where each begins, and the end."""
    return {
        int(n)
        for first, last in spans
        for n in np.flatnonzero((starts[1:] > first) & (starts[:-1] <= last) & (starts[1:] > starts[:-1]))
    }


def listed(service):
    """The buckets of +49 that were asked for."""
    base = service.manifest.partitions["49"].base
    with open_directory(service.folder / "data" / base.sha256, expect=None) as directory:
        starts = 8 * np.append(directory.span.start, directory.span.words.size)
    return covered(starts, [place for request in places(service, base.sha256)[2:] for place in request])


def ledger_of(person):
    (folder,) = person.state.iterdir()
    return json.loads((folder / "ledger.json").read_bytes())


def cut_lists(service):
    """No reply to a request for buckets arrives."""

    def cut(request, reply):
        if "range" in request.headers and len(places(service)) > 2:
            reply.cut = 0

    service.tamper = cut


# ---- what it finds, and what it asks for ------------------------------------------------------------------


def test_the_answer_is_the_same_and_the_base_is_never_fetched(crowded, person):
    result = person.sync(*MEMBERS, *OTHERS, ABROAD, more=SCREEN)
    assert sorted(found(result)) == sorted([*MEMBERS, ABROAD])
    assert (result["privacy"], result["leak_odds"]) == ("screen", {"49": 4.0})
    assert re.search(r"fetched 8 of 32 buckets of \+49, decoys included \(.* by up to 4\)", result["leak"])
    assert result["leak"].endswith("; not which, or who matched")
    base = crowded.manifest.partitions["49"].base
    assert [r for r in crowded.requests if base.sha256 in r.path and "range" not in r.headers] == []
    assert [len(listed(crowded)), len(places(crowded))] == [8, 3], "top, index pages, buckets"
    assert result["bytes_received"] < base.length
    assert crowded.asked(crowded.manifest.partitions["44"].base.sha256), "a small partition comes whole"


def test_by_default_a_list_has_64_buckets_of_a_partition_that_is_large_for_them(service, person):
    service.crowd = {"49": 400_000}
    service.publish(*MEMBERS)
    result = person.sync(*MEMBERS, *OTHERS, more=("--privacy", "screen"))
    assert found(result) == MEMBERS
    assert "fetched 64 of 128 buckets" in result["leak"]
    assert len(listed(service)) == 64


def test_download_mode_is_the_default_and_what_is_not_large_tells_nothing(crowded, person, other):
    result = person.sync(*MEMBERS)
    assert (result["privacy"], result["leak_odds"], places(crowded)) == ("download", {}, [])
    result = other.sync(*MEMBERS, more=("--privacy", "screen"))  # 64 buckets of 32: the base costs less
    assert (found(result), result["leak_odds"], places(crowded)) == (MEMBERS, {}, [])
    assert "bucket" not in result["leak"]


def test_nothing_is_asked_again_and_deltas_carry_it_on(crowded, person):
    person.sync(*MEMBERS, *OTHERS, more=SCREEN)
    crowded.requests.clear()
    again = person.sync(*MEMBERS, *OTHERS, more=SCREEN)
    assert (found(again), crowded.asked("/data/")) == (MEMBERS, [])
    assert "bucket" not in again["leak"]
    assert again["leak_odds"] == {"49": 4.0}, "what was told stays told"
    crowded.publish(*MEMBERS[1:], *OTHERS[:2], ABROAD)
    news = person.sync(*MEMBERS, *OTHERS, more=SCREEN)
    assert sorted(found(news)) == sorted([*MEMBERS[1:], *OTHERS[:2]])
    assert sorted(one["name"] for one in news["joined"]) == OTHERS[:2]
    assert [one["name"] for one in news["left"]] == MEMBERS[:1]
    assert places(crowded) == []
    # Somebody new: by the old screen, what the delta says, and buckets of the new base.
    crowded.requests.clear()
    more = person.sync(*MEMBERS, *OTHERS, "+491710009999", more=SCREEN)
    assert sorted(found(more)) == sorted([*MEMBERS[1:], *OTHERS[:2]])
    assert len(listed(crowded)) == 8


def test_many_matches_cost_the_base_and_no_more(service, person):
    members = [f"+49151{i:07}" for i in range(600)]
    service.crowd = {"49": CROWD}
    service.publish(*members)
    result = person.sync(*members, *OTHERS, more=SCREEN)
    assert (len(result["matches"]), places(service)) == (600, [])
    assert (
        "has so many members among its contacts in +49 that the whole directory was fetched" in result["leak"]
    )
    assert result["leak_odds"] == {}
    service.publish(*members[1:])
    service.requests.clear()
    result = person.sync(*members, "+491519999999", more=SCREEN)
    assert (len(result["matches"]), len(service.asked("/data/"))) == (599, 1), "it goes on like any base"


def test_labels_come_with_the_very_list_whoever_matches(labelled, person, other):
    partition = labelled.manifest.partitions["49"]
    base, sidecar = partition.base.sha256, partition.labels.file.sha256
    with open_sidecar(labelled.folder / "data" / sidecar, expect=None) as entries:
        layout = entries.info.layout
        starts = layout.data_offset + layout.entry_bytes * entries.first(np.arange(layout.buckets + 1))
    for one, book in ((person, MEMBERS), (other, OTHERS[:5])):
        labelled.requests.clear()
        result = one.sync(*book, more=SCREEN)
        paths = [r.path for r in labelled.requests if "range" in r.headers]
        assert paths == [f"/v1/data/{base}"] * 3 + [f"/v1/data/{sidecar}"] * 3
        numbers = listed(labelled)
        assert len(numbers) == 8
        assert covered(starts, [one for asked in places(labelled, sidecar)[2:] for one in asked]) == numbers
        if book == MEMBERS:
            labels = {one["name"]: one["label"] for one in result["matches"]}
            assert labels == dict.fromkeys(MEMBERS) | {MEMBERS[0]: "@zero:chat", MEMBERS[1]: "@one:chat"}
            assert result["labels"] == {"unopened": 0, "unknown": 0}
    labelled.publish(*MEMBERS, OTHERS[0], ABROAD)
    result = other.sync(*OTHERS[:5], more=SCREEN)  # she came by a delta: no list has had her bucket
    assert [(one["name"], one["label"]) for one in result["matches"]] == [(OTHERS[0], None)]
    assert result["labels"]["unknown"] in (0, 1)
    done = person.run(*MEMBERS, more=[*SCREEN, "--labels", "no"])
    assert "@zero:chat" not in done.stdout


# ---- choices ----------------------------------------------------------------------------------------------


def test_a_download_that_is_too_large_names_the_choices_and_takes_none(crowded, person):
    error = person.sync(*MEMBERS, more=("--max-download", "400K", "--buckets", "8"), code=7)
    assert error["kind"] == "choice-needed"
    assert re.search(r"--max-download \d+K: tells the server nothing more", error["hint"])
    assert re.search(r"--privacy screen: about \d+K; tells the server the buckets", error["hint"])
    assert crowded.asked("/data/") == crowded.asked("/evaluate/") == []
    assert found(person.sync(*MEMBERS, more=(*SCREEN, "--max-download", "400K"))) == MEMBERS


def test_what_passes_may_be_more_than_is_allowed(service, person):
    members = [f"+49151{i:07}" for i in range(20)]
    service.crowd = {"49": CROWD}
    service.publish(*members)
    planned = service.manifest.partitions["49"].screen.length + 200_000
    error = person.sync(*members, more=(*SCREEN, "--max-download", str(planned)), code=7)
    assert "too many contacts pass the screen of +49" in error["message"]
    assert places(service) == []
    needed = re.search(r"--max-download (\d+K)", error["hint"])[1]
    result = person.sync(*members, more=(*SCREEN, "--max-download", needed))
    assert found(result) == members
    assert len(listed(service)) in (16, 24)


def test_past_the_leak_budget_nothing_is_sent(crowded, person):
    error = person.sync(*MEMBERS, more=(*SCREEN, "--leak-budget", "3"), code=7)
    assert "would multiply the odds of a guess by 4 in all, more than --leak-budget 3" in error["message"]
    assert "--buckets 16: a larger list tells less" in error["hint"]
    assert places(crowded) == []
    (folder,) = person.state.iterdir()
    assert not (folder / "ledger.json").exists()
    more = ("--privacy", "screen", "--buckets", "16", "--leak-budget", "3")
    assert person.sync(*MEMBERS, more=more)["leak_odds"] == {"49": 2.0}
    crowded.rotate(*MEMBERS)
    error = person.sync(*MEMBERS, more=more, code=7)
    assert "by 4 in all" in error["message"], "over all epochs"
    (told,) = ledger_of(person)["told"]
    assert (told["partition"], told["lists"], told["log2_odds"]) == ("49", 1, 1.0)


@pytest.mark.parametrize(
    "wrong", [("--privacy", "x"), ("--buckets", "0"), ("--leak-budget", "0.5"), ("--max-download", "x")]
)
def test_options_that_are_none(crowded, person, wrong):
    assert f"error: {wrong[0]} is " in person.run(*MEMBERS, more=wrong, code=2).stderr
    assert crowded.requests == []


# ---- attacks ----------------------------------------------------------------------------------------------


def test_the_same_question_after_a_cut_comes_with_the_same_list(crowded, person):
    cut_lists(crowded)
    person.sync(*MEMBERS, more=SCREEN, code=4)
    first = listed(crowded)
    (asked,) = ledger_of(person)["asked"]
    assert set(asked["numbers"]) == first
    crowded.tamper = lambda *_: None
    crowded.requests.clear()
    result = person.sync(*MEMBERS, more=SCREEN)
    assert (found(result), listed(crowded), result["leak_odds"]) == (MEMBERS, first, {"49": 4.0})
    assert ledger_of(person)["asked"] == []


def test_a_second_sync_that_asks_for_other_buckets_asks_for_the_first_ones_too(crowded, person):
    """Else the buckets that both lists have in common would be those of the members."""
    cut_lists(crowded)
    person.sync(*MEMBERS, *OTHERS[:20], more=SCREEN, code=4)
    first = listed(crowded)
    crowded.tamper = lambda *_: None
    crowded.publish(*MEMBERS, OTHERS[0], ABROAD)  # the book and the publication have changed
    crowded.requests.clear()
    result = person.sync(*MEMBERS, *OTHERS[:30], more=SCREEN)
    assert sorted(found(result)) == sorted([*MEMBERS, OTHERS[0]])
    second = listed(crowded)
    assert first < second
    assert len(second) == len(first) + 8
    crowded.requests.clear()
    person.sync(*MEMBERS, *OTHERS[:31], more=SCREEN)
    assert not first <= listed(crowded), "it was settled: the next list owes nothing to it"


def test_a_list_does_not_grow_with_matches(crowded, person, other):
    """One new contact, a member or not, with the same contacts before: the same requests."""
    seen = []
    for one, number in ((person, MEMBERS[0]), (other, OTHERS[59])):
        one.sync(*OTHERS[:5], more=SCREEN)
        crowded.requests.clear()
        result = one.sync(*OTHERS[:5], number, more=SCREEN)
        assert len(listed(crowded)) == 8
        seen.append((len(places(crowded)), result["evaluated"], result["leak"], result["leak_odds"]))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("fill", ["ones", "one slice", "nothing"])
def test_a_screen_that_passes_other_than_its_members_is_refused_before_a_point_is_sent(crowded, person, fill):
    honest = crowded.manifest.partitions["49"].screen
    data = bytearray((crowded.folder / "data" / honest.sha256).read_bytes())
    (bits,) = struct.unpack_from("<Q", data, 16)
    end = {"ones": len(data) - 1, "one slice": 40 + bits // 8, "nothing": len(data)}[fill]
    data[40:end] = (b"\0" if fill == "nothing" else b"\xff") * (end - 40)
    forged = write_file(crowded.folder / "data" / "forged", [bytes(data)])
    (crowded.folder / "data" / "forged").rename(crowded.folder / "data" / forged.sha256)
    old = crowded.manifest
    partition = replace(old.partitions["49"], edition=2, deltas=(), screen=forged)
    crowded.manifest = replace(
        old, edition=2, partitions=dict(old.partitions) | {"49": partition}, previous=old.sha256()
    )
    crowded.repository.publish([crowded.manifest], crowded.signers, datetime.now(UTC))
    error = person.sync(*OTHERS, more=SCREEN, code=5)
    assert (error["kind"], error["refusal"]) == (
        "bad-directory",
        "malformed" if fill == "nothing" else "too-full",
    )
    assert crowded.asked("/evaluate/") == []
    assert places(crowded) == []


@pytest.mark.parametrize("number", range(6))
def test_one_octet_of_any_part_that_was_changed(labelled, person, number):
    """Top, index page, buckets, of base and sidecar: refused, and the very list is asked for again."""

    def forged(request, reply):
        if "range" in request.headers and len(places(labelled)) == number + 1:
            at = len(reply.body) * 2 // 3
            reply.body = reply.body[:at] + bytes([reply.body[at] ^ 1]) + reply.body[at + 1 :]

    labelled.tamper = forged
    error = person.sync(*MEMBERS, more=SCREEN, code=5)
    assert (error["kind"], error["refusal"]) == ("bad-directory", "bad-hash")
    assert len(places(labelled)) == number + 1, "nothing is asked for after it"
    (asked,) = ledger_of(person)["asked"]
    labelled.tamper = lambda *_: None
    labelled.requests.clear()
    result = person.sync(*MEMBERS, more=SCREEN)
    assert (found(result), listed(labelled)) == (MEMBERS, set(asked["numbers"]))
    assert result["leak_odds"] == {"49": 4.0}


def body_of(service, request):
    return (service.folder / "data" / request.path.rpartition("/")[2]).read_bytes()


def spans_of(request):
    ends = re.findall(r"(\d+)-(\d+)", request.headers["range"])
    return [range(int(first), int(last) + 1) for first, last in ends]


@pytest.mark.parametrize(
    "answer",
    [
        lambda spans: spans[::-1],
        lambda spans: spans[:1],
        lambda spans: spans if len(spans) == 1 else None,
    ],
    ids=["another order", "the first only", "no lists of ranges"],
)
def test_answers_to_ranges_that_are_allowed(crowded, person, answer):
    def tamper(request, reply):
        if "range" not in request.headers:
            return
        body, spans = body_of(crowded, request), answer(spans_of(request))
        new = Reply(200, {}, body) if spans is None else ranged(body, spans, {})
        reply.status, reply.headers, reply.body = new.status, new.headers, new.body

    crowded.tamper = tamper
    assert found(person.sync(*MEMBERS, *OTHERS[:5], more=SCREEN)) == MEMBERS


def wrong(request, body):
    """Answers that are none."""
    spans = spans_of(request)
    single, several = ranged(body, spans[:1], {}), ranged(body, [range(8), range(100, 108)], {})
    return {
        "all of it": Reply(200, {}, body),
        "another range": ranged(body, [range(spans[0].start + 8, spans[0].stop + 8)], {}),
        "other ranges": several,
        "too short": Reply(206, single.headers, single.body[:-1]),
        "too long": Reply(206, single.headers, single.body + b"x"),
        "of a longer file": Reply(206, {"Content-Range": f"bytes 0-9/{len(body) + 8}"}, body[:10]),
        "no place": Reply(206, {}, single.body),
        "no boundary": Reply(206, {"Content-Type": "multipart/byteranges"}, several.body),
        "cut parts": Reply(206, several.headers, several.body[:-11]),
        "a redirect": Reply(307, {"Location": "https://elsewhere.example/"}, b""),
    }


NONE = ("all of it", "another range", "other ranges", "too short", "too long", "of a longer file", "no place")
NONE += ("no boundary", "cut parts", "a redirect")


@pytest.mark.parametrize("what", NONE)
def test_answers_to_ranges_that_are_none(crowded, person, what):
    def tamper(request, reply):
        if "range" in request.headers:
            new = wrong(request, body_of(crowded, request))[what]
            reply.status, reply.headers, reply.body = new.status, new.headers, new.body

    crowded.tamper = tamper
    error = person.sync(*MEMBERS, more=SCREEN, code=5)
    assert error["kind"] == "bad-reply"
    assert len(places(crowded)) == 1


def test_no_server_can_have_a_second_list_in_one_run(crowded, person):
    """A new epoch and one 404 would make the client begin again by itself: two lists for one question."""

    def rotate(request, reply):
        if "range" in request.headers and crowded.epoch == 1:
            crowded.rotate(*MEMBERS)
            refusal = problem(404, "not-found", "no such file")
            reply.status, reply.headers, reply.body = 404, refusal.headers, refusal.body

    crowded.tamper = rotate
    error = person.sync(*MEMBERS, more=SCREEN, code=6)
    assert "not repeated in this run; sync again" in error["hint"]
    assert len(places(crowded)) == 1
    assert found(person.sync(*MEMBERS, more=SCREEN)) == MEMBERS


def test_a_ledger_that_is_damaged_is_said(crowded, person):
    person.sync(*MEMBERS, more=SCREEN)
    (folder,) = person.state.iterdir()
    path = folder / "ledger.json"
    path.write_bytes(path.read_bytes()[:-20])
    crowded.requests.clear()
    error = person.sync(*MEMBERS, *OTHERS, more=SCREEN, code=1)
    assert "ledger" in error["message"]
    assert crowded.requests == []
