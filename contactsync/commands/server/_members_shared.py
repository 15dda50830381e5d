"""What the commands about members share: options, who makes a change, how a number is written."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

import click

from contactsync.commands.server._shared import folder_of

if TYPE_CHECKING:  # numpy hangs on it
    from pathlib import Path

    from contactsync.library.members import MemberRegister, Origin

DAY = click.DateTime(["%Y-%m-%d"])

ABOUT_SOURCE = 'Where an opt-in is from, like "app 3.1"; it is kept (for audiences that need an opt-in).'

verified_option = click.option(
    "--verified",
    type=DAY,
    metavar="DATE",
    help="The day on which the numbers were known to be theirs, like 2026-01-31 (default: today).",
)
by_option = click.option(
    "--by", metavar="NAME", help="Who makes the change; it is kept (default: the user who runs this)."
)


def members_at(data: Path) -> MemberRegister:
    """The members of a data folder. Raises BadInput if there is none."""
    from contactsync.library.members import MemberRegister

    return MemberRegister(folder_of(data))  # and not `Server`, which loads the protocol and its kernels


def origin_of(source: str, by: str | None) -> Origin:
    """Where a change is from, and who makes it. Raises BadInput if a text cannot be kept."""
    from contactsync.library.members import Origin

    if by is None:
        try:
            by = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            by = f"user {os.getuid()}"
    return Origin(source, by)


def number_of(identifier: bytes) -> str:
    """`+491512345678` of `tel:+491512345678`; any other identifier as it is."""
    from contactsync.library.members import number_of as written

    return written(identifier)
