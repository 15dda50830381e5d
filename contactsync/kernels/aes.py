"""The AES instructions of x86 as building blocks: four AES states, of four messages, in one Lanes(8).

Every message has its own key, so every state has its own round keys. Four at a time hide what an instruction
takes (AES-NI: 3 to 7 cycles, and one or two can begin in each). The instructions take the same time for all
data: there are no tables. Only for targets that have them (`policy.has_aes`). FIPS 197.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from contactsync.kernels.lanes import (
    I32,
    I64,
    WORD_BYTES,
    LanesType,
    Vector,
    Words,
    _address,
    _block,
    _vector,
    store,
)
from contactsync.kernels.policy import function, inlined

STATES = 4
"""Messages in one vector."""
STATE_WORDS = 2
ROUND_KEYS = 11
SCHEDULE_WORDS = ROUND_KEYS * STATES * STATE_WORDS

_WORDS = STATES * STATE_WORDS
_LANES = LanesType(_WORDS)
_STATE = ir.VectorType(I64, STATE_WORDS)
_OCTETS = ir.VectorType(ir.IntType(8), WORD_BYTES * _WORDS)


def _indices(places: list[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(I32, len(places)), places)


def _each_state(builder: Any, vector: Any) -> list[Any]:
    """The four states of a vector."""
    return [builder.shuffle_vector(vector, vector, _indices([2 * i, 2 * i + 1])) for i in range(STATES)]


def _joined(builder: Any, states: list[Any]) -> Any:
    """The inverse of `_each_state`."""
    pairs = [builder.shuffle_vector(a, b, _indices([0, 1, 2, 3])) for a, b in (states[:2], states[2:])]
    return builder.shuffle_vector(*pairs, _indices(list(range(_WORDS))))


def _instruction(name: str) -> Any:
    def define(_typing: Any, _state: Any, _key: Any) -> Any:
        def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
            kind = ir.FunctionType(_STATE, [_STATE, _STATE])
            callee = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.aesni.{name}")
            pairs = zip(*(_each_state(builder, arg) for arg in args), strict=True)
            return _joined(builder, [builder.call(callee, pair) for pair in pairs])

        return _LANES(_LANES, _LANES), generate

    return _block(define)


middle_round = _instruction("aesenc")
"""middle_round(state, key): ShiftRows, SubBytes, MixColumns, AddRoundKey (FIPS 197 §5.1)."""
last_round = _instruction("aesenclast")
"""last_round(state, key): the same without MixColumns."""


def _shuffle(places: list[int | None]) -> Any:
    """A block that moves octets within each state: octet i comes from places[i]; None is zero."""

    def define(_typing: Any, _vector_type: Any) -> Any:
        def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
            size = WORD_BYTES * STATE_WORDS
            zero = size * STATES  # the first octet of the second operand
            indices = [zero if p is None else size * i + p for i in range(STATES) for p in places]
            octets = builder.bitcast(args[0], _OCTETS)
            moved = builder.shuffle_vector(octets, ir.Constant(_OCTETS, None), _indices(indices))
            return builder.bitcast(moved, _vector(_WORDS))

        return _LANES(_LANES), generate

    return _block(define)


_rotated_last_word = _shuffle([13, 14, 15, 12] * 4)
_up_one_word = _shuffle([None] * 4 + list(range(12)))
_up_two_words = _shuffle([None] * 8 + list(range(8)))
_reversed = _shuffle([*range(7, -1, -1), *range(15, 7, -1)])
swapped = _shuffle([*range(8, 16), *range(8)])
"""The two words of every state, exchanged."""


@_block
def pattern(_typing: Any, _first: Any, _second: Any) -> Any:
    """Two integers, modulo 2^64, as the two words of every state."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        vector = ir.Constant(_vector(_WORDS), ir.Undefined)
        for i in range(_WORDS):
            vector = builder.insert_element(vector, args[i % STATE_WORDS], I32(i))
        return vector

    return _LANES(types.uint64, types.uint64), generate


@_block
def gather_states(_typing: Any, array: Any, _offset: Any, _stride: Any) -> Any:
    """State i is array[offset + i * stride : … + 2]."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        states = []
        for i in range(STATES):
            offset = builder.add(args[1], builder.mul(args[2], I64(i)))
            address = _address(context, builder, sig.args[0], args[0], offset)
            states.append(builder.load(builder.bitcast(address, _STATE.as_pointer()), align=1))
        return _joined(builder, states)

    return _LANES(array, types.intp, types.intp), generate


@_block
def scatter_states(_typing: Any, array: Any, _offset: Any, _stride: Any, _vector_type: Any) -> Any:
    """array[offset + i * stride : … + 2] = state i."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        for i, state in enumerate(_each_state(builder, args[3])):
            offset = builder.add(args[1], builder.mul(args[2], I64(i)))
            address = _address(context, builder, sig.args[0], args[0], offset)
            builder.store(state, builder.bitcast(address, _STATE.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, _LANES), generate


@inlined
def _next_key(key: Vector, constant: int) -> Vector:
    """FIPS 197 §5.2, one step of KeyExpansion for Nk = 4.

    All columns of what `last_round` gets are equal, so that its ShiftRows changes nothing: it gives
    SubWord(RotWord(w3)) ^ Rcon in every column.
    """
    word = last_round(_rotated_last_word(key), pattern(constant, constant))
    key = key ^ _up_one_word(key)
    return key ^ _up_two_words(key) ^ word


@function
def expand(key: Vector, schedule: Words, offset: int) -> None:
    """The 11 round keys of four AES-128 keys, to `schedule` from `offset` on."""
    store(schedule, offset, key)
    constant = 1
    for i in range(1, ROUND_KEYS):
        key = _next_key(key, constant * 0x1_0000_0001)
        store(schedule, offset + i * STATES * STATE_WORDS, key)
        constant = 0x1B if constant == 0x80 else constant << 1  # Rcon: powers of x


@inlined
def encrypt(schedule: Words, offset: int, state: Vector) -> Vector:
    """AES-128 of four blocks, each with the round keys of its message. FIPS 197 §5.1."""
    state = state ^ _round_key(schedule, offset, 0)
    for i in range(1, ROUND_KEYS - 1):
        state = middle_round(state, _round_key(schedule, offset, i))
    return last_round(state, _round_key(schedule, offset, ROUND_KEYS - 1))


@inlined
def _round_key(schedule: Words, offset: int, i: int) -> Vector:
    return gather_states(schedule, offset + i * STATES * STATE_WORDS, STATE_WORDS)


@inlined
def double(state: Vector) -> Vector:
    """Dbl of RFC 5297 §2.3: times x in GF(2^128), the first bit being the highest."""
    number = _reversed(state)
    carry = swapped(number >> 63)  # to the higher word its lower one's; to the lower one the reduction
    return _reversed((number << 1) ^ ((0 - carry) & pattern(1, 0x87)))


@inlined
def counter(start: Vector, i: int) -> Vector:
    """A counter block plus i, where that does not carry out of its last 32 bits."""
    return _reversed(_reversed(start) + pattern(0, i))
