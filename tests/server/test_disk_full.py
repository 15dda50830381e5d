"""A small file system that is really full: a clear error, nothing half done, and all works again with room.

Each command runs with more and more free space, until it has enough. Mounting needs root.
"""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
import urllib3
from click.testing import CliRunner
from server_tools import GERMAN, Operator, Process, numbers

from contactsync.commands import main
from contactsync.publication.logged import last_checkpoint
from contactsync.publication.tuf.repository import Repository
from contactsync.server.backups.restoring import restore
from contactsync.server.belonging import doubts_of
from contactsync.server.publishing.job import is_whole
from contactsync.server.settings import DataFolder
from contactsync.server.storage.archive import read_archive
from contactsync.server.storage.opening import open_accounts, open_members
from contactsync.voprf.client import blind

pytestmark = pytest.mark.slow

SIZE = 48 << 20
ROOM = [0, 4096, *(1 << power for power in range(14, 25))]
"""Octets that are free, in turn."""
NEW = 3000
PAGE = 4096


class Disk:
    """A file system of its own, in memory."""

    def __init__(self, path):
        self.path, self.ballast = path, path / "ballast"

    def fill(self, room=0):
        """Use everything but `room`."""
        self.empty()
        with self.ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass
        with self.ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(PAGE)):
                pass
        os.truncate(self.ballast, max(self.ballast.stat().st_size - room, 0))

    def empty(self):
        self.ballast.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs", place]
    try:
        done = subprocess.run(mount, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no program `mount`: a full disk is NOT tested")
    if done.returncode:
        pytest.skip(f"cannot mount a file system here: a full disk is NOT tested ({done.stderr.strip()})")
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A published server with a log, 1,000 members of whom are published, and the same with `NEW` more."""
    folder = tmp_path_factory.mktemp("made")
    operator = Operator(folder / "server", log=True)
    operator.add(*range(GERMAN, GERMAN + 1000))
    operator.accounts.add("shop", "people", "cs_secret")
    operator.publish()
    operator.close()
    shutil.copytree(folder / "server", folder / "more")
    with closing(open_members(DataFolder(folder / "more"))) as members:
        members.add(numbers(*range(GERMAN + 10_000, GERMAN + 10_000 + NEW)))
    return folder


def served(folder):
    """What clients are given: each file that the current manifest names, which is there and whole."""
    repository = Repository(folder.public)
    manifest = repository.current("people")
    assert all(is_whole(folder.data, one) for one in manifest.all_partitions())
    return manifest.epoch, manifest.edition


def in_child(*words):
    """`contactsync server …` in a process of its own; its exit code and what it said."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        code = 99
        try:
            done = CliRunner().invoke(main, ["server", *map(str, words)])
            code = done.exit_code
            said = done.output if done.exception is None or code != 1 else f"{done.output}{done.exception!r}"
            os.write(write, said.encode()[-60_000:])
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        said = file.read().decode()
    status = os.waitpid(child, 0)[1]
    assert not os.WIFSIGNALED(status), f"signal {os.WTERMSIG(status)}: {said}"
    return os.waitstatus_to_exitcode(status), said


class Site:
    """A data folder on the disk."""

    def __init__(self, made, disk):
        self.made, self.disk, self.folder = made, disk, DataFolder(disk.path / "server")

    def prepare(self, what):
        self.disk.empty()
        for path in self.disk.path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self.made / what, self.folder.path)
        return served(self.folder)

    def check(self, before):
        """Nothing is half done: what was served is, and everything can be opened."""
        with closing(open_members(self.folder)) as members, closing(open_accounts(self.folder)) as accounts:
            assert doubts_of(members, Repository(self.folder.public)) == {}
            assert [one.name for one in accounts.list()] == ["shop"]
            count = members.count("people")
        assert served(self.folder) == before
        assert last_checkpoint(self.folder.public / "log") is not None
        return count

    def each(self, what, *words):
        """Run a command with more and more room; yields what was served, with the disk emptied again."""
        for refused, room in enumerate(ROOM):
            before = self.prepare(what)
            self.disk.fill(room)
            code, said = in_child(*words, "--data", self.folder.path)
            if not code:
                assert refused >= 2, "there was room enough from the start: this shows nothing"
                return
            assert re.search(r"full|space|No space", said), (room, said)
            assert "Traceback" not in said
            assert code in {1, 3, 4, 5, 6}, (room, code, said)
            # What clients are given is there while the disk is full.
            assert served(self.folder) == before
            self.disk.empty()
            yield before
            code, said = in_child(*words, "--data", self.folder.path)
            assert (code, room) == (0, room), said
        pytest.fail(f"it needs more than {ROOM[-1]:,} octets")


