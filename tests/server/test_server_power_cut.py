"""Every writer of the server, by its command, with the power cut at every moment."""

import hashlib
import shutil
from pathlib import Path

import pytest
from power_cut import needs_strace, record
from server_tools import FolderFetcher, command, run

from contactsync.foundation.errors import BadInput, NetworkError
from contactsync.publication.tuf.follower import Follower, root_fingerprint
from contactsync.publication.tuf.repository import ROLES, Repository
from contactsync.server.keyring import Keyring
from contactsync.server.settings import DataFolder, Settings

pytestmark = [needs_strace, pytest.mark.slow]

DONE = "epoch "


@pytest.fixture
def disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    return disk


def test_init(disk):
    recording = record(disk, command("init", data=disk / "above" / "server"))
    outcomes = set()
    for cut in recording.cuts(most=2000):  # all of them: few lie between the folder and what is told of it
        with cut.at() as found:
            path = found / "above" / "server"
            try:
                folder = DataFolder.existing(path)
            except BadInput:
                outcomes.add((False, "fingerprint" in cut.said))
                continue
            outcomes.add((True, "fingerprint" in cut.said))
            assert folder.settings() == Settings()
            repository = Repository(folder.public)
            repository.check_signers(Keyring.open(folder.keys, None).signers(), ROLES)
            shown = root_fingerprint(repository.root_bytes())
            assert "fingerprint" not in cut.said or shown in cut.said.replace(" ", "")
            assert run("members", "count", data=path) == "0\n"
            assert folder.data.is_dir()
    assert outcomes == {(False, False), (True, False), (True, True)}


@pytest.fixture
def data(disk):
    data = disk / "server"
    run("init", data=data)
    run("members", "add", "+4915100000001", "+12125550100", data=data)
    return data


def test_members(data, disk):
    recording = record(disk, command("members", "add", "+4915100000002", data=data))
    counts = set()
    for cut in recording.cuts(most=100):
        with cut.at() as found:
            counts.add((run("members", "count", data=found / "server"), "1 added" in cut.said))
    assert counts == {("2\n", False), ("3\n", False), ("3\n", True)}


def follow(data, state):
    """What a client with this state sees, all of its files checked; None if nothing is published."""
    public = Path(data, "public")
    root = (public / "metadata" / "1.root.json").read_bytes()
    try:
        manifest = Follower(state, "http://server.test", FolderFetcher(public), root).manifest("people")
    except NetworkError:
        return None
    for file in manifest.files().values():
        content = (public / "data" / file.sha256).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (file.sha256, file.length)
    return manifest


def test_publish(data, disk, tmp_path):
    """The first edition, the next with deltas, and the next epoch with a new seed."""
    old = None
    for number, options in enumerate([[], [], ["--new-epoch"]]):
        if number == 1:
            run("members", "add", "+4915100000002", data=data)
        client = tmp_path / f"client {number}"
        if old is not None:
            follow(data, client)
        recording = record(disk, command("publish", *options, data=data))
        new = follow(data, tmp_path / "client afterwards")
        assert (new.epoch, new.edition) == [(1, 1), (1, 2), (2, 1)][number]
        check_publish(recording.cuts(most=100), old, new, client)
        old = new


def check_publish(cuts, old, new, client):
    states = set()
    for count, cut in enumerate(cuts):
        with cut.at() as found:
            data = found / "server"
            state = found / "client"
            if client.exists():
                shutil.copytree(client, state)
            seen = follow(data, state)
            assert seen in (old, new)
            states.add((seen == new, DONE in cut.said))
            keyring = Keyring.open(data / "keys", None)
            if seen is not None:
                assert keyring.key_pair("people", seen.epoch).public == seen.public_key
            if DONE in cut.said and new.edition == 1:
                assert not keyring.has_seed("people", new.epoch - 1)
            if count % 12 == 0:  # and it goes on from there
                run("publish", data=data)
                assert follow(data, state).count == new.count
    assert (False, True) not in states
    assert {(False, False), (True, True)} <= states
