"""Labels: who a match is. Nothing that is sent for them may depend on who matched."""

import json
import re
import sqlite3

import numpy as np
import pytest

from contactsync.client.results import recall
from contactsync.directory import open_directory
from contactsync.directory.sidecar import open_sidecar
from contactsync.foundation.errors import BadDirectory, ChoiceNeeded

MEMBERS = [f"+49151{i:07}" for i in range(5)]
OTHERS = [f"+49171{i:07}" for i in range(40)]
ABROAD = "+447911123456"
CROWD = 400_000
LABELS = {number: f"@user{i}:chat" for i, number in enumerate(MEMBERS[:4])}


@pytest.fixture
def labelled(service):
    """Five members, four of them with labels."""
    service.labels = dict(LABELS)
    service.publish(*MEMBERS, ABROAD)
    return service


@pytest.fixture
def crowded(service):
    service.labels, service.crowd = dict(LABELS), {"49": CROWD}
    service.publish(*MEMBERS, ABROAD)
    return service


def named(report):
    """Number and label of each match."""
    return {match.identifier.removeprefix("tel:"): match.label for match in report.matches}


ALL = dict.fromkeys([*MEMBERS, ABROAD]) | LABELS


def shape(service):
    """All that a server sees of who asks: requests in order, how their ranges look, their lengths."""
    return [
        (one.method, one.path, re.sub(r"\d+", "N", one.headers.get("range", "")), len(one.body))
        for one in service.requests
    ]


def ranges(service, sha256):
    """The octets that were asked for of a file."""
    return [
        tuple(map(int, part.split("-")))
        for one in service.requests
        if one.path.endswith(sha256) and "range" in one.headers
        for part in one.headers["range"].removeprefix("bytes=").split(",")
    ]


def buckets_covered(starts, places):
    """Which buckets these places touch; `starts` has where each begins, and the end."""
    return {
        int(n)
        for first, last in places
        for n in np.flatnonzero((starts[1:] > first) & (starts[:-1] <= last) & (starts[1:] > starts[:-1]))
    }


# ---- attacks: what is asked for must not tell who matched ------------------------------------------------


@pytest.mark.slow
def test_download_mode_asks_for_the_same_whoever_matches(labelled, person, other_person):
    seen = []
    for one, book in ((person, MEMBERS), (other_person, OTHERS[: len(MEMBERS)])):
        for news in ([], [ABROAD]):  # the first sync, and one with somebody new
            labelled.requests.clear()
            one.sync(*book, *news)
            seen.append(shape(labelled))
    assert seen[0] == seen[2]
    assert seen[1] == seen[3]
    labelled.labels[MEMBERS[0]] = "@renamed:chat"
    labelled.publish(*MEMBERS, ABROAD)
    for number, (one, book) in enumerate(((person, MEMBERS), (other_person, OTHERS[: len(MEMBERS)]))):
        labelled.requests.clear()
        one.sync(*book, ABROAD)
        seen.append(shape(labelled))
        change = labelled.manifest.partitions["49"].labels.deltas[-1].file
        assert labelled.asked(change.sha256), f"the change of labels, for {number}"
    assert seen[4] == seen[5]


