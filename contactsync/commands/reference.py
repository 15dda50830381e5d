"""Writes docs/cli.md from the commands themselves: `python -m contactsync.commands.reference docs/cli.md`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from contactsync.commands import main

HEAD = """# The command line

Generated from the commands by `python -m contactsync.commands.reference docs/cli.md`; a test checks that it
is up to date. `contactsync COMMAND --help` prints the same.

Data goes to stdout, everything else to stderr; with `--json` stdout is one JSON value. A command that fails
prints `error: …` and usually `hint: …`, writes no output file, and leaves the old state usable.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a fault in this installation: damaged state, a full disk, another contactsync at work, a bug |
| 2 | a wrong command line |
| 3 | an input cannot be used, or the server is not trusted yet |
| 4 | a network error: no answer, or one that was cut off. Try again: the command resumes where it stopped |
| 5 | the server sent something that failed verification: signature, proof, hash, protocol |
| 6 | the server refused: credential, limit, audience |
| 7 | it would cost or leak more than allowed: the message names the choices |
| 8 | the account is out of quota: stderr says when to try again |
| 9 | an audit disproved something, or a condition of `--fail-if` holds |
| 10 | an audit could not check something |
| 11 | published, but cleaning up failed: do not give the same order again, run `server publish` |
| 12 | `server status --check` or `server doctor` found something to do |
| 130 | interrupted |
| 141 | stdout was closed |

| environment variable | instead of |
|---|---|
| `CONTACTSYNC_CREDENTIAL_FILE` | `sync --credential-file` |
| `CONTACTSYNC_CONFIG` | `--config` |
| `CONTACTSYNC_STATE` | `--state` |
| `CONTACTSYNC_DATA` | `server … --data` |
| `CONTACTSYNC_MIRROR` | `server mirror --data` |
| `CONTACTSYNC_DATABASE` | `server init --database`; for a folder with a database, the one in server.toml |
| `CONTACTSYNC_PASSPHRASE` | `server … --passphrase-file` |
| `CONTACTSYNC_KEY_PASSPHRASE` | `server … --key-passphrase-file` |
| `CONTACTSYNC_LOG_FORMAT` | `--log-format` of `server serve`, `server admin`, `server mirror`, `witness` |
| `CONTACTSYNC_EXECUTOR` | `--executor` of `server publish`, `server rotate` |
| `CONTACTSYNC_EXECUTOR_KEY` | `--executor-key` |
| `CONTACTSYNC_EXECUTOR_TLS` | `--executor-tls` |
| `CONTACTSYNC_CACHE_DIR` | the user's cache folder for kernels (the fallback is one in the temp folder) |
| `SSL_CERT_FILE` | the system's certificate authorities, for a server that has its own |
| `CONTACTSYNC_DEBUG=1` | shows the traceback of an internal error; it may contain numbers |
"""


def reference() -> str:
    """The whole page."""
    root = click.Context(main, info_name="contactsync")
    return "\n".join([HEAD, *_sections(main, root)])


def _sections(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        yield _section(command, inner)
        if isinstance(command, click.Group):
            yield from _sections(command, inner)


def _section(command: click.Command, context: click.Context) -> str:
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f"## `{context.command_path}`", "", "```", f"{context.command_path} {usage}".rstrip(), "```", ""]
    # \b and \f are click's own marks: keep a paragraph as it stands, and end the help here.
    text = inspect.cleandoc((command.help or "").partition("\f")[0])
    lines += text.replace("\b\n", "").splitlines()
    options = [option for option in command.params if isinstance(option, click.Option)]
    records = [record for option in options if (record := option.get_help_record(context)) is not None]
    if records:
        lines += ["", "| option | |", "|---|---|"]
        lines += [f"| `{_cell(option)}` | {_cell(text)} |" for option, text in records]
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
