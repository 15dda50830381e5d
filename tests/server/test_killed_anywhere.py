"""kill -9 many times each, at random moments: what is half done is never taken for whole, and goes on.

CONTACTSYNC_TEST_KILLS says how many times, 50 without it.
"""

import gc
import io
import os
import random
import shutil
import signal
import time
from contextlib import closing
from pathlib import Path

import postgres_server
import pytest
from server_tools import AMERICAN, GERMAN, Operator, numbers

from contactsync.foundation.audiences import AUDIENCES
from contactsync.phones import Columns
from contactsync.publication.tuf.repository import Repository
from contactsync.server.backups.making import SCRATCH, back_up
from contactsync.server.backups.restoring import BEFORE, restore, undo
from contactsync.server.belonging import doubts_of
from contactsync.server.keyring import Keyring
from contactsync.server.members import ImportOptions, import_members
from contactsync.server.publishing.job import is_whole
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order
from contactsync.server.settings import DataFolder
from contactsync.server.storage.archive import read_archive
from contactsync.server.storage.opening import export_stores, import_stores, open_accounts, open_members
from contactsync.server.storage.ports import NewAccount
from contactsync.server.storage.postgres.address import DatabaseUrl

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("CONTACTSYNC_TEST_KILLS", "50"))
FEW = int(os.environ.get("CONTACTSYNC_TEST_KILLS", "12"))
"""Of what takes long in PostgreSQL, and is done seldom, or in one transaction."""
ROWS = 2000


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A published server, its backup, and its stores in one file."""
    folder = tmp_path_factory.mktemp("made")
    operator = Operator(folder / "server")
    operator.add(*range(GERMAN, GERMAN + 500), *range(AMERICAN, AMERICAN + 500))
    operator.accounts.add("shop", "people", "cs_secret")
    operator.publish()
    operator.close()
    back_up(operator.folder, folder / "backup", "0", with_keys=True)
    export_stores(operator.folder, folder / "stores")
    return folder


@pytest.fixture
def work(in_memory):
    return in_memory / "work"


class Files:
    """Where the stores of the server are, and how the server as it was made comes back."""

    def __init__(self, made, work):
        self.made, self.work, self.folder = made, work, DataFolder(work / "server")
        self.few = KILLS

    def prepare(self):
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.made, self.work)


class Database(Files):
    """The same in PostgreSQL."""

    def __init__(self, made, work, server, monkeypatch):
        super().__init__(made, work)
        self.server, self.few = server, FEW
        self.name = f"contactsync_killed_{postgres_server.worker()}"
        url = postgres_server.create_database(server, f"{self.name}_made")
        super().prepare()
        import_stores(self.folder, made / "stores", DatabaseUrl.parse(url))
        self.settings = self.folder.settings_file.read_bytes()
        self.url = DatabaseUrl.parse(url.removesuffix("_made")).url
        monkeypatch.setenv("CONTACTSYNC_DATABASE", url.removesuffix("_made"))

    def prepare(self):
        super().prepare()
        self.folder.settings_file.write_bytes(self.settings)
        for name in (self.folder.registry, self.folder.accounts):
            name.unlink()
        postgres_server.create_database(self.server, self.name, f"{self.name}_made")


@pytest.fixture(params=["sqlite", "postgres"])
def site(request, made, work, monkeypatch):
    if request.param == "sqlite":
        yield Files(made, work)
        return
    site = Database(made, work, request.getfixturevalue("postgres"), monkeypatch)
    yield site
    for name in (site.name, f"{site.name}_made"):
        postgres_server.drop_database(site.server, name)


def fresh(made, work):
    Files(made, work).prepare()
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


def killed(prepare, action, times=KILLS):
    """Prepare, and run `action` in a child that is killed at a random moment; yields, so many times."""
    lasts = 0.0
    gc.collect()
    gc.freeze()  # or the children's collections copy all pages of what is here
    for _ in range(3):  # how long it takes
        prepare()
        begin = time.monotonic()
        assert os.waitpid(in_child(action), 0)[1] == 0
        lasts = max(lasts, time.monotonic() - begin)
    chance, deaths = random.Random(7), 0
    for _ in range(times):
        prepare()
        child = in_child(action)
        time.sleep(chance.uniform(0, lasts))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        deaths += os.WIFSIGNALED(status)
        if not os.WIFSIGNALED(status):  # the machine has become faster since it was measured
            lasts *= 0.8
        yield
    assert deaths > times // 3, "most were killed after their end: this shows nothing"
    gc.unfreeze()


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


def publish(folder, order=None):
    with closing(open_members(folder)) as store:
        return Publisher(folder, store, Keyring.open(folder.keys, None)).publish(order=order)


def served(folder):
    """Epoch, edition, and members in it."""
    manifest = Repository(folder.public).current("people")
    return manifest.epoch, manifest.edition, sum(one.count for one in manifest.partitions.values())


def test_backup(site):
    site.prepare()
    folder, target, there = site.folder, site.work / "new backup", 0

    def prepare():
        target.unlink(missing_ok=True)

    for _ in killed(prepare, lambda: back_up(folder, target, "0", with_keys=True)):
        check_whole(folder.path, {1000})
        if target.exists():
            there += 1
            restore(target, site.work / "elsewhere", dry_run=True)
    assert there < KILLS
    prepare()
    back_up(folder, target, "0", with_keys=True)
    assert not (folder.path / SCRATCH).exists()
    assert sorted(path.name for path in site.work.iterdir()) == ["backup", "new backup", "server", "stores"]


def test_restore_into_a_database(made, work, postgres, monkeypatch):
    """Once it was killed, the same restore goes through: nobody has to empty the database."""
    fresh(made, work)
    new, there, name = work / "new", 0, f"contactsync_restored_{postgres_server.worker()}"
    url = postgres_server.create_database(postgres, name)
    monkeypatch.setenv("CONTACTSYNC_DATABASE", url)

    def prepare():
        shutil.rmtree(new, ignore_errors=True)
        postgres_server.clear(url)

    def bring():
        restore(work / "backup", new, database=DatabaseUrl.parse(url))

    for _ in killed(prepare, bring):
        if new.exists():
            there += 1
        else:
            bring()
        check_whole(new, {1000})
        assert not (work / ".new.restore").exists()
    assert there < KILLS
    postgres_server.drop_database(postgres, name)


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
    assert there < KILLS


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


def test_restore_in_the_place_of_a_server_in_a_database(made, work, postgres, monkeypatch):
    """Into another database. That of the server that is replaced stays as it was, whenever it is killed."""
    site = Database(made, work, postgres, monkeypatch)
    name, seen = f"contactsync_restored_{postgres_server.worker()}", set()
    new = postgres_server.create_database(postgres, name)
    monkeypatch.setenv("PGPASSWORD", DatabaseUrl.parse(new).password)
    monkeypatch.delenv("CONTACTSYNC_DATABASE")  # each folder says which one is its own
    folder, before = site.folder, Path(f"{site.folder.path}{BEFORE}")

    def prepare():
        site.prepare()
        postgres_server.clear(new)
        folder.name_database(site.url)
        with closing(open_members(folder)) as store:
            store.add(numbers(GERMAN + 100_000))

    def bring():
        restore(work / "backup", folder.path, replace=True, database=DatabaseUrl.parse(new))

    for _ in killed(prepare, bring):
        count = check_whole(folder.path, {1000, 1001})
        seen.add(count)
        if not before.exists():
            assert count == 1001
            bring()
        elif count == 1001:  # what is restored is whole, and not yet exchanged for it
            undo(folder.path)
        assert check_whole(folder.path, {1000}) == 1000
        assert check_whole(before, {1001}) == 1001
    assert 1001 in seen
    for one in (name, site.name, f"{site.name}_made"):
        postgres_server.drop_database(postgres, one)


def test_import(site):
    folder, seen = site.folder, set()
    table = "phone\n" + "".join(f"+{GERMAN + 200_000 + i}\n" for i in range(ROWS))

    def bring():
        with closing(open_members(folder)) as store:
            options = ImportOptions("people", columns=Columns("phone"))
            import_members(store, io.BytesIO(table.encode()), "users", options, on_refusal=print)

    for _ in killed(site.prepare, bring):
        seen.add(check_whole(folder.path, {1000, 1000 + ROWS}))
        bring()
        check_whole(folder.path, {1000 + ROWS})
    assert 1000 in seen


def test_publish(site):
    folder, seen = site.folder, set()

    def prepare():
        site.prepare()
        with closing(open_members(folder)) as store:
            store.add(numbers(*range(GERMAN + 100_000, GERMAN + 101_000)))

    for _ in killed(prepare, lambda: publish(folder)):
        check_whole(folder.path, {2000})
        seen.add(served(folder))
        publish(folder)
        assert served(folder) == (1, 2, 2000)
    assert (1, 1, 1000) in seen
    assert seen <= {(1, 1, 1000), (1, 2, 2000)}


def test_rotate(site):
    """What is announced is whole: its seed and its files are there. It goes on with the same seed."""
    folder, seen = site.folder, set()
    order = Order(Aim.ROTATE, 999_999)
    for _ in killed(site.prepare, lambda: publish(folder, order)):
        check_whole(folder.path, {1000})
        manifest, keys = Repository(folder.public).current("people"), Keyring.open(folder.keys, None)
        announced = manifest.next
        seen.add(announced is not None)
        drawn = keys.key_pair("people", 2).public if keys.has_seed("people", 2) else None
        publish(folder, order if announced is None else Order())
        after = Repository(folder.public).current("people").next
        assert after.public_key == Keyring.open(folder.keys, None).key_pair("people", 2).public
        assert drawn in {None, after.public_key}
        assert announced is None or announced.public_key == after.public_key
        for partition in Repository(folder.public).current("people").all_partitions():
            assert is_whole(folder.data, partition)
    assert False in seen


def test_export_of_stores(site):
    """A file that is not whole is not there."""
    folder, out, seen = site.folder, site.work / "moved", set()

    def move():
        export_stores(folder, out)

    for _ in killed(site.prepare, move, site.few):
        seen.add(out.exists())
        if not out.exists():
            export_stores(folder, out)
        assert read_archive(out)
        assert sorted(path.name for path in site.work.iterdir()) == ["backup", "moved", "server", "stores"]
        check_whole(folder.path, {1000})
    assert False in seen


def test_accounts(site):
    """All of them or none."""
    folder, seen = site.folder, set()
    new = [NewAccount(f"account {i}", "people", f"cs_{i}") for i in range(300)]

    def add():
        with closing(open_accounts(folder)) as accounts:
            accounts.add_all(new)
            accounts.revoke(*(one.name for one in new))

    for _ in killed(site.prepare, add, site.few):
        with closing(open_accounts(folder)) as accounts:
            seen.add(len(accounts.list()))
            accounts.revoke(*(one.name for one in accounts.list() if one.name != "shop"))
        add()
        check_whole(folder.path, {1000})
    assert seen <= {1, 301}
