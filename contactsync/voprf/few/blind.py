"""Blind of RFC 9497 §3.3.2 for a few inputs."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

import numpy as np

from contactsync.foundation.errors import BadInput
from contactsync.foundation.expand import expand_message_xmd
from contactsync.voprf.blinding import Blinding
from contactsync.voprf.constants import HASH_TO_GROUP_DST, NS, Rows, check_batch_size, check_inputs
from contactsync.voprf.few import group

_UNIFORM: Final = 64  # octets that hash_to_ristretto255 maps to a point


def blind(inputs: Sequence[bytes]) -> Blinding:
    """Blind each input with a fresh uniform nonzero scalar, as `voprf.client.blind` does.

    The time depends on how many inputs there are, and on their lengths. Raises BadInput as it does.
    """
    drawn = [1 + secrets.randbelow(group.ORDER - 1) for _ in inputs]
    blinds = np.frombuffer(b"".join(one.to_bytes(NS, "little") for one in drawn), np.uint8).reshape(-1, NS)
    return blind_with_fixed_scalars_for_tests(inputs, blinds)


def blind_with_fixed_scalars_for_tests(inputs: Sequence[bytes], blinds: Rows) -> Blinding:
    """Blind with the given nonzero scalars. A blind that is known, or used twice, hides nothing."""
    check_batch_size(len(inputs), "inputs")
    check_inputs(inputs)
    # inputElement = G.HashToGroup(input)
    uniform = b"".join(expand_message_xmd(one, HASH_TO_GROUP_DST, _UNIFORM) for one in inputs)
    # blindedElement = blind * inputElement
    blinded = group.encode(group.multiply(group.from_uniform_bytes(uniform), blinds))
    # if inputElement == G.Identity(): raise InvalidInputError
    if not blinded.any(axis=1).all():
        raise BadInput("an input hashes to the identity element")
    return Blinding(tuple(inputs), blinds, blinded)
