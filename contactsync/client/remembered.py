"""What is stored of a book and a server, read without the network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contactsync.client.cache import Cache
from contactsync.client.core.holdings import Holdings, Known
from contactsync.client.core.round import PendingBatch
from contactsync.client.core.states import Question
from contactsync.client.state import ServerState
from contactsync.contacts import AddressBook
from contactsync.identifiers import KINDS, served_kinds


def new_identifiers(server: ServerState, book: AddressBook, audience: str) -> int:
    """How many identifiers of the book that would be asked for are not in the newest epoch of the cache.

    Further forms are counted, too. Does not use the network.
    """
    kinds = kinds_seen(server, audience) or frozenset(KINDS)
    identifiers = list(question_about(book.sought, kinds).identifiers)
    with Cache(server.cache, server.url) as cache:
        epoch = cache.newest_epoch(audience)
        known = cache.tokens(audience, epoch, identifiers).known if epoch else np.zeros(0, np.bool_)
    return len(identifiers) - int(known.sum())


def last_matches(server: ServerState, book: AddressBook, audience: str) -> frozenset[bytes]:
    """The identifiers of the book, further forms included, that the last sync found to be members.

    Does not use the network.
    """
    identifiers = book.sought
    with Cache(server.cache, server.url) as cache:
        found = cache.findings(audience, identifiers)
    return frozenset(one for one, member in zip(identifiers, found.tolist(), strict=True) if member == 1)


@dataclass(frozen=True, slots=True)
class Recalled:
    """What is stored of an epoch, read before it is needed.

    `lacks_keys`: some tokens have no label key, whether or not they are of this book.
    """

    epoch: int
    known: Known
    held: Holdings
    whole: Holdings
    lacks_keys: bool
    unfinished: Sequence[PendingBatch]


def kinds_seen(server: ServerState, audience: str) -> frozenset[str] | None:
    """The kinds that the last manifest of an audience had members of; None if there is none that can be read.

    It is what to make ready for: the next manifest is not there before the first request.
    """
    try:
        last = json.loads((server.tuf / "manifests" / f"{audience}.json").read_bytes())
        return served_kinds([str(name) for name in last["partitions"]])
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        return None  # if it is damaged, the follower says so


def question_about(identifiers: Sequence[bytes], kinds: frozenset[str]) -> Question:
    """About those identifiers that are of these kinds. Others would cost points for nothing."""
    prefixes = tuple(KINDS[kind].prefix for kind in kinds)
    return Question.about([one for one in identifiers if one.startswith(prefixes)])