@pytest.mark.slow
def test_screen_mode_asks_for_the_entries_of_the_very_list_whoever_matches(crowded, person, other_person):
    partition = crowded.manifest.partitions["49"]
    base, sidecar = partition.base.sha256, partition.labels.file.sha256
    with open_directory(crowded.folder / "data" / base, expect=None) as directory:
        span = directory.span
        in_base = 8 * np.append(span.start, span.words.size)
    with open_sidecar(crowded.folder / "data" / sidecar, expect=None) as entries:
        layout = entries.info.layout
        in_sidecar = layout.data_offset + layout.entry_bytes * entries.first(np.arange(layout.buckets + 1))
    seen = []
    for one, book in ((person, MEMBERS), (other_person, OTHERS[: len(MEMBERS)])):
        crowded.requests.clear()
        one.sync(*book, privacy="screen")
        seen.append([(path, len(text.split(","))) for _, path, text, _ in shape(crowded) if text])
        listed = buckets_covered(in_base, ranges(crowded, base))
        assert len(listed) == 64
        assert buckets_covered(in_sidecar, ranges(crowded, sidecar)) == listed
        whole = [r.path for r in crowded.requests if sidecar in r.path and "range" not in r.headers]
        assert whole == [], "never all of it because of somebody"
    paths = [[path for path, _ in one] for one in seen]
    assert paths[0] == paths[1] == [f"/v1/data/{base}"] * 3 + [f"/v1/data/{sidecar}"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("privacy", ["download", "screen"])
def test_an_entry_that_does_not_open_changes_no_request(crowded, person, other_person, privacy):
    """A server that spoils the entry of one member would see at the next sync who has that contact."""
    crowded.seal_honestly, crowded.seal = crowded.seal, lambda *given: spoil(crowded, *given)
    crowded.publish(*MEMBERS, "+447911123457")
    seen = []
    for one, book in ((person, MEMBERS), (other_person, OTHERS[: len(MEMBERS)])):
        crowded.requests.clear()
        report = one.sync(*book, privacy=privacy)
        matched = one is person
        assert len(report.matches) == (5 if matched else 0)
        assert report.labels.unopened == (5 if matched else 0)
        assert set(named(report).values()) <= {None}
        one.sync(*book, privacy=privacy)
        seen.append([(method, path) for method, path, _, _ in shape(crowded)])
    assert seen[0] == seen[1]


def spoil(service, *given):
    before, service.sealed = service.sealed, {}
    service.seal_honestly(*given)
    service.sealed = before | {token: entry ^ 1 for token, entry in service.sealed.items()}


@pytest.mark.slow
def test_rows_without_keys_are_all_looked_up_again_whoever_matched(labelled, person, other_person):
    """Tokens of an earlier version have no label keys. Only those of matches would tell how many are."""
    seen = []
    for one, book in ((person, MEMBERS), (other_person, OTHERS[: len(MEMBERS)])):
        one.sync(*book, labels=False)
        with sqlite3.connect(one.server.cache) as db:
            db.execute("UPDATE tokens SET token = substr(token, 1, 10)")
        db.close()
        labelled.requests.clear()
        report = one.sync(*book)
        assert report.new_identifiers == len(MEMBERS)
        seen.append(shape(labelled))
        assert one.sync(*book).new_identifiers == 0
    assert seen[0] == seen[1]


@pytest.mark.slow
def test_a_contact_that_is_gone_keeps_no_row_without_a_key(labelled, person):
    """Else each sync until the next epoch would wait as long as one that looks everybody up again."""
    person.sync(*MEMBERS, labels=False)
    with sqlite3.connect(person.server.cache) as db:
        db.execute("UPDATE tokens SET token = substr(token, 1, 10)")
    db.close()
    person.sync(*MEMBERS[:2], labels=False)
    with sqlite3.connect(person.server.cache) as db:
        assert db.execute("SELECT count(*) FROM tokens").fetchone() == (5,)
        person.sync(*MEMBERS[:2])
        assert db.execute("SELECT count(*), min(length(token)) FROM tokens").fetchone() == (2, 42)
    db.close()


# ---- what a user gets ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("privacy", ["download", "screen"])
def test_matches_have_their_labels(crowded, person, privacy):
    report = person.sync(*MEMBERS, *OTHERS, ABROAD, privacy=privacy)
    assert named(report) == ALL
    assert (report.labels.unopened, report.labels.unknown) == (0, 0)
    crowded.requests.clear()
    report = person.sync(*MEMBERS, *OTHERS, ABROAD, privacy=privacy)
    assert named(report) == ALL, "without news, from what is kept"
    assert crowded.asked("/data/") == []
    (kept,) = recall(person.server.results).values()
    assert {number: label for one in kept.people for number, label in one.labels.items()} == {
        f"tel:{number}": label for number, label in LABELS.items()
    }


@pytest.mark.slow
def test_labels_no_leaves_them(labelled, person):
    report = person.sync(*MEMBERS, labels=False)
    assert set(named(report).values()) == {None}
    assert report.labels is None
    for partition in labelled.manifest.partitions.values():
        assert not labelled.asked(partition.labels.file.sha256)
    before = report.downloaded
    report = person.sync(*MEMBERS)
    assert {number: named(report)[number] for number in LABELS} == LABELS
    assert report.new_identifiers == 0, "the keys were kept all the same"
    assert report.downloaded == sum(p.labels.file.length for p in labelled.manifest.partitions.values())
    assert before
    report = person.sync(*MEMBERS, labels=False)
    assert set(named(report).values()) == {None}
    labelled.requests.clear()
    assert named(person.sync(*MEMBERS))[MEMBERS[0]] == LABELS[MEMBERS[0]]
    assert labelled.asked("/data/") == [], "the sidecar stayed"


@pytest.mark.slow
def test_a_change_costs_a_delta(crowded, person):
    person.sync(*MEMBERS)
    crowded.labels[MEMBERS[4]] = "@late:chat"
    del crowded.labels[MEMBERS[0]]
    crowded.publish(*MEMBERS, ABROAD)
    report = person.sync(*MEMBERS)
    assert named(report) == {**LABELS, MEMBERS[0]: None, MEMBERS[4]: "@late:chat"}
    assert report.downloaded < 1000
    # Members join and leave: base and sidecar both go on.
    crowded.publish(*MEMBERS[1:], OTHERS[0], ABROAD)
    crowded.labels[OTHERS[0]] = "@new:chat"
    crowded.publish(*MEMBERS[1:], *OTHERS[:2], ABROAD)
    report = person.sync(*MEMBERS, *OTHERS)
    assert named(report) == {
        **{number: LABELS.get(number) for number in MEMBERS[1:4]},
        MEMBERS[4]: "@late:chat",
        OTHERS[0]: "@new:chat",
        OTHERS[1]: None,
    }
    assert report.downloaded < 5000
    assert {m.identifier: m.label for m in report.left} == {f"tel:{MEMBERS[0]}": None}


@pytest.mark.slow
def test_another_size_is_fetched_whole(labelled, person):
    person.sync(*MEMBERS)
    labelled.size, labelled.labels[MEMBERS[0]] = 48, "ö" * 24
    labelled.publish(*MEMBERS, ABROAD)
    assert named(person.sync(*MEMBERS))[MEMBERS[0]] == "ö" * 24


@pytest.mark.slow
def test_labels_that_come_and_go(service, person):
    service.publish(*MEMBERS)
    assert person.sync(*MEMBERS).labels is None
    service.labels = dict(LABELS)
    service.publish(*MEMBERS)
    report = person.sync(*MEMBERS)
    assert (named(report)[MEMBERS[0]], report.new_identifiers) == (LABELS[MEMBERS[0]], 0)
    service.labels = None
    service.publish(*MEMBERS)
    report = person.sync(*MEMBERS)
    assert (set(named(report).values()), report.labels) == ({None}, None)


@pytest.mark.slow
def test_a_match_by_a_delta_of_the_screen_has_no_label_until_its_bucket_is_on_a_list(crowded, person):
    person.sync(*MEMBERS, *OTHERS, privacy="screen")
    crowded.labels[OTHERS[0]] = "@joined:chat"
    crowded.publish(*MEMBERS, OTHERS[0], ABROAD)
    report = person.sync(*MEMBERS, *OTHERS, privacy="screen")
    assert named(report)[OTHERS[0]] is None
    assert (report.labels.unknown, report.labels.unopened) == (1, 0)
    assert named(report)[MEMBERS[0]] == LABELS[MEMBERS[0]]


@pytest.mark.slow
def test_buckets_that_come_anyway_refresh_other_labels(crowded, person):
    """Half of the buckets are fetched for somebody else: what is in them is used, and none is asked for."""
    person.sync(*MEMBERS, privacy="screen")
    crowded.labels = {number: label.replace("user", "again") for number, label in LABELS.items()}
    crowded.publish(*MEMBERS, ABROAD)
    assert named(person.sync(*MEMBERS, privacy="screen"))[MEMBERS[0]] == "@user0:chat", "as it was"
    found = set()
    for number in OTHERS[:12]:
        found.update(named(person.sync(*MEMBERS, number, privacy="screen", leak_budget=1e12)).values())
    assert [label for label in found if label and "again" in label]


@pytest.mark.slow
def test_a_new_epoch_has_new_keys(labelled, person):
    person.sync(*MEMBERS)
    labelled.labels[MEMBERS[0]] = "@moved:chat"
    labelled.rotate(*MEMBERS, ABROAD)
    report = person.sync(*MEMBERS)
    assert named(report) == {**LABELS, MEMBERS[0]: "@moved:chat", MEMBERS[4]: None}


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True])
def test_labels_stay_when_an_announced_epoch_begins(labelled, person, again):
    """What was fetched of the announced epoch is not fetched once more, deltas or none."""
    import time

    until = int(time.time()) + 3600
    labelled.announce(*MEMBERS, ABROAD, until=until)
    assert named(person.sync(*MEMBERS))[MEMBERS[0]] == LABELS[MEMBERS[0]]
    if again:
        labelled.labels[MEMBERS[1]] = "@again:chat"
        labelled.announce(*MEMBERS, ABROAD, until=until)
        assert named(person.sync(*MEMBERS))[MEMBERS[1]] == "@again:chat"
    labelled.promote()
    labelled.requests.clear()
    report = person.sync(*MEMBERS)
    assert named(report)[MEMBERS[1]] == labelled.labels[MEMBERS[1]]
    assert labelled.asked("/data/") == []


