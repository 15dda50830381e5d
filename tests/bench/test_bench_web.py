"""The bench of the JavaScript client syncs what it says, in Node and in the page."""

import re
import shutil

import numpy as np
import pytest

from bench import web

COLUMNS = ["case", "members", "runs", "ms", "cpu_ms", "least_ms"]


def test_half_of_the_book_are_members():
    rng = np.random.default_rng(3)
    members = web.members_of(10_000, rng)
    assert members.size == np.unique(members).size == 10_000
    assert (np.diff(members.astype(np.int64)) > 0).all()
    assert len({str(one)[:2] for one in members}) == len(web.MOBILE)
    numbers = [int(one) for one in re.findall(r"TEL:\+(\d+)", web.book_of(members, rng))]
    assert len(set(numbers)) == len(numbers) == web.CONTACTS
    assert len(set(numbers) & set(members.tolist())) == web.MATCHED


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node 20")
def test_each_case_finds_everybody(tmp_path):
    web.prepare(tmp_path / "server", 2000)
    rows = web.measure(tmp_path, 2000, 1)
    cases = {"Node, first": 1, "Node, again": 2}
    if not web.Page.lacks():
        cases |= {"page, first": 1, "page, again": 2, "page just opened, again": 1}
    assert {row["case"]: row["runs"] for row in rows} == cases
    assert all(list(row) == COLUMNS for row in rows)
    assert all(0 < row["least_ms"] <= row["ms"] and row["cpu_ms"] > 0 for row in rows)
