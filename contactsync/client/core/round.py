"""A round of evaluation: new identifiers, hidden among random points, in batches.

Padding is random bytes, which blind like anything else (RFC 9497 §3.3.2): nobody can tell them apart.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from contactsync.foundation.limits import MAX_BATCH
from contactsync.tokens import Tokens

if TYPE_CHECKING:  # the kernels take a third of a second to load, which a sync without news need not wait for
    from contactsync.voprf.client import Blinding

LEAST = 8
PADDING_BYTES = 32


def padded(count: int) -> int:
    """How many points are sent for so many new identifiers: none, or the next power of two, at least 8."""
    return 0 if count == 0 else max(LEAST, 1 << (count - 1).bit_length())


def make_round(new: Sequence[bytes]) -> list[RoundBatch]:
    """Pad, shuffle and split."""
    places = [*range(len(new)), *[-1] * (padded(len(new)) - len(new))]
    secrets.SystemRandom().shuffle(places)
    batches = []
    for start in range(0, len(places), MAX_BATCH):
        chosen = places[start : start + MAX_BATCH]
        inputs = [secrets.token_bytes(PADDING_BYTES) if i < 0 else new[i] for i in chosen]
        batches.append(RoundBatch(tuple(inputs), tuple(chosen)))
    return batches


@dataclass(frozen=True, slots=True)
class RoundBatch:
    """Inputs to blind together. `places[i]` is input i's index among the new identifiers, -1 for padding."""

    inputs: tuple[bytes, ...]
    places: tuple[int, ...]

    def blind(self) -> BlindedBatch:
        """Blind every input with a fresh scalar."""
        from contactsync.voprf.client import blind  # noqa: PLC0415

        return BlindedBatch(self, blind(self.inputs))


@dataclass(frozen=True, slots=True)
class BlindedBatch:
    """A batch as it is sent, and what is kept of it until the reply comes."""

    batch: RoundBatch
    blinding: Blinding

    @property
    def body(self) -> bytes:
        """What is sent: n times 32 octets."""
        return self.blinding.blinded.tobytes()

    @property
    def reply_length(self) -> int:
        """How many octets the reply has: n elements and a proof."""
        from contactsync.voprf.suite import NE, PROOF_BYTES  # noqa: PLC0415

        return len(self.blinding) * NE + PROOF_BYTES

    def finish(self, reply: bytes, public_key: bytes) -> EvaluatedBatch:
        """Verify the proof against the manifest's key, then unblind. Raises BadReply, BadProof."""
        from contactsync.voprf.client import finalize  # noqa: PLC0415
        from contactsync.voprf.wire import parse_reply  # noqa: PLC0415

        evaluated, proof = parse_reply(reply, len(self.blinding))
        outputs = finalize(self.blinding, evaluated, proof, public_key)
        places = np.array(self.batch.places, np.int64)
        real = places >= 0
        inputs = [i for i, keep in zip(self.batch.inputs, real.tolist(), strict=True) if keep]
        return EvaluatedBatch(inputs, places[real], Tokens.from_outputs(outputs).take(real))


@dataclass(frozen=True, slots=True)
class EvaluatedBatch:
    """Identifiers with their tokens, padding left out; `places` int64[n] are indices among the new ones."""

    identifiers: list[bytes]
    places: np.ndarray[tuple[int], np.dtype[np.int64]]
    tokens: Tokens
