"""`forget` and `status` as somebody meets them: what is wiped, what is kept, what remains, what it costs."""

import errno
import itertools
import json
import os

import pytest
from click.testing import CliRunner
from power_cut import needs_strace, record
from simulated_service import CREDENTIAL

from contactsync.client.core.mode import AskedList
from contactsync.client.ledger import Ledger
from contactsync.client.state import State
from contactsync.commands import main
from contactsync.foundation import durable

ANNA, BODO = "+491512345671", "+491512345672"
OTHER = "https://other.example"

EDITIONS = itertools.count(1)


@pytest.fixture
def desk(tmp_path, service):
    """One server that was synced with, another that is only pinned, and a ledger of either."""

    class Desk:
        folder = tmp_path / "state"
        state = State(folder)
        url = service.url

        def run(self, command, *arguments):
            result = CliRunner().invoke(main, [command, "--state", str(self.folder), *arguments])
            assert "Traceback" not in result.output
            return result

        def sync(self, *numbers):
            book = tmp_path / "book.csv"
            book.write_text("name,phone\n" + "".join(f"Somebody,{number}\n" for number in numbers))
            credential = tmp_path / "credential"
            credential.write_text(CREDENTIAL)
            arguments = [book, "--credential-file", credential, "--state", self.folder, "--server", self.url]
            return CliRunner().invoke(main, ["sync", *map(str, arguments)])

        def trust(self, *arguments):
            return CliRunner().invoke(
                main, ["trust", self.url, "--yes", "--state", str(self.folder), *arguments]
            )

        def json_status(self):
            return json.loads(self.run("status", "--json").stdout)

        @property
        def server(self):
            return self.state.server(self.url)

        def tell(self, url, lists=2):
            ledger = Ledger.open(self.state.ledger(self.state.name(url)), url)
            for _ in range(lists):
                ledger.record(
                    "people", "49", AskedList(1, 20, next(EDITIONS), bytes(32), tuple(range(64))), total=1024
                )

    desk = Desk()
    service.publish(ANNA)
    assert desk.trust().exit_code == 0
    assert desk.sync(ANNA, BODO).exit_code == 0
    return desk


@pytest.mark.slow
def test_the_ledger_survives_forget_and_says_so(desk):
    desk.tell(desk.url)
    result = desk.run("forget")
    assert result.exit_code == 0
    assert "bytes overwritten and removed" in result.stdout
    assert "kept: 2 bucket lists for +49 (people, " in result.stdout
    assert "multiplied the odds of guessing a contact by up to 256;" in result.stdout
    assert f"`contactsync forget --everything --server {desk.url}` also removes it" in result.stdout
    assert desk.state.folders() == []
    found = desk.json_status()
    assert (found["servers"], found["problems"]) == ([], [])
    ((forgotten),) = found["not_trusted"]
    assert forgotten["url"] == desk.url
    (told,) = forgotten["told"]
    assert (told["partition"], told["lists"], told["odds"]) == ("49", 2, 256.0)
    text = desk.run("status").stdout
    assert f"{desk.url}\n  no longer trusted; the record of what it was told is kept" in text
    assert "+49 (people): 2 bucket lists since" in text
    assert desk.run("forget").stdout == "nothing was stored\n"
    assert desk.trust().exit_code == 0
    (one,) = desk.json_status()["servers"]
    assert one["told"] == [told]


@pytest.mark.slow
def test_everything_removes_the_ledger_and_says_what_that_costs(desk):
    desk.tell(desk.url)
    path = desk.state.ledger(desk.state.name(desk.url))
    with path.open("rb") as file:
        result = desk.run("forget", "--everything")
        assert not file.read().strip(b"\0")
    assert result.exit_code == 0
    assert "no longer counted: 2 bucket lists for +49 (people, " in result.stdout
    assert "by up to 256; new lists will use different decoys" in result.stdout
    assert "kept:" not in result.stdout
    assert list((desk.folder / "ledger").iterdir()) == []
    assert desk.state.folders() == []
    assert desk.run("forget", "--everything").stdout == "nothing was stored\n"


def test_everything_of_a_server_that_was_forgotten_before(desk):
    for url in (desk.url, OTHER):
        desk.tell(url)
    assert desk.run("forget").exit_code == 0
    result = desk.run("forget", "--everything")
    assert (result.exit_code, "--all" in result.stderr) == (3, True)
    assert desk.run("forget", "--server", OTHER).stdout == "nothing was stored\n"
    result = desk.run("forget", "--everything", "--server", OTHER)
    assert (result.exit_code, "forgot the ledger of other.example-" in result.stdout) == (0, True)
    assert [one["url"] for one in desk.json_status()["not_trusted"]] == [desk.url]
    assert desk.run("forget", "--everything", "--all").exit_code == 0
    assert desk.json_status()["not_trusted"] == []


