"""Finds the account of a request's credential."""

from __future__ import annotations

from typing import Final

from contactsync.server.http.fresh import Fresh
from contactsync.server.http.problems import Problem
from contactsync.server.http.threads import Threads
from contactsync.server.quota import Clock
from contactsync.server.storage.ports import Account, AccountStore, credential_hash

REMEMBERED: Final = 1 << 16
"""How many accounts of callers are kept in memory, about 300 octets each."""

_THREADS: Final = 8


def bad_credential() -> Problem:
    """The problem of who has no valid credential."""
    return Problem(
        "bad-credential",
        "there is no valid credential with this request",
        "ask the operator for a new one",
        headers={"www-authenticate": "Bearer"},
    )


class Callers:
    """Looks up accounts without blocking the event loop, and those of regular callers without a thread.

    What was found is remembered as long as the store's revision stays the same, which is checked for every
    request: so a revoked credential is refused from the next request on. What was not found is not
    remembered: nobody fills the memory with guesses. The end of a credential is looked at for every request.
    """

    def __init__(self, accounts: AccountStore, clock: Clock) -> None:
        self._accounts = accounts
        self._clock = clock
        self._threads = Threads("accounts", _THREADS)
        self._known: dict[bytes, Account] = {}
        self._revision: object = None
        self._look = Fresh(self._ask)

    async def authenticate(self, authorization: str) -> Account:
        """The account of a request, by its field Authorization. Raises Problem, OurError, Overloaded."""
        scheme, _, credential = authorization.partition(" ")
        account = await self.find(credential.strip()) if scheme.lower() == "bearer" else None
        if account is None:
            raise bad_credential()
        return account

    async def find(self, credential: str) -> Account | None:
        """The account that a credential belongs to and still opens. Raises OurError, Overloaded."""
        account = await self._find(credential)
        return None if account is None or self._is_over(account) else account

    def recall(self, credential: str) -> Account | None:
        """The same if it is remembered; None says nothing."""
        self._renew()
        account = self._known.get(credential_hash(credential))
        return None if account is None or self._is_over(account) else account

    def _is_over(self, account: Account) -> bool:
        return account.until is not None and self._clock() >= account.until

    def _ask(self) -> object:
        return self._accounts.revision()

    def _renew(self) -> object:
        """Forget all, if accounts have changed since; the revision that holds now."""
        revision = self._look()
        if revision is None or revision != self._revision:
            self._known.clear()
            self._revision = revision
        return revision

    async def _find(self, credential: str) -> Account | None:
        revision, key = self._renew(), credential_hash(credential)
        account = self._known.get(key)
        if account is None:
            account = await self._threads.run(self._accounts.find, credential)
            # The result may be newer than `revision`, never older. Meanwhile another request may have set a
            # newer revision.
            if account is not None and revision is not None and revision == self._revision:
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[key] = account
        return account

    def close(self) -> None:
        """End the threads."""
        self._threads.close()
