"""Tables in blocks, for tests: what blocks stand for, and small tables that are in some."""

import numpy as np

from contactsync.lookup import table as tables


def records_of(octets, layout):
    """The records that the octets of blocks stand for: each content with all of its path."""
    blocks = octets.reshape(-1, layout.block_bytes)
    rows = layout.block_rows
    at = rows * layout.content_bytes
    parts = [blocks[:, :at].reshape(-1, layout.content_bytes)]
    for height in range(layout.fold_bits):
        end = at + 32 * (rows >> height)
        parts.append(np.repeat(blocks[:, at:end].reshape(-1, 32), 1 << height, axis=0))
        at = end
    parts.append(np.repeat(blocks[:, at:], rows, axis=0))
    return np.concatenate(parts, axis=1)


def put_in_blocks(monkeypatch):
    """Of the tables of 64 rows and more that are made and read from now on: a level of 16 nodes, 32 blocks.

    With the real figures, only tables of more than a million members are in blocks.
    """
    monkeypatch.setattr(tables, "LEVEL_BITS", 4)
    monkeypatch.setattr(tables, "_BLOCKS_BITS", 5)
