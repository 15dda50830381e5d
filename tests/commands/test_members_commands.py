"""`contactsync server members …`: tables, limits, consent, rights; numbers that stay off the command line."""

import csv
import io
import json
import stat
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from contactsync.commands import main

A, B, C = "+491511234567", "+12125550100", "+442079460125"
CONSENT = ("--source", "app 3.1", "--by", "anna")


@pytest.fixture
def run(tmp_path, monkeypatch):
    for name in ("LC_ALL", "LC_TELEPHONE", "LANG", "CONTACTSYNC_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CONTACTSYNC_DATA", str(tmp_path / "server"))

    def run(*words, code=0, given=None, of="members"):
        words = ["server", of, *words] if of else ["server", *words]
        result = CliRunner().invoke(main, words, input=given)
        assert result.exit_code == code, result.stderr
        return result

    run(of="init")
    return run


def shown(run, number):
    return json.loads(run("show", "-", given=number + "\n").stdout)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "users.csv"
    rows = [("u1", "0151 1234567", "DE"), ("u2", "(212) 555-0100", "us"), ("u3", "020 7946 0125", "GB")]
    rows += [("\x1b[31mu4", "12", "DE"), ("u5", "0151 1234568", "XX")]
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("id", "phone", "country"), *rows])
    path.write_text(buffer.getvalue())
    return path


COLUMNS = ("--phone-column", "phone", "--region-column", "country", "--id-column", "id")


def test_a_table_as_it_is(run, table, tmp_path):
    rejected = tmp_path / "rejected.csv"
    done = run("import", str(table), *COLUMNS, "--rejected", str(rejected))
    assert done.stdout == "3 added, 0 already there, 2 rejected\n"
    assert done.stderr.splitlines()[1].startswith(f"{table}:6: id u5: unknown region (")
    assert "\x1b" not in done.stderr
    assert "1234568" not in done.stderr
    assert run("list").stdout.split() == [B, C, A]
    assert stat.S_IMODE(rejected.stat().st_mode) == 0o600
    rows = list(csv.DictReader(rejected.read_text().splitlines()))
    assert [(row["line"], row["id"]) for row in rows] == [("5", "\x1b[31mu4"), ("6", "u5")]
    assert "1234568" not in rejected.read_text()
    run("import", str(table), *COLUMNS, "--rejected", str(rejected), "--with-numbers")
    rows = csv.DictReader(rejected.read_text().splitlines())
    assert [row["number"] for row in rows] == ["12", "0151 1234568"]


def test_a_refused_import_changes_nothing_and_still_says_why(run, table, tmp_path):
    rejected = tmp_path / "rejected.csv"
    done = run("import", str(table), *COLUMNS, "--max-rejected", "1", "--rejected", str(rejected), code=3)
    assert done.stderr.splitlines()[-2].endswith(
        "2 of 5 rows were rejected, more than 1; nothing was changed"
    )
    assert done.stdout == ""
    assert run("count").stdout == "0\n"
    assert len(list(csv.DictReader(rejected.read_text().splitlines()))) == 2
    run("import", str(table), *COLUMNS, "--max-rejected", "39%", code=3)
    run("import", str(table), *COLUMNS, "--max-rejected", "40%")


def test_nobody_gets_another_persons_number(run, table):
    done = run("import", str(table), "--region", "DE", code=3)
    assert "has a column country" in done.stderr
    assert "--region-column 'country'" in done.stderr
    assert run("count").stdout == "0\n"


def test_json_of_an_import(run, table):
    done = run("import", str(table), *COLUMNS, "--json", "--dry-run")
    report = {"dry_run": True, "rows": 5, "rejected": 2, "twice": 0, "added": 3, "known": 0}
    assert json.loads(done.stdout) == {
        "version": 1,
        **report,
        "objected": 0,
        "removed": None,
        "labels": None,
        "receipt": None,
    }
    assert run("count").stdout == "0\n"
    text = run("import", str(table), *COLUMNS, "--dry-run").stdout
    assert text.endswith("(dry run: nothing was changed)\n")


