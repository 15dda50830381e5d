"""What docs/privacy-officer.md says is stored is all that is stored, and the commands it names exist."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import click
import pytest

from contactsync.commands import main
from contactsync.server.storage.postgres.schema import SCHEMAS
from contactsync.server.storage.sqlite.accounts import SqliteAccounts
from contactsync.server.storage.sqlite.members import SqliteMembers

PAGE = (Path(__file__).parents[1] / "docs" / "privacy-officer.md").read_text("utf-8")

# How the page calls the columns of the tables with data of persons.
WORDS = {
    "members_*": {
        "key": "number (or other identifier)",
        "audiences": "audiences",
        "added": "day added",
        "verified": "day last verified",
        "since": "number of the last change",
    },
    "tokens_*": {"audience": "", "epoch": "each epoch", "key": "", "token": "token"},
    "labels_*": {"key": "", "label": "label"},
    "label_changes_*": {
        "audience": "audience",
        "epoch": "epoch",
        "partition": "",
        "key": "number (or other identifier)",
        "serial": "since the last edition",
    },
    "pairs": {"tel": "number", "mail": "address"},
    "consents_*": {
        "key": "",
        "serial": "",
        "audience": "",
        "at": "when",
        "granted": "what",
        "source": "source",
        "made_by": "by whom",
    },
    "accounts": {
        "id": "",
        "name": "name that you chose",
        "audience": "audience",
        "added": "day added",
        "class": "class",
        "burst": "quota",
        "per_day": "quota",
        "last_used": "day last used",
        "level": "quota",
        "at": "time of the last charge",
        "outcome": "",
        "epoch": "",
        "epoch_points": "in the epoch",
        "granted": "grants",
        "granted_at": "grants",
        "granted_before": "grants",
        "batches": "batches",
        "full_batches": "batches",
        "points_today": "points in all, in the epoch and today",
        "points_total": "points in all, in the epoch and today",
        "refused": "refusals",
    },
    "credentials": {"hash": "SHA-256", "account": "", "until": "over"},
    "batches": {"account": "", "slot": "", "batch": "keyed 128-bit hash", "at": "a day"},
}


def as_told(table):
    return re.sub(r"_(tel|mailto)$", "_*", table)


@pytest.fixture(scope="module")
def columns(tmp_path_factory):
    """Table, as the page calls it → its columns."""
    folder = tmp_path_factory.mktemp("stores")
    with closing(SqliteMembers.create(folder / "registry.sqlite")):
        pass
    with closing(SqliteAccounts.create(folder / "accounts.sqlite")):
        pass
    found = {}
    for name in ("registry.sqlite", "accounts.sqlite"):
        with closing(sqlite3.connect(folder / name)) as database:
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
                if not table.startswith("sqlite_"):
                    found[as_told(table)] = {
                        row[1] for row in database.execute(f"PRAGMA table_info({table})")
                    }
    return found


def row_of(table):
    (row,) = [line for line in PAGE.split("\n") if line.startswith("|") and f"`{table}`" in line]
    return row


def test_every_table_of_a_store_is_on_the_page(columns):
    postgres = {name for schema in SCHEMAS for name in re.findall(r"CREATE TABLE (\w+)", schema.script)}
    for table in columns.keys() | postgres:
        assert row_of(table), table


def test_no_column_about_a_person_is_left_out(columns):
    for table, words in WORDS.items():
        assert columns[table] == words.keys(), table
        for word in words.values():
            assert word in row_of(table), (table, word)


def test_the_commands_on_the_page_exist():
    groups = {"audit": ["audit"], "members": ["server", "members"], "server": ["server"]}
    groups |= {"accounts": ["server", "accounts"]}
    named = set(re.findall(r"`(audit|members|server|accounts) (\w+)", PAGE))
    assert len(named) > 10
    for group, name in named:
        command: click.Command = main
        for step in (*groups[group], name):
            assert isinstance(command, click.Group)
            found = command.get_command(click.Context(command), step)
            assert found is not None, (group, name)
            command = found
