"""The simulated service, a person whose syncs are recorded, and one good transcript."""

import shutil

import pytest
from recorded_syncs import ANNA, BODO, CARL, SOME, Edited, Recorded
from simulated_service import Person, Service, hurry, listen, other_person, person, service

from contactsync.client.transcript import private_path

__all__ = ["hurry", "other_person", "person", "service"]


@pytest.fixture
def recorded(person, tmp_path):
    return Recorded(person, tmp_path)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """One sync of a new client whose transcript is good: several batches, padding, files of two countries."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "service").mkdir()
    service = Service(folder / "service")
    server = listen(service)
    service.publish(ANNA, CARL)
    recorded = Recorded(Person(folder, service), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("contactsync.client.core.round.MAX_BATCH", 8)
        patch.setattr("contactsync.client.transport.PACE_SECONDS", 0.001)
        assert recorded.sync(ANNA, BODO, *SOME) is not None, recorded.error
    server.shutdown()
    server.server_close()
    return recorded


@pytest.fixture
def edited(good, tmp_path):
    """A copy of that transcript, to be edited with care: `write` computes all sums again."""
    file = tmp_path / "edited"
    shutil.copyfile(good.file, file)
    shutil.copyfile(private_path(good.file), private_path(file))
    return Edited.of(good, file)
