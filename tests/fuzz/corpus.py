"""The inputs that are kept in the tree: one folder for each target, each file named by its SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fuzz.target import Target

FOLDER = Path(__file__).parent / "corpus"
MOST_OCTETS = 1_000_000
"""What all of it may take."""


def seeds_of(target: Target) -> list[bytes]:
    """What a target starts from: real data, then what is kept, each once."""
    return list(dict.fromkeys([*target.seeds(), *kept_of(target)]))


def kept_of(target: Target) -> list[bytes]:
    """What is kept, in the order of the names."""
    return [path.read_bytes() for path in sorted((FOLDER / target.name).glob("*"))]


def keep(target: Target, data: bytes) -> Path:
    """Keep an input."""
    path = FOLDER / target.name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def octets() -> int:
    """How much is kept."""
    return sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
