"""Only an older public/ is left after a restore: who saw the lost editions, and how they come back."""

import shutil

import pytest
from server_tools import AMERICAN, GERMAN, FolderFetcher, run

from contactsync.foundation.errors import BadSignature
from contactsync.publication.history import MANIFESTS_KEPT, Position
from contactsync.publication.tuf.follower import Follower

LOST = 3


@pytest.fixture
def restored(operator, tmp_path):
    """A server at edition 1 again, of which a client has seen `LOST` more. And the state of that client."""
    operator.add(GERMAN)
    operator.publish()
    before = shutil.copytree(operator.folder.public, tmp_path / "public")
    for i in range(LOST):
        operator.add(AMERICAN + i)
        operator.publish()
    follower(operator, tmp_path / "state").manifest("people")
    shutil.rmtree(operator.folder.public)
    shutil.copytree(before, operator.folder.public)
    return operator, tmp_path / "state"


def follower(operator, state):
    return Follower(
        state, "http://x", FolderFetcher(operator.folder.public), operator.repository.root_bytes()
    )


@pytest.mark.slow
def test_who_saw_the_lost_editions_refuses_the_server_until_enough_others_came(restored):
    operator, state = restored
    data = operator.folder.path
    with pytest.raises(BadSignature):
        follower(operator, state).manifest("people")
    run("publish", "--editions", str(LOST), data=data)
    assert operator.manifest().edition == 1 + LOST
    with pytest.raises(BadSignature, match="another history"):
        follower(operator, state).manifest("people")
    run("publish", "--editions", str(MANIFESTS_KEPT), data=data)
    with pytest.raises(BadSignature, match="another history"):
        follower(operator, state).manifest("people")
    run("publish", "--editions", "1", data=data)
    edition = 1 + LOST + MANIFESTS_KEPT + 1
    one = follower(operator, state)
    assert one.manifest("people").edition == edition
    gap = one.unchecked("people")
    assert (gap.since, gap.until) == (Position(1, 1 + LOST), Position(1, edition))
    assert one.manifest("people").count == 1 + LOST


def test_an_edition_without_changes_has_the_same_files(operator):
    operator.add(GERMAN)
    operator.publish()
    before, files = operator.manifest(), operator.data_files()
    text = run("publish", "--editions", "2", data=operator.folder.path)
    after = operator.manifest()
    assert (after.edition, after.partitions) == (3, before.partitions)
    assert operator.data_files() == files
    assert "edition 2" in text
    assert "edition 3" in text
    assert "0 evaluated" in text
    operator.add(GERMAN + 1)
    operator.publish()
    assert operator.manifest().edition == 4


def test_a_rotation_goes_on(operator):
    operator.add(GERMAN)
    operator.publish()
    run("rotate", "--overlap", "7d", data=operator.folder.path)
    announced = operator.manifest().next
    run("publish", "--editions", "3", data=operator.folder.path)
    assert operator.manifest().next == announced
