"""The interfaces of storage: members and accounts; publications have their own (publications.py).

All implementations of a port pass one test suite (tests/server/storage). There are three ports because their
users differ: publishing and the operator's commands need all three; the process that faces the internet gets
accounts and publications, and cannot reach members (import-linter checks this). Every method may block unless
it says otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from contactsync.foundation.errors import BadInput
from contactsync.identifiers.kinds import KINDS, kind_of
from contactsync.publication.manifest import Manifest
from contactsync.server.breakers import OFF, Breakers, Flow
from contactsync.server.quota import PointQuota, Standing, Terms
from contactsync.server.storage.answers import AnswerStore
from contactsync.server.storage.erasing import ErasingStore, Watch, unwatched
from contactsync.server.storage.labelling import LabelStore
from contactsync.server.storage.pairs import PairStore
from contactsync.server.storage.provenance import ProvenanceStore
from contactsync.server.storage.records import (
    NOT_STATED,
    Added,
    Consented,
    Difference,
    Edition,
    MemberEntry,
    MemberRecord,
    Origin,
)
from contactsync.server.storage.token_rows import TokenStore

if TYPE_CHECKING:
    from contactsync.identifiers.kinds import Keys

WAIT: Final = 30.0
"""Seconds to wait for a process that writes; less where somebody waits for an answer."""

BATCHES: Final = 64
"""Batches of an account that may be repeated: a store remembers no more of them, and the newest."""


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """A batch of members of one kind. `keys` are ascending and distinct (`identifiers.kinds.Kind`).

    For `tel` they are uint64[n]: 8 octets for each member.
    """

    kind: str
    keys: Keys
    read: tuple[str, int] | None = None
    """Of which audience they all were members, and the serial of the store then; None: it is not known."""

    def __len__(self) -> int:
        return int(self.keys.size)

    @classmethod
    def of(cls, identifiers: Sequence[bytes]) -> Members:
        """The members with these identifiers, at least one. Raises BadInput unless all are of one kind."""
        kind = kind_of(identifiers[0])
        if not all(identifier.startswith(kind.prefix) for identifier in identifiers):
            raise BadInput("the identifiers are of several kinds", hint="give one kind at a time")
        return cls(kind.name, np.unique(kind.keys_of(identifiers)))

    @classmethod
    def from_keys(cls, kind: str, keys: list[Any]) -> Members:
        """Members from the keys in a store: Python integers or bytes, ascending and distinct."""
        if KINDS[kind].key_type is int:
            return cls(kind, np.array(keys, np.uint64))
        array = np.empty(len(keys), np.object_)  # np.array would cut zeros off the ends of bytes
        array[:] = keys
        return cls(kind, array)

    def identifiers(self) -> list[bytes]:
        """Their identifiers, in the order of the keys."""
        return KINDS[self.kind].identifiers_of(self.keys)

    @property
    def last(self) -> Any:
        """The greatest key, where the next page begins. The batch must not be empty."""
        return self.keys[-1:].tolist()[0]


class MemberStore(ProvenanceStore, ErasingStore, LabelStore, PairStore, TokenStore, Protocol):
    """The register of members. Every method is one transaction. An object is for one thread.

    Numbers and addresses of one member are kept together (`PairStore`): what is done to one is done to both.

    A member of the first audience stays in it until they object; in another one is who has opted in. An
    objection is remembered, also of who is in no audience, until `remove` or `expire` forgets everything
    about them. Changes of consent are kept: what joins or leaves an audience that needs an opt-in, and what
    `consent` does.

    Partitions have the names of `identifiers.kinds`. A *serial* counts the changes of membership. A partition
    is *touched* from a change until a publish that began after the change reports that it is done. So a
    publish looks only at partitions that may have changed, and nothing is forgotten if it is killed.

    Raises OurError if the storage fails. The error never contains an identifier.
    """

    def together(self) -> AbstractContextManager[None]:
        """What is changed inside is one transaction with one serial; nothing is if the block raises."""

    def add(
        self,
        members: Members,
        audience: str = "people",
        *,
        verified: date | None = None,
        origin: Origin = NOT_STATED,
    ) -> Added:
        """Add members to an audience, except those who objected to it.

        `verified` (None: today, UTC) is when the service last knew that the numbers were theirs. It counts
        for all of them, also those who are there already or objected, unless a later day is known.

        Raises BadInput, and adds none, if one belongs to no partition, or the day is in the future.
        """

    def remove(self, members: Members, audience: str | None = None, *, origin: Origin = NOT_STATED) -> int:
        """Remove members and their tokens from an audience; returns how many were in it.

        None: forget everything about them, objections too; returns how many were known. Who is in no audience
        any more and has not objected is forgotten, too.
        """

    def consent(
        self, members: Members, audience: str, *, granted: bool, origin: Origin, only: bool = False
    ) -> Consented:
        """Let members join an audience, even if they objected before; or leave it and remember that.

        Who leaves the first audience leaves all, and objects to all, unless `only`. Nobody joins who is not
        known; an objection is remembered of anybody. Raises BadInput as `add`.
        """

    def replace(
        self,
        members: Members,
        audience: str,
        *,
        also: Members | None = None,
        enter: Callable[[], None] | None = None,
        verified: date | None = None,
        origin: Origin = NOT_STATED,
        allow: Callable[[Difference], None],
        watch: Watch = unwatched,
    ) -> Difference:
        """Make an audience consist of these members (of their kind), except those who objected.

        `also` are addresses, beside numbers: then both kinds are replaced, and who has both is counted once.
        `enter` adds them all, instead of `add`; who it adds beyond these stays, too.

        `allow` sees what would change; nothing changes if it raises. `watch` sees who is about to be removed.
        Who is missing is removed from this audience; if it is the first, everything about them is forgotten.
        Objections of others stay. Raises BadInput if there are no members.
        """

    def expire(self, before: date, *, dry_run: bool = False, watch: Watch = unwatched) -> int:
        """Forget everything about those who were last verified before a day; how many they are.

        Nothing is changed if `dry_run`. `watch` sees who is about to be removed.
        """

    def show(self, members: Members) -> list[MemberRecord]:
        """Everything that is stored about those of them who are known."""

    def entries(self, kind: str, after: Any, limit: int, audience: str | None = None) -> list[MemberEntry]:
        """Up to `limit` members of a kind, ascending; without an audience, also those who only objected.

        `after` is the last `MemberEntry.key` of the page before, None for the first page.
        """

    def count(self, audience: str) -> int:
        """The number of members of an audience, of all kinds. Who has number and address counts twice."""

    def serial(self) -> int:
        """The serial of the last change of membership."""

    def touched(self, serial: int) -> list[str]:
        """Partitions touched up to `serial` and not settled since, by name."""

    def settle(self, serial: int, published: Collection[Manifest] = ()) -> None:
        """Record that changes up to `serial` are published, in these editions."""

    def edition_of(self, audience: str, serial: int) -> Edition | None:
        """The first published edition that has all changes up to `serial`; None if there is none yet."""

    def partitions(self, audience: str) -> list[str]:
        """Partitions that have members of an audience, by name."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Reads inside see the register at one moment, whatever others write."""

    def grouped(self) -> AbstractContextManager[None]:
        """Changes inside stay changes of their own, but reach the disk together, when the block ends.

        One that raises is undone alone; all are if the block raises.
        """

    def publishing(self) -> AbstractContextManager[None]:
        """Only one at a time is in such a block, on whatever machine. Raises Busy: who is.

        A store that is a file of the data folder leaves that to the lock of the folder.
        """

    def answers(self) -> AnswerStore:
        """Answers that are kept in the same storage, for changes made `together` with them."""

    def close(self) -> None:
        """Release the storage."""


