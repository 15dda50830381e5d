"""What edges.json and refusals.json hold. Only the twin computes here, never the package.

`python tests/vectors/make.py` writes the files; test_vector_files.py checks that they are what this says.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import reference as ref

SEED = bytes.fromhex("a3" * 32)
INFO = b"contactsync/v1/people/1"
CONTEXT = ref.CreateContextString(1)
SOURCE = "contactsync, computed by tests/reference.py"
EFFECTS = {
    "receive_request": {
        "bad-batch": "reads outside the body, or answers for elements that nobody sent",
        "batch-too-large": "one request costs as much as many",
        "invalid-element": "applies the secret key to what is no element, and the answer tells of the key",
    },
    "receive_reply": {
        "wrong-length": "takes one contact's element for that of another, or reads outside the reply",
        "invalid-element": "gives every contact the same output, or one that the server knows beforehand",
        "invalid-scalar": "one proof has several spellings",
        "invalid-key": "a proof holds that says nothing about the key",
        "bad-proof": "the server can use another key for each client, and tells them apart by what matches",
    },
    "blind": {
        "invalid-scalar": "the blinded element is the identity or has another spelling: nothing is hidden",
        "bad-batch": "sends a request that no server accepts",
    },
    "key": {
        "invalid-scalar": "every identifier has the same output, or the key has several spellings",
        "wrong-length": "a key that was cut off is used",
    },
}
EDGE_LENGTHS = {
    0: "the empty message",
    1: "one byte",
    17: "an identifier",
    66: "one byte less than the largest one-block message",
    67: "the largest message whose padded tail still fits into one block",
    68: "one byte more than fits into one block",
    194: "two blocks, one byte to spare",
    195: "two blocks, full",
    196: "three blocks",
    255: "a length of one byte",
    256: "a length of two bytes",
}


def le(value: int) -> bytes:
    return value.to_bytes(32, "little")


def scalar(label: str) -> int:
    return int.from_bytes(hashlib.sha512(label.encode()).digest(), "little") % ref.ORDER


def message(length: int) -> bytes:
    return (b"tel:+4915123456789 " * 20)[:length]


def group(name: str, layer: str, operation: str, cases: list[tuple[str, dict, dict]]) -> dict[str, Any]:
    return {
        "name": name,
        "source": SOURCE,
        "layer": layer,
        "operation": operation,
        "cases": [
            {"number": number, "reason": reason, **effect(operation, expected)}
            | {"given": given, "expected": expected}
            for number, (reason, given, expected) in enumerate(cases, 1)
        ],
    }


def effect(operation: str, expected: dict) -> dict[str, str]:
    """What becomes of an implementation that accepts what must be refused."""
    refusal = expected.get("refusal")
    return {} if refusal is None else {"effect": EFFECTS[operation][refusal]}


def exchange(count: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is given and what must come out of a batch of `count` identifiers."""
    inputs = [b"tel:+49151%08d" % i for i in range(count)]
    blinds = [scalar(f"blind {i}") for i in range(count)]
    nonce = scalar("nonce")
    secret, public = ref.DeriveKeyPair(SEED, INFO, 1)
    blinded = [ref.Blind(i, b, 1) for i, b in zip(inputs, blinds, strict=True)]
    evaluated, (c, s) = ref.BlindEvaluate(secret, public, blinded, nonce)
    outputs = ref.Finalize(inputs, blinds, evaluated, blinded, public, (c, s))
    given = {
        "seed": SEED.hex(),
        "info": INFO.hex(),
        "inputs": [i.hex() for i in inputs],
        "blinds": [le(b).hex() for b in blinds],
        "nonce": le(nonce).hex(),
    }
    expected = {
        "secret_key": le(secret).hex(),
        "public_key": ref.encode(public).hex(),
        "blinded": [ref.encode(e).hex() for e in blinded],
        "evaluated": [ref.encode(e).hex() for e in evaluated],
        "proof": (le(c) + le(s)).hex(),
        "outputs": [o.hex() for o in outputs],
    }
    return given, expected


