"""Migrations by made-up steps: whole or not at all, killed in the middle, by two processes at once."""

import contextlib
import fcntl
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from contactsync.foundation import databases, migrations
from contactsync.foundation.errors import OurError

WHAT = "the database"


def create(db):
    databases.run_script(db, "CREATE TABLE t (a INTEGER); -- of version 3\nINSERT INTO t VALUES (3);\n")


def to_2(db):
    db.execute("ALTER TABLE t ADD COLUMN b INTEGER")
    db.execute("UPDATE t SET b = a + 1")


def to_3(db):
    db.execute("INSERT INTO t VALUES (7, 8)")


STEPS = [to_2, to_3]


@contextlib.contextmanager
def connect(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


@pytest.fixture
def path(tmp_path):
    """A database of version 1."""
    path = tmp_path / "db"
    with connect(path) as db:
        db.executescript("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1); PRAGMA user_version = 1;")
    return path


def content(db):
    return db.execute("PRAGMA user_version").fetchone()[0], db.execute("SELECT * FROM t").fetchall()


def test_a_database_is_brought_up_once(path):
    with connect(path) as db:
        assert databases.migrate_sqlite(db, WHAT, STEPS) == 1
        assert content(db) == (3, [(1, 2), (7, 8)])
        assert databases.migrate_sqlite(db, WHAT, STEPS) == 3
        assert content(db) == (3, [(1, 2), (7, 8)])


def test_a_new_database_begins_with_the_newest_version(tmp_path):
    with connect(tmp_path / "new") as db:
        for _ in range(2):
            databases.open_sqlite(db, WHAT, create, STEPS)
            assert content(db) == (3, [(3,)])


def test_open_migrates_too(path):
    with connect(path) as db:
        databases.open_sqlite(db, WHAT, create, STEPS)
        assert content(db) == (3, [(1, 2), (7, 8)])


def test_a_step_that_fails_leaves_the_version_before(path):
    def fails(db):
        to_3(db)
        raise ZeroDivisionError

    with connect(path) as db:
        with pytest.raises(ZeroDivisionError):
            databases.migrate_sqlite(db, WHAT, [to_2, fails])
        assert content(db) == (2, [(1, 2)])
        databases.migrate_sqlite(db, WHAT, STEPS)
        assert content(db) == (3, [(1, 2), (7, 8)])


def test_a_step_that_ends_its_transaction_is_a_mistake_in_the_program(path):
    with connect(path) as db, pytest.raises(AssertionError, match="ended the transaction"):
        databases.migrate_sqlite(db, WHAT, [lambda db: db.executescript("DELETE FROM t;")])


def test_a_script_is_part_of_the_transaction(path):
    def step(db):
        databases.run_script(db, "DELETE FROM t; -- all\nINSERT INTO t\n  VALUES (5);\n\n-- done\n")
        assert db.in_transaction
        raise ZeroDivisionError

    with connect(path) as db:
        with pytest.raises(ZeroDivisionError):
            databases.migrate_sqlite(db, WHAT, [step])
        assert content(db) == (1, [(1,)])


@pytest.mark.parametrize("version", [4, -1])
def test_another_version_is_refused_with_a_way_out(path, version):
    with connect(path) as db:
        db.execute(f"PRAGMA user_version = {version}")
        for open_it in (
            lambda: databases.migrate_sqlite(db, WHAT, STEPS),
            lambda: databases.open_sqlite(db, WHAT, create, STEPS),
        ):
            with pytest.raises(OurError, match="the database") as raised:
                open_it()
            assert "update contactsync" in raised.value.hint or "backup" in raised.value.hint
        assert content(db) == (version, [(1,)])


def test_a_database_of_something_else_is_not_taken_for_a_new_one(tmp_path):
    with connect(tmp_path / "db") as db:
        db.execute("CREATE TABLE theirs (x)")
        with pytest.raises(OurError, match="no valid version"):
            databases.open_sqlite(db, WHAT, create, STEPS)
        assert not db.in_transaction


def test_two_programs_at_once_of_which_the_other_is_newer(path):
    """It is noticed also when the other one comes in between."""

    with connect(path) as db:

        class Between(list):
            def __getitem__(self, at):
                with connect(path) as other:
                    other.execute("PRAGMA user_version = 9")
                return super().__getitem__(at)

        with pytest.raises(OurError, match="version 9"):
            databases.migrate_sqlite(db, WHAT, Between(STEPS))
        assert content(db) == (9, [(1,)])


DATABASE = """
import os, pathlib, signal, sqlite3, sys, time
sys.path.insert(0, {tests!r})
from test_migrations import STEPS, WHAT, connect, content, create, to_2
from contactsync.foundation import databases, migrations
path = sys.argv[1]

def slow(db):
    STEPS[1](db)
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.3)

with connect(path) as db:
    print("ready", flush=True)
    sys.stdin.readline()
    databases.open_sqlite(db, WHAT, create, [to_2, slow])
"""


def start(script, *arguments):
    script = script.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"ready\n"
    return process


def test_killed_in_the_middle_it_goes_on_from_there(path):
    with start(DATABASE, path, "kill") as process:
        process.communicate(b"\n")
        assert process.returncode == -signal.SIGKILL
    with connect(path) as db:
        assert content(db) == (2, [(1, 2)])
        databases.migrate_sqlite(db, WHAT, STEPS)
        assert content(db) == (3, [(1, 2), (7, 8)])


@pytest.mark.slow
@pytest.mark.parametrize("new", [False, True])
def test_two_processes_at_once(path, new):
    if new:
        path.unlink()
    processes = [start(DATABASE, path, "wait") for _ in range(3)]
    for process in processes:
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        with process:
            process.communicate()
            assert process.returncode == 0
    with connect(path) as db:
        assert content(db) == ((3, [(3,)]) if new else (3, [(1, 2), (7, 8)]))


# Folders


def add_file(folder, record):
    (folder / "added").write_text(record["name"])
    return record


def rename_name(folder, record):
    return {"title": record["name"]}


FOLDER_STEPS = [add_file, rename_name]


@contextlib.contextmanager
def locked(folder):
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "record.json").write_text('{"version": 1, "name": "x"}')
    return folder


