"""Download mode: everything is matched on this machine, and the server learns only padded counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from contactsync.client.core.holdings import Files, Holdings, whole_of
from contactsync.client.core.matching import match_partition
from contactsync.client.core.mode import Allowance, Memory, Settled, Settling, Subject
from contactsync.client.core.plan import PartitionPlan, carry_on
from contactsync.publication.manifest import Partition


class DownloadMode:
    """See `core.mode.Mode`."""

    name = "download"
    tells = ""
    tells_more_than: Sequence[str] = ()
    asks = False
    of_table = False

    def plan(
        self,
        partition: Partition,
        holdings: Holdings,
        *,
        wanted: bool,  # noqa: ARG002 - the plan does not depend on it
        buckets: int,  # noqa: ARG002
    ) -> PartitionPlan:
        """The base, or the deltas that continue the stored one."""
        return carry_on(partition, "base", partition.base, whole_of(holdings, partition.name, "base"))

    def settle(
        self,
        plan: PartitionPlan,
        subject: Subject,
        files: Files,
        memory: Memory,  # noqa: ARG002 - no question is asked
        allowance: Allowance,  # noqa: ARG002
    ) -> Settling:
        """Match against the files on the disk."""
        yield from ()
        return Settled(match_partition(files, plan, subject).sure, plan)

    def sentence(self, told: Sequence[object]) -> list[str]:  # noqa: ARG002
        """Nothing: the server learns no more."""
        return []


MODE: Final = DownloadMode()
