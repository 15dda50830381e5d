"""Write the vector files of contactsync/vectors/ that the project computes itself.

    python tests/vectors/make.py        (or: make vectors)

Only twins compute here, never the package: tests/reference.py the group and the protocol, format_twin.py the
files, sync_twin.py whole syncs, tuf_twin.py signed metadata, log_twin.py the log. test_format_vectors.py
checks that the files are what this writes. After a change look at the counts in
contactsync/audit/vectors/checking.py, at schema.json beside the files, and at docs/vectors.md.
"""

import hashlib
import json
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "contactsync" / "vectors"
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("", "voprf", "vectors", "interop")]

import make_vectors  # noqa: E402 - found by the line above when run as a script

LATE = {
    "directory.json": "make_directories:directories",
    "delta.json": "make_deltas:deltas",
    "screen.json": "make_screens:screens",
    "labels.json": "make_labels:labels",
    "manifest.json": "make_manifests:manifests",
    "runs.json": "make_runs:runs",
    "metadata.json": "make_metadata:metadata",
    "log.json": "make_logs:logs",
}
"""Imported when they are asked for: their modules make the files of directories while they are imported."""

FILES = [*make_vectors.FILES, *LATE]


def text(name: str) -> str:
    """The file: indented by one, but lists of plain values on one line."""
    make = make_vectors.FILES.get(name) or resolve_name(LATE[name])
    return _text(make(), "\n") + "\n"


def _text(value: Any, line: str) -> str:
    within = line + " "
    if isinstance(value, dict) and value:
        members = (f"{json.dumps(name)}: {_text(member, within)}" for name, member in value.items())
        return "{" + within + ("," + within).join(members) + line + "}"
    if isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        return "[" + within + ("," + within).join(_text(part, within) for part in value) + line + "]"
    return json.dumps(value, ensure_ascii=False)


def sums() -> str:
    """What SHA256SUMS says of the files that are there, as sha256sum writes it."""
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(FOLDER.glob("*.json"))
    )


if __name__ == "__main__":
    for name in FILES:
        (FOLDER / name).write_text(text(name))
    (FOLDER / "SHA256SUMS").write_text(sums())
