"""How octets, cases and groups are written down in a vector file."""

import base64
import zlib
from typing import Any

Json = dict[str, Any]
VERSION = 2
NEAR = 8  # octets that are the same between two changes: fewer are changed with them


def case(reason: str, given: Json, expected: Json, effect: str = "") -> Json:
    """One case; a refusal has an effect: what becomes of an implementation that accepts it."""
    assert (expected.get("refusal") is not None) == bool(effect), reason
    return {"reason": reason, **({"effect": effect} if effect else {}), "given": given, "expected": expected}


def group(name: str, layer: str, operation: str, cases: list[Json], source: str) -> Json:
    numbered = [{"number": number, **one} for number, one in enumerate(cases, 1)]
    return {"name": name, "source": source, "layer": layer, "operation": operation, "cases": numbered}


def document(about: str, groups: list[Json], files: dict[str, Json] | None = None) -> Json:
    shared = {"files": files} if files else {}
    return {"$schema": "schema.json", "version": VERSION, "about": about, **shared, "groups": groups}


def packed(data: bytes) -> Json:
    """Octets of which most are zeros."""
    return {"zlib": base64.b64encode(zlib.compress(data, 9)).decode()}


def changed(name: str, old: bytes, new: bytes, *, text: bool = False) -> Json:
    """`new` as the file `name` with splices: what differs, and nothing else."""
    as_text = (lambda part: {"text": part.decode("ascii")}) if text else (lambda part: {"hex": part.hex()})
    if old == new:
        return {"of": name}
    if len(old) != len(new):
        start = next(
            (i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
        )
        rest = min(len(old), len(new)) - start
        tail = next((i for i in range(rest) if old[-1 - i] != new[-1 - i]), rest)
        runs = [(start, len(old) - tail - start, new[start : len(new) - tail])]
    else:
        spans: list[list[int]] = []
        for i in (i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b):
            if spans and i - spans[-1][1] <= NEAR:
                spans[-1][1] = i + 1
            else:
                spans.append([i, i + 1])
        runs = [(a, b - a, new[a:b]) for a, b in spans]
    return {"of": name, "splice": [{"at": at, "remove": n, **as_text(part)} for at, n, part in runs]}
