"""How vector files write octets down: docs/vectors.md ("Octets")."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

_FORMS = ("hex", "text", "zlib", "sha512", "of")


def shared(specs: Mapping[str, Any]) -> dict[str, bytes]:
    """The octets under `files`, by name. Each may refer to those before it. Raises as `resolved`."""
    found: dict[str, bytes] = {}
    for name, spec in specs.items():
        found[name] = _octets(spec, found)
    return found


def resolved(value: Any, files: Mapping[str, bytes]) -> Any:
    """A value of a case with every object that stands for octets replaced by them, wherever it is.

    Raises KeyError, TypeError or ValueError for what is malformed.
    """
    if isinstance(value, list):
        return [resolved(part, files) for part in value]
    if isinstance(value, dict):
        if any(form in value for form in _FORMS):
            return _octets(value, files)
        return {name: resolved(member, files) for name, member in value.items()}
    return value


def _octets(spec: dict[str, Any], files: Mapping[str, bytes]) -> bytes:
    if "of" in spec:
        return _spliced(files[spec["of"]], spec.get("splice", []))
    if "zlib" in spec:
        return zlib.decompress(base64.b64decode(spec["zlib"], validate=True))
    if "sha512" in spec:
        return _numbered(spec["sha512"], int(spec["count"]), int(spec["octets"]))
    return _plain(spec) * int(spec.get("times", 1))


def _numbered(text: str, count: int, octets: int) -> bytes:
    """The first octets of the SHA-512 of `text` and a number, for each number from 0 on."""
    begun = hashlib.sha512(text.encode("ascii"))
    parts = []
    for number in range(count):
        whole = begun.copy()
        whole.update(b"%d" % number)
        parts.append(whole.digest()[:octets])
    return b"".join(parts)


def _plain(spec: dict[str, Any]) -> bytes:
    return bytes.fromhex(spec["hex"]) if "hex" in spec else str(spec["text"]).encode("ascii")


def _spliced(data: bytes, splices: list[dict[str, Any]]) -> bytes:
    """The octets with some removed and others put there; places count in the octets as they were."""
    parts, done = [], 0
    for splice in splices:
        at = int(splice["at"])
        if not done <= at <= len(data):
            raise ValueError("splices ascend")
        parts += [data[done:at], _plain(splice) * int(splice.get("times", 1))]
        done = at + int(splice["remove"])
    return b"".join([*parts, data[done:]])
