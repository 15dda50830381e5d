"""What would lock every client out is refused before it is served, and a switch is never called a failure."""

import errno
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from server_tools import AMERICAN, GERMAN, FolderFetcher, Operator

from contactsync.commands import main
from contactsync.foundation.errors import NotCleanedUp, OurError
from contactsync.publication.tuf.follower import Follower
from contactsync.publication.tuf.signed import LIFETIMES
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order
from contactsync.server.status import status


@pytest.fixture
def published(operator):
    operator.add(GERMAN)
    operator.publish()
    return operator


def test_the_root_key_of_another_installation_is_refused(published, tmp_path):
    other = Operator(tmp_path / "other")
    other.close()
    files = published.public_files()
    key = published.folder.keys / "tuf-root.json"
    mine = key.read_bytes()
    shutil.copy(other.folder.keys / "tuf-root.json", key)
    published.add(GERMAN + 1)
    with pytest.raises(OurError, match="key of the role root is not the one named by the root"):
        published.publish()
    assert published.public_files() == files, "nothing was written"
    key.write_bytes(mine)
    published.publish()
    assert published.manifest().count == 2


def test_the_root_is_renewed_before_the_switch(published, monkeypatch):
    """A root that has expired is in force again when the edition that comes with it is seen."""
    monkeypatch.setitem(LIFETIMES, "root", timedelta(days=1000))
    published.add(GERMAN + 1)
    moments = []

    class Watched(Publisher):
        def __init__(self, *given, **more):
            super().__init__(*given, **more)
            self._repository._sign = lambda *given: (
                moments.append(published.repository.root().version),
                type(self._repository)._sign(self._repository, *given),
            )

    Watched(published.folder, published.registry, published.keyring).publish()
    assert moments == [2]


def clean_up_fails(monkeypatch, operator):
    def full(*_given):
        raise OSError(errno.EIO, "Input/output error", "somewhere")

    monkeypatch.setattr(type(operator.keyring), "destroy_seeds", full)


@pytest.mark.slow
@pytest.mark.parametrize("order", [Order(Aim.NEW_EPOCH), Order(Aim.ROTATE, 3600), Order()])
def test_a_clean_up_that_fails_does_not_undo_the_switch(published, monkeypatch, order):
    clean_up_fails(monkeypatch, published)
    published.add(GERMAN + 1)
    publisher = Publisher(published.folder, published.registry, published.keyring)
    with pytest.raises(NotCleanedUp, match=r"^published; cleaning up failed: Input/output error") as raised:
        publisher.publish(order=order)
    assert raised.value.exit_code not in {0, OurError.exit_code}
    assert raised.value.outcomes[0].members == 2
    assert published.manifest().count == 2
    monkeypatch.undo()
    published.publish()


def test_a_promotion_whose_clean_up_fails(published, monkeypatch):
    publisher = Publisher(published.folder, published.registry, published.keyring)
    publisher.publish(order=Order(Aim.ROTATE, -1))
    clean_up_fails(monkeypatch, published)
    with pytest.raises(NotCleanedUp) as raised:
        publisher.publish()
    assert next((one.epoch, one.edition) for one in raised.value.outcomes) == (2, 1)
    assert published.keyring.has_seed("people", 1)
    monkeypatch.undo()
    publisher.publish()
    assert not published.keyring.has_seed("people", 1)


