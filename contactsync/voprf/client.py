"""The client's half of RFC 9497 VOPRF: Blind, then verify and Finalize (§3.3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contactsync.foundation.errors import BadInput, BadProof, BadReply, OurError
from contactsync.ristretto255 import Elements, decode, hash_to_group, multiply_encode, scalars
from contactsync.voprf.blinding import Blinding
from contactsync.voprf.proof import proof_is_well_formed, verify_proof
from contactsync.voprf.suite import (
    HASH_TO_GROUP_DST,
    NE,
    NS,
    PROOF_BYTES,
    Rows,
    check_batch_size,
    check_inputs,
    deserialize_elements,
    finalize_hash,
    row,
)


def blind(inputs: Sequence[bytes]) -> Blinding:
    """Blind each input with a fresh uniform scalar (RFC 9497 §3.3.2).

    1 to MAX_BATCH inputs of at most 65535 bytes, else BadInput.
    """
    return _blind(inputs, scalars.random(len(inputs)))


def blind_with_fixed_scalars_for_test_vectors(inputs: Sequence[bytes], blinds: Rows) -> Blinding:
    """Blind with the given scalars, uint8[n, 32]. A blind that is known, or used twice, hides nothing."""
    if blinds.shape != (len(inputs), NS) or not (scalars.is_canonical(blinds) & blinds.any(axis=1)).all():
        raise BadInput(
            "a blind is a nonzero scalar below the group's order, one for each input",
            refusal="invalid-scalar",
        )
    return _blind(inputs, blinds)


def _blind(inputs: Sequence[bytes], blinds: Rows) -> Blinding:
    check_batch_size(len(inputs), "inputs")
    check_inputs(inputs)
    # blind = G.RandomScalar()
    # inputElement = G.HashToGroup(input)
    # blindedElement = blind * inputElement
    blinded = multiply_encode(hash_to_group(inputs, HASH_TO_GROUP_DST), blinds)
    # if inputElement == G.Identity(): raise InvalidInputError
    # (No blind is 0, so the product is the identity, all zeros, only if the input element is.)
    if not blinded.any(axis=1).all():
        raise BadInput("an input hashes to the identity element")
    # return blind, blindedElement
    return Blinding(tuple(inputs), blinds, blinded)


def confirm(blinding: Blinding) -> None:
    """Raise OurError unless the engine blinds the same inputs, with the same blinds, to the same elements.

    For what was blinded without it: a wrong element would give tokens that match nobody.
    """
    if not (_blind(blinding.inputs, blinding.blinds).blinded == blinding.blinded).all():
        raise OurError(
            "points were not computed correctly on this machine",
            hint="nothing was stored; report the versions of Python and numpy, and the name of the CPU",
        )


def finalize(blinding: Blinding, evaluated: Rows, proof: bytes, public_key: bytes) -> Rows:
    """Verify the proof of a batch, then unblind it: the outputs, uint8[n, 64] (RFC 9497 §3.3.2).

    `evaluated` is uint8[n, 32] in the order of `blinding.blinded`, `proof` is 64 bytes, `public_key` is the
    32 bytes in the manifest. Checks, in this order: shapes and lengths, the public key, the evaluated
    elements, the proof's scalars (all BadReply), the proof (BadProof). Nothing is unblinded before all checks
    have passed, and one bad element fails the whole batch.
    """
    return _unblind(blinding, _verify(blinding, evaluated, proof, public_key))


def _verify(blinding: Blinding, evaluated: Rows, proof: bytes, public_key: bytes) -> Elements:
    """The decoded evaluated elements, after all checks of `finalize`."""
    if evaluated.dtype != np.uint8 or evaluated.shape != (len(blinding), NE):
        raise BadReply(f"the reply does not hold {len(blinding)} evaluated elements", refusal="wrong-length")
    if len(proof) != PROOF_BYTES:
        raise BadReply(f"the proof has {len(proof)} bytes, not {PROOF_BYTES}", refusal="wrong-length")
    if len(public_key) != NE or deserialize_elements(row(public_key))[1] is not None:
        raise BadReply("the public key is not a valid group element", refusal="invalid-key")
    evaluated = np.ascontiguousarray(evaluated)
    elements_D, bad = deserialize_elements(evaluated)
    if bad is not None:
        raise BadReply(
            f"evaluated element {bad} is the identity or not a canonical encoding", refusal="invalid-element"
        )
    if not proof_is_well_formed(proof):
        raise BadReply("the proof is not two scalars below the group's order", refusal="invalid-scalar")
    # if VerifyProof(G.Generator(), pkS, blindedElements, evaluatedElements, proof) == false:
    #   raise VerifyError
    elements_C, _ = decode(blinding.blinded)
    if not verify_proof(public_key, elements_C, elements_D, blinding.blinded, evaluated, proof):
        raise BadProof(
            "the server's proof is not valid: the batch was not evaluated with the published key",
            hint="nothing was unblinded; try again later; if it happens again, do not trust this server",
        )
    return elements_D


def _unblind(blinding: Blinding, elements_D: Elements) -> Rows:
    # N = G.ScalarInverse(blind) * evaluatedElement
    # unblindedElement = G.SerializeElement(N)
    unblinded = multiply_encode(elements_D, scalars.invert(blinding.blinds))
    # return Hash(hashInput)
    return finalize_hash(blinding.inputs, unblinded)
