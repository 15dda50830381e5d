"""That the bench of publishing runs, and that what a publish does besides evaluating stays small."""

import subprocess
import sys
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from bench import changes, publishing
from contactsync.foundation.errors import OurError
from contactsync.kernels.policy import lanes
from contactsync.server.storage.postgres.creating import create_stores_in


@pytest.mark.slow
def test_a_publish_costs_little_more_than_the_engine(tmp_path):
    """Of CPU time, which others on the machine disturb least."""
    rows = publishing.run(tmp_path, [200_000 if lanes() > 1 else 20_000], 3, 2)
    assert {row["of"] for row in rows} == {"CPU", "wall"}
    assert min(row["ratio"] for row in rows if row["of"] == "CPU") < 1.5


def yardstick():
    """Seconds of CPU for a thousandth of a piece of plain Python: machines differ by a factor of two."""

    def piece():
        begin = time.thread_time()
        sum(len(str(number).encode()) for number in range(1000))
        return time.thread_time() - begin

    return min(piece() for _ in range(50)) / 1000


@pytest.mark.slow
@pytest.mark.parametrize(("store", "most"), [("sqlite", 45), ("postgres", 85)])
def test_what_a_publish_does_besides_is_small(tmp_path, database, store, most):
    """CPU for each member in yardsticks, without the engine: on most machines it hides all else.

    It is about 25 with files, and 35 to 55 with PostgreSQL and all of its processes.
    """
    there = publishing.Database(database()) if store == "postgres" else None
    everyone, found, sticks = publishing.members(200_000, 1), [], []

    with changes.without_engine():
        for _ in range(3):
            sticks.append(yardstick())
            cpu, _ = publishing._publish(tmp_path / "data", everyone, 2, there)
            found.append(cpu / len(everyone))
    print(f"{min(found) * 1e6:.2f} µs, {min(found) / min(sticks):.1f} yardsticks")
    assert min(found) < most * min(sticks)


@pytest.mark.slow
def test_the_same_with_postgresql(tmp_path, database):
    """The CPU time of the database counts, and nothing stays in it."""
    there = publishing.Database(database())
    there.cpu = iter(range(0, 4000, 1000)).__next__
    rows = publishing.run(tmp_path, [500], 1, 2, there)
    assert [row["of"] for row in rows] == ["CPU", "wall"] * 2
    assert all((row["ours_us"] * 500 > 1000e6) is (row["of"] == "CPU") for row in rows)
    create_stores_in(there.address)


@pytest.mark.slow
def test_time_of_a_database_is_that_of_all_its_processes(database):
    import psycopg

    there = publishing.Database(database())
    before = there.cpu()
    with psycopg.connect(there.url) as connection:
        connection.execute("SELECT count(*) FROM generate_series(1, 3000000)")
        while_it_lives = there.cpu()
    assert before + 0.1 < while_it_lives <= there.cpu()
    with psycopg.connect(there.url) as connection:
        connection.execute("SELECT 1")
    assert there.cpu() >= while_it_lives, "what an ended process has taken still counts"


def test_a_database_of_another_machine_is_refused(monkeypatch):
    """Its processes have numbers that here are those of others, or of nobody."""
    from contactsync.server.storage.postgres import creating

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        for pid in (other.pid, 2**22 + 1):
            answer = SimpleNamespace(fetchone=lambda pid=pid: (pid,))
            connection = nullcontext(SimpleNamespace(execute=lambda _, answer=answer: answer))
            monkeypatch.setattr(creating, "connected", lambda _, connection=connection: connection)
            with pytest.raises(OurError, match="not on this machine"):
                publishing.Database("postgresql://somebody@db.test/contacts")
        other.communicate(b"\n")
