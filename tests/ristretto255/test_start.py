"""The engine tests itself before anybody gets it."""

import hashlib
import time

import numpy as np
import pytest
import reference as ref

from contactsync import ristretto255
from contactsync.foundation.errors import OurError
from contactsync.kernels import batch, scalar, sha512
from contactsync.ristretto255 import engine as engine_module
from contactsync.ristretto255 import start
from contactsync.ristretto255.engine import Engine


def answers_of_the_twin() -> bytes:
    q = ref.ORDER
    dst = start.DST
    elements = [ref.one_way_map(ref.expand_message_xmd(m, dst, 64)) for m in start.MESSAGES]
    scalars = [ref.HashToScalar(m, 1, dst + b"/scalar") for m in start.MESSAGES]
    products = [ref.multiply(k, e) for k, e in zip(scalars, elements, strict=True)]
    total = ref.IDENTITY
    for product in products:
        total = ref.add(total, product)
    decoded = [*products[:-1], ref.IDENTITY]
    framed = [
        ref.I2OSP(len(m), 2) + m + ref.I2OSP(32, 2) + ref.encode(e) + b"Finalize"
        for m, e in zip(start.MESSAGES, products, strict=True)
    ]
    return b"".join(
        [
            *(ref.encode(e) for e in elements),
            *(ref.SerializeScalar(k) for k in scalars),
            *(ref.encode(e) for e in products),
            bytes([1] * (len(products) - 1) + [0]),
            *(ref.encode(ref.multiply(scalars[0], e)) for e in decoded),
            *(ref.encode(ref.multiply(k, ref.GENERATOR)) for k in scalars[:2]),
            *(ref.encode(ref.add(a, b)) for a, b in zip(elements, decoded, strict=True)),
            ref.encode(total),
            *(ref.SerializeScalar(pow(k, -1, q)) for k in scalars),
            *(ref.SerializeScalar((a - b) % q) for a, b in zip(scalars, scalars[::-1], strict=True)),
            *(hashlib.sha512(message).digest() for message in framed),
        ]
    )


@pytest.mark.slow
def test_the_known_answer_is_that_of_the_twin(lanes) -> None:
    known = answers_of_the_twin()
    assert start.answers(start.default_engine()) == known
    assert hashlib.sha256(known).hexdigest() == start.KNOWN_ANSWER


@pytest.mark.parametrize(
    "operation",
    ["decode", "encode", "from_uniform_bytes", "multiply", "add", "scalar_invert", "scalar_multiply_add"],
)
def test_an_engine_with_one_wrong_bit_is_not_handed_out(monkeypatch, operation) -> None:
    right = getattr(Engine, operation)

    def wrong(self, *args):
        result = right(self, *args)
        array = result[1] if operation == "decode" else getattr(result, "points", result)
        array.view(np.uint8).reshape(-1)[0] ^= 1
        return result

    monkeypatch.setattr(Engine, operation, wrong)
    with pytest.raises(OurError, match="wrong results"):
        ristretto255.decode(np.zeros((1, 32), np.uint8))


# Kernel, which argument it writes to, what to flip, words of a row (none: points, in groups of lanes).
KERNELS = [
    (batch, "decode", 2, 1, None), (batch, "decode", 3, 2**64 - 1, 1), (batch, "encode", 2, 1, 4),
    (batch, "derive", 2, 1, None), (batch, "add", 3, 1, None), (batch, "multiply", 4, 1, None),
    (batch, "double_encode", 2, 1, 4), (batch, "multiscalar_vartime", 3, 1, None),
    (scalar, "multiply_add", 7, 1, 4), (scalar, "invert", 2, 1, 4),
    (sha512, "sha512", 4, 1, 8), (sha512, "frame", 6, 1, 128),
]  # fmt: skip


@pytest.mark.parametrize("row", [0, 7])
@pytest.mark.parametrize("broken", KERNELS, ids=[f"{kernel[1]}-{kernel[2]}" for kernel in KERNELS])
def test_a_kernel_that_is_wrong_in_one_bit_is_noticed(monkeypatch, lanes, broken, row) -> None:
    """At eight lanes: only in the first, or only in the last."""
    module, name, output, flip, row_words = broken
    right = getattr(module, name)

    def wrong(*args):
        right(*args)
        out = args[output]
        # Of a point, Y: an encoding may survive another X.
        at = (row // lanes * 20 + 5) * lanes + row % lanes if row_words is None else row * row_words
        out[at if at < out.size else 0] ^= out.dtype.type(flip)

    monkeypatch.setattr(module, name, wrong)
    with pytest.raises(OurError, match="wrong results"):
        start.self_test(Engine(lanes))


@pytest.mark.parametrize("name", ["GENERATOR", "_ZERO", "_HALF", "_MINUS_ONE", "_UPPER_HALF"])
def test_a_wrong_constant_is_noticed(monkeypatch, lanes, name) -> None:
    wrong = getattr(engine_module, name).copy()
    wrong[0] ^= 1
    monkeypatch.setattr(engine_module, name, wrong)
    with pytest.raises(OurError, match="wrong results"):
        start.self_test(Engine(lanes))


def test_it_takes_milliseconds(lanes) -> None:
    engine = Engine(lanes)
    start.self_test(engine)
    took = []
    for _ in range(5):
        begin = time.thread_time()
        start.self_test(engine)
        took.append(time.thread_time() - begin)
    assert min(took) < 0.05
