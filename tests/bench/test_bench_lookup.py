"""The bench of look-ups measures what it says: every case once, with its peers, and sizes that are exact."""

import json
import re
import sys

import numpy as np
import pytest

from bench import lookup, lookup_costs, lookup_editions, lookup_modes, lookup_peers
from bench.harness import Contender
from contactsync.client.core.row_lookups import answer_octets
from contactsync.client.privacy import MODES
from contactsync.directory import build, open_directory
from contactsync.foundation.errors import ChoiceNeeded
from contactsync.lookup.table_file import build_table
from contactsync.server.lookups import OpenRows
from contactsync.tokens import Tokens

COLUMNS = ["case", "n", "ms", "peer", "peer_ms", "ratio"]
SECTIONS = ["", " costs", " goals", " modes", " least", " published"]


@pytest.mark.slow
def test_every_table_of_a_small_edition(monkeypatch):
    monkeypatch.setattr(lookup, "MEMBERS", (100_000,))
    monkeypatch.setattr(lookup_modes, "TABLED", (10_000, 1_000_000))
    tables = lookup.run(quick=True)
    assert list(tables) == [f"lookup{section}" for section in SECTIONS]
    keys = tables["lookup"]
    assert {tuple(row) for row in keys} == {tuple(COLUMNS)}
    assert [row["case"] for row in keys if "AES" not in row["case"]] == [
        "make keys for both servers",
        "expand keys of 2^13 rows",
        "expand keys of 2^13 rows",
    ]
    assert all(row["ms"] > 0 for row in keys)
    for row in keys:
        if row["peer_ms"] is not None:
            assert row["ratio"] == pytest.approx(row["peer_ms"] / row["ms"])
    (costs,) = tables["lookup costs"]
    assert costs["measured"] == "all rows"
    assert costs["rows"] == 2048
    assert min(costs[name] for name in ("server_ms", "each_ms", "client_ms")) > 0
    parts = [value for name, value in costs.items() if name.startswith("of it")]
    assert sum(parts) == pytest.approx(costs["client_ms"])
    assert tables["lookup goals"] == lookup_costs.against_goals([costs])
    for rows in tables.values():
        assert len({tuple(row) for row in rows}) == 1, "one table has the same columns in all rows"


def test_octets_are_those_of_requests_and_answers():
    """Of keys and records as the server reads and writes them, and as a client plans by."""
    members = 100_000
    table = lookup_editions.table(members)
    opened = OpenRows(np.zeros((1, table.layout.block_bytes), np.uint8), table.layout)
    sent, answered = 2 * opened.key_bytes(512), 2 * opened.answer_bytes(512)
    assert lookup_editions.keys_octets(members, 500) == sent
    assert answer_octets(lookup_editions.edition(members), 500) == answered
    assert lookup_editions.download(members, 500, "two-server") == answered + table.level_bytes


def test_the_shape_is_that_of_an_edition_that_was_built(tmp_path):
    members = 50_000
    rng = np.random.default_rng(3)
    tokens = Tokens.from_bytes(rng.integers(0, 256, (members, 10), np.uint8))
    info = build(tmp_path / "d", [tokens])
    with open_directory(tmp_path / "d", expect=info) as directory:
        made = build_table(tmp_path / "rows", {lookup_editions.NAME: directory})
    typical = lookup_editions.table(members)
    assert made.table.slot_bits == typical.slot_bits
    assert abs(made.table.shape.most - typical.shape.most) <= 12
    assert info.file.length == pytest.approx(lookup_editions.directory(members).file.length, rel=1e-3)


@pytest.mark.parametrize("members", [10**5, 10**6])
def test_the_largest_row_is_the_median_of_drawn_ones(members):
    rng = np.random.default_rng(5)
    rows = lookup_editions.table(members).total
    drawn = [rng.poisson(members / rows, rows).max() for _ in range(101)]
    assert abs(np.median(drawn) - lookup_editions.largest_row(members)) <= 1


def test_a_client_finds_every_other_contact_in_each_run():
    client = lookup_costs.Client(100_000, contacts=60)
    assert set(client.run()) == {"plan", "keys", "read"}
    client._expected = ~client._expected
    with pytest.raises(AssertionError, match="found wrongly"):
        client.run()


def test_a_quarter_of_the_rows_is_extrapolated_where_memory_is_short(monkeypatch):
    monkeypatch.setattr(lookup_costs, "available", lambda: 0)
    blocks, quarters = lookup_costs.blocks_in_memory(1_000_000)
    assert (quarters, len(blocks)) == (1, 4096)
    monkeypatch.setattr(lookup_costs.harness, "interleaved", lambda contenders, **_: dict(
        zip(contenders, (5_000.0, 3_000.0, 1_000.0), strict=True)
    ))  # fmt: skip
    alone, together, _ = lookup_costs.at_servers(1_000_000, 0)
    assert (alone, together) == (1 + 4 * 4, 1 + 4 * 2)  # the keys once, the rest four times


def test_goals_are_compared_with_what_was_measured():
    measured = {"up_kB": 80, "down_kB": 801.0, "server_ms": 9.0, "each_ms": 5.0, "client_ms": 50.1}
    rows = lookup_costs.against_goals([{"members": 10**6, **measured}, {"members": 10**7, **measured}])
    held = {(row["members"], row["figure"]): row["holds"] for row in rows}
    assert held == {
        (10**6, "up_kB"): "yes", (10**6, "down_kB"): "no", (10**6, "server_ms"): "yes",
        (10**6, "client_ms"): "no", (10**7, "client_ms"): "no",
    }  # fmt: skip


