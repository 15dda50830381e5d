"""The bench of refusals refuses, and says what of the server's CPU it counts."""

import pytest

from bench import refusals


@pytest.mark.slow
def test_who_comes_beside_a_full_queue_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(refusals, "CONNECTIONS", (8,))
    (row,) = refusals.run(tmp_path, 1.0)
    assert (row["n"], row["connections"]) == (512, 8)
    assert row["refused_s"] > 20 * row["accepted_s"]
    assert 0 < row["bare_us"] < 1e5
    assert row["more_us"] == row["loop_us"] - row["bare_us"]
    assert row["loop_us"] * row["refused_s"] < 1.2e6, "no more than one thread has"
