"""The vector files themselves: their schema, and every figure in them computed anew by the twin.

Nothing of the package's code is called here; that is `contactsync audit vectors` (tests/audit).
"""

import json
from pathlib import Path
from typing import Any

import jsonschema
import make_vectors
import pytest
import reference as ref

FOLDER = Path(__file__).resolve().parents[2] / "contactsync" / "vectors"
SCHEMA = json.loads((FOLDER / "schema.json").read_bytes())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
FILES = sorted(path for path in FOLDER.glob("*.json") if path.name != "schema.json")
GROUPS = [
    group
    for path in FILES
    for group in json.loads(path.read_bytes())["groups"]
    if group["layer"].partition(".")[0]
    in ("ristretto255", "voprf")  # files: tests/vectors; plans: nothing for a twin
]


@pytest.fixture(autouse=True)
def _at_both_widths() -> None:
    """Once is enough: no engine computes here."""


def integer(text: str) -> int:
    return int.from_bytes(bytes.fromhex(text), "little")


def le(value: int) -> str:
    return value.to_bytes(32, "little").hex()


def unhex(values: list[str]) -> list[bytes]:
    return [bytes.fromhex(value) for value in values]


def encoded(elements: list[ref.Element]) -> list[str]:
    return [ref.encode(element).hex() for element in elements]


def derive(given: dict[str, Any], mode: int) -> tuple[int, ref.Element]:
    return ref.DeriveKeyPair(bytes.fromhex(given["seed"]), bytes.fromhex(given["info"]), mode)


def expand_message_xmd(given: dict[str, Any]) -> dict[str, Any]:
    message, dst = unhex([given["message"], given["dst"]])
    return {"uniform_bytes": ref.expand_message_xmd(message, dst, given["length"]).hex()}


def hash_to_group(given: dict[str, Any]) -> dict[str, Any]:
    message, dst = unhex([given["message"], given["dst"]])
    return {"element": encoded([ref.one_way_map(ref.expand_message_xmd(message, dst, 64))])[0]}


def hash_to_scalar(given: dict[str, Any]) -> dict[str, Any]:
    message, dst = unhex([given["message"], given["dst"]])
    return {"scalar": le(ref.HashToScalar(message, 1, dst))}


def multiply_base(given: dict[str, Any]) -> dict[str, Any]:
    return {"element": encoded([ref.multiply(integer(given["scalar"]), ref.GENERATOR)])[0]}


def decode(given: dict[str, Any]) -> dict[str, Any]:
    return make_vectors.decode_outcome(bytes.fromhex(given["encoding"]))


def from_uniform_bytes(given: dict[str, Any]) -> dict[str, Any]:
    return {"element": encoded([ref.one_way_map(bytes.fromhex(given["uniform_bytes"]))])[0]}


def oprf(given: dict[str, Any]) -> dict[str, Any]:
    secret, _ = derive(given, 0)
    inputs, blinds = unhex(given["inputs"]), [integer(b) for b in given["blinds"]]
    blinded = [ref.Blind(i, b, 0) for i, b in zip(inputs, blinds, strict=True)]
    evaluated = [ref.multiply(secret, element) for element in blinded]
    outputs = [ref.Finalize_OPRF(i, b, e).hex() for i, b, e in zip(inputs, blinds, evaluated, strict=True)]
    assert outputs == [ref.Evaluate(secret, i, 0).hex() for i in inputs]
    return {
        "secret_key": le(secret),
        "blinded": encoded(blinded),
        "evaluated": encoded(evaluated),
        "outputs": outputs,
    }


def voprf(given: dict[str, Any]) -> dict[str, Any]:
    secret, public = derive(given, 1)
    inputs, blinds = unhex(given["inputs"]), [integer(b) for b in given["blinds"]]
    blinded = [ref.Blind(i, b, 1) for i, b in zip(inputs, blinds, strict=True)]
    evaluated, (c, s) = ref.BlindEvaluate(secret, public, blinded, integer(given["nonce"]))
    outputs = [o.hex() for o in ref.Finalize(inputs, blinds, evaluated, blinded, public, (c, s))]
    assert outputs == evaluate(given)["outputs"]
    return {
        "secret_key": le(secret),
        "public_key": encoded([public])[0],
        "blinded": encoded(blinded),
        "evaluated": encoded(evaluated),
        "proof": le(c) + le(s),
        "outputs": outputs,
    }