@pytest.mark.parametrize("members", [10**4, 10**5, 10**6, 10**7, 10**8, 10**9])
def test_what_a_sync_offers_first_is_the_mode_that_the_bench_calls_least(members):
    """`--max-download` lists the modes that cost less, with their sizes."""
    planner = lookup_editions.planner(members, 500)
    with pytest.raises(ChoiceNeeded) as error:
        planner.affordable("download", "all", limit=1)
    offered = re.findall(r"--privacy ([a-z-]+)(?: --partitions all)?: about (\d+)([KM]?);", error.value.hint)
    sizes = {mode: int(n) * {"": 1, "K": 1000, "M": 10**6}[unit] for mode, n, unit in offered}
    whole = lookup_editions.download(members, 500, "download")
    least = min([*sizes, "download"], key=lambda mode: sizes.get(mode, whole))
    assert least == lookup_modes.least(members, 500, later=False)
    if "two-server" in sizes:
        assert next(iter(sizes)) == "two-server", "it is offered before screen mode"
        assert sizes["two-server"] == pytest.approx(
            lookup_editions.download(members, 500, "two-server"), rel=0.01
        )


def test_two_servers_are_least_from_the_number_that_is_stated():
    for later in (False, True):
        stated = lookup_modes.from_which_on(later=later)
        assert lookup_modes.least(stated, 500, later=later) == "two-server"
        assert lookup_modes.least(stated - 1, 500, later=later) != "two-server"
        for factor in (1.01, 1.5, 3, 8):
            assert lookup_modes.least(min(10**9, int(stated * factor)), 500, later=later) == "two-server"


def test_screen_mode_is_never_the_least():
    """docs/lookup.md says so."""
    for members in np.geomspace(10**4, 10**9, 101).astype(np.int64).tolist():
        assert lookup_modes.least(members, 500, later=False) != "screen"


def test_sizes_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    sizes = lookup_modes.curve((10**4, 10**6))
    assert all(row[f"{mode}, first"] > 0 for row in sizes for mode in MODES)
    costs = [{"members": 10**6, "server_ms": 1.0, "each_ms": 0.5, "client_ms": 9.0}]
    lookup_modes.plot(sizes, costs, str(tmp_path / "plot.png"))
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_an_absent_peer_is_said_to_be_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "sycret", None)
    assert lookup_peers.sycret_contenders(4, 8) is None
    monkeypatch.setattr(lookup.harness, "interleaved", lambda contenders, **_: dict.fromkeys(contenders, 1e3))
    rows = lookup.keys(0)
    assert [row["peer"] for row in rows[:3]] == [
        "sycret: not installed", "OpenSSL, level by level", "sycret: not installed",
    ]  # fmt: skip
    assert [row["peer_ms"] for row in rows[:3]] == [None, 1.0, None]


def test_a_peer_whose_shares_do_not_add_up_is_refused(monkeypatch):
    class Broken:
        def __init__(self, n_threads):
            self.alpha = lambda one, _other: np.arange(len(one), dtype=np.uint32)
            self.keygen = lambda many: (np.zeros((many, 3), np.uint8),) * 2
            self.eval = lambda _party, points, _keys, n_threads: np.zeros(len(points), np.int64)

    class Whole(Broken):
        def __init__(self, n_threads):
            super().__init__(n_threads)
            self.eval = lambda party, points, _keys, n_threads: (
                (points == np.arange(len(points))) * (1 - party)
            )

    for factory, good in ((Broken, False), (Whole, True)):
        monkeypatch.setitem(sys.modules, "sycret", type("Package", (), {"EqFactory": factory}))
        if good:
            found = lookup_peers.sycret_contenders(4, 8)
            assert {name: one.items for name, one in found.items()} == {
                "sycret makes": 4,
                "sycret expands": lookup_peers._FEW,
            }
            assert all(isinstance(one, Contender) for one in found.values())
        else:
            with pytest.raises(AssertionError, match="do not add up"):
                lookup_peers.sycret_contenders(4, 8)


def test_tables_are_written_as_json_and_into_the_document(tmp_path, monkeypatch):
    def run(*, quick, large):
        return {
            "lookup": [lookup._row(f"{quick} {large}", 1, 2.0, peer="b", peer_ms=4.0)],
            "lookup goals": [{"members": 7}],
        }

    monkeypatch.setattr(lookup, "run", run)
    document = tmp_path / "lookup.md"
    document.write_text(
        "a\n<!-- bench lookup_rows -->\nb\n<!-- end lookup_rows -->\n"
        "<!-- bench lookup -->\n<!-- end lookup -->\n"
        "<!-- bench lookup goals -->\n<!-- end lookup goals -->\n"
    )
    lookup.main(["--quick", "--json", str(tmp_path / "rows"), "--markdown", str(document)])
    expected = dict(zip(COLUMNS, ["True False", 1, 2.0, "b", 4.0, 2.0], strict=True))
    assert json.loads((tmp_path / "rows").read_text()) == [
        {"table": "lookup", **expected},
        {"table": "lookup goals", "members": 7},
    ]
    text = document.read_text()
    assert "| True False | 1 | 2 | b | 4 | 2 |" in text
    assert "<!-- bench lookup goals -->\n| members |\n| ---: |\n| 7 |\n" in text
    assert "b\n<!-- end lookup_rows -->" in text
