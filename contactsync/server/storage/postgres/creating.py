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


def create_stores_in(address: DatabaseUrl) -> None:
    """Make new, empty stores, both or none. BadInput: there are some already. OurError: not reachable."""
    with connected(address) as connection, connection.transaction():
        create_schema(connection, MEMBERS_SCHEMA)
        create_schema(connection, ACCOUNTS_SCHEMA, hashing_secret())


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