@pytest.mark.slow
def test_old_ledgers_are_not_left_on_the_disk_either(desk):
    """Each list replaces the ledger, and both hold the secret that chooses decoys."""
    desk.tell(desk.url, lists=1)
    path = desk.state.ledger(desk.state.name(desk.url))
    with path.open("rb") as before:
        desk.tell(desk.url, lists=1)
        assert not before.read().strip(b"\0")
    assert Ledger.read(path).told[0].lists == 2


@pytest.mark.slow
def test_a_damaged_ledger_is_shown_and_can_be_removed(desk):
    desk.tell(desk.url)
    path = desk.state.ledger(desk.state.name(desk.url))
    path.write_bytes(b"{")
    result = desk.run("status")
    assert (result.exit_code, f"the ledger {path} is damaged" in result.stderr) == (1, True)
    assert "fingerprint" in result.stdout
    assert f"kept: the ledger {path}, which cannot be read" in desk.run("forget").stdout
    assert path.exists()
    assert desk.run("forget", "--everything").exit_code == 0
    assert not path.exists()


@pytest.mark.slow
def test_contacts_alone_or_files_alone(desk):
    """What a damaged cache, or a damaged file, costs is no more than that."""
    desk.tell(desk.url)
    seen = list((desk.server.tuf / "manifests").iterdir())
    desk.server.cache.write_bytes(b"not a database" * 100)
    result = desk.sync(ANNA, BODO)
    assert result.exit_code == 1
    assert f"contactsync forget --only contacts --server {desk.url}" in result.stderr
    result = desk.run("status")
    assert (result.exit_code, "contact data for" in result.stderr, desk.url in result.stdout) == (
        1,
        True,
        True,
    )
    assert desk.run("forget", "--only", "contacts", "--server", desk.url).exit_code == 0
    assert not list(desk.server.folder.glob("cache.sqlite*"))
    assert desk.sync(ANNA, BODO).exit_code == 0
    files = {path.name: path.stat().st_mtime_ns for path in desk.server.data.iterdir()}
    assert desk.run("forget", "--only", "files").exit_code == 0
    assert not desk.server.data.exists()
    assert desk.run("status").exit_code == 0
    assert desk.sync(ANNA, BODO).exit_code == 0
    again = {path.name: path.stat().st_mtime_ns for path in desk.server.data.iterdir()}
    assert (set(again), again != files) == (set(files), True)
    assert list((desk.server.tuf / "manifests").iterdir()) == seen
    assert desk.json_status()["servers"][0]["told"][0]["lists"] == 2
    assert desk.run("forget", "--only", "files", "--everything").exit_code == 2


@pytest.mark.slow
def test_what_cannot_be_erased_is_listed_and_the_rest_goes(desk, monkeypatch):
    desk.state.pin(OTHER, b"root")
    data = next(desk.server.data.iterdir())
    real, inode = durable.overwrite, data.stat().st_ino

    def overwrite(descriptor):
        if os.fstat(descriptor).st_ino == inode:
            raise OSError(errno.EROFS, "Read-only file system")
        return real(descriptor)

    monkeypatch.setattr(durable, "overwrite", overwrite)
    result = desk.run("forget", "--all")
    assert result.exit_code == 1
    assert f"not erased: {data}: Read-only file system" in result.stderr
    assert "run the same command again" in result.stderr
    left = {path for path in desk.folder.rglob("*") if path.is_file()}
    assert left == {data, data.parent.parent / "lock"}
    result = desk.run("status")
    assert (result.exit_code, "no server is trusted" in result.stdout) == (0, True)
    assert "`contactsync forget` removes it" in result.stdout
    assert desk.run("forget").exit_code == 1
    monkeypatch.undo()
    assert desk.run("forget").exit_code == 0
    assert desk.state.folders() == []


def test_a_folder_that_cannot_be_listed_is_not_nothing(desk):
    (desk.folder / "servers").rename(desk.folder / "moved")
    (desk.folder / "servers").write_bytes(b"")  # as root, permissions would not do
    for command in ("forget", "status"):
        result = desk.run(command)
        assert result.exit_code == 1
        assert "nothing" not in result.output
        assert str(desk.folder / "servers") in result.stderr


