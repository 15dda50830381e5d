"""That the simulated day runs, that all its answers are right, and that it would say so if not."""

import pytest

from bench import day

pytestmark = pytest.mark.slow


@pytest.fixture
def small(monkeypatch):
    for name in ("STAYING", "CHANGING", "STRANGERS"):
        monkeypatch.setattr(day, name, 20)


@pytest.mark.usefixtures("small")
def test_every_answer_of_the_day_is_right(tmp_path):
    found, changes = day.run(tmp_path, 3000, 0.05, 5, 4, 1)
    assert (found.wrong, changes) == (0, 30)
    counts = {row["what"]: row["n"] for row in found.rows()}
    assert (counts["first publish"], counts["edition"]) == (1, 5)
    assert (counts["download, first sync"], counts["screen, first sync"]) == (1, 3)
    assert counts["download, later sync"] + counts["screen, later sync"] >= 4
    assert all(row["s"] <= row["most_s"] for row in found.rows())


@pytest.mark.usefixtures("small")
def test_an_answer_that_is_late_would_be_found(tmp_path, monkeypatch):
    """An edition that nobody publishes: clients see the one before."""
    real = day._published
    calls = iter(range(9))
    monkeypatch.setattr(
        day, "_published", lambda *of: real(*of) if next(calls) < 3 else {"s": 0.0, "cpu_s": 0.0, "files": 0}
    )
    found, _ = day.run(tmp_path, 3000, 0.05, 5, 4, 1)
    assert found.wrong > 0
