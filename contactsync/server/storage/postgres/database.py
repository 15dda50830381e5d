"""A connection to PostgreSQL: how it is made again after a loss, and how its failures are reported.

Who writes holds an advisory lock of its store until the end of the transaction: one writer at a time, in all
processes and on all machines, as SQLite has it. So no two of them can wait for each other, and what one reads
before it writes is what it changes. Readers wait for nobody.

The text of a PostgreSQL error can quote a row. So none of it gets into ours: only its SQLSTATE is looked at.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import psycopg
from psycopg.pq import ConnStatus, TransactionStatus

from contactsync.foundation.errors import OurError
from contactsync.foundation.migrations import newest
from contactsync.server.storage.ports import WAIT
from contactsync.server.storage.postgres.address import DatabaseUrl
from contactsync.server.storage.postgres.patience import SILENT, Outage, PatientConnection, SilenceBound
from contactsync.server.storage.postgres.schema import Schema, check_or_migrate

LOCKS: Final = 0x6373
"""The first half of the names of all our advisory locks; the second is `Schema.lock`, or PUBLISHING."""
PUBLISHING: Final = 3

SILENT_SECONDS: Final = 30.0
"""After so many seconds without an octet a statement is doubted, or after half of `wait` if that is less."""

_MOST_WAITS: Final = 6  # as often as `wait`, a statement of who has a bound may take
_NEEDED: Final = 14_00_00

_REASONS: Final = {
    "08": ("the connection was lost", "it is made again as soon as the database answers"),
    "22021": ("its encoding is not UTF8", "create the database with ENCODING 'UTF8'"),
    "25006": ("it is read-only", "give the address of the primary server, or of all with commas between"),
    "28": ("it refuses this user", "check the user, the password and pg_hba.conf"),
    "3D000": ("there is no such database", "create it: createdb"),
    "3F000": ("it is not set up", "run `server init --database`, or restore it from a backup"),
    "40": ("another process was faster", "try again"),
    "42501": ("this user may not do that", "`contactsync docs operations` has the roles"),
    "42P01": ("a table is missing", "restore it from a backup"),
    "53100": ("its disk is full", "free some space"),
    "53300": ("it has too many connections", "raise max_connections, or use fewer workers"),
    "55P03": ("another process holds it", "wait until that ends"),
    "57014": ("it took too long", "try again"),
    "CS001": ("a newer contactsync has upgraded it", "restart this process, with the new contactsync"),
    "57P": ("it is being stopped or started", "it is used again as soon as it answers"),
    "XX": ("it is damaged", "restore it from a backup"),
}
_OF_CONNECTING: Final = (
    ("password authentication failed", "28"),
    ("no password supplied", "28"),
    ("no pg_hba.conf entry", "28"),
    ("peer authentication failed", "28"),
    ("role", "28"),
    ("database", "3D000"),
    ("too many", "53300"),
    ("remaining connection slots", "53300"),
    ("starting up", "57P"),
    ("shutting down", "57P"),
)
_OF_SILENCE: Final = (SILENT, "connection failed", "connection timeout", "connection to server", "resolve")
_COPIED_AT_ONCE: Final = 1 << 20  # octets


class PostgresSession:
    """One connection, in a schema that is of the newest version. An object is for one thread at a time.

    `wait` is for how many seconds another process may hold what is needed. `outage` is what the connections
    of a store have in common; None: this one is alone, and its statements may take as long as they need.
    Raises OurError: not reachable, not set up, of an unknown version.
    """

    def __init__(
        self, address: DatabaseUrl, schema: Schema, *, wait: float = WAIT, outage: Outage | None = None
    ) -> None:
        self._address = address
        self._schema = schema
        self._wait = wait
        self._outage = outage or Outage()
        self._most = None if outage is None else _MOST_WAITS * wait
        self._connection: PatientConnection | None = None
        self._depth = 0
        self._begun = False
        self.pinned = False
        """Whether a lock hangs on this connection, so that no other one can take its place."""
        with self.errors():
            self._connection = self._connect()

    # Statements

    def all(self, query: str, *values: object, binary: bool = False) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.errors():
            return self.run(query, values, binary=binary).fetchall()

    def one(self, query: str, *values: object, binary: bool = False) -> Any:
        """The single value of a query."""
        return self.all(query, *values, binary=binary)[0][0]

    def change(self, statement: str, *values: object) -> int:
        """Run one statement. Returns how many rows it changed."""
        with self.errors():
            return self.run(statement, values).rowcount

    def run(self, query: str, values: Any = None, *, binary: bool = False) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run a statement inside `errors`."""
        # Texts are made of constants, names of kinds and integers.
        return self.connection.execute(query, values or None, binary=binary)

    def each(self, query: str, values: Sequence[Any]) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a query for each of several sets of values, in one journey."""
        with self.errors(), self.connection.cursor() as cursor:
            cursor.executemany(query, values, returning=True)
            while True:
                yield cursor.fetchall()
                if not cursor.nextset():
                    return

    def copy(self, target: str, data: bytes) -> None:
        """COPY rows in PostgreSQL's binary format, without its header and trailer, into a table."""
        with self.connection.cursor() as cursor, cursor.copy(target) as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            view = memoryview(data)
            for first in range(0, len(data), _COPIED_AT_ONCE):
                copy.write(view[first : first + _COPIED_AT_ONCE])
            copy.write(b"\xff\xff")

    # Transactions

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction that writes; see the module. It is rolled back if the block raises.

        Inside another it is a part of that one: if its block raises only what it did itself is undone.
        """
        self._depth += 1
        name = f"part_{self._depth:d}"
        try:
            with self.errors():
                if self._depth > 1:
                    self.run(f"SAVEPOINT {name}")
                else:
                    self._begin()
                try:
                    yield
                    self.run("COMMIT" if self._depth == 1 else f"RELEASE {name}")
                except BaseException:
                    self._undo(name)
                    raise
        finally:
            self._depth -= 1
            self._begun = self._depth > 0

    def _begin(self) -> None:
        self.run("BEGIN")
        self._begun = True
        try:
            self.run(f"SELECT pg_advisory_xact_lock({LOCKS:d}, {self._schema.lock:d})")
        except BaseException:
            self._undo("")
            raise

    def _undo(self, name: str) -> None:
        connection = self._connection
        if connection is None or connection.closed:
            return
        status = connection.info.transaction_status
        try:
            if status is TransactionStatus.ACTIVE:  # stopped in the middle of a statement
                connection.close()
            elif status is not TransactionStatus.IDLE and self._depth > 1:
                self.run(f"ROLLBACK TO {name}")
                self.run(f"RELEASE {name}")
            elif status is not TransactionStatus.IDLE:
                self.run("ROLLBACK")
        except psycopg.Error:
            connection.close()  # the server rolls back

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Reads inside see one moment."""
        self._depth += 1
        try:
            with self.errors():
                self.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                self._begun = True
                self.run("SELECT 1").fetchall()  # this fixes the moment
            yield
        finally:
            self._undo("")
            self._depth -= 1
            self._begun = self._depth > 0

    # The connection

    @property
    def connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        """The connection; a new one if it was lost, unless something hangs on the old one."""
        connection = self._connection
        if connection is not None and _is_alive(connection):
            return connection
        if connection is not None:
            connection.close()
        if self.pinned or self._begun:
            raise psycopg.OperationalError
        self._connection = self._connect()
        return self._connection

    def _connect(self) -> PatientConnection:
        with self._outage.attempt():
            connection = self._reach()
        try:
            check_server(connection, str(self._address))
            check_or_migrate(connection, self._schema)
        except BaseException:
            connection.close()
            raise
        return connection

    def _ask(self, server: object) -> None:
        """Ask a server something on another connection. Raises psycopg.Error if it does not answer."""
        with self._outage.attempt():
            try:
                with contextlib.closing(self._reach()) as connection:
                    found = _server_of(connection)
            except psycopg.Error as error:
                if "FATAL" in str(error):  # to be refused, too, is an answer
                    return
                raise
        if found != server:  # another one has taken its place
            raise psycopg.OperationalError(SILENT)

    def _reach(self) -> PatientConnection:
        """A connection that has answered. Raises psycopg.Error."""
        address, timeout = self._address, max(2, min(10, int(self._wait)))
        options: dict[str, Any] = {"password": address.password} if address.password is not None else {}
        if address.several:
            options["target_session_attrs"] = "read-write"
        connection = PatientConnection.connect(
            address.url,
            autocommit=True,
            connect_timeout=timeout,
            application_name=f"contactsync {socket.gethostname()[:32]} {os.getpid():d}",
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=15_000,
            client_encoding="utf8",
            **options,
        )
        connection.patience = SilenceBound(timeout, _despair, self._outage)
        try:
            connection.execute(
                f"SET search_path = {self._schema.name}, pg_temp;"
                f"SET {self._schema.name}.version = {newest(self._schema.steps):d};"  # see `check_writer`
                f"SET lock_timeout = {max(1, int(self._wait * 1000)):d};"
                f"SET idle_in_transaction_session_timeout = {self._schema.idle_ms:d};"
                "SET default_transaction_isolation = 'read committed';"
                # A statement of a killed process ends, and with it its locks.
                "SET client_connection_check_interval = 1000;"
                # What is acknowledged is on the disk: a stricter setting than `on` is left as it is.
                "SELECT set_config('synchronous_commit', 'on', false)"
                " WHERE current_setting('synchronous_commit') = 'off'"
            )
            server = _server_of(connection)
        except BaseException:
            connection.close()
            raise
        silence = min(SILENT_SECONDS, self._wait / 2)
        connection.patience = SilenceBound(silence, partial(self._ask, server), self._outage, self._most)
        return connection

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn errors of PostgreSQL in the block into OurError, which has nothing of their text."""
        try:
            yield
        except psycopg.Error as error:
            failure = failure_of(error, self._schema.what, self._address)
            error.args = ()  # it stays the context of ours
            if error.sqlstate == "25006" and self._connection is not None and not self._depth:
                self._connection.close()  # another server has become the primary
            raise failure from None

    def close(self) -> None:
        """Release the connection."""
        if self._connection is not None:
            self._connection.close()


def _server_of(connection: PatientConnection) -> object:
    """What tells this server, since it was started, from others at the same address."""
    return connection.execute("SELECT pg_postmaster_start_time()::text").fetchone()


def _despair() -> None:
    raise psycopg.OperationalError(SILENT)


def _is_alive(connection: psycopg.Connection[tuple[Any, ...]]) -> bool:
    """Whether a connection is of use, as far as this side knows. It sends nothing."""
    if connection.closed:
        return False
    if connection.info.transaction_status is not TransactionStatus.IDLE:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    while poll.poll(0):  # a server that stops says so
        try:
            connection.pgconn.consume_input()
        except psycopg.Error:
            return False
        if connection.pgconn.status != ConnStatus.OK:
            return False
        if not poll.poll(0):
            break
    return True


def check_server(connection: psycopg.Connection[tuple[Any, ...]], where: str) -> None:
    """Raise OurError if the server, or how the database was made, is not of use."""
    if connection.info.server_version < _NEEDED:
        raise OurError(f"PostgreSQL at {where} is too old", hint="use version 14 or newer")
    if connection.info.parameter_status("server_encoding") != "UTF8":
        raise OurError(f"the database at {where} is not in UTF8", hint=_REASONS["22021"][1])


def failure_of(error: psycopg.Error, what: str, address: DatabaseUrl) -> OurError:
    """What an error means."""
    state = error.sqlstate or ""
    reason = next((_REASONS[state[:n]] for n in (5, 3, 2) if state[:n] in _REASONS), None)
    if reason is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not state:
        text = str(error)
        code = next((code for part, code in _OF_CONNECTING if part in text), "08")
        reason = _REASONS[code]
        if code == "08" and any(part in text for part in _OF_SILENCE):
            reason = SILENT, "check that it runs, and the address"
    if reason is None:
        reason = f"SQLSTATE {state or 'unknown'}", "see the log of PostgreSQL"
    return OurError(f"the {what} at {address} cannot be used: {reason[0]}", hint=reason[1])
