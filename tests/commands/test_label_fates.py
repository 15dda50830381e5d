"""What becomes of a label: each row of the table in docs/protocol.md is a case here, by its first column."""

import re
from pathlib import Path

import pytest
from test_members_commands import A, B, C, run, shown

__all__ = ["run"]

ROOT = Path(__file__).resolve().parents[2]
ANN = "ann@example.org"
BUSINESS = ("--audience", "business", "--source", "app")
OFF, ON = ("--off", "--source", "letter"), ("--on", "--source", "app", "--audience", "people")

# What is done to A, who is labelled @ann, and the label of each identifier after it; "-": nothing is stored.
FATES = {
    "gets another label": ([("label", A, "@new")], {A: "@new"}),
    "gets none any more (`members label --remove`)": ([("label", A, "--remove")], {A: None}),
    "is erased (`members remove`)": ([("remove", A)], {A: "-"}),
    "expires (`members expire`)": ([("expire", "--before", "2999-01-01")], {A: "-"}),
    "is missing from an import with `--replace`": (
        [("import", "-", "--replace", "--max-removed", "1")],
        {A: "-", C: None},
    ),
    "joins or leaves an audience, but stays in one": (
        [("consent", A, "--on", *BUSINESS), ("consent", A, "--off", *BUSINESS)],
        {A: "@ann"},
    ),
    "leaves the last audience: withdraws, objects, or is taken out of it": (
        [("consent", A, *OFF)],
        {A: None},
    ),
    "is back: added again, or consents again after it": (
        [("consent", A, *OFF), ("consent", A, *ON), ("remove", A), ("add", A)],
        {A: None},
    ),
    "moves to another number or address (`members move`)": (
        [("move", A, B), ("add", A)],
        {A: None, B: "@ann"},
    ),
    "gets an address beside the number, or the reverse": (
        [("add", A, "--email", ANN)],
        {A: "@ann", ANN: "@ann"},
    ),
    "becomes two members (`members unpair`)": (
        [("add", A, "--email", ANN), ("unpair", A), ("label", A, "@new")],
        {A: "@new", ANN: "@ann"},
    ),
}
PUBLISHED = {"is evaluated for the next epoch"}  # tests/server/publishing/test_publish_labels.py


@pytest.mark.parametrize(("steps", "labels"), FATES.values(), ids=FATES)
def test_a_label_is_kept_or_lost_as_the_protocol_says(run, steps, labels):
    run("add", A, "--label", "@ann")
    for step in steps:
        run(*step, given=f"{C}\n" if step[0] == "import" else None)
        if step[:1] == ("consent",) and step[-1] == "app":
            assert shown(run, A)["audiences"], "who consents again can be found again"
    found = {who: shown(run, who) for who in labels}
    assert {who: one["label"] if one["stored"] else "-" for who, one in found.items()} == labels


def test_each_row_of_the_table_is_a_case():
    page = (ROOT / "docs" / "protocol.md").read_text()
    table = page.partition("**What becomes of a label.**")[2].partition("\n## ")[0]
    (head, *_), *rows = re.findall(r"^\| ([^|]+?) \| [^|]+ \| ([^|]+) \|$", table, re.MULTILINE)
    assert head == "a member who has a label"
    assert {row for row, _ in rows} == FATES.keys() | PUBLISHED
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert {name for _, names in rows for name in re.findall(r"`(\S+)`", names)} <= tests
