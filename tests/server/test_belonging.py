"""Members, keys and public/ that do not belong together: it is told, and a publish puts it right."""

import shutil
import sqlite3
import tarfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from server_tools import AMERICAN, GERMAN, Operator, Process, numbers, run

from contactsync import Client, Server, book_of_numbers
from contactsync.commands import main
from contactsync.directory import match, open_directory
from contactsync.foundation.errors import OurError
from contactsync.publication.tuf.repository import Repository
from contactsync.server.keyring import Keyring
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order
from contactsync.server.settings import DataFolder
from contactsync.server.status import status
from contactsync.server.storage.opening import open_accounts, open_members
from contactsync.server.storage.sqlite.members import SqliteMembers
from contactsync.tokens import Tokens
from contactsync.voprf.server import evaluate

FIXTURE = Path(__file__).parents[1] / "fixtures" / "registry-3.tar.xz"


class Installation:
    """A data folder whose parts can be exchanged: nothing of it is open between two calls."""

    def __init__(self, path):
        self.path = path
        Operator(path).close()
        self.folder = DataFolder(path)

    def add(self, *values, audience="people"):
        with closing(open_members(self.folder)) as store:
            store.add(numbers(*values), audience)

    def remove(self, *values):
        with closing(open_members(self.folder)) as store:
            store.remove(numbers(*values))

    def publish(self, order=None):
        with closing(open_members(self.folder)) as store:
            publisher = Publisher(self.folder, store, Keyring.open(self.folder.keys, None))
            return publisher.publish(order=order), publisher.doubts

    def status(self):
        with closing(open_members(self.folder)) as store, closing(open_accounts(self.folder)) as accounts:
            return status(self.folder, store, accounts, datetime.now(UTC))

    def warnings(self):
        return [line for line in self.status().warnings if "registry" in line and "removed: " not in line]

    def backup(self, name, to):
        source = self.path / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, to)
        return to

    def restore(self, name, source):
        target = self.path / name
        for old in self.path.glob(f"{name}*"):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)

    def found(self, *values, audience="people", announced=False):
        """Which of these numbers a client would find."""
        manifest = Repository(self.folder.public).current(audience)
        if announced:
            manifest = manifest.ahead()
        key = Keyring.open(self.folder.keys, None).key_pair(audience, manifest.epoch)
        assert key.public == manifest.public_key
        tokens = Tokens.from_outputs(evaluate(key, numbers(*values).identifiers()))
        members = np.zeros(len(values), bool)
        for partition in manifest.partitions.values():
            with open_directory(
                self.folder.data / partition.base.sha256, expect=partition.directory
            ) as directory:
                members |= match(tokens, directory)
        return [value for value, there in zip(sorted(values), members.tolist(), strict=True) if there]


HERS = [GERMAN + 2 * i for i in range(60)]
HIS = [GERMAN + 3 * i for i in range(40)]
EVERYBODY = sorted({*HERS, *HIS, AMERICAN})


@pytest.fixture
def installation(tmp_path):
    one = Installation(tmp_path / "one")
    one.add(*HERS, AMERICAN)
    one.publish()
    assert one.warnings() == []
    return one


@pytest.fixture
def other(tmp_path):
    other = Installation(tmp_path / "other")
    other.add(*HIS)
    other.publish()
    return other


def is_right_from_now_on(installation, members):
    """What is published is what the registry holds; and from here on publishes are small again."""
    assert installation.found(*EVERYBODY, GERMAN + 1) == sorted(members)
    assert (installation.warnings(), installation.status().pending) == ([], False)
    installation.add(GERMAN + 1)
    outcomes, doubts = installation.publish()
    assert (doubts, outcomes[0].evaluated, outcomes[0].changed) == ({}, 1, ("49",))
    assert installation.found(*EVERYBODY, GERMAN + 1) == sorted([*members, GERMAN + 1])


