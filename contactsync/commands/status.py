"""`contactsync status`: what is kept."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from contactsync.commands import _json
from contactsync.commands._configuration import config_option, named_url
from contactsync.commands._options import json_option, server_option, state_option
from contactsync.foundation.errors import NotTrusted, OurError


@click.command()
@server_option("Only this server: its address, or its name in the configuration.")
@json_option
@config_option
@state_option
def status(*, url: str | None, as_json: bool, config_file: Path | None, state_folder: Path | None) -> None:
    """Show the trusted servers, their stored data, and what bucket lists have told each. Nothing is sent.

    That record is kept, and shown, after a server is forgotten. If something cannot be read, the rest is
    shown, and the exit code is 1.
    """
    from contactsync.library.client import Client
    from contactsync.library.state import canonical_url

    found = Client(state_folder).kept()
    if url is not None:
        wanted = canonical_url(named_url(url, config_file))
        for known in ("servers", "not_trusted"):
            found[known] = [one for one in found[known] if one["url"] == wanted]
        if not found["servers"] and not found["not_trusted"]:
            raise NotTrusted(f"nothing is stored of {wanted}", hint=f"trust it: contactsync trust {wanted}")
    if as_json:
        _json.emit(found)
    else:
        _show(found)
    if found["problems"]:
        raise OurError("some of the stored data cannot be read", hint="see the messages above")


def _show_told(one: dict[str, Any]) -> None:
    from contactsync.library.identifying import title_of

    for told in one["told"]:
        click.echo(
            f"  told         {title_of(told['partition'])} ({told['audience']}): {told['lists']:,} bucket"
            f" lists since {told['first']}, odds up to {told['odds']:,.0f} times as high"
        )


def _show(found: dict[str, Any]) -> None:
    from contactsync.library.fingerprints import grouped
    from contactsync.library.watching import Watched

    if not found["servers"] and not found["problems"]:
        click.echo(f"no server is trusted (state in {found['state']})")
    for one in found["servers"]:
        click.echo(one["url"])
        click.echo(f"  fingerprint  {grouped(one['fingerprint'])}")
        if one["second"] is not None:
            click.echo(f"  second       {one['second']}: asked too by --privacy two-server")
        if one["log"] is not None:
            click.echo(f"  watched      {Watched(**one['log'])}")
        for audience in one["audiences"]:
            click.echo(
                f"  {audience['audience']:<11}  epoch {audience['epoch']} edition {audience['edition']}, "
                f"{audience['members']:,} members"
            )
        for audience, at in one["last_sync"].items():
            synced = datetime.fromisoformat(at).astimezone()
            click.echo(f"  last sync    {audience}: {synced:%Y-%m-%d %H:%M}")
        for audience, quota in one["quota"].items():
            click.echo(
                f"  budget       {audience}: {quota['left']:,} of {quota['burst']:,} points left, "
                f"{quota['per_day']:,} come back a day (as of {quota['at']})"
            )
        cached = one["cached"]
        if cached:
            click.echo(
                f"  cached       {cached['identifiers']:,} identifiers, {cached['matches']:,} of them members"
            )
        click.echo(f"  data         {one['data_files']:,} files, {one['data_bytes']:,} bytes")
        _show_told(one)
    _show_rest(found)


def _show_rest(found: dict[str, Any]) -> None:
    for one in found["not_trusted"]:
        click.echo(f"{one['url']}\n  no longer trusted; the record of what it was told is kept")
        _show_told(one)
    for path in found["leftovers"]:
        click.echo(f"{path}\n  left by an interrupted command; `contactsync forget` removes it")
    for one in found["problems"]:
        click.echo(f"{one['problem']}\n  {one['hint']}", err=True)
