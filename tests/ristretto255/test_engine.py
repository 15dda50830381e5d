"""The engine at both widths against libsodium and the twin, and its manners with arrays."""

import functools
import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rbcl
import reference as ref
from click.testing import CliRunner

from contactsync import ristretto255 as rist
from contactsync.commands import main
from contactsync.kernels import batch
from contactsync.ristretto255 import scalars
from contactsync.ristretto255.engine import Engine
from contactsync.ristretto255.start import default_engine

VECTORS = Path(__file__).resolve().parents[2] / "contactsync" / "vectors"


def rows(values, width: int) -> np.ndarray:
    return np.frombuffer(b"".join(values), np.uint8).reshape(-1, width)


def strings(array: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in array]


def random_rows(n: int, width: int, seed: int) -> np.ndarray:
    return np.frombuffer(random.Random(seed).randbytes(n * width), np.uint8).reshape(n, width)


def elements_of(engine: Engine, points: list[ref.Element]) -> rist.Elements:
    """Elements with these very internal representatives."""
    limbs = [[c % ref.p >> 51 * i & (2**51 - 1) for c in point for i in range(5)] for point in points]
    return engine._from_rows(np.array(limbs, np.uint64).reshape(-1, 20))


# --- against libsodium --------------------------------------------------------------------------------


@functools.cache
def sodium(n: int) -> dict[str, np.ndarray]:
    """What libsodium makes of n random inputs."""
    wide, uniform = random_rows(n, 64, 1), random_rows(n, 64, 2)
    k = [rbcl.crypto_core_ristretto255_scalar_reduce(row) for row in strings(wide)]
    elements = [rbcl.crypto_core_ristretto255_from_hash(row) for row in strings(uniform)]
    pairs = list(zip(k, elements, strict=True))
    return {
        "wide": wide,
        "uniform": uniform,
        "scalars": rows(k, 32),
        "elements": rows(elements, 32),
        "products": rows([rbcl.crypto_scalarmult_ristretto255(a, e) for a, e in pairs], 32),
        "sums": rows(
            [rbcl.crypto_core_ristretto255_add(*pair) for pair in zip(elements, elements[::-1], strict=True)],
            32,
        ),
        "scalar products": rows(
            [rbcl.crypto_core_ristretto255_scalar_mul(a, b) for a, b in zip(k, k[::-1], strict=True)], 32
        ),
        "differences": rows(
            [rbcl.crypto_core_ristretto255_scalar_sub(a, b) for a, b in zip(k, k[::-1], strict=True)], 32
        ),
        "inverses": rows([rbcl.crypto_core_ristretto255_scalar_invert(a) for a in k], 32),
    }


def agree(n: int) -> None:
    known = sodium(n)
    k = scalars.reduce_wide(known["wide"])
    assert (k == known["scalars"]).all()
    elements = rist.from_uniform_bytes(known["uniform"])
    assert (rist.encode(elements) == known["elements"]).all()
    decoded, valid = rist.decode(known["elements"])
    assert valid.all()
    assert (rist.encode(decoded) == known["elements"]).all()
    reversed_, _ = rist.decode(known["elements"][::-1])
    assert (rist.encode(rist.add(elements, reversed_)) == known["sums"]).all()
    assert (rist.multiply_encode(decoded, k) == known["products"]).all()
    products = rist.multiply(elements, k)
    assert (rist.encode(products) == known["products"]).all()
    ones = np.tile(np.eye(1, 32, dtype=np.uint8), (n, 1))
    total = rist.encode(rist.multiscalar_vartime(k, elements))
    assert (total == rist.encode(rist.multiscalar_vartime(ones, products))).all()
    assert (scalars.multiply(k, k[::-1]) == known["scalar products"]).all()
    assert (scalars.subtract(k, k[::-1]) == known["differences"]).all()
    assert (scalars.invert(k) == known["inverses"]).all()


# Groups of eight lanes; groups that share doublings (32) or an inversion (128), and one more at either width.
@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 33, 129, 257, 1025])
def test_agrees_with_libsodium(n: int) -> None:
    agree(n)


@pytest.mark.slow
@pytest.mark.parametrize("n", [100_000])
def test_agrees_with_libsodium_on_many(n: int) -> None:
    agree(n)


