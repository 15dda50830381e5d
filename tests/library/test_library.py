"""The library where the page does not go: what is refused, and what cancelling really does."""

import asyncio
import io
import threading
from datetime import date

import numpy as np
import pytest

from contactsync import AddressBook, Client, ContactSyncError, Server, book_of_numbers
from contactsync.foundation.errors import BadInput, NotTrusted
from contactsync.library import client as client_module
from contactsync.library.keys import generate_key
from contactsync.library.members import Columns, Erasure, ImportOptions, Origin, Share, members_of


@pytest.fixture
def server(tmp_path):
    return Server.create(tmp_path / "data")


@pytest.mark.parametrize(
    "numbers",
    [
        np.array([4915112345678, 210], np.uint64),
        np.array([-4915112345678]),
        np.array([4915112345678.0]),
        np.array([[4915112345678]], np.uint64),
        ["+4915112345678", "nobody"],
    ],
)
def test_numbers_that_cannot_be_used_change_nothing(server, numbers):
    with pytest.raises(BadInput):
        server.members.add(numbers)
    assert server.members.count() == 0


def test_arrays_may_be_unsorted_and_repeat(server):
    array = np.array([4915112345679, 4915112345678, 4915112345679], np.uint64)
    assert server.members.add(array).new == 2
    assert server.members.numbers().tolist() == [4915112345678, 4915112345679]
    assert server.members.add([]).new == 0
    assert server.members.remove(array, "business").removed == 0
    assert server.members.remove(array[:1]).removed == 1
    assert len(book_of_numbers(array).contacts) == 2


def test_members_are_imported_shown_and_erased_with_a_receipt(server):
    refused = []
    table = io.BytesIO(b"phone,id\n0151 12345678,7\nnobody,8\n0151 12345679,9\n")
    options = ImportOptions("people", "DE", Columns("phone", None, "id"))
    report, erasure = server.members.import_file(table, "users.csv", options, on_refusal=refused.append)
    assert (report.added, report.rejected, erasure.removed) == (2, 1, 0)
    assert [(one.line, one.identity) for one in refused] == [(3, "8")]
    assert [entry.key for entry in server.members.entries("people")] == [4915112345678, 4915112345679]
    known, unknown = server.members.show(["+4915112345678", "+4915112345680"])
    assert known.record.entry.audiences == ("people",)
    assert unknown.as_json() == {"number": "+4915112345680", "stored": False}
    erasure = server.members.remove(["+4915112345678"], receipt=True, reference="ticket 9")
    assert (erasure.removed, erasure.kept, erasure.receipt["reference"]) == (1, "", "ticket 9")
    assert "4915112345678" not in f"{erasure.receipt}"
    changed, erasure = server.members.consent(
        ["+4915112345679"], "people", granted=False, origin=Origin("app"), receipt=True
    )
    assert (changed.changed, erasure.removed, erasure.receipt["removed"]) == (1, 1, 1)
    assert server.members.add(["+4915112345679"]).objected == 1
    assert server.members.expire(date(2100, 1, 1), dry_run=True) == Erasure(1)


def test_a_file_that_replaces_the_register_erases_who_is_not_in_it(server):
    server.members.add(np.array([4915112345678, 4915112345679], np.uint64))
    options = ImportOptions("people", "DE", replace=True, max_removed=Share(1))
    report, erasure = server.members.import_file(
        io.BytesIO(b"0151 12345678\n"), "list", options, receipt=True
    )
    assert (report.removed, erasure.removed, erasure.receipt["registry"]["erased"]) == (1, 1, True)
    assert server.members.numbers().tolist() == [4915112345678]


def test_batches_are_removed_as_they_come(server):
    server.members.add(np.arange(4915112345678, 4915112345682, dtype=np.uint64))

    def batches():
        yield members_of(["+4915112345678"])
        assert server.members.count() == 3
        yield members_of(np.array([4915112345679], np.uint64))

    assert server.members.remove(batches()).removed == 2


def test_a_folder_is_set_up_once(server, tmp_path):
    with pytest.raises(BadInput, match="already"):
        Server.create(tmp_path / "data")
    with pytest.raises(BadInput):
        Server(tmp_path / "nothing")


def test_accounts_are_as_on_the_command_line(server):
    credential = server.accounts.add("shop")
    assert credential.startswith("cs_")
    assert server.accounts.rotate("shop") != credential
    assert [one.name for one in server.accounts.all()] == ["shop"]
    with pytest.raises(BadInput, match="already"):
        server.accounts.add("shop")
    with pytest.raises(BadInput):
        server.accounts.add("\n")
    server.accounts.revoke("shop")
    assert server.accounts.all() == []


