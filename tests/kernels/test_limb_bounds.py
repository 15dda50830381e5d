"""No sum, difference or product of limbs overflows, and no multiplication is given more than it reads.

The sources of the kernels are executed with ranges instead of lanes. A range is everything that a limb may
be, so that one pass covers all inputs, at the very bounds that the docstrings state. What a value means (that
it is below 2p, or below twice the order) is beyond ranges: the tests against Python ints see to it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

KERNELS = Path(__file__).resolve().parents[2] / "contactsync" / "kernels"
WORD, READ = 2**64 - 1, 2**52 - 1


class Range:
    """Every whole number from `low` to `high`; operators fail where a word would wrap."""

    most = WORD

    def __init__(self, low: int, high: int) -> None:
        assert 0 <= low <= high <= self.most, f"wraps: {low} … 2^{high.bit_length()}"
        self.low, self.high = low, high

    def made(self, low: int, high: int):
        return type(self)(low, high)

    def __add__(self, other):
        other = as_range(other)
        return self.made(self.low + other.low, self.high + other.high)

    def __sub__(self, other):
        other = as_range(other)
        return self.made(self.low - other.high, self.high - other.low)

    def __rsub__(self, other):
        return as_range(other) - self

    def __mul__(self, other):
        other = as_range(other)
        return self.made(self.low * other.low, self.high * other.high)

    def __and__(self, other):
        other = as_range(other)
        ones = other.low == other.high and not other.high & (other.high + 1)
        if ones and self.high <= other.high:
            return self
        return self.made(0, min(self.high, other.high))

    def __or__(self, other):
        return self.made(0, 2 ** max(self.high, as_range(other).high).bit_length() - 1)

    __xor__ = __or__

    def __rshift__(self, count):
        return self.made(self.low >> count, self.high >> count)

    def __lshift__(self, count):  # what is shifted out is meant to be lost
        return self.made(0, min(self.high << count, self.most))

    __radd__, __rmul__, __rand__ = __add__, __mul__, __and__


class WideRange(Range):
    most = 2**128 - 1


def as_range(value) -> Range:
    return value if isinstance(value, Range) else Range(value, value)


MASK = Range(0, WORD)


def check_read(*factors: Range) -> None:
    for factor in factors:
        assert factor.high <= READ, f"a multiplication reads 52 bits, not {factor.high.bit_length()}"


def madlo(total, a, b):
    check_read(a, b)
    return total + Range(0, min(READ, a.high * b.high))


def madhi(total, a, b):
    check_read(a, b)
    return total + Range(0, a.high * b.high >> 52)


def joined(*choices):
    """What a selection among elements may give."""
    return tuple(
        Range(min(limb.low for limb in limbs), max(limb.high for limb in limbs))
        for limbs in zip(*choices, strict=True)
    )


def elements(c0: int, rest: int):
    return (Range(0, c0), *(Range(0, rest) for _ in range(4)))


ELEMENT = elements(2**52 - 38, 2**52 - 2)
CARRIED = elements(2**51 + 2**17, 2**51 + 2**17)
FACTOR = {8: elements(2**52 - 1, 2**52 - 1), 1: elements(2**54 - 1, 2**54 - 1)}
BITS = elements(2**51 - 1, 2**51 - 1)
POINT = CACHED = (ELEMENT,) * 4


def within(limbs, bounds) -> bool:
    return all(limb.high <= bound.high for limb, bound in zip(limbs, bounds, strict=True))


class Sources:
    """The modules of kernels/, executed anew on ranges."""

    def __init__(self, monkeypatch, lanes: int) -> None:
        self.lanes = lanes
        self.monkeypatch = monkeypatch
        keep = dict.fromkeys(("kernel", "function", "inlined", "body"), lambda function: function)
        self.put("policy", **keep)
        self.put(
            "lanes",
            Vector=Range, Words=object, WORD_BYTES=8, by_width=self.by_width, madlo=madlo, madhi=madhi,
            mulwide=lambda a, b: WideRange(a.low * b.low, a.high * b.high),
            narrow=lambda a: Range(0, min(a.high, WORD)), splat=lambda _, number: Range(number, number),
            lane_count=lambda _: lanes, width_of=lambda _: None, zero_mask=lambda _: MASK,
            stay_a_call=lambda: None, barrier=lambda a: a,
            **dict.fromkeys(("load", "store", "gather", "scatter", "row_width", "spread")),
        )  # fmt: skip
        # Bit by bit, a selection is beyond ranges: it is one or the other.
        self.execute("five_limbs").select = lambda _, a, b: joined(a, b)
        self.field = self.execute("field")
        self.field.is_negative = lambda a: self.field.canonical(a) and MASK
        self.raw = 0
        carry = self.field.carry

        def watched(r):
            self.raw = max(self.raw, *(limb.high for limb in r))
            return carry(r)

        def guarded(multiply):
            def guard(*factors):
                assert all(within(limbs, FACTOR[lanes]) for limbs in factors), "no factor"
                return multiply(*factors)

            return guard

        self.field.carry = watched
        self.field.mul_raw = guarded(self.field.mul_raw)
        self.field.square_raw = guarded(self.field.square_raw)
        if lanes == 8:
            self.field.as_factor = watched
        self.edwards = self.execute("edwards")
        self.ristretto = self.execute("ristretto")
        self.scalar = self.execute("scalar")

    def put(self, name: str, **names) -> None:
        module = SimpleNamespace(**names)
        self.monkeypatch.setitem(sys.modules, f"contactsync.kernels.{name}", module)

    def by_width(self, stub, eight, one) -> None:
        stub.__globals__[stub.__name__] = eight if self.lanes == 8 else one

    def execute(self, name: str) -> ModuleType:
        module = ModuleType(name)
        file = KERNELS / f"{name}.py"
        exec(compile(file.read_text(), str(file), "exec"), module.__dict__)
        self.monkeypatch.setitem(sys.modules, f"contactsync.kernels.{name}", module)
        return module


@pytest.fixture(params=[8, 1], ids=["8-lanes", "1-lane"])
def sources(request, monkeypatch) -> Sources:
    return Sources(monkeypatch, request.param)


def test_field(sources) -> None:
    field, factor = sources.field, FACTOR[sources.lanes]
    raw = field.mul_raw(factor, factor), field.square_raw(factor)
    for product in raw:
        bound = elements(int(2**60.1), int(2**60.1)) if sources.lanes == 8 else CARRIED
        assert within(product, bound)
    for multiply in (field.mul, field.mul_inlined):
        assert within(multiply(factor, factor), CARRIED)
    for square in (field.square, field.square_inlined):
        assert within(square(factor), CARRIED)
    for combine in (field.add, field.sub):
        assert within(combine(ELEMENT, ELEMENT), CARRIED)
    assert within(field.neg(ELEMENT), ELEMENT)
    assert within(field.absolute(ELEMENT), ELEMENT)
    assert within(field.canonical(ELEMENT), BITS)
    assert within(field.from_words(MASK, MASK, MASK, MASK), BITS)
    assert within(field.invert(ELEMENT), CARRIED)
    assert within(field.power_p58(ELEMENT), CARRIED)
    widest = (*elements(int(2**63.8), int(2**63.8))[:4], Range(0, int(2**63.5)))
    assert within(field.carry(widest), CARRIED)
    if sources.lanes == 8:
        any_raw, taken = elements(2**62, 2**62), elements(2**62 - 2**16, 2**62 - 2**16)
        assert within(field.sub_raw(any_raw, taken), elements(2**63, 2**63))


@pytest.mark.slow
def test_points(sources) -> None:
    """Coordinates in the bounds of an element stay in them, whatever is done in whatever order."""
    edwards, ristretto = sources.edwards, sources.ristretto
    results = [
        edwards.to_cached(POINT),
        edwards.add_cached(POINT, CACHED),
        edwards.add_cached_inlined(POINT, CACHED),
        edwards.add_cached_without_t(POINT, CACHED)[:3],
        edwards.add_points(POINT, POINT),
        edwards.double_without_t(POINT)[:3],
        edwards.double(POINT),
        edwards.times_16(POINT),
        edwards.from_cached_without_t(CACHED)[:3],
        edwards.restore_t(POINT),
        ristretto.decode_point(BITS, Range(0, 1))[0],
        ristretto.map_to_point(BITS),
        ristretto.double_halves(POINT),
        [ristretto.encode_point(POINT)],
        [ristretto.compress_double(POINT, ELEMENT)],
        [ristretto.sqrt_ratio_m1(ELEMENT, ELEMENT)[1]],
    ]
    for result in results:
        assert all(within(coordinate, ELEMENT) for coordinate in result)
    # What edwards.py says of E, F, G, H at eight lanes; at one they go into products as they are (`guarded`).
    assert sources.raw < 2**62.9


def test_scalars(sources) -> None:
    scalar = sources.scalar
    widest, reduced = 0, tuple(Range(0, READ) for _ in range(5))

    def reduce_once(a):
        nonlocal widest
        widest = max(widest, *(limb.high for limb in a))
        return reduced

    scalar._reduce_once = reduce_once
    # m = -c/ell mod 2^52 is the one product that is meant to read the low 52 bits of more.
    scalar.madlo = lambda total, a, b: madlo(
        total, a & READ if total.high == 0 and b.high == scalar._MINUS_INVERSE else a, b
    )
    limbs = scalar.montgomery(reduced, reduced)
    scalar._sum(limbs, limbs)
    assert widest < 5 * 2**54


def test_ranges_notice() -> None:
    """The ranges are not blind."""
    for mistake in (
        lambda: Range(0, 2**63) + Range(0, 2**63),
        lambda: Range(0, 5) - Range(0, 1),
        lambda: Range(0, 2**60) * 19,
        lambda: madlo(Range(0, 0), Range(0, 2**52), Range(0, 1)),
        lambda: madhi(Range(0, WORD), Range(0, READ), Range(0, READ)),
    ):
        with pytest.raises(AssertionError):
            mistake()


def test_a_missing_carry_is_noticed(sources) -> None:
    """Let carries do nothing, and the point formulas no longer hold their bounds."""
    for module in (sources.field, sources.edwards, sources.ristretto):
        for name in ("as_factor", "carry"):
            if hasattr(module, name):
                setattr(module, name, lambda r: r)
    with pytest.raises(AssertionError):
        sources.edwards.times_16(POINT)
