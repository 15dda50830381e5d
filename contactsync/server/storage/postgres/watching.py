"""Knows the revision of the accounts without asking for each request.

A thread hears of every change by NOTIFY, usually within a millisecond of its commit, and asks each second
whether the connection still lives. What was heard counts for FRESH seconds; then the revision is not known.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import Final

import psycopg

from contactsync.foundation.errors import OurError
from contactsync.server.storage.postgres.address import DatabaseUrl
from contactsync.server.storage.postgres.database import PostgresSession
from contactsync.server.storage.postgres.patience import Outage
from contactsync.server.storage.postgres.schema import ACCOUNTS_SCHEMA

FRESH: Final = 3.0
"""For how many seconds a revision counts after it was last heard of."""

_ASKED_EVERY: Final = 1.0
_WAIT: Final = 4.0
REVISION: Final = "SELECT revision FROM state"


class Revision:
    """The revision. The thread begins with the first question: most commands never ask."""

    def __init__(self, address: DatabaseUrl, revision: int, outage: Outage) -> None:
        self._address = address
        self._outage = outage
        self._lock = threading.Lock()
        self._generation = 0  # of the connection: after a failover a revision may come again
        self._value = revision
        self._heard = time.monotonic()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def revision(self) -> object:
        """See `AccountStore.revision`."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="revision", daemon=True)
                self._thread.start()
            if time.monotonic() - self._heard > FRESH:
                return None
            return self._generation, self._value

    def note(self, revision: int) -> None:
        """A change of this process has made it so."""
        with self._lock:
            self._value = max(self._value, revision)

    def close(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread is not None:
            os.eventfd_write(self._wake, 1)
            self._thread.join()
        os.close(self._wake)

    def _run(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(OurError, psycopg.Error):
                database = PostgresSession(self._address, ACCOUNTS_SCHEMA, wait=_WAIT, outage=self._outage)
                with contextlib.closing(database), database.errors():
                    self._listen(database)
            if not self._stopped.is_set():
                self._sleep(_ASKED_EVERY)
            with self._lock:
                self._generation += 1
                self._value = 0
                self._heard = float("-inf")

    def _listen(self, database: PostgresSession) -> None:
        database.pinned = True
        connection = database.connection
        database.run("LISTEN contactsync_accounts")
        while not self._stopped.is_set():
            asked = time.monotonic()
            found = int(database.one(REVISION))
            with self._lock:
                self._value, self._heard = max(self._value, found), asked
            while time.monotonic() < asked + _ASKED_EVERY:
                self._sleep(_ASKED_EVERY, connection.fileno())
                if self._stopped.is_set():
                    return
                connection.pgconn.consume_input()
                while notice := connection.pgconn.notifies():
                    self.note(int(notice.extra))

    def _sleep(self, seconds: float, file: int | None = None) -> None:
        poll = select.poll()
        for one in (self._wake, file) if file is not None else (self._wake,):
            poll.register(one, select.POLLIN)
        poll.poll(int(seconds * 1000))