def edges() -> dict[str, Any]:
    to_group, to_scalar = b"HashToGroup-" + CONTEXT, b"HashToScalar-" + CONTEXT
    secret, _ = ref.DeriveKeyPair(SEED, INFO, 1)
    near_p = [(f"p{k:+d}" if k else "p", le(ref.p + k)) for k in (-3, -1, 0, 1, 17, 18)]
    return {
        "$schema": "schema.json",
        "version": 2,
        "about": "Cases at edges that the RFCs' own figures leave out: lengths around SHA-512 blocks, "
        "scalars around the order, batches around the width of vector units.",
        "groups": [
            group(
                "hash to group at the edges of blocks",
                "ristretto255",
                "hash_to_group",
                [
                    (
                        why,
                        {"message": message(n).hex(), "dst": to_group.hex()},
                        {"element": ref.encode(ref.HashToGroup(message(n), 1)).hex()},
                    )
                    for n, why in EDGE_LENGTHS.items()
                ],
            ),
            group(
                "hash to scalar at the edges of blocks",
                "ristretto255",
                "hash_to_scalar",
                [
                    (
                        why,
                        {"message": message(n).hex(), "dst": to_scalar.hex()},
                        {"scalar": le(ref.HashToScalar(message(n), 1)).hex()},
                    )
                    for n, why in {**EDGE_LENGTHS, 145: "the length of a composite transcript"}.items()
                ],
            ),
            group(
                "scalars at edges times the generator",
                "ristretto255",
                "multiply_base",
                [
                    (
                        why,
                        {"scalar": le(k).hex()},
                        {"element": ref.encode(ref.multiply(k, ref.GENERATOR)).hex()},
                    )
                    for why, k in (
                        ("the order less one", ref.ORDER - 1),
                        ("half the order, rounded up: one half", (ref.ORDER + 1) // 2),
                        ("a single bit at the top", 2**252),
                        ("all bits below the top", 2**252 - 1),
                        ("every window of four bits is 8", int("8" * 62, 16)),
                        ("every window of four bits is 7", int("7" * 63, 16)),
                    )
                ],
            ),
            group(
                "field elements at edges through the one-way map",
                "ristretto255",
                "from_uniform_bytes",
                [
                    (
                        f"both halves are {why}",
                        {"uniform_bytes": (half * 2).hex()},
                        {"element": ref.encode(ref.one_way_map(half * 2)).hex()},
                    )
                    for why, half in [*near_p, ("0", bytes(32)), ("2^256-1", b"\xff" * 32)]
                ],
            ),
            group(
                "decoding near the modulus and of the identity",
                "ristretto255",
                "decode",
                [
                    (why, {"encoding": encoding.hex()}, expected)
                    for why, encoding, expected in [
                        (
                            "the identity is a valid encoding of the group",
                            bytes(32),
                            {"valid": True, "element": bytes(32).hex()},
                        ),
                        *((why, encoding, decode_outcome(encoding)) for why, encoding in near_p),
                        ("2", le(2), decode_outcome(le(2))),
                        (
                            "the generator with bit 255 set",
                            le(int.from_bytes(ref.encode(ref.GENERATOR), "little") | 2**255),
                            {"valid": False, "element": bytes(32).hex()},
                        ),
                    ]
                ],
            ),
            group(
                "whole exchanges of several identifiers",
                "voprf",
                "voprf",
                [
                    (why, *exchange(count))
                    for count, why in {
                        1: "one identifier",
                        8: "one full group of eight",
                        9: "one more than eight",
                    }.items()
                ],
            ),
            group(
                "bulk Evaluate at the edges of blocks",
                "voprf",
                "evaluate",
                [
                    ("no input", {"seed": SEED.hex(), "info": INFO.hex(), "inputs": []}, {"outputs": []}),
                    (
                        "all lengths in one batch",
                        {
                            "seed": SEED.hex(),
                            "info": INFO.hex(),
                            "inputs": [message(n).hex() for n in EDGE_LENGTHS],
                        },
                        {"outputs": [ref.Evaluate(secret, message(n), 1).hex() for n in EDGE_LENGTHS]},
                    ),
                ],
            ),
        ],
    }


def decode_outcome(encoding: bytes) -> dict[str, Any]:
    try:
        ref.decode(encoding)
    except ref.DecodeError:
        return {"valid": False, "element": bytes(32).hex()}
    return {"valid": True, "element": encoding.hex()}


def refusals() -> dict[str, Any]:
    given, expected = exchange(4)
    blinded = [bytes.fromhex(e) for e in expected["blinded"]]
    evaluated = [bytes.fromhex(e) for e in expected["evaluated"]]
    proof, public = bytes.fromhex(expected["proof"]), bytes.fromhex(expected["public_key"])
    c, s = proof[:32], proof[32:]
    other_secret, other_public = ref.DeriveKeyPair(SEED, b"contactsync/v1/people/2", 1)
    elements = [ref.decode(e) for e in blinded]
    other_evaluated, (oc, os) = ref.BlindEvaluate(other_secret, other_public, elements, scalar("nonce"))
    not_square = bytes.fromhex("26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371")
    order = le(ref.ORDER)

    def request(reason: str, body: bytes, times: int = 1, **outcome: Any) -> tuple[str, dict, dict]:
        sent = {"body": body.hex(), "times": times}
        return reason, {"seed": given["seed"], "info": given["info"], **sent}, outcome

    def with_element(position: int, element: bytes) -> bytes:
        return b"".join(element if i == position else e for i, e in enumerate(blinded))

    def reply(reason: str, body: bytes, refusal: str | None, key: bytes = public) -> tuple[str, dict, dict]:
        fixed = {"inputs": given["inputs"], "blinds": given["blinds"]}
        return reason, {**fixed, "reply": body.hex(), "public_key": key.hex()}, {"refusal": refusal}

    good = b"".join(evaluated)
    swapped = [evaluated[1], evaluated[0], *evaluated[2:]]
    doubled = [ref.encode(ref.add(ref.decode(e), ref.decode(e))) for e in evaluated]
    return {
        "$schema": "schema.json",
        "version": 2,
        "about": "Messages, keys and blinds that must be refused, by which layer and as what; each family "
        "begins with one that must be accepted, so that nothing is refused for a wrong reason.",
        "groups": [
            group(
                "requests that the server must refuse",
                "voprf.server",
                "receive_request",
                [
                    request("a good batch of four: accepted", b"".join(blinded), refusal=None),
                    request("an empty body", b"", refusal="bad-batch"),
                    request("one byte too few", b"".join(blinded)[:-1], refusal="bad-batch"),
                    request("one trailing byte", b"".join(blinded) + b"\0", refusal="bad-batch"),
                    request("half an element", blinded[0][:16], refusal="bad-batch"),
                    request(
                        "4097 elements, one more than a batch may have",
                        blinded[0],
                        4097,
                        refusal="batch-too-large",
                    ),
                    request(
                        "the identity in first place",
                        with_element(0, bytes(32)),
                        refusal="invalid-element",
                        index=0,
                    ),
                    request(
                        "the identity in last place",
                        with_element(3, bytes(32)),
                        refusal="invalid-element",
                        index=3,
                    ),
                    request(
                        "a negative field element", with_element(1, le(1)), refusal="invalid-element", index=1
                    ),
                    request("the modulus p", with_element(2, le(ref.p)), refusal="invalid-element", index=2),
                    request(
                        "p+2: non-canonical",
                        with_element(2, le(ref.p + 2)),
                        refusal="invalid-element",
                        index=2,
                    ),
                    request(
                        "bit 255 set on a good element",
                        with_element(1, blinded[1][:31] + bytes([blinded[1][31] | 0x80])),
                        refusal="invalid-element",
                        index=1,
                    ),
                    request(
                        "x^2 is not a square", with_element(3, not_square), refusal="invalid-element", index=3
                    ),
                    request(
                        "all bits set", with_element(0, b"\xff" * 32), refusal="invalid-element", index=0
                    ),
                    request(
                        "two bad elements: the first is named",
                        blinded[0] + bytes(32) + le(1) + blinded[3],
                        refusal="invalid-element",
                        index=1,
                    ),
                ],
            ),
            group(
                "replies that the client must refuse",
                "voprf.client",
                "receive_reply",
                [
                    reply("a good reply: accepted", good + proof, None),
                    reply("an empty reply", b"", "wrong-length"),
                    reply("no proof", good, "wrong-length"),
                    reply("one byte too few", (good + proof)[:-1], "wrong-length"),
                    reply("one trailing byte", good + proof + b"\0", "wrong-length"),
                    reply("one element too few", b"".join(evaluated[:3]) + proof, "wrong-length"),
                    reply("one element too many", good + evaluated[3] + proof, "wrong-length"),
                    reply(
                        "the identity among the elements", bytes(32) + good[32:] + proof, "invalid-element"
                    ),
                    reply("a negative field element", le(1) + good[32:] + proof, "invalid-element"),
                    reply(
                        "an encoding that is no element", good[:96] + not_square + proof, "invalid-element"
                    ),
                    reply("the challenge is the order", good + order + s, "invalid-scalar"),
                    reply("the response is the order", good + c + order, "invalid-scalar"),
                    reply(
                        "the response plus the order: the same residue, not canonical",
                        good + c + le(int.from_bytes(s, "little") + ref.ORDER),
                        "invalid-scalar",
                    ),
                    reply("all bits of the response set", good + c + b"\xff" * 32, "invalid-scalar"),
                    reply("a public key that is the identity", good + proof, "invalid-key", bytes(32)),
                    reply("a public key that is no element", good + proof, "invalid-key", not_square),
                    reply("a public key of 31 bytes", good + proof, "invalid-key", public[:31]),
                    reply(
                        "one bit of the challenge flipped", good + bytes([c[0] ^ 1]) + c[1:] + s, "bad-proof"
                    ),
                    reply(
                        "one bit of the response flipped", good + c + bytes([s[0] ^ 1]) + s[1:], "bad-proof"
                    ),
                    reply("challenge and response swapped", good + s + c, "bad-proof"),
                    reply("a proof of zeros", good + bytes(64), "bad-proof"),
                    reply("two elements swapped", b"".join(swapped) + proof, "bad-proof"),
                    reply(
                        "the first element twice",
                        evaluated[0] + evaluated[0] + good[64:] + proof,
                        "bad-proof",
                    ),
                    reply("one element doubled", doubled[0] + good[32:] + proof, "bad-proof"),
                    reply("the blinded elements sent back", b"".join(blinded) + proof, "bad-proof"),
                    reply("all elements doubled, the old proof", b"".join(doubled) + proof, "bad-proof"),
                    reply(
                        "made with another key and proved for it",
                        b"".join(ref.encode(e) for e in other_evaluated) + le(oc) + le(os),
                        "bad-proof",
                    ),
                    reply(
                        "a good reply against another public key",
                        good + proof,
                        "bad-proof",
                        ref.encode(other_public),
                    ),
                ],
            ),
            group(
                "blinds that must be refused",
                "voprf.client",
                "blind",
                [
                    (
                        why,
                        {
                            "inputs": [b"tel:+4915123456789".hex()] * len(blinds),
                            "blinds": [b.hex() for b in blinds],
                        },
                        {"refusal": refusal},
                    )
                    for why, blinds, refusal in (
                        ("the order less one: accepted", [le(ref.ORDER - 1)], None),
                        ("zero", [bytes(32)], "invalid-scalar"),
                        ("the order", [order], "invalid-scalar"),
                        ("all bits set", [b"\xff" * 32], "invalid-scalar"),
                        ("a good one and zero", [le(5), bytes(32)], "invalid-scalar"),
                        ("no input at all", [], "bad-batch"),
                    )
                ],
            ),
            group(
                "secret keys that must be refused",
                "voprf.server",
                "key",
                [
                    (why, {"secret_key": secret.hex(), "public_key": public.hex()}, {"refusal": refusal})
                    for why, secret, refusal in (
                        ("one: accepted", le(1), None),
                        ("zero", bytes(32), "invalid-scalar"),
                        ("the order", order, "invalid-scalar"),
                        ("the order plus one", le(ref.ORDER + 1), "invalid-scalar"),
                        ("31 bytes", le(1)[:31], "wrong-length"),
                        ("33 bytes", le(1) + b"\0", "wrong-length"),
                    )
                ],
            ),
        ],
    }


FILES: dict[str, Callable[[], dict[str, Any]]] = {"edges.json": edges, "refusals.json": refusals}
