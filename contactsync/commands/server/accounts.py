"""`contactsync server accounts`: who may ask a server, and how much."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from contactsync.commands import _json
from contactsync.commands._options import SECONDS, Duration
from contactsync.commands._output import counted
from contactsync.commands.server._shared import accounts_of, audience_option, data_option, day_of, json_option
from contactsync.foundation.errors import BadInput

_MOST_NAMES = 1_000_000
_RESET = "default"
NO_CLASS = "none"


class _Points(click.ParamType[Any]):
    """A number of points, or `default`, which is given as 0."""

    name = "points"

    def __init__(self, *, reset: bool) -> None:
        self._reset = reset

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse it, or fail as click does."""
        from contactsync.library.accounts import MOST

        if self._reset and value == _RESET:
            return 0
        if not re.fullmatch(r"\d{1,10}", str(value)) or not 1 <= int(value) <= MOST:
            self.fail(f"{value!r} is not a number of points from 1 to {MOST:,}", param, ctx)
        return int(value)


class _Since(click.ParamType[int]):
    """A day (2026-01-31, UTC) or a time that has passed (90d), as seconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse it, or fail as click does."""
        now = int(time.time())
        if match := re.fullmatch(r"(\d{1,6})([smhd])", str(value).strip()):
            return max(0, now - int(match[1]) * SECONDS[match[2]])
        try:
            day = datetime.combine(date.fromisoformat(str(value)), datetime.min.time(), UTC)
        except ValueError:
            self.fail(f"{value!r} is neither a day such as 2026-01-31 nor a time such as 90d", param, ctx)
        if not 0 <= day.timestamp() <= now:
            self.fail(f"{value!r} is not in the past", param, ctx)
        return int(day.timestamp())


