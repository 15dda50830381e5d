"""That the bench of a publish after a few changes runs, and that its steps add up."""

from bench import changes


def test_the_steps_add_up(tmp_path):
    with changes.without_engine():
        first, row = changes.run(tmp_path / "data", 2000, [(3, 2)], 1)
    assert (first["members"], first["joined"], first["left"]) == (2000, 2000, 0)
    assert (row["members"], row["joined"], row["left"]) == (2000, 3, 2)
    assert sum(row[step] for step in (*changes.STEPS, "rest")) <= row["whole_s"] * 1.001
    assert all(row[step] > 0 for step in changes.STEPS if step != "screen")
    assert row["screen"] == 0, "so few have none"
