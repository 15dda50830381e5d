"""That the bench of imports still runs, and that a member takes no more of the disk than is promised."""

import pytest

from bench import members

PROMISED = 60  # octets a member, with their token; docs/performance.md has what is measured


@pytest.mark.slow
def test_a_member_is_small():
    rows = {row["case"]: row["value"] for row in members.run(200_000, 1)}
    assert 0 < rows["a member"] < rows["a member, with their token"] <= PROMISED
    assert rows["import a table again, nothing new"] > 0


@pytest.mark.slow
def test_the_same_into_postgresql(database):
    rows = {row["case"]: row["value"] for row in members.run_database(20_000, database())}
    assert rows["import a table into PostgreSQL"] > 0
    assert 0 < rows["a member"] < rows["a member, with their token"]
    assert rows["erase one of +1"] > 0
