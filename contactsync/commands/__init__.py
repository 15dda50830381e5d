"""The command line. This module is its root. Only here does an error become a message and an exit code.

Sub-commands are loaded when they are used. No `--help` imports numba, numpy or an HTTP library, because
command modules import these inside the functions that use them.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from typing import Any

import click

from contactsync import __version__
from contactsync.foundation.errors import ContactSyncError

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as a shell reports it."""

_OF_THE_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO),
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
}

BROKEN_PIPE = 141
"""Exit code when stdout was closed: 128 + SIGPIPE."""

# Sub-command → "module:object", in the order in which the help lists them.
COMMANDS = {
    "sync": "contactsync.commands.sync:sync",
    "unmark": "contactsync.commands.unmark:unmark",
    "trust": "contactsync.commands.trust:trust",
    "status": "contactsync.commands.status:status",
    "forget": "contactsync.commands.forget:forget",
    "explain": "contactsync.commands.explain:explain",
    "demo": "contactsync.commands.demo:demo",
    "server": "contactsync.commands.server:server",
    "audit": "contactsync.commands.audit:audit",
    "docs": "contactsync.commands.docs:docs",
    "warmup": "contactsync.commands.warmup:warmup",
}


class RootGroup(click.Group):
    """Loads sub-commands by name. Turns every error that reaches the top into a message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names, in the order of the table above."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command with this name; None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run as a program."""
        _mend_streams()
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run. On an error, print it and its hint on stderr, and exit with its code from errors.py."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except (click.exceptions.Exit, click.ClickException):
            raise
        except ContactSyncError as error:
            _say(error)
            ctx.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # stdout was closed. Point it at /dev/null, or the interpreter complains when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(BROKEN_PIPE)
        except Exception as error:  # the last line of defence against a traceback
            if os.environ.get("CONTACTSYNC_DEBUG") == "1":
                raise
            ctx.exit(_internal(error))
        return result


def _mend_streams() -> None:
    """Make the standard streams usable.

    A stream that was closed (`2>&-`) is pointed at /dev/null. Otherwise the next file that is opened would
    take its place, and our messages would go into it. Characters that the terminal's encoding lacks are shown
    as question marks: a name in another script is no reason to stop.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _say(error: ContactSyncError) -> None:
    click.echo(f"error: {error}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)


def _internal(error: Exception) -> int:
    """Report an unexpected error. Only its type: its text could quote personal data."""
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        click.echo(f"error: {where}{os.strerror(error.errno)}", err=True)
        click.echo("hint: free some space, or fix the permissions, then run the command again", err=True)
    elif isinstance(error, MemoryError):
        click.echo("error: not enough memory", err=True)
        click.echo("hint: close other programs, or use a smaller input", err=True)
    else:
        kind = type(error).__name__
        click.echo(f"error: internal error ({kind}) in contactsync {__version__}; please report it", err=True)
        click.echo("hint: CONTACTSYNC_DEBUG=1 shows where; remove numbers before you share it", err=True)
    return 1


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=RootGroup, context_settings=SETTINGS)
@click.version_option(__version__, prog_name="contactsync")
def main() -> None:
    """Find out which contacts are members of a service; the service learns nothing about the others.

    Exit codes: 0 done; 1 a fault in this installation; 2 a wrong command line; 3 an input that cannot be
    used, or a server that is not trusted yet; 4 a network error; 5 the server sent something that failed
    verification; 6 the server refused; 7 it would cost or leak more than allowed; 8 the account is out
    of quota; 130 interrupted; 141 stdout was closed.
    """
