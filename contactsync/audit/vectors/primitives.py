"""What operations on the group, the VOPRF, keys and identifiers mean here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from contactsync import identifiers, ristretto255
from contactsync.ristretto255 import scalars
from contactsync.voprf import client, server, suite, wire

Case = dict[str, Any]


def _rows(values: list[str], width: int = 32) -> suite.Rows:
    return np.frombuffer(bytes.fromhex("".join(values)), np.uint8).reshape(len(values), width)


def _hexes(rows: suite.Rows) -> list[str]:
    return [row.tobytes().hex() for row in rows]


def _bytes(values: list[str]) -> list[bytes]:
    return [bytes.fromhex(value) for value in values]


def _expand_message_xmd(given: Case) -> Case:
    message, dst = bytes.fromhex(given["message"]), bytes.fromhex(given["dst"])
    return {"uniform_bytes": ristretto255.expand_message_xmd(message, dst, given["length"]).hex()}


def _hash_to_group(given: Case) -> Case:
    elements = ristretto255.hash_to_group([bytes.fromhex(given["message"])], bytes.fromhex(given["dst"]))
    return {"element": ristretto255.encode(elements).tobytes().hex()}


def _hash_to_scalar(given: Case) -> Case:
    message = np.frombuffer(bytes.fromhex(given["message"]), np.uint8).reshape(1, -1)
    return {"scalar": ristretto255.hash_to_scalar(message, bytes.fromhex(given["dst"])).tobytes().hex()}


def _multiply_base(given: Case) -> Case:
    scalar = _rows([given["scalar"]])
    generator, _ = ristretto255.decode(ristretto255.GENERATOR.reshape(1, 32))
    product = ristretto255.encode(ristretto255.multiply_base(scalar))
    ways = [ristretto255.multiply_encode(generator, scalar)]
    ways.append(ristretto255.encode(ristretto255.multiscalar_vartime(scalar, generator)))
    decoded, valid = ristretto255.decode(product)
    ways.append(ristretto255.encode(decoded))
    agree = bool(valid.all()) and all((way == product).all() for way in ways)
    return {"element": product.tobytes().hex() if agree else "the ways to multiply disagree"}


def _decode(given: Case) -> Case:
    elements, valid = ristretto255.decode(_rows([given["encoding"]]))
    element = ristretto255.encode(elements).tobytes().hex()
    return {"valid": bool(valid[0]), "element": element}


def _from_uniform_bytes(given: Case) -> Case:
    elements = ristretto255.from_uniform_bytes(_rows([given["uniform_bytes"]], 64))
    return {"element": ristretto255.encode(elements).tobytes().hex()}


def _oprf(given: Case) -> Case:
    """Mode 0x00 from the parts that it shares with mode 0x01 (RFC 9497 §3.3.1)."""
    context = suite.context_string(0x00)
    info = bytes.fromhex(given["info"])
    derive_input = bytes.fromhex(given["seed"]) + len(info).to_bytes(2, "big") + info + b"\0"
    message = np.frombuffer(derive_input, np.uint8).reshape(1, -1)
    secret = ristretto255.hash_to_scalar(message, b"DeriveKeyPair" + context)
    inputs, blinds = _bytes(given["inputs"]), _rows(given["blinds"])
    elements = ristretto255.hash_to_group(inputs, b"HashToGroup-" + context)
    blinded = ristretto255.multiply_encode(elements, blinds)
    evaluated = ristretto255.multiply(ristretto255.decode(blinded)[0], secret[0])
    unblinded = ristretto255.multiply_encode(evaluated, scalars.invert(blinds))
    return {
        "secret_key": secret.tobytes().hex(),
        "blinded": _hexes(blinded),
        "evaluated": _hexes(ristretto255.encode(evaluated)),
        "outputs": _hexes(suite.finalize_hash(inputs, unblinded)),
    }


def _voprf(given: Case) -> Case:
    """A whole exchange in mode 0x01; bulk Evaluate must give the same outputs as the client's Finalize."""
    key = server.derive_key_pair(bytes.fromhex(given["seed"]), bytes.fromhex(given["info"]))
    inputs = _bytes(given["inputs"])
    blinding = client.blind_with_fixed_scalars_for_test_vectors(inputs, _rows(given["blinds"]))
    evaluated, proof = server.blind_evaluate_with_fixed_nonce_for_test_vectors(
        key, blinding.blinded, bytes.fromhex(given["nonce"])
    )
    outputs = client.finalize(blinding, evaluated, proof, key.public)
    bulk = server.evaluate(key, inputs)
    return {
        "secret_key": key.secret.hex(),
        "public_key": key.public.hex(),
        "blinded": _hexes(blinding.blinded),
        "evaluated": _hexes(evaluated),
        "proof": proof.hex(),
        "outputs": _hexes(outputs) if (bulk == outputs).all() else "Evaluate and Finalize disagree",
    }


def _evaluate(given: Case) -> Case:
    key = server.derive_key_pair(bytes.fromhex(given["seed"]), bytes.fromhex(given["info"]))
    return {"outputs": _hexes(server.evaluate(key, _bytes(given["inputs"])))}


def _receive_request(given: Case) -> Case:
    """What the server says to the bytes of a request: whole rows, then BlindEvaluate."""
    body = bytes.fromhex(given["body"]) * int(given["times"])
    key = server.derive_key_pair(bytes.fromhex(given["seed"]), bytes.fromhex(given["info"]))

    server.blind_evaluate(key, wire.parse_request(body))
    return {}


def _receive_reply(given: Case) -> Case:
    """What the client says to the bytes of a reply."""
    blinding = client.blind_with_fixed_scalars_for_test_vectors(
        _bytes(given["inputs"]), _rows(given["blinds"])
    )
    reply, public_key = bytes.fromhex(given["reply"]), bytes.fromhex(given["public_key"])

    evaluated, proof = wire.parse_reply(reply, len(blinding))
    client.finalize(blinding, evaluated, proof, public_key)
    return {}


def _blind(given: Case) -> Case:
    inputs, blinds = _bytes(given["inputs"]), _rows(given["blinds"])
    client.blind_with_fixed_scalars_for_test_vectors(inputs, blinds)
    return {}


def _normalise(given: Case) -> Case:
    return {"identifier": identifiers.normalise(given["text"], given["region"]).decode()}


def _normalise_mail(given: Case) -> Case:
    return {"identifier": identifiers.mail.normalise(given["text"]).decode()}


def _forms(given: Case) -> Case:
    found = identifiers.further_forms(given["identifier"].encode("ascii"))
    return {"forms": [form.decode("ascii") for form in found]}


def _key(given: Case) -> Case:
    secret, public = bytes.fromhex(given["secret_key"]), bytes.fromhex(given["public_key"])
    server.KeyPair(secret, public)
    return {}


OPERATIONS: dict[str, Callable[[Case], Case]] = {
    "expand_message_xmd": _expand_message_xmd,
    "hash_to_group": _hash_to_group,
    "hash_to_scalar": _hash_to_scalar,
    "multiply_base": _multiply_base,
    "decode": _decode,
    "from_uniform_bytes": _from_uniform_bytes,
    "oprf": _oprf,
    "voprf": _voprf,
    "evaluate": _evaluate,
    "receive_request": _receive_request,
    "receive_reply": _receive_reply,
    "blind": _blind,
    "key": _key,
    "normalise": _normalise,
    "forms": _forms,
    "normalise_mail": _normalise_mail,
}
"""By their names in the vector files. Each raises the error that refuses what must be refused."""
