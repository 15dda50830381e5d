"""The engine tests itself before anybody gets it."""

import hashlib
import time

import numpy as np
import pytest
import reference as ref

from contactsync import ristretto255
from contactsync.errors import OurError
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


def test_it_takes_milliseconds(lanes) -> None:
    engine = Engine(lanes)
    start.self_test(engine)
    took = []
    for _ in range(5):
        begin = time.thread_time()
        start.self_test(engine)
        took.append(time.thread_time() - begin)
    assert min(took) < 0.05
