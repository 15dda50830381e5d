"""The slow, readable twin: RFC 9380, 9496 and 9497 in plain Python ints, transcribed line by line.

It is the oracle of the tests and therefore imports nothing from contactsync. Each line of an RFC's
pseudocode is a comment above the line that does it. Nothing here is constant time.
"""

import hashlib

# --- RFC 9496 section 4.1: internal constants ----------------------------------------------------------

p = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = 37095705934669439343138083508754565189542113879843219016388785533085940283555
SQRT_M1 = 19681161376707505956807079304988542015446066515923890162744021073123829784752
SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235
INVSQRT_A_MINUS_D = 54469307008909316920995813868745141605393597292927456921205312896311721017578
ONE_MINUS_D_SQ = 1159843021668779879193775521855586647937357759715417654439879720876111806838
D_MINUS_ONE_SQ = 40440834346308536858101042469323190826248399146238708352240133220865137265952

# The edwards25519 base point (RFC 7748 section 4.1), the representative of the canonical generator.
BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
BASE_Y = 46316835694926478169428394003475163141307993866256225615783033603165251855960

Element = tuple[int, int, int, int]  # extended coordinates (X, Y, Z, T), any representative of the coset
IDENTITY: Element = (0, 1, 1, 0)
GENERATOR: Element = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % p)


class DecodeError(Exception):
    pass


class InvalidInputError(Exception):
    pass


class VerifyError(Exception):
    pass


class DeriveKeyPairError(Exception):
    pass


def IS_NEGATIVE(e: int) -> bool:
    # Its least significant bit, as a nonnegative integer below p.
    return e % p % 2 == 1


def CT_ABS(e: int) -> int:
    return -e % p if IS_NEGATIVE(e) else e % p


# --- RFC 9496 section 4.2: square root of a ratio ------------------------------------------------------