def test_sum_of_products_is_that_of_libsodium() -> None:
    known = sodium(300)
    total = functools.reduce(rbcl.crypto_core_ristretto255_add, strings(known["products"]))
    elements, _ = rist.decode(known["elements"])
    assert rist.encode(rist.multiscalar_vartime(known["scalars"], elements)).tobytes() == total


# Full lanes and others; segments of equal and of very different lengths; more than share doublings.
@pytest.mark.parametrize("lengths", [[1], [8] * 16, [3, 1, 64, 8, 1, 1, 2, 40, 5], [100, 200], [7] * 9])
def test_sums_of_segments_are_those_of_each_alone(lengths) -> None:
    known, n = sodium(300), sum(lengths)
    elements, _ = rist.decode(known["elements"][:n])
    k = known["scalars"][:n]
    sums = strings(rist.encode(rist.segment_sums_vartime(k, elements, lengths)))
    ends = np.cumsum(lengths)
    assert sums == [
        functools.reduce(rbcl.crypto_core_ristretto255_add, strings(known["products"][end - length : end]))
        for length, end in zip(lengths, ends, strict=True)
    ]
    parts = rist.split(elements, lengths)
    assert [len(part) for part in parts] == lengths
    for part, end in zip(parts, ends, strict=True):
        assert (rist.encode(part) == known["elements"][end - len(part) : end]).all()
    assert (rist.encode(rist.concatenate(parts)) == known["elements"][:n]).all()
    assert (rist.multiply_encode(rist.concatenate(parts), k) == known["products"][:n]).all()


def test_segments_that_do_not_fit_are_refused() -> None:
    elements, _ = rist.decode(sodium(20)["elements"])
    k = sodium(20)["scalars"]
    for lengths, factors in (([19], k), ([21], k), ([20], k[:19])):
        with pytest.raises(ValueError, match="segments of"):
            rist.segment_sums_vartime(factors, elements, lengths)
    with pytest.raises(ValueError, match="segments of"):
        rist.split(elements, [8, 8])


def test_one_scalar_for_all() -> None:
    known = sodium(20)
    k = known["scalars"][3]
    expected = [rbcl.crypto_scalarmult_ristretto255(k.tobytes(), e) for e in strings(known["elements"])]
    elements, _ = rist.decode(known["elements"])
    assert strings(rist.multiply_encode(elements, k)) == expected
    assert strings(rist.encode(rist.multiply(elements, k))) == expected


def nasty_encodings() -> list[bytes]:
    rng = random.Random(9)
    good = ref.encode(ref.multiply(0xC0FFEE, ref.GENERATOR))
    y_of_small_order = [0, 1, ref.p - 1, ref.SQRT_M1, ref.p - ref.SQRT_M1]
    y_of_small_order += [
        2707385501144840649318225287225658788936804267575313519463743609750303021443,  # of order 8
        55188659117513257062467267217118295137698188065244968500265048394206261417927,
    ]
    numbers = [*y_of_small_order, *(2**255 + y for y in y_of_small_order)]
    numbers += [*(ref.p + k for k in range(-40, 41)), *range(40), 2**254, 2**255, 2**256 - 1]
    numbers += [sum((2**51 - 1) << 51 * i for i in chosen) for chosen in ([0], [1], [2], [3], [4], [0, 2, 4])]
    flipped = [
        bytes(b ^ (i == at) * bit for i, b in enumerate(good)) for at in range(32) for bit in (1, 2, 64, 128)
    ]
    groups = json.loads((VECTORS / "rfc9496.json").read_bytes())["groups"]
    decodes = [group for group in groups if group["operation"] == "decode"]
    from_rfc = [case["given"]["encoding"] for group in decodes for case in group["cases"]]
    assert len(from_rfc) >= 29
    return [
        *(number.to_bytes(32, "little") for number in numbers),
        *flipped,
        *(bytes.fromhex(text) for text in from_rfc),
        *(rng.randbytes(32) for _ in range(500)),
    ]


def twin_accepts(encoding: bytes) -> bool:
    try:
        ref.decode(encoding)
    except ref.DecodeError:
        return False
    return True


def test_accepts_and_rejects_what_libsodium_does() -> None:
    encodings = nasty_encodings()
    elements, valid = rist.decode(rows(encodings, 32))
    # The libsodium inside rbcl, 1.0.18, does not look at bit 255; RFC 9496 does, and so do later ones.
    accepted = [e[31] < 128 and bool(rbcl.crypto_core_ristretto255_is_valid_point(e)) for e in encodings]
    assert list(valid) == accepted
    assert accepted == [twin_accepts(e) for e in encodings]
    assert 20 < valid.sum() < len(encodings) - 100
    kept = [e if ok else bytes(32) for e, ok in zip(encodings, valid, strict=True)]
    assert strings(rist.encode(elements)) == kept


