"""The twin's own footing: its constants satisfy what RFC 9496 §4.1 says of them."""

import reference as ref


def test_constants() -> None:
    p = ref.p
    assert (ref.D * 121666 + 121665) % p == 0
    assert ref.SQRT_M1**2 % p == p - 1
    assert not ref.IS_NEGATIVE(ref.SQRT_M1)
    assert ref.SQRT_AD_MINUS_ONE**2 % p == (-ref.D - 1) % p
    assert ref.INVSQRT_A_MINUS_D**2 * (-1 - ref.D) % p == 1
    assert (1 - ref.D**2) % p == ref.ONE_MINUS_D_SQ
    assert (ref.D - 1) ** 2 % p == ref.D_MINUS_ONE_SQ
    assert ref.equals(ref.multiply(ref.ORDER, ref.GENERATOR), ref.IDENTITY)
    x, y = ref.BASE_X, ref.BASE_Y
    assert (-x * x + y * y - 1 - ref.D * x * x * y * y) % p == 0


def test_decode_inverts_encode() -> None:
    for k in range(20):
        element = ref.multiply(k, ref.GENERATOR)
        assert ref.equals(ref.decode(ref.encode(element)), element)
