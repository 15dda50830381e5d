"""Run the vector files on this copy, and report what agreed, layer by layer.

Vectors are public: a difference may name the field and the figures, no secret is in them. A file that is not
the one that this version was released with is never proven, whatever it says, but its cases are run all the
same: they show where it differs.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

from contactsync.audit.report import AuditReport
from contactsync.audit.vectors import formats, labelled, logged, octets, primitives, runs, serving, trust
from contactsync.audit.vectors.layers import LAYERS, word_of
from contactsync.foundation.errors import BadInput, ContactSyncError, InvalidElement
from contactsync.identifiers import Rejected

Case = dict[str, Any]
Operation = Callable[[Case], Case]

SHIPPED: Final = {
    "rfc9380.json": 10,
    "rfc9496.json": 56,
    "rfc9497.json": 5,
    "edges.json": 51,
    "normalisation-1.json": 139,
    "forms-1.json": 89,
    "mail-1.json": 105,
    "refusals.json": 55,
    "directory.json": 105,
    "delta.json": 56,
    "screen.json": 28,
    "labels.json": 94,
    "manifest.json": 198,
    "runs.json": 71,
    "metadata.json": 84,
    "log.json": 149,
}
"""How many vectors each file holds, those of RFCs first. A copy that lacks some proves less than it says."""

VERSION: Final = 2
SUMS: Final = "SHA256SUMS"
FILES: Final = "files"
"""The rule about the files themselves; the other rules are layers."""

OPERATIONS: Final[Mapping[str, Operation]] = {
    **primitives.OPERATIONS,
    **formats.OPERATIONS,
    **labelled.OPERATIONS,
    **serving.OPERATIONS,
    **runs.OPERATIONS,
    **trust.OPERATIONS,
    **logged.OPERATIONS,
}

_DOUBTS = ("valid", "holds")
"""Fields that say false of what must not be taken for good: as much of a refusal as an error."""

_INSTALL = "The installation is damaged: install contactsync again."
_WRONG = "This copy computes wrong results: do not use it. Install it again, and report it."
_MALFORMED = (
    ArithmeticError,
    AttributeError,
    IndexError,
    KeyError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@dataclass(slots=True)
class _Tally:
    """How many vectors agreed: what is computed or accepted, and what is refused."""

    positive: int = 0
    negative: int = 0

    def count(self, *, refused: bool) -> None:
        self.negative += refused
        self.positive += not refused

    def value(self) -> dict[str, int]:
        return {"positive": self.positive, "negative": self.negative}


def check(folder: Traversable | None = None, shipped: Mapping[str, int] = SHIPPED) -> AuditReport:
    """Run the vector files of `folder` (default: the shipped ones).

    Facts of the report: `files` and `layers` with how many vectors agreed, `groups`, `total`.
    """
    folder = folder or files("contactsync") / "vectors"
    report = AuditReport(
        "the test vectors", {FILES: "each vector file is whole, and the one of this version"}
    )
    report.rules = {**report.rules, **{name: layer.description for name, layer in LAYERS.items()}}
    run = _Run(report)
    sums = _sums(folder, report)
    for name, count in shipped.items():
        run.file(folder, name, count, sums.get(name, ""))
    report.facts = run.facts()
    return report


def _sums(folder: Traversable, report: AuditReport) -> dict[str, str]:
    """The SHA-256 of each file, as `sha256sum` writes them down."""
    try:
        lines = (folder / SUMS).read_text("ascii").splitlines()
        return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    except (OSError, ValueError) as error:
        report.leave(FILES, SUMS, f"it cannot be read ({type(error).__name__})", _INSTALL)
        return {}


class _Run:
    """The files that were run so far, and what came of it."""

    def __init__(self, report: AuditReport) -> None:
        self._report = report
        self._files: dict[str, _Tally] = {}
        self._layers: dict[str, _Tally] = {}
        self._groups: list[dict[str, Any]] = []

    def facts(self) -> dict[str, Any]:
        """The figures of the report."""
        tallies = self._files.values()
        return {
            "files": [{"name": name, **tally.value()} for name, tally in self._files.items()],
            "layers": [{"name": name, **tally.value()} for name, tally in self._layers.items()],
            "groups": self._groups,
            "total": sum(tally.positive + tally.negative for tally in tallies),
        }

    def file(self, folder: Traversable, name: str, count: int, sha256: str) -> None:
        """Run one file. What cannot be read is unchecked."""
        report = self._report
        self._files[name] = _Tally()
        try:
            data = (folder / name).read_bytes()
        except OSError as error:
            report.leave(FILES, name, f"it cannot be read ({error.strerror or error})", _INSTALL)
            return
        if hashlib.sha256(data).hexdigest() == sha256:
            report.prove(FILES)
        else:
            report.leave(
                FILES, name, f"it is not the file of this version ({SUMS} has another hash)", _INSTALL
            )
        try:
            content = json.loads(data)
            if content["version"] != VERSION:
                report.leave(
                    FILES, name, f"it is of version {content['version']!r}, and not {VERSION}", _INSTALL
                )
                return
            groups = list(content["groups"])
            found = sum(len(group["cases"]) for group in groups)
            shared = octets.shared(content.get("files", {}))
        except _MALFORMED as error:
            report.leave(FILES, name, f"it cannot be read as test vectors ({error})", _INSTALL)
            return
        if found != count:
            report.leave(FILES, name, f"it holds {found} vectors and not {count}", _INSTALL)
        for group in groups:
            self._group(name, group, shared)

    def _group(self, name: str, group: Any, shared: Mapping[str, bytes]) -> None:
        try:
            title, layer, source = str(group["name"]), str(group["layer"]), str(group["source"])
            operation, cases = OPERATIONS[group["operation"]], list(group["cases"])
            if layer not in LAYERS:
                raise KeyError(layer)
        except _MALFORMED as error:
            self._report.leave(FILES, name, f"a group is malformed ({error!r})", _INSTALL)
            return
        tally = _Tally()
        for number, case in enumerate(cases, 1):
            self._case(f"{name}: {title}, vector {number}", layer, operation, case, shared, tally)
        for whole in (self._files[name], self._layers.setdefault(layer, _Tally())):
            whole.positive += tally.positive
            whole.negative += tally.negative
        count = tally.positive + tally.negative
        named = {"name": title, "file": name, "layer": layer, "source": source, "count": count}
        self._groups.append({**named, **tally.value()})

    def _case(  # noqa: PLR0917 - what a vector is made of
        self,
        place: str,
        layer: str,
        operation: Operation,
        case: Any,
        shared: Mapping[str, bytes],
        tally: _Tally,
    ) -> None:
        report = self._report
        error: ContactSyncError | None = None
        try:
            expected, reason = dict(case["expected"]), str(case["reason"])
            given = {field: octets.resolved(value, shared) for field, value in case["given"].items()}
            try:
                got = {"refusal": None, **operation(given)}
            except ContactSyncError as refused:
                error, got = refused, _refused(refused)
        except _MALFORMED as damage:
            report.leave(FILES, place, f"it is malformed ({damage!r})", _INSTALL)
            return
        differing = [field for field, value in expected.items() if field not in got or got[field] != value]
        if not expected:
            report.leave(FILES, place, "it expects nothing", _INSTALL)
        elif differing:
            for field in differing:
                report.disprove(layer, f"{place}, {field}", f"{field} differs ({reason})", _WRONG)
        elif error is not None and (stranger := LAYERS[layer].stranger(error)):
            report.disprove(
                layer, place, f"{stranger}, and not as the layer {layer} refuses ({reason})", _WRONG
            )
        else:
            report.prove(layer)
            tally.count(refused=error is not None or any(got.get(word) is False for word in _DOUBTS))


def _refused(error: ContactSyncError) -> Case:
    """What a vector expects of a refusal: its word, the index that it names, the reason of a text."""
    got: Case = {"refusal": word_of(error)}
    if isinstance(error, InvalidElement):
        got["index"] = error.index
    if isinstance(error, Rejected):
        got |= {"identifier": None, "reason": error.reason}
    return got


def counted(report: AuditReport) -> list[str]:
    """The counts of a report as lines of text, one for each file."""
    return [
        f"{one['positive'] + one['negative']:4} agree, {one['negative']:3} of them refusals  {one['name']}"
        for one in report.facts["files"]
    ]


assert issubclass(Rejected, BadInput)
