"""The bench of the server measures what it says: answers that are right, of contenders that do the work."""

import json

import pytest
from voprf import ristretto

from bench import harness, peer_server, server
from contactsync.voprf.client import blind

COLUMNS = [
    *("case", "n", "connections", "workers", "requests_s", "points_s", "cpu_us_request"),
    *("p50_ms", "p99_ms", "peer", "ratio"),
]


def test_the_peer_evaluates_and_proves():
    clients, blinded = zip(*(ristretto.Client.blind(b"%d" % i) for i in range(8)), strict=True)
    reply = peer_server.evaluate(b"".join(one.serialize() for one in blinded))
    output = ristretto.VerifiableBatchOutput.deserialize(reply)
    key = peer_server._EVALUATOR.public_key
    outputs = ristretto.Client.finalize_batch(list(clients), output, key)
    assert [bytes(one) for one in outputs] == [
        bytes(peer_server._EVALUATOR.evaluate_known_input(b"%d" % i)) for i in range(8)
    ]


@pytest.mark.slow
def test_all_contenders_answer(tmp_path):
    pool = blind([b"%d" % i for i in range(16)]).blinded
    with server._servers(tmp_path, 1) as servers:
        rows = [
            row
            for case in (
                server.Case(8, 2, peers=True),
                server.Case(65, 2, peers=True),
                server.Case(8, 2, keep=False, one_account=True),
            )
            for row in server.rows_of(servers, case, 0.4, pool)
        ]
        hard = server.Case(65, 2, overload=True)
        row = server.overloaded(servers[0], hard, rows, 0.4, pool)
        assert (row["case"], row["peer"]) == ("4 times what can be done", server.BEST)
        assert row["ratio"] == pytest.approx(row["requests_s"] / rows[3]["requests_s"])
        assert all(one.memory() > 10 for one in servers)
    assert {tuple(row) for row in rows} == {tuple(COLUMNS)}
    assert [row["peer"] for row in rows] == [None, server.SAME, server.LEAN] * 2 + [None]
    assert all(row["points_s"] == row["requests_s"] * row["n"] > 0 for row in rows)
    assert all(0 < row["p50_ms"] <= row["p99_ms"] for row in rows)
    assert all(0 < row["cpu_us_request"] < 1e6 for row in rows)
    ours, theirs = rows[3:5]
    assert theirs["ratio"] == pytest.approx(ours["requests_s"] / theirs["requests_s"])
    assert rows[-1]["case"] == "new connections, one account"


def test_the_cases_are_those_that_were_asked_for():
    asked = {
        (one.points, one.connections)
        for one in server.ALL
        if one.keep and not (one.one_account or one.overload)
    }
    assert asked == {(n, count) for n in (8, 64, 512, 4096) for count in (1, 8, 64, 256, 1000)}
    assert {one.keep for one in server.QUICK} == {True, False}


def test_quick_is_within_its_minute():
    """By what it plans, however slow the machine is. With the starts of the servers, it is a minute."""
    assert server.WORKERS == (1, 2)
    assert 20 < server.most_seconds(quick=True) < 50
    assert server.most_seconds(quick=False) > 600


def test_both_numbers_of_workers_are_measured():
    for quick in (True, False):
        one, two = (server._cases(workers, quick=quick) for workers in (1, 2))
        assert {case.overload for case in one} == {case.overload for case in two} == {True, False}
        assert {case.points for case in two} == {case.points for case in one}


def test_rows_are_written_as_json(tmp_path, monkeypatch, capsys):
    row = dict.fromkeys(COLUMNS, 1) | {"case": "a", "peer": None, "ratio": None}
    monkeypatch.setattr(server, "run", lambda folder, *, quick: ([row | {"n": 1 + quick}], "5 MB"))
    server.main(["--quick", "--json", str(tmp_path / "rows"), "--folder", str(tmp_path)])
    assert json.loads((tmp_path / "rows").read_text()) == [row | {"n": 2}]
    said = capsys.readouterr().out
    assert "5 MB" in said
    assert harness.file_system(tmp_path) in said
