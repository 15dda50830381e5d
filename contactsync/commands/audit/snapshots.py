"""`contactsync audit snapshot` and `audit compare`: whether two clients were shown the same."""

from __future__ import annotations

import time
from pathlib import Path

import click

from contactsync.commands._options import ca_file_option, json_option, open_state, proxy_option, state_option
from contactsync.commands.audit._reports import sarif_option, show
from contactsync.commands.audit._sources import opened_source
from contactsync.foundation.errors import BadInput, NotTrusted


@click.command()
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False), metavar="OUT")
@click.option("--server", "url", metavar="URL", help="Of this server alone. Default: all that you trust.")
@state_option
def snapshot(out: Path, url: str | None, state_folder: Path | None) -> None:
    """Write what your client was shown into the file OUT, to be compared with somebody else's.

    It holds what servers have signed: roots, metadata, the last manifest of each audience, the checkpoint of
    the log. It says which servers you trust, and when this client last saw a new edition. Nothing of your
    contacts, your account or your credential is in it.
    """
    from contactsync.audit.snapshots import view_of, write_snapshot

    state = open_state(state_folder)
    servers = [state.server(url)] if url is not None else state.servers()
    if not servers:
        raise NotTrusted("no server is trusted yet", hint="run: contactsync trust URL")
    views = []
    for server in servers:
        with server.lock():
            views.append(view_of(server))
    size = write_snapshot(out, views, int(time.time()))
    click.echo(f"{out}: {len(views)} server{'s' if len(views) > 1 else ''}, {size:,} bytes")
    for view in views:
        seen = ", ".join(view.manifests) or "no manifest yet"
        click.echo(f"  {view.url}: roots {', '.join(map(str, sorted(view.roots))) or 'none'}; {seen}")


@click.command("compare")
@click.argument("one", type=click.Path(path_type=Path, dir_okay=False), metavar="A")
@click.argument("other", type=click.Path(path_type=Path, dir_okay=False), metavar="B")
@click.option(
    "--publication",
    metavar="DIR|URL",
    help="Take manifests and parts of the log that are in neither snapshot from here: the server, or a copy "
    "of its public files.",
)
@ca_file_option("With a URL: accept TLS certificates only from the authorities in this PEM file.")
@proxy_option
@json_option
@sarif_option
def compare_snapshots(
    one: Path,
    other: Path,
    publication: str | None,
    ca_file: Path | None,
    proxy: str | None,
    *,
    as_json: bool,
    sarif: bool,
) -> None:
    """Say whether two clients were shown the same, and where it forks.

    A and B are files of `audit snapshot`. Each is verified by itself first. Exit code 9 is a fork: two
    statements that the operator has signed. A file that was cut or edited, whose signatures do not fit,
    accuses nobody, and gives 10.
    """
    from contactsync.audit.comparison import PublicationReader, compare_files

    if publication is None:
        if ca_file is not None or proxy is not None:
            raise BadInput("--ca-file and --proxy are for --publication URL", hint="leave them out")
        report = compare_files(one, other)
    else:
        with opened_source(publication, proxy=proxy, ca_file=ca_file) as source:
            report = compare_files(one, other, PublicationReader(source))
    show(report, as_json=as_json, sarif=sarif)
