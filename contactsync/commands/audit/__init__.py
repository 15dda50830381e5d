"""`contactsync audit …`: checks for someone who does not want to take our word.

A command is imported when it is run.
"""

from __future__ import annotations

import importlib
from typing import Final

import click

_COMMANDS: Final = {
    "compare": ("contactsync.commands.audit.snapshots", "compare_snapshots"),
    "enumeration": ("contactsync.commands.audit.calculators", "enumeration"),
    "leakage": ("contactsync.commands.audit.calculators", "leakage"),
    "publication": ("contactsync.commands.audit.publications", "publication"),
    "rebuild": ("contactsync.commands.audit.publications", "rebuild"),
    "snapshot": ("contactsync.commands.audit.snapshots", "snapshot"),
    "transcript": ("contactsync.commands.audit.transcripts", "transcript"),
    "server": ("contactsync.commands.audit.probe", "server"),
    "vectors": ("contactsync.commands.audit.vectors", "vectors"),
}


class _AuditGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_AuditGroup)
def audit() -> None:
    """Check what is promised without having to trust it.

    Exit codes of these commands: 0 all was proven; 9 something was disproven; 10 something could not be
    checked. What is damaged, of another version, or cannot be reached is not proven: 10, with a report.

    Without a report: 2 and 3, an option is wrong, a file cannot be opened, or an address book cannot be read;
    1, a fault of this installation. Exit code 4 (network) is for other commands: for an audit, no answer is
    something that it could not check.
    """
