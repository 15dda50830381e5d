"""The second server of a private look-up: a mirror of the first one. It is told nothing of the account.

docs/lookup.md. It has the same signed files. What a client asks for is hidden from either, not from both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contactsync.client.core.row_lookups import AskRows, LastTable, rows_of
from contactsync.client.transport import Transport
from contactsync.foundation.errors import BadReply, NetworkError, NotTrusted, OurError, Refused
from contactsync.foundation.progress import Progress
from contactsync.lookup.dpf import generate
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.follower import Follower
from contactsync.publication.tuf.raised import errors_of_tuf

Octets = NDArray[np.uint8]

_LOOKING_UP: Final = "looking up"
_PROBED: Final = 32
"""Octets of a level that tell whether a server has it."""


class Pair:
    """Two servers that are asked for rows, the second one of them by its own transport.

    Without a second one nothing may be asked.
    """

    def __init__(self, first: Transport, second: Transport | None, progress: Progress) -> None:
        self._first = first
        self._second = second
        self._progress = progress

    def common_edition(self, manifest: Manifest, follower: Follower, last: LastTable | None) -> Manifest:
        """The newest edition whose rows the second server has: this one, or the one before it.

        A mirror learns of an edition a little later than clients do. It is never one before that of the
        `last` look-up. Raises NotTrusted if there is no second server, OurError if it has neither.
        """
        second = self._second
        if second is None:
            raise NotTrusted(
                f"no second server is trusted beside {self._first.base_url}",
                hint=f"run: contactsync trust {self._first.base_url} --second URL",
            )
        if self._has(rows_of(manifest).level.sha256):
            return manifest
        before = _before(manifest, follower)
        if before is not None and last is not None and _place(before) < (last.epoch, last.edition):
            before = None
        if before is not None and before.rows is not None and self._has(before.rows.level.sha256):
            return before
        raise OurError(
            f"{second.base_url} has neither the rows of the newest edition nor of the one before it",
            hint="a mirror follows the first server with a delay: try again later, or tell its operator",
        )

    def ask(self, request: AskRows) -> list[Octets]:
        """The answers of both to each batch, XORed: uint8[3k/2, width] each.

        All keys are made before the first is sent, and connections are closed before anything is verified: no
        time that a server sees depends on the rows. Raises
        Refused, BadReply (of another length), NetworkError.
        """
        assert self._second is not None, "no edition is common without it"
        many = len(request.batches)
        self._progress(_LOOKING_UP, 0, many)
        keys = [generate(plan.position.ravel(), plan.sharing.position_bits) for plan in request.batches]
        path = f"/v1/lookup/{request.audience}/{request.rows.level.sha256}"
        self._first.pace()
        records = []
        try:
            for done, (plan, (one, other)) in enumerate(zip(request.batches, keys, strict=True), 1):
                shape = plan.sharing.sub_databases, request.table.width
                length = shape[0] * shape[1]
                # The second one first: if it has lost the edition, the first one has seen nothing yet.
                theirs = self._second.post(path, other.tobytes(), reply_length=length, authorised=False)
                ours = self._first.post(path, one.tobytes(), reply_length=length)
                records.append(_octets(theirs).reshape(shape) ^ _octets(ours).reshape(shape))
                self._progress(_LOOKING_UP, done, many)
        finally:
            self._hang_up()
        return records

    def _hang_up(self) -> None:
        """Close the connections to both, at a beat: what follows depends on the answers."""
        self._first.pace()
        self._first.hang_up()
        if self._second is not None:
            self._second.hang_up()

    def _has(self, sha256: str) -> bool:
        """Whether the second server has a data file: its beginning is asked for."""
        second = self._second
        assert second is not None, "no edition is common without it"
        attempts = second.patience.attempts()
        while True:
            try:
                with second.get(f"/v1/data/{sha256}", headers={"Range": f"bytes=0-{_PROBED - 1}"}) as reply:
                    return sum(map(len, second.chunks(reply, _PROBED))) > 0
            except Refused as error:
                if error.status != 404:
                    raise
                return False
            except NetworkError as error:
                attempts.failed(error)


def _before(manifest: Manifest, follower: Follower) -> Manifest | None:
    """The manifest before this one, of the same key; None if that is none for a match."""
    if manifest.previous is None:
        return None
    with errors_of_tuf():
        data = follower.older(manifest.audience, manifest.previous)
    try:
        found = Manifest.from_bytes(data)
    except BadReply:
        return None  # of an earlier format
    if found.sha256() != manifest.previous:
        raise BadReply(
            "the server sent another manifest than was asked for",
            hint="nothing of it was used; if this happens again, tell the operator",
        )
    same = (found.audience, found.epoch, found.public_key) == (
        *(manifest.audience, manifest.epoch),
        manifest.public_key,
    )
    return replace(found, next=None) if same else None


def _place(manifest: Manifest) -> tuple[int, int]:
    return manifest.epoch, manifest.edition


def _octets(data: bytes) -> Octets:
    return np.frombuffer(data, np.uint8)
