"""The rounds of one run: blinded before the first request, sent, and worked on.

What a server sees of a round of the smallest size (how many points, in how many requests, when, and when the
connection is closed) is the same whether there is a contact in it or not. Until the connection is closed, the
same code runs. What differs, the work on the replies, comes after that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from contactsync.client.cache import Cache
from contactsync.client.core.holdings import Known
from contactsync.client.core.planner import Options
from contactsync.client.core.round import (
    LEAST,
    BlindedBatch,
    EvaluatedBatch,
    PendingBatch,
    Round,
    load_engine,
    padded,
)
from contactsync.client.core.states import Evaluated, Fetched, Question
from contactsync.client.quota import new_account, recall, remember
from contactsync.client.state import ServerState
from contactsync.client.transport import Transport
from contactsync.foundation.errors import BadReply, OutOfQuota, ServerFailed
from contactsync.foundation.progress import Progress
from contactsync.publication.manifest import Manifest

if TYPE_CHECKING:  # few syncs are recorded
    from contactsync.client.recording import Recording


@dataclass(frozen=True, slots=True)
class _Ready:
    """A round that can be sent: what of it is blinded, by the names of batches, and what it was made for."""

    epoch: int
    options: Options
    round: Round
    blinded: dict[str, BlindedBatch]


class RoundRunner:
    """Has identifiers evaluated by one server. Counts are for the whole run.

    `evaluated` points were answered, `largest_round` points were in a round; `uncovered`: the account could
    not pay for a cover round.
    """

    def __init__(
        self,
        server: ServerState,
        cache: Cache,
        transport: Transport,
        options: Options,
        *,
        asks: bool,
        progress: Progress,
        recording: Recording | None = None,
    ) -> None:
        """`asks`: the privacy mode sends more requests later."""
        self._server = server
        self._cache = cache
        self._transport = transport
        self._options = options
        self._progress = progress
        self._recording = recording
        self._asks = asks
        self._account = recall(server.quota).get(options.audience)
        self._ready: _Ready | None = None
        self.evaluated = 0
        self.largest_round = 0
        self.uncovered = False

    @property
    def points(self) -> int:
        """What the server could learn of how much was new."""
        return padded(self.evaluated) if self.uncovered else self.largest_round

    @property
    def is_ready(self) -> bool:
        """Whether a round is there that was made ready and not sent."""
        return self._ready is not None

    def affordable(self) -> Options:
        """The options within the budget: batches that can pass, no cover that eats its last quarter."""
        if self._account is None:
            return self._options
        cover = self._options.cover and self._account.covers(LEAST)
        return replace(self._options, cover=cover, most=max(self._account.said.burst, LEAST))

    def spend(self, points: int) -> None:
        """So many points were sent; keep what the server says of what is left."""
        said = self._transport.quota
        if self._account is None and said is not None:
            self._account = new_account(said)
        if self._account is not None:
            self._account = self._account.used(points, said)
            remember(self._server.quota, self._options.audience, self._account)

    def make_ready(
        self, question: Question, epoch: int, known: Known, unfinished: Sequence[PendingBatch]
    ) -> None:
        """Have a round blinded before the first request: nothing between two shows what is in it.

        A mode that asks later has the engine loaded, too: what it works on after the reply needs it.
        """
        options = self.affordable()
        this = question.round(known, unfinished, options)
        batches = (*this.unfinished, *this.fresh)
        if self._asks or any(not batch.is_small for batch in batches):
            load_engine()
        ahead = batches if this.is_quick else batches[:1]
        blinded = {batch.name: batch.blind(question.identifiers) for batch in ahead}
        self._ready = _Ready(epoch, options, this, blinded)

    def evaluate(self, fetched: Fetched) -> Evaluated:
        """Have new identifiers evaluated, batch by batch. A batch is stored as soon as its proof holds.

        Only in a quick round, all replies are waited for, and the connection is closed, before any is worked
        on: the work on a cover round is other work.
        """
        prepared = fetched.prepared
        manifest, like = prepared.manifest, prepared.question.identifiers
        ready = self._ready
        if ready is None or (ready.epoch, ready.options) != (manifest.epoch, prepared.options):
            ready = _Ready(manifest.epoch, prepared.options, fetched.round(), {})
        self._ready, this = None, ready.round
        self.largest_round = max(self.largest_round, this.points or padded(this.all_points))
        if self._recording is not None:
            self._recording.begins_round(manifest.epoch, this, cover=prepared.options.cover)
        done: list[EvaluatedBatch] = []
        waiting: list[tuple[BlindedBatch, bytes]] = []

        def send(batches: Iterable[PendingBatch]) -> None:
            for batch in batches:
                self._progress("evaluating", sum(one.batch.size for one in done), this.all_points)
                blinded = ready.blinded.pop(batch.name, None) or batch.blind(like)
                waiting.append((blinded, self._send(blinded, manifest)))
                if not this.is_quick:
                    work()

        def work() -> None:
            if self._recording is not None:
                self._recording.works()
            while waiting:
                done.append(self._finish(*waiting.pop(0), manifest))

        try:
            send(this.unfinished)
            self._send_fresh(this, manifest, send)
        finally:
            if not self._asks:
                self._transport.hang_up()  # when that is must not depend on what follows
            work()
        self._progress("evaluating", this.all_points, this.all_points)
        return fetched.evaluated(done)

    def _send_fresh(
        self, this: Round, manifest: Manifest, send: Callable[[Iterable[PendingBatch]], None]
    ) -> None:
        """Send the new batches. Where the account cannot pay for a cover round, there is none."""
        if this.fresh:
            self._cache.begin_round(manifest.audience, manifest.epoch, this.fresh)
        try:
            send(this.fresh)
        except (OutOfQuota, ServerFailed) as error:
            if not this.is_cover or (isinstance(error, ServerFailed) and error.kind != "paused"):
                raise
            self._cache.drop_round(manifest.audience, manifest.epoch)  # nobody waits for it
            self.uncovered = True

    def _send(self, blinded: BlindedBatch, manifest: Manifest) -> bytes:
        """The reply to one batch."""
        path = f"/v1/evaluate/{manifest.audience}/{manifest.epoch}"
        if self._recording is not None:
            self._recording.sends(manifest.epoch, blinded)
        reply = self._transport.post(path, blinded.body, reply_length=blinded.reply_length)
        self.evaluated += blinded.batch.size
        self.spend(blinded.batch.size)
        return reply

    def _finish(self, blinded: BlindedBatch, reply: bytes, manifest: Manifest) -> EvaluatedBatch:
        """Verify the reply to a batch, and store the result."""
        try:
            evaluated = blinded.finish(reply, manifest.public_key)
        except BadReply as error:
            raise BadReply(
                f"{self._server.url} sent a malformed evaluation: {error}",
                hint="it was not used; if this happens again, tell the operator",
            ) from error
        self._cache.add_tokens(
            manifest.audience,
            manifest.epoch,
            evaluated.identifiers,
            evaluated.tokens,
            evaluated.keys,
            batch=blinded.batch.name,
        )
        return evaluated
