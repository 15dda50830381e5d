"""The bench of quotas measures what it says: charges that are made, requests that are charged or are not."""

import json
from contextlib import closing

import pytest

from bench import harness, quota
from contactsync.server.quota import Terms
from contactsync.server.storage.sqlite.accounts import SqliteAccounts

COLUMNS = ["case", "n", "ours_us", "peer", "peer_us", "ratio"]


@pytest.mark.slow
def test_the_statement_alone_and_in_groups(tmp_path):
    rows = quota._statement(tmp_path, 0, 10)
    assert {tuple(row) for row in rows} == {tuple(COLUMNS)}
    assert [(row["case"], row["n"]) for row in rows] == [
        ("charge, no fsync", 256),
        ("charge alone", 1),
        *(("charge, one transaction of n", n) for n in quota.GROUPS),
    ]
    assert all(row["ours_us"] > 0 for row in rows)
    with closing(SqliteAccounts(tmp_path / "accounts.sqlite")) as store:
        batches = sum(use.batches for use in store.uses())
        assert batches == sum(use.points_total for use in store.uses()) / 8
        assert batches >= 256, "charged, every one"


@pytest.mark.slow
def test_requests_with_and_without_charging(tmp_path, monkeypatch):
    monkeypatch.setattr(quota, "TOGETHER", 2)
    rows = quota._requests(tmp_path, 0)
    assert [(row["case"], row["n"]) for row in rows] == [
        ("request, n points", 8),
        ("request, 2 at once, n points", 8),
        ("request, n points", 512),
        ("request, 2 at once, n points", 512),
    ]
    assert all(row["ratio"] == pytest.approx(row["peer_us"] / row["ours_us"]) for row in rows)


@pytest.mark.slow
def test_what_is_switched_off_charges_nothing(tmp_path):
    service = quota.Service(tmp_path / "server", quota.system_clock, quota.Evaluator(1))
    with service:
        switch = service.app._charging
        switch.__class__ = quota._Switched
        service.add(["a"], Terms("", 16, 1))
        for switch.on, charged in ((False, 0), (True, 8), (False, 8)):
            batch = quota.blind([b"%d" % i for i in range(8)]).blinded.tobytes()
            assert service.ask("a", batch).status == 200
            assert service.accounts.uses("a")[0].points_total == charged


def test_rows_are_written_as_json(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quota, "run", lambda folder, *, quick: [quota._row(f"{quick}", 1, 2.0, "b", 4.0)])
    quota.main(["--quick", "--json", str(tmp_path / "rows"), "--folder", str(tmp_path)])
    assert json.loads((tmp_path / "rows").read_text()) == [
        dict(zip(COLUMNS, ["True", 1, 2, "b", 4, 2], strict=True))
    ]
    assert harness.file_system(tmp_path) in capsys.readouterr().out
