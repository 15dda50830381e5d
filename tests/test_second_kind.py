"""A kind of identifier that exists here only goes all the way: store, publish, serve, sync.

It is a class and an entry in KINDS; no other room of the package knows of it.
"""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
sys.path += [str(TESTS / "server"), str(TESTS / "server" / "storage")]

from server_tools import Operator, Process, numbers  # noqa: E402
from store_tools import Handles  # noqa: E402

from contactsync.client.core.planner import Options  # noqa: E402
from contactsync.client.session import sync  # noqa: E402
from contactsync.client.state import State  # noqa: E402
from contactsync.client.transport import Transport  # noqa: E402
from contactsync.contacts import AddressBook, Contact  # noqa: E402
from contactsync.identifiers.kinds import KINDS  # noqa: E402
from contactsync.server.storage.ports import Members  # noqa: E402

SERVE = f"""
import sys
sys.path += {sys.path[-2:]!r}
from store_tools import Handles
from contactsync.identifiers.kinds import KINDS
KINDS["acct"] = Handles()
from contactsync.commands import main
main()
"""
CREDENTIAL = "cs_of-an-account"
MEMBERS = [b"acct:anna", b"acct:bodo", b"acct:carl", b"acct:dora"]


@pytest.mark.slow
def test_handles_are_discovered_beside_telephone_numbers(tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, "acct", Handles())
    operator = Operator(tmp_path / "server")
    operator.registry.add(Members.of(MEMBERS), "people")
    operator.registry.add(numbers(4915112345670), "people")
    operator.accounts.add("me", "people", CREDENTIAL)
    (outcome,) = [one for one in operator.publish() if one.audience == "people"]
    assert outcome.members == 5
    root = operator.repository.root_bytes()
    operator.close()
    with Process(tmp_path / "server", program=("-c", SERVE)) as process:
        server = State(tmp_path / "state").pin(process.url, root)
        book = AddressBook(
            [
                Contact("Anna", (b"acct:anna", b"tel:+4915112345670"), "line 1"),
                Contact("Eve", (b"acct:eve",), "line 2"),
                Contact("Dora", (b"acct:dora",), "line 3"),
            ]
        )
        transport = Transport(process.url, credential=CREDENTIAL)
        report = sync(server, book, transport, Options())
        transport.close()
        assert [(one.name, one.identifier) for one in report.matches] == [
            ("Anna", "acct:anna"),
            ("Anna", "tel:+4915112345670"),
            ("Dora", "acct:dora"),
        ]
        # Who does not know the kind is told so, and finds everybody else.
        monkeypatch.delitem(KINDS, "acct")
        other = State(tmp_path / "other").pin(process.url, root)
        transport = Transport(process.url, credential=CREDENTIAL)
        phones = AddressBook([Contact("Anna", (b"tel:+4915112345670",), "line 1")])
        assert len(sync(other, phones, transport, Options()).matches) == 1
        transport.close()
