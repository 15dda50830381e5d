"""The server, as its operator has it: members, accounts, publishing, status."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput
from contactsync.foundation.progress import Progress, silent
from contactsync.identifiers import Rejected, normalise
from contactsync.library.accounts import Accounts
from contactsync.library.books import checked_numbers
from contactsync.library.fingerprints import root_fingerprint
from contactsync.publication.tuf.repository import Repository
from contactsync.server.keyring import Keyring
from contactsync.server.publishing.merge import Outcome
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.settings import DataFolder
from contactsync.server.status import Status, status
from contactsync.server.storage.opening import create_stores, open_accounts, open_members
from contactsync.server.storage.ports import Members, MemberStore
from contactsync.server.storage.records import NOT_STATED, Added, Consented, MemberRecord, Origin

Numbers = NDArray[np.uint64] | Iterable[str]
"""Telephone numbers: an array of their digits with the country code, uint64[n]; or texts as people write."""


class Server:
    """One data folder. Its methods may be called from any thread; each opens what it needs.

    Commands, `serve` and the admin API may use the folder at the same time.
    """

    def __init__(self, data: Path | str, *, passphrase: bytes | None = None) -> None:
        """`passphrase` is that of the keys, for `publish`. Raises BadInput if there is no server."""
        self.folder = DataFolder.existing(Path(data))
        self._passphrase = passphrase

    @classmethod
    def create(cls, data: Path | str, *, passphrase: bytes | None = None) -> Server:
        """Set up a new data folder, with new keys. Raises BadInput if something is there already."""
        folder = DataFolder(Path(data))
        folder.create()
        try:
            signers = Keyring.create(folder.keys, passphrase).signers()
            create_stores(folder)
            keys = {role: signer.public_key for role, signer in signers.items()}
            Repository(folder.public).create(keys, signers["root"], datetime.now(UTC))
            folder.finish()
        except BaseException:  # so that it can be tried again
            folder.discard()
            raise
        return cls(data, passphrase=passphrase)

    @property
    def fingerprint(self) -> str:
        """What clients compare before they trust this server: 64 hex digits."""
        return root_fingerprint(Repository(self.folder.public).root_bytes())

    # Members

    def add_members(
        self,
        numbers: Numbers,
        *,
        audience: str = AUDIENCES[0],
        region: str | None = None,
        verified: date | None = None,
        origin: Origin = NOT_STATED,
    ) -> Added:
        """Add members to an audience, except those who objected to it; all or none.

        `region` (`"DE"`) is the country of texts without a country code. Raises BadInput if a number cannot
        be used.
        """
        with self._members() as store:
            return store.add(_members_of(numbers, region), audience, verified=verified, origin=origin)

    def remove_members(
        self, numbers: Numbers, *, audience: str | None = None, region: str | None = None
    ) -> int:
        """Take members out of an audience, or (None) forget everything about them; how many there were."""
        with self._members() as store:
            removed = store.remove(_members_of(numbers, region), audience)
            store.erase()  # what somebody else still reads is erased by the next publish
            return removed

    def consent(
        self,
        numbers: Numbers,
        audience: str,
        *,
        granted: bool,
        source: str,
        by: str = "",
        region: str | None = None,
    ) -> Consented:
        """Note that members opted in to an audience, or object to it."""
        with self._members() as store:
            members, origin = _members_of(numbers, region), Origin(source, by)
            return store.consent(members, audience, granted=granted, origin=origin)

    def show_members(self, numbers: Numbers, *, region: str | None = None) -> list[MemberRecord]:
        """Everything that is stored about those of them who are known."""
        with self._members() as store:
            return store.show(_members_of(numbers, region))

    def count_members(self, audience: str = AUDIENCES[0]) -> int:
        """The members of an audience."""
        with self._members() as store:
            return store.count(audience)

    def member_numbers(self, audience: str = AUDIENCES[0]) -> NDArray[np.uint64]:
        """The telephone numbers of an audience, ascending, uint64[n]."""
        pages: list[NDArray[np.uint64]] = []
        after: Any = None
        with self._members() as store, store.snapshot():
            while entries := store.entries("tel", after, 1 << 16, audience):
                after = entries[-1].key
                pages.append(np.array([entry.key for entry in entries], np.uint64))
        return np.concatenate([np.empty(0, np.uint64), *pages])

    @property
    def accounts(self) -> Accounts:
        """Who may ask this server, and how much."""
        return Accounts(self.folder)

    # Publishing

    def publish(
        self, *, new_epoch: bool = False, memory: int = 512 << 20, progress: Progress = silent
    ) -> list[Outcome]:
        """Publish what the register holds, in one atomic step. Raises Busy if another publish is running."""
        keyring = Keyring.open(self.folder.keys, self._passphrase)
        with self._members() as store:
            publisher = Publisher(self.folder, store, keyring, progress, memory=memory)
            return publisher.publish(new_epoch=new_epoch)

    async def async_publish(
        self, *, new_epoch: bool = False, memory: int = 512 << 20, progress: Progress = silent
    ) -> list[Outcome]:
        """The same, in a thread. If the task is cancelled, the publish runs to its end first.

        It could be stopped, but what it has switched to stays; so who cancels learns the truth from `status`.
        """

        def work() -> list[Outcome]:
            return self.publish(new_epoch=new_epoch, memory=memory, progress=progress)

        thread = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(thread)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await thread
            raise

    def status(self) -> Status:
        """What is published, when its signatures expire, and what needs attention."""
        with self._members() as members, contextlib.closing(open_accounts(self.folder)) as accounts:
            return status(self.folder, members, accounts, datetime.now(UTC))

    @contextlib.contextmanager
    def _members(self) -> Iterator[MemberStore]:
        with contextlib.closing(open_members(self.folder)) as store:
            yield store


def _members_of(numbers: Numbers, region: str | None) -> Members:
    if isinstance(numbers, np.ndarray):
        return Members("tel", checked_numbers(numbers))
    found = []
    for place, text in enumerate(numbers, 1):
        try:
            found.append(normalise(text, region))
        except Rejected as error:
            raise BadInput(f"number {place} cannot be used: {error.reason}", hint=error.hint) from None
    if not found:
        return Members("tel", np.empty(0, np.uint64))
    return Members.of(found)
