"""`contactsync docs`: the pages of a checkout, and of an installed wheel far from one."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from contactsync.commands import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([path.stem for path in (ROOT / "docs").glob("*.md")] + ["openapi.yaml", "openapi-client.yaml"])


def run(*arguments):
    return CliRunner().invoke(main, ["docs", *arguments])


def test_without_a_page_all_are_listed_with_their_titles():
    result = run()
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == PAGES
    assert re.search(r"^address-books +Address books$", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("page", ["address-books", "address-books.md", "docs/address-books.md"])
def test_a_page_is_printed_as_it_stands(page):
    result = run(page)
    assert result.exit_code == 0
    assert result.stdout == (ROOT / "docs" / "address-books.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["nothing", "../README", ""])
def test_another_name_is_a_wrong_command_line_that_names_the_pages(page):
    result = run(page)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "address-books" in result.stderr


def test_pages_that_commands_and_hints_name_exist():
    package = ROOT / "contactsync"
    named = {
        name
        for path in package.rglob("*.py")
        for name in re.findall(
            r"`?contactsync docs ([a-z-]+(?:\.yaml)?)|see docs/([a-z-]+)\.md", path.read_text()
        )
        for name in name
        if name
    }
    assert "identifiers" in named
    assert named <= set(PAGES)


@pytest.fixture
def checkout(tmp_path):
    """A copy to build from: building writes beside the sources."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "cli.py"):
        shutil.copy(ROOT / name, folder)
    for name in ("contactsync", "docs", "man"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    return folder


@pytest.mark.slow
def test_the_wheel_holds_the_pages(checkout, tmp_path):
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels, target = tmp_path / "wheels", tmp_path / "target"
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", wheels]
    subprocess.run([*pip, "wheel", *options, checkout], check=True)
    (wheel,) = wheels.iterdir()
    subprocess.run([*pip, "install", "--no-deps", "--target", target, wheel], check=True)
    shutil.rmtree(checkout)

    def installed(*arguments):
        environment = os.environ | {"PYTHONPATH": str(target)}
        command = [sys.executable, "-m", "contactsync", "docs", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    where = [sys.executable, "-c", "import contactsync; print(contactsync.__file__)"]
    environment = os.environ | {"PYTHONPATH": str(target)}
    done = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_relative_to(target)
    assert [line.split()[0] for line in installed().splitlines()] == PAGES
    assert installed("address-books") == (ROOT / "docs" / "address-books.md").read_text(encoding="utf-8")
    manual = {path.name: path.read_bytes() for path in (target / "share" / "man" / "man1").iterdir()}
    assert manual == {path.name: path.read_bytes() for path in (ROOT / "man").iterdir()}
    for name in ("template.toml", "systemd/contactsync.service", "systemd/contactsync.timer"):
        assert (target / "contactsync" / "commands" / name).is_file()
    assert (target / "contactsync" / "docs" / "json-schema.json").is_file()


def test_the_launcher_of_a_checkout_finds_them(checkout, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, checkout / "cli.py", "docs", "threat-model"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
