"""What an audit came to: which rules were proven, and each place where one was not.

A report names all its rules from the beginning. A rule for which nothing was proven and nothing found was not
reached, and counts as unchecked: no audit passes because it never got there. One of which there was no case,
as a note says, is not applicable: nothing is claimed of it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

from contactsync.foundation.errors import BadInput, ContactSyncError, PeerError

_WORDS: Final = {"disproven": "DISPROVEN", "not applicable": "n/a"}
PROVEN: Final = 0
DISPROVEN: Final = 9
UNCHECKED: Final = 10
"""Exit codes of the audit commands."""


class Severity(enum.StrEnum):
    """How much a finding matters. The words are those of SARIF 2.1.0 (result.level)."""

    ERROR = "error"  # something was disproven
    WARNING = "warning"  # something could not be checked
    NOTE = "note"  # to be known; it changes no outcome


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One place where a rule does not hold, or could not be checked.

    `place` says where: a file and what in it, a request by its number, a URL. `message` is one sentence,
    `hint` what to do, or empty. Neither contains an identifier or a credential.
    """

    rule: str
    severity: Severity
    place: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class ReportGuard:
    """Ends at an error of the tree, which is then a finding of a report, and no more an error."""

    report: AuditReport
    rule: str
    place: str

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        if isinstance(error, PeerError | BadInput):
            self.report.disprove(self.rule, self.place, str(error), error.hint)
        elif isinstance(error, ContactSyncError):
            self.report.leave(self.rule, self.place, str(error), error.hint)
        else:
            return False
        return True


@dataclass(slots=True)
class AuditReport:
    """The rules of an audit, with what was proven and found. `rules` maps their words to a description."""

    subject: str
    rules: Mapping[str, str]
    findings: list[AuditFinding] = field(default_factory=list)
    proven: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """Figures of this kind of audit, as JSON has them."""
    _closed: bool = False

    def prove(self, rule: str, count: int = 1) -> None:
        """`count` things hold."""
        self._known(rule)
        self.proven[rule] = self.proven.get(rule, 0) + count

    def disprove(self, rule: str, place: str, message: str, hint: str = "") -> None:
        """The rule does not hold at a place."""
        self._find(rule, Severity.ERROR, place, message, hint)

    def leave(self, rule: str, place: str, message: str, hint: str = "") -> None:
        """The rule could not be checked at a place."""
        self._find(rule, Severity.WARNING, place, message, hint)

    def note(self, rule: str, place: str, message: str, hint: str = "") -> None:
        """Something to be known. It changes no outcome, but counts as having reached the rule."""
        self._find(rule, Severity.NOTE, place, message, hint)

    def guard(self, rule: str, place: str) -> ReportGuard:
        """Make a finding of an error of the tree: bad octets are disproven, anything else is unchecked."""
        return ReportGuard(self, rule, place)

    def close(self) -> None:
        """Count every rule that was not reached as unchecked. To be called once, at the end."""
        if self._closed:
            return
        self._closed = True
        reached = {finding.rule for finding in self.findings} | self.proven.keys()
        for rule in self.rules:
            if rule not in reached:
                self.leave(rule, self.subject, f"nothing was there to check: {self.rules[rule]}")

    @property
    def exit_code(self) -> int:
        """0 if all was proven, 9 if something was disproven, 10 if something could not be checked."""
        self.close()
        severities = {finding.severity for finding in self.findings}
        if Severity.ERROR in severities:
            return DISPROVEN
        return UNCHECKED if Severity.WARNING in severities else PROVEN

    @property
    def outcome(self) -> str:
        """The exit code as a word."""
        return {PROVEN: "proven", DISPROVEN: "disproven", UNCHECKED: "unchecked"}[self.exit_code]

    def state(self, rule: str) -> str:
        """What a rule came to: proven, disproven, unchecked or not applicable."""
        found = {one.severity for one in self.findings if one.rule == rule}
        if Severity.ERROR in found:
            return "disproven"
        if Severity.WARNING in found:
            return "unchecked"
        return "proven" if self.proven.get(rule) else "not applicable"

    def value(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return {
            "subject": self.subject,
            "outcome": self.outcome,
            "rules": [
                {
                    "rule": rule,
                    "description": description,
                    "proven": self.proven.get(rule, 0),
                    "state": self.state(rule).replace(" ", "-"),
                }
                for rule, description in self.rules.items()
            ],
            "findings": [
                {
                    "rule": one.rule,
                    "severity": str(one.severity),
                    "place": one.place,
                    "message": one.message,
                    "hint": one.hint,
                }
                for one in self.findings
            ],
            **self.facts,
        }

    def lines(self) -> Iterator[str]:
        """The report as text: each rule, then each finding, then the outcome."""
        outcome = self.outcome
        for rule, description in self.rules.items():
            state = self.state(rule)
            word = _WORDS.get(state, state)
            yield f"{word:9} {self.proven.get(rule, 0):>9,}  {description}"
        for one in self.findings:
            yield f"{one.severity}: {one.place}: {one.message}"
            if one.hint:
                yield f"  {one.hint}"
        yield {
            "proven": f"{self.subject}: all of this was proven",
            "disproven": f"{self.subject}: NOT as promised, see the errors above",
            "unchecked": f"{self.subject}: not proven, something could not be checked",
        }[outcome]

    def sarif(self, version: str) -> dict[str, Any]:
        """The report as a SARIF 2.1.0 log (OASIS), for tools that collect findings."""
        self.close()
        return {
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [
                {
                    "tool": {
                        "driver": {
                            "name": "contactsync",
                            "version": version,
                            "rules": [
                                {"id": rule, "shortDescription": {"text": text}}
                                for rule, text in self.rules.items()
                            ],
                        }
                    },
                    "results": [
                        {
                            "ruleId": one.rule,
                            "level": str(one.severity),
                            "message": {"text": f"{one.message}. {one.hint}".removesuffix(". ")},
                            "locations": [
                                {"logicalLocations": [{"fullyQualifiedName": one.place, "kind": "resource"}]}
                            ],
                        }
                        for one in self.findings
                    ],
                }
            ],
        }

    def _find(self, rule: str, severity: Severity, place: str, message: str, hint: str) -> None:
        self._known(rule)
        self.findings.append(AuditFinding(rule, severity, place, message, hint))

    def _known(self, rule: str) -> None:
        if rule not in self.rules:
            raise KeyError(f"the audit has no rule {rule!r}")
