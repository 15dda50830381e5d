"""What an audit came to: no audit passes because it did not get there."""

import pytest

from contactsync.audit.report import DISPROVEN, PROVEN, UNCHECKED, AuditReport, Severity
from contactsync.foundation.errors import BadInput, BadProof, NetworkError

RULES = {"proof": "every proof is right", "hash": "every file is the one that was named"}


def report():
    return AuditReport("the server", RULES)


def test_what_is_proven_passes():
    made = report()
    made.prove("proof", 3)
    made.prove("hash")
    made.note("hash", "a file", "one was served twice")
    assert made.exit_code == PROVEN
    assert made.value()["rules"] == [
        {"rule": "proof", "description": "every proof is right", "proven": 3, "state": "proven"},
        {"rule": "hash", "description": RULES["hash"], "proven": 1, "state": "proven"},
    ]


def test_a_rule_of_which_there_is_no_case_is_not_said_to_be_proven():
    made = report()
    made.prove("proof", 3)
    made.note("hash", "a file", "no file is served")
    assert made.exit_code == PROVEN
    assert [line.split()[:2] for line in list(made.lines())[:2]] == [["proven", "3"], ["n/a", "0"]]
    assert [one["state"] for one in made.value()["rules"]] == ["proven", "not-applicable"]
    made.leave("hash", "a file", "it was cut off")
    assert made.state("hash") == "unchecked"


def test_a_rule_that_was_not_reached_is_unchecked():
    made = report()
    made.prove("proof")
    assert made.exit_code == UNCHECKED
    assert made.exit_code == UNCHECKED  # and is found once
    (finding,) = made.findings
    assert (finding.rule, finding.severity) == ("hash", Severity.WARNING)
    assert "unchecked" in list(made.lines())[1]


def test_a_wrong_thing_outweighs_an_unchecked_one():
    made = report()
    made.leave("proof", "request 3", "it was cut off")
    made.disprove("hash", "file a", "other octets", "fetch it again")
    assert made.exit_code == DISPROVEN
    lines = list(made.lines())
    assert [line.split()[0] for line in lines[:2]] == ["unchecked", "DISPROVEN"]
    assert "error: file a: other octets" in lines
    assert lines[-1].startswith("the server: NOT as promised")


@pytest.mark.parametrize(
    ("error", "severity"),
    [
        (BadProof("wrong"), Severity.ERROR),
        (BadInput("no JSON"), Severity.ERROR),
        (NetworkError("no answer"), Severity.WARNING),
    ],
)
def test_an_error_becomes_a_finding(error, severity):
    made = report()
    with made.guard("proof", "request 1"):
        raise error
    assert [(one.severity, one.message) for one in made.findings] == [(severity, str(error))]


def test_what_is_no_error_of_ours_is_not_hidden():
    with pytest.raises(ZeroDivisionError), report().guard("proof", "here"):
        raise ZeroDivisionError


def test_a_rule_that_nobody_announced_is_a_mistake():
    with pytest.raises(KeyError):
        report().prove("other")


def test_sarif_names_rules_levels_and_places():
    made = report()
    made.prove("proof")
    made.disprove("hash", "file a", "other octets", "fetch it again")
    (run,) = made.sarif("1.0")["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["proof", "hash"]
    (result,) = run["results"]
    assert (result["ruleId"], result["level"]) == ("hash", "error")
    assert result["message"]["text"] == "other octets. fetch it again"
    assert result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "file a"
