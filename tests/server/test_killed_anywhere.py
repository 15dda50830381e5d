"""kill -9 fifty times each, at random moments: what is half done is never taken for whole, and goes on."""

import io
import os
import random
import shutil
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest
from server_tools import AMERICAN, GERMAN, Operator, numbers

from contactsync.foundation.audiences import AUDIENCES
from contactsync.phones import Columns
from contactsync.publication.tuf.repository import Repository
from contactsync.server.backups.making import SCRATCH, back_up
from contactsync.server.backups.restoring import BEFORE, restore
from contactsync.server.belonging import doubts_of
from contactsync.server.keyring import Keyring
from contactsync.server.members import ImportOptions, import_members
from contactsync.server.publishing.job import is_whole
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_accounts, open_members

pytestmark = pytest.mark.slow

TIMES = 50
ROWS = 2000


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A published server, and its backup."""
    folder = tmp_path_factory.mktemp("made")
    operator = Operator(folder / "server")
    operator.add(*range(GERMAN, GERMAN + 500), *range(AMERICAN, AMERICAN + 500))
    operator.accounts.add("shop", "people", "cs_secret")
    operator.publish()
    operator.close()
    back_up(operator.folder, folder / "backup", "0", with_keys=True)
    return folder


@pytest.fixture
def work(tmp_path):
    return tmp_path / "work"


def fresh(made, work):
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(made, work)
    return DataFolder(work / "server")


def in_child(action):
    child = os.fork()
    if not child:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return child


def killed(prepare, action):
    """Prepare, and run `action` in a child that is killed at a random moment; yields, TIMES times."""
    lasts = 0.0
    for _ in range(3):  # how long it takes
        prepare()
        begin = time.monotonic()
        assert os.waitpid(in_child(action), 0)[1] == 0
        lasts = max(lasts, time.monotonic() - begin)
    chance, deaths = random.Random(7), 0
    for _ in range(TIMES):
        prepare()
        child = in_child(action)
        time.sleep(chance.uniform(0, lasts))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        deaths += os.WIFSIGNALED(status)
        if not os.WIFSIGNALED(status):  # the machine has become faster since it was measured
            lasts *= 0.8
        yield
    assert deaths > TIMES // 3, "most were killed after their end: this shows nothing"


def check_whole(path, members):
    """A server with so many members, all of whose parts belong together."""
    folder = DataFolder.existing(path)
    repository = Repository(folder.public)
    with closing(open_members(folder)) as store, closing(open_accounts(folder)) as accounts:
        assert store.count("people") in members
        assert doubts_of(store, repository) == {}
        assert [one.name for one in accounts.list()] == ["shop"]
        found = store.count("people")
    for audience in AUDIENCES:
        manifest = repository.current(audience)
        for partition in manifest.all_partitions() if manifest is not None else ():
            assert is_whole(folder.data, partition)
    assert Keyring.open(folder.keys, None).has_seed("people", 1)
    return found


def publish(folder):
    with closing(open_members(folder)) as store:
        return Publisher(folder, store, Keyring.open(folder.keys, None)).publish()


def test_backup(made, work):
    folder, there = fresh(made, work), 0
    target = work / "new backup"

    def prepare():
        target.unlink(missing_ok=True)

    for _ in killed(prepare, lambda: back_up(folder, target, "0", with_keys=True)):
        check_whole(folder.path, {1000})
        if target.exists():
            there += 1
            restore(target, work / "elsewhere", dry_run=True)
    assert there < TIMES
    prepare()
    back_up(folder, target, "0", with_keys=True)
    assert not (folder.path / SCRATCH).exists()
    assert sorted(path.name for path in work.iterdir()) == ["backup", "new backup", "server"]


def test_restore_into_a_new_folder(made, work):
    fresh(made, work)
    new, there = work / "new", 0
    for _ in killed(lambda: shutil.rmtree(new, ignore_errors=True), lambda: restore(work / "backup", new)):
        if new.exists():
            there += 1
            check_whole(new, {1000})
        else:
            restore(work / "backup", new)
            check_whole(new, {1000})
        assert not (work / ".new.restore").exists()
    assert there < TIMES


def test_restore_in_the_place_of_a_server(made, work):
    folder = DataFolder(work / "server")
    seen = set()

    def prepare():
        fresh(made, work)
        with closing(open_members(folder)) as store:
            store.add(numbers(GERMAN + 100_000))

    before = Path(f"{folder.path}{BEFORE}")
    for _ in killed(prepare, lambda: restore(work / "backup", folder.path, replace=True)):
        count = check_whole(folder.path, {1000, 1001})
        seen.add(count)
        assert count == 1001 or before.exists()
        if before.exists():
            assert check_whole(before, {1000, 1001}) != count
            shutil.rmtree(before)
        restore(work / "backup", folder.path, replace=True)
        assert check_whole(folder.path, {1000}) == 1000
    assert 1001 in seen


def test_import(made, work):
    folder, seen = DataFolder(work / "server"), set()
    table = "phone\n" + "".join(f"+{GERMAN + 200_000 + i}\n" for i in range(ROWS))

    def bring():
        with closing(open_members(folder)) as store:
            options = ImportOptions("people", columns=Columns("phone"))
            import_members(store, io.BytesIO(table.encode()), "users", options, on_refusal=print)

    for _ in killed(lambda: fresh(made, work), bring):
        seen.add(check_whole(folder.path, {1000, 1000 + ROWS}))
        bring()
        check_whole(folder.path, {1000 + ROWS})
    assert 1000 in seen


def test_publish(made, work):
    folder, seen = DataFolder(work / "server"), set()

    def prepare():
        fresh(made, work)
        with closing(open_members(folder)) as store:
            store.add(numbers(*range(GERMAN + 100_000, GERMAN + 101_000)))

    for _ in killed(prepare, lambda: publish(folder)):
        check_whole(folder.path, {2000})
        manifest = Repository(folder.public).current("people")
        seen.add((manifest.edition, sum(one.count for one in manifest.partitions.values())))
        publish(folder)
        manifest = Repository(folder.public).current("people")
        assert (manifest.edition, sum(one.count for one in manifest.partitions.values())) == (2, 2000)
    assert (1, 1000) in seen
    assert seen <= {(1, 1000), (2, 2000)}
