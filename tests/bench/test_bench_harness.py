"""The benchmarks measure what they say: turns, medians, rows; the libsodium peer does the same protocol."""

import json
import subprocess
import sys

import numpy as np
import pytest

from bench import harness
from bench.harness import Contender
from contactsync.voprf import client, server


def test_contenders_take_turns_and_medians_are_per_item() -> None:
    calls: list[str] = []

    def contender(name: str, seconds: float, items: int) -> Contender:
        def run() -> None:
            calls.append(name)
            harness.time.sleep(seconds)

        return Contender(run, items)

    figures = harness.interleaved(
        {"a": contender("a", 0.01, 10), "b": contender("b", 0.02, 1)}, seconds=0, rounds=3
    )
    assert calls == ["a", "b", "a", "b", "b", "a", "a", "b"]  # one warm-up each, then turns that rotate
    assert 1000 <= figures["a"] < 3000
    assert 20_000 <= figures["b"] < 40_000


def test_rows_as_table_markdown_and_json(tmp_path) -> None:
    rows = [
        {"case": "x", "n": 4096, "ours_us": 5.43219, "peer": None},
        {"case": "yy", "n": 1, "ours_us": 123.4, "peer": "p"},
    ]
    assert harness.table(rows).splitlines()[1].split() == ["x", "4,096", "5.43", "-"]
    assert harness.markdown(rows).splitlines()[2] == "| x | 4,096 | 5.43 | - |"
    harness.write_json(str(tmp_path / "rows"), rows)
    assert json.loads((tmp_path / "rows").read_text())[0]["ours_us"] == 5.432


def test_only_the_section_of_a_document_is_replaced(tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench engine -->\nold\n<!-- end engine -->\nafter\n")
    harness.update_section(str(page), "engine", "new")
    assert page.read_text() == "before\n<!-- bench engine -->\nnew\n<!-- end engine -->\nafter\n"
    with pytest.raises(SystemExit, match="no section"):
        harness.update_section(str(page), "other", "new")


def test_the_libsodium_peer_does_the_same_work() -> None:
    pytest.importorskip("rbcl")
    from bench import peers

    key = server.derive_key_pair(bytes(32), b"bench")
    inputs = [b"one", b"two", b"three"]
    assert b"".join(peers.evaluate(key.secret, inputs)) == server.evaluate(key, inputs).tobytes()
    blinds, C = peers.blind(inputs)
    D = peers.multiply_all(key.secret, C)
    proof = peers.prove(key.secret, key.public, C, D)
    assert peers.verify(key.public, C, D, proof)
    assert not peers.verify(key.public, C, D[::-1], proof)
    rows = [np.frombuffer(b"".join(part), np.uint8).reshape(3, 32) for part in (blinds, C, D)]
    blinding = client.blind_with_fixed_scalars_for_test_vectors(inputs, rows[0])
    assert (blinding.blinded == rows[1]).all()
    outputs = client.finalize(blinding, rows[2], proof, key.public)
    assert outputs.tobytes() == b"".join(peers.unblind(inputs, blinds, D))


def test_usage() -> None:
    result = subprocess.run([sys.executable, "-m", "bench"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "engine" in result.stderr
