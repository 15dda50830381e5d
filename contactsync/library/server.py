"""The server, as its operator has it: members, accounts, publishing, status."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from contactsync.foundation.progress import Progress, silent
from contactsync.library.accounts import Accounts
from contactsync.library.fingerprints import root_fingerprint
from contactsync.library.keys import RoleKeys
from contactsync.library.members import MemberRegister
from contactsync.library.public_log import PublicLog
from contactsync.library.publishing import Aim, Order, Outcome, follow_order
from contactsync.publication.log.policy import LogPolicy
from contactsync.publication.tuf.repository import Repository
from contactsync.server.checks import check_publication
from contactsync.server.keyring import Keyring
from contactsync.server.machine import TO_DO
from contactsync.server.objects.address import StoreUrl
from contactsync.server.settings import DataFolder
from contactsync.server.status import AudienceStatus, Status, status
from contactsync.server.storage.opening import (
    create_stores,
    discard_stores,
    open_accounts,
    open_members,
    read_address,
)
from contactsync.server.storage.ports import MemberStore
from contactsync.server.witnessed.keeper import LogKeeper

__all__ = ["TO_DO", "AudienceStatus", "Server", "Status"]


class Server:
    """One data folder. Its methods may be called from any thread; each opens what it needs.

    Commands, `serve` and the admin API may use the folder at the same time.
    """

    def __init__(self, data: Path | str, *, passphrase: bytes | None = None) -> None:
        """`passphrase` is that of the keys, for `publish`. Raises BadInput if there is no server."""
        self.folder = DataFolder.existing(Path(data))
        self._passphrase = passphrase

    @classmethod
    def create(
        cls,
        data: Path | str,
        *,
        passphrase: bytes | None = None,
        database: str | None = None,
        store: str | None = None,
    ) -> Server:
        """Set up a new data folder, with new keys. Raises BadInput if something is there already.

        `database` is the URL of an empty PostgreSQL database for the members and accounts. It is kept without
        its password. None: they are files in the folder. `store` is the URL of an object store that each
        publish is copied to.
        """
        folder = DataFolder(Path(data))
        copied_to = "" if store is None else str(StoreUrl.parse(store))
        address = None if database is None else read_address(database)
        folder.create()
        try:
            keyring = Keyring.create(folder.keys, passphrase)
            signers = keyring.signers()
            keys = {role: signer.public_key for role, signer in signers.items()}
            repository = Repository(folder.public, LogKeeper(folder, keyring))
            policy = LogPolicy(keyring.new_log_key()).to_value()
            repository.create(keys, signers["root"], datetime.now(UTC), policy)
            create_stores(folder, address)
            try:
                folder.finish("" if address is None else address.url, copied_to)
            except BaseException:
                discard_stores(address)
                raise
        except BaseException:  # so that it can be tried again
            folder.discard()
            raise
        return cls(data, passphrase=passphrase)

    @property
    def fingerprint(self) -> str:
        """What clients compare before they trust this server: 64 hex digits."""
        return root_fingerprint(Repository(self.folder.public).root_bytes())

    @property
    def members(self) -> MemberRegister:
        """Who can be found."""
        return MemberRegister(self.folder)

    @property
    def accounts(self) -> Accounts:
        """Who may ask this server, and how much."""
        return Accounts(self.folder)

    @property
    def keys(self) -> RoleKeys:
        """The signing keys of its roles."""
        return RoleKeys(self.folder, self._passphrase)

    @property
    def log(self) -> PublicLog:
        """Its log, and who watches it."""
        return PublicLog(self.folder.path, self._passphrase)

    # Publishing

    def publish(
        self,
        *,
        new_epoch: bool = False,
        expunge: bool = False,
        rewrite: bool = False,
        memory: int = 512 << 20,
        progress: Progress = silent,
    ) -> list[Outcome]:
        """Publish what the register holds, in one atomic step. Raises Busy if another publish is running.

        `expunge` takes every file out of service that may hold who was removed. To `rewrite` writes the bases
        that have patches; a `new_epoch` begins with bases in any case. NotCleanedUp is raised after the
        switch: what is published stays.
        """
        order = Order(Aim.NEW_EPOCH if new_epoch else Aim.REWRITE if rewrite else Aim.PUBLISH)
        return self._follow(order, memory, progress, expunge=expunge)

    def rotate(
        self, *, overlap: float = 7 * 86_400, memory: int = 512 << 20, progress: Progress = silent
    ) -> list[Outcome]:
        """Build the next epoch beside the current one; both are served for `overlap` seconds.

        The first publish after that begins it, and destroys the old seed.
        """
        return self._follow(Order(Aim.ROTATE, int(overlap)), memory, progress)

    def undo_rotation(self, *, memory: int = 512 << 20, progress: Progress = silent) -> list[Outcome]:
        """Take a running rotation back. Raises BadInput if there is none."""
        return self._follow(Order(Aim.TAKE_BACK), memory, progress)

    def _follow(
        self, order: Order, memory: int, progress: Progress, *, expunge: bool = False
    ) -> list[Outcome]:
        keyring = Keyring.open(self.folder.keys, self._passphrase)
        done = follow_order(self.folder, keyring, order, memory=memory, progress=progress, expunge=expunge)
        if done.unclean is not None:
            raise done.unclean
        return list(done.outcomes)

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

    def status(self, now: datetime | None = None) -> Status:
        """What is published, when its signatures expire, and what needs attention at a time (None: now)."""
        with self._members() as members, contextlib.closing(open_accounts(self.folder)) as accounts:
            return status(self.folder, members, accounts, now or datetime.now(UTC))

    def refusals(self, now: datetime | None = None) -> tuple[str, ...]:
        """What clients would refuse of what is published, by their own code; each with what to do."""
        return tuple(check_publication(self.folder, now or datetime.now(UTC)))

    @contextlib.contextmanager
    def _members(self) -> Iterator[MemberStore]:
        with contextlib.closing(open_members(self.folder)) as store:
            yield store
