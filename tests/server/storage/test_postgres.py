"""What is PostgreSQL's own: addresses and passwords, failures, versions, locks, and what it erases."""

import json
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import traceback
from contextlib import closing

import numpy as np
import psycopg
import pytest
from click.testing import CliRunner
from server_tools import run
from store_tools import created

from contactsync.commands import main
from contactsync.foundation.errors import BadInput, OurError
from contactsync.foundation.migrations import newest
from contactsync.identifiers.kinds import KINDS
from contactsync.server.quota import PointQuota, Verdict
from contactsync.server.settings import Busy
from contactsync.server.storage.ports import Charge, Members
from contactsync.server.storage.postgres import schema as schemas
from contactsync.server.storage.postgres.accounts import PostgresAccounts
from contactsync.server.storage.postgres.address import DatabaseUrl, address_of
from contactsync.server.storage.postgres.members import PostgresMembers
from contactsync.server.storage.postgres.rows import binary_rows
from contactsync.server.storage.records import Origin

NUMBERS = [4915112345678, 4915112345679, 14155550100]


def members(*numbers):
    return Members("tel", np.array(sorted(numbers), np.uint64))


@pytest.fixture
def address(database):
    return created(database())


# The address


@pytest.mark.parametrize(
    ("text", "url", "password"),
    [
        ("postgresql://h/d", "postgresql://h/d", None),
        ("postgres://u:p%40w@h:5432/d?sslmode=require", "postgres://u@h:5432/d?sslmode=require", "p@w"),
        ("postgresql://u@h,i:5433/d", "postgresql://u@h,i:5433/d", None),
        ("postgresql:///d?host=/run/pg&password=x%26y", "postgresql:///d?host=%2Frun%2Fpg", "x&y"),
        ("postgresql://u:@[::1]:5432/d", "postgresql://u@[::1]:5432/d", ""),
    ],
)
def test_a_url_is_taken_apart(text, url, password):
    found = DatabaseUrl.parse(text)
    assert (found.url, found.password) == (url, password)
    assert password in {None, ""} or password not in f"{found!r} {found}"


@pytest.mark.parametrize(
    "text",
    ["", "d", "mysql://u:geheim@h/d", "postgresql://u:geheim@h:port/d", "host=h password=geheim",
     "postgresql://u:geheim@h/d#x", "postgresql://u:ge heim@h/d", "postgresql://h/d?sslpassword=geheim"],
)  # fmt: skip
def test_a_url_that_is_none_is_refused_without_being_quoted(text):
    with pytest.raises(BadInput) as caught:
        DatabaseUrl.parse(text)
    assert "heim" not in f"{caught.value} {caught.value.hint}"


def test_the_password_comes_from_a_private_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("CONTACTSYNC_DATABASE", raising=False)
    file = tmp_path / "password"
    file.write_text("ge:heim\nnot this\n")
    file.chmod(0o640)
    with pytest.raises(BadInput, match="read by others"):
        address_of("postgresql://h/d", "password", tmp_path)
    file.chmod(0o600)
    assert address_of("postgresql://h/d", "password", tmp_path).password == "ge:heim"
    with pytest.raises(BadInput, match=r"server\.toml contains the password") as caught:
        address_of("postgresql://u:geheim@h/d", "", tmp_path)
    assert "geheim" not in f"{caught.value} {caught.value.hint}"
    monkeypatch.setenv("CONTACTSYNC_DATABASE", "postgresql://serve:other@i/d")
    assert address_of("postgresql://h/d", "password", tmp_path).url == "postgresql://serve@i/d"


@pytest.mark.slow
def test_a_folder_keeps_the_address_and_never_the_password(database, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    url, data = database(), tmp_path / "data"
    password = DatabaseUrl.parse(url).password
    monkeypatch.setenv("CONTACTSYNC_DATABASE", url)
    run("init", data=data)
    settings = (data / "server.toml").read_text()
    assert f'database = "{DatabaseUrl.parse(url).url}"' in settings
    run("members", "add", "+491511234567", data=data)
    assert "1 member" in run("status", data=data)
    with closing(PostgresMembers(DatabaseUrl.parse(url))) as other, other.publishing():
        done = CliRunner().invoke(main, ["server", "publish", "--data", str(data)])
        assert done.exit_code != 0
        assert "another process is publishing from this database: contactsync " in done.stderr
        assert "Traceback" not in done.stderr
    run("publish", data=data)
    receipt = json.loads(run("members", "remove", "+491511234567", "--json", data=data))
    assert receipt["registry"]["erased"]
    assert any("replicas" in copy for copy in receipt["not_covered"])
    said = CliRunner().invoke(main, ["server", "doctor", "--data", str(data)]).stdout
    assert "can be read" in said
    assert not [line for line in said.splitlines() if line.startswith("problem") and "passphrase" not in line]
    assert not [*data.glob("*.sqlite*")]
    for path in data.rglob("*"):
        assert path.is_dir() or not password or password.encode() not in path.read_bytes()
    assert not password or password not in caplog.text


@pytest.mark.slow
def test_nothing_of_postgresql_is_imported_for_a_folder_without(tmp_path):
    script = (
        "import sys; from pathlib import Path; from contactsync.library.server import Server;"
        "Server.create(Path(sys.argv[1])).status();"
        "assert not [name for name in sys.modules if 'psycopg' in name or 'postgres' in name]"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "data"], check=True, env=os.environ)