@pytest.mark.slow
def test_a_registry_of_another_installation(installation, other):
    installation.restore("registry.sqlite", other.folder.registry)
    assert "different installations" in installation.warnings()[0]
    assert installation.status().pending
    outcomes, doubts = installation.publish()
    assert (outcomes[0].evaluated, list(doubts)) == (len(HIS), ["people"])
    is_right_from_now_on(installation, HIS)


@pytest.mark.slow
def test_a_registry_of_another_installation_after_one_more_member(installation, other):
    other.add(GERMAN + 1001)
    other.publish()
    installation.restore("registry.sqlite", other.folder.registry)
    installation.add(GERMAN + 1002)
    installation.publish()
    assert installation.found(*EVERYBODY, GERMAN + 1001, GERMAN + 1002) == sorted(
        [*HIS, GERMAN + 1001, GERMAN + 1002]
    )


def test_an_empty_registry_beside_what_was_published(installation, tmp_path):
    SqliteMembers.create(tmp_path / "empty.sqlite").close()
    installation.restore("registry.sqlite", tmp_path / "empty.sqlite")
    assert "does not know what is published for people" in installation.warnings()[0]
    installation.publish()
    assert installation.found(*EVERYBODY) == []
    assert installation.warnings() == []


@pytest.mark.slow
def test_an_older_registry(installation, tmp_path):
    backup = installation.backup("registry.sqlite", tmp_path / "backup")
    installation.add(GERMAN + 1)
    installation.remove(*HERS[:5])
    installation.publish()
    installation.restore("registry.sqlite", backup)
    assert "the registry is older than public/" in installation.warnings()[0]
    assert installation.status().pending
    outcomes, _ = installation.publish()
    assert outcomes[0].evaluated == 0, "its tokens are of the right key"
    is_right_from_now_on(installation, [*HERS, AMERICAN])


@pytest.mark.slow
def test_an_older_public_folder_serves_nobody_who_was_removed(installation, tmp_path):
    backup = installation.backup("public", tmp_path / "backup")
    installation.remove(*HERS[:5], AMERICAN)
    installation.publish()
    installation.restore("public", backup)
    assert "public/ is older than the registry" in installation.warnings()[0]
    assert installation.status().pending
    (outcome,), _ = installation.publish()
    assert outcome.changed == ("1", "49")
    is_right_from_now_on(installation, HERS[5:])


def test_keys_of_another_installation_are_refused(installation, other):
    installation.restore("keys", other.folder.keys)
    with pytest.raises(OurError, match="not the one named by the root"):
        installation.publish()


@pytest.mark.slow
def test_tokens_of_another_key_are_told(installation):
    with closing(sqlite3.connect(installation.folder.registry)) as database, database:
        database.execute("UPDATE token_keys SET public_key = zeroblob(32)")
    assert "tokens of people of another key" in installation.warnings()[0]
    outcomes, _ = installation.publish()
    assert outcomes[0].evaluated == len(HERS) + 1
    is_right_from_now_on(installation, [*HERS, AMERICAN])


@pytest.mark.slow
def test_both_epochs_of_a_rotation_are_put_right(installation, other, tmp_path):
    installation.publish(Order(Aim.ROTATE, 999_999))
    installation.restore("registry.sqlite", other.folder.registry)
    outcomes, _ = installation.publish()
    assert [one.evaluated for one in outcomes] == [len(HIS)] * 2
    for announced in (False, True):
        assert installation.found(*EVERYBODY, announced=announced) == sorted(HIS)
    assert installation.warnings() == []


