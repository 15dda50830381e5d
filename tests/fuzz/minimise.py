"""Which inputs to keep: the fewest, small ones first, that together reach all lines that all of them reach."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import contactsync
from fuzz.target import Finding, Target, check

_PACKAGE = str(Path(contactsync.__file__).parent) + os.sep

Lines = set[tuple[CodeType, int]]


@contextlib.contextmanager
def lines_reached() -> Iterator[Lines]:
    """The lines of the package that run meanwhile."""
    reached: Lines = set()

    def line(frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            reached.add((frame.f_code, frame.f_lineno))
        return line

    def call(frame: FrameType, _event: str, _argument: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(_PACKAGE) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield reached
    finally:
        sys.settrace(before)


def worth_keeping(target: Target, known: Iterable[bytes], inputs: Iterable[bytes]) -> list[bytes]:
    """Of `inputs`, those that reach a line that neither `known` nor one before reaches; small ones come first."""
    reached: Lines = set()
    for data in known:
        reached |= _lines(target, data)
    found = []
    for data in sorted(inputs, key=lambda data: (len(data), data)):
        more = _lines(target, data)
        if not more <= reached:
            reached |= more
            found.append(data)
    return found


def _lines(target: Target, data: bytes) -> Lines:
    with lines_reached() as reached, contextlib.suppress(Finding):
        check(target, data)
    return reached