def migrate(folder, steps=FOLDER_STEPS):
    return migrations.migrate_folder(folder, "record.json", "the folder", steps, lambda: locked(folder))


def test_a_folder_is_brought_up(folder):
    for _ in range(2):
        assert migrate(folder) == {"version": 3, "title": "x"}
        assert json.loads((folder / "record.json").read_bytes()) == {"version": 3, "title": "x"}
        assert (folder / "added").read_text() == "x"


def test_a_folder_of_the_newest_version_is_neither_locked_nor_written(folder):
    before = (folder / "record.json").stat().st_mtime_ns
    migrate(folder, [])
    assert [path.name for path in folder.iterdir()] == ["record.json"]
    assert (folder / "record.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("version", [4, None, 0, True, "1"])
def test_a_folder_of_another_version_is_refused(folder, version):
    text = json.dumps({"version": version})
    (folder / "record.json").write_text(text)
    with pytest.raises(OurError, match="the folder"):
        migrate(folder)
    assert (folder / "record.json").read_text() == text


@pytest.mark.parametrize("text", ["", "[]", "\xff"])
def test_a_folder_whose_record_is_no_record(folder, text):
    (folder / "record.json").write_text(text, "latin-1")
    with pytest.raises(ValueError, match=r".*"):
        migrate(folder)


FOLDER = """
import os, pathlib, signal, sys, time
sys.path.insert(0, {tests!r})
from test_migrations import FOLDER_STEPS, add_file, migrate

def step(folder, record):
    with (folder / "log").open("a") as log:
        log.write("x")
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return FOLDER_STEPS[1](folder, record)

print("ready", flush=True)
sys.stdin.readline()
assert migrate(pathlib.Path(sys.argv[1]), [add_file, step])["title"] == "x"
"""


def test_a_folder_killed_in_the_middle_goes_on(folder):
    with start(FOLDER, folder, "kill") as process:
        process.communicate(b"\n")
        assert process.returncode == -signal.SIGKILL
    assert json.loads((folder / "record.json").read_bytes()) == {"version": 2, "name": "x"}
    assert migrate(folder) == {"version": 3, "title": "x"}


@pytest.mark.slow
def test_two_processes_at_one_folder(folder):
    processes = [start(FOLDER, folder, "wait") for _ in range(3)]
    for process in processes:
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        with process:
            process.communicate()
            assert process.returncode == 0
    assert (folder / "log").read_text() == "x"  # one of them did it, once
    assert migrate(folder) == {"version": 3, "title": "x"}


def test_a_record(tmp_path):
    def step(record):
        return {**record, "b": record["a"] + 1}

    record = {"layout": 1, "a": 1}
    assert migrations.migrate_record(record, "it", [step], key="layout") == {"layout": 2, "a": 1, "b": 2}
    assert record == {"layout": 1, "a": 1}
    with pytest.raises(OurError, match="it has version 3"):
        migrations.migrate_record({"layout": 3}, "it", [step], key="layout")
