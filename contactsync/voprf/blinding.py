"""What a client keeps of a batch that it has blinded."""

from __future__ import annotations

from dataclasses import dataclass, field

from contactsync.voprf.constants import Rows


@dataclass(frozen=True, slots=True)
class Blinding:
    """What the client keeps of a batch until the reply comes. It sends `blinded`, uint8[n, 32]."""

    inputs: tuple[bytes, ...] = field(repr=False)
    blinds: Rows = field(repr=False)
    blinded: Rows = field(repr=False)

    def __len__(self) -> int:
        return len(self.inputs)
