"""What a log says of itself: origin, number of entries, and their root hash (C2SP tlog-checkpoint)."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Final, Self

from contactsync.foundation.errors import BadReply
from contactsync.publication.log.merkle import EMPTY, HASH_BYTES, MAX_SIZE

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`size` entries with the root hash `root`. `origin` is the name of the log."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode('ascii')}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of a note's text. Lines after the third are extensions, which are ignored. Raises BadReply."""
        lines = text.split("\n")
        try:
            origin, size, coded = lines[:3]
            root = base64.b64decode(coded, validate=True)
        except ValueError as error:
            raise BadReply("not a checkpoint of a log") from error
        whole = lines[-1] == "" and all(lines[:-1]) and len(root) == HASH_BYTES
        if not whole or not _SIZE.fullmatch(size) or int(size) > MAX_SIZE:
            raise BadReply("not a checkpoint of a log")
        if base64.b64encode(root).decode("ascii") != coded or (size == "0" and root != EMPTY):
            raise BadReply("not a checkpoint of a log")
        return cls(origin, int(size), root)
