"""What a log and a witness say to each other (C2SP tlog-witness, add-checkpoint).

The log sends the size that the witness last cosigned, a proof that the new tree begins with that one, and the
new checkpoint:

```
old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=

contacts.example.org/log
20852163
…
```

The witness answers 200 with its signature lines, or 409 with the size that it knows.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from contactsync.foundation.errors import BadReply
from contactsync.publication.log.merkle import HASH_BYTES, MAX_PROOF, MAX_SIZE
from contactsync.publication.log.notes import MAX_NOTE

PATH: Final = "/add-checkpoint"
SIZE_TYPE: Final = "text/x.tlog.size"
"""The media type of an answer 409: the size that the witness knows, as a decimal number and a newline."""

MAX_REQUEST: Final = MAX_NOTE + 64 * 64
"""Octets of the longest request that is read."""

_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,18})")
_SIZE: Final = re.compile(r"(0|[1-9][0-9]{0,18})\n")


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request: the size that was cosigned last, the proof from there, and the note of the checkpoint."""

    old: int
    proof: Sequence[bytes]
    note: bytes

    def to_bytes(self) -> bytes:
        """The body."""
        hashes = "".join(f"{base64.b64encode(one).decode('ascii')}\n" for one in self.proof)
        return f"old {self.old}\n{hashes}\n".encode() + self.note

    @classmethod
    def parse(cls, octets: bytes) -> Self:
        """Of a body. Raises BadReply; the note is not looked at."""
        head, found, note = octets.partition(b"\n\n")
        if len(octets) > MAX_REQUEST or not found or not note:
            raise BadReply("no request for a cosignature")
        try:
            first, *lines = head.decode("ascii").split("\n")
            proof = [base64.b64decode(line, validate=True) for line in lines]
        except ValueError as error:
            raise BadReply("no request for a cosignature") from error
        old = _OLD.fullmatch(first)
        same = [base64.b64encode(one).decode("ascii") for one in proof] == lines
        if old is None or len(proof) > MAX_PROOF or not same or any(len(one) != HASH_BYTES for one in proof):
            raise BadReply("no request for a cosignature")
        size = int(old[1])
        if size > MAX_SIZE or (size == 0 and proof):
            raise BadReply("no request for a cosignature")
        return cls(size, proof, note)


def known_size(octets: bytes) -> int:
    """The size that a witness knows, of an answer 409. Raises BadReply."""
    found = _SIZE.fullmatch(octets.decode("ascii", "replace"))
    if found is None or int(found[1]) > MAX_SIZE:
        raise BadReply("the witness did not say what it knows of the log")
    return int(found[1])
