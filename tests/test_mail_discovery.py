"""Addresses beside numbers, all the way: store, publish, serve, sync; and servers that have none."""

import json
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
sys.path += [str(TESTS / "server")]

from server_tools import Operator, Process, numbers  # noqa: E402

from contactsync.client.core.planner import Options  # noqa: E402
from contactsync.client.remembered import kinds_seen, new_identifiers  # noqa: E402
from contactsync.client.session import sync  # noqa: E402
from contactsync.client.state import State  # noqa: E402
from contactsync.client.transport import Transport  # noqa: E402
from contactsync.contacts import AddressBook, Contact  # noqa: E402
from contactsync.identifiers.kinds import KINDS  # noqa: E402
from contactsync.server.storage.ports import Members  # noqa: E402

CREDENTIAL = "cs_of-an-account"
ANN = (b"tel:+4915112345670", b"mailto:ann@example.org")
BOOK = AddressBook(
    [
        Contact("Ann", ANN, "line 1"),
        Contact("Eve", (b"mailto:eve@example.org",), "line 2"),
        *(Contact(f"Nobody {i}", (b"mailto:n%d@example.org" % i,), f"line {i}") for i in range(3, 30)),
    ]
)


class Service:
    """A server in a process of its own, and a client that trusts it."""

    def __init__(self, folder):
        self.operator = Operator(folder / "server")
        self.operator.registry.add(numbers(4915112345670), "people")
        self.operator.accounts.add("me", "people", CREDENTIAL)
        self.operator.publish()
        self.process = Process(folder / "server")
        self.state = State(folder / "state").pin(self.process.url, self.operator.repository.root_bytes())

    def sync(self, book=BOOK, **options):
        transport = Transport(self.process.url, credential=CREDENTIAL)
        try:
            return sync(self.state, book, transport, Options(**options))
        finally:
            transport.close()

    def close(self):
        self.process.__exit__(None, None, None)
        self.operator.close()


@pytest.fixture
def service(tmp_path):
    found = Service(tmp_path)
    found.process.__enter__()
    yield found
    found.close()


@pytest.mark.slow
@pytest.mark.parametrize("privacy", ["download", "screen"])
def test_addresses_are_asked_for_once_there_are_members_with_one(service, privacy):
    first = service.sync(privacy=privacy)
    assert [(one.name, one.identifier) for one in first.matches] == [("Ann", ANN[0].decode())]
    assert (first.identifiers, first.unserved, first.new_identifiers, first.evaluated) == (1, 29, 1, 8)
    assert new_identifiers(service.state, BOOK, "people") == 0, "addresses are not new: nobody asks for them"
    cover = service.sync(privacy=privacy)
    assert (cover.new_identifiers, cover.evaluated, cover.unserved) == (0, 8, 29)

    service.operator.registry.add(Members.of([ANN[1]]), "people")
    service.operator.publish()
    then = service.sync(privacy=privacy)
    assert [(one.name, one.identifier) for one in then.matches] == [("Ann", one.decode()) for one in ANN]
    assert [one.identifier for one in then.joined] == []
    assert (then.identifiers, then.unserved, then.new_identifiers, then.evaluated) == (30, 0, 29, 32)
    assert service.sync(privacy=privacy).new_identifiers == 0

    service.operator.registry.remove(Members.of([ANN[1]]))
    service.operator.publish()
    last = service.sync(privacy=privacy)
    assert [one.identifier for one in last.matches] == [ANN[0].decode()]


@pytest.mark.slow
def test_an_older_program_skips_the_partition_and_finds_the_others(service, monkeypatch):
    service.operator.registry.add(Members.of([ANN[1]]), "people")
    service.operator.publish()
    monkeypatch.delitem(KINDS, "mailto")
    phones = AddressBook([Contact("Ann", ANN[:1], "line 1")])
    report = service.sync(phones)
    assert [one.identifier for one in report.matches] == [ANN[0].decode()]
    assert report.unusable == []


@pytest.mark.slow
def test_a_book_with_addresses_costs_what_its_numbers_alone_cost(service, tmp_path):
    """A server without addresses: the number of points is that of the numbers alone."""
    with_them = service.sync()
    alone = AddressBook([Contact("Ann", ANN[:1], "line 1")])
    other = State(tmp_path / "other").pin(service.process.url, service.operator.repository.root_bytes())
    transport = Transport(service.process.url, credential=CREDENTIAL)
    without = sync(other, alone, transport, Options())
    transport.close()
    assert with_them.evaluated == without.evaluated == 8
    assert with_them.leak == without.leak
    assert json.dumps(with_them.leak_odds) == json.dumps(without.leak_odds)


@pytest.mark.parametrize("data", [None, b"", b"{}", b"[]", b'{"partitions": 5}', b"[" * 100_000, b"\xff"])
def test_a_last_manifest_that_cannot_be_read_is_none(tmp_path, data):
    server = State(tmp_path / "state").pin("https://contacts.example", b"root")
    (server.tuf / "manifests").mkdir(parents=True, exist_ok=True)
    if data is not None:
        (server.tuf / "manifests" / "people.json").write_bytes(data)
    assert kinds_seen(server, "people") is None


def test_the_kinds_of_the_last_manifest_are_those_of_its_partitions(tmp_path):
    server = State(tmp_path / "state").pin("https://contacts.example", b"root")
    (server.tuf / "manifests").mkdir(parents=True, exist_ok=True)
    for names, kinds in {(): {"tel"}, ("mail",): {"mailto"}, ("49", "mail", "x"): {"tel", "mailto"}}.items():
        manifest = {"partitions": {name: {} for name in names}}
        (server.tuf / "manifests" / "people.json").write_text(json.dumps(manifest))
        assert kinds_seen(server, "people") == kinds