def test_seeds_of_ended_epochs_are_warned_of_until_they_are_gone(published, monkeypatch):
    def said():
        found = status(published.folder, published.registry, published.accounts, datetime.now(UTC))
        return [line for line in found.warnings if "has ended" in line]

    assert said() == []
    clean_up_fails(monkeypatch, published)
    with pytest.raises(NotCleanedUp):
        published.publish(new_epoch=True)
    (line,) = said()
    assert "the key of people of epoch 1" in line
    monkeypatch.undo()
    published.publish()
    assert said() == []
    assert published.manifest().epoch == 2, "and it is the same epoch"


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_says_that_it_is_published(published, monkeypatch, as_json):
    clean_up_fails(monkeypatch, published)
    published.add(GERMAN + 1)
    words = ["server", "publish", "--new-epoch", "--data", str(published.folder.path)]
    done = CliRunner().invoke(main, [*words, *(["--json"] if as_json else [])])
    assert done.exit_code == NotCleanedUp.exit_code
    assert "published; cleaning up failed" in done.stderr
    assert "do not give the same order again" in done.stderr
    if as_json:
        told = json.loads(done.stdout)
        assert told["cleaning_up_failed"]
        assert told["audiences"][0]["epoch"] == 2
    else:
        assert done.stdout.startswith("people: epoch 2, edition 1: 2 members")


# The report


@pytest.mark.slow
def test_a_publish_reports_what_it_changed(operator):
    operator.add(*range(GERMAN, GERMAN + 3000), AMERICAN)
    publisher = Publisher(operator.folder, operator.registry, operator.keyring)
    publisher.publish()
    first = publisher.reports["people", 1]
    assert [(one.name, one.change, one.members, one.delta) for one in first.changes] == [
        ("1", "new", 1, 0),
        ("49", "new", 3000, 0),
    ]
    assert first.update == first.whole == sum(one.base for one in first.changes)
    operator.add(GERMAN + 5000)
    operator.registry.remove(operator.registry.unevaluated("people", 9, "1", None, 9))
    publisher.publish()
    second, manifest = publisher.reports["people", 1], operator.manifest()
    gone, grown = second.changes
    assert (gone.name, gone.change, gone.members_before) == ("1", "gone", 1)
    assert (grown.members, grown.members_before) == (3001, 3000)
    assert grown.delta == manifest.partitions["49"].deltas[-1].file.length
    assert (second.update, second.whole) == (grown.delta, manifest.partitions["49"].base.length)
    publisher.publish(order=Order(Aim.ROTATE, 3600))
    ahead = publisher.reports["people", 2]
    assert [(one.name, one.change) for one in ahead.changes] == [("49", "new")]
    assert publisher.reports["people", 1].changes == ()


@pytest.mark.slow
def test_a_report_is_printed(published):
    def said(*more):
        words = ["server", "publish", "--data", str(published.folder.path), *more]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.stderr
        return done.stdout

    published.add(GERMAN + 1, AMERICAN)
    lines = said().splitlines()
    base = {name: one.base.length for name, one in published.manifest().partitions.items()}
    assert lines[1] == f"  1: 1 member (new); base {base['1']:,} bytes"
    assert lines[2].startswith("  49: 2 members (+1); base ")
    assert lines[3].startswith("  clients download ")
    published.add(GERMAN + 2)
    told = json.loads(said("--json"))
    (change,) = told["audiences"][0]["changes"]
    assert (change["name"], change["change"], change["members"]) == ("49", "changed", 3)
    assert told["audiences"][0]["download"]["whole"] == sum(
        one.base.length for one in published.manifest().partitions.values()
    )
    assert told["cleaning_up_failed"] is None
    for edition in range(3):
        published.add(GERMAN + 10 + edition)
        told = json.loads(said("--json"))
    assert told["files_taken_out"] > 0
    assert told["bytes_taken_out"] > 0


def test_a_client_is_not_disturbed(published, tmp_path):
    """The rehearsal leaves nothing behind, and a client follows as before."""
    before = set(Path(published.folder.path).rglob("*"))
    published.publish()
    after = set(Path(published.folder.path).rglob("*"))
    assert {path.parent.name for path in after - before} <= {"metadata", "targets", "data"}
    root = (published.folder.public / "metadata" / "1.root.json").read_bytes()
    follower = Follower(tmp_path / "state", "http://x", FolderFetcher(published.folder.public), root)
    assert follower.manifest("people") == published.manifest()
