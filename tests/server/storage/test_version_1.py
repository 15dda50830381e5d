"""A folder as version 1 wrote it: opened, published, served; and a migration that is killed at every step."""

import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import tarfile
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import urllib3
from click.testing import CliRunner
from forger import Forger
from server_tools import Process

from contactsync.client.core.planner import Options
from contactsync.client.session import sync
from contactsync.client.state import State
from contactsync.client.transport import Transport
from contactsync.commands import main
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput, BadReply, OurError
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.repository import Repository
from contactsync.server.keyring import Keyring
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.settings import DataFolder
from contactsync.server.status import status
from contactsync.server.storage.opening import open_accounts, open_members
from contactsync.sources import read_address_books
from contactsync.voprf.client import blind

ARCHIVE = Path(__file__).parents[2] / "fixtures" / "version-1.tar.xz"
DRIVER = Path(__file__).with_name("migration_driver.py")
PATHS = os.pathsep.join([str(DRIVER.parents[1]), os.environ["PYTHONPATH"]])

ACCOUNTS = "SELECT name, audience, hash, added FROM accounts JOIN credentials ON id = account ORDER BY name"


@pytest.fixture
def v1(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="tar")  # modes count: keys that others can read are refused
    return tmp_path / "v1"


@pytest.fixture
def folder(v1):
    return DataFolder(v1 / "server")


