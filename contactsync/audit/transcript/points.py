"""The points of a transcript: each is recomputed from a contact or from padding, and its blind."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from contactsync.audit.report import AuditReport
from contactsync.audit.transcript.chance import Chance
from contactsync.audit.transcript.kinds import Named
from contactsync.audit.transcript.private import SentBatch, SentRound
from contactsync.client.core.round import LEAST, USUAL_LENGTH, padded
from contactsync.foundation.errors import BadInput, BadProof, BadReply
from contactsync.identifiers import KINDS, SCHEME, kind_of
from contactsync.ristretto255 import decode, encode, hash_to_group, multiply_encode, scalars
from contactsync.tokens import TOKEN_BYTES
from contactsync.voprf.blinding import Blinding
from contactsync.voprf.client import finalize
from contactsync.voprf.constants import HASH_TO_GROUP_DST, NE, Rows
from contactsync.voprf.wire import parse_reply

_HASHES = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "blake2b", "blake2s")
_TRACE = 8
"""Octets of a hash of a contact that no random padding has by chance."""


@dataclass(frozen=True, slots=True)
class SentPoints:
    """A batch that was explained: `whose` has the identifier of each point, None for padding."""

    named: Named
    batch: SentBatch
    whose: list[bytes | None] = field(repr=False)

    @property
    def contacts(self) -> list[bytes]:
        """The identifiers among its points."""
        return [name for name in self.whose if name is not None]


class Book:
    """The identifiers of an address book, found by the points that they hash to."""

    def __init__(self, identifiers: Sequence[bytes]) -> None:
        self.identifiers = list(dict.fromkeys(identifiers))
        points = _hashed(self.identifiers)
        self._of = {one.tobytes(): name for one, name in zip(points, self.identifiers, strict=True)}
        self.lengths = {len(name) for name in self.identifiers} or {USUAL_LENGTH}
        self._traces = {trace for name in self.identifiers for trace in _traces(name)}

    def whose(self, point: bytes) -> bytes | None:
        """The identifier that hashes to a point; None if no contact does."""
        return self._of.get(point)

    def shows_in(self, padding: bytes) -> bool:
        """Whether padding contains an identifier, digits of a number, or the beginning of a usual hash."""
        if any(padding[at : at + _TRACE] in self._traces for at in range(len(padding) - _TRACE + 1)):
            return True
        return padding.startswith(tuple(kind.prefix for kind in KINDS.values()))


def _hashed(inputs: Sequence[bytes]) -> Rows:
    if not inputs:
        return np.zeros((0, NE), np.uint8)
    return encode(hash_to_group(list(inputs), HASH_TO_GROUP_DST))


def _traces(identifier: bytes) -> list[bytes]:
    """What would show an identifier in octets that should be random."""
    found = []
    plain = identifier.removeprefix(kind_of(identifier).prefix)
    for text in (identifier, plain, identifier.removeprefix(SCHEME)):
        found += [hashlib.new(name, text, usedforsecurity=False).digest()[:_TRACE] for name in _HASHES]
        found += [text[at : at + _TRACE] for at in range(max(1, len(text) - _TRACE + 1))]
    return found


class Points:
    """Explains the points of a transcript. `sent` has what was explained, `tokens` those of contacts.

    `tokens` are by epoch and identifier: of contacts whose evaluation is in the transcript.
    """

    def __init__(self, report: AuditReport, book: Book) -> None:
        self._report = report
        self._book = book
        self._blinds: set[bytes] = set()
        self._paddings: set[bytes] = set()
        self._chance = Chance(book.identifiers)
        self.sent: list[SentPoints] = []
        self.tokens: dict[tuple[int, bytes], bytes] = {}

    def explain(self, one: Named, batch: SentBatch, public_key: bytes) -> SentPoints | None:
        """Recompute every point of a batch: blind · HashToGroup(input) (RFC 9497 §3.3.1)."""
        report, place = self._report, one.exchange.place
        body = np.frombuffer(one.exchange.body, np.uint8)
        elements, valid = decode(body.reshape(-1, NE)) if len(body) % NE == 0 else (None, np.zeros(1, bool))
        if elements is None or not valid.all() or len(valid) != len(batch.blinds):
            report.disprove(
                "points", place, f"it does not consist of {len(batch.blinds)} points of the group"
            )
            return None
        if not (scalars.is_canonical(batch.blinds) & batch.blinds.any(axis=1)).all():
            report.disprove("points", place, "a blind is zero or not below the order of the group")
            return None
        blinds = {blind.tobytes() for blind in batch.blinds}
        if len(blinds) != len(batch.blinds) or blinds & self._blinds:
            report.disprove("points", place, "a blind was used twice: such points hide nothing")
            return None
        self._blinds |= blinds
        whose = self._whose(place, batch, multiply_encode(elements, scalars.invert(batch.blinds)))
        if whose is None:
            return None
        report.prove("points", len(whose))
        self._check_padding(place, batch)
        self._chance.add(whose, batch.blinds, list(batch.padding.values()))
        sent = SentPoints(one, batch, whose)
        self.sent.append(sent)
        self._find_tokens(sent, public_key)
        return sent

    def check_chance(self) -> None:
        """That padding, blinds and the order of points look like chance."""
        self._chance.check(self._report)

    def _whose(self, place: str, batch: SentBatch, points: Rows) -> list[bytes | None] | None:
        """The contact of each point without its blind, None where it is padding; None if one is neither."""
        places = sorted(batch.padding)
        padding = dict(zip(places, _hashed([batch.padding[at] for at in places]), strict=True))
        whose: list[bytes | None] = []
        for at, point in enumerate(points):
            octets = point.tobytes()
            name = None if at in padding else self._book.whose(octets)
            if name is None and (at not in padding or padding[at].tobytes() != octets):
                self._report.disprove(
                    "points",
                    f"{place}, point {at + 1}",
                    "it is neither of a contact of the address book nor of padding",
                    "if the sync finished an earlier one, give the address book of that time as well",
                )
                return None
            whose.append(name)
        return whose

    def _check_padding(self, place: str, batch: SentBatch) -> None:
        for at, octets in batch.padding.items():
            where = f"{place}, point {at + 1}"
            if len(octets) not in self._book.lengths:
                self._report.disprove("padding", where, "padding is of a length that no contact has")
            elif octets in self._paddings:
                self._report.disprove("padding", where, "padding is there twice")
            elif self._book.shows_in(octets):
                self._report.disprove("padding", where, "padding comes from a contact: it is not random")
            else:
                self._report.prove("padding")
            self._paddings.add(octets)

    def _find_tokens(self, sent: SentPoints, public_key: bytes) -> None:
        """Compute the tokens of contacts, if the reply is good."""
        exchange, batch = sent.named.exchange, sent.batch
        if not exchange.succeeded or exchange.reply is None:
            return
        inputs = tuple(batch.padding[at] if name is None else name for at, name in enumerate(sent.whose))
        blinded = np.frombuffer(exchange.body, np.uint8).reshape(-1, NE)
        try:
            evaluated, proof = parse_reply(exchange.reply.body, len(inputs))
            outputs = finalize(Blinding(inputs, batch.blinds, blinded), evaluated, proof, public_key)
        except (BadReply, BadProof, BadInput):
            return  # `proofs` has said so
        for name, output in zip(sent.whose, outputs, strict=True):
            if name is not None:
                self.tokens[batch.epoch, name] = output[:TOKEN_BYTES].tobytes()


def is_batch(one: Named) -> bool:
    """Whether a request counts as a batch of a round: it was sent whole, and not again after this."""
    return one.exchange.whole and not one.exchange.repeated


def check_round(
    report: AuditReport, this: SentRound, sent: Sequence[SentPoints], posted: Sequence[Named]
) -> bool:
    """That a round has as many points as its contacts, rounded up. True: it was cover, and was refused.

    `sent` are those of `posted` that were explained. How large batches are, shows without that.
    """
    place = posted[0].exchange.place if posted else report.subject
    batches = [one.exchange for one in posted if is_batch(one)]
    explained = len(sent) == len(batches)
    contacts = [name for one in sent for name in one.contacts]
    if len(set(contacts)) != len(contacts):
        report.disprove("points", place, "a contact is in a round twice")
    sizes, wanted = [len(one.body) // NE for one in batches], [*this.unfinished, *this.fresh]
    new = sum(len(one.contacts) for one in sent if not one.batch.unfinished)
    total = sum(this.fresh)
    order = [at < len(this.unfinished) for at in range(len(sent))]
    if sizes != wanted[: len(sizes)] or (explained and [one.batch.unfinished for one in sent] != order):
        report.disprove("rounds", place, "the batches are not those of the round")
    elif len(sizes) < len(wanted):
        report.leave("rounds", place, "the round was not sent to its end, so its size says nothing yet")
    elif not explained:
        report.leave("rounds", place, "not all of its points are explained, so nothing says how many are new")
        return False
    elif total != (padded(new) or LEAST * this.cover):
        report.disprove("rounds", place, f"{new:,} new contacts are among {total:,} points")
    else:
        report.prove("rounds", len(this.fresh) or 1)
    last = posted[-1].exchange.reply if posted else None
    return bool(this.fresh) and not new and last is not None and last.status in {429, 503}
