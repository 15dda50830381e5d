"""That the bench of a publish after a few changes runs, and that its steps add up."""

import pytest

from bench import changes


@pytest.mark.parametrize("labels", [False, True])
def test_the_steps_add_up(tmp_path, labels):
    with changes.without_engine():
        first, row = changes.run(tmp_path / "data", 2000, [(3, 2)], 1, labels=labels)
    assert (first["members"], first["joined"], first["left"]) == (2000, 2000, 0)
    assert (row["members"], row["joined"], row["left"]) == (2000, 3, 2)
    assert sum(row[step] for step in (*changes.STEPS, "rest")) <= row["whole_s"] * 1.001
    assert all(row[step] > 0 for step in changes.STEPS if step != "screen")
    assert row["screen"] == 0, "so few have none"
