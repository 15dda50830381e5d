"""`contactsync timer`: the systemd units that are shipped."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import click

UNITS = Path(__file__).with_name("systemd")
PROGRAM = "@CONTACTSYNC@"


@click.command()
@click.argument("unit", type=click.Choice(["service", "timer"]))
def timer(unit: str) -> None:
    """Print the systemd units that sync once a day: a user service and its timer.

    They use the configuration file. To install them:

    \b
    mkdir -p ~/.config/systemd/user
    contactsync timer service > ~/.config/systemd/user/contactsync.service
    contactsync timer timer > ~/.config/systemd/user/contactsync.timer
    systemctl --user enable --now contactsync.timer

    Errors are in `journalctl --user -u contactsync`; `contactsync matches` shows the result.
    """  # noqa: D301 - click's mark, not a backslash
    text = (UNITS / f"contactsync.{unit}").read_text(encoding="ascii")
    click.echo(text.replace(PROGRAM, program()), nl=False)


def program() -> str:
    """This program, by its path: systemd knows no virtual environment."""
    found = shutil.which(sys.argv[0]) if Path(sys.argv[0]).name.startswith("contactsync") else None
    words = [str(Path(found).absolute())] if found else [sys.executable, "-m", "contactsync"]
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """As systemd reads it: `%` begins a specifier, `$` a variable."""
    return shlex.quote(word).replace("%", "%%").replace("$", "$$")
