"""A list of buckets, fetched: those of the base, and with labels the entries of the very same buckets."""

from __future__ import annotations

from contactsync.client.byteranges import fetch_ranges
from contactsync.client.core.mode import LookedUp, LookUpBuckets
from contactsync.client.transport import Transport
from contactsync.directory import RangeReader
from contactsync.directory.sidecar_ranges import SidecarRangeReader
from contactsync.identifiers import title_of
from contactsync.tokens import Tokens


def look_up(transport: Transport, request: LookUpBuckets) -> LookedUp:
    """Fetch the buckets of a list, and look tokens up in them.

    Entries are fetched of all buckets of the list, whoever is in them. Raises BadDirectory, and whatever
    `fetch_ranges` raises.
    """
    partition, numbers = request.partition, request.asked.numbers
    buckets = RangeReader(
        partition.directory,
        lambda places: fetch_ranges(transport, partition.base, places),
        name=f"the directory of {title_of(partition.name)}",
    )
    match, part = buckets.match(Tokens.concatenate([request.tokens, request.others]), numbers), None
    if request.sidecar is not None:
        transport.pace()  # how long it took to look for them shows nothing
        file = request.sidecar.file
        entries = SidecarRangeReader(
            request.sidecar,
            lambda places: fetch_ranges(transport, file, places),
            name=f"the labels of {title_of(partition.name)}",
        )
        part = entries.read(numbers, match.counts)
    return LookedUp.of(request, match, part)
