"""Sealed labels to a sidecar: sort by token, keep one entry a value, hash."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contactsync.directory.files import write_file
from contactsync.directory.reader import Directory
from contactsync.directory.sidecar_format import SidecarInfo, SidecarLayout
from contactsync.foundation.errors import BadInput
from contactsync.foundation.progress import Progress, silent
from contactsync.tokens import Tokens


def build_sidecar(
    path: str | os.PathLike[str],
    directory: Directory,
    chunks: Iterable[tuple[Tokens, NDArray[np.uint8]]],
    *,
    size: int,
    memory: int = 512 << 20,
    progress: Progress = silent,
) -> SidecarInfo:
    """Build the sidecar of a directory from its tokens, each with its entry, uint8[n, 16 + size].

    They come in any order. Of tokens that agree in all bits of a value, the least one's entry is taken. The
    same tokens and entries give the same bytes, whatever the chunks, their order and `memory`.

    Raises BadInput: the tokens are not those of the directory, or one has two entries.
    """
    del memory
    layout = SidecarLayout(directory.count, size, directory.info.slot_bits)
    parts = list(chunks)
    tokens = Tokens.concatenate([part for part, _ in parts])
    entries = np.concatenate([e for _, e in parts])
    order = np.lexsort((tokens.tail, tokens.head))
    tokens, entries = tokens.take(order), entries[order]
    values = directory.truncate(tokens)
    fresh = np.ones(len(values), np.bool_)
    fresh[1:] = (values.key[1:] != values.key[:-1]) | (values.extra[1:] != values.extra[:-1])
    entries = entries[fresh]
    if len(entries) != directory.count:
        raise BadInput("the tokens are not those of the directory", hint="report this: it should not happen")
    count = directory.span.count
    edges = np.concatenate([[0], np.cumsum(count)])
    hashes = [hashlib.sha256(entries[a:b].tobytes()).digest() for a, b in itertools.pairwise(edges.tolist())]
    top, index = layout.pack(), b""
    for number in range(layout.pages):
        a, k = number * layout.page_buckets, layout.page_buckets
        page = np.zeros(1, layout.page_dtype)
        page["first"] = edges[a : a + k + 1]
        page["sha256"] = np.frombuffer(b"".join(hashes[a : a + k]), np.uint8).reshape(k, -1)
        index += page.tobytes()
        top += hashlib.sha256(page.tobytes()).digest()
    progress("writing", directory.count, directory.count)
    file = write_file(Path(path), [top, index, entries.tobytes()])
    return SidecarInfo(layout.count, size, layout.slot_bits, hashlib.sha256(top).hexdigest(), file)