def _terms_options(*, reset: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`--burst`, `--per-day` and `--class`."""
    back = f"; `{_RESET}` follows the class" if reset else " (default: that of the class)"
    none = f"; `{NO_CLASS}`: none of its own" if reset else ""
    options = (
        click.option("--burst", type=_Points(reset=reset), metavar="N", help=f"Points at once{back}."),
        click.option("--per-day", type=_Points(reset=reset), metavar="N", help=f"Points a day{back}."),
        click.option(
            "--class",
            "quota_class",
            metavar="NAME",
            help=f"Quota class in server.toml: [quota.NAME]{none}.",
        ),
    )

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group()
def accounts() -> None:
    """Manage accounts and their quotas."""


@accounts.command("add")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--from",
    "file",
    type=click.File("r", encoding="utf-8-sig"),
    metavar="FILE",
    help="Read the names from FILE, one on each line.",
)
@click.option(
    "--count", type=click.IntRange(1, _MOST_NAMES), metavar="N", help="Add N accounts with generated names."
)
@data_option
@audience_option
@_terms_options(reset=False)
def add_accounts(
    names: tuple[str, ...],
    file: Any,
    count: int | None,
    data: Path,
    audience: str,
    **terms: Any,
) -> None:
    """Add accounts, all or none, and print their credentials. They are shown only once: hashes are stored.

    The credential of a single NAME is printed alone. Otherwise each line has the name, a tab and the
    credential.
    """
    from contactsync.library.accounts import Terms

    if (bool(names), file is not None, count is not None).count(True) != 1:
        raise click.UsageError("Give one of NAME..., --from FILE and --count N.")
    known = accounts_of(data)
    wanted = list(names) if file is None else _names_in(file)
    if count is not None:
        wanted = known.new_names(count)
    new = known.add_all(wanted, audience=audience, terms=Terms(**_given(terms)))
    alone = len(names) == 1
    try:
        for one in new:
            click.echo(one.credential if alone else f"{one.name}\t{one.credential}")
        sys.stdout.flush()
    except OSError:  # nobody has seen all of them, and nobody ever can
        known.revoke(*wanted)
        raise


@accounts.command("show")
@click.argument("name")
@data_option
@json_option
def show_account(name: str, data: Path, *, as_json: bool) -> None:
    """Show the quota of an account and how much of it was used."""
    row = accounts_of(data).show(name).as_json()
    if as_json:
        _json.emit(row)
        return
    for key, value in row.items():
        shown = (
            day_of(value) if key in {"added", "last_used"} else f"{value:,}" if type(value) is int else value
        )
        click.echo(f"{key.replace('_', ' ')}: {shown or '-'}")


@accounts.command("list")
@data_option
@json_option
def list_accounts(data: Path, *, as_json: bool) -> None:
    """List accounts: name, audience, added, last used, points today, total points, refused, points left."""
    rows = [one.as_json() for one in accounts_of(data).all()]
    if as_json:
        _json.emit_list(rows)
        return
    for row in rows:
        figures = (row[key] for key in ("points_today", "points_total", "refused", "left"))
        days = day_of(row["added"]), day_of(row["last_used"])
        click.echo("\t".join(map(str, (row["name"], row["audience"], *days, *figures))))


@accounts.command("set")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--refill", is_flag=True, help="Make the whole burst available again at once.")
@data_option
@_terms_options(reset=True)
def set_accounts(names: tuple[str, ...], data: Path, *, refill: bool, **terms: Any) -> None:
    """Change the quotas of accounts, all or none. The change applies from their next request on."""
    given = _given(terms)
    if not given and not refill:
        raise click.UsageError("Give at least one of --burst, --per-day, --class and --refill.")
    if given.get("quota_class") == NO_CLASS:
        given["quota_class"] = ""
    accounts_of(data).change(names, **given, refill=refill)


@accounts.command("revoke")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@data_option
def revoke_accounts(names: tuple[str, ...], data: Path) -> None:
    """Delete accounts, all or none. A running server refuses their credentials at once."""
    accounts_of(data).revoke(*names)


@accounts.command("expire")
@click.option(
    "--unused-since",
    "before",
    type=_Since(),
    required=True,
    metavar="TIME",
    help="90d, or a day: 2026-01-31.",
)
@click.option("--dry-run", is_flag=True, help="Only print which accounts would be revoked.")
@data_option
def expire_accounts(before: int, data: Path, *, dry_run: bool) -> None:
    """Revoke accounts that were neither added nor used since the given time, and print their names."""
    gone = accounts_of(data).expire(before, dry_run=dry_run)
    for name in gone:
        click.echo(name)
    click.echo(
        f"{counted(len(gone), 'account', 'accounts')} {'would be ' if dry_run else ''}revoked", err=True
    )


@accounts.command("rotate")
@click.argument("name")
@click.option(
    "--overlap",
    type=Duration(zero=True),
    default="7d",
    show_default=True,
    metavar="TIME",
    help="How long the old credential stays valid; 0 if it was stolen.",
)
@data_option
def rotate_account(name: str, overlap: float, data: Path) -> None:
    """Give an account a new credential and print it, alone. It is not shown again.

    The quota does not change.
    """
    click.echo(accounts_of(data).rotate(name, overlap=overlap))


@accounts.command("sign-in")
@click.argument("name")
@click.option(
    "--valid",
    type=Duration(),
    default="5m",
    show_default=True,
    metavar="TIME",
    help="Within which time the code must be used, at most 1h.",
)
@click.option(
    "--lasts",
    type=Duration(),
    default="12h",
    show_default=True,
    metavar="TIME",
    help="When the credential that it brings ends, at most 30d later.",
)
@data_option
def sign_in_account(name: str, valid: float, lasts: float, data: Path) -> None:
    """Print a one-time code for an account, alone. A page exchanges it for a credential that ends by itself.

    A back end asks the admin API for it: see `contactsync docs web`.
    """
    click.echo(accounts_of(data).sign_in(name, valid=valid, lasts=lasts))


def _given(terms: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in terms.items() if value is not None}


def _names_in(file: Any) -> list[str]:
    try:
        names = [name for line in file if (name := line.strip())]
    except UnicodeDecodeError:
        raise BadInput(f"{file.name} is not UTF-8 text", hint="save it as UTF-8") from None
    if not names:
        raise BadInput(f"there is no name in {file.name}", hint="write one on each line")
    if len(names) > _MOST_NAMES:
        raise BadInput(f"{file.name} has more than {_MOST_NAMES:,} names", hint="split it")
    return names
