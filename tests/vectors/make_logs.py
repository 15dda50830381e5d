"""What log.json holds: trees, tiles, proofs, entries, signed notes, cosignatures, and which are refused."""

import functools
from typing import Any

from make_notes import accepts, opens, requests, signs, vkeys
from make_trees import bundles, consistencies, entries, files, inclusions, proofs
from vector_text import document, group

Json = dict[str, Any]
SOURCE = "contactsync, computed by tests/vectors/log_twin.py"
ABOUT = (
    "The log: Merkle trees of RFC 6962, and tiles, entries, signed notes, cosignatures, checkpoints and "
    "requests to witnesses as C2SP specifies them. `entries` with `each` are entries of so many octets, one "
    "after the other."
)


@functools.cache
def logs() -> Json:
    tree, notes, policy = "log.tree", "log.notes", "log.policy"
    return document(
        ABOUT,
        [
            group("files of a log", tree, "log_files", files(), SOURCE),
            group("whether an entry is in a tree", tree, "inclusion", inclusions(), SOURCE),
            group("whether a tree begins with another one", tree, "consistency", consistencies(), SOURCE),
            group("proofs from tiles, and tiles that must be refused", tree, "log_proof", proofs(), SOURCE),
            group("bundles of entries", tree, "log_entries", bundles(), SOURCE),
            group("entries", "log.entries", "log_entry", entries(), SOURCE),
            group("verifier keys", notes, "vkey", vkeys(), SOURCE),
            group("signing notes", notes, "sign_note", signs(), SOURCE),
            group("opening notes", notes, "open_note", opens(), SOURCE),
            group("checkpoints under a policy", policy, "accept_checkpoint", accepts(), SOURCE),
            group("requests to a witness", "log.witness", "add_checkpoint", requests(), SOURCE),
        ],
    )
