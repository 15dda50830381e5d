"""Two-server mode: rows are asked of two servers, and neither learns which. docs/lookup.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from contactsync.client.core.holdings import Files, Holdings
from contactsync.client.core.mode import Allowance, Memory, Settling, Subject
from contactsync.client.core.plan import PartitionPlan
from contactsync.client.privacy import TWO_SERVER
from contactsync.publication.manifest import Partition


class TwoServerMode:
    """See `core.mode.Mode`. No file of a partition is fetched, and none is settled alone: see `of_table`."""

    name = TWO_SERVER
    tells = (
        "and a second one about how many contacts you have, "
        "and which rows they are in if the two tell each other"
    )
    tells_more_than: Sequence[str] = ("download",)
    asks = True
    of_table = True

    def plan(self, partition: Partition, holdings: Holdings, *, wanted: bool, buckets: int) -> PartitionPlan:
        """Never: the edition is looked up as a whole."""
        raise NotImplementedError

    def settle(
        self, plan: PartitionPlan, subject: Subject, files: Files, memory: Memory, allowance: Allowance
    ) -> Settling:
        """Never: the edition is looked up as a whole."""
        raise NotImplementedError

    def sentence(self, told: Sequence[object]) -> list[str]:
        """What both servers saw."""
        most = max((one for one in told if isinstance(one, int)), default=0)
        if not most:
            return []
        together = "together, and only together, they could learn where in the directory these would be"
        return [f"asked two servers about up to {most:,} contacts ({together})"]


MODE: Final = TwoServerMode()
