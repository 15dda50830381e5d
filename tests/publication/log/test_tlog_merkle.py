"""Hashes and proofs against the text of RFC 6962, written down slowly in tests/rfc6962.py."""

import rfc6962
from hypothesis import given
from hypothesis import strategies as st

from contactsync.publication.log.merkle import (
    EMPTY,
    HASH_BYTES,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

ENTRIES = [f"entry {number}".encode() for number in range(70)]
ROOTS = [rfc6962.MTH(ENTRIES[:size]) for size in range(len(ENTRIES) + 1)]


def test_roots_are_those_of_the_text():
    assert ROOTS[0] == EMPTY
    for size, root in enumerate(ROOTS):
        assert root_of([leaf_hash(entry) for entry in ENTRIES[:size]]) == root
    assert node_hash(leaf_hash(b"a"), leaf_hash(b"b")) == rfc6962.MTH([b"a", b"b"])


def test_every_proof_of_inclusion_is_accepted_for_its_leaf_alone():
    for size in range(1, 34):
        for index in range(size):
            proof = rfc6962.PATH(index, ENTRIES[:size])
            for place in range(size + 1):
                right = verify_inclusion(leaf_hash(ENTRIES[index]), place, size, proof, ROOTS[size])
                assert right == (place == index)
            assert not verify_inclusion(leaf_hash(ENTRIES[size]), index, size, proof, ROOTS[size])
            assert not verify_inclusion(leaf_hash(ENTRIES[index]), index, size, proof, ROOTS[size + 1])


def test_every_proof_of_consistency_is_accepted_for_its_sizes_and_roots_alone():
    for new in range(34):
        for old in range(new + 1):
            proof = rfc6962.PROOF(old, ENTRIES[:new]) if old else []
            assert verify_consistency(old, ROOTS[old], new, ROOTS[new], proof)
            assert not verify_consistency(old, ROOTS[old + 1], new, ROOTS[new], proof)
            assert not verify_consistency(new, ROOTS[new], old, ROOTS[old], proof) or old == new
            if old:
                assert not verify_consistency(old, ROOTS[old], new, ROOTS[new + 1], proof)
                assert not verify_consistency(old, ROOTS[old], new, ROOTS[new], [*proof, EMPTY])
            if proof:
                assert not verify_consistency(old, ROOTS[old], new, ROOTS[new], proof[:-1])
                assert not verify_consistency(old, ROOTS[old], new, ROOTS[new], proof[1:])


def test_every_flipped_bit_of_a_proof_is_refused():
    inclusion, consistency = rfc6962.PATH(37, ENTRIES), rfc6962.PROOF(37, ENTRIES)
    for proof, holds in (
        (inclusion, lambda one: verify_inclusion(leaf_hash(ENTRIES[37]), 37, 70, one, ROOTS[70])),
        (consistency, lambda one: verify_consistency(37, ROOTS[37], 70, ROOTS[70], one)),
    ):
        assert holds(proof)
        for at in range(len(proof) * HASH_BYTES * 8):
            number, bit = divmod(at, HASH_BYTES * 8)
            octets = bytearray(proof[number])
            octets[bit // 8] ^= 1 << bit % 8
            assert not holds([*proof[:number], bytes(octets), *proof[number + 1 :]])


@given(st.data())
def test_a_proof_between_trees_that_differ_is_never_accepted(data):
    """Whatever hashes of both trees a liar puts together."""
    new = data.draw(st.integers(2, 24))
    old = data.draw(st.integers(1, new - 1))
    fork = data.draw(st.integers(0, old - 1))
    other = [*ENTRIES[:fork], *(b"other " + entry for entry in ENTRIES[fork:new])]
    honest, forged = rfc6962.PROOF(old, ENTRIES[:new]), rfc6962.PROOF(old, other)
    pool = [*honest, *forged, ROOTS[old], rfc6962.MTH(other[:old])]
    proof = data.draw(st.lists(st.sampled_from(pool), max_size=8))
    assert not verify_consistency(old, ROOTS[old], new, rfc6962.MTH(other), proof)
    assert verify_consistency(old, rfc6962.MTH(other[:old]), new, rfc6962.MTH(other), forged)
