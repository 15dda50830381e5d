"""`contactsync server export` and `import`: the stores, from one kind of storage to another."""

from __future__ import annotations

from pathlib import Path

import click

from contactsync.commands._output import counted
from contactsync.commands.server._shared import data_option
from contactsync.foundation.errors import BadInput


@click.command("export")
@data_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def export_stores(data: Path, file: Path) -> None:
    """Write members and accounts into FILE, to move them into another storage.

    Everything that is stored about them goes: consents, objections, tokens, hashes of credentials, quotas,
    what was charged and published. Keys and what is published stay in the data folder. FILE contains
    telephone numbers: delete it when it is not needed any more.

    Stop `serve` and `admin` first: what they change afterwards is not in FILE.
    """
    from contactsync.library import moving

    counts = moving.export_stores(data, file)
    members = sum(n for name, n in counts.items() if name.startswith("members_"))
    click.echo(
        f"{counted(members, 'member', 'members')}, {counted(counts['accounts'], 'account', 'accounts')}"
        f" in {file}"
    )


@click.command("import")
@data_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--database",
    metavar="URL",
    envvar="CONTACTSYNC_DATABASE",
    help="An empty PostgreSQL database, postgresql://USER@HOST/NAME (CONTACTSYNC_DATABASE, which may contain"
    " the password).",
)
@click.option("--files", is_flag=True, help="Files in the data folder, as without PostgreSQL.")
@click.pass_context
def import_stores(
    context: click.Context, data: Path, file: Path, database: str | None, *, files: bool
) -> None:
    """Make the stores of a data folder from FILE, which `server export` wrote, all or nothing.

    The folder then uses them: `server.toml` says so. The stores before stay where they are, unused; delete
    them. `publish` goes on with the same epoch and edition, and clients notice nothing.
    """
    from contactsync.library import moving

    given = context.get_parameter_source("database") is click.core.ParameterSource.COMMANDLINE
    if files and given:
        raise click.UsageError("Give either --database or --files.")
    if not files and not database:
        raise BadInput("it is not said where to", hint="give --database URL, or --files")
    if given and database:
        moving.check_argument(database)
    where = moving.import_stores(data, file, database=None if files else database)
    click.echo(f"members and accounts are in {where}", err=True)
    click.echo("the stores before are not used any more: delete them, and FILE, when all is well", err=True)
