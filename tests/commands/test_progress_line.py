"""The line on the terminal: what is done, how fast, and what is left."""

import io

import pytest

from contactsync.commands._output import ProgressLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("contactsync.commands._output.time.monotonic", lambda: now[0])
    return now


def test_stage_rate_and_time_left(monkeypatch, clock) -> None:
    monkeypatch.setattr("sys.stderr", Terminal())
    import sys

    def shown() -> str:
        return sys.stderr.getvalue().rpartition("\r\x1b[K")[2]

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
        clock[0] += 5
        line("evaluating", 250_001, 100_000_000)
        assert shown().endswith("1 h 39 min left")
        line("collecting", 500, 0)
        assert shown() == "collecting: 500"
        clock[0] += 10
        line("collecting", 1500, 0)
        assert shown() == "collecting: 1,500, 100 a second"
    assert shown() == "", "wiped"


def test_nothing_without_a_terminal(capsys) -> None:
    with ProgressLine() as line:
        line("evaluating", 1, 10)
    assert capsys.readouterr().err == ""