@pytest.fixture
def site(made, disk):
    return Site(made, disk)


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_publish(site):
    """Also the log, to which it appends before it switches."""
    for before in site.each("more", "publish"):
        assert site.check(before) == 1000 + NEW
    assert served(site.folder) == (1, 2)


def test_rotate(site):
    for before in site.each("server", "rotate"):
        assert site.check(before) == 1000


def test_import(site, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("phone\n" + "".join(f"+{GERMAN + 200_000 + i}\n" for i in range(NEW)))
    for before in site.each("server", "members", "import", table, "--phone-column", "phone"):
        assert site.check(before) == 1000, "all or none"


def test_export(site):
    target = site.disk.path / "moved"
    for before in site.each("more", "export", target):
        assert not target.exists()
        assert names(site.disk.path) == ["server"]
        site.check(before)
    assert read_archive(target)


def test_backup(site, tmp_path):
    target = site.disk.path / "backup"
    for before in site.each("more", "backup", target, "--with-keys"):
        assert not target.exists()
        assert names(site.disk.path) == ["server"]
        assert ".backup" not in names(site.folder.path)
        site.check(before)
    restore(target, tmp_path / "elsewhere", dry_run=True)


def test_serve(site):
    """What is evaluated must be charged, so it is refused. All that is only read is served."""
    site.prepare("server")
    head = {"Authorization": "Bearer cs_secret", "Content-Type": "application/octet-stream"}
    body = blind([b"%d" % i for i in range(8)]).blinded.tobytes()
    file = next(iter(site.folder.data.iterdir()))
    with Process(site.folder.path) as process, urllib3.PoolManager(retries=False, timeout=20) as http:

        def evaluate(body):
            return http.request("POST", f"{process.url}/v1/evaluate/people/1", headers=head, body=body)

        def left():
            answer = http.request("GET", f"{process.url}/v1/account", headers=head)
            return int(re.search(r"r=(\d+)", answer.headers["RateLimit"])[1])

        assert evaluate(body).status == 200
        begin = left()
        site.disk.fill()
        statuses = []
        for i in range(200):
            statuses.append(
                evaluate(blind([b"full %d %d" % (i, j) for j in range(8)]).blinded.tobytes()).status
            )
            if statuses[-1] != 200:
                break
        refused = blind([b"refused %d" % i for i in range(8)]).blinded.tobytes()
        for _ in range(3):
            answer = evaluate(refused)
            assert answer.status == 503, answer.data
        assert "Retry-After" in answer.headers
        assert b"/" not in answer.data.replace(b"application/", b"")
        data = http.request("GET", f"{process.url}/v1/data/{file.name}", headers=head)
        assert (data.status, hashlib.sha256(data.data).hexdigest()) == (200, file.name)
        assert http.request("GET", f"{process.url}/v1/tuf/metadata/timestamp.json").status == 200
        assert http.request("GET", f"{process.url}/v1/health").status == 200
        assert evaluate(body).status in {200, 503}, "a repeat is free, and may be answered"
        site.disk.empty()
        end = time.monotonic() + 30
        while evaluate(refused).status != 200:
            assert time.monotonic() < end
            time.sleep(0.2)
        paid = statuses.count(200) + 1
        assert begin - left() == 8 * paid
        assert evaluate(refused).status == 200
        assert begin - left() == 8 * paid, "a repeat is free"
        assert process.stop() == 0
        log = process.log.read_text()
    assert "Traceback" not in log
    assert re.search(r"full|space", log), log
