"""Which epoch a run uses while two overlap, and what of the stored one belongs to it."""

from __future__ import annotations

import time
from pathlib import Path

from contactsync.client.cache import Announced, Cache, StoredEpoch
from contactsync.client.core.holdings import Holding, SidecarHolding
from contactsync.client.core.promotion import as_edition_1, as_edition_of, carried_on
from contactsync.client.files import FolderFiles
from contactsync.client.ledger import Ledger
from contactsync.client.moving import choose, keep_move, recall_moves
from contactsync.client.state import ServerState
from contactsync.directory.delta import apply_to_directory
from contactsync.foundation import durable
from contactsync.foundation.errors import BadDirectory, BadInput
from contactsync.publication.manifest import Manifest, Partition
from contactsync.publication.tuf.follower import Follower


class Epochs:
    """The epochs of one run. The time counts that it began at: a run does not move in its middle.

    `withdrawn` is an epoch that this client had moved to, or prepared, and that does not come.
    """

    def __init__(
        self, server: ServerState, cache: Cache, ledger: Ledger, *, asks: bool, of_table: bool = False
    ) -> None:
        """`asks` and `of_table` are of the privacy mode."""
        self._server = server
        self._cache = cache
        self._ledger = ledger
        self._asks = asks
        self._of_table = of_table
        self._now = int(time.time())
        self.withdrawn: int | None = None

    def enter(self, follower: Follower, published: Manifest) -> tuple[Manifest, bool]:
        """The manifest to use, and whether what is stored of its epoch was changed for that.

        The published one, or the epoch that it announces. What is stored is of its key after this, with the
        numbers that its editions have in it.
        """
        audience = published.audience
        kept = recall_moves(self._server.moves).get(audience)
        # Who looks rows up moves when the epoch begins.
        is_first = follower.is_first(audience) and not self._of_table
        choice = choose(published, kept, now=self._now, is_first=is_first, asks=self._asks)
        keep_move(self._server.moves, audience, choice.move)
        self.withdrawn = choice.withdrawn or self.withdrawn
        # An announced epoch has no rows. Who moved to it in another mode looks rows up in the one in force.
        used = published if self._of_table else choice.manifest
        changed = [
            self._drop_if_of_another_key(one) for one in (published, published.ahead()) if one is not None
        ]
        stored = self._cache.epoch(audience, used.epoch)
        if stored is not None and stored.announced is not None and used is published:
            self._promote(published, follower.first_of_epoch(audience), stored.announced)
            return used, True
        return used, any(changed)

    def _drop_if_of_another_key(self, manifest: Manifest) -> bool:
        """Forget what is stored of an epoch whose key is not the one that was announced."""
        audience, epoch = manifest.audience, manifest.epoch
        stored = self._cache.epoch(audience, epoch)
        if stored is None or stored.public_key == manifest.public_key.hex():
            return False
        self.withdrawn = epoch
        self._ledger.withdrawn(audience, epoch)
        self._cache.drop_epoch(audience, epoch)
        return True

    def begun(self, published: Manifest, used: Manifest) -> StoredEpoch:
        """What to keep of the epoch before anything of it is stored: nothing was used yet."""
        return StoredEpoch(used.public_key.hex(), None if used.epoch == published.epoch else {})

    def stored(self, published: Manifest, used: Manifest) -> StoredEpoch:
        """What to keep of the epoch that was used."""
        announced = None
        if used.epoch != published.epoch:
            announced = {name: (one.edition, one.base.sha256) for name, one in used.partitions.items()}
        return StoredEpoch(used.public_key.hex(), announced)

    def beside(self, published: Manifest) -> set[int]:
        """The epochs whose tokens are kept: a rotation may be taken back, and then nobody asks again."""
        return {published.epoch} | ({published.next.epoch} if published.next is not None else set())

    def _promote(self, published: Manifest, first: Manifest | None, announced: Announced) -> None:
        """The epoch is in force: what is stored of it gets the numbers that its editions have now."""
        audience, epoch = published.audience, published.epoch
        carried = carried_on(announced, published, first)
        editions = {name: announced[name][0] for name in carried}
        holdings: dict[tuple[str, str], Holding | SidecarHolding] = {}
        for (name, kind), holding in self._cache.holdings(audience, epoch).items():
            if isinstance(holding, SidecarHolding):
                if (labels := self._carried_labels(holding, carried.get(name))) is not None:
                    holdings[name, kind] = labels
            elif editions.get(name) == holding.reached:
                new = as_edition_1(holding) if not holding.deltas else self._rebuilt(holding, carried[name])
                if new is not None:
                    holdings[name, kind] = new
        self._ledger.promoted(audience, epoch, editions)
        self._cache.promote(audience, epoch, editions, holdings)

    def _carried_labels(self, holding: SidecarHolding, partition: Partition | None) -> SidecarHolding | None:
        """A stored sidecar, with its deltas, if it leads to that of edition 1; else None."""
        if partition is None or partition.labels is None:
            return None
        reached, labels = holding.sidecar.file.sha256, partition.labels
        if holding.deltas:
            try:
                reached = FolderFiles(self._server.data).sidecar_delta(holding.deltas[-1][2]).new_sha256
            except (BadDirectory, BadInput):
                return None
        return as_edition_of(holding, labels.edition) if reached == labels.file.sha256 else None

    def _rebuilt(self, holding: Holding, partition: Partition) -> Holding | None:
        """The base that a held one and its deltas make; None if it has to be fetched (as screens have)."""
        if holding.whole != holding.base.file:
            return None
        folder, files = self._server.data, FolderFiles(self._server.data)
        path: Path = folder / "rebuilt"  # if it is left behind, the end of the run removes it
        try:
            with files.directory(holding.base) as base:
                deltas = [files.delta(file) for _, _, file in holding.deltas]
                info = apply_to_directory(path, base, deltas)
        except (BadDirectory, BadInput):
            return None
        if info != partition.directory:
            path.unlink()
            return None
        durable.rename(path, folder / info.file.sha256)
        return Holding(1, info.file, info)