@pytest.mark.slow
def test_a_server_in_use_is_said_and_the_others_go(desk):
    other = desk.state.pin(OTHER, b"root")
    with desk.server.lock():
        result = desk.run("forget", "--all")
    assert (result.exit_code, "another contactsync process" in result.stderr) == (1, True)
    assert desk.state.servers() == [desk.server]
    assert not other.folder.exists()


@pytest.mark.slow
def test_several_servers_and_what_was_cut_short(desk):
    """Leftovers are no server to choose from, and go with any."""
    left = desk.folder / "servers" / "half-12345678"
    (left / "tuf").mkdir(parents=True)
    (left / "server.json").write_bytes(bytes(50))
    assert desk.json_status()["leftovers"] == [str(left)]
    assert desk.run("forget").exit_code == 0
    assert desk.state.folders() == []
    desk.state.pin(desk.url, b"root")
    desk.state.pin(OTHER, b"root")
    result = desk.run("forget")
    assert (result.exit_code, "--all" in result.stderr) == (3, True)
    assert desk.run("forget", "--server", OTHER).exit_code == 0
    assert [server.url for server in desk.state.servers()] == [desk.url]


@pytest.mark.slow
def test_a_damaged_record_hides_no_other_server(desk):
    other = desk.state.pin(OTHER, b"root")
    (other.folder / "server.json").write_bytes(b"{")
    result = desk.run("status")
    assert (result.exit_code, "trust URL --replace" in result.stderr) == (1, True)
    assert desk.url in result.stdout
    assert "2 identifiers, 1 of them members" in result.stdout
    (problem,) = desk.json_status()["problems"]
    assert str(other.folder) in problem["problem"]
    assert desk.sync(ANNA).exit_code == 0


@pytest.mark.slow
def test_trust_replaces_what_is_damaged_by_the_same_way(desk):
    desk.tell(desk.url)
    (desk.server.folder / "server.json").write_bytes(b"{")
    assert desk.trust().exit_code == 1
    result = desk.trust("--replace")
    assert result.exit_code == 0
    assert "bytes overwritten and removed" in result.stdout
    assert "kept: 2 bucket lists for +49" in result.stdout
    assert result.stdout.endswith("trusted\n")
    (desk.folder / "elsewhere").hardlink_to(desk.server.folder / "root.json")
    result = desk.trust("--replace")
    assert (result.exit_code, "not erased: " in result.stderr) == (1, True)
    assert desk.state.servers() == []


@pytest.mark.slow
def test_trust_fetches_a_damaged_root_again_and_no_other(desk, service, tmp_path):
    root = desk.server.root
    for path in (
        desk.server.folder / "root.json",
        *(desk.server.tuf / "metadata" / "root_history").iterdir(),
    ):
        path.write_bytes(b"damaged")
    result = desk.sync(ANNA)
    assert (result.exit_code, f"contactsync trust {desk.url};" in result.stderr) == (1, True)
    mine = service.repository
    (tmp_path / "b").mkdir()
    service.repository = type(service)(tmp_path / "b").repository
    result = desk.trust()
    assert (result.exit_code, "--replace" in result.stderr) == (5, True)
    service.repository = mine
    assert "already trusted" in desk.trust().stdout
    assert desk.server.root == root
    assert desk.json_status()["servers"][0]["cached"]["identifiers"] == 2, "nothing else was touched"


@needs_strace
@pytest.mark.slow
def test_a_wipe_that_was_cut_hides_nobody_and_is_finished_by_the_next(tmp_path):
    import sys

    disk = tmp_path / "disk"
    disk.mkdir()
    state = State(disk / "state")
    state.pin(OTHER, b"root")
    one = state.pin("https://one.example", b"root")
    durable.write(one.data / ("0" * 64), b"x" * 100)
    command = ["forget", "--server", one.url, "--state", str(disk / "state")]
    cuts = record(disk, [sys.executable, "-m", "contactsync", *command]).cuts()
    seen = set()
    for cut in cuts:
        with cut.at() as found:
            result = CliRunner().invoke(main, ["status", "--json", "--state", str(found / "state")])
            assert result.exit_code == 0, result.output
            status = json.loads(result.stdout)
            urls = {server["url"] for server in status["servers"]}
            assert OTHER in urls
            seen.add((one.url in urls, bool(status["leftovers"])))
            left = State(found / "state")
            assert CliRunner().invoke(main, [*command[:-1], str(found / "state")]).exit_code == 0
            assert [server.url for server in left.servers()] == [OTHER]
            assert len(left.folders()) == 1
    assert seen == {(True, False), (False, True), (False, False)}
