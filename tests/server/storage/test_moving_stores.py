"""Both stores from files to PostgreSQL and back: everything goes, and nobody notices."""

import json
import os
from contextlib import closing

import pytest
from click.testing import CliRunner
from server_tools import Operator, run

from contactsync.commands import main
from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, OurError
from contactsync.identifiers.kinds import KINDS
from contactsync.library import moving
from contactsync.server.quota import PointQuota, Terms, Verdict
from contactsync.server.settings import DataFolder
from contactsync.server.storage.answers import KeptAnswer
from contactsync.server.storage.archive import read_archive, tables
from contactsync.server.storage.opening import (
    export_stores,
    import_stores,
    open_accounts,
    open_members,
    read_address,
)
from contactsync.server.storage.pairs import Enrolled
from contactsync.server.storage.ports import Charge, Members, NewAccount
from contactsync.server.storage.records import Added, Origin

NUMBERS = (4915112345678, 4915112345679, 14155550100)
MAIL = Members.of([b"mailto:ann@example.org", b"mailto:%C3%BCmit@example.org"])
BATCH = b"batch-of-16-byte"


@pytest.fixture
def folder(tmp_path):
    """A server with something in every table of both stores."""
    operator = Operator(tmp_path / "data")
    with closing(operator):
        operator.add(*NUMBERS)
        store, accounts = operator.registry, operator.accounts
        store.add(MAIL)
        store.consent(MAIL, "business", granted=True, origin=Origin("app", "anna"))
        store.consent(some(0), "business", granted=True, origin=Origin("app", "anna"))
        store.consent(some(1), "business", granted=False, origin=Origin("app", "ännä"))
        keys = KINDS["mailto"].keys_of([b"mailto:anna@example.org"])
        assert store.enrol(some(0), keys.tolist()) == Enrolled(Added(0, 1, 0), ())
        operator.publish()
        operator.add(4915112345680)
        store.label(some(0), ["Ännchen".encode()])
        store.remove(some(2))
        store.answers().keep({b"name": KeptAnswer(b"request", None, 7)})
        accounts.add_all(
            [
                NewAccount("one", "people", "cs_one", Terms("partner", 100, 24)),
                NewAccount("two", "business", "cs_two"),
                NewAccount("gone", "people", "cs_gone"),
            ]
        )
        accounts.rotate("one", "cs_new", 3_600_000)
        accounts.charge([Charge(accounts.find("cs_new").id, 8, BATCH, PointQuota(100, 24))])
        accounts.revoke("gone")
    return operator.folder


def some(*places):
    return Members.of([b"tel:+%d" % NUMBERS[place] for place in places])


def content(path):
    found = {table.name: [] for table in tables()}
    for table, rows in read_archive(path):
        found[table.name] += rows
    return {name: sorted(map(repr, rows)) for name, rows in found.items()}


@pytest.mark.slow
def test_all_of_it_goes_there_and_back(folder, database, tmp_path):
    archives = [tmp_path / name for name in ("first", "second", "third")]
    counts = export_stores(folder, archives[0])
    assert [name for name, n in counts.items() if not n] == [], "every table is tried"
    assert archives[0].stat().st_mode & 0o777 == 0o600
    with closing(open_members(folder)) as members, closing(open_accounts(folder)) as accounts:
        seen = members.show(some(0, 1)), members.provenance(), members.touched(10**9), accounts.uses()
        revision = accounts.revision()
    import_stores(folder, archives[0], read_address(database()))
    os.environ["CONTACTSYNC_DATABASE"] = database()
    try:
        with closing(open_members(folder)) as members, closing(open_accounts(folder)) as accounts:
            assert type(members).__name__ == "PostgresMembers"
            now = members.show(some(0, 1)), members.provenance(), members.touched(10**9), accounts.uses()
            assert now == seen
            assert accounts.revision() == (0, revision)
            charge = Charge(accounts.find("cs_one").id, 8, BATCH, PointQuota(100, 24))
            assert accounts.charge([charge])[0].outcome is Verdict.REPEATED
        export_stores(folder, archives[1])
        for path in folder.path.glob("*.sqlite*"):
            path.unlink()
        import_stores(folder, archives[1], None)
    finally:
        del os.environ["CONTACTSYNC_DATABASE"]
    export_stores(folder, archives[2])
    first, second, third = map(content, archives)
    for name in first:
        assert second[name] == third[name], name
        assert name == "accounts" or first[name] == second[name], name  # the repetition has changed one
    assert {path.stat().st_mode & 0o777 for path in folder.path.glob("*.sqlite")} == {0o600}
    with closing(open_accounts(folder)) as accounts:
        accounts.add("three", "people", "cs_three")
        assert accounts.find("cs_three").id == 4, "the identity of who was revoked is not given again"


