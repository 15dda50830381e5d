"""`python -m bench engine`: the VOPRF engine against libsodium + hashlib, PyPI voprf and openmined-psi.

All figures are µs an item, medians, one run. Peers work item by item and are slow, so they get the first
items of a batch only (see Fixture). With two threads a batch is cut in two, and the peer is this engine with
one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import harness, peers
from bench.harness import Contender, Row
from contactsync import directory
from contactsync.kernels.policy import LANES, has_ifma, lanes
from contactsync.ristretto255 import decode
from contactsync.tokens import Tokens
from contactsync.voprf import client, proof, server, suite

PACKAGES = ("numba", "numpy", "rbcl", "voprf", "openmined-psi")
SIZES = (1, 64, 512, 4096, 100_000)
QUICK_SIZES = (1, 512, 4096)
ONE_THREAD = "contactsync, one thread"
SODIUM = "libsodium + hashlib"
VOPRF = "PyPI voprf"
PSI = "openmined-psi"
SEED = bytes(range(32))
INFO = b"contactsync/v1/people/1"
QUICK_LIMIT = (
    22  # seconds; a first width that took longer (kernels had to be compiled) leaves no time for another
)

Peers = dict[str, Contender]


class Fixture:
    """A batch of n, and all that one step of the protocol needs of the steps before it.

    `few` items go to peers item by item, `several` to those that take a batch.
    """

    def __init__(self, n: int, quick: bool) -> None:
        from voprf import ristretto

        self.dalek = ristretto
        self.n = n
        self.few, self.several = min(n, 16 if quick else 128), min(n, 64 if quick else 512)
        self.key = server.derive_key_pair(SEED, INFO)
        self.evaluator = ristretto.Evaluator.from_seed(SEED, INFO)
        self.inputs = [b"tel:+49151%08d" % i for i in range(n)]
        self.batches = [self._batch(a, b) for a, b in _cut(n, -(-n // suite.MAX_BATCH))]

    def _batch(self, start: int, stop: int) -> dict[str, Any]:
        blinding = client.blind(self.inputs[start:stop])
        elements_C = server.decode_batch(blinding.blinded)
        evaluated = server.multiply_batch(self.key, elements_C)
        return {
            "blinding": blinding,
            "evaluated": evaluated,
            "C": elements_C,
            "D": decode(evaluated)[0],
            "proof": proof.generate_proof(
                self.key.secret, self.key.public, elements_C, blinding.blinded, evaluated
            ),
        }

    def half(self, i: int) -> Fixture:
        """One of two halves: a batch is cut where it is one, a row of batches between batches."""
        part = object.__new__(Fixture)
        part.__dict__.update(self.__dict__)
        middle = self.n // 2
        if len(self.batches) > 1:
            middle = len(self.batches) // 2
            part.batches = self.batches[:middle] if i == 0 else self.batches[middle:]
            first = 0 if i == 0 else sum(len(batch["blinding"]) for batch in self.batches[:middle])
            part.inputs = self.inputs[first : first + sum(len(batch["blinding"]) for batch in part.batches)]
        else:
            bounds = (0, middle) if i == 0 else (middle, self.n)
            part.batches = [self._batch(*bounds)]
            part.inputs = self.inputs[slice(*bounds)]
        return part


def _cut(n: int, parts: int) -> Iterator[tuple[int, int]]:
    return itertools.pairwise(n * i // parts for i in range(parts + 1))


# --- the steps: what we do with a fixture, and what peers do with its first items ---------------------------


def _evaluate(f: Fixture) -> None:
    server.evaluate(f.key, f.inputs)


def _evaluate_peers(f: Fixture) -> Peers:
    few = f.inputs[: f.few]
    return {
        SODIUM: Contender(lambda: peers.evaluate(f.key.secret, few), f.few),
        VOPRF: Contender(lambda: [f.evaluator.evaluate_known_input(value) for value in few], f.few),
    }


def _multiply(f: Fixture) -> None:
    for batch in f.batches:
        server.multiply_batch(f.key, server.decode_batch(batch["blinding"].blinded))


def _multiply_peers(f: Fixture) -> Peers:
    few = [row.tobytes() for row in f.batches[0]["blinding"].blinded[: f.few]]
    return {SODIUM: Contender(lambda: peers.multiply_all(f.key.secret, few), f.few)}


def _answer(f: Fixture) -> None:
    for batch in f.batches:
        server.blind_evaluate(f.key, batch["blinding"].blinded)


def _answer_peers(f: Fixture) -> Peers:
    key = f.key
    few = [row.tobytes() for row in f.batches[0]["blinding"].blinded[: f.few]]
    several = [row.tobytes() for row in f.batches[0]["blinding"].blinded[: f.several]]

    def sodium() -> None:
        peers.prove(key.secret, key.public, few, peers.multiply_all(key.secret, few))

    def voprf() -> None:
        f.evaluator.evaluate_batch([f.dalek.BlindedInput.deserialize(e) for e in several]).serialize()

    return {SODIUM: Contender(sodium, f.few), VOPRF: Contender(voprf, f.several)}


def _prove(f: Fixture) -> None:
    for batch in f.batches:
        proof.generate_proof(
            f.key.secret, f.key.public, batch["C"], batch["blinding"].blinded, batch["evaluated"]
        )


def _prove_peers(f: Fixture) -> Peers:
    C = [row.tobytes() for row in f.batches[0]["blinding"].blinded[: f.few]]
    D = [row.tobytes() for row in f.batches[0]["evaluated"][: f.few]]
    return {SODIUM: Contender(lambda: peers.prove(f.key.secret, f.key.public, C, D), f.few)}


def _blind(f: Fixture) -> None:
    for batch in f.batches:
        client.blind(batch["blinding"].inputs)


def _blind_peers(f: Fixture) -> Peers:
    few = f.inputs[: f.few]
    return {
        SODIUM: Contender(lambda: peers.blind(few), f.few),
        VOPRF: Contender(lambda: [f.dalek.Client.blind(value)[1].serialize() for value in few], f.few),
    }


def _verify(f: Fixture) -> None:
    for batch in f.batches:
        client._verify(batch["blinding"], batch["evaluated"], batch["proof"], f.key.public)


def _verify_peers(f: Fixture) -> Peers:
    C = [row.tobytes() for row in f.batches[0]["blinding"].blinded[: f.few]]
    D = [row.tobytes() for row in f.batches[0]["evaluated"][: f.few]]
    proof_of_few = peers.prove(f.key.secret, f.key.public, C, D)
    assert peers.verify(f.key.public, C, D, proof_of_few)
    return {SODIUM: Contender(lambda: peers.verify(f.key.public, C, D, proof_of_few), f.few)}


def _finalize(f: Fixture) -> None:
    for batch in f.batches:
        client._unblind(batch["blinding"], batch["D"])


def _finalize_peers(f: Fixture) -> Peers:
    batch, few = f.batches[0], f.inputs[: f.few]
    blinds = [row.tobytes() for row in batch["blinding"].blinds[: f.few]]
    evaluated = [row.tobytes() for row in batch["evaluated"][: f.few]]
    return {SODIUM: Contender(lambda: peers.unblind(few, blinds, evaluated), f.few)}


def _client(f: Fixture) -> None:
    for batch in f.batches:
        client.blind(batch["blinding"].inputs)
        client.finalize(batch["blinding"], batch["evaluated"], batch["proof"], f.key.public)


def _client_peers(f: Fixture) -> Peers:
    several = f.inputs[: f.several]
    clients, blinded = zip(*map(f.dalek.Client.blind, several), strict=True)
    reply = bytes(f.evaluator.evaluate_batch(blinded).serialize())

    def voprf() -> None:
        for value in several:
            f.dalek.Client.blind(value)[1].serialize()
        output = f.dalek.VerifiableBatchOutput.deserialize(reply)
        f.dalek.Client.finalize_batch(clients, output, f.evaluator.public_key)

    few = f.inputs[: f.few]
    blinds, C = peers.blind(few)
    D = peers.multiply_all(f.key.secret, C)
    proof_of_few = peers.prove(f.key.secret, f.key.public, C, D)

    def sodium() -> None:
        peers.blind(few)
        for element in D:
            peers.na.crypto_core_ristretto255_is_valid_point(element)
        assert peers.verify(f.key.public, C, D, proof_of_few)
        peers.unblind(few, blinds, D)

    return {SODIUM: Contender(sodium, f.few), VOPRF: Contender(voprf, f.several)}


CASES: dict[str, tuple[Callable[[Fixture], None], Callable[[Fixture], Peers]]] = {
    "Evaluate, bulk": (_evaluate, _evaluate_peers),
    "BlindEvaluate, no proof": (_multiply, _multiply_peers),
    "server: answer with proof": (_answer, _answer_peers),
    "server: proof alone": (_prove, _prove_peers),
    "client: blind": (_blind, _blind_peers),
    "client: verify": (_verify, _verify_peers),
    "client: finalize": (_finalize, _finalize_peers),
    "client: all three": (_client, _client_peers),
}


# --- running them -------------------------------------------------------------------------------------------


def _row(case: str, n: int, threads: int, ours: float, peer: str, theirs: float) -> Row:
    return {
        "case": case, "n": n, "threads": threads, "lanes": lanes(), "ours_us": ours,
        "peer": peer, "peer_us": theirs, "ratio": theirs / ours,
    }  # fmt: skip


def _measure(
    case: str, n: int, fixture: Fixture, seconds: float, rounds: int, pool: ThreadPoolExecutor
) -> list[Row]:
    ours, others = CASES[case]
    contenders = {"one": Contender(partial(ours, fixture), n)}
    if n > 1:
        halves = fixture.half(0), fixture.half(1)
        contenders["two"] = Contender(lambda: list(pool.map(ours, halves)), n)
    contenders |= others(fixture)
    figures = harness.interleaved(contenders, seconds=seconds, rounds=rounds)
    one, two = figures.pop("one"), figures.pop("two", None)
    rows = [_row(case, n, 1, one, peer, figure) for peer, figure in figures.items()]
    return rows + ([] if two is None else [_row(case, n, 2, two, ONE_THREAD, one)])


def _directory(quick: bool) -> Row:
    """Members' numbers to a directory file, against openmined-psi's setup with the same error rate."""
    from private_set_intersection import python as psi

    members, psi_items = (50_000, 5_000) if quick else (1_000_000, 50_000)
    key = server.derive_key_pair(SEED, INFO)
    numbers = np.random.default_rng(1).choice(10**8, members, replace=False) + 49151 * 10**8

    def ours() -> None:
        chunks = (
            Tokens.from_outputs(server.evaluate(key, [b"tel:+%d" % x for x in numbers[a:b].tolist()]))
            for a, b in _cut(members, -(-members // 65_536))
        )
        with tempfile.TemporaryDirectory() as folder:
            directory.build(Path(folder) / "49", chunks)

    texts = [f"+{x}" for x in numbers[:psi_items].tolist()]
    peer = psi.server.CreateWithNewKey(True)

    def theirs() -> None:
        peer.CreateSetupMessage(2.0**-32, 1, texts, psi.DataStructure.GCS)

    contenders = {"ours": Contender(ours, members), "theirs": Contender(theirs, psi_items)}
    figures = harness.interleaved(contenders, seconds=0, rounds=1)
    return _row("directory from numbers", members, 1, figures["ours"], PSI, figures["theirs"])


def _run(quick: bool, say: Callable[[str], None]) -> list[Row]:
    """All rows at this process's width."""
    rows = []
    sizes = SIZES if not quick else (QUICK_SIZES if lanes() > 1 else QUICK_SIZES[:2])
    with ThreadPoolExecutor(2) as pool:
        for n in sizes:
            fixture = Fixture(n, quick)
            for case in CASES:
                say(f"{lanes()} lanes, n = {n:,}: {case}")
                seconds, rounds = (0.1, 2) if quick else (1.0, 5 if n < 10_000 else 1)
                rows += _measure(case, n, fixture, seconds, rounds, pool)
    say(f"{lanes()} lanes: directory")
    rows.append(_directory(quick))
    return rows


