"""Directories with sidecars, of members whose outputs and labels are made up."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contactsync import labels
from contactsync.directory import build, open_directory
from contactsync.directory.sidecar import SidecarInfo, open_sidecar
from contactsync.directory.sidecar_build import build_sidecar
from contactsync.tokens import Tokens

CONTEXT = labels.context("everyone", 1)


@dataclass
class Edition:
    """One edition: `outputs` uint8[n, 42] of its members, their labels, and the two files."""

    outputs: np.ndarray
    texts: list[bytes]
    base: Path
    sidecar: Path
    info: SidecarInfo
    wide: bool
    size: int

    @property
    def tokens(self) -> Tokens:
        return Tokens.from_bytes(self.outputs)

    @property
    def keys(self) -> np.ndarray:
        return self.outputs[:, 10:]

    @property
    def entries(self) -> np.ndarray:
        return labels.seal(self.keys, self.texts, self.size, CONTEXT)

    def directory(self):
        return open_directory(self.base, expect=None)

    def open(self):
        return open_sidecar(self.sidecar, expect=self.info)

    def says(self, entries: np.ndarray) -> list[bytes | None]:
        return labels.unseal(self.keys, entries, CONTEXT)


def outputs_of(count, seed=1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 42), np.uint8)


def texts_of(count, seed=1) -> list[bytes]:
    return [b"@%d:example.org" % (i * 7 + seed) if i % 3 else b"" for i in range(count)]


def publish(folder: Path, name: str, outputs, texts, *, size=32, wide=False, **how) -> Edition:
    base, sidecar = folder / name, folder / f"{name}.labels"
    tokens = Tokens.from_bytes(outputs)
    build(base, [tokens], remainder_bits=40 if wide else 32)
    entries = labels.seal(outputs[:, 10:], texts, size, CONTEXT)
    with open_directory(base, expect=None) as directory:
        info = build_sidecar(sidecar, directory, [(tokens, entries)], size=size, **how)
    return Edition(outputs, texts, base, sidecar, info, wide, size)


def resealed(data: bytearray) -> bytes:
    """The octets of a delta with the trailer that they should have: only what they say is wrong."""
    return bytes(data[:-32]) + hashlib.sha256(data[:-32]).digest()
