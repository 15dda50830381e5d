"""man/ says what the commands say, and is roff that man reads."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from contactsync.commands import COMMANDS
from contactsync.commands.manual import pages

FOLDER = Path(__file__).resolve().parents[2] / "man"


def test_the_pages_are_up_to_date():
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert written == pages(), "run: make docs"
    assert set(written) == {"contactsync.1", *(f"contactsync-{name}.1" for name in COMMANDS)}


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff reads the pages here")
def test_they_are_roff_without_a_warning_and_keep_their_words():
    files = sorted(map(str, FOLDER.iterdir()))
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-P-c", *files], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    text = " ".join(re.sub(".\b", "", done.stdout).split())  # bold is struck twice
    for words in (
        "--credential-file FILE",
        "contactsync server accounts add",
        "systemctl --user enable --now",
    ):
        assert words in text
