"""The SIMD types and operations: `Lanes(n)` is n × uint64 in one register.

`Lanes(8)` is one AVX-512 register, `Lanes(1)` is a machine word. The operators + - * & | ^ >> << work lane by
lane. One operand may be an integer, which is copied to all lanes. `Wide` is one 128-bit number, the
accumulator of the one-lane arithmetic. The named building blocks are below; only aes.py has more, and nothing
else in this package writes LLVM.

A kernel for both widths takes a `Width` as its first argument (`WIDTHS[8]`, `WIDTHS[1]`). It has no data: its
*type* contains the number of lanes, so that Numba compiles the kernel once for each.

All are LLVM vectors, even <1 x i64> and <1 x i128>. LLVM's scalar passes take very long on the polynomials
that limbs look like, but do not touch vectors (compiling takes 20 s instead of 34).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import NativeValue, intrinsic, models, overload, register_model, typeof_impl, unbox
from numpy.typing import NDArray

Words = NDArray[np.uint64]
"""Flat, C-contiguous, writable uint64 storage, the only kind that kernels take (`empty`, `words`)."""
Vector = Any
"""A value of type Lanes(n), as the type checker sees it."""

I32, I64, I128 = ir.IntType(32), ir.IntType(64), ir.IntType(128)
WIDE = ir.VectorType(I128, 1)
WORD_BYTES = 8
LINE_BYTES = 64


class Width:
    """How many lanes a kernel uses. There is one object for each width, in WIDTHS."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes


WIDTHS = {lanes: Width(lanes) for lanes in (1, 8)}


class LanesType(types.Type):  # type: ignore[misc]
    """n × uint64."""

    def __init__(self, n: int) -> None:
        self.n = n
        super().__init__(name=f"Lanes({n})")


class WidthType(types.Type):  # type: ignore[misc]
    """The type of a `Width`: no data, only n."""

    def __init__(self, n: int) -> None:
        self.n = n
        super().__init__(name=f"Width({n})")


class WideType(types.Type):  # type: ignore[misc]
    """One uint128."""

    def __init__(self) -> None:
        super().__init__(name="Wide")


wide_type = WideType()


class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, type_: LanesType) -> None:
        super().__init__(manager, type_, _vector(type_.n))


class _WideModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, type_: WideType) -> None:
        super().__init__(manager, type_, WIDE)


register_model(LanesType)(_LanesModel)
register_model(WideType)(_WideModel)
register_model(WidthType)(models.OpaqueModel)


def _typeof_width(width: Width, _context: Any) -> WidthType:
    return WidthType(width.lanes)


def _unbox_width(_type: Any, _object: Any, context: Any) -> NativeValue:
    return NativeValue(context.context.get_dummy_value())


typeof_impl.register(Width)(_typeof_width)
unbox(WidthType)(_unbox_width)


def empty(count: int) -> Words:
    """uint64[count], not initialised, aligned to a cache line."""
    storage = np.empty(count + LINE_BYTES // WORD_BYTES, np.uint64)
    skip = -storage.ctypes.data % LINE_BYTES // WORD_BYTES
    return storage[skip : skip + count]


# ---- operators --------------------------------------------------------------------------------------------


def _vector(n: int) -> ir.VectorType:
    return ir.VectorType(I64, n)


def _row_lanes(n: int) -> int:
    return 4 if n == 1 else n


def _spread(builder: Any, value: Any, vector: ir.VectorType) -> Any:
    """Copy a scalar to every lane."""
    n = vector.count
    if isinstance(value, ir.Constant):
        return ir.Constant(vector, [value] * n)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, n), [0] * n))


def _operand(context: Any, builder: Any, type_: Any, value: Any, result: Any) -> Any:
    """An operand as a vector of the result's type. Integers are taken modulo 2^64 and copied to all lanes."""
    if not isinstance(type_, types.Integer):
        return value
    word = context.cast(builder, value, type_, types.uint64)
    if isinstance(result, LanesType):
        return _spread(builder, word, _vector(result.n))
    return builder.zext(_spread(builder, word, _vector(1)), WIDE)


class _Arithmetic(AbstractTemplate):  # type: ignore[misc]
    """A vector with a vector of the same type, or with an integer on either side."""

    def generic(self, args: Any, _kws: Any) -> Any:
        left, right = args
        vectors = (LanesType, WideType)
        if isinstance(left, vectors) and (left == right or isinstance(right, types.Integer)):
            return signature(left, left, right)
        if isinstance(right, vectors) and isinstance(left, types.Integer):
            return signature(right, left, right)
        return None


