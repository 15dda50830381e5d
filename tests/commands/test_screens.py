"""On a terminal: tables that wrap by column, names from right to left, NO_COLOR. And the pictures."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from screens import on_terminal, picture, screens, words

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "screens"
COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3|4|9|10)[0-7][0-9;]*m")


@pytest.mark.slow
def test_the_pictures_show_what_a_terminal_shows(configured):
    made = {name: picture(name, commands) for name, commands in screens(configured)}
    assert {path.stem for path in PICTURES.glob("*.svg")} == set(made)
    for name, svg in made.items():
        there = (PICTURES / f"{name}.svg").read_text(encoding="utf-8")
        assert words(there) == words(svg), "run: python tests/screens.py docs/screens"


@pytest.fixture
def synced(configured):
    configured.book.write_text(
        "name,phone\nنور حداد,+491512345671\n"
        "Somebody with a name that is longer than any line,+447911123456\n",
        encoding="utf-8",
    )
    assert configured.run("sync").exit_code == 0
    return configured


@pytest.mark.slow
def test_each_column_wraps_and_none_is_cut(synced):
    text, code = on_terminal(["matches"], synced.environment(), columns=48)
    assert code == 0
    assert "\x1b[1m" in text, "the head is bold"
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    table = plain.partition("\n\n")[0].splitlines()
    assert max(map(len, table)) <= 48 + 2  # the isolating marks take no column
    together = "".join(line[:20] for line in table).replace(" ", "")
    assert "Somebodywithanamethatislongerthananyline" in together
    assert "+447911123456" in plain
    assert "…" not in plain


@pytest.mark.slow
def test_a_name_from_right_to_left_is_isolated_on_a_terminal_and_nowhere_else(synced):
    text, _ = on_terminal(["matches"], synced.environment())
    assert "\u2068نور حداد\u2069" in text
    assert "\u2068Somebody" not in text
    assert "\u2068" not in synced.run("matches").stdout
    latin, _ = on_terminal(["matches"], {**synced.environment(), "PYTHONIOENCODING": "latin-1"})
    assert "\u2068" not in latin


@pytest.mark.slow
def test_no_color_has_no_colour_and_a_dumb_terminal_nothing_at_all(synced):
    text, _ = on_terminal(["matches"], {**synced.environment(), "NO_COLOR": "1"})
    assert not COLOUR.search(text)
    text, _ = on_terminal(["matches"], {**synced.environment(), "TERM": "dumb"})
    assert "\x1b" not in text
    assert text.startswith("NAME")


@pytest.mark.slow
def test_a_file_gets_plain_lines_even_from_a_terminal(synced, tmp_path):
    out = tmp_path / "out"
    text, code = on_terminal(["sync", "--output", out], synced.environment())
    assert code == 0
    assert "work: 2 matches" in text
    assert out.read_text().startswith("NAME")
    assert "\x1b" not in out.read_text()


@pytest.mark.slow
def test_progress_is_drawn_and_wiped(synced):
    raw, _ = on_terminal(["sync"], synced.environment(), raw=True)
    assert "work: fetching metadata" in raw
    text, _ = on_terminal(["sync"], synced.environment())
    assert "fetching" not in text
    quiet, _ = on_terminal(["sync", "--quiet"], synced.environment(), raw=True)
    assert quiet == ""


@pytest.mark.slow
def test_a_pipe_loads_no_rich(synced):
    program = (
        "import sys\nfrom contactsync.commands import main\n"
        "main(sys.argv[1:], standalone_mode=False)\nprint('rich' in sys.modules)"
    )
    for command in ("matches", "status", "sync"):
        done = subprocess.run(
            [sys.executable, "-c", program, command],
            env=synced.command()[1], capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout.splitlines()[-1] == "False", command
