"""`contactsync server files`: files to start from, for what runs beside the server."""

from __future__ import annotations

from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from contactsync.commands.timer import PROGRAM, program
from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


@click.command("files")
@click.argument("name", required=False)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write the files into DIR, in their folders, instead of printing one. None is replaced.",
)
def files(name: str | None, output: Path | None) -> None:
    """List files to start from, or print the one called NAME, such as nginx/contactsync.conf.

    systemd units, nginx, Caddy, Prometheus, Grafana, a Containerfile and a compose file. Read each before you
    use it: it says what to change, and why it is as it is. `contactsync docs operations` explains them.
    """
    shipped = dict(_shipped(resources("contactsync") / "deploy"))
    if name is not None and name not in shipped:
        raise BadInput(f"there is no file {name!r}", hint=f"the files are {', '.join(shipped)}")
    chosen = shipped if name is None else {name: shipped[name]}
    if output is not None:
        for path, text in chosen.items():
            _write(output / path, text)
            click.echo(output / path)
    elif name is not None:
        click.echo(shipped[name], nl=False)
    else:
        width = max(map(len, shipped))
        for path, text in shipped.items():
            click.echo(f"{path:<{width}}  {_about(text)}")


def _shipped(folder: Traversable, below: str = "") -> list[tuple[str, str]]:
    """Each file with its text, by its path."""
    found = []
    for one in sorted(folder.iterdir(), key=lambda one: one.name):
        if one.is_dir():
            if not one.name.startswith("_"):
                found += _shipped(one, f"{below}{one.name}/")
        elif not one.name.endswith(".py"):
            found.append((below + one.name, one.read_text("utf-8").replace(PROGRAM, program())))
    return found


def _about(text: str) -> str:
    """What the first line says, if it is a comment."""
    first, _, _ = text.partition("\n")
    return first.removeprefix("# ") if first.startswith("# ") else ""


def _write(path: Path, text: str) -> None:
    if path.exists():
        raise BadInput(f"{path} is there already, and was not replaced", hint="choose another folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write(path, text.encode(), mode=durable.PUBLIC_FILE)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}", hint="choose another folder") from error
