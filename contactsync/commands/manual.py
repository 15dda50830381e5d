"""Writes the manual pages from the commands themselves: `python -m contactsync.commands.manual man`.

One page for each command of the first level, in roff with the macros of man(7). A wheel installs them into
share/man/man1, where `man` finds them beside the program.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from contactsync import __version__
from contactsync.commands import main
from contactsync.commands.reference import HEAD

_TABLE = re.compile(r"^\| `?([^|`]+)`? \| (.+) \|$", re.MULTILINE)


def pages() -> dict[str, str]:
    """The text of every page, by the name of its file."""
    root = click.Context(main, info_name="contactsync")
    made = {"contactsync.1": _root_page(root)}
    for name in main.list_commands(root):
        command = main.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root)
        head = [_title(f"contactsync-{name}"), *_name(f"contactsync-{name}", command)]
        text = "\n".join([*head, *_command(command, context), *_see_also("contactsync")])
        made[f"contactsync-{name}.1"] = text + "\n"
    return made


def _root_page(root: click.Context) -> str:
    lines = [_title("contactsync"), *_name("contactsync", main, "private contact discovery")]
    lines += [".SH SYNOPSIS", ".B contactsync", r".I COMMAND \fR[\fIOPTION\fR]..."]
    lines += [".SH DESCRIPTION", *_paragraphs((main.help or "").partition("Exit codes")[0])]
    lines += [".SH COMMANDS"]
    names = main.list_commands(root)
    for name in names:
        command = main.get_command(root, name)
        assert command is not None
        said = _escaped(command.get_short_help_str(1000))
        lines += [".TP", rf"\fBcontactsync\-{_escaped(name)}\fR(1)", said]
    codes, variables = HEAD.split("| exit code | meaning |")[1].split("| environment variable | instead of |")
    lines += [".SH EXIT STATUS", *_items(codes), ".SH ENVIRONMENT", *_items(variables)]
    return "\n".join([*lines, *_see_also(*(f"contactsync-{name}" for name in names))]) + "\n"


def _items(table: str) -> Iterator[str]:
    for head, text in _TABLE.findall(table):
        if not head.startswith("---"):
            yield from (".TP", rf"\fB{_escaped(head.strip())}\fR", _escaped(text.replace("`", "")))


def _title(name: str) -> str:
    return f'.TH {_escaped(name.upper())} 1 "" "contactsync {__version__}" "contactsync"'


def _name(name: str, command: click.Command, summary: str = "") -> list[str]:
    said = summary or command.get_short_help_str(1000).rstrip(".")
    return [".SH NAME", rf"{_escaped(name)} \- {_escaped(said)}"]


def _see_also(*names: str) -> list[str]:
    listed = ", ".join(rf"\fB{_escaped(name)}\fR(1)" for name in names)
    return [".SH SEE ALSO", listed + ". The documents: \\fBcontactsync docs\\fR."]


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    """Synopsis, description and options; those of the commands within follow."""
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (".SH SYNOPSIS", rf"\fB{_escaped(context.command_path)}\fR {_escaped(usage)}".rstrip())
    yield from (".SH DESCRIPTION", *_paragraphs(command.help or ""))
    yield from _options(command, context, ".SH OPTIONS")
    if isinstance(command, click.Group):
        yield ".SH COMMANDS"
        yield from _within(command, context)


def _within(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        usage = " ".join(command.collect_usage_pieces(inner))
        yield from (rf".SS {_escaped(inner.command_path)} {_escaped(usage)}".rstrip(),)
        yield from _paragraphs(command.help or "")
        yield from _options(command, inner, "")
        if isinstance(command, click.Group):
            yield from _within(command, inner)


def _options(command: click.Command, context: click.Context, head: str) -> Iterator[str]:
    options = [option for option in command.params if isinstance(option, click.Option)]
    records = [record for option in options if (record := option.get_help_record(context)) is not None]
    if records and head:
        yield head
    for option, text in records:
        yield from (".TP", rf"\fB{_escaped(option)}\fR", _escaped(" ".join(text.split())))


def _paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a help text; click's mark before one keeps its lines."""
    for paragraph in inspect.cleandoc(text.partition("\f")[0]).split("\n\n"):
        lines = paragraph.splitlines()
        if lines and lines[0] == "\b":
            yield from (".PP", ".nf", *map(_escaped, lines[1:]), ".fi")
        elif lines:
            yield from (".PP", _escaped(" ".join(lines)))


def _escaped(text: str) -> str:
    """The text as roff prints it: a hyphen that can be copied, no line that is a request."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("…", r"\[u2026]")
    return rf"\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for old in folder.glob("*.1"):
        old.unlink()
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
