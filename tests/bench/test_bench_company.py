"""The bench of requests that wait together: a row for each number of them, against one by one."""

import subprocess
import sys

import pytest

from bench import company
from contactsync.kernels.policy import lanes


@pytest.mark.slow
def test_rows():
    rows = company.rows(0)
    assert [row["waiting"] for row in rows] == [1, 4, 16, 64]
    assert all(row["us_request"] > 0 and row["points_each"] == 8 for row in rows)
    assert len({row["one_by_one_us"] for row in rows}) == 1
    for row in rows:
        assert row["ratio"] == pytest.approx(row["one_by_one_us"] / row["us_request"])
        goal = row["waiting"] >= 16
        assert row["goal_us"] == (130 if goal else None)
        judged = ("yes" if row["us_request"] <= 130 else "no") if lanes() > 1 else "not of this CPU"
        assert row["holds"] == (judged if goal else None)


def test_it_is_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "bench", "company", "--help"], capture_output=True, text=True, check=True
    )
    assert "python -m bench company" in done.stdout
