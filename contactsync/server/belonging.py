"""Whether members, keys and what is published belong together, as far as the register can tell.

The process that faces the internet never opens the register: whoever broke into it would have every number.
So `serve` compares only keys/ with public/; `status` and `publish` say the rest, and a publish puts it right:
it computes tokens of another key again, and compares every partition with what is published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from contactsync.foundation.audiences import AUDIENCES
from contactsync.publication.history import Position
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.repository import Repository
from contactsync.server.storage.ports import MemberStore
from contactsync.server.storage.provenance import Provenance, ProvenanceStore
from contactsync.tokens import Tokens
from contactsync.voprf.server import KeyPair, evaluate

SAMPLED: Final = 16
"""Members of each partition whose tokens are computed again, where nothing says which key they are of."""


def doubts(store: ProvenanceStore, published: Mapping[str, Manifest | None]) -> dict[str, str]:
    """Why the register cannot be trusted to know what has changed since it was published, by audience."""
    known = store.provenance()
    found = {audience: _doubt(audience, one, known) for audience, one in published.items()}
    return {audience: reason for audience, reason in found.items() if reason}


def doubts_of(store: ProvenanceStore, repository: Repository) -> dict[str, str]:
    """The same for what is published now. Raises OurError."""
    return doubts(store, {audience: repository.current(audience) for audience in AUDIENCES})


def _doubt(audience: str, current: Manifest | None, known: Provenance) -> str:
    expected = known.manifests.get(audience, {})
    last = max(expected.values(), default=None)
    if current is None:
        # A first edition may have been expected only: a publish was killed before it.
        if last is None or last == Position(1, 1):
            return ""
        return f"nothing is published for {audience}, but the registry was published as {last}"
    if last is None:
        return (
            f"the registry does not know what is published for {audience}: it belongs to another"
            " installation, or was written by an earlier version of contactsync"
        )
    if current.sha256() not in expected:
        now = Position(current.epoch, current.edition)
        why = "they belong to different installations"
        if now > last:
            why = "the registry is older than public/, so who was removed since is in it again"
        elif now < last:
            why = "public/ is older than the registry"
        return f"what is published for {audience} is {now}, but the registry was published as {last}: {why}"
    keys = {current.epoch: current.public_key}
    if current.next is not None:
        keys[current.next.epoch] = current.next.public_key
    if any(known.keys.get((audience, epoch)) != key for epoch, key in keys.items()):
        return f"the registry holds tokens of {audience} of another key than the published one"
    return ""


def holds_tokens_of(store: MemberStore, audience: str, epoch: int, key: KeyPair) -> bool:
    """Whether the tokens of an epoch are of this key, by a sample of each partition.

    For a register that an earlier version wrote, which does not say so. Raises OurError.
    """
    for partition in store.partitions(audience):
        members = store.unevaluated(audience, 0, partition, None, SAMPLED)  # there is no epoch 0: anybody
        stored = {
            one.entry.identifier: one.tokens[audience, epoch]
            for one in store.show(members)
            if (audience, epoch) in one.tokens
        }
        if stored:
            computed = Tokens.from_outputs(evaluate(key, list(stored))).to_bytes()
            if computed.tobytes() != b"".join(stored.values()):
                return False
    return True
