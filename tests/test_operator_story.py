"""An operator with 30,000 users of 12 countries: table, dump, publish; a client finds exactly them."""

import csv
import json
import random
import subprocess
import sys
import time

import pytest

COUNT = 30_000

# Country, calling code, what is dialled before a national number, its beginnings, digits after those.
PLANS = (
    ("DE", "49", "0", ("151", "170", "176"), 8),
    ("FR", "33", "0", ("6", "7"), 8),
    ("GB", "44", "0", ("7400", "7911"), 6),
    ("US", "1", "", ("212555", "415555"), 4),
    ("ES", "34", "", ("61", "72"), 7),
    ("IT", "39", "", ("347", "320"), 7),
    ("NL", "31", "0", ("6",), 8),
    ("PL", "48", "", ("51", "60"), 7),
    ("AU", "61", "0", ("4",), 8),
    ("IN", "91", "0", ("98", "70"), 8),
    ("BR", "55", "", ("119", "219"), 8),
    ("CH", "41", "0", ("76", "79"), 7),
)


def people():
    """Rows of (id, phone as they wrote it, country) and the numbers that are meant; hand-made, no library."""
    rng = random.Random(11)
    rows, numbers = [], {}
    while len(numbers) < COUNT:
        country, code, trunk, beginnings, digits = rng.choice(PLANS)
        national = rng.choice(beginnings) + f"{rng.randrange(10**digits):0{digits}d}"
        number = f"+{code}{national}"
        if number in numbers:
            continue
        identity = f"user-{len(rows)}"
        forms = [number, trunk + national, f"{trunk}{national[:3]} {national[3:6]}-{national[6:]}"]
        if country not in {"US", "AU", "BR"}:  # where 00 is not what is dialled to call abroad
            forms.append(f"00{code}{national}")
        written = rng.choice(forms)
        rows.append((identity, written, country.lower() if rng.random() < 0.1 else country))
        numbers[number] = identity
    bad = [(f"bad-{i}", rng.choice(["n/a", "", "12", "*100#"]), "DE") for i in range(200)]
    bad += [(f"odd-{i}", "0151 2345678", rng.choice(["UK", "EN", "XX"])) for i in range(100)]
    bad += [(f"nowhere-{i}", "0151 2345678", "") for i in range(50)]
    rows += bad
    rng.shuffle(rows)
    return rows, list(numbers), {identity for identity, *_ in bad}


def contactsync(*arguments, code=0, given=None):
    done = subprocess.run(
        [sys.executable, "-m", "contactsync", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=300, input=given,
    )  # fmt: skip
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["ID", "Name", "Phone", "Country"])
        writer.writerows((identity, 'A "quoted"; name', phone, country) for identity, phone, country in rows)


def write_dump(path, rows):
    lines = [
        "\t".join((identity, phone or "\\N", country or "\\N", "t")) for identity, phone, country in rows
    ]
    path.write_text(
        "--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n\n"
        "COPY public.sessions (id, token) FROM stdin;\n1\tx\n\\.\n\n"
        "COPY public.users (id, phone, country, active) FROM stdin;\n" + "\n".join(lines) + "\n\\.\n\n"
    )


def matches(tmp_path, book, data, credential):
    serve = subprocess.Popen(
        [sys.executable, "-m", "contactsync", "server", "serve", "--data", data, "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        url = serve.stdout.readline().split()[-1]
        state = tmp_path / f"state-{time.monotonic_ns()}"
        contactsync("trust", url, "--yes", "--state", state)
        done = contactsync("sync", book, "--credential-file", credential, "--state", state, "--json")
        return {match["identifier"].removeprefix("tel:") for match in json.loads(done.stdout)["matches"]}
    finally:
        serve.terminate()
        serve.wait(30)
        serve.stdout.close()


@pytest.mark.slow
def test_from_the_table_to_a_client_that_finds_exactly_them(tmp_path):
    rows, numbers, bad = people()
    table, dump, data = tmp_path / "users.csv", tmp_path / "users.sql", tmp_path / "server"
    write_csv(table, rows)
    write_dump(dump, rows)
    contactsync("server", "init", "--data", data)
    columns = ("--data", data, "--region-column", "country", "--id-column", "id")

    # What used to make other people's numbers of the table is refused now.
    assert (
        "has a column country"
        in contactsync("server", "members", "import", table, "--data", data, "--region", "DE", code=3).stderr
    )
    rejected = tmp_path / "rejected.csv"
    done = contactsync("server", "members", "import", table, *columns, "--rejected", rejected)
    assert done.stdout == f"{COUNT:,} added, 0 already there, {len(bad)} rejected\n"
    assert {row["id"] for row in csv.DictReader(rejected.read_text().splitlines())} == bad
    listed = contactsync("server", "members", "list", "--data", data).stdout.split()
    assert sorted(listed) == sorted(numbers)

    # The dump says the same; the registry is equal to it already.
    done = contactsync("server", "members", "import", dump, *columns, "--replace", "--json")
    report = json.loads(done.stdout)
    assert (report["added"], report["removed"], report["known"]) == (0, 0, COUNT)
    assert report["rejected"] == len(bad)
    # Alone, and from stdin as pg_dump writes it, it makes the same registry.
    other = ("--data", tmp_path / "other", *columns[2:])
    contactsync("server", "init", "--data", tmp_path / "other")
    contactsync(
        "server", "members", "import", "-", *other, "--max-rejected", "1%", given=dump.read_text(), code=3
    )
    assert contactsync("server", "members", "list", *other[:2]).stdout == ""
    done = contactsync("server", "members", "import", "-", *other, given=dump.read_text())
    assert done.stdout == f"{COUNT:,} added, 0 already there, {len(bad)} rejected\n"
    assert contactsync("server", "members", "list", *other[:2]).stdout.split() == listed

    contactsync("server", "publish", "--data", data)
    credential = tmp_path / "credential"
    credential.write_text(contactsync("server", "accounts", "add", "me", "--data", data).stdout)
    members = set(numbers)
    rng = random.Random(12)
    mine = rng.sample(numbers, 400)
    # Who is no member: neighbours of members, and what a wrong country would have made of them.
    others = {f"{n[:-1]}{(int(n[-1]) + 1) % 10}" for n in mine} | {f"+49{n[3:]}" for n in mine}
    book = tmp_path / "book.txt"
    book.write_text("\n".join(sorted({*mine, *others})))
    everyone = matches(tmp_path, book, data, credential)
    assert everyone == {number for number in {*mine, *others} if number in members}
    assert everyone >= set(mine)

    # Somebody objects: the next edition is without them, and so is every later import.
    gone = mine[0]
    contactsync(
        "server", "members", "consent", "-", "--data", data, "--off", "--source", "app 3.1", given=f"{gone}\n"
    )
    done = contactsync("server", "members", "import", dump, *columns, "--replace")
    assert done.stdout.endswith("1 not added: they objected\n")
    contactsync("server", "publish", "--data", data)
    shown = json.loads(
        contactsync("server", "members", "show", "-", "--data", data, given=f"{gone}\n").stdout
    )
    assert shown["objections"] == ["people", "business"]
    assert shown["published"][0]["edition"] == 2
    assert matches(tmp_path, book, data, credential) == everyone - {gone}
