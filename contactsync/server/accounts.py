"""Accounts as an operator sees them: names, new credentials, and what each has used."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final

from contactsync.foundation.errors import BadInput
from contactsync.server.quota import PointQuota, leaked, system_clock
from contactsync.server.settings import DataFolder
from contactsync.server.storage.ports import AccountUse

_CREDENTIAL_BYTES: Final = 32
_LONGEST: Final = 100


def new_credential() -> str:
    """256 random bits, to be shown once."""
    return f"cs_{secrets.token_urlsafe(_CREDENTIAL_BYTES)}"


def check_name(name: str) -> None:
    """Raises BadInput unless an account may have this name."""
    if not 0 < len(name) <= _LONGEST or not name.isprintable():
        raise BadInput(
            f"the name of an account is 1 to {_LONGEST} printable characters", hint="choose another"
        )


def check_class(folder: DataFolder, name: str | None) -> None:
    """Raises BadInput unless server.toml has such a class of quotas, or it is none."""
    classes = folder.settings().quotas
    if name and name not in classes:
        known = ", ".join(sorted(classes))
        raise BadInput(
            f"there is no quota class named {name!r}",
            hint=f"known are {known}; to add one, add a table [quota.NAME] to server.toml",
        )


def rows_of(folder: DataFolder, uses: Sequence[AccountUse]) -> list[dict[str, Any]]:
    """What docs/operations.md says of each account: its quota, and what it has used."""
    classes, now = folder.settings().quotas, system_clock()
    rows = []
    for use in uses:
        account = use.account
        allowance: PointQuota = account.terms.allowance(account.audience, classes)
        rows.append(
            {
                "name": account.name,
                "audience": account.audience,
                "added": account.added,
                "last_used": use.last_used,
                "points_today": use.points_today,
                "points_total": use.points_total,
                "refused": use.refused,
                "left": leaked(use.level, use.at, now, allowance.per_day).left(allowance),
                "burst": allowance.burst,
                "per_day": allowance.per_day,
                "class": account.terms.quota_class,
            }
        )
    return rows