# --- representatives that no other implementation lets in ---------------------------------------------


def torsion() -> list[ref.Element]:
    """The four points of order 1, 2 and 4: what ristretto255 takes for the identity."""
    i = ref.SQRT_M1
    return [(0, 1, 1, 0), (0, -1, 1, 0), (i, 0, 1, 0), (-i, 0, 1, 0)]


def test_every_representative_of_an_element_is_the_same() -> None:
    engine = default_engine()
    rng = random.Random(4)
    bases = [ref.IDENTITY, ref.GENERATOR, ref.multiply(rng.randrange(ref.ORDER), ref.GENERATOR)]
    points, expected = [], []
    for base in bases:
        for t in torsion():
            x, y, z, tt = ref.add(base, t)
            for scale in (1, ref.p - 1, rng.randrange(1, ref.p)):
                points.append((x * scale, y * scale, z * scale, tt * scale))
                expected.append(base)
    elements = elements_of(engine, points)
    encodings = [ref.encode(point) for point in expected]
    assert strings(rist.encode(elements)) == encodings
    for k in (0, 1, 2, 3, 8, ref.ORDER - 1):
        factor = np.frombuffer(k.to_bytes(32, "little"), np.uint8)
        products = [ref.encode(ref.multiply(k, point)) for point in expected]
        assert strings(rist.multiply_encode(elements, factor)) == products
        assert strings(rist.encode(rist.multiply(elements, factor))) == products
    doubles = [ref.encode(ref.add(point, point)) for point in expected]
    assert strings(rist.encode(rist.add(elements, elements))) == doubles


def test_sums_are_complete_on_the_whole_curve() -> None:
    """Also on points of order 8, which are no group elements: the formulas know no exceptions."""
    engine = default_engine()
    y8 = 2707385501144840649318225287225658788936804267575313519463743609750303021443
    square = (y8 * y8 - 1) * pow(ref.D * y8 * y8 + 1, -1, ref.p) % ref.p
    x8 = pow(square, (ref.p + 3) // 8, ref.p)
    x8 = x8 if x8 * x8 % ref.p == square else x8 * ref.SQRT_M1 % ref.p
    order_8 = (x8, y8, 1, x8 * y8 % ref.p)
    points = [ref.multiply(k, order_8) for k in range(8)]
    points += [ref.add(point, ref.GENERATOR) for point in points]
    a = [p for p in points for _ in points]
    b = [q for _ in points for q in points]
    sums = engine._rows(engine.add(elements_of(engine, a), elements_of(engine, b)))
    for got, p, q in zip(sums, a, b, strict=True):
        limbs = got.reshape(4, 5)
        x, y, z, t = (sum(int(limb) << 51 * i for i, limb in enumerate(row)) for row in limbs)
        x1, y1, z1, _ = ref.add(p, q)
        assert (x * z1 - x1 * z) % ref.p == (y * z1 - y1 * z) % ref.p == (x * y - z * t) % ref.p == 0
        assert z % ref.p


# --- manners with arrays ------------------------------------------------------------------------------


def flavours(array: np.ndarray) -> list[np.ndarray]:
    """The same rows: read-only, unaligned, every second of many, backwards in memory, column by column."""
    n, width = array.shape
    read_only = array.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"\1" + array.tobytes(), np.uint8)[1:].reshape(n, width)
    spread = np.full((2 * n, 3 * width), 255, np.uint8)
    spread[::2, 1 : width + 1] = array
    backwards = array[::-1].copy()[::-1]
    return [read_only, unaligned, spread[::2, 1 : width + 1], backwards, np.asfortranarray(array)]


