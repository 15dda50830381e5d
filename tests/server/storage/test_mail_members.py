"""E-mail addresses in the register: their tables, and registers that are older than the kind."""

from contextlib import closing

import pytest
from server_tools import run
from store_tools import MEMBERS

from contactsync.foundation.errors import BadInput
from contactsync.identifiers.kinds import KINDS
from contactsync.server.storage.archive import read_archive
from contactsync.server.storage.ports import Members
from contactsync.tokens import TOKEN_BYTES

NUMBER = Members.of([b"tel:+4915112345678"])
MAIL = Members.of([b"mailto:ann@example.org", b"mailto:bo@example.com", b"mailto:%C3%BC@xn--mnchen-3ya.de"])


def test_addresses_live_beside_numbers(store):
    import numpy as np

    assert (store.add(MAIL).new, store.add(NUMBER).new) == (3, 1)
    assert store.partitions("people") == ["49", "mail"] == store.touched(store.serial())
    page = store.unevaluated("people", 1, "mail", None, 2)
    rest = store.unevaluated("people", 1, "mail", page.last, 2)
    assert [*page.identifiers(), *rest.identifiers()] == MAIL.identifiers()
    tokens = np.arange(3 * TOKEN_BYTES, dtype=np.uint8).reshape(3, -1)
    store.store_tokens("people", 1, MAIL, tokens)
    assert store.count_unevaluated("people", 1) == 1
    assert sum(len(chunk) for chunk in store.tokens("people", 1, "mail")) == 3
    assert [entry.identifier for entry in store.entries("mailto", None, 10)] == MAIL.identifiers()
    assert store.remove(MAIL) == 3
    assert not list(store.tokens("people", 1, "mail"))


NO_KEYS = [
    *(b"", b"@", b"ann", b"Ann@example.org", b"\xc3\xbc@example.org", b"a@b@c.org", b"a b@c.org"),
    *(b"%c3@c.org", b"%4@c.org"),
]


@pytest.mark.parametrize("key", NO_KEYS)
def test_what_is_no_address_is_not_stored(store, key):
    with pytest.raises(BadInput, match="not an identifier"):
        store.add(Members.from_keys("mailto", [key]))
    assert store.count("people") == 0


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def test_an_older_register_gets_the_tables_when_it_is_opened(kind, tmp_path, database, monkeypatch):
    url = None

    def the_same():
        nonlocal url
        url = url or database()
        return url

    with monkeypatch.context() as patch:
        patch.delitem(KINDS, "mailto")
        with closing(MEMBERS[kind](tmp_path, the_same)) as store:
            store.add(NUMBER)
            opened = type(store)
            place = tmp_path / "registry.sqlite" if kind == "sqlite" else store._database._address
    with closing(opened(place)) as store:
        assert store.add(MAIL).new == 3
        assert store.count("people") == 4
        assert store.partitions("people") == ["49", "mail"]


def test_an_older_folder_is_exported_and_an_older_archive_imported(tmp_path, monkeypatch):
    data, first, second = tmp_path / "data", tmp_path / "first", tmp_path / "second"
    with monkeypatch.context() as patch:
        patch.delitem(KINDS, "mailto")
        run("init", data=data)
        run("members", "add", "+4915112345678", data=data)
        run("export", str(first), data=data)
    run("export", str(second), data=data)  # nobody has opened it since
    assert {table.name: rows for table, rows in read_archive(second)}["members_tel"]
    for path in data.glob("*.sqlite*"):
        path.unlink()
    run("import", str(first), "--files", data=data)
    assert "+4915112345678" in run("members", "export", data=data)
