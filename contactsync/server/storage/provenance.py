"""What a store of members remembers of its publications: to tell whether files belong together.

A data folder is several things that can be restored one by one: the members, the keys, what is published. A
publish looks only at what has changed since the last one, which is sound only if the last one was made from
this very store. So the store keeps the hash of the manifest that was made from it, and which key its tokens
are of.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from contactsync.publication.history import Position
from contactsync.publication.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Provenance:
    """`manifests`: by audience the SHA-256 and position of each manifest that may be the published one.

    `keys`: by audience and epoch the public key that the stored tokens are of.
    """

    manifests: Mapping[str, Mapping[str, Position]]
    keys: Mapping[tuple[str, int], bytes]


class ProvenanceStore(Protocol):
    """The part of a `MemberStore` that knows what was published from it. Raises OurError."""

    def provenance(self) -> Provenance:
        """What it remembers."""

    def expect(self, manifests: Collection[Manifest]) -> None:
        """Record that these may be published from now on, each made from this store.

        It is called before they are, and `settle` afterwards: then only what was settled is left. To expect
        what is never published does no harm: all changes since the last one are still touched.
        """

    def adopt(self, audience: str, epoch: int, public_key: bytes, *, keep: bool = False) -> bool:
        """Have the tokens of an epoch be of this key: those of another, or of an unknown one, are dropped.

        `keep` those of an unknown one, if the caller knows that they are of this key. Whether some were
        dropped. Then no manifest of the audience is expected any more, in the same transaction: what is
        published has to be looked at as a whole.
        """