@pytest.mark.slow
def test_publish_goes_on_and_clients_see_the_next_edition(database, tmp_path, monkeypatch):
    data, file = tmp_path / "data", tmp_path / "stores"
    run("init", data=data)
    run("members", "add", "+4915112345678", "+14155550100", data=data)
    run("publish", data=data)
    before = {path: path.read_bytes() for path in data.rglob("public/data/*")}
    assert "2 members" in run("export", str(file), data=data)
    monkeypatch.setenv("CONTACTSYNC_DATABASE", database())
    run("import", str(file), data=data)
    text = (data / "server.toml").read_text()
    assert 'database = "postgresql://' in text
    assert (read_address(database()).password or "no password") not in text
    status = json.loads(run("status", "--json", data=data))
    assert (status["pending"], status["warnings"]) == (
        False,
        [one for one in status["warnings"] if "registry" not in one],
    )
    run("publish", data=data)
    assert {path: path.read_bytes() for path in data.rglob("public/data/*")} == before
    run("members", "add", "+4915112345679", data=data)
    report = run("publish", data=data)
    assert "epoch 1, edition 2" in report
    assert "1 evaluated" in report


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cut", "changed", "other", "empty"])
@pytest.mark.parametrize("where", ["files", "database"])
def test_of_a_damaged_file_nothing_is_taken(folder, database, tmp_path, how, where):
    file = tmp_path / "stores"
    export_stores(folder, file)
    data = file.read_bytes()
    place = data.index(b'"app"')
    file.write_bytes(
        {
            "cut": data[: data.rindex(b"\n", 0, -1) + 1],
            "changed": data[:place] + b'"abb"' + data[place + 5 :],
            "other": data.replace(b"stores-2", b"stores-9"),
            "empty": b"",
        }[how]
    )
    before = sorted(path.name for path in folder.path.iterdir())
    other = DataFolder(tmp_path / "other")
    other.create()
    other.finish()
    address = read_address(database()) if where == "database" else None
    with pytest.raises(BadInput) as caught:
        import_stores(other, file, address)
    assert "export" in caught.value.hint
    assert not [*other.path.glob("*.sqlite*")]
    assert not other.settings().database
    assert sorted(path.name for path in folder.path.iterdir()) == before
    export_stores(folder, tmp_path / "again")
    import_stores(other, tmp_path / "again", address)  # nothing is in the way


@pytest.mark.slow
@pytest.mark.parametrize("case", [("rename", "files"), ("write", "files"), ("write", "database")])
def test_an_import_that_fails_at_its_end_leaves_nothing(folder, database, tmp_path, monkeypatch, case):
    """The disk is full when the last file gets its name, or when server.toml is written."""
    file, other, (step, where) = tmp_path / "stores", DataFolder(tmp_path / "other"), case
    export_stores(folder, file)
    other.create()
    other.finish()
    address = read_address(database()) if where == "database" else None
    real = getattr(durable, step)

    def fails(path, *rest, **options):
        if step == "write" and path != other.settings_file:
            return real(path, *rest, **options)
        if step == "rename" and rest[0] != other.accounts:
            return real(path, *rest, **options)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, step, fails)
    with pytest.raises(OurError, match="No space"):
        moving.import_stores(other.path, file, database=database() if address else None)
    assert not [*other.path.glob("*.sqlite*")]
    assert not other.settings().database
    monkeypatch.undo()
    import_stores(other, file, address)
    with monkeypatch.context() as patch:
        patch.setenv("CONTACTSYNC_DATABASE", database() if address else "")
        with closing(open_accounts(other)) as accounts:
            assert accounts.find("cs_one")


@pytest.mark.slow
def test_what_is_there_is_never_overwritten(folder, tmp_path):
    file = tmp_path / "stores"
    export_stores(folder, file)
    with pytest.raises(BadInput, match="already exists"):
        export_stores(folder, file)
    with pytest.raises(BadInput, match="already exists"):
        import_stores(folder, file, None)
    done = CliRunner().invoke(main, ["server", "import", str(file), "--data", str(folder.path)])
    assert done.exit_code == 3
    assert "--files" in done.stderr
    done = CliRunner().invoke(
        main,
        [
            "server",
            "import",
            str(file),
            "--data",
            str(folder.path),
            "--database",
            "postgresql://u:geheim@h/d",
        ],
    )
    assert done.exit_code == 3
    assert "geheim" not in done.stderr
