"""Tokens against what is held of a partition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contactsync.client.plan import Step
from contactsync.directory import DirectoryInfo, match, open_directory
from contactsync.publication.manifest import Partition
from contactsync.tokens import Tokens


def directory_info(partition: Partition) -> DirectoryInfo:
    """What the manifest says about a partition's current base."""
    return DirectoryInfo(
        count=partition.count,
        slot_bits=partition.slot_bits,
        remainder_bits=partition.remainder_bits,
        length=partition.base.length,
        sha256=partition.base.sha256,
        xxh3_64=partition.base.xxh3_64,
        top_sha256=partition.top_sha256,
    )


def match_partition(data: Path, step: Step, tokens: Tokens) -> NDArray[np.bool_]:
    """Which of m tokens are in the partition now: bool[m].

    Raises BadDirectory.
    """
    partition = step.partition
    # The file was verified against the manifest when it was stored, so only damage is looked for now. Its
    # figures are the manifest's only as long as no delta leads on from it.
    expect = None if step.holding.deltas else directory_info(partition)
    with open_directory(data / step.holding.whole.sha256, expect=expect, check="xxh3") as directory:
        return match(tokens, directory)
