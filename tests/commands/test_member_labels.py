"""`contactsync server members`: labels, addresses, and members with both a number and an address."""

import json

import pytest
from test_members_commands import A, B, run, shown

__all__ = ["run"]

ANN, BOB = "ann@example.org", "bob@example.org"


def test_a_label_is_set_shown_changed_and_removed(run):
    run("add", A, "--label", "@ann:example.org")
    assert shown(run, A)["label"] == "@ann:example.org"
    assert run("label", A, "@renamed").stdout == "changed\n"
    assert run("label", A, "@renamed").stdout == "as before\n"
    assert "  label: @renamed\n" in run("show", A).stdout
    assert run("label", A, "--remove").stdout == "changed\n"
    assert shown(run, A)["label"] is None
    assert "label" not in run("show", A).stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("label", A, "x" * 65), 3, "65 octets"),
        (("label", A, "\x1b[31mred"), 3, "printed"),
        (("label", A, ""), 3, "empty"),
        (("label", A), 2, "Give a LABEL, or --remove"),
        (("label", A, "x", "--remove"), 2, "Give a LABEL, or --remove"),
        (("label", B, "x"), 3, "not a member"),
        (("label", "12", "x"), 3, "cannot be used"),
        (("add", A, B, "--label", "x"), 2, "give one NUMBER"),
        (("add", ANN, "--email", BOB), 3, "the number is an address"),
        (("add", B, "--email", "nobody"), 3, "cannot be used"),
        (("import", "-", "--phone-column", "none"), 2, "only with --email-column"),
        (("move", B, A), 3, "nothing is stored about the old one"),
        (("move", A, ANN), 3, "from one number to another"),
    ],
)
def test_what_cannot_be_done_says_so(run, words, code, said):
    run("add", A, "--label", "@ann")
    done = run(*words, code=code)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert shown(run, A)["label"] == "@ann"


def test_number_and_address_are_one_member(run):
    assert run("add", A, "--email", "Ann <ANN@Example.ORG>", "--label", "@ann").stdout == "1 added\n"
    assert (shown(run, A)["other"], shown(run, A)["label"]) == (f"mailto:{ANN}", "@ann")
    found = shown(run, ANN)
    assert (found["number"], found["other"], found["label"]) == (f"mailto:{ANN}", A, "@ann")
    assert f"  also {A}\n" in run("show", ANN).stdout
    run("label", ANN, "@renamed")
    assert shown(run, A)["label"] == "@renamed"
    run("consent", ANN, "--off", "--source", "letter")
    found = shown(run, A)
    assert (found["objections"], found["label"]) == (["people", "business"], None)
    assert run("remove", ANN, "--json").stdout
    assert [shown(run, one)["stored"] for one in (A, ANN)] == [False, False]


def test_addresses_stand_where_numbers_do(run, tmp_path):
    assert run("add", "-", given=f"{A}\n{ANN}\n").stdout == "2 added\n"
    path = tmp_path / "list"
    path.write_text(f"{BOB}\n{B}\nMAILTO:carl@example.org\n")
    assert run("add", "--file", str(path)).stdout == "3 added\n"
    lines = run("list").stdout.split()
    assert lines == [B, A, f"mailto:{ANN}", f"mailto:{BOB}", "mailto:carl@example.org"]
    assert run("consent", ANN, A, "--audience", "business", "--on", "--source", "x").stdout.startswith("2 ")
    assert run("remove", ANN, A).stdout == "2 removed\n"
    done = run("add", "-", given="@nobody\n", code=3)
    assert "stdin:1:" in done.stderr
    assert run("remove", "-", given="\n".join(lines)).stdout == "3 removed\n"
    assert run("count").stdout == "0\n"


def test_two_members_are_not_merged_and_there_is_a_way_out(run):
    run("add", A, "--label", "@a")
    run("add", ANN, "--label", "@b")
    done = run("add", A, "--email", ANN, code=3)
    assert "not of one member, and nothing was changed" in done.stderr
    assert "members move" in done.stderr
    assert (shown(run, A)["label"], shown(run, ANN)["label"]) == ("@a", "@b")
    run("remove", ANN)
    run("add", A, "--email", ANN)
    assert shown(run, ANN)["label"] == "@a"
    assert run("move", ANN, BOB, "--source", "desk").stdout == "moved\n"
    assert run("move", A, B).stdout == "moved\n"
    assert [shown(run, one)["stored"] for one in (A, ANN)] == [False, False]
    assert (shown(run, B)["other"], shown(run, B)["label"]) == (f"mailto:{BOB}", "@a")
    assert run("unpair", BOB).stdout == "1 unpaired\n"
    run("remove", B)
    assert (shown(run, BOB)["other"], shown(run, BOB)["label"]) == (None, "@a")


def test_a_receipt_counts_what_was_stored_of_both(run):
    run("add", A, "--email", ANN, "--label", "@ann")
    receipt = json.loads(run("remove", A, "--json").stdout)
    assert receipt["removed"] == 1
    registry = receipt["registry"]
    assert (registry["members"], registry["labels"], registry["erased"]) == (1, 2, True)
    assert "ann" not in json.dumps(receipt)


def test_a_table_with_labels_and_addresses(run, tmp_path):
    path = tmp_path / "users.csv"
    path.write_text(f"id,phone,mail,handle\nu1,{A},{ANN},@ann\nu2,,{BOB},\nu3,{B},,{'x' * 65}\n")
    columns = ("--label-column", "handle", "--email-column", "mail", "--id-column", "id")
    done = run("import", str(path), *columns)
    assert done.stdout == "3 added, 0 already there, 1 rejected, 1 label changed\n"
    assert f"{path}:4: id u3: the label" in done.stderr
    assert "xxxx" not in done.stderr
    found = json.loads(run("import", str(path), *columns, "--json").stdout)
    assert (found["known"], found["labels"], found["rejected"]) == (3, 0, 1)
    done = run("import", str(path), "--label-column", "nickname", code=3)
    assert "no column named nickname" in done.stderr
