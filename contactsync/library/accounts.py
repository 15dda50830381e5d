"""The accounts of a server: who may ask, how much, and who looks like a crawler."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput
from contactsync.server.accounts import check_class, check_name, new_credential, rows_of
from contactsync.server.quota import MOST, Terms, system_clock
from contactsync.server.settings import DataFolder
from contactsync.server.sign_in import (
    CODE_SECONDS,
    CREDENTIAL_SECONDS,
    LONGEST_CODE_SECONDS,
    LONGEST_CREDENTIAL_SECONDS,
    SHORTEST_SECONDS,
    new_code,
)
from contactsync.server.storage.opening import open_accounts
from contactsync.server.storage.ports import AccountStore, AccountUse, NewAccount
from contactsync.server.suspicion import BOOK, Alike, Suspect, Suspicions, suspicions

__all__ = ["BOOK", "MOST", "AccountFigures", "Accounts", "Alike", "Issued", "Suspect", "Suspicions", "Terms"]

WEEK: Final = 7 * 86_400.0
_COUNTED: Final = "account-"


@dataclass(frozen=True, slots=True)
class Issued:
    """A new account with its credential, which is stored hashed and cannot be had again."""

    name: str
    credential: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """An account: its quota, and what it has used. `added` and `last_used` are in seconds since 1970."""

    name: str
    audience: str
    added: int
    last_used: int | None
    points_today: int
    points_total: int
    refused: int
    left: int
    burst: int
    per_day: int
    quota_class: str

    def as_json(self) -> dict[str, Any]:
        """As docs/operations.md says of `accounts list --json`."""
        values = dataclasses.asdict(self)
        values["class"] = values.pop("quota_class")
        return values


class Accounts:
    """The accounts of one data folder: `Server.accounts`. A running server follows every change at once."""

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder

    def add(self, name: str, *, audience: str = AUDIENCES[0], terms: Terms | None = None) -> str:
        """Add an account; its credential, which is not stored and cannot be had again. Raises BadInput."""
        (issued,) = self.add_all([name], audience=audience, terms=terms)
        return issued.credential

    def add_all(
        self, names: Sequence[str], *, audience: str = AUDIENCES[0], terms: Terms | None = None
    ) -> list[Issued]:
        """Add accounts, all or none. Raises BadInput for a name or class that cannot be used."""
        own = terms or Terms()
        check_class(self._folder, own.quota_class)
        for name in names:
            check_name(name)
        new = [NewAccount(name, audience, new_credential(), own) for name in names]
        with self._opened() as store:
            store.add_all(new)
        return [Issued(one.name, one.credential) for one in new]

    def new_names(self, count: int) -> list[str]:
        """`account-1`, `account-2` and so on, from behind the last one there is. Nothing is added."""
        with self._opened() as store:
            known = [one.name for one in store.list()]
        numbers = (name.removeprefix(_COUNTED) for name in known if name.startswith(_COUNTED))
        last = max((int(number) for number in numbers if re.fullmatch(r"[0-9]{1,15}", number)), default=0)
        return [f"{_COUNTED}{number}" for number in itertools.islice(itertools.count(last + 1), count)]

    def all(self) -> list[AccountFigures]:
        """All accounts, by name."""
        with self._opened() as store:
            return self._figures(store.uses())

    def show(self, name: str) -> AccountFigures:
        """One account. Raises BadInput if there is none of this name."""
        with self._opened() as store:
            (figures,) = self._figures(store.uses(name))
        return figures

    def change(
        self,
        names: Sequence[str],
        *,
        burst: int | None = None,
        per_day: int | None = None,
        quota_class: str | None = None,
        refill: bool = False,
    ) -> None:
        """Change the quotas of accounts, all or none, from their next request on.

        None: as it is. 0 (or, of the class, an empty text): that of the class. `refill` makes the whole burst
        available again at once. Raises BadInput.
        """
        check_class(self._folder, quota_class)
        given: dict[str, Any] = {}
        if burst is not None:
            given["burst"] = burst or None
        if per_day is not None:
            given["per_day"] = per_day or None
        if quota_class is not None:
            given["quota_class"] = quota_class
        with self._opened() as store:
            store.change(names, lambda terms: dataclasses.replace(terms, **given), refill=refill)

    def rotate(self, name: str, *, overlap: float = WEEK) -> str:
        """Give an account another credential; the one before it is valid for `overlap` seconds more."""
        credential = new_credential()
        with self._opened() as store:
            store.rotate(name, credential, int(overlap * 1000))
        return credential

    def sign_in(self, name: str, *, valid: float = CODE_SECONDS, lasts: float = CREDENTIAL_SECONDS) -> str:
        """A code with which a page gets a credential for an account, once, within `valid` seconds.

        The credential ends `lasts` seconds after that. Raises BadInput (there is no such account; a time that
        is too short or too long).
        """
        for what, seconds, longest in (
            ("a code is valid", valid, LONGEST_CODE_SECONDS),
            ("its credential lasts", lasts, LONGEST_CREDENTIAL_SECONDS),
        ):
            if not SHORTEST_SECONDS <= seconds <= longest:
                bounds = f"{SHORTEST_SECONDS} seconds to {longest // 3600:,} hours"
                raise BadInput(f"{what} for {bounds}", hint="choose another time")
        code = new_code(int(lasts))
        with self._opened() as store:
            store.add_code(name, code, int(valid * 1000))
        return code

    def revoke(self, *names: str) -> None:
        """Delete accounts, all or none. A running server refuses their credentials at once."""
        with self._opened() as store:
            store.revoke(*dict.fromkeys(names))

    def expire(self, before: int, *, dry_run: bool = False) -> list[str]:
        """Revoke who was neither added nor used since `before` (seconds since 1970); the names."""
        with self._opened() as store:
            return store.expire(before, dry_run=dry_run)

    def suspicious(self, book: int = BOOK) -> Suspicions:
        """Accounts that look like crawlers, the most suspicious first. Nothing is changed.

        `book` is how many numbers the largest plausible address book has.
        """
        with self._opened() as store:
            epochs = defaultdict(list)
            for one in store.epochs():
                epochs[one.audience].append(one.since)
            return suspicions(store.uses(), epochs, system_clock(), book)

    def _figures(self, uses: Sequence[AccountUse]) -> list[AccountFigures]:
        rows = rows_of(self._folder, uses)
        return [AccountFigures(quota_class=row.pop("class"), **row) for row in rows]

    @contextlib.contextmanager
    def _opened(self) -> Iterator[AccountStore]:
        with contextlib.closing(open_accounts(self._folder)) as store:
            yield store