def test_any_memory_layout_will_do() -> None:
    known = sodium(11)
    elements, _ = rist.decode(known["elements"])
    for encodings in flavours(known["elements"]):
        decoded, valid = rist.decode(encodings)
        assert valid.all()
        assert (rist.encode(decoded) == known["elements"]).all()
        assert rist.hash_with_elements([b"m"] * 11, encodings, b"Finalize")[3].any()
    for uniform in flavours(known["uniform"]):
        assert (rist.encode(rist.from_uniform_bytes(uniform)) == known["elements"]).all()
    for k in flavours(known["scalars"]):
        assert (rist.multiply_encode(elements, k) == known["products"]).all()
        assert (rist.encode(rist.multiply(elements, k)) == known["products"]).all()
        assert (scalars.multiply(k, k[::-1]) == known["scalar products"]).all()
        assert (scalars.invert(k) == known["inverses"]).all()
        assert scalars.is_canonical(k).all()
        assert rist.encode(rist.multiscalar_vartime(k, elements)).any()
    for wide in flavours(known["wide"]):
        assert (scalars.reduce_wide(wide) == known["scalars"]).all()
        reference = rist.hash_to_scalar(known["wide"], b"tag")
        assert (rist.hash_to_scalar(wide, b"tag") == reference).all()


def test_inputs_are_left_alone() -> None:
    known = sodium(9)
    elements, _ = rist.decode(known["elements"])
    rist.multiply(elements, known["scalars"])
    rist.multiply_encode(elements, known["scalars"])
    rist.multiscalar_vartime(known["scalars"], elements)
    assert (rist.encode(elements) == known["elements"]).all()


def test_results_may_overwrite_their_inputs() -> None:
    engine = default_engine()
    known = sodium(9)
    elements, _ = rist.decode(known["elements"])
    words = engine.words(known["scalars"], 32)
    table, digits = np.empty(9 * 20 * 8, np.uint64), np.empty(64 * 8, np.uint64)
    batch.multiply(engine.width, elements.points, words, 4, elements.points, table, digits)
    assert (rist.encode(elements) == known["products"]).all()
    elements, _ = rist.decode(known["elements"])
    batch.add(engine.width, elements.points, elements.points, elements.points)
    doubles = [rbcl.crypto_core_ristretto255_add(e, e) for e in strings(known["elements"])]
    assert strings(rist.encode(elements)) == doubles


def test_nothing_is_fine() -> None:
    none = np.empty((0, 32), np.uint8)
    wide = np.empty((0, 64), np.uint8)
    elements, valid = rist.decode(none)
    assert len(elements) == len(valid) == len(rist.from_uniform_bytes(wide)) == 0
    for empty in (
        rist.encode(elements), rist.encode(rist.multiply(elements, none)),
        rist.multiply_encode(elements, none), rist.encode(rist.multiply_base(none)),
        rist.encode(rist.add(elements, elements)), scalars.random(0),
        scalars.reduce_wide(wide), scalars.multiply(none, none), scalars.subtract(none, none),
        scalars.invert(none), rist.encode(rist.hash_to_group([], b"tag")), rist.hash_to_scalar(wide, b"tag"),
    ):  # fmt: skip
        assert empty.shape == (0, 32)
    assert rist.hash_with_elements([], none, b"Finalize").shape == (0, 64)
    assert not rist.encode(rist.multiscalar_vartime(none, elements)).any()


def test_other_shapes_and_types_are_refused() -> None:
    good = sodium(9)
    elements, _ = rist.decode(good["elements"])
    encodings = good["elements"]
    for wrong in (encodings[:, :31], encodings[0], good["wide"], encodings.astype(np.int64)):
        with pytest.raises(ValueError, match="expected uint8"):
            rist.decode(wrong)
    with pytest.raises(ValueError, match="8 scalars for 9 elements"):
        rist.multiply(elements, good["scalars"][:8])
    with pytest.raises(ValueError, match="8 scalars for 9 elements"):
        rist.multiscalar_vartime(good["scalars"][:8], elements)
    with pytest.raises(ValueError, match="cannot be added"):
        rist.add(elements, rist.multiply_base(good["scalars"][:8]))
    other_width = Engine(9 - default_engine().lanes)
    with pytest.raises(ValueError, match="two widths"):
        rist.add(elements, rist.Elements(other_width, elements.points, 9))
    inputs = [b"m"] * 9
    for wrong in (encodings[:, :31], encodings[0], good["wide"], encodings.astype(np.int64)):
        with pytest.raises(ValueError, match="expected uint8"):
            rist.hash_with_elements(inputs, wrong, b"Finalize")
        with pytest.raises(ValueError, match="expected uint8"):
            scalars.is_canonical(wrong)
    # A row too few would have the kernel read what lies behind the array.
    for count in (1, 8, 10):
        with pytest.raises(ValueError, match=f"{count} elements for 9 inputs"):
            rist.hash_with_elements(inputs, sodium(10)["elements"][:count], b"Finalize")
    with pytest.raises(ValueError, match="expected uint8"):
        rist.hash_to_scalar(encodings.astype(np.int64), b"tag")
    for wrong in (good["wide"][0], encodings, good["wide"].astype(np.int64)):
        with pytest.raises(ValueError, match="expected uint8"):
            scalars.reduce_wide(wrong)