def test_accounts_are_added_all_or_none_and_changed_with_their_class_behind(server):
    names = server.accounts.new_names(2)
    issued = server.accounts.add_all(names)
    assert [one.name for one in issued] == names == ["account-1", "account-2"]
    assert issued[0].credential not in repr(issued)
    with pytest.raises(BadInput, match="already"):
        server.accounts.add_all(["new", "account-2"])
    assert server.accounts.new_names(1) == ["account-3"]
    before = server.accounts.show("account-1")
    server.accounts.change(names, burst=17)
    changed = server.accounts.show("account-1")
    assert (changed.burst, changed.per_day, changed.left) == (17, before.per_day, 17)
    server.accounts.change(["account-1"], burst=0)
    assert server.accounts.show("account-1") == before
    assert [one.burst for one in server.accounts.all()] == [before.burst, 17]
    with pytest.raises(BadInput, match="no quota class"):
        server.accounts.change(names, quota_class="gold")
    assert server.accounts.expire(2**40, dry_run=True) == names
    assert server.accounts.suspicious().accounts == len(names)


def test_without_trust_there_is_no_sync(tmp_path):
    client = Client(tmp_path)
    with pytest.raises(NotTrusted):
        client.sync(AddressBook(), credential="cs_x")
    with pytest.raises(ContactSyncError):
        client.introduce("http://contacts.example")


def test_a_cancelled_sync_has_ended_when_the_task_has(tmp_path, monkeypatch):
    """Nothing goes on behind the caller's back; it ends at the next step."""
    began, may_go_on, ended, steps = threading.Event(), threading.Event(), threading.Event(), []

    def sync(_server, _book, _transport, _options, progress, **_):
        try:
            for step in range(1000):
                progress("fetching", step, 0)
                steps.append(step)
                began.set()
                may_go_on.wait(20)
        finally:
            ended.set()

    client = Client(tmp_path)
    monkeypatch.setattr(client_module, "run_sync", sync)
    client.state.pin("http://127.0.0.1:9", b"root", None)

    async def main():
        task = asyncio.create_task(client.async_sync(AddressBook(), credential="cs_x"))
        await asyncio.to_thread(began.wait, 20)
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()
        assert not ended.is_set()
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(main())
    assert steps == [0]


def test_a_cancelled_publish_ends_first(server):
    server.members.add(["+4915112345678"])
    began = threading.Event()

    async def main():
        task = asyncio.create_task(server.async_publish(progress=lambda *_: began.set()))
        await asyncio.to_thread(began.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.status().audiences[0].edition == 1

    asyncio.run(main())


def test_an_async_publish_gives_what_a_publish_gives(server):
    server.members.add(["+4915112345678"])
    (outcome,) = asyncio.run(server.async_publish())
    assert (outcome.members, outcome.edition) == (1, 1)


@pytest.mark.slow
def test_a_rotation_runs_beside_the_epoch_and_can_be_taken_back(server):
    server.members.add(["+4915112345678"])
    (before,) = server.publish()
    outcomes = server.rotate(overlap=3600)
    assert sorted(one.epoch for one in outcomes) == [before.epoch, before.epoch + 1]
    assert server.status().audiences[0].next_epoch == before.epoch + 1
    server.undo_rotation()
    assert server.status().audiences[0].next_epoch is None
    assert server.refusals() == ()
    server.members.remove(["+4915112345678"])
    (after,) = server.publish(expunge=True)
    assert (after.epoch, after.members) == (before.epoch, 0)


@pytest.mark.parametrize("threshold", [0, -1, 2])
def test_a_threshold_that_cannot_be_changes_nothing(server, threshold):
    def stored():
        return {
            path: path.read_bytes()
            for path in (*server.folder.public.rglob("*"), *server.folder.keys.iterdir())
            if path.is_file()
        }

    before = stored()
    with pytest.raises(BadInput):
        server.keys.change("targets", threshold=threshold)
    assert stored() == before
    assert server.keys.root_version == 1


def test_a_role_that_there_is_not_leaves_no_key(server, tmp_path):
    file = tmp_path / "nobody.key"
    for refused in (
        lambda: generate_key("nobody", file, b"x"),
        lambda: server.keys.export("nobody", file, b"x"),
        lambda: server.keys.change("nobody", threshold=1),
    ):
        with pytest.raises(BadInput, match="no role 'nobody'"):
            refused()
    assert not file.exists()