# ---- limits and damage -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_allowed_download_counts_them(crowded, person):
    sidecars = sum(p.labels.file.length for p in crowded.manifest.partitions.values())
    bases = sum(p.base.length for p in crowded.manifest.partitions.values())
    with pytest.raises(ChoiceNeeded, match="no file was fetched") as raised:
        person.sync(*MEMBERS, max_download=bases + 500_000)
    assert crowded.asked("/data/") == []
    line = next(line for line in raised.value.hint.splitlines() if "--labels no" in line)
    assert "tells the server nothing more" in line
    needed = int(re.search(r"--max-download (\d+)M", raised.value.hint)[1])
    assert needed * 1_000_000 >= sidecars + bases
    person.sync(*MEMBERS, max_download=needed * 1_000_000)
    with pytest.raises(ChoiceNeeded) as raised:
        person.sync(*MEMBERS, max_download=10)
    assert "--labels" not in raised.value.hint, "they are held, so that leaving them saves nothing"


@pytest.mark.slow
def test_screen_mode_stops_before_entries_that_are_not_allowed(crowded, person):
    screen = crowded.manifest.partitions["49"].screen.length
    with pytest.raises(ChoiceNeeded):
        person.sync(*MEMBERS, privacy="screen", max_download=screen + 2_000_000)
    assert ranges(crowded, crowded.manifest.partitions["49"].base.sha256) == []
    report = person.sync(*MEMBERS, privacy="screen", labels=False, max_download=screen + 2_000_000)
    assert len(report.matches) == 5


