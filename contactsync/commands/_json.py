"""What `--json` prints: one versioned value on stdout, also for an error. See docs/json-schema.json."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from contactsync.foundation.errors import ContactSyncError, OutOfQuota, Refused, ServerFailed

if TYPE_CHECKING:
    from collections.abc import MutableMapping

VERSION: Final = 1
"""Of the objects. It changes if a member goes or means something else, not if one is added."""

_WANTED: Final = "contactsync.json"
_PRINTED: Final = "contactsync.json.printed"
_KINDS: Final = {"OutOfQuota": "quota", "OurError": "installation"}


def text(value: Mapping[str, Any]) -> str:
    """One line of JSON, with its version."""
    return json.dumps({"version": VERSION, **value}, ensure_ascii=False, default=_time) + "\n"


def _time(value: Any) -> str:
    """A time as text (ISO 8601)."""
    return str(value.isoformat())


def emit(value: Mapping[str, Any]) -> None:
    """Print an object on stdout, in UTF-8 whatever the terminal's encoding."""
    _print(text(value))


def emit_list(values: Iterable[Mapping[str, Any]]) -> None:
    """Print a list of objects, each of which has the version."""
    _print(
        json.dumps([{**value, "version": VERSION} for value in values], ensure_ascii=False, default=_time)
        + "\n"
    )


def printed() -> None:
    """A value is on stdout: an error that follows prints no second one."""
    if context := click.get_current_context(silent=True):
        context.meta[_PRINTED] = True


def _print(line: str) -> None:
    click.echo(line.encode(), nl=False)
    printed()


def note_arguments(meta: MutableMapping[str, Any], arguments: Sequence[str]) -> None:
    """Note whether `--json` is among the arguments: that is known even if the others cannot be parsed."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    meta[_WANTED] = "--json" in arguments[:end]


def emit_error(meta: Mapping[str, Any], value: Mapping[str, Any]) -> None:
    """Print the object of an error that ends the command, if JSON is wanted and nothing was printed yet."""
    if meta.get(_WANTED) and not meta.get(_PRINTED):
        _print(text({"error": value}))


def kind_of(error: type[ContactSyncError]) -> str:
    """The word for a class of the error tree (`bad-input`, `network`, …), or for the one that it extends."""
    name = next(one.__name__ for one in error.__mro__ if one.__module__ == ContactSyncError.__module__)
    words = re.findall("[A-Z][a-z]+", name.removesuffix("Error"))
    return _KINDS.get(name) or "-".join(words).lower()


def error_value(error: ContactSyncError) -> dict[str, Any]:
    """The members of an error of the tree."""
    value: dict[str, Any] = {
        "kind": kind_of(type(error)),
        "message": str(error),
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    if error.refusal:
        value["refusal"] = error.refusal
    if isinstance(error, Refused | ServerFailed):
        value |= {"status": error.status, "problem": error.kind, "retry_after": error.retry_after}
    if isinstance(error, OutOfQuota):
        value |= {name: getattr(error, name) for name in ("left", "burst", "per_day")}
    return value


def other_error(kind: str, message: str, hint: str, exit_code: int) -> dict[str, Any]:
    """The members of an error that is not of the tree."""
    return {"kind": kind, "message": message, "hint": hint, "exit_code": exit_code}
