"""`python -m bench members`: the import of an operator's table, and what a member takes on the disk.

The table has an id, a number as people write it or in E.164, and a country: 12 countries, half of the numbers
without a country code. It is a CSV, JSON lines with a name besides, or a dump of PostgreSQL. Times are of CPU
and by the clock on the wall; the registry is on the disk. What is opened at last is a registry of version 2,
with as many members and their tokens: it becomes one of the newest version.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bench import harness
from bench.harness import Row
from contactsync.kernels import phones  # noqa: F401 - from here on kernels pay, as in a server
from contactsync.phones import Columns
from contactsync.server.members import ImportOptions, import_members
from contactsync.server.storage.ports import Members, MemberStore
from contactsync.server.storage.records import Origin
from contactsync.server.storage.sqlite.members import SqliteMembers
from contactsync.tokens import TOKEN_BYTES

PACKAGES = ("numba", "numpy", "phonenumberslite")
#        country  code  trunk  beginning  digits after it
PLANS = (
    ("DE", "49", "0", "151", 8), ("FR", "33", "0", "6", 8), ("GB", "44", "0", "7400", 6),
    ("US", "1", "", "415", 7), ("ES", "34", "", "6", 8), ("IT", "39", "", "347", 7),
    ("NL", "31", "0", "6", 8), ("IN", "91", "0", "98", 8), ("BR", "55", "", "119", 8),
    ("PL", "48", "", "5", 8), ("AT", "43", "0", "664", 7), ("CH", "41", "0", "79", 7),
)  # fmt: skip
CHUNK = 100_000
LOOKED_UP = 2_000


FORMS = {
    "a table": ("id,phone,country\n", "{},{},{}\n", ""),
    "JSON lines": ("", '{{"id": "{}", "name": "Ada Lovelace", "phone": "{}", "country": "{}"}}\n', ""),
    "a PostgreSQL dump": ("COPY public.users (id, phone, country) FROM stdin;\n", "{}\t{}\t{}\n", "\\.\n"),
}
"""What stands at the beginning, for each row, and at the end."""

VERSION_2 = """
CREATE TABLE changes (serial INTEGER NOT NULL);
INSERT INTO changes VALUES (1);
CREATE TABLE touched (partition TEXT PRIMARY KEY, serial INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE members_tel (key INTEGER PRIMARY KEY, audiences INTEGER NOT NULL, added INTEGER NOT NULL);
CREATE TABLE tokens_tel (
    audience INTEGER NOT NULL, epoch INTEGER NOT NULL, key INTEGER NOT NULL, token BLOB NOT NULL,
    PRIMARY KEY (audience, epoch, key)
) WITHOUT ROWID;
PRAGMA user_version = 2;
"""


def write_table(path: Path, count: int, form: str = "a table") -> None:
    """A table of so many rows, never all in memory."""
    rng = np.random.default_rng(3)
    begin, each, end = FORMS[form]
    with path.open("w") as file:
        file.write(begin)
        for first in range(0, count, CHUNK):
            n = min(CHUNK, count - first)
            plans, digits, forms = (rng.integers(0, k, n).tolist() for k in (len(PLANS), 10**8, 2))
            rows = []
            for i, (plan, number, written) in enumerate(zip(plans, digits, forms, strict=True), first + 1000):
                country, code, trunk, prefix, length = PLANS[plan]
                rest = f"{prefix}{number % 10**length:0{length}d}"
                rows.append(each.format(i, f"{'+' + code if written else trunk}{rest}", country))
            file.write("".join(rows))
        file.write(end)


def write_version_2(path: Path, count: int) -> None:
    """A registry as an earlier version left it."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_2)
        for first in range(0, count, CHUNK):
            keys = range(4_915_100_000_000 + first, 4_915_100_000_000 + min(first + CHUNK, count))
            connection.executemany("INSERT INTO members_tel VALUES (?, 1, 1700000000)", ((k,) for k in keys))
            tokens = ((k, k.to_bytes(TOKEN_BYTES, "big")) for k in keys)
            connection.executemany("INSERT INTO tokens_tel VALUES (1, 1, ?, ?)", tokens)
        connection.commit()


def _other_forms(count: int, rounds: int) -> list[Row]:
    """What else can be imported, and the migration."""
    options = ImportOptions("people", columns=Columns("phone", "country", "id"))
    times: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        for _ in range(rounds):
            for form in list(FORMS)[1:]:
                table, registry = Path(name) / "users", Path(name) / "registry.sqlite"
                write_table(table, count, form)
                with contextlib.closing(SqliteMembers.create(registry)) as store, table.open("rb") as stream:

                    def once(store: SqliteMembers = store, stream: BinaryIO = stream) -> None:
                        import_members(store, stream, "users", options, on_refusal=print)

                    times.setdefault(f"import {form} into a new registry", []).append(_timed(once))
                registry.unlink()
            write_version_2(registry, count)
            opened = _timed(lambda path=registry: SqliteMembers(path).close())
            times.setdefault("open a registry of version 2", []).append(opened)
            registry.unlink()
    rows: list[Row] = []
    for case, some in times.items():
        cpu, wall = np.median(np.array(some), axis=0).tolist()
        unit = "member" if "version" in case else "row"
        rows.append({"case": case, "n": count, "value": cpu / count * 1e9, "unit": f"ns CPU/{unit}"})
        rows.append({"case": case, "n": count, "value": int(count / wall), "unit": f"{unit}s/s"})
    return rows


def _timed(run: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds and seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu, time.perf_counter() - wall


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _give_tokens(store: MemberStore) -> None:
    """Store a token for each member of an audience, as a publish does."""
    for partition in store.partitions("people"):
        after = None
        while page := store.unevaluated("people", 1, partition, after, 1 << 16):
            rows = np.random.default_rng(1).integers(0, 256, (len(page), TOKEN_BYTES), np.uint8)
            store.store_tokens("people", 1, page, rows)
            after = page.last


def _reading(store: MemberStore, members: int) -> list[Row]:
    """To show one member, and to read all tokens, as a publish does where anything has changed."""
    entries = store.entries("tel", None, 100_000)
    some = np.random.default_rng(5).choice(len(entries), LOOKED_UP)
    ones = [Members("tel", np.array([entries[i].key], np.uint64)) for i in some.tolist()]
    shown = [_timed(lambda one=one: store.show(one)) for one in ones]
    read = 0
    began = time.perf_counter()
    for partition in store.partitions("people"):
        read += sum(len(tokens) for tokens in store.tokens("people", 1, partition))
    seconds = time.perf_counter() - began
    return [
        {"case": "show a member", "n": members, "value": np.median(shown, axis=0)[1] * 1e6, "unit": "µs"},
        {"case": "read all tokens", "n": read, "value": int(read / seconds), "unit": "tokens/s"},
        {
            "case": "memory of all this",
            "n": members,
            "value": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            "unit": "MiB at most",
        },
    ]


def run(count: int, rounds: int, *, other_forms: bool = True) -> list[Row]:
    """Medians over the rounds: a new registry, the same table again, and sizes in octets a member."""
    options = ImportOptions("people", columns=Columns("phone", "country", "id"))
    firsts, agains, sizes = [], [], {}
    with tempfile.TemporaryDirectory() as name:
        table, folder = Path(name) / "users.csv", Path(name) / "server"
        write_table(table, count)
        for _ in range(rounds):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            store = SqliteMembers.create(folder / "registry.sqlite")

            def once(store: SqliteMembers = store) -> None:
                with table.open("rb") as stream:
                    import_members(store, stream, "users", options, on_refusal=print)

            firsts.append(_timed(once))
            agains.append(_timed(once))
            members = store.count("people")
            store.close()
            sizes["a member"] = _size(folder) / members
        store = SqliteMembers(folder / "registry.sqlite")
        _give_tokens(store)
        store.close()
        sizes["a member, with their token"] = _size(folder) / members
        with contextlib.closing(SqliteMembers(folder / "registry.sqlite")) as store:
            reading = _reading(store, members)
        store = SqliteMembers(folder / "registry.sqlite")
        keys = np.array(
            [entry.key for entry in store.entries("tel", None, min(members // 10, 10**6))], np.uint64
        )
        store.consent(Members("tel", keys), "business", granted=True, origin=Origin("app 3.1", "anna"))
        store.close()
        grown = _size(folder) - sizes["a member, with their token"] * members
        sizes["an opt-in, with its record"] = grown / keys.size
    rows = []
    for case, times in (("into a new registry", firsts), ("again, nothing new", agains)):
        cpu, wall = np.median(np.array(times), axis=0).tolist()
        rows.append(
            {"case": f"import a table {case}", "n": count, "value": cpu / count * 1e9, "unit": "ns CPU/row"}
        )
        rows.append(
            {"case": f"import a table {case}", "n": count, "value": int(count / wall), "unit": "rows/s"}
        )
    rows += reading
    if other_forms:
        rows += _other_forms(count, rounds)
    return rows + [
        {"case": case, "n": members, "value": size, "unit": "octets"} for case, size in sizes.items()
    ]


def run_database(count: int, url: str) -> list[Row]:
    """The same table into an empty PostgreSQL database, by the clock on the wall."""
    from contactsync.server.storage.postgres.address import DatabaseUrl
    from contactsync.server.storage.postgres.creating import connected, create_stores_in, drop_stores_of
    from contactsync.server.storage.postgres.members import PostgresMembers

    options = ImportOptions("people", columns=Columns("phone", "country", "id"))
    address = DatabaseUrl.parse(url)
    times: dict[str, tuple[float, int]] = {}

    def size() -> int:
        with connected(address) as connection:
            found = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        return int(found[0]) if found else 0

    create_stores_in(address)
    try:
        empty = size()
        with tempfile.TemporaryDirectory() as name, PostgresMembers(address) as store:
            table = Path(name) / "users.csv"
            write_table(table, count)
            for case in ("import a table into PostgreSQL", "import it again, nothing new"):
                began = time.perf_counter()
                with table.open("rb") as stream:
                    import_members(store, stream, "users", options, on_refusal=print)
                times[case] = time.perf_counter() - began, count
            members = store.count("people")
            sizes = {"a member": (size() - empty) / members}
            began = time.perf_counter()
            _give_tokens(store)
            times["read all members, and store their tokens"] = time.perf_counter() - began, members
            reading = _reading(store, members)
            sizes["a member, with their token"] = (size() - empty) / members
            (largest,) = store.entries("tel", None, 1)
            store.remove(Members("tel", np.array([largest.key], np.uint64)))
            began = time.perf_counter()
            if reason := store.erase():
                raise RuntimeError(reason)
            erased = time.perf_counter() - began
    finally:
        drop_stores_of(address)
    found: list[Row] = [
        {"case": case, "n": n, "value": int(n / seconds), "unit": "rows/s"}
        for case, (seconds, n) in times.items()
    ]
    found += [{"case": case, "n": members, "value": value, "unit": "octets"} for case, value in sizes.items()]
    found += reading
    return [*found, {"case": "erase one of +1", "n": members, "value": erased, "unit": "s"}]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench members", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument(
        "--markdown", metavar="FILE", help="put the table into the members section of a document"
    )
    parser.add_argument("--quick", action="store_true", help="a million rows, once")
    parser.add_argument("--rows", type=int, metavar="N", help="N rows of a table, once, and no other forms")
    parser.add_argument(
        "--database", metavar="URL", help="measure the import into this empty PostgreSQL database instead"
    )
    options = parser.parse_args(arguments)
    if options.database:
        rows = run_database(options.rows or (1_000_000 if options.quick else 10_000_000), options.database)
    elif options.rows:
        rows = run(options.rows, 1, other_forms=False)
    else:
        rows = run(1_000_000, 1) if options.quick else run(10_000_000, 3)
    where = harness.environment(PACKAGES)
    print(harness.table(rows), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, rows)
    if options.markdown:
        section = "members-postgresql" if options.database else "members"
        harness.update_section(options.markdown, section, f"{where}\n\n{harness.markdown(rows)}")
