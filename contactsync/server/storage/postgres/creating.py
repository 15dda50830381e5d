"""Makes the stores in a database, and removes what was just made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg

from contactsync.server.storage.accounting import hashing_secret
from contactsync.server.storage.postgres.address import DatabaseUrl
from contactsync.server.storage.postgres.database import check_server, failure_of
from contactsync.server.storage.postgres.schema import (
    ACCOUNTS_SCHEMA,
    MEMBERS_SCHEMA,
    SCHEMAS,
    Connection,
    create_schema,
)


def create_stores_in(address: DatabaseUrl, claim: str = "") -> None:
    """Make new, empty stores, both or none, marked by a `claim` (hexadecimal digits) if there is one.

    BadInput: there are some already. OurError: not reachable.
    """
    with connected(address) as connection, connection.transaction():
        create_schema(connection, MEMBERS_SCHEMA)
        create_schema(connection, ACCOUNTS_SCHEMA, hashing_secret())
        if claim:
            text = f"restore {bytes.fromhex(claim).hex()}"
            connection.execute(f"COMMENT ON SCHEMA {MEMBERS_SCHEMA.name} IS '{text}'")


def drop_claimed(address: DatabaseUrl, claim: str) -> None:
    """Remove the stores that are marked by this claim, if these are the ones that are there."""
    query = "SELECT obj_description(to_regnamespace(%s)::oid, 'pg_namespace')"
    with connected(address) as connection:
        (found,) = connection.execute(query, (MEMBERS_SCHEMA.name,)).fetchone() or (None,)
    if found == f"restore {claim}":
        drop_stores_of(address)


def drop_stores_of(address: DatabaseUrl) -> None:
    """Remove what `create_stores_in` has made, with all that is in it."""
    with connected(address) as connection, connection.transaction():
        for schema in SCHEMAS:
            connection.execute(f"DROP SCHEMA {schema.name} CASCADE")


@contextlib.contextmanager
def connected(address: DatabaseUrl) -> Iterator[Connection]:
    """A connection for once. Raises OurError, with nothing of PostgreSQL's text."""
    options: dict[str, Any] = {} if address.password is None else {"password": address.password}
    try:
        with psycopg.connect(address.url, autocommit=True, connect_timeout=10, **options) as connection:
            check_server(connection, str(address))
            yield connection
    except psycopg.Error as error:
        failure = failure_of(error, "database", address)
        error.args = ()  # it stays the context of ours
        raise failure from None
