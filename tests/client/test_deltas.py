"""Editions one after the other: deltas are fetched and lead to the same answer as a whole base."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from contactsync.foundation.errors import BadDirectory

NUMBERS = [f"+49151{i:07}" for i in range(60)]


def found(report):
    return {match.identifier.removeprefix("tel:") for match in report.matches}


def kinds(service, manifest):
    """What was downloaded, by kind."""
    (partition,) = manifest.partitions.values()
    names = {partition.base.sha256: "base"}
    names |= {delta.file.sha256: f"{delta.from_edition}-{delta.to_edition}" for delta in partition.deltas}
    return [names.get(path.rpartition("/")[2], "old") for path in service.asked("/data/")]


@pytest.mark.slow
@pytest.mark.parametrize("which", ["all", "mine"])
def test_a_client_some_editions_behind_fetches_the_deltas_and_agrees_with_a_fresh_one(
    service, person, other_person, which
):
    service.publish(*NUMBERS[:30])
    assert found(person.sync(*NUMBERS[:50], partitions=which)) == set(NUMBERS[:30])
    service.publish(*NUMBERS[2:31])
    service.publish(*NUMBERS[2:31], NUMBERS[45])
    service.requests.clear()
    report = person.sync(*NUMBERS[:50], partitions=which)
    assert kinds(service, service.manifest) == ["1-2", "2-3"]
    assert found(report) == found(other_person.sync(*NUMBERS[:50])) == {*NUMBERS[2:31], NUMBERS[45]}
    assert {m.identifier[4:] for m in report.joined} == {NUMBERS[30], NUMBERS[45]}
    assert {m.identifier[4:] for m in report.left} == set(NUMBERS[:2])


@pytest.mark.slow
def test_who_joined_is_found_from_the_delta_alone(service, person, monkeypatch):
    service.publish(*NUMBERS[:30])
    person.sync(*NUMBERS)
    service.publish(*NUMBERS[:31])
    looked_up = []
    monkeypatch.setattr("contactsync.client.core.matching.match", lambda *some: looked_up.append(some))
    assert [m.identifier[4:] for m in person.sync(*NUMBERS).joined] == [NUMBERS[30]]
    assert looked_up == []


@pytest.mark.slow
def test_a_new_contact_is_looked_up_in_the_base_that_is_held_and_carried_on(service, person):
    service.publish(*NUMBERS[:30])
    person.sync(*NUMBERS[:3])
    service.publish(*NUMBERS[1:32])
    person.sync(*NUMBERS[:3])
    service.requests.clear()
    report = person.sync(*NUMBERS)
    assert found(report) == set(NUMBERS[1:32])
    assert service.asked("/data/") == []
    assert report.joined == []


@pytest.mark.slow
def test_a_chain_that_is_gone_costs_a_whole_base(service, person):
    service.publish(*NUMBERS[:30])
    person.sync(*NUMBERS)
    for last in range(31, 34):
        service.publish(*NUMBERS[:last])
    (partition,) = service.manifest.partitions.values()
    assert len(partition.deltas) == 3
    service.rotate(*NUMBERS[:35])
    service.requests.clear()
    assert found(person.sync(*NUMBERS)) == set(NUMBERS[:35])
    assert kinds(service, service.manifest) == ["base"]


@pytest.mark.slow
def test_a_delta_of_another_edition_is_refused_and_the_old_state_stays(service, person):
    service.publish(*NUMBERS[:30])
    person.sync(*NUMBERS)
    service.publish(*NUMBERS[:31])
    (partition,) = service.manifest.partitions.values()
    service.publish(*NUMBERS[:29])
    (later,) = service.manifest.partitions.values()
    wrong = tuple(replace(delta, file=later.deltas[-1].file) for delta in partition.deltas)
    forged = replace(
        service.manifest, edition=4, previous=service.manifest.sha256(),
        partitions={"49": replace(partition, edition=4, deltas=(replace(wrong[0], to_edition=4),))},
    )  # fmt: skip
    service.repository.publish([forged], service.signers, datetime.now(UTC))
    service.manifest = forged
    with pytest.raises(BadDirectory, match="do not lead"):
        person.sync(*NUMBERS)
    # It heals: what no chain leads on from is fetched whole.
    service.requests.clear()
    assert found(person.sync(*NUMBERS)) == set(NUMBERS[:31])
    assert kinds(service, service.manifest) == ["base"]
    service.rotate(*NUMBERS[:30])
    assert found(person.sync(*NUMBERS)) == set(NUMBERS[:30])