def SQRT_RATIO_M1(u: int, v: int) -> tuple[bool, int]:
    # r = (u * v^3) * (u * v^7)^((p-5)/8)
    r = (u * v**3) * pow(u * v**7, (p - 5) // 8, p) % p
    # check = v * r^2
    check = v * r**2 % p
    # correct_sign_sqrt = CT_EQ(check, u)
    correct_sign_sqrt = check == u % p
    # flipped_sign_sqrt = CT_EQ(check, -u)
    flipped_sign_sqrt = check == -u % p
    # flipped_sign_sqrt_i = CT_EQ(check, -u*SQRT_M1)
    flipped_sign_sqrt_i = check == -u * SQRT_M1 % p
    # r_prime = SQRT_M1 * r
    r_prime = SQRT_M1 * r % p
    # r = CT_SELECT(r_prime IF flipped_sign_sqrt | flipped_sign_sqrt_i ELSE r)
    r = r_prime if flipped_sign_sqrt or flipped_sign_sqrt_i else r
    # r = CT_ABS(r)
    r = CT_ABS(r)
    # was_square = correct_sign_sqrt | flipped_sign_sqrt
    was_square = correct_sign_sqrt or flipped_sign_sqrt
    return was_square, r


# --- RFC 9496 section 4.3: external functions ----------------------------------------------------------


def decode(encoding: bytes) -> Element:
    """Section 4.3.1, Decode. Raises DecodeError. The identity's encoding decodes here."""
    # 1. Interpret the string as an unsigned integer s in little-endian representation. If the length of
    #    the string is not 32 bytes or if the resulting value is >= p, decoding fails.
    if len(encoding) != 32:
        raise DecodeError("length")
    s = int.from_bytes(encoding, "little")
    if s >= p:
        raise DecodeError("not below p")
    # 2. If IS_NEGATIVE(s) returns TRUE, decoding fails.
    if IS_NEGATIVE(s):
        raise DecodeError("negative")
    # 3. Process s as follows:
    # ss = s^2
    ss = s**2 % p
    # u1 = 1 - ss
    u1 = (1 - ss) % p
    # u2 = 1 + ss
    u2 = (1 + ss) % p
    # u2_sqr = u2^2
    u2_sqr = u2**2 % p
    # v = -(D * u1^2) - u2_sqr
    v = (-(D * u1**2) - u2_sqr) % p
    # (was_square, invsqrt) = SQRT_RATIO_M1(1, v * u2_sqr)
    was_square, invsqrt = SQRT_RATIO_M1(1, v * u2_sqr % p)
    # den_x = invsqrt * u2
    den_x = invsqrt * u2 % p
    # den_y = invsqrt * den_x * v
    den_y = invsqrt * den_x * v % p
    # x = CT_ABS(2 * s * den_x)
    x = CT_ABS(2 * s * den_x)
    # y = u1 * den_y
    y = u1 * den_y % p
    # t = x * y
    t = x * y % p
    # 4. If was_square is FALSE, IS_NEGATIVE(t) returns TRUE, or y = 0, decoding fails. Otherwise, return
    #    the group element represented by the internal representation (x, y, 1, t).
    if not was_square or IS_NEGATIVE(t) or y == 0:
        raise DecodeError("no element")
    return x, y, 1, t


def encode(element: Element) -> bytes:
    """Section 4.3.2, Encode."""
    x0, y0, z0, t0 = element
    # u1 = (z0 + y0) * (z0 - y0)
    u1 = (z0 + y0) * (z0 - y0) % p
    # u2 = x0 * y0
    u2 = x0 * y0 % p
    # Ignore was_square since this is always square.
    # (_, invsqrt) = SQRT_RATIO_M1(1, u1 * u2^2)
    _, invsqrt = SQRT_RATIO_M1(1, u1 * u2**2 % p)
    # den1 = invsqrt * u1
    den1 = invsqrt * u1 % p
    # den2 = invsqrt * u2
    den2 = invsqrt * u2 % p
    # z_inv = den1 * den2 * t0
    z_inv = den1 * den2 * t0 % p
    # ix0 = x0 * SQRT_M1
    ix0 = x0 * SQRT_M1 % p
    # iy0 = y0 * SQRT_M1
    iy0 = y0 * SQRT_M1 % p
    # enchanted_denominator = den1 * INVSQRT_A_MINUS_D
    enchanted_denominator = den1 * INVSQRT_A_MINUS_D % p
    # rotate = IS_NEGATIVE(t0 * z_inv)
    rotate = IS_NEGATIVE(t0 * z_inv)
    # Conditionally rotate x and y.
    # x = CT_SELECT(iy0 IF rotate ELSE x0)
    x = iy0 if rotate else x0
    # y = CT_SELECT(ix0 IF rotate ELSE y0)
    y = ix0 if rotate else y0
    # z = z0
    z = z0
    # den_inv = CT_SELECT(enchanted_denominator IF rotate ELSE den2)
    den_inv = enchanted_denominator if rotate else den2
    # y = CT_SELECT(-y IF IS_NEGATIVE(x * z_inv) ELSE y)
    y = -y if IS_NEGATIVE(x * z_inv) else y
    # s = CT_ABS(den_inv * (z - y))
    s = CT_ABS(den_inv * (z - y))
    # Return the 32-byte little-endian encoding of s.
    return s.to_bytes(32, "little")


def equals(a: Element, b: Element) -> bool:
    """Section 4.3.3, Equals."""
    x1, y1, _, _ = a
    x2, y2, _, _ = b
    # CT_EQ(x1 * y2, y1 * x2) | CT_EQ(y1 * y2, x1 * x2)
    return (x1 * y2 - y1 * x2) % p == 0 or (y1 * y2 - x1 * x2) % p == 0


def MAP(t: int) -> Element:
    """Section 4.3.4, the map of one field element."""
    # r = SQRT_M1 * t^2
    r = SQRT_M1 * t**2 % p
    # u = (r + 1) * ONE_MINUS_D_SQ
    u = (r + 1) * ONE_MINUS_D_SQ % p
    # v = (-1 - r*D) * (r + D)
    v = (-1 - r * D) * (r + D) % p
    # (was_square, s) = SQRT_RATIO_M1(u, v)
    was_square, s = SQRT_RATIO_M1(u, v)
    # s_prime = -CT_ABS(s*t)
    s_prime = -CT_ABS(s * t) % p
    # s = CT_SELECT(s IF was_square ELSE s_prime)
    s = s if was_square else s_prime
    # c = CT_SELECT(-1 IF was_square ELSE r)
    c = -1 if was_square else r
    # N = c * (r - 1) * D_MINUS_ONE_SQ - v
    N = (c * (r - 1) * D_MINUS_ONE_SQ - v) % p
    # w0 = 2 * s * v
    w0 = 2 * s * v % p
    # w1 = N * SQRT_AD_MINUS_ONE
    w1 = N * SQRT_AD_MINUS_ONE % p
    # w2 = 1 - s^2
    w2 = (1 - s**2) % p
    # w3 = 1 + s^2
    w3 = (1 + s**2) % p
    # Return (w0*w3, w2*w1, w1*w3, w0*w2)
    return w0 * w3 % p, w2 * w1 % p, w1 * w3 % p, w0 * w2 % p


def one_way_map(uniform_bytes: bytes) -> Element:
    """Section 4.3.4, element derivation from 64 bytes."""
    assert len(uniform_bytes) == 64
    # 1. Compute P1 as MAP(b[0:32]).
    # 2. Compute P2 as MAP(b[32:64]). The string's most significant bit is masked off and the rest
    #    reduced modulo p.
    P1 = MAP((int.from_bytes(uniform_bytes[:32], "little") & (2**255 - 1)) % p)
    P2 = MAP((int.from_bytes(uniform_bytes[32:], "little") & (2**255 - 1)) % p)
    # 3. Return P1 + P2.
    return add(P1, P2)


# --- The group operation: RFC 8032 section 5.1.4, complete twisted Edwards formulas -------------------


def add(a: Element, b: Element) -> Element:
    X1, Y1, Z1, T1 = a
    X2, Y2, Z2, T2 = b
    # A = (Y1-X1)*(Y2-X2)
    A = (Y1 - X1) * (Y2 - X2) % p
    # B = (Y1+X1)*(Y2+X2)
    B = (Y1 + X1) * (Y2 + X2) % p
    # C = T1*2*d*T2
    C = T1 * 2 * D * T2 % p
    # D = Z1*2*Z2
    D_ = Z1 * 2 * Z2 % p
    # E = B-A
    E = B - A
    # F = D-C
    F = D_ - C
    # G = D+C
    G = D_ + C
    # H = B+A
    H = B + A
    # X3 = E*F, Y3 = G*H, T3 = E*H, Z3 = F*G
    return E * F % p, G * H % p, F * G % p, E * H % p


def multiply(scalar: int, element: Element) -> Element:
    """scalar * element for any non-negative int, by double and add from the top bit."""
    total = IDENTITY
    for bit in f"{scalar:b}":
        total = add(total, total)
        if bit == "1":
            total = add(total, element)
    return total


# --- RFC 8017 section 4.1 and RFC 9380 section 5.3.1 --------------------------------------------------


def I2OSP(value: int, length: int) -> bytes:
    return value.to_bytes(length, "big")


def strxor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def expand_message_xmd(msg: bytes, DST: bytes, len_in_bytes: int) -> bytes:
    """RFC 9380 section 5.3.1 with H = SHA-512: b_in_bytes = 64, s_in_bytes = 128."""
    b_in_bytes = 64
    s_in_bytes = 128

    def H(data: bytes) -> bytes:
        return hashlib.sha512(data).digest()

    # 1. ell = ceil(len_in_bytes / b_in_bytes)
    ell = -(-len_in_bytes // b_in_bytes)
    # 2. ABORT if ell > 255 or len_in_bytes > 65535 or len(DST) > 255
    if ell > 255 or len_in_bytes > 65535 or len(DST) > 255:
        raise ValueError("expand_message_xmd: lengths")
    # 3. DST_prime = DST || I2OSP(len(DST), 1)
    DST_prime = DST + I2OSP(len(DST), 1)
    # 4. Z_pad = I2OSP(0, s_in_bytes)
    Z_pad = I2OSP(0, s_in_bytes)
    # 5. l_i_b_str = I2OSP(len_in_bytes, 2)
    l_i_b_str = I2OSP(len_in_bytes, 2)
    # 6. msg_prime = Z_pad || msg || l_i_b_str || I2OSP(0, 1) || DST_prime
    msg_prime = Z_pad + msg + l_i_b_str + I2OSP(0, 1) + DST_prime
    # 7. b_0 = H(msg_prime)
    b_0 = H(msg_prime)
    # 8. b_1 = H(b_0 || I2OSP(1, 1) || DST_prime)
    b = [b_0, H(b_0 + I2OSP(1, 1) + DST_prime)]
    # 9. for i in (2, ..., ell):
    for i in range(2, ell + 1):
        # 10. b_i = H(strxor(b_0, b_(i - 1)) || I2OSP(i, 1) || DST_prime)
        b.append(H(strxor(b_0, b[i - 1]) + I2OSP(i, 1) + DST_prime))
    # 11. uniform_bytes = b_1 || ... || b_ell
    uniform_bytes = b"".join(b[1:])
    # 12. return substr(uniform_bytes, 0, len_in_bytes)
    return uniform_bytes[:len_in_bytes]


# --- RFC 9497: section 4.1, OPRF(ristretto255, SHA-512) ------------------------------------------------

MODE_OPRF = 0
MODE_VOPRF = 1
IDENTIFIER = b"ristretto255-SHA512"


def CreateContextString(mode: int) -> bytes:
    """Section 3.1."""
    # return "OPRFV1-" || I2OSP(mode, 1) || "-" || identifier
    return b"OPRFV1-" + I2OSP(mode, 1) + b"-" + IDENTIFIER


def HashToGroup(x: bytes, mode: int) -> Element:
    # Use hash_to_ristretto255 with DST = "HashToGroup-" || contextString and
    # expand_message = expand_message_xmd using SHA-512.
    return one_way_map(expand_message_xmd(x, b"HashToGroup-" + CreateContextString(mode), 64))


def HashToScalar(x: bytes, mode: int, DST: bytes | None = None) -> int:
    # Compute uniform_bytes using expand_message = expand_message_xmd, DST = "HashToScalar-" ||
    # contextString, and an output length of 64 bytes, interpret uniform_bytes as a 512-bit integer in
    # little-endian order, and reduce the integer modulo Group.Order().
    DST = b"HashToScalar-" + CreateContextString(mode) if DST is None else DST
    return int.from_bytes(expand_message_xmd(x, DST, 64), "little") % ORDER


def DeserializeElement(buf: bytes) -> Element:
    # Implemented using the "Decode" function from Section 4.3.1 of [RFC9496]. Additionally, this function
    # validates that the resulting element is not the group identity element.
    element = decode(buf)
    if equals(element, IDENTITY):
        raise DecodeError("identity")
    return element


def SerializeScalar(s: int) -> bytes:
    # A 32-byte string of the little-endian encoding.
    return s.to_bytes(32, "little")


def DeserializeScalar(buf: bytes) -> int:
    # This function can fail if the input does not represent a Scalar in the range [0, G.Order() - 1].
    s = int.from_bytes(buf, "little")
    if len(buf) != 32 or s >= ORDER:
        raise DecodeError("scalar")
    return s


def DeriveKeyPair(seed: bytes, info: bytes, mode: int) -> tuple[int, Element]:
    """Section 3.2.1."""
    # deriveInput = seed || I2OSP(len(info), 2) || info
    deriveInput = seed + I2OSP(len(info), 2) + info
    # counter = 0
    counter = 0
    # skS = 0
    skS = 0
    # while skS == 0:
    while skS == 0:
        # if counter > 255: raise DeriveKeyPairError
        if counter > 255:
            raise DeriveKeyPairError
        # skS = G.HashToScalar(deriveInput || I2OSP(counter, 1), DST = "DeriveKeyPair" || contextString)
        skS = HashToScalar(
            deriveInput + I2OSP(counter, 1), mode, DST=b"DeriveKeyPair" + CreateContextString(mode)
        )
        # counter = counter + 1
        counter = counter + 1
    # pkS = G.ScalarMultGen(skS)
    pkS = multiply(skS, GENERATOR)
    # return skS, pkS
    return skS, pkS


# --- RFC 9497 section 2.2: discrete logarithm equivalence proofs ---------------------------------------


def _composite_weights(B: Element, C: list[Element], D: list[Element], mode: int) -> list[int]:
    """The part that ComputeComposites and ComputeCompositesFast share."""
    # Bm = G.SerializeElement(B)
    Bm = encode(B)
    # seedDST = "Seed-" || contextString
    seedDST = b"Seed-" + CreateContextString(mode)
    # seedTranscript = I2OSP(len(Bm), 2) || Bm || I2OSP(len(seedDST), 2) || seedDST
    seedTranscript = I2OSP(len(Bm), 2) + Bm + I2OSP(len(seedDST), 2) + seedDST
    # seed = Hash(seedTranscript)
    seed = hashlib.sha512(seedTranscript).digest()
    weights = []
    # for i in range(m):
    for i in range(len(C)):
        # Ci = G.SerializeElement(C[i])
        Ci = encode(C[i])
        # Di = G.SerializeElement(D[i])
        Di = encode(D[i])
        # compositeTranscript = I2OSP(len(seed), 2) || seed || I2OSP(i, 2) ||
        #   I2OSP(len(Ci), 2) || Ci || I2OSP(len(Di), 2) || Di || "Composite"
        compositeTranscript = (
            I2OSP(len(seed), 2) + seed + I2OSP(i, 2)
            + I2OSP(len(Ci), 2) + Ci + I2OSP(len(Di), 2) + Di + b"Composite"
        )  # fmt: skip
        # di = G.HashToScalar(compositeTranscript)
        weights.append(HashToScalar(compositeTranscript, mode))
    return weights


def ComputeCompositesFast(
    k: int, B: Element, C: list[Element], D: list[Element], mode: int = MODE_VOPRF
) -> tuple[Element, Element]:
    """Section 2.2.1."""
    # M = G.Identity()
    M = IDENTITY
    # for i in range(m):
    for i, di in enumerate(_composite_weights(B, C, D, mode)):
        # M = di * C[i] + M
        M = add(multiply(di, C[i]), M)
    # Z = k * M
    Z = multiply(k, M)
    # return (M, Z)
    return M, Z


def ComputeComposites(
    B: Element, C: list[Element], D: list[Element], mode: int = MODE_VOPRF
) -> tuple[Element, Element]:
    """Section 2.2.2."""
    # M = G.Identity()
    M = IDENTITY
    # Z = G.Identity()
    Z = IDENTITY
    # for i in range(m):
    for i, di in enumerate(_composite_weights(B, C, D, mode)):
        # M = di * C[i] + M
        M = add(multiply(di, C[i]), M)
        # Z = di * D[i] + Z
        Z = add(multiply(di, D[i]), Z)
    # return (M, Z)
    return M, Z


def _challenge(B: Element, M: Element, Z: Element, t2: Element, t3: Element, mode: int) -> int:
    """The part that GenerateProof and VerifyProof share."""
    # Bm = G.SerializeElement(B)
    Bm = encode(B)
    # a0 = G.SerializeElement(M)
    a0 = encode(M)
    # a1 = G.SerializeElement(Z)
    a1 = encode(Z)
    # a2 = G.SerializeElement(t2)
    a2 = encode(t2)
    # a3 = G.SerializeElement(t3)
    a3 = encode(t3)
    # challengeTranscript = I2OSP(len(Bm), 2) || Bm || I2OSP(len(a0), 2) || a0 || I2OSP(len(a1), 2) || a1 ||
    #   I2OSP(len(a2), 2) || a2 || I2OSP(len(a3), 2) || a3 || "Challenge"
    challengeTranscript = (
        I2OSP(len(Bm), 2) + Bm + I2OSP(len(a0), 2) + a0 + I2OSP(len(a1), 2) + a1
        + I2OSP(len(a2), 2) + a2 + I2OSP(len(a3), 2) + a3 + b"Challenge"
    )  # fmt: skip
    # c = G.HashToScalar(challengeTranscript)
    return HashToScalar(challengeTranscript, mode)


def GenerateProof(
    k: int, A: Element, B: Element, C: list[Element], D: list[Element], r: int, mode: int = MODE_VOPRF
) -> tuple[int, int]:
    """Section 2.2.1. `r` stands for the pseudocode's G.RandomScalar()."""
    # (M, Z) = ComputeCompositesFast(k, B, C, D)
    M, Z = ComputeCompositesFast(k, B, C, D, mode)
    # r = G.RandomScalar()
    # t2 = r * A
    t2 = multiply(r, A)
    # t3 = r * M
    t3 = multiply(r, M)
    # c = G.HashToScalar(challengeTranscript)
    c = _challenge(B, M, Z, t2, t3, mode)
    # s = r - c * k
    s = (r - c * k) % ORDER
    # return [c, s]
    return c, s


def VerifyProof(
    A: Element, B: Element, C: list[Element], D: list[Element], proof: tuple[int, int], mode: int = MODE_VOPRF
) -> bool:
    """Section 2.2.2."""
    # (M, Z) = ComputeComposites(B, C, D)
    M, Z = ComputeComposites(B, C, D, mode)
    # c = proof[0]
    c = proof[0]
    # s = proof[1]
    s = proof[1]
    # t2 = ((s * A) + (c * B))
    t2 = add(multiply(s, A), multiply(c, B))
    # t3 = ((s * M) + (c * Z))
    t3 = add(multiply(s, M), multiply(c, Z))
    # expectedC = G.HashToScalar(challengeTranscript)
    expectedC = _challenge(B, M, Z, t2, t3, mode)
    # return expectedC == c
    return expectedC == c


# --- RFC 9497 section 3.3: the protocol, modes 0x00 and 0x01 -------------------------------------------


def Blind(input: bytes, blind: int, mode: int) -> Element:
    """Sections 3.3.1 and 3.3.2. `blind` stands for the pseudocode's G.RandomScalar()."""
    # blind = G.RandomScalar()
    # inputElement = G.HashToGroup(input)
    inputElement = HashToGroup(input, mode)
    # if inputElement == G.Identity(): raise InvalidInputError
    if equals(inputElement, IDENTITY):
        raise InvalidInputError
    # blindedElement = blind * inputElement
    # return blind, blindedElement
    return multiply(blind, inputElement)


def BlindEvaluate(
    skS: int, pkS: Element, blindedElements: list[Element], r: int
) -> tuple[list[Element], tuple[int, int]]:
    """Section 3.3.2, with a batch of elements under one proof (section 2.2)."""
    # evaluatedElement = skS * blindedElement
    evaluatedElements = [multiply(skS, blindedElement) for blindedElement in blindedElements]
    # blindedElements = [blindedElement]
    # evaluatedElements = [evaluatedElement]
    # proof = GenerateProof(skS, G.Generator(), pkS, blindedElements, evaluatedElements)
    proof = GenerateProof(skS, GENERATOR, pkS, blindedElements, evaluatedElements, r)
    # return evaluatedElement, proof
    return evaluatedElements, proof


def _finalize_hash(input: bytes, element: Element) -> bytes:
    # unblindedElement = G.SerializeElement(N)
    unblindedElement = encode(element)
    # hashInput = I2OSP(len(input), 2) || input ||
    #   I2OSP(len(unblindedElement), 2) || unblindedElement || "Finalize"
    hashInput = (
        I2OSP(len(input), 2) + input + I2OSP(len(unblindedElement), 2) + unblindedElement + b"Finalize"
    )
    # return Hash(hashInput)
    return hashlib.sha512(hashInput).digest()


def Finalize_OPRF(input: bytes, blind: int, evaluatedElement: Element) -> bytes:
    """Section 3.3.1."""
    # N = G.ScalarInverse(blind) * evaluatedElement
    N = multiply(pow(blind, -1, ORDER), evaluatedElement)
    return _finalize_hash(input, N)


def Finalize(
    inputs: list[bytes],
    blinds: list[int],
    evaluatedElements: list[Element],
    blindedElements: list[Element],
    pkS: Element,
    proof: tuple[int, int],
) -> list[bytes]:
    """Section 3.3.2, for a batch."""
    # if VerifyProof(G.Generator(), pkS, blindedElements, evaluatedElements, proof) == false:
    #   raise VerifyError
    if not VerifyProof(GENERATOR, pkS, blindedElements, evaluatedElements, proof):
        raise VerifyError
    # N = G.ScalarInverse(blind) * evaluatedElement
    return [
        _finalize_hash(input, multiply(pow(blind, -1, ORDER), evaluatedElement))
        for input, blind, evaluatedElement in zip(inputs, blinds, evaluatedElements, strict=True)
    ]


def Evaluate(skS: int, input: bytes, mode: int) -> bytes:
    """Sections 3.3.1 and 3.3.2: what the key's holder computes without a client."""
    # inputElement = G.HashToGroup(input)
    inputElement = HashToGroup(input, mode)
    # if inputElement == G.Identity(): raise InvalidInputError
    if equals(inputElement, IDENTITY):
        raise InvalidInputError
    # evaluatedElement = skS * inputElement
    evaluatedElement = multiply(skS, inputElement)
    # issuedElement = G.SerializeElement(evaluatedElement)
    # hashInput = I2OSP(len(input), 2) || input || I2OSP(len(issuedElement), 2) || issuedElement || "Finalize"
    # return Hash(hashInput)
    return _finalize_hash(input, evaluatedElement)
