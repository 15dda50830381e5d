"""`python -m bench labels`: entries sealed and opened in bulk, and what a sidecar costs to build.

All figures are ns of CPU an entry of 48 octets (labels of up to 32), all threads counted, medians of one run
in which the contenders take turns. Peers are `cryptography` (OpenSSL): its AES-SIV in a loop, and what a key
derivation for each entry would cost: HKDF-SHA-256, then ChaCha20-Poly1305.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESSIV, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bench import harness
from bench.harness import Contender, Row
from contactsync import labels
from contactsync.directory import build, open_directory
from contactsync.directory.sidecar_build import build_sidecar
from contactsync.kernels import policy, siv
from contactsync.kernels.lanes import empty
from contactsync.tokens import Tokens

PACKAGES = ("cryptography", "numba", "numpy")
SIZE = 32
FEW = 1000
ALONE = 1024
CONTEXT = labels.context("people", 1)


def _row(case: str, n: int, ours: float, peer: str | None = None, theirs: float | None = None) -> Row:
    ratio = None if theirs is None else theirs / ours
    return {"case": case, "n": n, "ours_ns": ours, "peer": peer, "peer_ns": theirs, "ratio": ratio}


def _by_hkdf(keys: Sequence[bytes], texts: Sequence[bytes]) -> None:
    for key, text in zip(keys, texts, strict=True):
        derived = HKDF(SHA256(), 32, None, CONTEXT).derive(key)
        ChaCha20Poly1305(derived).encrypt(bytes(12), text, CONTEXT)


def _by_openssl(keys: Sequence[bytes], texts: Sequence[bytes]) -> None:
    for key, text in zip(keys, texts, strict=True):
        AESSIV(key).encrypt(text, [CONTEXT])


def _sealing(n: int, seconds: float) -> list[Row]:
    outputs = np.frombuffer(os.urandom(n * labels.KEYED_BYTES), np.uint8).reshape(n, -1)
    keys, texts = outputs[:, -labels.KEY_BYTES :], [b"@%d:example.org" % i for i in range(n)]
    few_keys = [key.tobytes() for key in keys[:FEW]]
    few_texts = [text.ljust(SIZE, b"\0") for text in texts[:FEW]]
    entries = labels.seal(keys, texts, SIZE, CONTEXT)
    seal = functools.partial(labels.seal, keys, texts, SIZE, CONTEXT)
    contenders = {
        **{f"{threads}": Contender(functools.partial(seal, threads=threads), n) for threads in (1, 2)},
        "openssl": Contender(functools.partial(_by_openssl, few_keys, few_texts), FEW),
        "hkdf": Contender(functools.partial(_by_hkdf, few_keys, few_texts), FEW),
        "unseal": Contender(functools.partial(labels.unseal, keys[:FEW], entries[:FEW], CONTEXT), FEW),
    }
    took = {
        name: 1e3 * us
        for name, us in harness.interleaved(contenders, seconds=seconds, clock=time.process_time).items()
    }
    how = "kernel" if policy.has_aes() else "OpenSSL"
    alone = [_row("seal, kernel alone", ALONE, 1e3 * _kernel_alone())] if policy.has_aes() else []
    return [
        *alone,
        _row(f"seal, {how}, 1 thread", n, took["1"], "AES-SIV of cryptography, a loop", took["openssl"]),
        _row(f"seal, {how}, 2 threads", n, took["2"], "HKDF, ChaCha20-Poly1305, a loop", took["hkdf"]),
        _row("open", FEW, took["unseal"]),
    ]


def _kernel_alone() -> float:
    """Microseconds an entry of the kernel, without laying labels out: the median of 3,000 runs."""
    words = [
        np.frombuffer(bytearray(os.urandom(ALONE * octets)), np.uint64)
        for octets in (labels.KEY_BYTES, SIZE, labels.TAG_BYTES + SIZE)
    ]
    context, scratch = np.array(np.frombuffer(CONTEXT, np.uint64)), empty(siv.SCRATCH_WORDS)
    took = []
    for _ in range(3000):
        began = time.perf_counter_ns()
        siv.seal(*words, context, SIZE // labels.TAG_BYTES, scratch)
        took.append(time.perf_counter_ns() - began)
    return statistics.median(took) / ALONE / 1e3


def _sidecar(n: int, seconds: float, folder: Path) -> list[Row]:
    outputs = np.frombuffer(os.urandom(n * labels.KEYED_BYTES), np.uint8).reshape(n, -1)
    tokens = Tokens.from_outputs(outputs)
    entries = labels.seal(outputs[:, -labels.KEY_BYTES :], [b""] * n, SIZE, CONTEXT)
    build(folder / "base", [tokens])
    with open_directory(folder / "base", expect=None) as directory:
        run = functools.partial(build_sidecar, folder / "labels", directory, [(tokens, entries)], size=SIZE)
        took = harness.interleaved({"build": Contender(run, n)}, seconds=seconds, clock=time.process_time)
    return [_row("sidecar, sorted, hashed, synced", n, 1e3 * took["build"])]


def run(folder: Path, *, quick: bool) -> list[Row]:
    """All rows; sidecars are written to `folder`."""
    n, seconds = (1 << 14, 1.0) if quick else (1 << 20, 20.0)
    return [*_sealing(n, seconds), *_sidecar(n, seconds, folder)]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench labels", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument(
        "--markdown", metavar="FILE", help="put the table into the labels section of a document"
    )
    parser.add_argument("--quick", action="store_true", help="fewer entries, within 20 s")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="contactsync-bench-") as folder:
        rows = run(Path(folder), quick=options.quick)
    where = harness.environment(PACKAGES)
    print(harness.table(rows), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, rows)
    if options.markdown:
        harness.update_section(options.markdown, "labels", f"{where}\n\n{harness.markdown(rows)}")
