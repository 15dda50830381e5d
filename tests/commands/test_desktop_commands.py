"""timer, completion, and `contactsync` alone: what somebody sets up, and what they do first."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from contactsync.commands import main


def run(*arguments, **environment):
    return CliRunner().invoke(main, list(arguments), env=environment)


@pytest.mark.parametrize("unit", ["service", "timer"])
def test_the_units_are_what_systemd_reads(unit, tmp_path):
    for name in ("service", "timer"):
        (tmp_path / f"contactsync.{name}").write_text(run("timer", name).stdout)
    text = (tmp_path / f"contactsync.{unit}").read_text()
    assert "@" not in text
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze reads the units here")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / f"contactsync.{unit}")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in done.stderr.splitlines() if str(tmp_path) in line] == []


def test_the_service_runs_this_program(tmp_path):
    (line,) = [one for one in run("timer", "service").stdout.splitlines() if one.startswith("ExecStart=")]
    words = shlex.split(line.removeprefix("ExecStart="))
    assert words[-2:] == ["sync", "--quiet"]
    done = subprocess.run([*words[:-2], "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("contactsync")


def test_a_path_is_quoted_as_systemd_wants_it(tmp_path, monkeypatch):
    program = tmp_path / "50% $off" / "contactsync"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    line = next(one for one in run("timer", "service").stdout.splitlines() if one.startswith("ExecStart="))
    assert f"'{tmp_path}/50%% $$off/contactsync' sync" in line


def test_completion_in_bash(tmp_path):
    script = tmp_path / "completion"
    script.write_text(run("completion", "bash").stdout)
    wrapper = tmp_path / "contactsync"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m contactsync "$@"\n')
    wrapper.chmod(0o755)
    program = (
        f'. "{script}"; COMP_WORDS=(contactsync "$1"); COMP_CWORD=1; '
        '_contactsync_completion contactsync; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", program, "bash", "s"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"sync", "status", "search", "server"} <= set(done.stdout.split())
    assert "forget" not in done.stdout


@pytest.mark.parametrize(
    ("shell", "word"), [("zsh", "#compdef contactsync"), ("fish", "complete --no-files")]
)
def test_completion_of_other_shells(shell, word):
    assert word in run("completion", shell).stdout
    assert run("completion", "tcsh").exit_code == 2


@pytest.mark.slow
def test_alone_it_says_what_to_do_first_and_then_what_next(configured):
    empty = run(CONTACTSYNC_STATE=str(configured.folder / "none"), CONTACTSYNC_CONFIG=str(configured.config))
    assert empty.exit_code == 0
    assert empty.stdout.index("contactsync trust") < empty.stdout.index("contactsync sync")
    trusted = configured.run()
    assert "2 servers are trusted. Next:" in trusted.stdout
    configured.run("sync")
    after = configured.run()
    assert "last sync: 20" in after.stdout
    assert "contactsync matches" in after.stdout
    assert "config init" not in after.stdout, "there is one"
    (configured.state / "servers").chmod(0)
    broken = configured.run()
    (configured.state / "servers").chmod(0o700)
    assert broken.exit_code == 0
