"""Every implementation of a port, and people of two kinds.

One kind exists in tests only: handles, `acct:name`, kept as bytes of any length. A handle is in one of four
partitions, `acct.0` to `acct.3`, by the first octet of its SHA-256, which its key begins with: so a partition
is one span of keys.
"""

import hashlib
from datetime import timedelta

import numpy as np

from contactsync.foundation.errors import BadInput
from contactsync.identifiers.kinds import KINDS
from contactsync.server.storage.files import PublicFolder
from contactsync.server.storage.ports import Members
from contactsync.server.storage.postgres.accounts import PostgresAccounts
from contactsync.server.storage.postgres.address import DatabaseUrl
from contactsync.server.storage.postgres.creating import create_stores_in
from contactsync.server.storage.postgres.members import PostgresMembers
from contactsync.server.storage.sqlite.accounts import SqliteAccounts
from contactsync.server.storage.sqlite.members import SqliteMembers

# Another storage joins by one more line. `database` gives a new, empty database of a PostgreSQL server.
MEMBERS = {
    "sqlite": lambda folder, database: SqliteMembers.create(folder / "registry.sqlite"),
    "postgres": lambda folder, database: PostgresMembers(created(database())),
}
ACCOUNTS = {
    "sqlite": lambda folder, database, clock: SqliteAccounts.create(folder / "accounts.sqlite", clock=clock),
    "postgres": lambda folder, database, clock: PostgresAccounts(created(database()), clock),
}
PUBLICATIONS = {"folder": PublicFolder}

PREFIX = b"acct:"


LATER_TABLES = "bases, token_changes, departed_tokens, departed_key, counts, label_changes_tel"
"""Tables that registry 8 to 10 have brought, PostgreSQL 5 to 7, where there are telephone numbers."""


def created(url):
    """The address of a database in which both stores have been made."""
    address = DatabaseUrl.parse(url)
    create_stores_in(address)
    return address


class HandClock:
    """A clock that goes when it is told to; it begins at noon of some day."""

    def __init__(self):
        self.now = 20_000 * 86_400_000 + 43_200_000

    def __call__(self):
        return self.now

    def go(self, **time):
        self.now += int(timedelta(**time).total_seconds() * 1000)


class Handles:
    name = "acct"
    prefix = PREFIX
    key_type = bytes

    def normalise(self, text, region):
        return PREFIX + text.strip().lower().encode()

    def further_forms(self, identifier):
        return ()

    def partition_of(self, identifier):
        return self._partition(self._key(identifier))

    def owns_partition(self, name):
        return name in self.partitions()

    def partitions(self):
        return [f"acct.{i}" for i in range(4)]

    def excludes_partition(self, name):
        return False

    def capacity(self, partition):
        return 1 << 32

    def keys_of(self, identifiers):
        keys = np.empty(len(identifiers), np.object_)
        keys[:] = [self._key(identifier) for identifier in identifiers]
        return keys

    def identifiers_of(self, keys):
        return [PREFIX + key[1:] for key in keys]

    def by_partition(self, keys):
        if not all(len(key) > 1 for key in keys):
            raise BadInput("a handle is empty")
        for name in self.partitions():
            some = [key for key in keys if self._partition(key) == name]
            if some:
                part = np.empty(len(some), np.object_)
                part[:] = some
                yield name, part

    def spans(self, partition):
        first = int(partition.removeprefix("acct.")) * 64
        return [(bytes([first]), bytes([first + 64]) if first < 192 else b"\xff" * 300)]

    def _key(self, identifier):
        handle = identifier.removeprefix(PREFIX)
        return hashlib.sha256(handle).digest()[:1] + handle

    def _partition(self, key):
        return f"acct.{key[0] >> 6}"


class Population:
    """People of one kind, and the names of two of its partitions: `p` holds P[0], P[1], …, `q` Q[0], …"""

    def __init__(self, kind, p, q, identifiers):
        self.kind, self.p, self.q = kind, p, q
        by_name = {}
        for identifier in identifiers:
            by_name.setdefault(KINDS[kind].partition_of(identifier), []).append(identifier)
        self.P, self.Q = by_name[p], by_name[q]
        self.everyone = Members.of(identifiers)

    def members(self, *identifiers):
        return Members.of(identifiers)


def telephones():
    rng = np.random.default_rng(1)
    some = [b"tel:+%d%09d" % (code, n) for code in (1, 49, 354) for n in rng.integers(0, 10**9, 300)]
    return Population("tel", "1", "49", some)


def handles_of_people():
    # Of any length, with zeros at the end and within, and one the beginning of another.
    some = [b"acct:" + name for i in range(300) for name in (b"p%d" % i, b"p%d\0" % i, b"\xff%d\0x" % i)]
    return Population("acct", "acct.1", "acct.3", some)
