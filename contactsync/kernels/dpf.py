"""The tree of a distributed point function, from a key to selection bits: four keys at a time, by AES-NI.

docs/lookup.md ("DPF"); Boyle, Gilboa and Ishai, CCS 2016. Node i of a level stands beside node i of three
other keys, so that a vector holds one node of each: seeds are different, but the AES keys are the same.
"""

from __future__ import annotations

from contactsync.kernels.aes import (
    SCHEDULE_WORDS,
    STATE_WORDS,
    STATES,
    encrypt,
    expand,
    gather_states,
    pattern,
    scatter_states,
    swapped,
)
from contactsync.kernels.lanes import Vector, Words
from contactsync.kernels.policy import inlined, kernel

AT_ONCE = STATES
SCHEDULES_WORDS = 3 * SCHEDULE_WORDS
_LEVEL_WORDS = 2 * STATE_WORDS
_NODE_WORDS = STATES * STATE_WORDS


@kernel
def schedules(fixed: Words, round_keys: Words) -> None:
    """The round keys of the three fixed AES keys, each four times. `fixed`: 2 words each; SCHEDULES_WORDS."""
    for which in range(3):
        expand(gather_states(fixed, which * STATE_WORDS, 0), round_keys, which * SCHEDULE_WORDS)


@kernel
def expand_keys(keys: Words, levels: int, round_keys: Words, nodes: Words, selections: Words) -> None:
    """The selection bits of n keys; n is a multiple of 4.

    `keys`: 4 + 4 * levels words each: the root, then for each level what corrects a left and what corrects a
    right child, then what corrects a leaf. `nodes`: 8 << levels words of scratch. `selections`: receives
    2 << levels words for each key.
    """
    long, leaves = 2 * STATE_WORDS + _LEVEL_WORDS * levels, 1 << levels
    n = keys.size // long
    for first in range(0, n, STATES):
        at = first * long
        scatter_states(nodes, 0, STATE_WORDS, gather_states(keys, at, long))
        for level in range(levels):
            at_level = at + STATE_WORDS + _LEVEL_WORDS * level
            left = gather_states(keys, at_level, long)
            right = gather_states(keys, at_level + STATE_WORDS, long)
            # From the last to the first: the children of node i stand in places 2i and 2i + 1, so that they
            # overwrite no parent that is still to come.
            for i in range((1 << level) - 1, -1, -1):
                node = gather_states(nodes, i * _NODE_WORDS, STATE_WORDS)
                seed, control = _parts(node)
                scatter_states(
                    nodes, 2 * i * _NODE_WORDS, STATE_WORDS, _child(round_keys, 0, seed) ^ (left & control)
                )
                scatter_states(
                    nodes,
                    (2 * i + 1) * _NODE_WORDS,
                    STATE_WORDS,
                    _child(round_keys, SCHEDULE_WORDS, seed) ^ (right & control),
                )
        correction = gather_states(keys, at + long - STATE_WORDS, long)
        for i in range(leaves):
            seed, control = _parts(gather_states(nodes, i * _NODE_WORDS, STATE_WORDS))
            leaf = _child(round_keys, 2 * SCHEDULE_WORDS, seed) ^ (correction & control)
            scatter_states(selections, (first * leaves + i) * STATE_WORDS, leaves * STATE_WORDS, leaf)


@inlined
def _parts(node: Vector) -> tuple[Vector, Vector]:
    """The seed of a node: all but its first bit; and that bit, the control bit, in every bit."""
    bit = node & pattern(1, 0)
    return node ^ bit, 0 - (bit ^ swapped(bit))


@inlined
def _child(round_keys: Words, offset: int, seed: Vector) -> Vector:
    """AES of the seed under a fixed key, XOR the seed (Matyas, Meyer and Oseas)."""
    return encrypt(round_keys, offset, seed) ^ seed