def _run_one_lane(quick: bool) -> list[Row]:
    """The rows of one lane, from another process: a process has one width."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [
            sys.executable,
            "-m",
            "bench",
            "engine",
            "--json",
            file.name,
            *(["--quick"] if quick else []),
        ]
        subprocess.run(command, env={**os.environ, LANES: "1"}, stdout=subprocess.DEVNULL, check=True)
        return json.loads(Path(file.name).read_bytes())


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench engine", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument(
        "--markdown", metavar="FILE", help="put the table into the engine section of a document"
    )
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds, within 40 s")
    options = parser.parse_args(arguments)
    say = _progress if sys.stderr.isatty() else lambda _: None
    begin = time.perf_counter()
    rows = _run(options.quick, say)
    if lanes() > 1 and has_ifma():
        if options.quick and time.perf_counter() - begin > QUICK_LIMIT:
            print("one lane is left out: no time (the kernels had to be compiled)", file=sys.stderr)
        else:
            say("one lane, in a process of its own")
            rows += _run_one_lane(options.quick)
    say("")
    where = harness.environment(PACKAGES)
    print(harness.table(rows), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, rows)
    if options.markdown:
        harness.update_section(options.markdown, "engine", f"{where}\n\n{harness.markdown(rows)}")


def _progress(text: str) -> None:
    print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