def evaluate(given: dict[str, Any]) -> dict[str, Any]:
    secret, _ = derive(given, 1)
    return {"outputs": [ref.Evaluate(secret, value, 1).hex() for value in unhex(given["inputs"])]}


def receive_request(given: dict[str, Any]) -> dict[str, Any]:
    body = bytes.fromhex(given["body"]) * given["times"]
    if len(body) % 32 or not body:
        return {"refusal": "bad-batch"}
    if len(body) > 4096 * 32:
        return {"refusal": "batch-too-large"}
    for index in range(len(body) // 32):
        try:
            ref.DeserializeElement(body[32 * index : 32 * index + 32])
        except ref.DecodeError:
            return {"refusal": "invalid-element", "index": index}
    return {"refusal": None}


def receive_reply(given: dict[str, Any]) -> dict[str, Any]:
    inputs, blinds = unhex(given["inputs"]), [integer(b) for b in given["blinds"]]
    blinded = [ref.Blind(i, b, 1) for i, b in zip(inputs, blinds, strict=True)]
    reply, n = bytes.fromhex(given["reply"]), len(inputs)
    if len(reply) != 32 * n + 64:
        return {"refusal": "wrong-length"}
    refusal = "invalid-key"
    try:
        public = ref.DeserializeElement(bytes.fromhex(given["public_key"]))
        refusal = "invalid-element"
        evaluated = [ref.DeserializeElement(reply[32 * i : 32 * i + 32]) for i in range(n)]
        refusal = "invalid-scalar"
        proof = ref.DeserializeScalar(reply[-64:-32]), ref.DeserializeScalar(reply[-32:])
    except ref.DecodeError:
        return {"refusal": refusal}
    try:
        ref.Finalize(inputs, blinds, evaluated, blinded, public, proof)
    except ref.VerifyError:
        return {"refusal": "bad-proof"}
    return {"refusal": None}


def scalar_is_usable(text: str) -> bool:
    return len(text) == 64 and 0 < integer(text) < ref.ORDER


def blind(given: dict[str, Any]) -> dict[str, Any]:
    if not given["inputs"]:
        return {"refusal": "bad-batch"}
    return {"refusal": None if all(map(scalar_is_usable, given["blinds"])) else "invalid-scalar"}


def key(given: dict[str, Any]) -> dict[str, Any]:
    if len(given["secret_key"]) != 64:
        return {"refusal": "wrong-length"}
    return {"refusal": None if scalar_is_usable(given["secret_key"]) else "invalid-scalar"}


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_schema(path) -> None:
    VALIDATOR.validate(json.loads(path.read_bytes()))


def test_schema_is_a_schema_and_refuses_strays() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    document = json.loads(FILES[0].read_bytes())
    document["groups"][0]["cases"][0]["given"]["stray"] = ""
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(document)


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group["name"])
def test_the_twin_computes_what_the_file_says(group) -> None:
    operation = globals()[group["operation"]]
    for number, case in enumerate(group["cases"], 1):
        assert case["number"] == number
        got = operation(case["given"])
        assert {field: got[field] for field in case["expected"]} == case["expected"], case["reason"]


def test_all_of_the_rfcs_figures_are_there() -> None:
    counts = {group["name"]: len(group["cases"]) for group in GROUPS}
    assert counts["RFC 9380 K.3 expand_message_xmd(SHA-512)"] == 10
    assert counts["RFC 9496 A.1 multiples of the generator"] == 16
    assert counts["RFC 9496 A.2 invalid encodings"] == 29
    assert counts["RFC 9496 A.3 group elements from uniform byte strings"] == 11
    assert counts["RFC 9497 A.1.1 OPRF mode"] == 2
    assert counts["RFC 9497 A.1.2 VOPRF mode"] == 3