# Failures


@pytest.mark.slow
def test_an_error_quotes_no_row_and_keeps_no_cause(address):
    with closing(PostgresMembers(address)) as store:
        store.add(members(*NUMBERS))
        for statement in (
            f"INSERT INTO members_tel SELECT * FROM members_tel WHERE key = {NUMBERS[0]}",
            f"SELECT '{NUMBERS[0]}x'::bigint",
            f"SELECT FROM no_such_table WHERE key = {NUMBERS[0]}",
        ):
            with pytest.raises(OurError) as caught:
                store._database.change(statement)
            assert str(NUMBERS[0]) not in f"{caught.value} {caught.value.hint}"
            assert str(NUMBERS[0]) not in str(caught.value.__context__)
            assert str(NUMBERS[0]) not in "".join(traceback.format_exception(caught.value)[-3:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"path": "/no_such_database"}, "no such database"),
        ({"password": "wrong"}, "refuses this user"),
        ({"port": 1}, "does not answer"),
        ({"host": "no-such-host.invalid"}, "does not answer"),
    ],
)
def test_an_address_that_is_wrong_is_said_plainly(address, change, said):
    if "password" in change and not address.password:
        pytest.skip("the given server asks for no password")
    parts = psycopg.conninfo.conninfo_to_dict(address.url)
    host, port = change.get("host", parts["host"]), change.get("port", parts["port"])
    path = change.get("path", f"/{parts['dbname']}")
    url = f"postgresql://{parts['user']}@{host}:{port}{path}"
    with pytest.raises(OurError, match=said) as caught:
        PostgresAccounts(DatabaseUrl(url, change.get("password", address.password)), wait=2)
    assert not address.password or address.password not in str(caught.value)
    assert caught.value.hint


# Versions


@pytest.mark.slow
def test_a_newer_version_and_none_at_all_are_refused(database):
    address = created(database())
    with psycopg.connect(database(), autocommit=True) as connection:
        for schema, store in (
            ("contactsync_members", PostgresMembers),
            ("contactsync_accounts", PostgresAccounts),
        ):
            connection.execute(f"UPDATE {schema}.version SET version = 99")
            with pytest.raises(OurError, match="version 99; this contactsync knows") as caught:
                store(address)
            assert "update contactsync" in caught.value.hint
            connection.execute(f"DELETE FROM {schema}.version")
            with pytest.raises(OurError, match="no valid version"):
                store(address)
            connection.execute(f"DROP SCHEMA {schema} CASCADE")
            with pytest.raises(OurError, match="database has no"):
                store(address)


def test_a_database_that_is_in_use_is_refused(database):
    address = created(database())
    with closing(PostgresMembers(address)) as store:
        store.add(members(*NUMBERS))
        with pytest.raises(BadInput, match="already"):
            created(database())
        assert store.count("people") == 3


def test_steps_run_once_and_a_failed_one_leaves_the_version_before(address):
    ran, there = [], newest(schemas.MEMBERS_SCHEMA.steps)

    def first(connection):
        ran.append(1)
        connection.execute("CREATE TABLE of_step_one (x int)")

    def broken(connection):
        connection.execute("CREATE TABLE of_step_two (x int)")
        raise ZeroDivisionError

    def at(*steps):
        before = [lambda _: None] * (there - 1)
        schema = schemas.Schema("contactsync_members", "register", 1, "", (*before, *steps))
        schemas.check_or_migrate(connection, schema)

    with psycopg.connect(address.url, password=address.password, autocommit=True) as connection:
        connection.execute("SET search_path = contactsync_members")
        with pytest.raises(ZeroDivisionError):
            at(first, broken)
        at(first)
        assert ran == [1]
        assert connection.execute("SELECT to_regclass('of_step_two')").fetchone() == (None,)
        at(first, lambda _: ran.append(2))
        assert ran == [1, 2]
        with pytest.raises(OurError, match=f"version {there + 2}"):
            at(first)