def version_1(folder):
    """What is in the registry that version 1 left, read without any of our code."""
    with closing(sqlite3.connect(folder.registry)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        return {
            "members": connection.execute("SELECT number, audiences, added FROM members").fetchall(),
            "tokens": connection.execute("SELECT * FROM tokens ORDER BY audience, epoch, number").fetchall(),
            "touched": [(str(code), serial) for code, serial in connection.execute("SELECT * FROM touched")],
            "serial": connection.execute("SELECT serial FROM changes").fetchone(),
            "accounts": connection.execute("SELECT * FROM accounts ORDER BY name").fetchall(),
        }


def now_there(folder):
    """The same from the databases as they are now."""
    with (
        closing(sqlite3.connect(folder.registry)) as registry,
        closing(sqlite3.connect(folder.accounts)) as accounts,
    ):
        assert registry.execute("PRAGMA user_version").fetchone() == (10,)
        assert accounts.execute("PRAGMA user_version").fetchone() == (3,)
        tables = {name for (name,) in registry.execute("SELECT name FROM sqlite_master")}
        # Those of consents, labels, who is pending, and answers are made by whoever opens the members first.
        made = {"consents_tel", "labels_tel", "pending_tel", "label_changes_tel", "answers", "answers_at"}
        tables_of_kinds = ("members", "tokens", "consents", "labels", "pending", "label_changes")
        made |= {f"{table}_mailto" for table in tables_of_kinds}
        there = {"members_tel", "tokens_tel", "touched", "changes", "editions"}
        there |= {"published", "token_keys", "departures", "pairs", "searches", "sqlite_autoindex_pairs_1"}
        there |= {"bases", "token_changes", "departed_tokens", "departed_of", "departed_key", "counts"}
        there |= {f"writer_{what}" for what in ("changes", "keys", "drops", "publishes")}
        assert tables - made == there
        return {
            "members": registry.execute("SELECT key, audiences, added FROM members_tel").fetchall(),
            "tokens": registry.execute("SELECT * FROM tokens_tel ORDER BY audience, epoch, key").fetchall(),
            "touched": registry.execute("SELECT * FROM touched").fetchall(),
            "serial": registry.execute("SELECT serial FROM changes").fetchone(),
            "accounts": accounts.execute(ACCOUNTS).fetchall(),
        }


def names(folder):
    with closing(open_accounts(folder)) as accounts:
        return [account.name for account in accounts.list()]


def credential(v1, audience):
    return (v1 / ("credential" if audience == "people" else "credential-business")).read_text().strip()


@pytest.mark.parametrize("first", [open_members, open_accounts])
def test_nothing_is_lost_whichever_is_opened_first(folder, first):
    before = version_1(folder)
    assert len(before["accounts"]) == 2
    assert before["touched"]
    first(folder).close()
    assert now_there(folder) == before
    assert folder.accounts.stat().st_mode & 0o077 == 0
    with closing(open_members(folder)) as members:
        assert (members.count("people"), members.count("business")) == (8, 2)
        assert members.touched(members.serial()) == [name for name, _ in before["touched"]]
    assert now_there(folder) == before


def test_what_was_pending_is_published_and_the_rest_not_evaluated_again(folder):
    keyring = Keyring.open(folder.keys, None)
    with closing(open_members(folder)) as members:
        outcomes = {o.audience: o for o in Publisher(folder, members, keyring).publish()}
    people, business = outcomes["people"], outcomes["business"]
    assert (people.epoch, people.edition, people.members, people.evaluated) == (1, 3, 8, 1)
    # Nobody joined, but its files are of the first format.
    assert (business.epoch, business.edition, business.members, business.evaluated) == (1, 2, 2, 0)


def publish(folder):
    with closing(open_members(folder)) as members:
        return Publisher(folder, members, Keyring.open(folder.keys, None)).publish()


def test_the_first_publish_makes_every_file_anew_in_the_same_history(folder):
    repository = Repository(folder.public)
    old = {audience: repository.current(audience) for audience in AUDIENCES}
    files = {path.name: path.read_bytes() for path in folder.data.iterdir()}
    assert {manifest.format for manifest in old.values()} == {"contactsync-manifest-1"}
    publish(folder)
    for audience, before in old.items():
        now = repository.current(audience)
        assert (now.format, now.epoch, now.edition) == ("contactsync-manifest-2", 1, before.edition + 1)
        assert (now.previous, now.public_key) == (before.sha256(), before.public_key)
        assert set(now.partitions) >= set(before.partitions)
        for partition in now.partitions.values():
            assert (partition.edition, partition.deltas, partition.screen) == (now.edition, (), None)
            data = (folder.data / partition.base.sha256).read_bytes()
            assert struct.unpack_from("<H", data, 8) == (2,)
        assert Manifest.from_bytes(now.to_bytes()) == now
        assert [one.edition for one in repository.history(audience, 9)][:2] == [now.edition, before.edition]
    assert {path.name for path in folder.data.iterdir()} >= set(files), "who downloads them goes on"
    again = {o.audience: o for o in publish(folder)}
    assert [again[audience].changed for audience in AUDIENCES] == [None, None]


@pytest.mark.slow
def test_the_status_says_that_a_publish_is_due(folder):
    def warnings():
        with closing(open_members(folder)) as members, closing(open_accounts(folder)) as accounts:
            found = status(folder, members, accounts, datetime.now(UTC)).warnings
        return [warning for warning in found if "old format" in warning]

    assert len(warnings()) == len(AUDIENCES)
    assert "has an old format, which newer clients refuse: publish again" in warnings()[0]
    publish(folder)
    assert warnings() == []


def test_who_published_nobody_publishes_nobody_in_the_new_format(folder):
    with closing(open_members(folder)) as members:
        for code in members.partitions("people"):
            members.remove(members.unevaluated("people", 9, code, None, 99))
    signers, repository = Keyring.open(folder.keys, None).signers(), Forger(folder.public)
    nobody = replace(repository.current("people"), partitions={})
    repository.publish([nobody, repository.current("business")], signers, datetime.now(UTC))
    publish(folder)
    manifest = repository.current("people")
    assert (manifest.is_current, manifest.partitions, manifest.previous) == (True, {}, nobody.sha256())


@pytest.mark.slow
def test_a_client_of_version_1_goes_on_with_nothing_forgotten(v1, folder):
    """It refuses what version 1 published, says whose turn it is, and fetches all anew after that."""
    (pinned,) = State(v1 / "state").servers()
    book = read_address_books([v1 / "book.csv"], region="DE")
    held = {path.name for path in pinned.data.iterdir()}
    with Process(folder.path) as process:
        transport = Transport(process.url, credential=credential(v1, "people"))
        publish_dates(folder)
        with pytest.raises(BadReply, match="published by an earlier version") as raised:
            sync(pinned, book, transport, Options())
        assert "update the server and publish again" in raised.value.hint
        assert {path.name for path in pinned.data.iterdir()} == held
        publish(folder)
        report = sync(pinned, book, transport, Options())
        assert (report.edition, len(report.matches)) == (3, 3)
        assert report.new_identifiers == 0, "tokens of the epoch are still good"
        assert report.downloaded > 0
        assert held.isdisjoint(path.name for path in pinned.data.iterdir())
        assert sync(pinned, book, transport, Options()).downloaded == 0
        transport.close()
        assert process.stop() == 0


def publish_dates(folder):
    """Sign the metadata of what version 1 published anew: it may have expired since."""
    repository = Repository(folder.public)
    repository.refresh(Keyring.open(folder.keys, None).signers(), datetime.now(UTC), force=True)


def test_the_first_command_may_be_any(v1):
    for words, expected in (
        (["accounts", "list"], "people"),
        (["members", "count"], "8\n"),
        (["status"], "accounts: 2\n"),
    ):
        copy = v1.with_name("-".join(words))
        shutil.copytree(v1, copy)
        result = CliRunner().invoke(main, ["server", *words, "--data", str(copy / "server")])
        assert result.exit_code == 0, result.stderr
        assert expected in result.stdout


@pytest.mark.slow
def test_it_may_be_served_first_and_its_credentials_open_what_they_did(v1, folder):
    before = version_1(folder)
    http = urllib3.PoolManager(retries=False, timeout=20)
    body = blind([b"tel:+491511234567"]).blinded.tobytes()
    with Process(folder.path) as process:
        for mine, path, status in (
            ("people", "people/1", 200),
            ("people", "business/1", 403),
            ("business", "business/1", 200),
            ("business", "people/1", 403),
        ):
            headers = {
                "Authorization": f"Bearer {credential(v1, mine)}",
                "Content-Type": "application/octet-stream",
            }
            url = f"{process.url}/v1/evaluate/{path}"
            assert http.request("POST", url, headers=headers, body=body).status == status
        http.clear()
        assert process.stop() == 0
    assert now_there(folder) == before


def test_who_was_revoked_does_not_come_back_with_an_old_registry(folder):
    backup = folder.registry.read_bytes()
    with closing(open_accounts(folder)) as accounts:
        gone, kept = (account.name for account in accounts.list())
        accounts.revoke(gone)
        accounts.add("new", "people", "cs_new")
    folder.registry.write_bytes(backup)
    for suffix in ("-wal", "-shm"):
        folder.registry.with_name(folder.registry.name + suffix).unlink(missing_ok=True)
    with closing(open_members(folder)) as members:
        assert members.count("people") == 8
    assert names(folder) == sorted([kept, "new"])


def test_lost_accounts_are_called_that(folder):
    open_members(folder).close()
    folder.accounts.unlink()
    with pytest.raises(OurError, match="no accounts database") as raised:
        open_accounts(folder)
    assert "backup" in raised.value.hint
    open_members(folder).close()
    assert not folder.accounts.exists(), "an empty one would say that nobody has an account"


def test_the_program_of_version_1_would_change_nothing_any_more(folder):
    """It checks the version when it opens; one that has it open finds no accounts."""
    with closing(sqlite3.connect(folder.registry, isolation_level=None)) as old:
        assert old.execute("SELECT count(*) FROM accounts").fetchone() == (2,)
        open_accounts(folder).close()
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            old.execute("DELETE FROM accounts")
    assert len(names(folder)) == 2


@pytest.mark.slow
def test_several_processes_may_come_first_at_once(folder):
    before = version_1(folder)
    code = (
        "import sys; from pathlib import Path; from contactsync.server.settings import DataFolder;"
        "from contactsync.server.storage import opening; sys.stdin.read();"
        "getattr(opening, sys.argv[2])(DataFolder(Path(sys.argv[1]))).close()"
    )
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder.path), f"open_{what}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for what in ["members", "accounts"] * 3
    ]
    time.sleep(1)  # all are imported and wait for the end of their stdin
    for opener in openers:
        opener.stdin.close()
    for opener in openers:
        assert (opener.wait(60), opener.stderr.read()) == (0, "")
        opener.stderr.close()
    assert now_there(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize("first", ["members", "accounts"])
def test_killed_at_every_step(tmp_path, v1, folder, first):
    """The driver kills a process at each statement and each write; the next start is here."""
    command = [sys.executable, "-W", "error", str(DRIVER), str(folder.path), str(tmp_path / "dead"), first]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": PATHS}
    )
    assert done.returncode == 0, done.stderr
    before = version_1(folder)
    dead = [DataFolder(Path(path)) for path in json.loads(done.stdout)]
    assert len(dead) > 30
    reached = set()
    for one in dead:
        reached.add((one.accounts.exists(), _version(one)))
        with closing(open_accounts(one)) as accounts:
            with pytest.raises(BadInput):
                accounts.add(before["accounts"][0][0], "people", "cs_again")
            assert accounts.find(credential(v1, "people")).audience == "people"
        open_members(one).close()
        assert now_there(one) == before
        assert [p.name for p in one.path.iterdir() if p.name.startswith(".")] == []
    there = {*((False, version) for version in range(1, 11)), (True, 10)}
    assert reached == there, "deaths before, between and after"


def _version(folder):
    with closing(sqlite3.connect(folder.registry)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]
