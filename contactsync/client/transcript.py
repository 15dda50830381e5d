"""The record of every byte that a sync sent and received.

A transcript is a file of JSON lines. The first states the format. Each other line is one piece of one
connection's traffic, in the order of the wire, above TLS if there is any:

```
{"format": "contactsync-transcript-1", "server": "https://example.org"}
{"connection": 1, "sent": "R0VUIC92MS90…"}          base64 of the bytes
{"connection": 1, "received": "SFRUUC8xLjEg…"}
```

Nothing is left out: it contains the credential, and is therefore 0600.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput

FORMAT = "contactsync-transcript-1"


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of one connection. `sent` is the direction: True from client to server."""

    connection: int
    sent: bool
    data: bytes


class TranscriptWriter:
    """Appends pieces to a new file, 0600. Raises BadInput if the file exists or cannot be created."""

    def __init__(self, path: Path, server: str) -> None:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise BadInput(
                f"{path} already exists", hint="give a new file: a transcript is never overwritten"
            ) from error
        except OSError as error:
            raise BadInput(f"cannot create {path}: {error.strerror}", hint="choose another place") from error
        self._path = path
        self._empty = True
        self._file = os.fdopen(handle, "w", encoding="ascii")
        self._line({"format": FORMAT, "server": server})

    def record(self, connection: int, sent: bool, data: memoryview) -> None:
        """Write one piece. This is the `record` of a transport."""
        self._empty = False
        text = base64.b64encode(data).decode("ascii")
        self._line({"connection": connection, "sent" if sent else "received": text})

    def close(self) -> None:
        """Write it to the disk. An empty transcript is removed, so that the command can be repeated."""
        try:
            with self._file:
                if not self._empty:
                    durable.seal(self._file, self._path)
        finally:
            if self._empty:
                self._path.unlink(missing_ok=True)

    def _line(self, value: dict[str, object]) -> None:
        self._file.write(json.dumps(value) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_transcript(path: Path) -> Iterator[Piece]:
    """The pieces of a transcript, in order. Raises BadInput with the line that cannot be read."""
    try:
        file = path.open(encoding="ascii")
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}", hint="check the name") from error
    with file:
        for number, line in enumerate(file, 1):
            try:
                value = json.loads(line)
                if number > 1:
                    yield _piece(value)
                    continue
                known = value["format"] == FORMAT
            except (ValueError, KeyError, TypeError) as error:
                raise _unreadable(path, number) from error
            if not known:
                raise _unreadable(path, number)


def _piece(value: dict[str, Any]) -> Piece:
    direction = "sent" if "sent" in value else "received"
    data = base64.b64decode(value[direction], validate=True)
    return Piece(int(value["connection"]), direction == "sent", data)


def _unreadable(path: Path, number: int) -> BadInput:
    return BadInput(
        f"{path}, line {number}: not a line of a transcript", hint="give a file that sync --transcript wrote"
    )
