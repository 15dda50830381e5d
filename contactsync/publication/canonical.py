r"""Canonical JSON: one spelling for each value, so that what is signed can be compared and hashed.

ASCII; members sorted by name, each once; no white space; whole numbers only. Strings escape `"`, `\` and what
is not printable ASCII: \b \f \n \r \t, else \u and four lower-case hex digits, surrogate pairs beyond U+FFFF.
docs/http-api.md ("Canonical JSON") is the text this follows.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 8
MAX_MEMBERS: Final = 64
MAX_NUMBER: Final = 1 << 53  # the largest integer that every JSON reader keeps exactly

_NAME = re.compile(r"[a-z0-9_.-]{1,64}")
_SURROGATE = re.compile("[\ud800-\udfff]")


def encode(value: object) -> bytes:
    """The canonical form of a value of dicts, lists, strings, integers, booleans and None."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def decode(data: bytes) -> Any:
    """The value that ASCII JSON without fractions states; whether canonically, `encode` tells.

    Raises ValueError.
    """
    try:
        return json.loads(data.decode("ascii"), parse_float=_no_fraction, parse_constant=_no_fraction)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def fault(value: object, *, depth: int = MAX_DEPTH) -> tuple[str, str] | None:
    """Why a value of unknown meaning may not be kept, and the refusal's word; None if it may.

    It has at most `depth` levels and 64 members an object, with names of lower-case letters, digits, "_", "."
    and "-"; numbers up to 2^53; no surrogate without its other half, which not every reader can keep.
    """
    found = None
    if isinstance(value, str) and _SURROGATE.search(value):
        found = "half a surrogate pair", "bad-value"
    elif isinstance(value, int) and abs(value) > MAX_NUMBER:
        found = "a number beyond 2^53", "bad-value"
    elif isinstance(value, dict | list) and depth == 0:
        found = "too many levels", "too-large"
    elif isinstance(value, dict) and len(value) > MAX_MEMBERS:
        found = f"more than {MAX_MEMBERS} members", "too-large"
    elif isinstance(value, dict) and not all(map(is_name, value)):
        found = "an invalid member name", "bad-value"
    elif isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        found = next((inner for part in parts if (inner := fault(part, depth=depth - 1))), None)
    return found


def is_name(name: object) -> bool:
    """Whether a member can have this name, which then sorts alike in every language."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _no_fraction(_: str) -> NoReturn:
    raise ValueError("a number that is not an integer")
