"""Outputs for tests of stores: what a publish stores of members."""

import numpy as np

from contactsync.labels import KEYED_BYTES
from contactsync.server.storage.records import Origin

PEN = Origin("letter")


def outputs_of(identifiers):
    """The first 42 octets of an output for each, which differ from the others'."""
    rows = np.zeros((len(identifiers), KEYED_BYTES), np.uint8)
    for row, identifier in zip(rows, identifiers, strict=True):
        row[:] = np.random.default_rng(abs(hash(identifier))).integers(0, 256, KEYED_BYTES, np.uint8)
    return rows