def test_accounts_of_version_1_learn_to_exchange_codes(address):
    """The same tables, without the function."""
    with psycopg.connect(address.url, password=address.password, autocommit=True) as connection:
        connection.execute("DROP FUNCTION contactsync_accounts.redeem")
        connection.execute("UPDATE contactsync_accounts.version SET version = 1")
    with closing(PostgresAccounts(address)) as store:
        store.add("old", "people", "cs_old")
        store.add_code("old", "csc_one", 60_000)
        assert store.redeem("csc_one", "cs_page", 60_000).name == "old"


# One publisher


@pytest.mark.slow
def test_the_second_publisher_hears_who_is_the_first(address):
    with closing(PostgresMembers(address)) as one, closing(PostgresMembers(address)) as other:
        with one.publishing():
            with pytest.raises(Busy, match=rf"contactsync .* {os.getpid()} \(user "), other.publishing():
                pass
            other.add(members(*NUMBERS))  # members come and go meanwhile
        with other.publishing():
            pass


@pytest.mark.slow
def test_who_loses_the_lock_with_the_connection_goes_no_further(address):
    with closing(PostgresMembers(address)) as one, closing(PostgresMembers(address)) as other:
        with one.publishing():
            pid = one._database.connection.info.backend_pid
            assert other._database.one(f"SELECT pg_terminate_backend({pid}, 5000)")
            with other.publishing(), pytest.raises(OurError):
                one.settle(one.serial())
        assert one.serial() == 0, "afterwards it connects again"


# Charges


def _charge(address, account, batches, count):
    with closing(PostgresAccounts(address)) as store:
        for batch in batches:
            store.charge([Charge(account, 1, batch, PointQuota(count, 1))])


