"""What stores of accounts share: rows as objects, and what they refuse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from contactsync.foundation.errors import BadInput
from contactsync.server.breakers import Flow
from contactsync.server.quota import Terms
from contactsync.server.storage.ports import Account, NewAccount
from contactsync.server.storage.records import audience_of


def check_distinct(accounts: Sequence[NewAccount]) -> None:
    """Raise BadInput if a name is given twice."""
    twice = [name for name, count in Counter(one.name for one in accounts).items() if count > 1]
    if twice:
        raise BadInput(f"the name {twice[0]!r} is given twice", hint="give each name only once")


def exists(name: str) -> BadInput:
    """What adding an account meets with whose name is in use."""
    return BadInput(
        f"an account named {name!r} already exists", hint="choose another name, or revoke that account first"
    )


def missing(name: str) -> BadInput:
    """What asking for an account meets with that is not there."""
    return BadInput(f"there is no account named {name!r}", hint="see `contactsync server accounts list`")


def flow_of(now: int, rows: Iterable[tuple[int, ...]]) -> Flow:
    """What was evaluated, from rows of minutes: their number, points, and points of new accounts."""
    return Flow(now, {minute: (points, new) for minute, points, new in rows})


def account_of(row: Sequence[Any]) -> Account:
    """name, audience, added, id, class, burst, per_day, and perhaps until."""
    name, audience, added, number, quota_class, burst, per_day, *until = row
    return Account(name, audience_of(audience), added, number, Terms(quota_class, burst, per_day), *until)
