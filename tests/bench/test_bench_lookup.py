"""The bench of look-ups measures what it says: every case once, with its peers."""

import json

import pytest

from bench import lookup

COLUMNS = ["case", "n", "ms", "gb_s", "peer", "peer_ms", "ratio"]


@pytest.mark.slow
def test_every_case_of_a_small_directory(monkeypatch):
    monkeypatch.setattr(lookup, "DIRECTORIES", {1_000_000: (1 << 11, 40)})
    rows = lookup.run(quick=True)
    assert {tuple(row) for row in rows} == {tuple(COLUMNS)}
    assert [row["case"] for row in rows if "AES" not in row["case"]] == [
        "make keys for both servers",
        "expand keys of 2^13 rows",
        "answer, 1e6 members, 40 octets a row: one client",
        "answer, 1e6 members, 40 octets a row: 8, each",
    ]
    assert all(row["ms"] > 0 for row in rows)
    for row in rows:
        if row["gb_s"] is not None:
            assert row["gb_s"] == pytest.approx(3 * 2048 * 40 / 1e6 / row["ms"])
        if row["peer"] is not None:
            assert row["ratio"] == pytest.approx(row["peer_ms"] / row["ms"])


def test_rows_are_written_as_json_and_into_the_document(tmp_path, monkeypatch):
    monkeypatch.setattr(
        lookup, "run", lambda *, quick: [lookup._row(f"{quick}", 1, 2.0, peer="b", peer_ms=4.0)]
    )
    document = tmp_path / "lookup.md"
    document.write_text(
        "a\n<!-- bench lookup-rows batch -->\nb\n<!-- end lookup-rows batch -->\n"
        "<!-- bench lookup -->\n<!-- end lookup -->\n"
    )
    lookup.main(["--quick", "--json", str(tmp_path / "rows"), "--markdown", str(document)])
    expected = dict(zip(COLUMNS, ["True", 1, 2.0, None, "b", 4.0, 2.0], strict=True))
    assert json.loads((tmp_path / "rows").read_text()) == [expected]
    text = document.read_text()
    assert "| True | 1 | 2 | - | b | 4 | 2 |" in text
    assert "b\n<!-- end lookup-rows batch -->" in text