@pytest.mark.slow
def test_charges_of_many_processes_are_exact(address):
    with closing(PostgresAccounts(address)) as store:
        store.add("one", "people", "cs_one")
        account = store.find("cs_one").id
        batches = [os.urandom(16) for _ in range(60)]
        context = multiprocessing.get_context("spawn")
        # Each batch comes twice, from two processes: half of the charges are repetitions.
        workers = [
            context.Process(target=_charge, args=(address, account, batches[i // 2 :: 2], 50))
            for i in range(4)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        (use,) = store.uses("one")
        assert (use.points_total, use.batches) == (50, 50)


def test_a_change_elsewhere_is_heard_of(address):
    with closing(PostgresAccounts(address)) as here, closing(PostgresAccounts(address)) as elsewhere:
        before, heard = here.revision(), threading.Event()
        assert before is not None
        elsewhere.add("one", "people", "cs_one")
        for _ in range(200):
            if here.revision() not in {before, None}:
                break
            heard.wait(0.01)
        else:
            pytest.fail("not heard of in two seconds")


# Rows


@pytest.mark.slow
def test_many_members_are_as_few(address):
    rng = np.random.default_rng(5)
    keys = np.unique(rng.integers(4915100000000, 4915199999999, 5000).astype(np.uint64))
    with closing(PostgresMembers(address)) as store:
        assert store.add(Members("tel", keys)).new == keys.size, "into a partition that is new"
        more = np.unique(np.append(keys[::2], keys[::2] + np.uint64(1)))
        found = store.add(Members("tel", more))
        assert found.new == np.setdiff1d(more, keys).size
        assert found.known == more.size - found.new
        together = np.union1d(keys, more)
        for audience in ("business",):
            assert store.add(Members("tel", together), audience, origin=Origin("app")).new == together.size
        page = store.unevaluated("people", 1, "49", None, 10**6)
        assert np.array_equal(page.keys, together)
        tokens = rng.integers(0, 256, (together.size, 10), np.uint8)
        store.store_tokens("people", 1, page, tokens)
        back = [one.to_bytes() for one in store.tokens("people", 1, "49")]
        assert np.array_equal(np.concatenate(back), tokens)
        store.store_tokens("people", 1, page, np.flipud(tokens))  # again, by somebody who was killed
        back = [one.to_bytes() for one in store.tokens("people", 1, "49")]
        assert np.array_equal(np.concatenate(back), np.flipud(tokens))
        store.store_tokens("people", 1, page, tokens)
        (record,) = store.show(Members("tel", together[:1]))
        assert record.tokens == {("people", 1): tokens[0].tobytes()}
        assert [change.audience for change in record.consents] == ["business"]


@pytest.mark.slow
def test_of_many_pages_none_for_who_has_left_meanwhile(address):
    keys = np.arange(4915100000000, 4915100003000, dtype=np.uint64)
    with closing(PostgresMembers(address)) as store:
        store.add(Members("tel", keys))
        page = store.unevaluated("people", 1, "49", None, 10**6)
        store.remove(Members("tel", keys[7:8]))
        store.store_tokens("people", 1, page, np.zeros((keys.size, 10), np.uint8))
        assert sum(len(one.to_bytes()) for one in store.tokens("people", 1, "49")) == keys.size - 1
        store.add(Members("tel", keys[7:8]))
        assert store.unevaluated("people", 1, "49", None, 10**6).keys.tolist() == keys[7:8].tolist()


def test_rows_are_in_the_binary_format_of_copy():
    found = binary_rows([np.array([1, 2], np.uint64), (7, ">i4"), b"49", np.zeros((2, 3), np.uint8)])
    row = b"\0\x04" + b"\0\0\0\x08" + bytes(7) + b"%c" + b"\0\0\0\x04\0\0\0\x07" + b"\0\0\0\x0249"
    row += b"\0\0\0\x03" + bytes(3)
    assert found == row % 1 + row % 2


# Erasing


def _files(address):
    """What all files of the database's tables hold."""
    with psycopg.connect(address.url, password=address.password, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        return b"".join(
            octets
            for (octets,) in connection.execute(
                "SELECT pg_read_binary_file(pg_relation_filepath(oid)) FROM pg_class "
                "WHERE relnamespace = 'contactsync_members'::regnamespace AND relkind IN ('r', 'i')"
            )
        )


@pytest.mark.slow
def test_what_was_removed_is_in_no_file_of_a_table(address):
    gone, stays = NUMBERS[0], NUMBERS[1]
    with closing(PostgresMembers(address)) as store:
        everybody = members(*NUMBERS)
        store.add(everybody)
        rows = np.frombuffer(b"".join(b"token-%4d" % i for i in range(3)), np.uint8).reshape(3, 10)
        store.begin_search("people", 1, "49")
        store.remove(everybody)
        store.add(everybody)  # now they are pending, until they have tokens
        assert store.erase() == ""
        store.store_tokens("people", 1, everybody, rows)
        store.consent(everybody, "business", granted=True, origin=Origin("app", "anna"))
        assert not store.unerased()
        place = everybody.keys.tolist().index(gone)
        token = rows[place].tobytes()
        for secret in (gone.to_bytes(8, "little"), token):
            assert secret in _files(address)
        store.remove(members(gone))
        assert store.unerased()
        assert gone.to_bytes(8, "little") in _files(address), "or this test would show nothing"
        assert store.erase() == ""
        assert not store.unerased()
        files = _files(address)
        for secret in (gone.to_bytes(8, "little"), token):
            assert secret not in files
        assert stays.to_bytes(8, "little") in files
        assert store.count("people") == 2


@pytest.mark.slow
def test_while_somebody_still_sees_it_it_is_not_called_erased(address):
    with closing(PostgresMembers(address)) as store, closing(PostgresMembers(address)) as reader:
        store.add(members(*NUMBERS))
        with reader.snapshot():
            store.remove(members(NUMBERS[0]))
            assert "another session" in store.erase(0.1)
            assert store.unerased()
        assert store.erase() == ""
        assert not store.unerased()
        assert [entry.key for entry in store.entries("tel", None, 10)] == sorted(NUMBERS[1:])


def test_partitions_have_tables_of_their_own(address):
    with closing(PostgresMembers(address)) as store:
        store.add(members(*NUMBERS))
        names = "SELECT relname FROM pg_class WHERE relname LIKE 'members_tel_%%' AND relkind = 'r'"
        assert {name for (name,) in store._database.all(names)} == {"members_tel_1", "members_tel_49"}
        plan = "\n".join(
            line
            for (line,) in store._database.all(
                "EXPLAIN SELECT FROM members_tel WHERE partition = %s AND key = 1", "49"
            )
        )
        assert "members_tel_49" in plan
        assert "members_tel_1" not in plan
        assert KINDS["tel"].partition_of(b"tel:+4915112345678") == "49"


def test_charged_is_what_a_repetition_finds_after_a_lost_answer(address):
    """The connection is lost after the commit and before its answer: the batch is not charged again."""
    with closing(PostgresAccounts(address)) as store:
        store.add("one", "people", "cs_one")
        account, batch = store.find("cs_one").id, os.urandom(16)
        database = store._database()
        run_, lost = database.run, []

        def committed_and_lost(query, values=None, *, binary=False):
            done = run_(query, values, binary=binary)
            if query == "COMMIT" and not lost:
                lost.append(1)
                database.connection.close()
                raise psycopg.OperationalError("server closed the connection unexpectedly")
            return done

        database.run = committed_and_lost
        charge = Charge(account, 8, batch, PointQuota(100, 24))
        with pytest.raises(OurError, match="connection was lost"):
            store.charge([charge])
        (standing,) = store.charge([charge])
        assert standing.outcome is Verdict.REPEATED
        (use,) = store.uses("one")
        assert use.points_total == 8
