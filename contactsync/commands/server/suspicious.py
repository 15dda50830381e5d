"""`contactsync server accounts suspicious`: accounts that look like crawlers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contactsync.commands import _json
from contactsync.commands._output import counted
from contactsync.commands.server._shared import accounts_of, data_option, day_of, json_option

if TYPE_CHECKING:  # numpy hangs on these
    from contactsync.library.accounts import Alike, Suspect

_SHOWN_NAMES = 5
_UNSEEN = (
    "not visible here: which numbers are asked for; who asks for no more than a large address book;"
    " a farm whose accounts are added over months, or differ in what they ask for"
)


@click.command("suspicious")
@data_option
@click.option(
    "--book",
    type=click.IntRange(min=1),
    metavar="N",
    help="Numbers that the largest plausible address book has (default: 8192).",
)
@json_option
def list_suspicious(data: Path, book: int | None, *, as_json: bool) -> None:
    """List accounts that look like crawlers, with the reasons, the most suspicious first.

    Compares how many points an account had evaluated, without cover rounds, with other accounts, with those
    of the same age, and with what an address book can have. Then looks for groups of accounts that were added
    together and asked for about as much. Nothing is changed: stop an account with `accounts revoke`.
    """
    from contactsync.library.accounts import BOOK

    book = book or BOOK
    found = accounts_of(data).suspicious(book)
    if as_json:
        figures = {
            "accounts": found.accounts,
            "used": found.used,
            "compared": found.compared,
            "book": book,
            "suspects": [_suspect(one) for one in found.suspects],
            "groups": [_group(one) for one in found.groups],
        }
        _json.emit(figures)
        return
    for suspect in found.suspects:
        use = suspect.use
        click.echo(
            f"{use.account.name}: added {day_of(use.account.added)}, last used {day_of(use.last_used)},"
            f" {use.points_total:,} points, {use.points_today:,} of them today, {use.refused:,} refused"
        )
        for reason in suspect.reasons:
            click.echo(f"  {reason}")
    for group in found.groups:
        click.echo(f"{len(group.names)} accounts that move alike, {group.points:,} points: {_some(group)}")
        click.echo(f"  {group.reason}")
    among = f"among {counted(found.used, 'account', 'accounts')} that asked for anything"
    if not (found.suspects or found.groups):
        click.echo(f"nothing stands out {among}", err=True)
    else:
        suspects = counted(len(found.suspects), "account", "accounts")
        groups = counted(len(found.groups), "group", "groups")
        click.echo(f"{suspects} and {groups} stand out {among}", err=True)
    if found.used > found.compared:
        too_few = counted(found.used - found.compared, "account has", "accounts have")
        click.echo(f"{too_few} too few others of the same audience and class to compare with", err=True)
    click.echo(_UNSEEN, err=True)


def _some(group: Alike) -> str:
    rest = len(group.names) - _SHOWN_NAMES
    names = ", ".join(group.names[:_SHOWN_NAMES])
    return f"{names} and {rest} more (--json lists all)" if rest > 0 else names


def _suspect(one: Suspect) -> dict[str, Any]:
    use = one.use
    return {
        "name": use.account.name,
        "audience": use.account.audience,
        "class": use.account.terms.quota_class,
        "added": use.account.added,
        "last_used": use.last_used,
        "points_today": use.points_today,
        "points_total": use.points_total,
        "refused": use.refused,
        "batches": use.batches,
        "full_share": round(one.full_share, 4),
        "numbers": one.numbers,
        "epoch_numbers": one.book,
        "times_median": _rounded(one.times_median),
        "times_same_age": _rounded(one.times_age),
        "signs": one.signs,
        "reasons": one.reasons,
    }


def _group(one: Alike) -> dict[str, Any]:
    return {
        "accounts": one.names,
        "added_together": one.added,
        "expected": _rounded(one.expected),
        "first_added": one.first,
        "last_added": one.last,
        "least_numbers": one.least,
        "most_numbers": one.most,
        "points_total": one.points,
        "reason": one.reason,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