def test_threads_do_not_disturb_each_other() -> None:
    known = sodium(129)
    elements, _ = rist.decode(known["elements"])
    with ThreadPoolExecutor(3) as pool:
        for products in pool.map(lambda _: rist.multiply_encode(elements, known["scalars"]), range(9)):
            assert (products == known["products"]).all()


# --- hashing ------------------------------------------------------------------------------------------


def test_messages_of_every_length_in_one_batch() -> None:
    rng = random.Random(5)
    messages = [rng.randbytes(n) for n in range(150)]
    rng.shuffle(messages)
    dst = b"HashToGroup-" + ref.CreateContextString(1)
    got = strings(rist.encode(rist.hash_to_group(messages, dst)))
    assert got == [ref.encode(ref.one_way_map(ref.expand_message_xmd(m, dst, 64))) for m in messages]
    elements = random_rows(150, 32, 6)
    digests = strings(rist.hash_with_elements(messages, elements, b"Finalize"))
    for message, element, digest in zip(messages, strings(elements), digests, strict=True):
        framed = ref.I2OSP(len(message), 2) + message + ref.I2OSP(32, 2) + element + b"Finalize"
        assert digest == ref.hashlib.sha512(framed).digest()


@pytest.mark.parametrize("dst", [b"x", b"y" * 62, b"z" * 63, b"w" * 255])
def test_domain_separation_tags_of_every_length(dst: bytes) -> None:
    rng = random.Random(len(dst))
    messages = [rng.randbytes(n) for n in (0, 1, 40, 63, 64, 65, 128, 300)]
    expected = [ref.expand_message_xmd(message, dst, 64) for message in messages]
    assert strings(rist.encode(rist.hash_to_group(messages, dst))) == [
        ref.encode(ref.one_way_map(uniform)) for uniform in expected
    ]
    for message, uniform in zip(messages, expected, strict=True):
        row = np.frombuffer(message, np.uint8).reshape(1, -1)
        scalar = int.from_bytes(uniform, "little") % ref.ORDER
        assert rist.hash_to_scalar(row, dst).tobytes() == scalar.to_bytes(32, "little")


# --- scalars and vectors ------------------------------------------------------------------------------


def test_nasty_scalars() -> None:
    q = ref.ORDER
    a = [0, 1, 2, 15, 16, 2**52 - 1, 2**52, 2**104 - 1, 2**208, 2**252 - 1, 2**252, q // 2, q - 2, q - 1]
    pairs = [(x, y) for x in a for y in a]
    left = rows([x.to_bytes(32, "little") for x, _ in pairs], 32)
    right = rows([y.to_bytes(32, "little") for _, y in pairs], 32)
    as_rows = [[f(x, y) % q for x, y in pairs] for f in (lambda x, y: x * y, lambda x, y: x - y)]
    products, differences = (rows([v.to_bytes(32, "little") for v in column], 32) for column in as_rows)
    assert (scalars.multiply(left, right) == products).all()
    assert (scalars.subtract(left, right) == differences).all()
    inverses = rows([pow(x, q - 2, q).to_bytes(32, "little") for x, _ in pairs], 32)
    assert (scalars.invert(left) == inverses).all()
    wide = [x * q + y for x in (0, 1, 2**259, 2**512 // q - 1) for y in a] + [2**512 - 1, 2**256, 2**256 - 1]
    reduced = rows([(w % q).to_bytes(32, "little") for w in wide], 32)
    assert (scalars.reduce_wide(rows([w.to_bytes(64, "little") for w in wide], 64)) == reduced).all()


@pytest.mark.slow
def test_every_shipped_vector() -> None:
    """All vectors of RFC 9380, 9496 and 9497 and our own, at this width."""
    result = CliRunner().invoke(main, ["audit", "vectors"])
    assert result.exit_code == 0, result.output
