"""The command line: click groups. Heavy parts are imported inside the commands, so that --help stays fast."""

import click

from contactsync import __version__


@click.group()
@click.version_option(__version__, prog_name="contactsync")
def main() -> None:
    """Find out which contacts are members of a service; the service learns nothing about the others."""
