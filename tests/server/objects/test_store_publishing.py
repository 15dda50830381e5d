"""A publish is copied to a store: whole at every moment, by one publisher, whatever fails on the way."""

import functools
import hashlib
import http.server
import json
import shutil
import threading
import time
from pathlib import Path

import pytest
import urllib3
from click.testing import CliRunner
from server_tools import GERMAN, Operator, Process, numbers
from store_servers import LOSE, PASS, REFUSE

from contactsync.commands import main
from contactsync.foundation.errors import NotCleanedUp, OurError
from contactsync.server.objects import copying
from contactsync.server.objects.checking import check_store
from contactsync.server.objects.copying import copy_published
from contactsync.server.objects.files import DATA, METADATA, TIMESTAMP
from contactsync.server.objects.folder import FolderObjects
from contactsync.server.objects.lease import NAME, LeaseLost, leased
from contactsync.server.objects.opening import open_objects
from contactsync.server.objects.ports import ACCOUNTS_ONLY, CHANGES, IMMUTABLE, Headers
from contactsync.server.objects.record import StoreRecord
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.settings import DataFolder

HEADERS = Headers("application/octet-stream", IMMUTABLE)
pytestmark = pytest.mark.slow


def run(*words, data, code=0):
    done = CliRunner().invoke(main, ["server", *words, "--data", str(data)])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def publisher(tmp_path):
    operator = Operator(tmp_path / "server", log=True)
    operator.add(*range(GERMAN, GERMAN + 300))
    yield operator
    operator.close()


def names(url):
    return {one.name for one in open_objects(url).entries("v1")}


def files_of(operator):
    """What `public/` has, by the names of the HTTP API."""
    found = {}
    for path in operator.folder.public.rglob("*"):
        name = path.relative_to(operator.folder.public).as_posix()
        if path.is_file() and not path.name.startswith("."):
            found["v1/" + (f"tuf/{name}" if name.startswith(("metadata", "targets")) else name)] = path
    return found


def assert_equal(operator, url):
    """The store holds what the folder holds, octet by octet, and root.json besides."""
    objects, files = open_objects(url), files_of(operator)
    root = max(operator.folder.public.glob("metadata/*.root.json"), key=lambda path: path.stat().st_mtime_ns)
    files["v1/tuf/metadata/root.json"] = root
    assert names(url) == files.keys()
    for name, path in files.items():
        assert objects.read(name, 1 << 24)[0] == path.read_bytes(), name


