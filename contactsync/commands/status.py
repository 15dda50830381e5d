"""`contactsync status`: what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from contactsync.commands._options import json_option, open_state, state_option
from contactsync.foundation.errors import OurError

if TYPE_CHECKING:
    from contactsync.client.ledger import Ledger
    from contactsync.client.state import ServerState

Value = TypeVar("Value")


@click.command()
@json_option
@state_option
def status(*, as_json: bool, state_folder: Path | None) -> None:
    """Show the trusted servers, their stored data, and what bucket lists have told each. Nothing is sent.

    That record is kept, and shown, after a server is forgotten. If something cannot be read, the rest is
    shown, and the exit code is 1.
    """
    from contactsync.client.ledger import Ledger
    from contactsync.client.state import is_pinned

    state = open_state(state_folder)
    reading = _Reading()
    folders = state.folders()
    pinned = [folder for folder in folders if is_pinned(folder)]
    loaded = [server for folder in pinned if (server := reading.of(state.load, folder))]
    ledgers = {path.stem: ledger for path in state.ledgers() if (ledger := reading.of(Ledger.read, path))}
    servers = [
        _describe(server, ledgers.pop(server.folder.name, None), reading)
        for server in sorted(loaded, key=lambda server: server.url)
    ]
    found = {
        "state": str(state.folder),
        "servers": servers,
        "not_trusted": [{"url": ledger.url, "told": _told(ledger)} for ledger in ledgers.values()],
        "leftovers": [str(folder) for folder in folders if folder not in pinned],
        "problems": reading.problems,
    }
    if as_json:
        click.echo(json.dumps(found))
    else:
        _show(found)
    if reading.problems:
        raise OurError("some of the stored data cannot be read", hint="see the messages above")


@dataclass
class _Reading:
    """Reads, and collects what went wrong."""

    problems: list[dict[str, str]] = field(default_factory=list)

    def of(self, read: Callable[..., Value], *arguments: Any) -> Value | None:
        """What `read` gives; None if there is a problem."""
        try:
            return read(*arguments)
        except OurError as error:
            self.problems.append({"problem": str(error), "hint": error.hint})
        except OSError as error:
            what = f"{error.filename}: {error.strerror}"
            self.problems.append({"problem": what, "hint": "make it accessible"})
        return None


def _describe(server: ServerState, ledger: Ledger | None, reading: _Reading) -> dict[str, Any]:
    from contactsync.client.quota import recall
    from contactsync.client.trust import seen_manifests

    manifests = reading.of(seen_manifests, server) or []
    sizes = reading.of(_sizes, server.data) or []
    return {
        "url": server.url,
        "fingerprint": server.fingerprint,
        "audiences": [
            {"audience": m.audience, "epoch": m.epoch, "edition": m.edition, "members": m.count}
            for m in manifests
        ],
        "quota": {who: {**asdict(one.said), "at": one.at} for who, one in recall(server.quota).items()},
        "cached": reading.of(_counts, server),
        "data_files": len(sizes),
        "data_bytes": sum(sizes),
        "told": _told(ledger) if ledger else [],
    }


def _counts(server: ServerState) -> dict[str, int]:
    from contactsync.client.cache import Cache

    with Cache(server.cache, server.url) as cache:
        return cache.counts()


def _sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.iterdir()] if folder.exists() else []


def _told(ledger: Ledger) -> list[dict[str, Any]]:
    return [asdict(one) | {"odds": one.odds} for one in ledger.told]


def _show_told(one: dict[str, Any]) -> None:
    for told in one["told"]:
        click.echo(
            f"  told         +{told['partition']} ({told['audience']}): {told['lists']:,} bucket lists since"
            f" {told['first']}, odds up to {told['odds']:,.0f} times as high"
        )


def _show(found: dict[str, Any]) -> None:
    from contactsync.publication.tuf.follower import grouped

    if not found["servers"] and not found["problems"]:
        click.echo(f"no server is trusted (state in {found['state']})")
    for one in found["servers"]:
        click.echo(one["url"])
        click.echo(f"  fingerprint  {grouped(one['fingerprint'])}")
        for audience in one["audiences"]:
            click.echo(
                f"  {audience['audience']:<11}  epoch {audience['epoch']} edition {audience['edition']}, "
                f"{audience['members']:,} members"
            )
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
    for one in found["not_trusted"]:
        click.echo(f"{one['url']}\n  no longer trusted; the record of what it was told is kept")
        _show_told(one)
    for path in found["leftovers"]:
        click.echo(f"{path}\n  left by an interrupted command; `contactsync forget` removes it")
    for one in found["problems"]:
        click.echo(f"{one['problem']}\n  {one['hint']}", err=True)
