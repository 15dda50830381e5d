"""The worked example and the constants of docs/protocol.md are what the code does."""

import re
from pathlib import Path

import numpy as np
import pytest
import reference as ref

from contactsync.tokens import Tokens
from contactsync.voprf import client, server, suite, wire

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text()


@pytest.fixture(scope="module")
def example() -> dict[str, bytes]:
    block = TEXT.split("## A worked example")[1].split("```")[1]
    found: dict[str, bytes] = {}
    name = ""
    for line in block.strip().splitlines():
        matched = re.fullmatch(r"(?:(\w+) *=)? +([0-9a-f]+)", line)
        assert matched, line
        name = matched[1] or name
        found[name] = found.get(name, b"") + bytes.fromhex(matched[2])
    return found


def pair(example: dict[str, bytes], name: str) -> list[bytes]:
    return [example[f"{name}_1"], example[f"{name}_2"]]


def test_package(example) -> None:
    assert example["info"] == b"contactsync/v1/people/1"
    key = server.derive_key_pair(example["seed"], example["info"])
    assert (key.secret, key.public) == (example["secret_key"], example["public_key"])
    blinds = np.frombuffer(b"".join(pair(example, "blind")), np.uint8).reshape(2, 32)
    blinding = client.blind_with_fixed_scalars_for_test_vectors(pair(example, "input"), blinds)
    assert blinding.blinded.tobytes() == example["request"]
    evaluated, proof = server.blind_evaluate_with_fixed_nonce_for_test_vectors(
        key, wire.parse_request(example["request"]), example["nonce"]
    )
    assert evaluated.tobytes() == example["evaluated"]
    assert proof == example["challenge"] + example["response"]
    assert wire.make_reply(evaluated, proof) == example["reply"]
    outputs = client.finalize(blinding, *wire.parse_reply(example["reply"], 2), example["public_key"])
    assert [o.tobytes() for o in outputs] == pair(example, "output")
    assert [t.tobytes() for t in Tokens.from_outputs(outputs).to_bytes()] == pair(example, "token")


def test_intermediate_values_by_the_twin(example) -> None:
    elements = [ref.HashToGroup(i, 1) for i in pair(example, "input")]
    assert [ref.encode(e) for e in elements] == pair(example, "input_element")
    public = ref.decode(example["public_key"])
    C = [ref.decode(example["request"][i : i + 32]) for i in (0, 32)]
    D = [ref.decode(example["evaluated"][i : i + 32]) for i in (0, 32)]
    weights = [w.to_bytes(32, "little") for w in ref._composite_weights(public, C, D, 1)]
    assert weights == [example["weight_0"], example["weight_1"]]
    M, Z = ref.ComputeComposites(public, C, D)
    assert (ref.encode(M), ref.encode(Z)) == (example["composite_M"], example["composite_Z"])
    unblinded = [
        ref.encode(ref.multiply(pow(int.from_bytes(b, "little"), -1, ref.ORDER), d))
        for b, d in zip(pair(example, "blind"), D, strict=True)
    ]
    assert unblinded == pair(example, "unblinded")


def test_constants() -> None:
    assert suite.CONTEXT_STRING == b"OPRFV1-\x01-ristretto255-SHA512"
    rows = dict(re.findall(r"^\| ([\w ]+) \| (.+) \|$", TEXT.split("## Constants")[1], re.MULTILINE))
    assert rows["DST of DeriveKeyPair"].startswith('`"DeriveKeyPair" ‖ contextString`')
    assert suite.DERIVE_KEY_PAIR_DST == b"DeriveKeyPair" + suite.CONTEXT_STRING
    assert rows["largest batch"].startswith(f"{suite.MAX_BATCH} elements")
    assert str(ref.ORDER - 2**252) in TEXT
