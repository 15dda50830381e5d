"""The group and its scalars in batches, for one lane width. Nothing outside this package knows the width.

An `Engine` converts between callers' data (rows of bytes, in any memory layout) and what kernels take (flat,
aligned, whole groups of lanes). It keeps no state between calls, so threads may share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from contactsync.kernels import batch, scalar
from contactsync.kernels.edwards import DIGITS, POINT_LIMBS, TABLE
from contactsync.kernels.lanes import WIDTHS, WORD_BYTES, Words, empty

Rows = NDArray[np.uint8]

ENCODING_BYTES = 32
UNIFORM_BYTES = 64
ORDER = scalar.ORDER


def encode_scalar(value: int) -> Rows:
    """A number below 2^256 as uint8[32], little-endian."""
    return np.frombuffer(value.to_bytes(ENCODING_BYTES, "little"), np.uint8)


GENERATOR = np.frombuffer(
    bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"), np.uint8
)
"""RFC 9496 §4: the encoding of the canonical generator."""

_ZERO = encode_scalar(0)
_HALF = encode_scalar((ORDER + 1) // 2)
_MINUS_ONE = encode_scalar(ORDER - 1)
_UPPER_HALF = encode_scalar(2**256 % ORDER)


@dataclass(frozen=True, slots=True, eq=False)
class Elements:
    """An opaque batch of n group elements: n points, in the layout of the engine that made them."""

    engine: Engine = field(repr=False)
    points: Words = field(repr=False)
    n: int

    def __len__(self) -> int:
        return self.n


class Engine:
    """The operations of ristretto255/__init__.py and scalars.py, which document them."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.width = WIDTHS[lanes]

    # ---- group -----------------------------------------------------------------------------------------

    def decode(self, encodings: Rows) -> tuple[Elements, NDArray[np.bool_]]:
        """Elements, and which encodings are valid."""
        n = len(encodings)
        elements = self._elements(n)
        valid = empty(self._padded(n))
        batch.decode(self.width, self.words(encodings, ENCODING_BYTES), elements.points, valid)
        return elements, valid[:n] != 0

    def encode(self, elements: Elements) -> Rows:
        """Encodings, uint8[n, 32]."""
        encodings = self.empty_rows(elements.n, ENCODING_BYTES)
        batch.encode(self.width, elements.points, encodings)
        return rows_of(encodings, elements.n, ENCODING_BYTES)

    def from_uniform_bytes(self, uniform: Rows) -> Elements:
        """Elements, by the one-way map from uint8[n, 64]."""
        elements = self._elements(len(uniform))
        batch.derive(self.width, self.words(uniform, UNIFORM_BYTES), elements.points)
        return elements

    def multiply(self, elements: Elements, factors: Rows) -> Elements:
        """Products with one scalar each, uint8[n, 32], or one for all, uint8[32]."""
        products = self._elements(elements.n)
        scalars, stride = self._one_or_each(factors, elements.n)
        table, digits = empty((TABLE + 1) * POINT_LIMBS * self.lanes), empty(DIGITS * self.lanes)
        batch.multiply(self.width, elements.points, scalars, stride, products.points, table, digits)
        return products

    def multiply_encode(self, elements: Elements, factors: Rows) -> Rows:
        """Encodings of the products, uint8[n, 32]."""
        # Half the scalar, because a double is cheaper to encode.
        halves = self.scalar_multiply_add(np.atleast_2d(factors), _HALF, _ZERO)
        products = self.multiply(elements, halves if factors.ndim == 2 else halves[0])
        encodings = self.empty_rows(elements.n, ENCODING_BYTES)
        scratch = empty(batch.DOUBLE_ENCODE_SCRATCH * self.lanes)
        batch.double_encode(self.width, products.points, encodings, scratch)
        return rows_of(encodings, elements.n, ENCODING_BYTES)

    def multiply_base(self, factors: Rows) -> Elements:
        """Products with the generator."""
        return self.multiply(self.generators(len(factors)), factors)

    def generators(self, n: int) -> Elements:
        """The generator, n times."""
        return self._from_rows(np.repeat(self._generator, n, axis=0))

    def add(self, a: Elements, b: Elements) -> Elements:
        """Sums a[i] + b[i]."""
        if a.n != b.n:
            raise ValueError(f"{a.n} elements and {b.n} cannot be added pairwise")
        if a.engine.lanes != b.engine.lanes:
            raise ValueError("elements of two widths cannot be added")
        total = self._elements(a.n)
        batch.add(self.width, a.points, b.points, total.points)
        return total

    def multiscalar_vartime(self, factors: Rows, elements: Elements) -> Elements:
        """The sum of all products, one element. For public data only."""
        scalars, _ = self._one_or_each(np.atleast_2d(factors), elements.n)
        total = self._from_rows(np.repeat(self._identity, self.lanes, axis=0))
        tables = empty((batch.SUMMED_GROUPS * TABLE + 1) * POINT_LIMBS * self.lanes)
        digits = empty(batch.SUMMED_GROUPS * DIGITS * self.lanes)
        batch.multiscalar_vartime(self.width, elements.points, scalars, total.points, tables, digits)
        while total.n > 1:
            lanes = self._rows(total)
            half = total.n // 2
            total = self.add(self._from_rows(lanes[:half]), self._from_rows(lanes[half:]))
        return total

    def segment_sums_vartime(self, factors: Rows, elements: Elements, lengths: Sequence[int]) -> Elements:
        """The sum of products of each segment, one element each. For public data only."""
        if sum(lengths) != elements.n or len(factors) != elements.n:
            raise ValueError(f"segments of {sum(lengths)} for {elements.n} elements, {len(factors)} scalars")
        sizes = np.array(lengths, np.int64)
        starts = np.cumsum(sizes) - sizes
        # One more row, that adds nothing, for the ends of segments that are shorter than others.
        rows = np.concatenate([self._rows(elements), self._identity])
        factors = np.concatenate([factors, _ZERO.reshape(1, -1)])
        sums = np.empty((len(sizes), POINT_LIMBS), np.uint64)
        tables = empty((batch.SUMMED_GROUPS * TABLE + 1) * POINT_LIMBS * self.lanes)
        digits = empty(batch.SUMMED_GROUPS * DIGITS * self.lanes)
        nothing = np.repeat(self._identity, self.lanes, axis=0)
        order = np.argsort(sizes, kind="stable")  # those that share a group have about the same length
        for first in range(0, len(order), self.lanes):
            # A segment in each lane, so that nothing is left to be added across lanes.
            some = order[first : first + self.lanes]
            steps = np.arange(sizes[some].max())[:, np.newaxis]
            places = np.full((len(steps), self.lanes), elements.n)
            places[:, : len(some)] = np.where(steps < sizes[some], starts[some] + steps, elements.n)
            points = self._from_rows(rows[places.reshape(-1)]).points
            scalars = self.words(factors[places.reshape(-1)], ENCODING_BYTES)
            total = self._from_rows(nothing)
            batch.multiscalar_vartime(self.width, points, scalars, total.points, tables, digits)
            sums[some] = self._rows(total)[: len(some)]
        return self._from_rows(sums)

    def concatenate(self, parts: Sequence[Elements]) -> Elements:
        """The elements of all parts, in order."""
        if any(part.engine.lanes != self.lanes for part in parts):
            raise ValueError("elements of two widths cannot be put together")
        if all(part.n % self.lanes == 0 for part in parts):  # whole groups
            return Elements(self, self._aligned([part.points for part in parts]), sum(map(len, parts)))
        return self._from_rows(np.concatenate([self._rows(part) for part in parts]))

    def split(self, elements: Elements, lengths: Sequence[int]) -> list[Elements]:
        """The inverse of `concatenate`."""
        if sum(lengths) != elements.n:
            raise ValueError(f"segments of {sum(lengths)} for {elements.n} elements")
        if all(length % self.lanes == 0 for length in lengths):
            ends = np.cumsum(lengths)[:-1] * POINT_LIMBS
            points = np.split(elements.points, ends)
            return [Elements(self, part, n) for part, n in zip(points, lengths, strict=True)]
        rows = self._rows(elements)
        return [self._from_rows(part) for part in np.split(rows, np.cumsum(lengths)[:-1])]

    # ---- scalars ---------------------------------------------------------------------------------------

    def scalar_multiply_add(self, a: Rows, b: Rows, c: Rows) -> Rows:
        """(a[i]·b[i] + c[i]) mod ell, uint8[n, 32]; b and c may be one row for all, uint8[32]."""
        n = len(a)
        out = self.empty_rows(n, ENCODING_BYTES)
        b_words, b_stride = self._one_or_each(b, n)
        c_words, c_stride = self._one_or_each(c, n)
        words = self.words(a, ENCODING_BYTES)
        scalar.multiply_add(self.width, words, 4, b_words, b_stride, c_words, c_stride, out)
        return rows_of(out, n, ENCODING_BYTES)

    def scalar_multiply(self, a: Rows, b: Rows) -> Rows:
        """Products a[i]·b[i]."""
        return self.scalar_multiply_add(a, b, _ZERO)

    def scalar_subtract(self, a: Rows, b: Rows) -> Rows:
        """Differences a[i] - b[i]."""
        return self.scalar_multiply_add(b, _MINUS_ONE, a)

    def scalar_reduce_wide(self, wide: Rows) -> Rows:
        """Residues of uint8[n, 64]."""
        check_rows(wide, UNIFORM_BYTES)
        return self.scalar_multiply_add(wide[:, ENCODING_BYTES:], _UPPER_HALF, wide[:, :ENCODING_BYTES])

    def scalar_invert(self, a: Rows) -> Rows:
        """Inverses, 0 of 0."""
        n = len(a)
        out = self.empty_rows(n, ENCODING_BYTES)
        scratch = empty(scalar.INVERT_SCRATCH * self.lanes + 5 * self._padded(n))
        scalar.invert(self.width, self.words(a, ENCODING_BYTES), out, scratch)
        return rows_of(out, n, ENCODING_BYTES)

    # ---- layout ----------------------------------------------------------------------------------------

    def _padded(self, n: int) -> int:
        """The number of rows, rounded up to whole groups of lanes."""
        return -(-n // self.lanes) * self.lanes

    def empty_rows(self, n: int, row_bytes: int) -> Words:
        """Storage for n rows. The rest of the last group is zero."""
        words = empty(self._padded(n) * row_bytes // WORD_BYTES)
        words[n * row_bytes // WORD_BYTES :] = 0
        return words

    def words(self, rows: Rows, row_bytes: int) -> Words:
        """uint8[n, row_bytes], in any memory layout, as words for kernels. Raises ValueError otherwise."""
        check_rows(rows, row_bytes)
        words = self.empty_rows(len(rows), row_bytes)
        rows_of(words, len(rows), row_bytes)[:] = rows
        return words

    def _one_or_each(self, rows: Rows, n: int) -> tuple[Words, int]:
        """The words and stride of n scalars, or of one for all."""
        if rows.ndim == 1:
            return self.words(rows.reshape(1, -1), ENCODING_BYTES), 0
        if len(rows) != n:
            raise ValueError(f"{len(rows)} scalars for {n} elements")
        return self.words(rows, ENCODING_BYTES), ENCODING_BYTES // WORD_BYTES

    def _aligned(self, parts: Sequence[Words]) -> Words:
        words = empty(sum(map(len, parts)))
        np.concatenate(parts, out=words)
        return words

    def _elements(self, n: int) -> Elements:
        return Elements(self, empty(self._padded(n) * POINT_LIMBS), n)

    def _rows(self, elements: Elements) -> Words:
        """uint64[n, 20]: one point in each row."""
        groups = elements.points.reshape(-1, POINT_LIMBS, self.lanes)
        return groups.transpose(0, 2, 1).reshape(-1, POINT_LIMBS)[: elements.n]

    def _from_rows(self, rows: Words) -> Elements:
        """The inverse of `_rows`. The rest of the last group is the identity."""
        elements = self._elements(len(rows))
        padded = np.repeat(self._identity, self._padded(len(rows)), axis=0)
        padded[: len(rows)] = rows
        groups = padded.reshape(-1, self.lanes, POINT_LIMBS).transpose(0, 2, 1)
        elements.points.reshape(groups.shape)[:] = groups
        return elements

    @cached_property
    def _identity(self) -> Words:
        """uint64[1, 20]: (0, 1, 1, 0)."""
        row = np.zeros((1, POINT_LIMBS), np.uint64)
        row[0, 5] = row[0, 10] = 1
        return row

    @cached_property
    def _generator(self) -> Words:
        """uint64[1, 20]: the canonical generator."""
        elements, _ = self.decode(GENERATOR.reshape(1, ENCODING_BYTES))
        return self._rows(elements)


def check_rows(rows: Rows, row_bytes: int) -> None:
    """Raise ValueError unless `rows` is uint8[n, row_bytes]: kernels do not check bounds."""
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != row_bytes:
        raise ValueError(f"expected uint8[n, {row_bytes}], got {rows.dtype}{list(rows.shape)}")


def rows_of(words: Words, n: int, row_bytes: int) -> Rows:
    """The first n rows of a kernel's storage, uint8[n, row_bytes], without copying."""
    return words.view(np.uint8)[: n * row_bytes].reshape(n, row_bytes)
