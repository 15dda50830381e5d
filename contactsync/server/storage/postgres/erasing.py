"""Rewrites tables from which something was removed, so that no file of the database holds it any more.

DELETE and UPDATE leave the old row in its page, and VACUUM only marks its place as free: the octets stay
until something else is written there. So `erase` runs VACUUM FULL on what is marked in `traces`, the tables
of the partitions concerned alone: PostgreSQL writes the rows that are left into new files, builds their
indexes anew, and gives the old files back to the file system. Meanwhile nobody reads these tables; who serves
never does.

It does not reach what PostgreSQL has copied elsewhere: the write-ahead log until its segments are used again,
archives of it, replicas that have not replayed it yet, backups, and blocks that the file system has as free.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Final

import psycopg

from contactsync.server.storage.erasing import ERASING_WAIT
from contactsync.server.storage.postgres.database import PostgresSession

_STILL_READ: Final = "another session reads tables of members, or began before they were changed"
_BUSY: Final = ("55P03", "40P01")


class PostgresErasing:
    """An `ErasingStore`, as the part of a register that its database belongs to."""

    _database: PostgresSession

    def unerased(self) -> bool:
        """See `ErasingStore.unerased`."""
        return bool(self._database.one("SELECT EXISTS (SELECT FROM traces)"))

    def erase(self, wait: float = ERASING_WAIT) -> str:
        """See `ErasingStore.erase`."""
        for relation, mark in self._database.all("SELECT relation, mark FROM traces ORDER BY relation"):
            with self._database.errors():
                if not self._rewritten(relation, wait):
                    return _STILL_READ
            self._database.change("DELETE FROM traces WHERE relation = %s AND mark = %s", relation, mark)
        return ""

    def beyond(self) -> Sequence[str]:
        """See `ErasingStore.beyond`."""
        return (
            "the write-ahead log of PostgreSQL, until its segments are used again, and archives of it",
            "replicas of the database, until they have replayed it",
            "backups of the database",
            "blocks of the old tables that the file system has not used again",
        )

    def _mark(self, table: str) -> None:
        """Note, in the open transaction, that something is removed from a table."""
        self._database.change(
            "INSERT INTO traces VALUES (%s, pg_current_xact_id()::text::bigint)"
            " ON CONFLICT (relation) DO UPDATE SET mark = excluded.mark",
            table,
        )

    def _rewritten(self, relation: str, wait: float) -> bool:
        """Whether a table could be rewritten now, and nobody needed a row that was removed."""
        left: list[int] = []

        def heard(notice: psycopg.errors.Diagnostic) -> None:
            # "N dead row versions cannot be removed yet": somebody's snapshot still has them.
            if found := re.match(r"\d+", notice.message_detail or ""):
                left.append(int(found[0]))

        connection = self._database.connection
        connection.add_notice_handler(heard)
        try:
            with self._lock_timeout(wait):
                self._database.run(f'VACUUM (FULL, ANALYZE, VERBOSE) "{relation}"')
        except psycopg.Error as error:
            if error.sqlstate in _BUSY:
                return False
            raise
        finally:
            connection.remove_notice_handler(heard)
        return not any(left)

    @contextlib.contextmanager
    def _lock_timeout(self, wait: float) -> Iterator[None]:
        before = self._database.one("SHOW lock_timeout")
        self._database.run(f"SET lock_timeout = {max(1, int(wait * 1000)):d}")
        try:
            yield
        finally:
            with contextlib.suppress(psycopg.Error):
                self._database.run(f"SET lock_timeout = '{before}'")
