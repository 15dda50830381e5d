"""Numbers of five limbs, each limb a vector of lanes: shared by coordinates (field) and scalars."""

from __future__ import annotations

from typing import Any

from contactsync.kernels.lanes import Vector, Words, barrier, lane_count, load, splat, store, width_of
from contactsync.kernels.policy import inlined

Limbs = tuple[Vector, Vector, Vector, Vector, Vector]
Constant = tuple[int, int, int, int, int]


@inlined
def constant(width: Any, c: Constant) -> Limbs:
    """A constant in every lane."""
    return (
        splat(width, c[0]),
        splat(width, c[1]),
        splat(width, c[2]),
        splat(width, c[3]),
        splat(width, c[4]),
    )


@inlined
def select(mask: Vector, a: Limbs, b: Limbs) -> Limbs:
    """CT_SELECT(a IF mask ELSE b), RFC 9496 §4.1."""
    mask = barrier(mask)
    return (
        b[0] ^ (mask & (a[0] ^ b[0])),
        b[1] ^ (mask & (a[1] ^ b[1])),
        b[2] ^ (mask & (a[2] ^ b[2])),
        b[3] ^ (mask & (a[3] ^ b[3])),
        b[4] ^ (mask & (a[4] ^ b[4])),
    )


@inlined
def load_limbs(width: Any, array: Words, index: int) -> Limbs:
    """Number `index` in an array of numbers of 5·n words each: limb by limb, lanes innermost."""
    n = lane_count(width)
    at = index * 5 * n
    return (
        load(width, array, at),
        load(width, array, at + n),
        load(width, array, at + 2 * n),
        load(width, array, at + 3 * n),
        load(width, array, at + 4 * n),
    )


@inlined
def store_limbs(array: Words, index: int, a: Limbs) -> None:
    """The inverse of `load_limbs`."""
    n = lane_count(width_of(a[0]))
    at = index * 5 * n
    store(array, at, a[0])
    store(array, at + n, a[1])
    store(array, at + 2 * n, a[2])
    store(array, at + 3 * n, a[3])
    store(array, at + 4 * n, a[4])
