"""Which tokens are in a directory: one question, and the ways to answer it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contactsync.directory import buckets
from contactsync.directory.reader import Directory
from contactsync.tokens import Tokens

_BUCKET_SHIFT = np.uint64(44)  # 32 remainder bits and 12 bits of the slot within its bucket


def match(tokens: Tokens, directory: Directory, *, threads: int = 1) -> NDArray[np.bool_]:
    """Whether each of m tokens is in the directory: bool[m], in the order of the tokens."""
    del threads
    values = directory.truncate(tokens)
    return buckets.lookup(directory.span, values, (values.key >> _BUCKET_SHIFT).astype(np.int64))
