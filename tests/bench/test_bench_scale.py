"""The bench of the whole way counts what it says, and goes on where it was killed."""

import io
import json

import pytest

from bench import scale
from contactsync.server.members import read_members


def test_numbers_are_distinct_and_all_are_read():
    for plan in scale.PLANS:
        some = list(scale.numbers(plan, 0, 1000)) + list(
            scale.numbers(plan, 10 ** plan[1] - 1000, 10 ** plan[1])
        )
        assert len({*some}) == 2000
        text = "".join(f"{one}\n" for one in some).encode()
        read = [batch.keys for batch in read_members(io.BytesIO(text), None, "f", pytest.fail)]
        assert sum(keys.size for keys in read) == 2000
    assert sum(plan[2] for plan in scale.PLANS) == 10
    assert all(scale.MOST // 10 * plan[2] <= 10 ** plan[1] for plan in scale.PLANS)


def test_a_table_has_all_members_once(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "CHUNK", 100)
    scale.write_table(tmp_path / "table", 1230)
    head, *rows = (tmp_path / "table").read_text().splitlines()
    assert (head, len(rows), len({*rows})) == ("phone", 1230, 1230)
    expected = {one for plan in scale.PLANS for one in scale.numbers(plan, 0, 123 * plan[2])}
    assert {*rows} == expected


def test_what_a_step_took_before_it_was_killed_counts(tmp_path):
    (tmp_path / "data").mkdir()
    state = tmp_path / "steps"
    state.write_text(json.dumps({"one": {"s": 100.0, "cpu_s": 50.0, "peak_MiB": 7, "done": False}}))
    steps = scale.Steps(state, tmp_path / "data")
    steps.run("one", ["-c", "x = bytearray(64 << 20); import time; time.sleep(1.2)"])
    row = json.loads(state.read_text())["one"]
    assert row["done"]
    assert row["s"] > 101
    assert 50 <= row["cpu_s"] < 60
    assert row["peak_MiB"] >= 64
    steps.run("one", ["-c", "raise SystemExit(1)"])  # it is done
    with pytest.raises(SystemExit, match="two failed"):
        steps.run("two", ["-c", "raise SystemExit(1)"])


@pytest.mark.slow
def test_the_whole_way(tmp_path, capsys):
    rows = tmp_path / "rows"
    scale.main(["--members", "2000", "--json", str(rows), "--folder", str(tmp_path / "f")])
    found = {row["step"]: row for row in json.loads(rows.read_text())}
    assert list(found) == ["import", "publish", "sync, screen", "sync, download", "serve"]
    assert {tuple(row) for row in found.values()} == {("members", "step", *scale.FOUND)}
    assert all(found[step]["peak_MiB"] > 10 for step in ("import", "publish", "serve"))
    assert found["sync, download"]["received_MB"] > 0
    assert found["publish"]["public_MB"] > found["import"]["public_MB"]
    scale.main(["--members", "2000", "--folder", str(tmp_path / "f")])  # nothing is done again
    assert "sync, download" in capsys.readouterr().out


def test_rows_of_other_runs_are_added_and_drawn(tmp_path, monkeypatch, capsys):
    def rows_of(count):
        figures = dict.fromkeys(scale.FOUND, float(count))
        return [{"members": count, "step": step, **figures} for step in ("import", "publish", "serve")]

    monkeypatch.setattr(scale, "run", lambda folder, count, *, engine: rows_of(count))
    other, own, drawn = (tmp_path / name for name in ("other", "own", "plot.png"))
    other.write_text(json.dumps(rows_of(50)))
    document = tmp_path / "document.md"
    document.write_text("<!-- bench scale -->\n<!-- end scale -->\n")
    where = ["--folder", str(tmp_path / "f"), "--json", str(own), "--markdown", str(document)]
    scale.main(["--members", "20", *where, "--with", str(other), "--plot", str(drawn)])
    assert [row["members"] for row in json.loads(own.read_text())] == [20] * 3
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:7]] == ["20"] * 3 + ["50"] * 3
    assert document.read_text().count("\n| 50 | ") == 3
    assert drawn.read_bytes().startswith(b"\x89PNG")


def test_without_the_engine_nothing_is_served(tmp_path, capsys):
    scale.main(["--members", "100", "--no-engine", "--folder", str(tmp_path / "f")])
    said = capsys.readouterr().out
    assert "publish, no engine" in said
    assert "without the engine" in said
    assert "serve" not in said
