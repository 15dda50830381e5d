"""Both stores in PostgreSQL, read as a whole and written as a whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from contactsync.foundation.migrations import newest
from contactsync.identifiers.kinds import KINDS
from contactsync.server.storage.archive import LAST_ACCOUNT, PAGE, Pages, Row, StoredTable, tables
from contactsync.server.storage.ports import Members
from contactsync.server.storage.postgres.address import DatabaseUrl
from contactsync.server.storage.postgres.creating import (
    connected,
    create_stores_in,
    drop_claimed,
    drop_stores_of,
)
from contactsync.server.storage.postgres.members import PostgresMembers
from contactsync.server.storage.postgres.schema import (
    ACCOUNTS_SCHEMA,
    MEMBERS_SCHEMA,
    check_or_migrate,
    check_schema,
)

# ruff: noqa: S608 - names of tables and columns are constants

_SCHEMA_OF = {"members": MEMBERS_SCHEMA.name, "accounts": ACCOUNTS_SCHEMA.name}


def versions_of(address: DatabaseUrl) -> list[tuple[str, int, int]]:
    """Name, version, and newest version of both stores, as they are: nothing is migrated. Raises OurError."""
    found = []
    with connected(address) as connection:
        for schema in (MEMBERS_SCHEMA, ACCOUNTS_SCHEMA):
            connection.execute(f"SET search_path = {schema.name}, pg_temp")
            found.append((schema.what, check_schema(connection, schema), newest(schema.steps)))
    return found


def read_database(address: DatabaseUrl) -> Iterator[tuple[StoredTable, Sequence[Row]]]:
    """All rows of both stores, as they are at one moment. Raises OurError."""
    PostgresMembers(address).close()  # which migrates it, and makes tables of new kinds
    with connected(address) as connection:
        for schema in (MEMBERS_SCHEMA, ACCOUNTS_SCHEMA):
            connection.execute(f"SET search_path = {schema.name}, pg_temp")
            check_or_migrate(connection, schema)
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for table in tables():
            query = f"SELECT {', '.join(table.columns)} FROM {_SCHEMA_OF[table.store]}.{table.name}"
            if table is LAST_ACCOUNT:
                query = f"SELECT last_value FROM {ACCOUNTS_SCHEMA.name}.accounts_id_seq WHERE is_called"
            with connection.cursor(name="pages") as cursor:
                cursor.execute(query)
                while rows := cursor.fetchmany(PAGE):
                    yield table, rows


def write_database(address: DatabaseUrl, pages: Pages, *, claim: str = "", broken: str = "") -> None:
    """Make both stores with these rows, or none. BadInput: there are some already.

    Who may be killed before all else is done marks them by a `claim`, which nobody else has. Stores with the
    claim of a `broken` attempt are removed first.
    """
    if broken:
        drop_claimed(address, broken)
    create_stores_in(address, claim)
    try:
        with contextlib.closing(_Filled(address)) as store:
            store.fill(pages)
    except BaseException:
        drop_stores_of(address)
        raise


class _Filled(PostgresMembers):
    """Stores that are being filled: the accounts, too, in the transaction of the members."""

    def fill(self, pages: Pages) -> None:
        """Put these rows into the new tables. Raises what `pages` raises; then there is none."""
        database, accounts = self._database, ACCOUNTS_SCHEMA.name
        with database.transaction():
            database.run(f"DELETE FROM {MEMBERS_SCHEMA.name}.changes")
            database.run(f"DELETE FROM {accounts}.state")
            # What the triggers would count was counted before.
            database.run(f"ALTER TABLE {accounts}.credentials DISABLE TRIGGER USER")
            inhabited: set[tuple[str, str]] = set()
            for table, rows in pages:
                if table is LAST_ACCOUNT:
                    database.all(f"SELECT setval('{accounts}.accounts_id_seq', %s)", rows[0][0])
                    continue
                names = _partitions(table, rows) if table.kind else []
                for partition in {*names}:
                    if (table.kind, partition) not in inhabited:
                        self._inhabit(table.kind, partition)
                        inhabited.add((table.kind, partition))
                whole = [[*row, name] for row, name in zip(rows, names, strict=True)] if names else rows
                self._copy(table, whole)
            database.run(f"ALTER TABLE {accounts}.credentials ENABLE TRIGGER USER")
        database.run("ANALYZE")

    def _copy(self, table: StoredTable, rows: Sequence[Row]) -> None:
        columns = [*table.columns, *(["partition"] if table.kind else [])]
        target = f"COPY {_SCHEMA_OF[table.store]}.{table.name} ({', '.join(columns)}) FROM STDIN"
        with self._database.connection.cursor() as cursor, cursor.copy(target) as copy:
            for row in rows:
                copy.write_row(row)


def _partitions(table: StoredTable, rows: Sequence[Row]) -> list[str]:
    """The partition of each row."""
    place, kind = table.columns.index("key"), KINDS[table.kind]
    keys = [row[place] for row in rows]
    distinct = Members.from_keys(kind.name, sorted({*keys})).keys
    of = {key: name for name, some in kind.by_partition(distinct) for key in some.tolist()}
    return [of[key] for key in keys]