@pytest.mark.slow
def test_the_end_of_a_rotation_hides_no_doubt(installation, other, monkeypatch):
    installation.publish(Order(Aim.ROTATE, 1))
    installation.restore("registry.sqlite", other.folder.registry)
    monkeypatch.setattr("contactsync.server.publishing.rotation.Rotations._is_over", lambda *_: True)
    monkeypatch.setattr(Publisher, "_publish", lambda *_: [])  # as if it had been killed before
    installation.publish()
    assert Repository(installation.folder.public).current("people").epoch == 2
    assert installation.warnings()
    monkeypatch.undo()
    installation.publish()
    is_right_from_now_on(installation, HIS)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["expect", "settle", "adopt"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_publish_that_is_killed(installation, other, monkeypatch, step, moment):
    """Whatever it left, the next one puts it right; and one that was right leaves no doubt."""
    for strange, members in ((False, [*HERS, AMERICAN]), (True, HIS)):
        if strange:
            installation.restore("registry.sqlite", other.folder.registry)
        installation.add(GERMAN + 5001)
        real = getattr(SqliteMembers, step)

        def killed(self, *args, real=real, **options):
            if moment == "after":
                real(self, *args, **options)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(SqliteMembers, step, killed)
            with pytest.raises(KeyboardInterrupt):
                installation.publish()
        if not strange:
            assert installation.warnings() == []
        installation.publish()
        assert installation.found(*EVERYBODY, GERMAN + 5001) == sorted([*members, GERMAN + 5001])
        assert installation.warnings() == []


@pytest.mark.slow
def test_the_commands_say_it(installation, other):
    installation.restore("registry.sqlite", other.folder.registry)
    assert "unpublished changes: yes" in run("status", data=installation.path)
    done = CliRunner().invoke(main, ["server", "publish", "--data", str(installation.path)])
    assert done.exit_code == 0
    assert "warning: what is published for people is epoch 1 edition 1" in done.stderr
    assert "every partition was compared" in done.stderr
    assert "unpublished changes: no" in run("status", data=installation.path)


# Registries of version 3 know nothing of it


@pytest.fixture
def version_3(tmp_path):
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="tar")
    one = Installation.__new__(Installation)
    one.path = tmp_path / "v3" / "server"
    one.folder = DataFolder(one.path)
    return one


V3 = [4915100000010, 4915100000011, 4915100000013, 4915100000014, 12125550100]


@pytest.mark.slow
def test_a_registry_of_version_3_is_compared_once(version_3):
    assert "does not know what is published" in version_3.warnings()[0]
    outcomes, doubts = version_3.publish()
    assert list(doubts) == ["people", "business"]
    assert [one.evaluated for one in outcomes] == [1, 0], "its tokens were of the right key"
    assert version_3.found(*V3, 4915100000012, 4915100000015) == sorted([*V3, 4915100000015])
    assert version_3.warnings() == []


@pytest.mark.slow
def test_a_registry_of_version_3_of_another_installation(version_3, installation):
    installation.restore("registry.sqlite", version_3.folder.registry)
    outcomes, _ = installation.publish()
    assert outcomes[0].evaluated == len(V3) + 1
    assert installation.found(*V3, 4915100000012, *HERS[20:], 4915100000015) == sorted([*V3, 4915100000015])


@pytest.mark.slow
def test_a_real_client_finds_exactly_the_right_members(installation, other, tmp_path):
    """Before and after the registry was replaced, and after a publish that expunged what it holds."""
    server = Server(installation.path)
    credential = server.accounts.add("app")
    client = Client(tmp_path / "state")
    book = book_of_numbers(np.array([*EVERYBODY, GERMAN + 1], np.uint64))
    with Process(installation.path) as process:
        client.trust(process.url, fingerprint=server.fingerprint)

        def found():
            return client.sync(book, credential=credential).numbers.tolist()

        assert found() == sorted([*HERS, AMERICAN])
        installation.restore("registry.sqlite", other.folder.registry)
        installation.add(GERMAN + 1)
        installation.publish()
        assert found() == sorted([*HIS, GERMAN + 1])
        server.members.remove(np.array(HIS[:3], np.uint64))
        run("publish", "--expunge", data=installation.path)
        assert found() == sorted([*HIS[3:], GERMAN + 1])
