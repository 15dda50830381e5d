"""Bits of a 64-bit word: the three instructions that succinct structures live on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_WORD = ir.IntType(64)


def _word_function(lower: Callable[[Any, Any], Any]) -> Any:
    """An intrinsic from uint64 to int64."""

    def typing(_context: Any, _word: Any) -> Any:
        def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return lower(builder, arguments[0])

        return types.int64(types.uint64), generate

    return intrinsic(typing)


# How many ones; how many zeros below the lowest one (the word must not be 0).
count_ones = _word_function(lambda builder, word: builder.ctpop(word))
trailing_zeros = _word_function(lambda builder, word: builder.cttz(word, ir.Constant(ir.IntType(1), 1)))


def _prefetch(_context: Any, array: Any, _index: Any) -> Any:
    """Ask for the cache line of array[index]; the index may be anything, nothing is read."""

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
