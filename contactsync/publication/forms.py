"""Forms that the members of a manifest have, and the one way to refuse what has another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from contactsync.foundation.errors import BadReply
from contactsync.publication import canonical

CRITICAL: Final = "critical"
HEX64: Final = re.compile(r"[0-9a-f]{64}")
HEX16: Final = re.compile(r"[0-9a-f]{16}")


def closed_object(value: object, names: tuple[str, ...], what: str) -> dict[str, Any]:
    """A closed object: what is to be added goes into its partition."""
    if not isinstance(value, dict) or set(value) != set(names):
        refuse(f"has missing or unknown members ({what})", "wrong-members")
    return value


def open_object(
    value: dict[str, Any], names: tuple[str, ...], what: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The members of format 1, and those that a newer program added."""
    if not set(names) <= set(value):
        refuse(f"has missing members ({what})", "wrong-members")
    members = {name: value[name] for name in names}
    extra = {name: member for name, member in value.items() if name not in members}
    check_kept(extra, what)
    return members, extra


def check_kept(value: dict[str, Any], what: str) -> None:
    """Refuse members of unknown meaning that are beyond the limits of `canonical.fault`."""
    if fault := canonical.fault(value):
        refuse(f"has {fault[0]} in {what}", fault[1])


def critical(members: Mapping[str, Any], own: tuple[str, ...], what: str) -> frozenset[str]:
    """What must be understood: names of members that are there and not of format 1, sorted, each once."""
    names = members.get(CRITICAL)
    if names is None and CRITICAL not in members:
        return frozenset()
    candidates = set(members) - {CRITICAL, *own}
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(name, str) and name in candidates for name in names)
        or names != sorted(set(names))
    ):
        refuse(f"has no valid list of what is critical ({what})", "bad-value")
    return frozenset(names)


def listed(names: frozenset[str]) -> str:
    """Names as an error shows them."""
    return ", ".join(f'"{name}"' for name in sorted(names))


def integer(value: object, low: int, high: int, what: str) -> int:
    """A whole number from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        refuse(f"has no valid {what}", "bad-value")
    return value


def hexadecimal(value: object, pattern: re.Pattern[str], what: str) -> str:
    """A string that is all of `pattern`."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        refuse(f"has no valid {what}", "bad-value")
    return value


def refuse(what: str, refusal: str) -> NoReturn:
    """Raise BadReply: `what` continues "the manifest …", `refusal` is the vectors' word."""
    raise BadReply(
        f"the manifest {what}",
        hint="update contactsync; if that does not help, tell the operator of the server",
        refusal=refusal,
    )