def public_of(url, into: Path):
    """The store as a public folder, for the auditor."""
    objects = open_objects(url)
    for name in names(url):
        path = into / name.removeprefix("v1/").removeprefix("tuf/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(objects.read(name, 1 << 24)[0])
    (into / "metadata" / "root.json").unlink()
    return into


def test_a_publish_is_copied_and_what_goes_goes_there_too(publisher, store_url):
    publisher.folder.name_store(store_url)
    for edition in range(6):
        publisher.add(GERMAN + 1000 + edition)
        publisher.publish()
        assert_equal(publisher, store_url)
    record = StoreRecord.read(publisher.folder.path, store_url)
    assert set(record.data) == publisher.data_files()
    assert record.version == 6
    found = check_store(publisher.folder)
    assert (found.missing, found.different, found.left_over) == ((), (), ())
    assert not publisher.folder.path.joinpath("server.toml").read_text().count("not-a-real-secret")


def audit(*words):
    done = CliRunner().invoke(main, ["audit", "publication", *words])
    assert done.exit_code in {0, 10}, done.output  # 10: nobody has told the auditor the fingerprint
    return done.output


def test_the_store_by_itself_passes_the_audit_of_what_is_published(publisher, store_url, tmp_path):
    publisher.folder.name_store(store_url)
    publisher.publish()
    publisher.add(GERMAN + 1000)
    publisher.publish()
    of_store = audit(str(public_of(store_url, tmp_path / "copy")))
    of_folder = audit(str(publisher.folder.public))
    assert of_store == of_folder.replace(str(publisher.folder.public), str(tmp_path / "copy"))


def test_any_web_server_can_give_out_a_store_in_a_folder(publisher, tmp_path):
    """Its names are the paths of the HTTP API: the auditor reads it as it reads a server."""
    publisher.folder.name_store((tmp_path / "store").as_uri())
    publisher.publish()
    handler = functools.partial(Quiet, directory=tmp_path / "store")
    credential = tmp_path / "credential"
    credential.write_text("cs_unused\n")
    credential.chmod(0o600)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        assert "all of this was proven" in audit(url, "--credential-file", str(credential))
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def complete(objects):
    """The version of what the store leads to. Everything that it leads to is there, with its hash."""
    found = objects.read(TIMESTAMP, 1 << 20)
    if found is None:
        return 0
    timestamp = json.loads(found[0])["signed"]

    def followed(name, stated):
        octets = objects.read(name, 1 << 24)
        assert octets is not None, name
        assert hashlib.sha256(octets[0]).hexdigest() == stated, name
        return json.loads(octets[0])

    meta = timestamp["meta"]["snapshot.json"]
    snapshot = followed(f"{METADATA}/{meta['version']}.snapshot.json", meta["hashes"]["sha256"])
    meta = snapshot["signed"]["meta"]["targets.json"]
    targets = followed(f"{METADATA}/{meta['version']}.targets.json", meta["hashes"]["sha256"])
    leaves = 0
    for name, info in targets["signed"]["targets"].items():
        sha256 = info["hashes"]["sha256"]
        manifest = followed(f"v1/tuf/targets/{sha256}.{name}", sha256)
        assert objects.size(f"v1/log/leaf/{sha256}") is not None
        leaves += 1
        for partition in manifest["partitions"].values():
            for file in [partition["base"], *(one["file"] for one in partition["deltas"])]:
                octets = objects.read(f"{DATA}/{file['sha256']}", 1 << 24)
                assert octets is not None
                assert hashlib.sha256(octets[0]).hexdigest() == file["sha256"]
    assert leaves
    place = max(int(objects.read(one.name, 99)[0]) for one in objects.entries("v1/log/leaf"))
    assert int(objects.read("v1/log/checkpoint", 1 << 16)[0].split(b"\n")[1]) <= place + 1
    return timestamp["version"]


class Killed(BaseException):
    pass


class Watched(FolderObjects):
    """Each change but those of the lease is preceded by a look at the whole; that at `kill` does not come."""

    def __init__(self, folder, kill=None):
        super().__init__(folder)
        self.changes, self.kill, self.versions = 0, kill, []
        self.lock = threading.Lock()

    def _look(self):
        with self.lock:
            self.versions.append(complete(self))
            self.changes += 1
            if self.changes == self.kill:
                raise Killed

    def create(self, name, *arguments):
        if name != NAME:
            self._look()
        return super().create(name, *arguments)

    def replace(self, name, *arguments):
        if name != NAME:
            self._look()
        return super().replace(name, *arguments)

    def delete(self, gone):
        for name in gone:
            self._look()
            super().delete([name])


def test_a_reader_sees_one_edition_whole_wherever_a_copy_is_killed(publisher, tmp_path, monkeypatch):
    store = tmp_path / "store"
    publisher.folder.name_store(store.as_uri())
    monkeypatch.setattr(copying, "_PUTS_AT_ONCE", 1)
    for edition in range(4):
        publisher.add(GERMAN + 1000 + edition)
        publisher.publish()
    before = tmp_path / "before"
    shutil.copytree(store, before)
    publisher.folder.name_store("")
    publisher.add(GERMAN + 2000)
    publisher.publish()
    publisher.folder.name_store(store.as_uri())
    first = Watched(store)
    copy_published(publisher.folder, opened=lambda _: first)
    assert first.changes >= 9
    assert sorted(set(first.versions)) == [4, 5]
    assert first.versions == sorted(first.versions)  # never back
    assert_equal(publisher, store.as_uri())
    for kill in range(1, first.changes + 1):
        shutil.rmtree(store)
        shutil.copytree(before, store)
        with pytest.raises(Killed):
            copy_published(publisher.folder, opened=lambda _, kill=kill: Watched(store, kill))
        assert complete(FolderObjects(store)) in {4, 5}
        copy_published(publisher.folder)
        assert_equal(publisher, store.as_uri())


def test_replies_that_are_lost_and_refusals_change_nothing(publisher, faulty):
    proxy, url = faulty
    seen = {}

    def each_fault_once(asked):
        """Of each request: first a refusal, then it is done and its reply is lost."""
        key = asked.method, asked.path
        seen[key] = seen.get(key, 0) + 1
        if asked.method not in {"PUT", "POST"}:
            return PASS
        return {1: REFUSE, 2: LOSE}.get(seen[key], PASS)

    proxy.fault = each_fault_once
    publisher.folder.name_store(url)
    publisher.publish()
    proxy.fault = lambda _: PASS
    assert_equal(publisher, url)
    assert any(one.status == 412 for one in proxy.asked)  # it was done, and met itself


def test_what_cannot_be_copied_is_published_all_the_same_and_copied_later(publisher, faulty, monkeypatch):
    monkeypatch.setattr("contactsync.server.objects.patient._LONGEST_PAUSE", 0.21)
    proxy, url = faulty
    publisher.folder.name_store(url)
    publisher.publish()
    publisher.add(GERMAN + 1000)
    proxy.fault = lambda asked: REFUSE if asked.method == "PUT" and "/data/" in asked.path else PASS
    with pytest.raises(NotCleanedUp, match=r"^published; the store has not all of it: s3://.*status 503"):
        publisher.publish()
    assert publisher.manifest().edition == 2
    assert complete(open_objects(url)) == 1
    record = StoreRecord.read(publisher.folder.path, url)
    assert (record.version, bool(record.failed)) == (1, True)
    assert "503" in record.why
    proxy.fault = lambda _: PASS
    run("store", "copy", data=publisher.folder.path)
    assert_equal(publisher, url)
    assert StoreRecord.read(publisher.folder.path, url).failed == ""


def test_a_publisher_that_lost_its_lease_does_not_switch(publisher, store_url, monkeypatch):
    """It was held up before the switch, and somebody else has begun meanwhile."""
    publisher.folder.name_store(store_url)
    publisher.publish()
    publisher.folder.name_store("")
    publisher.add(GERMAN + 1000)
    publisher.publish()
    publisher.folder.name_store(store_url)
    real = copying.Copy._put_all

    def held_up(copy, *arguments):
        done = real(copy, *arguments)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("contactsync.server.objects.lease.Lease.release", lambda _: None)
            with leased(open_objects(store_url), copying.owner_of(publisher.folder.path)):
                pass  # it has the generation after ours
        return done

    monkeypatch.setattr(copying.Copy, "_put_all", held_up)
    with pytest.raises(LeaseLost, match="taken over"):
        copy_published(publisher.folder)
    assert complete(open_objects(store_url)) == 1


def test_two_publishers_at_once(publisher, store_url, tmp_path):
    """The second is told so at once, and does nothing."""
    publisher.folder.name_store(store_url)
    publisher.publish()
    before = names(store_url)
    publisher.add(GERMAN + 1000)
    with (
        leased(open_objects(store_url), "another", seconds=3.0),
        pytest.raises(NotCleanedUp, match="another publisher holds the lease"),
    ):
        publisher.publish()
    assert names(store_url) == before
    copy_published(publisher.folder)
    assert_equal(publisher, store_url)


def test_an_older_folder_does_not_take_the_store_back(publisher, store_url, tmp_path):
    publisher.folder.name_store(store_url)
    publisher.publish()
    older = tmp_path / "older"
    shutil.copytree(publisher.folder.path, older)
    publisher.add(GERMAN + 1000)
    publisher.publish()
    there = names(store_url)
    with pytest.raises(OurError, match=r"has a newer publication \(timestamp version 2; here it is 1\)"):
        copy_published(DataFolder(older))
    run("publish", "--json", data=older, code=11)  # as far as the other one, with another history
    with pytest.raises(OurError, match="has another publication of the same version") as raised:
        copy_published(DataFolder(older))
    assert "--replace" in raised.value.hint
    run("publish", "--json", data=older, code=11)
    with pytest.raises(OurError, match="has another history"):
        copy_published(DataFolder(older))
    assert names(store_url) == there
    assert complete(open_objects(store_url)) == 2
    run("store", "copy", "--replace", data=older)
    assert complete(open_objects(store_url)) == 3
    found = check_store(DataFolder(older))
    assert (found.missing, found.different, found.left_over) == ((), (), ())


def test_another_servers_store_is_left_alone(publisher, store_url, tmp_path):
    publisher.folder.name_store(store_url)
    publisher.publish()
    other = Operator(tmp_path / "other")
    other.add(GERMAN)
    other.folder.name_store(store_url)
    with pytest.raises(NotCleanedUp, match="belongs to another server"):
        other.publish()
    other.close()
    assert_equal(publisher, store_url)


def test_what_is_missing_or_cut_off_in_the_store_is_found_and_put_again(publisher, store_url):
    publisher.folder.name_store(store_url)
    publisher.publish()
    objects = open_objects(store_url)
    [data, *_] = sorted(name for name in names(store_url) if name.startswith(DATA))
    [manifest, *_] = sorted(name for name in names(store_url) if "/targets/" in name)
    octets, tag = objects.read(data, 1 << 24)
    objects.replace(data, octets[:-1], tag, HEADERS)
    objects.delete([manifest])
    found = check_store(publisher.folder)
    assert (found.missing, found.different) == ((manifest,), (data,))
    said = run("store", "check", data=publisher.folder.path, code=12)
    assert f"missing: {manifest}\ndifferent: {data}\n" in said
    copy_published(publisher.folder)
    assert_equal(publisher, store_url)


def test_a_damaged_octet_in_the_store_is_found_and_put_again(publisher, store_url):
    """A list does not show it: the length is right. What a check has found, the next copy or publish puts."""
    publisher.folder.name_store(store_url)
    publisher.publish()
    objects = open_objects(store_url)
    [data, *_] = sorted(name for name in names(store_url) if name.startswith(DATA))
    [targets, *_] = sorted(name for name in names(store_url) if name.endswith(".targets.json"))
    [gone, *_] = sorted(name for name in names(store_url) if "/targets/" in name)
    for again in (copy_published, lambda _: publisher.publish()):
        for name in (data, targets):
            octets, tag = objects.read(name, 1 << 24)
            objects.replace(name, bytes([octets[0] ^ 1]) + octets[1:], tag, HEADERS)
        objects.delete([gone])
        found = check_store(publisher.folder)
        assert (found.missing, set(found.different)) == ((gone,), {data, targets})
        # Meanwhile nobody is sent there for the file.
        record = StoreRecord.read(publisher.folder.path, store_url)
        assert set(record.data) == publisher.data_files() - {data.rpartition("/")[2]}
        again(publisher.folder)
        assert_equal(publisher, store_url)
        record = StoreRecord.read(publisher.folder.path, store_url)
        assert (set(record.data), record.damaged) == (publisher.data_files(), ())
        publisher.add(GERMAN + 2000)
    found = check_store(publisher.folder)
    assert (found.missing, found.different) == ((), ())


def test_a_file_that_is_damaged_here_is_not_put(publisher, store_url):
    publisher.folder.name_store(store_url)
    publisher.publish()
    [data, *_] = publisher.data_files()
    open_objects(store_url).delete([f"{DATA}/{data}"])
    (publisher.folder.data / data).write_bytes(b"?" * (publisher.folder.data / data).stat().st_size)
    with pytest.raises(OurError, match="is damaged: it was not put"):
        copy_published(publisher.folder)
    assert f"{DATA}/{data}" not in names(store_url)


def test_an_expunged_file_leaves_the_store(publisher, store_url):
    publisher.folder.name_store(store_url)
    publisher.publish()
    before = {name for name in names(store_url) if name.startswith(DATA)}
    publisher.registry.remove(numbers(GERMAN), None)
    Publisher(publisher.folder, publisher.registry, publisher.keyring).publish(expunge=True)
    assert not before & names(store_url)
    assert_equal(publisher, store_url)


@pytest.mark.parametrize("kind", ["moto", "ministack"])
def test_caches_may_keep_what_never_changes_and_nothing_that_needs_a_credential(publisher, use_s3, kind):
    url = use_s3(kind)
    publisher.folder.name_store(url)
    publisher.publish()
    objects, kept = open_objects(url), {}
    for name in names(url):
        reply = urllib3.request("GET", objects.signed_url(name, 60))
        assert reply.status == 200
        kept.setdefault(reply.headers["cache-control"], set()).add(name)
    changing = {name for name in names(url) if name.endswith(("timestamp.json", "/root.json", "checkpoint"))}
    assert changing <= kept[CHANGES]
    assert kept[ACCOUNTS_ONLY] == {name for name in names(url) if name.startswith(DATA)}
    assert all("/tile/" in name or "/tuf/" in name for name in kept[IMMUTABLE])


def test_a_store_that_is_named_later_has_everything_after_one_publish(publisher, store_url):
    publisher.publish()
    publisher.registry.close()
    run("publish", "--store", store_url, data=publisher.folder.path)
    assert publisher.folder.settings().store == store_url
    assert_equal(publisher, store_url)
    assert "0 files put" in run("store", "copy", data=publisher.folder.path)


def test_a_store_is_named_by_init(tmp_path):
    data, store = tmp_path / "data", (tmp_path / "store").as_uri()
    run("init", "--store", store, data=data)
    assert DataFolder(data).settings().store == store
    assert "names no store, or nothing is published" in run("store", "copy", data=data, code=3)
    assert "unknown scheme" in run("publish", "--store", "ftp://x/y", data=data, code=3)
    assert DataFolder(data).settings().store == store


def test_status_says_how_far_the_store_is(publisher, faulty, monkeypatch):
    monkeypatch.setattr("contactsync.server.objects.patient._LONGEST_PAUSE", 0.21)
    proxy, url = faulty
    publisher.folder.name_store(url)
    publisher.publish()
    assert f"store: {url}, up to date (timestamp version 1 of 1)" in run("status", data=publisher.folder.path)
    publisher.add(GERMAN + 1000)
    proxy.fault = lambda _: REFUSE
    with pytest.raises(NotCleanedUp):
        publisher.publish()
    said = run("status", data=publisher.folder.path)
    assert f"store: {url}, behind since 20" in said
    assert "(timestamp version 1 of 2)" in said
    assert "status 503)): `server store copy`" in said
    found = json.loads(run("status", "--json", data=publisher.folder.path))
    assert (found["store"]["version"], found["store"]["published"]) == (1, 2)
    assert "the store has not what is published" in run(
        "status", "--check", data=publisher.folder.path, code=12
    )


def test_serve_brings_a_store_up_that_a_publish_could_not(publisher, tmp_path):
    store = tmp_path / "store"
    publisher.folder.name_store(store.as_uri())
    store.write_text("in the way")
    with pytest.raises(NotCleanedUp, match="the store in a folder cannot be used"):
        publisher.publish()
    store.unlink()
    with Process(publisher.folder.path):
        end = time.monotonic() + 20
        while not (store / TIMESTAMP).exists() and time.monotonic() < end:
            time.sleep(0.1)
    assert complete(FolderObjects(store)) == 1
