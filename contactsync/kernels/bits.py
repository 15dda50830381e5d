"""Bits of a 64-bit word: the instructions that succinct data structures need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from contactsync.kernels.policy import inlined

_WORD = ir.IntType(64)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_32 = np.uint64(32)


def _word_function(lower: Callable[[Any, Any], Any]) -> Any:
    """An intrinsic from uint64 to int64."""

    def typing(_context: Any, _word: Any) -> Any:
        def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return lower(builder, arguments[0])

        return types.int64(types.uint64), generate

    return intrinsic(typing)


# The number of ones, and the number of zeros below the lowest one (the word must not be 0).
count_ones = _word_function(lambda builder, word: builder.ctpop(word))
trailing_zeros = _word_function(lambda builder, word: builder.cttz(word, ir.Constant(ir.IntType(1), 1)))


def _prefetch(_context: Any, array: Any, _index: Any) -> Any:
    """Prefetch the cache line of array[index]. The index may be out of range: nothing is read."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = target.make_array(signature.args[0])(target, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [address, i32(0), i32(3), i32(1)])
        return target.get_dummy_value()

    return types.void(array, types.int64), generate


prefetch: Any = intrinsic(_prefetch)


def _deposit(_context: Any, _bits: Any, _mask: Any) -> Any:
    """PDEP: put the low bits, in order, into the places of the mask's ones."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_WORD, [_WORD, _WORD])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.bmi.pdep.64")
        return builder.call(function, arguments)

    return types.uint64(types.uint64, types.uint64), generate


deposit: Any = intrinsic(_deposit)


@inlined
def select_by_deposit(word: Any, k: Any) -> Any:
    """The position of the k-th (from 1) set bit."""
    return trailing_zeros(deposit(_ONE << (np.uint64(k) - _ONE), word))


@inlined
def select_by_halving(word: Any, k: Any) -> Any:
    """The same on any CPU, without branches that could be mispredicted."""
    k = np.uint64(k)  # Numba would turn a signed with an unsigned integer into a float
    place = _ZERO
    width = _32
    for _ in range(6):
        inside = np.uint64(count_ones((word >> place) & ((_ONE << width) - _ONE)))
        above = inside < k
        place += width if above else _ZERO
        k -= inside if above else _ZERO
        width >>= _ONE
    return np.int64(place)


def _has_deposit() -> bool:
    """Whether compiled code may use PDEP, and it is not the slow PDEP of early Zen."""
    _, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    return "+bmi2" in features.split(",") and cpu not in ("znver1", "znver2", "bdver4")


select = select_by_deposit if _has_deposit() else select_by_halving
