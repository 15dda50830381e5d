"""What `contactsync-js sync` asks for, reads and writes when nothing is new."""

import json
import os
from collections import Counter

import pytest
from javascript import WEB, Person, found, needs_node, node
from simulated_service import CREDENTIAL, service

__all__ = ["service"]
pytestmark = [needs_node, pytest.mark.slow]
ANNA, BEN, STRANGER = "+4915100000001", "+4915100000002", "+4915900000009"
METADATA = "/v1/tuf/metadata/"


@pytest.fixture
def person(tmp_path, service):
    service.publish(ANNA, BEN, "+12125550123")
    return Person(tmp_path / "person", service.url, service.repository.root_bytes(), CREDENTIAL)


def asked(service):
    """The paths that were asked for since the last call."""
    paths = [one.path for one in service.requests]
    service.requests.clear()
    return paths


def again(person, service, *numbers):
    """What a sync asks for, which finds Anna."""
    asked(service)
    assert found(person.sync(*numbers)) == [ANNA]
    return asked(service)


def change_trust(person, change):
    (folder,) = person.state.iterdir()
    path = folder / "trust.json"
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_what_is_signed_and_stored_is_not_fetched_again(person, service):
    person.sync(ANNA, STRANGER)
    *first, account, last = again(person, service, ANNA, STRANGER)
    assert sorted(first) == [f"{METADATA}2.root.json", f"{METADATA}timestamp.json"]
    assert (account, last) == ("/v1/account", "/v1/evaluate/people/1")


def test_a_new_edition_is_fetched_from_its_snapshot_on(person, service):
    person.sync(ANNA, STRANGER)
    service.publish(ANNA, BEN, "+12125550123", "+12125550124")
    kinds = Counter(
        path.rsplit(".", 2)[-2].rsplit("/", 1)[-1]
        for path in again(person, service, ANNA, STRANGER)
        if "/tuf/" in path
    )
    assert kinds == Counter(["root", "timestamp", "snapshot", "targets", "people"])


@pytest.mark.parametrize("name", ["snapshot", "targets"])
def test_stored_metadata_that_is_not_what_was_signed_is_fetched(person, service, name):
    person.sync(ANNA, STRANGER)
    change_trust(person, lambda trust: trust.update({name: trust[name].replace("2", "3")}))
    paths = again(person, service, ANNA, STRANGER)
    assert [path for path in paths if path.endswith((".snapshot.json", ".targets.json"))] == [
        f"{METADATA}1.{name}.json"
    ]


def test_a_state_without_targets_is_one_of_an_earlier_version(person, service):
    person.sync(ANNA, STRANGER)
    change_trust(person, lambda trust: trust.pop("targets"))
    assert f"{METADATA}1.targets.json" in again(person, service, ANNA, STRANGER)
    assert f"{METADATA}1.targets.json" not in again(person, service, ANNA, STRANGER)


def test_nothing_is_written_that_is_there_already(person, service):
    person.sync(ANNA, STRANGER)
    (folder,) = person.state.iterdir()
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    person.sync(ANNA, STRANGER)
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"audience-people.json"}  # the cover round


@pytest.mark.parametrize(
    ("numbers", "is_read"), [((ANNA, STRANGER), False), ((ANNA, STRANGER, "+4915900000010"), True)]
)
def test_stored_files_are_read_only_if_something_is_new(person, service, numbers, is_read):
    person.sync(ANNA, STRANGER)
    (folder,) = person.state.iterdir()
    for path in folder.glob("data-*"):
        os.utime(path, (0, 0))
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        path.write_bytes(damaged)
    paths = again(person, service, *numbers)
    assert sum("/data/" in path for path in paths) == (2 if is_read else 0)


def test_a_stored_file_that_was_cut_is_fetched_though_nothing_is_new(person, service):
    person.sync(ANNA, STRANGER)
    (folder,) = person.state.iterdir()
    first, _ = sorted(folder.glob("data-*"))
    first.write_bytes(first.read_bytes()[:-1])
    paths = again(person, service, ANNA, STRANGER)
    assert [path for path in paths if "/data/" in path] == [f"/v1/data/{first.name.removeprefix('data-')}"]


GIVEN_UP = """
import { MemoryStore, Transport, readBooks, sync } from '%s';
const root = new TextEncoder().encode(%s);
const book = readBooks([{ name: 'book.txt', octets: new TextEncoder().encode('+4915100000001') }]);
const transport = new Transport('%s', 'cs_x');
const failed = await sync(new MemoryStore(), transport, book, { root }).catch((error) => error);
await new Promise((resolve) => setTimeout(resolve, 2000));
console.log(failed.status);
process.exit();
"""


def test_a_sync_that_has_failed_asks_for_nothing_more(service):
    def refuse(request, reply):
        if request.path == f"{METADATA}timestamp.json":
            reply.status, reply.headers["Retry-After"] = 503, "1"
        elif request.path.startswith(METADATA):
            reply.status, reply.body, reply.headers["Content-Length"] = 500, b"", "0"

    service.publish(ANNA)
    service.tamper = refuse
    root = json.dumps(service.repository.root_bytes().decode())
    script = GIVEN_UP % (WEB / "bundle" / "contactsync.mjs", root, service.url)
    assert node("--input-type=module", "-", given=script).stdout == "500\n"
    assert asked(service).count(f"{METADATA}timestamp.json") == 1
