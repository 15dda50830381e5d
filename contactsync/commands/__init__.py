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
from contactsync.commands import _json
from contactsync.foundation.errors import ContactSyncError

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as a shell reports it."""

_OF_THE_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO),
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
}

BROKEN_PIPE = 141
"""Exit code when stdout was closed: 128 + SIGPIPE."""

COMPLETE = "_CONTACTSYNC_COMPLETE"
"""The variable by which a shell asks for completions: see `contactsync completion`."""

# Sub-command → "module:object", in the order in which the help lists them.
COMMANDS = {
    "sync": "contactsync.commands.sync:sync",
    "contacts": "contactsync.commands.contacts:contacts",
    "unmark": "contactsync.commands.unmark:unmark",
    "trust": "contactsync.commands.trust:trust",
    "status": "contactsync.commands.status:status",
    "forget": "contactsync.commands.forget:forget",
    "matches": "contactsync.commands.matches:matches",
    "search": "contactsync.commands.matches:search",
    "explain": "contactsync.commands.explain:explain",
    "config": "contactsync.commands.config:config",
    "timer": "contactsync.commands.timer:timer",
    "completion": "contactsync.commands.completion:completion",
    "demo": "contactsync.commands.demo:demo",
    "server": "contactsync.commands.server:server",
    "audit": "contactsync.commands.audit:audit",
    "witness": "contactsync.commands.witness:witness",
    "web": "contactsync.commands.web:web",
    "docs": "contactsync.commands.docs:docs",
    "warmup": "contactsync.commands.warmup:warmup",
}

# What the help says of each: the first sentence of its own help, which takes its module to know.
SUMMARIES = {
    "sync": "Find out which contacts in the address books FILE… are members.",
    "contacts": "Show what is read from the address books FILE…, and what a sync would look up.",
    "unmark": "Remove the category that `sync --mark` has added to the cards in the undo list FILE.",
    "trust": "Pin the server at URL: from then on, a sync accepts only what the server's keys signed.",
    "status": "Show the trusted servers, their stored data, and what bucket lists have told each.",
    "forget": "Wipe the data stored for a server: its pinned root, downloaded files, and the tokens of your "
    "contacts.",
    "matches": "Show who was found by the last sync, on all services, by person.",
    "search": "Show the matches of the last sync whose name or label contains NAME, or number its digits.",
    "explain": "Show how NUMBER becomes the identifier that is looked up, or why it is rejected.",
    "config": "The configuration file: with it, `contactsync sync` alone does it all.",
    "timer": "Print the systemd units that sync once a day: a user service and its timer.",
    "completion": "Print what makes a shell complete commands and options.",
    "demo": "Run a server with members in many countries on this machine, and sync an example address book "
    "with it.",
    "server": "Run a server: members, accounts, publishing, serving, keys.",
    "audit": "Check what is promised without having to trust it.",
    "witness": "Cosign the logs of servers, so that none can show two histories unnoticed.",
    "web": "The page for people that a server may serve: compare it with this version, or have it from here.",
    "docs": "List the documents of this version, or print PAGE, such as address-books.",
    "warmup": "Compile the kernels for this machine, and test the engine.",
}


class RootGroup(click.Group):
    """Loads sub-commands by name. Turns every error that reaches the top into a message and an exit code."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without loading any of them."""
        width = formatter.width - 6 - max(map(len, COMMANDS))
        with formatter.section("Commands"):
            rows = [(name, click.Command(name, help=text)) for name, text in SUMMARIES.items()]
            formatter.write_dl([(name, one.get_short_help_str(width)) for name, one in rows])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse them as click does; whether JSON is wanted is known before."""
        _json.note_arguments(ctx.meta, args)
        try:
            return super().parse_args(ctx, args)
        except click.ClickException as error:  # of an option of the root: `invoke` is not reached
            _emit_usage(ctx, error)
            raise

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
        kwargs.setdefault("complete_var", COMPLETE)  # whatever name the program was started by
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run. On an error, print it and its hint on stderr, and exit with its code from errors.py."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except click.exceptions.Exit:
            raise
        except click.ClickException as error:
            _emit_usage(ctx, error)
            raise
        except ContactSyncError as error:
            _json.emit_error(ctx.meta, _json.error_value(error))
            say_error(error)
            ctx.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            _json.emit_error(ctx.meta, _json.other_error("interrupted", "interrupted", "", INTERRUPTED))
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # stdout was closed. Point it at /dev/null, or the interpreter complains when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(BROKEN_PIPE)
        except Exception as error:  # the last line of defence against a traceback
            if os.environ.get("CONTACTSYNC_DEBUG") == "1":
                raise
            message, hint = _internal(error)
            _json.emit_error(ctx.meta, _json.other_error("internal", message, hint, 1))
            click.echo(f"error: {message}\nhint: {hint}", err=True)
            ctx.exit(1)
        return result


def _emit_usage(context: click.Context, error: click.ClickException) -> None:
    value = _json.other_error("usage", error.format_message(), "see --help", error.exit_code)
    _json.emit_error(context.meta, value)


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


def say_error(error: ContactSyncError, *, of: str = "") -> None:
    """Say on stderr what went wrong (`of` which service), and what to do."""
    click.echo(f"error: {of}{error}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)


def _internal(error: Exception) -> tuple[str, str]:
    """The message and the hint for an unexpected error. Only its type: its text could quote personal data."""
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        hint = "free some space, or fix the permissions, then run the command again"
        return f"{where}{os.strerror(error.errno)}", hint
    if isinstance(error, MemoryError):
        return "not enough memory", "close other programs, or use a smaller input"
    kind = type(error).__name__
    return (
        f"internal error ({kind}) in contactsync {__version__}; please report it",
        "CONTACTSYNC_DEBUG=1 shows where; remove numbers before you share it",
    )


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=RootGroup, context_settings=SETTINGS, invoke_without_command=True)
@click.version_option(__version__, prog_name="contactsync")
@click.pass_context
def main(context: click.Context) -> None:
    """Find out which contacts are members of a service; the service learns nothing about the others.

    Exit codes: 0 done; 1 a fault in this installation; 2 a wrong command line; 3 an input that cannot be
    used, or a server that is not trusted yet; 4 a network error; 5 the server sent something that failed
    verification; 6 the server refused; 7 it would cost or leak more than allowed; 8 the account is out
    of quota; 9 an audit disproved something; 10 an audit could not check something; 11 it is
    published, but cleaning up failed; 12 a check of a server found something to do; 130 interrupted;
    141 stdout was closed.
    """
    if context.invoked_subcommand is None:
        from contactsync.commands._guide import next_steps

        click.echo(next_steps())
