"""Looking contacts up in single buckets of a base, fetched among decoys and never in a list that shows them.

What two lists with different decoys have in common are the wanted buckets. So each question (all that was
put to the screen, whoever passes) has decoys of its own; and until what came of a list is recorded, the next
ones for that partition ask for all of it again, whatever has changed since.
"""

from __future__ import annotations

import hashlib

from contactsync.client.byteranges import fetch_ranges
from contactsync.client.cache import Cache
from contactsync.client.leak import Buckets
from contactsync.client.transport import Transport
from contactsync.directory import RangeReader
from contactsync.directory.ranges import SEED_BYTES, RangeMatch, at_width, buckets_of, chosen
from contactsync.publication.manifest import Manifest, Partition
from contactsync.tokens import Tokens


class BucketLookup:
    """Lookups against one manifest. `told` takes what the server has seen, by calling code."""

    def __init__(
        self, cache: Cache, transport: Transport, manifest: Manifest, *, total: int, told: dict[str, Buckets]
    ) -> None:
        self._told = told
        self._cache = cache
        self._transport = transport
        self._audience, self._epoch = manifest.audience, manifest.epoch
        self._total = total

    def choose(self, partition: Partition, candidates: Tokens, tested: Tokens) -> list[int]:
        """The buckets to fetch: those of the candidates, who are some of `tested`, among decoys."""
        info = partition.directory
        question = b"".join(sorted(row.tobytes() for row in tested.to_bytes()))
        seed = hashlib.blake2b(question, key=self._cache.decoy_secret(), digest_size=SEED_BYTES).digest()
        of, asked = info.layout.buckets, []
        if unanswered := self._cache.asked_buckets(self._audience, self._epoch, partition.name):
            slot_bits, numbers = unanswered
            asked = [number for number in at_width(numbers, slot_bits, info) if 0 <= number < of]
        return chosen(buckets_of(info, candidates).tolist(), of, seed, total=self._total, asked=asked)

    def match(self, partition: Partition, candidates: Tokens, numbers: list[int]) -> RangeMatch:
        """Whether each candidate is in the base, by these buckets of it.

        Raises BadDirectory, NetworkError, Refused, BadReply.
        """
        code, info = partition.name, partition.directory
        self._cache.ask_buckets(self._audience, self._epoch, code, partition.slot_bits, numbers)
        self._told[code] = Buckets(code, len(numbers), info.layout.buckets)
        reader = RangeReader(
            info,
            lambda places: fetch_ranges(self._transport, partition.base, places),
            name=f"the directory of +{code}",
        )
        return reader.match(candidates, numbers)