@pytest.mark.slow
def test_forged_entries_are_refused_for_everybody(crowded, person, other_person):
    sidecar = crowded.manifest.partitions["49"].labels.file.sha256

    def forge(request, reply):
        if sidecar in request.path and reply.status == 206 and len(reply.body) > 100_000:
            reply.body = reply.body[:9000] + bytes([reply.body[9000] ^ 1]) + reply.body[9001:]

    crowded.tamper = forge
    for one, book in ((person, MEMBERS), (other_person, OTHERS[: len(MEMBERS)])):
        with pytest.raises(BadDirectory, match=r"labels of \+49.*hash"):
            one.sync(*book, privacy="screen")
    crowded.tamper = lambda *_: None
    assert named(person.sync(*MEMBERS, privacy="screen"))[MEMBERS[0]] == LABELS[MEMBERS[0]]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_sidecar_on_the_disk_is_fetched_again(labelled, person, damage):
    person.sync(*MEMBERS)
    path = person.server.data / labelled.manifest.partitions["49"].labels.file.sha256
    octets = path.read_bytes()
    path.write_bytes(octets[:-1] + bytes([octets[-1] ^ 1]) if damage == "flipped" else octets[:-1])
    labelled.labels[MEMBERS[0]] = "@renamed:chat"
    labelled.publish(*MEMBERS, ABROAD)
    if damage == "flipped":
        with pytest.raises(BadDirectory, match="damaged"):
            person.sync(*MEMBERS)
    assert named(person.sync(*MEMBERS))[MEMBERS[0]] == "@renamed:chat"


@pytest.mark.slow
def test_a_sidecar_of_another_edition_is_refused_for_everybody(labelled, person, other_person):
    """The manifest is signed, but its delta leads elsewhere."""
    for one, book in ((person, MEMBERS), (other_person, OTHERS)):
        one.sync(*book)
    labelled.labels[MEMBERS[0]] = "@one:chat"
    labelled.publish(*MEMBERS, ABROAD)
    wrong = labelled.manifest.partitions["49"].labels.deltas
    labelled.labels[MEMBERS[0]] = "@two:chat"
    honest = labelled.labelled

    def lie(partition, *given):
        from dataclasses import replace

        found = honest(partition, *given)
        if partition.name != "49":
            return found
        last = replace(wrong[-1], to_edition=found.labels.edition)
        return replace(found, labels=replace(found.labels, deltas=(last,)))

    labelled.labelled = lie
    labelled.publish(*MEMBERS, ABROAD)
    for one, book in ((person, MEMBERS), (other_person, OTHERS)):
        with pytest.raises(BadDirectory):
            one.sync(*book)
        report = one.sync(*book)
        if one is person:
            assert named(report)[MEMBERS[0]] == "@two:chat", "whole, next time"


def test_results_of_format_1_are_read_and_written_anew(tmp_path):
    path = tmp_path / "results.json"
    last = {"at": "2026-01-01T00:00:00+00:00", "epoch": 1, "edition": 1, "members": 1, "contacts": 1}
    people = [{"name": "Anna", "identifiers": ["tel:+491"]}]
    record = {**last, "identifiers": 1, "people": people}
    path.write_text(json.dumps({"version": 1, "audiences": {"people": record}}))
    (person,) = recall(path)["people"].people
    assert (person.name, person.identifiers, person.labels) == ("Anna", ("tel:+491",), {})
