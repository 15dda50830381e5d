"""The root command: laziness, and every error as one line with its exit code."""

import os
import re
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from contactsync import commands
from contactsync.audit import report
from contactsync.commands.reference import reference
from contactsync.foundation import errors
from contactsync.server import machine

HEAVY = ("numba", "numpy", "starlette", "uvicorn", "urllib3", "tuf", "cryptography", "phonenumbers")

WALK = f"""
import sys, click
from contactsync.commands import main

def walk(command, path):
    context = click.Context(command, info_name=path[-1])
    assert command.get_help(context), path
    assert command.help, f"{{path}} is not documented"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{{path}} {{parameter.opts}} is not documented"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            walk(command.get_command(context, name), [*path, name])

walk(main, ["contactsync"])
print(*[name for name in {HEAVY!r} if name in sys.modules])
"""


@pytest.mark.slow
def test_help_of_every_command_is_documented_and_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", WALK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_version_and_help_run_as_a_process():
    command = [sys.executable, "-m", "contactsync", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Exit codes" in done.stdout


@pytest.fixture
def run(monkeypatch):
    def run(error):
        @click.command()
        def fails():
            raise error

        monkeypatch.setattr(commands.RootGroup, "get_command", lambda *_: fails)
        return CliRunner().invoke(commands.main, ["fails"])

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BadInput("no such file", hint="check its name"), 3),
        (errors.ChoiceNeeded("too large", hint="choose"), 7),
        (errors.NetworkError("nothing came", hint="try again"), 4),
        (errors.BadProof("wrong key", hint="report it"), 5),
        (errors.Refused("no", hint="ask the operator"), 6),
        (errors.OurError("damaged", hint="forget"), 1),
    ],
)
def test_an_error_of_the_tree_is_two_lines_and_its_exit_code(run, error, code):
    result = run(error)
    assert result.exit_code == code
    assert result.stderr == f"error: {error}\nhint: {error.hint}\n"
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device"), 1, "No space left"),
        (PermissionError(13, "Permission denied", "/a/place"), 1, "/a/place: Permission denied"),
        (MemoryError(), 1, "not enough memory"),
        (ValueError("secret +491512345678"), 1, "internal error (ValueError)"),
    ],
)
def test_anything_else_is_one_line_without_a_traceback_or_its_text(run, error, code, word):
    result = run(error)
    assert result.exit_code == code
    assert word in result.stderr
    assert "secret" not in result.stderr
    assert "Traceback" not in result.stderr


def test_a_reader_that_goes_away_is_no_error():
    program = (
        "import click, contactsync.commands as c\n"
        "@click.command()\n"
        "def noisy():\n"
        "    [click.echo('x' * 1000) for _ in range(1000)]\n"
        "c.RootGroup.get_command = lambda *_: noisy\n"
        "c.main(['noisy'])\n"
    )
    done = subprocess.run(
        ["/bin/bash", "-c", f'"{sys.executable}" -c "$0" | head -c 10; exit "${{PIPESTATUS[0]}}"', program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 141
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_stream_that_is_closed_is_no_error_and_not_where_the_next_file_goes(closed, tmp_path):
    program = (
        "import sys, click, contactsync.commands as c\n"
        "@click.command()\n"
        "def opens():\n"
        f"    file = open({str(tmp_path / 'file')!r}, 'w')\n"
        "    assert file.fileno() > 2\n"
        "    assert sys.stdin.isatty() is False\n"
        "    click.echo('out'); click.echo('err', err=True)\n"
        "c.RootGroup.get_command = lambda *_: opens\n"
        "c.main(['opens'])\n"
    )
    command = ["/bin/bash", "-c", f'exec "{sys.executable}" -c "$0" {closed}', program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("" if "1>" in closed else "out\n")
    assert done.stderr == ("" if "2>" in closed else "err\n")
    assert (tmp_path / "file").read_text() == ""


def test_a_terminal_without_the_letters_of_a_name_shows_question_marks():
    program = (
        "import click, contactsync.commands as c\n"
        "@click.command()\n"
        "def says():\n"
        "    click.echo('Jörg نور')\n"
        "c.RootGroup.get_command = lambda *_: says\n"
        "c.main(['says'])\n"
    )
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    assert done.stdout.decode("latin-1") == "Jörg ???\n"


def codes_of(error):
    return {error.exit_code}.union(*map(codes_of, error.__subclasses__()))


def test_every_exit_code_is_in_the_help_and_on_the_page():
    codes = codes_of(errors.ContactSyncError) | {0, 2, commands.INTERRUPTED, commands.BROKEN_PIPE}
    codes |= {report.DISPROVEN, report.UNCHECKED, machine.TO_DO}
    text = " ".join(commands.main.help.partition("Exit codes:")[2].split())
    assert {int(code) for code in re.findall(r"(?:^|; )(\d+) ", text.strip())} == codes
    rows = reference().partition("| exit code | meaning |")[2].partition("\n\n")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) ", rows, re.MULTILINE)} == codes


def test_every_environment_variable_of_an_option_is_on_the_page():
    def options(command, context):
        yield from (one for one in command.params if isinstance(one, click.Option))
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                yield from options(command.get_command(context, name), context)

    variables = {one.envvar for one in options(commands.main, click.Context(commands.main)) if one.envvar}
    assert "CONTACTSYNC_STATE" in variables
    rows = reference().partition("| environment variable |")[2].partition("\n\n")[0]
    assert variables <= set(re.findall(r"^\| `([A-Z_]+)", rows, re.MULTILINE))


def test_the_list_of_commands_loads_none_of_them_and_says_what_they_say():
    program = (
        "import sys, contactsync.commands as c\n"
        "c.main(['--help'], standalone_mode=False)\n"
        "ours = [m for m in sys.modules if m.startswith('contactsync.commands.')]\n"
        "print([m for m in ours if not m.endswith('._json')])\n"
        "print([m for m in ('dataclasses', 'rich', 'logging', 'tomllib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["[]", "[]"]
    assert list(commands.SUMMARIES) == list(commands.COMMANDS)
    context = click.Context(commands.main)
    for name, said in commands.SUMMARIES.items():
        command = commands.main.get_command(context, name)
        assert said == command.get_short_help_str(1000) or said == command.get_short_help_str(1000) + "."