def test_replacing(run):
    numbers = [f"+4915112{i:05}" for i in range(100)]
    run("import", "-", given="\n".join(numbers))
    less = "\n".join(numbers[:90])
    done = run("import", "-", "--replace", given=less, code=3)
    assert "10 of 100 members are not in it, more than 5%" in done.stderr
    dry = run("import", "-", "--replace", "--max-removed", "10%", "--dry-run", given=less)
    assert dry.stdout.startswith("0 added, 10 removed, 90 already there, 0 rejected")
    assert run("count").stdout == "100\n"
    run("import", "-", "--replace", "--max-removed", "10", given=less)
    assert run("count").stdout == "90\n"
    run("import", "-", "--replace", "--max-removed", "100%", given="", code=3)
    run("import", "-", "--max-removed", "5%", given=less, code=2)
    for bad in ("101%", "x", "-1", "2%%"):
        run("import", "-", "--max-rejected", bad, given=less, code=2)


def test_numbers_never_have_to_be_on_the_command_line(run, tmp_path):
    file = tmp_path / "numbers"
    file.write_text(f"{B}\n{C}\n")
    assert run("add", "-", given=f"{A}\n").stdout == "1 added\n"
    assert run("add", "--file", str(file)).stdout == "2 added\n"
    done = run("consent", "-", "--audience", "business", "--on", *CONSENT, given=f"tel:{A}\n")
    assert done.stdout == "1 changed, 0 as before\n"
    run("consent", "--file", str(file), "--audience", "business", "--on", *CONSENT)
    assert run("count", "--audience", "business").stdout == "3\n"
    lines = run("show", "--file", str(file), "--json").stdout.splitlines()
    assert [json.loads(line)["number"] for line in lines] == [B, C]
    assert run("remove", "-", given=f"{A}\n{B}\n").stdout == "2 removed\n"
    for words in (["add"], ["show"], ["add", "-", A], ["show", "-", "--file", "x"]):
        assert run(*words, code=2).stderr
    for words in (["add", "-"], ["show", "-"], ["consent", "-", "--on", *CONSENT]):
        done = run(*words, given=f"{A}\nnonsense\n", code=3)
        assert "stdin:2: not a phone number" in done.stderr
        assert "no usable phone number" in run(*words, given="", code=3).stderr
    assert run("count").stdout == "1\n"


def test_everything_that_is_stored(run):
    assert shown(run, A) == {"version": 1, "number": A, "stored": False}
    assert run("show", A).stdout == f"{A}\n  nothing is stored\n"
    run("add", A)
    run("consent", A, "--audience", "business", "--on", *CONSENT)
    run(of="publish")
    found = shown(run, A)
    (change,) = found["consents"]
    assert change | {"at": ""} == {
        "audience": "business", "granted": True, "at": "", "source": "app 3.1", "by": "anna"
    }  # fmt: skip
    assert abs((datetime.now(UTC) - datetime.fromisoformat(change["at"])).total_seconds()) < 100
    assert (found["audiences"], found["objections"]) == (["people", "business"], [])
    assert [(one["audience"], one["epoch"], len(one["token"])) for one in found["tokens"]] == [
        ("people", 1, 20), ("business", 1, 20)
    ]  # fmt: skip
    assert [one["text"] for one in found["published"]] == ["in the directory since edition 1 of epoch 1"] * 2
    assert found["verified"] == datetime.now(UTC).date().isoformat()
    text = run("show", A).stdout
    assert "business on, source: app 3.1, by anna" in text
    assert found["tokens"][0]["token"] in text


def test_an_objection_is_kept_and_reported(run):
    run("add", A, B)
    run("consent", A, "--audience", "business", "--on", *CONSENT)
    assert run("consent", A, "--off", *CONSENT).stdout == "1 changed, 0 as before\n"
    assert run("add", A, C).stdout == "1 added, 1 not: they objected\n"
    done = run("import", "-", given=f"{A}\n{B}\n")
    assert done.stdout == "0 added, 1 already there, 0 rejected, 1 not added: they objected\n"
    assert "people: objected\n  business: objected" in run("show", A).stdout
    assert (
        run("consent", A, "--on", "--json", *CONSENT).stdout
        == '{"version": 1, "changed": 1, "unchanged": 0, "unknown": 0, "receipt": null}\n'
    )
    assert run("list").stdout.split() == [B, C, A]


def test_leaving_people_only(run):
    run("add", A)
    run("consent", A, "--audience", "business", "--on", *CONSENT)
    run("consent", A, "--off", "--only", *CONSENT)
    assert (run("list").stdout, run("list", "--audience", "business").stdout) == ("", f"{A}\n")
    run("consent", A, "--on", "--only", *CONSENT, code=2)
    run("consent", A, *CONSENT, code=2)
    run("consent", A, "--on", code=2)


