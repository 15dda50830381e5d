"""`contactsync status`: what is kept."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contactsync.commands._options import json_option, open_state, state_option

if TYPE_CHECKING:
    from contactsync.client.state import ServerState


@click.command()
@json_option
@state_option
def status(*, as_json: bool, state_folder: Path | None) -> None:
    """Show the trusted servers and what is kept of each. Nothing is sent."""
    from contactsync.client.trust import grouped

    state = open_state(state_folder)
    servers = [_describe(server) for server in state.servers()]
    if as_json:
        click.echo(json.dumps({"state": str(state.folder), "servers": servers}))
        return
    if not servers:
        click.echo(f"no server is trusted (state in {state.folder})")
    for one in servers:
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
        click.echo(
            f"  cached       {cached['identifiers']:,} identifiers, {cached['matches']:,} of them members"
        )
        click.echo(f"  data         {one['data_files']:,} files, {one['data_bytes']:,} bytes")


def _describe(server: ServerState) -> dict[str, Any]:
    from contactsync.client.cache import Cache
    from contactsync.client.quota import recall
    from contactsync.client.trust import seen_manifests

    with Cache(server.cache, server.url) as cache:
        counts = cache.counts()
    sizes = [path.stat().st_size for path in server.data.iterdir()]
    return {
        "url": server.url,
        "fingerprint": server.fingerprint,
        "audiences": [
            {"audience": m.audience, "epoch": m.epoch, "edition": m.edition, "members": m.count}
            for m in seen_manifests(server)
        ],
        "quota": {who: {**asdict(one.said), "at": one.at} for who, one in recall(server.quota).items()},
        "cached": counts,
        "data_files": len(sizes),
        "data_bytes": sum(sizes),
    }
