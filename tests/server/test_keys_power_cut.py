"""The power is cut while keys change and while a signed request is finished: clients go on, and so do we."""

import json
import shutil
from pathlib import Path

import pytest
from power_cut import needs_strace, record
from server_tools import FolderFetcher, command, run

from contactsync.publication.tuf.follower import Follower
from contactsync.publication.tuf.repository import Repository

pytestmark = [needs_strace, pytest.mark.slow]


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    return path


@pytest.fixture
def data(disk):
    data = disk / "server"
    run("init", data=data)
    run("members", "add", "+4915100000001", "+12125550100", data=data)
    run("publish", data=data)
    return data


def follow(data, state):
    public = Path(data, "public")
    root = (public / "metadata" / "1.root.json").read_bytes()
    return Follower(state, "http://server.test", FolderFetcher(public), root).manifest("people")


def check(recording, data, done, again, tmp_path):
    """Whatever a cut leaves, a client that was here sees a publication, a new one does, and we go on."""
    seen, before = set(), tmp_path / "client"
    for count, cut in enumerate(recording.cuts(most=60)):
        with cut.at() as found:
            shutil.copytree(before, found / "client")
            edition = follow(found / "server", found / "client").edition
            assert follow(found / "server", found / "new client").edition == edition
            repository = Repository(found / "server" / "public")
            seen.add((repository.root().version, done in cut.said))
            if count % 10 == 0:
                again(found / "server")
                assert follow(found / "server", found / "client").edition >= edition
                run("publish", data=found / "server")
                assert follow(found / "server", found / "new client").edition >= edition
    return seen


def test_rotate(data, disk, tmp_path):
    follow(data, tmp_path / "client")
    done = "the role timestamp has 1 key"
    recording = record(disk, command("keys", "rotate", "timestamp", data=data))
    seen = check(recording, data, done, lambda data: run("keys", "rotate", "timestamp", data=data), tmp_path)
    assert {(1, False), (2, False), (3, False), (3, True)} == seen


def test_finish(data, disk, tmp_path):
    """A new key of the targets, with all of its steps: a root, the targets and what is above, a root."""
    key, request = disk / "key.json", disk / "request"
    offline = [*command("keys", "new", "targets", str(key), "--no-passphrase", data=data)[:-2]]
    record(disk, offline)
    change = ["keys", "rotate", "targets", "--public", f"{key}.pub", "--request", str(request)]
    run(*change, data=data)
    sign = command("sign", str(request), "--keys", str(key), "--yes", data=data)[:-2]
    record(disk, sign)
    follow(data, tmp_path / "client")
    recording = record(disk, command("finish", str(request), data=data))

    def again(data):
        if (data / "prepared.json").exists():
            run("finish", str(data.parent / "request"), data=data)
        named = Repository(data / "public").root().roles["targets"].keyids
        assert named == [json.loads(key.read_text())["keyid"]]
        shutil.copy(key, data.parent / "import.json")
        run("keys", "import", str(data.parent / "import.json"), data=data)

    seen = check(recording, data, "the keys of the role targets have changed", again, tmp_path)
    assert {(1, False), (2, False), (3, False), (3, True)} == seen


def test_publish_elsewhere(data, disk, tmp_path):
    """Preparing an edition changes nothing that is served; finishing is the one switch."""
    run("members", "add", "+12125550101", data=data)
    follow(data, tmp_path / "client")
    request = str(disk / "request")
    recording = record(disk, command("publish", "--offline-targets", request, data=data))

    def prepare(data):
        run("publish", "--offline-targets", str(data.parent / "request"), data=data)
        run("finish", str(data.parent / "request"), data=data)

    assert {root for root, _ in check(recording, data, "prepared in", prepare, tmp_path)} == {1}
    recording = record(disk, command("finish", request, data=data))
    seen = set()
    for count, cut in enumerate(recording.cuts(most=60)):
        with cut.at() as found:
            shutil.copytree(tmp_path / "client", found / "client")
            manifest = follow(found / "server", found / "client")
            for file in manifest.files().values():
                assert (found / "server" / "public" / "data" / file.sha256).stat().st_size == file.length
            seen.add((manifest.edition, "edition 2" in cut.said))
            if count % 10 == 0 and (found / "server" / "prepared.json").exists():
                run("finish", str(found / "request"), data=found / "server")
                assert follow(found / "server", found / "client").edition == 2
    assert {(1, False), (2, False), (2, True)} == seen


def test_export_and_remove(data, disk):
    """At no moment is the key neither here nor in the file."""
    file = disk / "exported" / "key.json"
    file.parent.mkdir()
    words = ("keys", "export", "targets", str(file), "--remove", "--no-passphrase")
    where = set()
    for cut in record(disk, command(*words, data=data)).cuts():
        with cut.at() as found:
            here = (found / "server" / "keys" / "tuf-targets.json").exists()
            there = found / "exported" / "key.json"
            whole = there.exists() and "secret" in json.loads(there.read_text())
            assert here or whole
            where.add((here, whole, "targets" in cut.said))
    assert {(True, False, False), (True, True, False), (False, True, True)} <= where
