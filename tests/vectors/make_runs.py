"""What runs.json holds: whole syncs with fixed blinds, and the small parts that they are made of."""

import functools
from typing import Any

from make_epochs import (
    ALL_FILES,
    MANIFESTS,
    prepare,
)
from make_labelled_syncs import labelled, prepare_labelled
from make_labelled_syncs import refused as refused_labels
from make_patched_syncs import patched, prepare_patched
from make_patched_syncs import refused as refused_patches
from make_screened import prepare_large, screens
from make_serving import charges, keys, repeats, tokens
from make_syncs import refusals, syncs
from vector_text import document, group, packed

Json = dict[str, Any]
ABOUT = (
    "Whole runs (docs/protocol.md): what a client sends, fetches and finds in one sync, with everything that "
    "it draws at random given: padding, order, blinds, and the server's nonces. The keys of epochs, tokens, "
    "and how a server knows a repeated batch again."
)
SOURCE = "contactsync, computed by tests/vectors/sync_twin.py"


@functools.cache
def runs() -> Json:
    if not MANIFESTS:
        prepare()
        prepare_large()
        prepare_labelled()
        prepare_patched()
    cases = [*syncs(), *screens(), *labelled(), *patched()]
    refused = [*refusals(), *refused_labels(), *refused_patches()]
    groups = [
        group("keys of epochs", "server.epochs", "epoch_key", keys(), SOURCE),
        group("tokens and their values", "tokens", "token", tokens(), SOURCE),
        group("what a repeated batch is known by", "server.quota", "batch_name", repeats(), SOURCE),
        group("what is charged", "server.quota", "charge", charges(), SOURCE),
        group("whole syncs", "client", "sync", cases, SOURCE),
        group("syncs that must end", "client", "sync", refused, SOURCE),
    ]
    used = {one["octets"]["of"] for one_case in [*cases, *refused] for one in one_case["given"]["served"]}
    files = {name: packed(data) for name, data in ALL_FILES.items() if name in used}
    return document(
        ABOUT, groups, files | {name: {"text": data.decode()} for name, data in MANIFESTS.items()}
    )
