"""A fingerprint is compared by somebody before it is pinned."""

from __future__ import annotations

import sys

import click

from contactsync.foundation.errors import BadInput


def confirm_fingerprint(option: str) -> None:
    """Let somebody compare the fingerprint that was shown; `option` is how else it may be given.

    Raises BadInput if it is not confirmed.
    """
    if not _somebody_is_there():
        raise BadInput(
            "nobody is there to compare the fingerprint",
            hint=f"give {option} HEX (safe), or --yes to trust what was shown",
        )
    if not click.confirm("Is this what the operator told you?", err=True):
        raise BadInput("not trusted; nothing was stored", hint="ask the operator for the fingerprint")


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()
