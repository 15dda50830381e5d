"""The roles that docs/operations.md grants: who serves charges accounts, and cannot read members."""

import os
import re
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest
from store_tools import created

from contactsync.foundation.errors import OurError
from contactsync.server.quota import PointQuota, Verdict
from contactsync.server.storage.ports import Charge, Members
from contactsync.server.storage.postgres.accounts import PostgresAccounts
from contactsync.server.storage.postgres.address import DatabaseUrl
from contactsync.server.storage.postgres.members import PostgresMembers

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"
ROLE = "contactsync_serve"


@pytest.fixture
def serving(database):
    """The address for the owner, and that for who serves, with the rights that the document grants."""
    address = created(database())
    (script,) = re.findall(r"```sql\n(.*?)```", OPERATIONS.read_text(), re.DOTALL)
    with psycopg.connect(database(), autocommit=True) as connection:
        create, script = script.split(";", 1)
        with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
            connection.execute(create)  # roles are of all databases, so another test may have made it
        script = re.sub(r"ON DATABASE \w+", f"ON DATABASE {connection.info.dbname}", script)
        connection.execute(script)
        connection.execute(f"ALTER ROLE {ROLE} PASSWORD 'serving'")
    user = address.url.partition("://")[2].partition("@")[0]
    yield address, DatabaseUrl(address.url.replace(f"//{user}@", f"//{ROLE}@"), "serving")
    with psycopg.connect(database(), autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {ROLE}")


def test_who_serves_does_its_work(serving):
    owner, own = serving
    with closing(PostgresAccounts(owner)) as store:
        store.add("one", "people", "cs_one")
        store.rotate("one", "cs_two", 0)
    with closing(PostgresAccounts(own)) as store:
        account = store.find("cs_two").id
        batch = os.urandom(16)
        charge = Charge(account, 8, batch, PointQuota(100, 24))
        found = [one.outcome for one in store.charge([charge, charge])]
        assert found == [Verdict.CHARGED, Verdict.REPEATED]
        assert store.standing(account, PointQuota(100, 24))
        assert store.flow().hour("all") == 8
        assert store.epochs()[0].points == 8
        assert len(store.secret()) == 32
        store.sweep()
        assert store.revision() is not None


def test_who_serves_exchanges_codes(serving):
    owner, own = serving
    with closing(PostgresAccounts(owner)) as store:
        store.add("one", "people", "cs_one")
        store.add_code("one", "csc_one", 60_000)
    with closing(PostgresAccounts(own)) as store:
        assert store.redeem("csc_other", "cs_two", 60_000) is None
        assert store.redeem("csc_one", "cs_two", 60_000).name == "one"
        assert store.redeem("csc_one", "cs_three", 60_000) is None
        assert store.find("cs_two").name == "one"
        assert store.find("cs_three") is None
        with pytest.raises(OurError, match="may not do that"):
            store.add_code("one", "csc_two", 60_000)


@pytest.mark.slow
def test_who_serves_cannot_read_members_nor_give_accounts(serving):
    owner, own = serving
    with closing(PostgresMembers(owner)) as store:
        store.add(Members.of([b"tel:+491511234567"]))
    with pytest.raises(OurError, match="may not do that"):
        PostgresMembers(own)
    with psycopg.connect(own.url, password=own.password, autocommit=True) as connection:
        for statement in (
            "SELECT FROM contactsync_members.members_tel",
            'SELECT FROM contactsync_members."members_tel_49"',
            "SELECT FROM contactsync_members.changes",
            "INSERT INTO contactsync_accounts.accounts (name, audience, added, class) VALUES ('x', 1, 0, '')",
            "INSERT INTO contactsync_accounts.credentials (hash, account) VALUES ('x', 1)",
            "DELETE FROM contactsync_accounts.accounts",
            "UPDATE contactsync_accounts.accounts SET burst = 1",
            "UPDATE contactsync_accounts.state SET revision = 0",
            "CREATE TABLE contactsync_accounts.mine (x int)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
