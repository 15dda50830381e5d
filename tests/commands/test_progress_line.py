"""The lines on the terminal: what is done, how fast, and what is left."""

import io
import sys

import pytest

from contactsync.commands._progress import Pace, ProgressBoard, ProgressLine, duration, octets
from contactsync.foundation.progress import DOWNLOADING


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("contactsync.commands._progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr("contactsync.commands._progress.TICK_SECONDS", 1000)
    return now


@pytest.fixture
def terminal(monkeypatch):
    """Makes stderr a terminal (in the test itself: pytest sets it again before), and says what is shown."""

    def install():
        monkeypatch.setattr("sys.stderr", Terminal())
        monkeypatch.setenv("TERM", "xterm")
        return lambda: sys.stderr.getvalue().rpartition("\r\x1b[K")[2]

    return install


def test_stage_rate_and_time_left(terminal, clock) -> None:
    shown = terminal()
    with ProgressLine() as line:
        line("metadata", 0, 0)
        assert shown() == "metadata"
        line("evaluating", 0, 1_000_000)
        assert shown() == "evaluating: 0% of 1,000,000"
        clock[0] += 0.05
        line("evaluating", 1000, 1_000_000)
        assert shown() == "evaluating: 0% of 1,000,000", "not redrawn more often than can be read"
        clock[0] += 9.95
        line("evaluating", 250_000, 1_000_000)
        assert shown() == "evaluating: 25% of 1,000,000, 25,000 a second, 30 s left"
        line("collecting", 500, 0)
        assert shown() == "collecting: 500"
        clock[0] += 10
        line("collecting", 1500, 0)
        assert shown() == "collecting: 1,500, 100 a second"
    assert shown() == "", "wiped"


def test_bytes_have_a_unit_and_what_was_resumed_counts_for_nothing_but_the_percentage() -> None:
    pace = Pace()
    pace.update(DOWNLOADING, 30_000_000, 40_000_000, 0.0)
    assert pace.text(0.5) == "downloading: 75% of 40.0 MB"
    for step in range(1, 21):
        pace.update(DOWNLOADING, 30_000_000 + step * 8_000, 40_000_000, step / 2)
    assert pace.text(10.0) == "downloading: 75% of 40.0 MB, 16.0 kB/s, 10 min 15 s left"


def test_the_time_left_follows_the_last_seconds_and_moves_while_nothing_comes() -> None:
    pace = Pace()
    for second in range(31):
        pace.update(DOWNLOADING, 1_000_000 * second, 60_000_000, float(second))
    assert "1.00 MB/s, 30 s left" in pace.text(30.0)
    for second in range(31, 51):
        pace.update(DOWNLOADING, 30_000_000 + 100_000 * (second - 30), 60_000_000, float(second))
    assert "100 kB/s, 4 min 40 s left" in pace.text(50.0), "what was fast long ago is forgotten"
    assert "50.0 kB/s, 9 min 20 s left" in pace.text(60.0), "nothing came for ten seconds"


def test_a_beginning_that_was_discarded_gives_no_rate() -> None:
    pace = Pace()
    pace.update(DOWNLOADING, 30_000, 40_000, 0.0)
    pace.update(DOWNLOADING, 0, 40_000, 5.0)
    assert pace.text(5.0) == "downloading: 0% of 40.0 kB"


def test_a_line_redraws_itself_while_nothing_comes(terminal, monkeypatch) -> None:
    monkeypatch.setattr("contactsync.commands._progress.TICK_SECONDS", 0.01)
    terminal()
    with ProgressLine() as line:
        line("waiting", 0, 0)
        import time

        end = time.monotonic() + 5
        while sys.stderr.getvalue().count("waiting") < 3 and time.monotonic() < end:
            time.sleep(0.01)
        assert sys.stderr.getvalue().count("waiting") >= 3


def test_each_service_has_a_line(terminal, clock) -> None:
    terminal()
    with ProgressBoard(["work", "club"]) as board:
        board.of("club")(DOWNLOADING, 0, 1000)
        assert sys.stderr.getvalue() == "\r\x1b[Kwork: waiting\n\r\x1b[Kclub: downloading: 0% of 1.00 kB"
        clock[0] += 1
        board.of("work")("evaluating", 0, 8)
        assert sys.stderr.getvalue().endswith(
            "\x1b[1A\r\x1b[Kwork: evaluating: 0% of 8\n\r\x1b[Kclub: downloading: 0% of 1.00 kB"
        )
    assert sys.stderr.getvalue().endswith("\r\x1b[K\x1b[1A\r\x1b[K")


def test_a_line_is_never_wider_than_the_terminal(terminal, clock) -> None:
    shown = terminal()
    with ProgressLine() as line:
        line("x" * 200, 0, 0)
        assert len(shown()) == 79
        assert shown().endswith("…")


@pytest.mark.parametrize("why", ["pipe", "quiet", "dumb"])
def test_nothing_without_a_terminal_or_if_it_is_unwanted(why, monkeypatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO() if why == "pipe" else Terminal())
    monkeypatch.setenv("TERM", "dumb" if why == "dumb" else "xterm")
    with ProgressLine(quiet=why == "quiet") as line:
        line("evaluating", 1, 10)
    assert sys.stderr.getvalue() == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (999.6, "1.00 kB"),
        (1_240_000, "1.24 MB"),
        (12_400_000, "12.4 MB"),
        (999_600_000, "1.00 GB"),
        (5e15, "5000 TB"),
    ],
)
def test_octets(count, text) -> None:
    assert octets(count) == text


def test_duration() -> None:
    assert [duration(s) for s in (0.4, 59, 61, 3599, 5940)] == [
        "0 s",
        "59 s",
        "1 min 1 s",
        "59 min 59 s",
        "1 h 39 min",
    ]
