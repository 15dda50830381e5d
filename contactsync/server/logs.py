"""The log of a process that runs for long: text or JSON on stderr, and nothing in it that a request held.

Our own messages are made with care. Those of libraries, and the texts of exceptions nobody foresaw, may quote
what they worked on: asyncio shows the arguments of a callback, an exception its value. So of a library's
message only its first words stay, and of an exception its class and its place in the code.

A line of JSON is one object with these members, and no others:

| member | |
|---|---|
| `time` | UTC, RFC 3339, with milliseconds |
| `level` | debug, info, warning, error, critical |
| `logger` | which part says it: contactsync.server, contactsync.admin, contactsync.publishing, or a library |
| `process` | the number of the process |
| `message` | one sentence, without a line break |
| `error`, `place` | only of an unforeseen exception: its class; file and line in the code |
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal

LogFormat = Literal["text", "json"]
VARIABLE: Final = "CONTACTSYNC_LOG_FORMAT"
"""Processes that a process starts log as it does: they read this."""

_OURS: Final = "contactsync"
_WORDS: Final = re.compile(r"[A-Za-z ',.]{0,80}")
_FALLBACK: Final = "a message that may quote a request"

_crashes = logging.getLogger("contactsync.crash")


def set_up_logging(form: LogFormat) -> None:
    """Log to stderr from now on, also what ends a thread or the process by surprise."""
    os.environ[VARIABLE] = form
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else DiscreetText())
    root = logging.getLogger()
    for other in list(root.handlers):
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook = _on_crash
    threading.excepthook = _on_thread_crash


class DiscreetText(logging.Formatter):
    """`2026-11-26 10:00:00,123 INFO serving people: epoch 1, edition 2`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        what = " in ".join(_exception(record).values())
        said = f"{message_of(record)} ({what})" if what else message_of(record)
        return f"{self.formatTime(record)} {record.levelname} {said}"


class JsonLines(logging.Formatter):
    """One object a line; the members are those of the table above."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        at = datetime.fromtimestamp(record.created, UTC)
        value: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": message_of(record),
            **_exception(record),
        }
        return json.dumps(value, ensure_ascii=False)


def message_of(record: logging.LogRecord) -> str:
    """What a record says, on one line; of a library's only the first words."""
    if record.name.split(".")[0] == _OURS:
        return " ".join(record.getMessage().split())
    found = _WORDS.match(str(record.msg))
    words = found[0].strip() if found else ""
    return f"{record.name}: {words or _FALLBACK}"


def _exception(record: logging.LogRecord) -> dict[str, str]:
    kind, error, trace = record.exc_info or (None, None, None)
    if kind is None:
        return {}
    return {"error": kind.__name__, "place": _place(trace or getattr(error, "__traceback__", None))}


def _place(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else "?"


def _on_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    _crashes.critical("the process ends by a fault", exc_info=(kind, error, trace))


def _on_thread_crash(given: threading.ExceptHookArgs) -> None:
    if given.exc_type is SystemExit:
        return
    error = given.exc_value or given.exc_type()
    _crashes.critical("a thread ends by a fault", exc_info=(given.exc_type, error, given.exc_traceback))
