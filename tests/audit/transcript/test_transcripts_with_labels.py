"""Transcripts of syncs with labels: a client that asks for some because of a match is caught."""

import pytest
from recorded_syncs import ANNA, BODO, CARL, SOME, Edited, wrong

from contactsync.client import session
from contactsync.client.core import plan, planner
from contactsync.directory.sidecar_ranges import SidecarRangeReader

MEMBERS = [ANNA, *SOME[:4]]
OTHERS = [f"+49171{i:07}" for i in range(30)]


@pytest.fixture
def labelled(service):
    service.labels = {ANNA: "@anna:chat", SOME[0]: "@one:chat"}
    service.publish(*MEMBERS, CARL)
    return service


@pytest.fixture
def crowded(service):
    service.labels, service.crowd = {ANNA: "@anna:chat", SOME[0]: "@one:chat"}, {"49": 400_000}
    service.publish(*MEMBERS, CARL)
    return service


def proven(report):
    assert wrong(report) == set(), [one for one in report.findings if one.severity == "error"]
    return report.proven.get("labels", 0)


@pytest.mark.slow
def test_sidecars_and_deltas_in_download_mode(labelled, recorded):
    report = recorded.sync(ANNA, BODO, CARL, *OTHERS)
    assert report.matches[0].label == "@anna:chat", recorded.error
    assert proven(recorded.audit()) == 2
    labelled.labels[ANNA] = "@else:chat"
    labelled.publish(*MEMBERS, CARL)
    assert recorded.sync(ANNA, BODO, CARL, *OTHERS).matches[0].label == "@else:chat"
    assert proven(recorded.audit()) == 1
    assert recorded.sync(ANNA, BODO, CARL, *OTHERS) is not None, "nothing new"
    found = recorded.audit()
    assert proven(found) == 0
    assert [one.severity for one in found.findings if one.rule == "labels"] == ["note"]


@pytest.mark.slow
def test_labels_that_are_not_wanted(labelled, recorded):
    assert recorded.sync(ANNA, BODO, labels=False) is not None, recorded.error
    assert proven(recorded.audit()) == 0


@pytest.mark.slow
def test_the_entries_of_a_list_in_screen_mode(crowded, recorded):
    report = recorded.sync(*MEMBERS, *OTHERS, CARL, privacy="screen")
    assert report.matches[0].label == "@anna:chat", recorded.error
    found = recorded.audit()
    assert proven(found) >= 64
    assert found.facts["leak"] == report.leak, "labels tell no more"
    assert recorded.sync(*MEMBERS, *OTHERS, BODO, CARL, privacy="screen", labels=False) is not None
    proven(recorded.audit())


@pytest.mark.slow
def test_a_client_that_leaves_a_sidecar_where_nobody_matches(labelled, recorded, monkeypatch):
    """It looks whether somebody is there, and then decides."""
    honest = plan.with_labels

    def lie(part, held, buckets):
        return honest(part, held, buckets) if part.partition.name == "49" else part

    with monkeypatch.context() as patch:
        patch.setattr(planner, "with_labels", lie)
        assert recorded.sync(ANNA, *OTHERS) is not None, recorded.error
    assert "choice" in wrong(recorded.audit())


@pytest.mark.slow
@pytest.mark.parametrize("lie", ["fewer", "none", "more"])
def test_a_client_that_asks_for_entries_of_matches(crowded, recorded, monkeypatch, lie):
    read, used = SidecarRangeReader.read, []

    def reads(self, numbers, counts):
        used.append(numbers)
        if lie == "fewer":
            half = len(numbers) // 2
            read(self, sorted(numbers)[:half], counts[:half])
        elif lie == "more":
            read(self, numbers, counts)
        return read(self, numbers, counts) if lie != "none" else _nothing()

    def _nothing():
        raise session.BadDirectory("nothing was asked for")

    with monkeypatch.context() as patch:
        patch.setattr(SidecarRangeReader, "read", reads)
        recorded.sync(*MEMBERS, *OTHERS, privacy="screen")
    assert used
    found = recorded.audit()
    if lie == "none":
        assert "labels" not in found.proven or found.state("labels") != "proven"
    else:
        assert "labels" in wrong(found)


@pytest.mark.slow
def test_labels_that_are_asked_for_against_the_options(labelled, recorded):
    assert recorded.sync(ANNA, BODO) is not None, recorded.error
    edited = Edited.of(recorded, recorded.file)
    edited.lines[0]["options"]["labels"] = False
    assert {"labels", "choice"} <= wrong(edited.audit())


@pytest.mark.slow
def test_a_transcript_of_before_there_were_labels(service, recorded):
    """Its options do not speak of labels: such a client fetched none."""
    service.publish(ANNA, CARL)
    assert recorded.sync(ANNA, BODO, labels=False) is not None, recorded.error
    edited = Edited.of(recorded, recorded.file)
    del edited.lines[0]["options"]["labels"]
    assert wrong(edited.audit()) == set()
