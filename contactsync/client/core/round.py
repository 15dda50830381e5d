"""A round of evaluation: new identifiers, hidden among padding, in batches.

Padding inputs are random bytes. They are blinded like any input (RFC 9497 §3.3.2), so that no one can tell
them from real ones. They have the lengths of real identifiers, so that hashing them takes as long.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.limits import MAX_BATCH
from contactsync.labels import KEY_BYTES
from contactsync.tokens import TOKEN_BYTES, Tokens
from contactsync.voprf.constants import NE, PROOF_BYTES, Rows
from contactsync.voprf.wire import parse_reply

if TYPE_CHECKING:
    from contactsync.voprf.blinding import Blinding

OUTPUT_BYTES: Final = TOKEN_BYTES + KEY_BYTES
"""What is kept of an output."""

LEAST = 8
"""Points in the smallest round."""

MOST_QUICK = 8
"""Batches of the smallest size whose replies may wait for each other: after runs that were cut, say."""

USUAL_LENGTH = 17
"""Octets of a padding input if there is no real input to copy the length of."""


def load_engine() -> None:
    """Load the engine, which takes a third of a second the first time."""
    from contactsync.ristretto255 import warm_up  # noqa: PLC0415

    warm_up()


def padded(count: int) -> int:
    """How many points are sent for `count` new identifiers: none, or the next power of two, at least 8."""
    return 0 if count == 0 else max(LEAST, 1 << (count - 1).bit_length())


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """A batch of a round: its identifiers among `size` points. An interrupted round is finished with these.

    A batch of a cover round has no identifiers, and is kept like any other: else a cut would show which it
    was.
    """

    name: str
    size: int
    identifiers: tuple[bytes, ...] = field(repr=False)

    @property
    def is_small(self) -> bool:
        """Whether it may be a cover round, by its size."""
        return self.size <= LEAST

    def blind(self, like: Sequence[bytes]) -> BlindedBatch:
        """Add padding, shuffle, and blind every input with a fresh scalar.

        Padding inputs have lengths that occur in `like`. A small batch takes no engine, which needs a third
        of a second to load: whether it is one depends on its size alone.
        """
        if self.is_small:
            from contactsync.voprf.few import blind  # noqa: PLC0415
        else:
            from contactsync.voprf.client import blind  # noqa: PLC0415

        nobody = [_nobody(like) for _ in range(self.size - len(self.identifiers))]
        places = [*range(len(self.identifiers)), *[-1] * len(nobody)]
        secrets.SystemRandom().shuffle(places)
        inputs = [nobody.pop() if place < 0 else self.identifiers[place] for place in places]
        return BlindedBatch(self, tuple(places), blind(inputs))


@dataclass(frozen=True, slots=True)
class Round:
    """What is sent: the missing batches of an interrupted round, then a new round. Either may be empty."""

    unfinished: tuple[PendingBatch, ...]
    fresh: tuple[PendingBatch, ...]

    @property
    def is_cover(self) -> bool:
        """Whether the new round is a cover round."""
        return bool(self.fresh) and not any(batch.identifiers for batch in self.fresh)

    @property
    def is_quick(self) -> bool:
        """Whether replies are worked on once all have come, by the sizes alone.

        So no time between requests, nor until the connection is closed, tells a cover round from another.
        """
        batches = (*self.unfinished, *self.fresh)
        return len(batches) <= MOST_QUICK and all(batch.is_small for batch in batches)

    @property
    def points(self) -> int:
        """How many points the new round has: what the server learns of what is new."""
        return sum(batch.size for batch in self.fresh)

    @property
    def all_points(self) -> int:
        """How many points are sent."""
        return self.points + sum(batch.size for batch in self.unfinished)


def make_round(
    new: Sequence[bytes], unfinished: Sequence[PendingBatch], *, cover: bool, most: int = MAX_BATCH
) -> Round:
    """The round for these new identifiers: padded, shuffled, split.

    `unfinished` batches are sent as they are, never padded again: what is left of a round would tell how
    large it really was. Where nothing is new, `cover` makes a cover round, so that "nothing new" looks like
    "up to eight new". A batch has at most `most` points, rounded down to a power of two of at least 8.
    """
    most = min(MAX_BATCH, max(LEAST, 1 << (most.bit_length() - 1)))
    waiting = {identifier for batch in unfinished for identifier in batch.identifiers}
    fresh = [identifier for identifier in new if identifier not in waiting]
    size = padded(len(fresh)) or (LEAST if cover else 0)
    places = [*range(len(fresh)), *[-1] * (size - len(fresh))]
    secrets.SystemRandom().shuffle(places)
    batches = []
    for start in range(0, size, most):
        chosen = places[start : start + most]
        identifiers = tuple(fresh[place] for place in chosen if place >= 0)
        batches.append(PendingBatch(secrets.token_hex(8), len(chosen), identifiers))
    return Round(tuple(unfinished), tuple(batches))


@dataclass(frozen=True, slots=True)
class BlindedBatch:
    """A batch as it is sent, and what is kept until the reply comes.

    `places[i]` is the index of input i among the batch's identifiers, -1 for padding.
    """

    batch: PendingBatch
    places: tuple[int, ...] = field(repr=False)
    blinding: Blinding

    @property
    def body(self) -> bytes:
        """What is sent: n times 32 octets."""
        return self.blinding.blinded.tobytes()

    @property
    def reply_length(self) -> int:
        """How many octets the reply has: n elements and a proof."""
        return len(self.blinding) * NE + PROOF_BYTES

    def finish(self, reply: bytes, public_key: bytes) -> EvaluatedBatch:
        """Verify the proof against the manifest's key, then unblind. Raises BadReply, BadProof."""
        evaluated, proof = parse_reply(reply, len(self.blinding))
        if not self.batch.identifiers and self._holds(evaluated, proof, public_key):
            return EvaluatedBatch.of(self.batch, [], np.empty((0, OUTPUT_BYTES), np.uint8))
        from contactsync.voprf.client import confirm, finalize  # noqa: PLC0415

        if self.batch.is_small:
            confirm(self.blinding)
        outputs = finalize(self.blinding, evaluated, proof, public_key)
        places = np.array(self.places, np.int64)
        real = places >= 0
        identifiers = [self.batch.identifiers[place] for place in places[real].tolist()]
        return EvaluatedBatch.of(self.batch, identifiers, outputs[real])

    def _holds(self, evaluated: Rows, proof: bytes, public_key: bytes) -> bool:
        """Whether the proof of a small batch holds. If not, the engine says why."""
        from contactsync.voprf.few import proof_holds_vartime  # noqa: PLC0415

        if not self.batch.is_small:
            return False
        return proof_holds_vartime(self.blinding.blinded, evaluated, proof, public_key)


@dataclass(frozen=True, slots=True)
class EvaluatedBatch:
    """The identifiers of a batch with their tokens and label keys, uint8[n, 32], without the padding."""

    batch: PendingBatch
    identifiers: list[bytes] = field(repr=False)
    tokens: Tokens = field(repr=False)
    keys: NDArray[np.uint8] = field(repr=False)

    @classmethod
    def of(cls, batch: PendingBatch, identifiers: list[bytes], outputs: Rows) -> Self:
        """It from the outputs of these identifiers, uint8[n, 42 or more]."""
        keys = np.ascontiguousarray(outputs[:, TOKEN_BYTES:OUTPUT_BYTES])
        return cls(batch, identifiers, Tokens.from_outputs(outputs), keys)


def _nobody(like: Sequence[bytes]) -> bytes:
    return secrets.token_bytes(len(secrets.choice(like)) if like else USUAL_LENGTH)