@dataclass(frozen=True, slots=True)
class Account:
    """A caller. `added` is seconds since 1970.

    `until`, if there is one, is when the credential that it was found by ends, in milliseconds since 1970.
    """

    name: str
    audience: str
    added: int
    id: int
    terms: Terms
    until: int | None = None


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What an account begins with."""

    name: str
    audience: str
    credential: str = field(repr=False)
    terms: Terms = field(default_factory=Terms)


@dataclass(frozen=True, slots=True)
class AccountUse:
    """What an account has had evaluated, as of `standing.at`.

    `last_used` is a day (UTC), in seconds since 1970; None: never. `level` and `at` are what `quota.leaked`
    takes. `refused` counts requests that were beyond the quota. `epoch_points` of `points_total` were for the
    newest epoch that it used, `granted` are left of its last grant. `full_batches` of `batches` were as large
    as a batch of this account may be.
    """

    account: Account
    last_used: int | None
    points_today: int
    points_total: int
    refused: int
    level: int
    at: int
    batches: int = 0
    full_batches: int = 0
    epoch_points: int = 0
    granted: int = 0


@dataclass(frozen=True, slots=True)
class Charge:
    """Points to charge to an account, under the allowance it has now. `batch` names what they are for.

    `full`: the batch is as large as one of this account may be.
    """

    account: int
    points: int
    batch: bytes
    allowance: PointQuota
    epoch: int = 1
    full: bool = False


@dataclass(frozen=True, slots=True)
class EpochUse:
    """Points charged for an epoch, the first of them at `since` (milliseconds since 1970)."""

    audience: str
    epoch: int
    points: int
    since: int


def credential_hash(credential: str) -> bytes:
    """SHA-256 of a credential. The hash is what is stored and looked up.

    A credential is 256 random bits, so a fast hash is enough. The time of a look-up reveals nothing useful:
    someone who could steer a hash towards a stored one could also guess the credential.
    """
    return hashlib.sha256(credential.encode("utf-8", "surrogateescape")).digest()


def code_hash(code: str) -> bytes:
    """What is stored of a one-time code: another function than for credentials, so that no code is one."""
    return hashlib.blake2s(code.encode("utf-8", "surrogateescape"), person=b"sign-in").digest()


class AccountStore(Protocol):
    """Who may ask, and how much. Every method is one transaction; one object serves any number of threads.

    A change is seen by every look-up that begins after it, in whatever process. What a method has done is on
    the disk when it returns; if it fails because the connection to a remote store is lost, it may have been
    done. The store has a clock of its own (`quota.Clock`). Raises OurError if the storage
    fails, never with a credential in it; BadInput for names that cannot be used, and then nothing is changed.
    """

    def add(self, name: str, audience: str, credential: str) -> None:
        """Store an account, with its credential hashed. Raises BadInput if the name is in use."""

    def add_all(self, accounts: Sequence[NewAccount]) -> None:
        """Store accounts, all or none. Raises BadInput if there is one of a name, or one is given twice."""

    def revoke(self, *names: str) -> None:
        """Delete accounts, all or none; their credentials open nothing any more. BadInput: one is missing."""

    def expire(self, before: int, *, dry_run: bool = False) -> list[str]:
        """Revoke who was neither added nor used since `before` (seconds since 1970); the names.

        Use is known by the day: who was used on the day of `before` stays. Nobody is revoked if `dry_run`.
        """

    def rotate(self, name: str, credential: str, overlap: int) -> None:
        """Give an account another credential; those before it end in `overlap` milliseconds, or earlier."""

    def add_code(self, name: str, code: str, valid: int) -> None:
        """Have a one-time code stand for an account, for `valid` milliseconds. BadInput: there is none."""

    def redeem(self, code: str, credential: str, valid: int) -> Account | None:
        """Give the account of a code another credential, once; it ends after `valid` milliseconds.

        None: there is no such code, or it was used, is over, or its account is gone.
        """

    def change(self, names: Sequence[str], edit: Callable[[Terms], Terms], *, refill: bool = False) -> None:
        """Replace the terms of accounts by what `edit` makes of them; `refill` empties their buckets."""

    def list(self) -> list[Account]:
        """All accounts by name."""

    def uses(self, name: str | None = None) -> Sequence[AccountUse]:
        """What all accounts, by name, or the one of this name have used. Raises BadInput if there is none."""

    def find(self, credential: str) -> Account | None:
        """The account that a credential belongs to; `Account.until` says until when, and may be over."""

    def charge(self, charges: Sequence[Charge], breakers: Breakers = OFF) -> Sequence[Standing | None]:
        """Charge all of these, in their order, each if it fits: the standings after it, with the outcome.

        A charge that would exceed a limit of `breakers` is `STOPPED`, which is no use of the account. The
        first one for an epoch newer than all that the account was charged for may bring a grant (`quota`).

        A batch that was charged to the same account within `quota.REPEATABLE_MS` is `REPEATED`, and costs
        nothing; the last `BATCHES` of an account are remembered. None: there is no such account any more.
        """

    def standing(self, account: int, allowance: PointQuota) -> Standing | None:
        """Where an account stands now. This is a use of it, too: it may set the day of `last_used`."""

    def flow(self) -> Flow:
        """What was evaluated in each of the last minutes, `breakers.KEPT_MINUTES` of them at least."""

    def epochs(self) -> Sequence[EpochUse]:
        """What was charged for each epoch, by audience and epoch."""

    def sweep(self) -> None:
        """Forget batches that are no longer free to repeat, credentials that have ended, and old minutes."""

    def secret(self) -> bytes:
        """32 octets that all processes on this store share, to name batches with; never told to anybody."""

    def revision(self) -> object:
        """Something that is another after every change of accounts, whoever made it; None: not known now.

        A charge is no such change. Told without waiting for the storage: the caller asks on its event loop,
        for every request. A remote store tells what it has heard, usually milliseconds ago; None if it has
        heard nothing for seconds.
        """

    def close(self) -> None:
        """Release the storage. No other call may be running."""
