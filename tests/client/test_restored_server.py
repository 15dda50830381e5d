"""A server that was restored from an older backup and went on: another history, then a gap, then a sync."""

import shutil

import pytest

from contactsync.foundation.errors import BadSignature
from contactsync.publication.history import MANIFESTS_KEPT

NUMBERS = [f"+49151{i:07}" for i in range(120)]
AMERICANS = [f"+1212555{i:04}" for i in range(60)]
BACKUP, SEEN = 5, 40


def found(report):
    return {match.identifier.removeprefix("tel:") for match in report.matches}


@pytest.fixture
def restored(service, person, tmp_path):
    """The client has seen edition 40; then the server goes back to edition 5. Each has its own +1."""
    for edition in range(1, SEEN + 1):
        americans = AMERICANS[:3] if edition < SEEN else AMERICANS[:4]
        service.publish(*NUMBERS[: 30 + edition], *americans)
        if edition == BACKUP:
            shutil.copytree(service.folder, tmp_path / "backup")
            kept = service.manifest
    person.sync(*NUMBERS, *AMERICANS)
    shutil.rmtree(service.folder)
    shutil.copytree(tmp_path / "backup", service.folder)
    service.manifest = kept
    return service


def publish_on(service, editions, americans=lambda _: AMERICANS[:3]):
    for edition in editions:
        service.publish(*NUMBERS[5 : 35 + edition % 50], *americans(edition))


@pytest.mark.slow
@pytest.mark.parametrize("which", ["same number", "delta of that number", "chain that went on"])
def test_as_soon_as_the_history_lets_it_the_client_fetches_bases(restored, person, which):
    """Whatever partition editions are called in the new history, what was held of the old one is not used."""
    last = SEEN + MANIFESTS_KEPT + 1
    americans = {
        # +1 has edition 40 in both histories, with other members.
        "same number": lambda edition: AMERICANS[20:23] if edition >= SEEN else AMERICANS[:3],
        # +1 has a delta from edition 40 that does not fit what is held.
        "delta of that number": lambda edition: AMERICANS[(edition >= SEEN) + (edition >= SEEN + 20) :][:3],
        "chain that went on": lambda edition: AMERICANS[edition % 7 :][:3],
    }[which]
    publish_on(restored, range(BACKUP + 1, last), americans)
    with pytest.raises(BadSignature, match="another history"):
        person.sync(*NUMBERS, *AMERICANS)
    publish_on(restored, [last], americans)
    partition = restored.manifest.partitions["1"]
    if which == "same number":
        assert partition.edition == SEEN
    elif which == "delta of that number":
        assert SEEN in [delta.from_edition for delta in partition.deltas]
    report = person.sync(*NUMBERS, *AMERICANS)
    assert report.unchecked is not None, "it is told"
    assert found(report) == {*NUMBERS[5 : 35 + last % 50], *americans(last)}
    restored.requests.clear()
    assert found(person.sync(*NUMBERS, *AMERICANS)) == found(report)
    assert restored.asked("/data/") == [], "from here on it goes on as ever"
    assert restored.asked("/evaluate/")[1:] == [], "nobody was evaluated again: it is cover alone"
