"""What every store of accounts does."""

import threading

import pytest

from contactsync.foundation.errors import BadInput


def test_accounts(accounts):
    accounts.add("shop", "people", "cs_one")
    accounts.add("Ärzte & Söhne", "business", "cs_two")
    assert [account.name for account in accounts.list()] == ["shop", "Ärzte & Söhne"]
    account = accounts.find("cs_two")
    assert (account.name, account.audience) == ("Ärzte & Söhne", "business")
    for wrong in ("", "cs_", "cs_one ", "cs_onf", "CS_ONE", "x" * 100_000, "\udc80"):
        assert accounts.find(wrong) is None
    with pytest.raises(BadInput, match="already"):
        accounts.add("shop", "people", "cs_three")
    accounts.revoke("shop")
    assert accounts.find("cs_one") is None
    assert accounts.find("cs_two") is not None
    with pytest.raises(BadInput, match="no account"):
        accounts.revoke("shop")


def test_the_revision_is_another_after_every_change(accounts):
    seen = [accounts.revision()]
    assert accounts.find("cs_one") is None
    assert accounts.revision() == seen[-1], "a look-up changes nothing"
    for change in (
        lambda: accounts.add("one", "people", "cs_one"),
        lambda: accounts.add("two", "people", "cs_two"),
        lambda: accounts.revoke("one"),
        lambda: accounts.add("one", "business", "cs_one"),
    ):
        change()
        seen.append(accounts.revision())
        assert accounts.revision() == seen[-1]
    assert len(set(seen)) == len(seen)
    thread = threading.Thread(target=accounts.revoke, args=("one",))
    thread.start()
    thread.join()
    assert accounts.revision() not in seen, "changed in another thread"


def test_one_object_serves_many_threads(accounts):
    found = []

    def work(i):
        accounts.add(f"account {i}", "people", f"cs_{i}")
        found.append(accounts.find(f"cs_{i}").name == f"account {i}")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8
    assert len(accounts.list()) == 8