def _lower(instruction: str) -> Callable[..., Any]:
    def lowered(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left, right = (
            _operand(context, builder, type_, value, sig.return_type)
            for type_, value in zip(sig.args, args, strict=True)
        )
        return getattr(builder, instruction)(left, right)

    return lowered


for _operator, _instruction in {
    operator.add: "add",
    operator.sub: "sub",
    operator.mul: "mul",
    operator.and_: "and_",
    operator.or_: "or_",
    operator.xor: "xor",
    operator.rshift: "lshr",
    operator.lshift: "shl",
}.items():
    infer_global(_operator)(type("_Typing", (_Arithmetic,), {}))
    for _type in (LanesType, WideType):
        lower_builtin(_operator, _type, _type)(_lower(_instruction))
        lower_builtin(_operator, _type, types.Integer)(_lower(_instruction))
        lower_builtin(_operator, types.Integer, _type)(_lower(_instruction))


# ---- building blocks --------------------------------------------------------------------------------------


def _block(define: Callable[..., Any]) -> Callable[..., Any]:
    """Make a building block from a function that returns (signature, code generator)."""
    return intrinsic(define)  # type: ignore[no-any-return]


def _address(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    """The address of array[offset]. Bounds are not checked."""
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return builder.gep(data, [offset])


def _call(builder: Any, name: str, vector: ir.VectorType, *args: Any) -> Any:
    """Call an LLVM intrinsic that maps vectors to a vector."""
    kind = ir.FunctionType(vector, [vector] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


@_block
def lane_count(_typing: Any, width: Any) -> Any:
    """The number of lanes, as a compile-time constant."""

    def generate(context: Any, _builder: Any, _sig: Any, _args: Any) -> Any:
        return context.get_constant(types.intp, width.n)

    return types.intp(width), generate


@_block
def width_of(_typing: Any, vector: Any) -> Any:
    """The Width of a vector."""

    def generate(context: Any, _builder: Any, _sig: Any, _args: Any) -> Any:
        return context.get_dummy_value()

    return WidthType(vector.n)(vector), generate


@_block
def row_width(_typing: Any, width: Any) -> Any:
    """The Width for rows of words that are treated alike: four lanes instead of one, else the same."""

    def generate(context: Any, _builder: Any, _sig: Any, _args: Any) -> Any:
        return context.get_dummy_value()

    return WidthType(_row_lanes(width.n))(width), generate


@_block
def spread(_typing: Any, vector: Any) -> Any:
    """The single lane of Lanes(1), copied to every lane of a row; Lanes(8) unchanged."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        if vector.n == _row_lanes(vector.n):
            return args[0]
        return _spread(builder, builder.extract_element(args[0], I32(0)), _vector(_row_lanes(vector.n)))

    return LanesType(_row_lanes(vector.n))(vector), generate


@_block
def splat(_typing: Any, width: Any, _number: Any) -> Any:
    """An integer, modulo 2^64, in every lane."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return _spread(builder, args[1], _vector(width.n))

    return LanesType(width.n)(width, types.uint64), generate


@_block
def load(_typing: Any, width: Any, array: Any, _offset: Any) -> Any:
    """array[offset : offset + n]."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address = _address(context, builder, sig.args[1], args[1], args[2])
        return builder.load(builder.bitcast(address, _vector(width.n).as_pointer()), align=WORD_BYTES)

    return LanesType(width.n)(width, array, types.intp), generate


@_block
def store(_typing: Any, array: Any, _offset: Any, vector: Any) -> Any:
    """array[offset : offset + n] = vector."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address = _address(context, builder, sig.args[0], args[0], args[1])
        builder.store(args[2], builder.bitcast(address, _vector(vector.n).as_pointer()), align=WORD_BYTES)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@_block
def gather(_typing: Any, width: Any, array: Any, _offset: Any, _stride: Any) -> Any:
    """Lane i is array[offset + i * stride]."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = ir.Constant(_vector(width.n), ir.Undefined)
        for i in range(width.n):
            offset = builder.add(args[2], builder.mul(args[3], I64(i)))
            word = builder.load(_address(context, builder, sig.args[1], args[1], offset))
            vector = builder.insert_element(vector, word, I32(i))
        return vector

    return LanesType(width.n)(width, array, types.intp, types.intp), generate


@_block
def scatter(_typing: Any, array: Any, _offset: Any, _stride: Any, vector: Any) -> Any:
    """array[offset + i * stride] = lane i."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        for i in range(vector.n):
            offset = builder.add(args[1], builder.mul(args[2], I64(i)))
            word = builder.extract_element(args[3], I32(i))
            builder.store(word, _address(context, builder, sig.args[0], args[0], offset))
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vector), generate


@_block
def stay_a_call(_typing: Any) -> Any:
    """Forbid LLVM to inline the function that calls this."""

    def generate(context: Any, builder: Any, _sig: Any, _args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


def _multiply_add(name: str, shift: int) -> Callable[..., Any]:
    def define(_typing: Any, total: Any, _a: Any, _b: Any) -> Any:
        def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
            if total.n == 8:
                return _call(builder, f"llvm.x86.avx512.{name}.uq.512", _vector(8), *args)
            mask = ir.Constant(_vector(1), [I64((1 << 52) - 1)])
            a, b = (builder.zext(builder.and_(arg, mask), WIDE) for arg in args[1:])
            product = builder.lshr(builder.mul(a, b), ir.Constant(WIDE, [I128(shift)]))
            return builder.add(args[0], builder.and_(builder.trunc(product, _vector(1)), mask))

        return total(total, total, total), generate

    return _block(define)


madlo = _multiply_add("vpmadd52l", 0)
"""madlo(total, a, b): total + the low 52 bits of a * b. Reads only the low 52 bits of a and b (IFMA)."""
madhi = _multiply_add("vpmadd52h", 52)
"""madhi(total, a, b): total + bits 52 to 103 of a * b. Reads only the low 52 bits of a and b (IFMA)."""


@_block
def narrow(_typing: Any, _number: Any) -> Any:
    """Wide -> Lanes(1): the low 64 bits."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return builder.trunc(args[0], _vector(1))

    return LanesType(1)(wide_type), generate


@_block
def mulwide(_typing: Any, a: Any, b: Any) -> Any:
    """The full product of two Lanes(1), a Wide."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return builder.mul(builder.zext(args[0], WIDE), builder.zext(args[1], WIDE))

    return wide_type(a, b), generate


@_block
def rotr(_typing: Any, vector: Any, _count: Any) -> Any:
    """Rotate every lane to the right."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        count = _spread(builder, args[1], _vector(vector.n))
        return _call(builder, f"llvm.fshr.v{vector.n}i64", _vector(vector.n), args[0], args[0], count)

    return vector(vector, types.int64), generate


@_block
def bswap(_typing: Any, vector: Any) -> Any:
    """Reverse the bytes of every lane."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return _call(builder, f"llvm.bswap.v{vector.n}i64", _vector(vector.n), args[0])

    return vector(vector), generate


@_block
def zero_mask(_typing: Any, vector: Any) -> Any:
    """All ones in the lanes that are 0, else 0."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        zero = ir.Constant(_vector(vector.n), None)
        return builder.sext(builder.icmp_unsigned("==", args[0], zero), _vector(vector.n))

    return vector(vector), generate


def _on_halves(generate: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a generator on 2n × uint32 into one on the n × uint64 of the same register."""

    def generate_words(_context: Any, builder: Any, sig: Any, args: Any) -> Any:
        n = sig.return_type.n
        halves = ir.VectorType(I32, 2 * n)
        operands = [
            builder.bitcast(arg, halves)
            if isinstance(type_, LanesType)
            else _spread(builder, builder.trunc(arg, I32), halves)
            for type_, arg in zip(sig.args, args, strict=True)
        ]
        return builder.bitcast(generate(builder, halves, *operands), _vector(n))

    return generate_words


@_block
def add32(_typing: Any, left: Any, right: Any) -> Any:
    """Add the 32-bit halves of every lane separately."""
    return left(left, right), _on_halves(lambda builder, _halves, a, b: builder.add(a, b))


@_block
def shift32(_typing: Any, vector: Any, _count: Any) -> Any:
    """Shift the 32-bit halves of every lane to the right, separately."""
    generate = _on_halves(lambda builder, _halves, a, count: builder.lshr(a, count))
    return vector(vector, types.int64), generate


@_block
def rotr32(_typing: Any, vector: Any, _count: Any) -> Any:
    """Rotate the 32-bit halves of every lane to the right, separately."""

    def rotate(builder: Any, halves: Any, a: Any, count: Any) -> Any:
        return _call(builder, f"llvm.fshr.v{halves.count}i32", halves, a, a, count)

    return vector(vector, types.int64), _on_halves(rotate)


@_block
def barrier(_typing: Any, vector: Any) -> Any:
    """The same value, hidden from the optimiser, so that it cannot turn a mask into a branch."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        if vector.n == 1:
            word = builder.extract_element(args[0], I32(0))
            opaque = ir.InlineAsm(ir.FunctionType(I64, [I64]), "", "=r,0", side_effect=False)
            return builder.insert_element(args[0], builder.call(opaque, [word]), I32(0))
        kind = ir.FunctionType(_vector(vector.n), [_vector(vector.n)])
        return builder.call(ir.InlineAsm(kind, "", "=v,0", side_effect=False), args)

    return vector(vector), generate


def by_width(stub: Callable[..., Any], eight: Callable[..., Any], one: Callable[..., Any]) -> None:
    """Resolve `stub` to one of two functions, by the lanes of its first argument: Lanes(n) or a tuple."""

    def forward(chosen: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: chosen(*args)  # noqa: PLW0108 - Numba wants a Python function here

    def choose(first: Any) -> Callable[..., Any]:
        return forward(eight if getattr(first, "dtype", first).n == 8 else one)

    options = {"forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    overload(stub, jit_options=options)(lambda *args: choose(args[0]))