def test_consent_makes_no_members(run):
    assert "use `members add` first" in run("consent", A, "--on", *CONSENT, code=3).stderr
    run("add", B)
    done = run("consent", "-", "--audience", "business", "--on", *CONSENT, given=f"{A}\n{B}\n")
    assert done.stdout == "1 changed, 0 as before, 1 not known\n"
    assert run("consent", A, "--on", "--source", "x" * 300, code=3).stderr.startswith("error: the source")


def test_expiry(run):
    run("add", A, "--verified", "2024-02-29")
    run("add", B)
    assert run("expire", "--before", "2024-02-29").stdout == "0 removed\n"
    assert run("expire", "--before", "2024-03-01", "--dry-run").stdout == "1 would be removed\n"
    assert run("expire", "--before", "2024-03-01").stdout == "1 removed\n"
    assert run("list").stdout.split() == [B]
    run("expire", "--before", "tomorrow", code=2)
    run("add", C, "--verified", "2999-01-01", code=3)


def test_export(run, tmp_path):
    run("add", A, B)
    run("consent", A, "--audience", "business", "--on", *CONSENT)
    run("consent", B, "--off", *CONSENT)
    rows = list(csv.DictReader(io.StringIO(run("export").stdout)))
    assert [(row["number"], row["audiences"], row["objections"]) for row in rows] == [
        (B, "", "people business"), (A, "people business", "")
    ]  # fmt: skip
    lines = run("export", "--format", "jsonl", "--audience", "people").stdout.splitlines()
    assert [json.loads(line)["number"] for line in lines] == [A]
    output = tmp_path / "export.csv"
    assert run("export", "--output", str(output)).stdout == ""
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert list(csv.DictReader(output.read_text().splitlines())) == rows
    assert "cannot write" in run("export", "--output", str(tmp_path / "no" / "x"), code=3).stderr


def test_the_source_of_an_opt_in_by_import(run):
    run("import", "-", "--audience", "business", "--source", "web form", "--by", "ben", given=A)
    run("add", B, "--audience", "business")
    assert [(c["source"], c["by"]) for c in shown(run, A)["consents"]] == [("web form", "ben")]
    (change,) = shown(run, B)["consents"]
    assert change["source"] == "members add"
    assert change["by"]


REMOVALS = {
    "expire": (["expire", "--before", "2100-01-01"], 2, None),
    "consent": (["consent", "+4915112345670", "--off", "--source", "a test"], 1, None),
    "consent-only": (["consent", "+4915112345670", "--off", "--only", "--source", "a test"], 1, "people"),
    "replace": (["import", "{file}", "--replace", "--max-removed", "100%"], 1, None),
}


@pytest.mark.parametrize("how", REMOVALS)
def test_every_removal_gives_a_receipt(run, tmp_path, how):
    words, count, audience = REMOVALS[how]
    file, receipt = tmp_path / "table.csv", tmp_path / "receipt.json"
    file.write_text("phone\n+4915112345671\n")
    run("add", "+4915112345670", "+4915112345671")
    words = [word.format(file=file) for word in words]
    result = run(*words, "--receipt", str(receipt), "--reference", "A 7", "--json")
    told = json.loads(result.stdout)["receipt"]
    assert {**told, "version": 1} == json.loads(receipt.read_text())
    assert stat.S_IMODE(receipt.stat().st_mode) == 0o600
    assert (told["reference"], told["removed"], told["audience"]) == ("A 7", count, audience)
    gone = 0 if "consent" in how else count  # who objects is remembered
    assert (told["registry"]["members"], told["registry"]["erased"]) == (gone, True)
    assert [one for one in told["remains"] if "objected" in one["where"]] == told["remains"][: count - gone]
    assert "15112345" not in receipt.read_text()


def test_who_was_no_member_is_not_removed_by_an_objection(run):
    words = ("consent", "-", "--off", "--source", "letter", "--json")
    told = json.loads(run(*words, given=f"{A}\n").stdout)
    assert (told["changed"], told["receipt"]["removed"], told["receipt"]["remains"]) == (1, 0, [])


def test_receipts_are_for_removals(run):
    run("add", "+4915112345670")
    consent = ("consent", "+4915112345670", "--on", "--source", "x")
    assert "--off" in run(*consent, "--receipt", "r", code=2).stderr
    assert "--replace" in run("import", "-", "--reference", "r", code=2).stderr
