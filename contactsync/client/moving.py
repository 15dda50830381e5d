"""When this client moves to the next epoch, while it overlaps with the current one.

Each client moves at a time of its own, drawn once for a rotation, so that not all of them come at once. It
depends on nothing but chance and what the manifest says: neither on the address book nor on what is stored.
Once it has moved, it does not go back while the rotation lasts. What was drawn is kept in the state.

In a mode that asks for buckets a client stays where it is until the epoch begins. Editions count from 1 again
then, and who has not seen the last announcement would have to send one list more for the same question.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from contactsync.foundation import durable
from contactsync.publication.manifest import Manifest

MARGIN = 4
"""A quarter of the time that is left until the end of the overlap is not drawn from.

Who syncs only now and then comes some time after the time that was drawn.
"""


@dataclass(frozen=True, slots=True)
class Move:
    """That a client moves to `epoch`, with this key (in hex), at `at` (seconds since 1970), or has moved."""

    epoch: int
    public_key: str
    at: int
    moved: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The edition to use, what to keep of the rotation (None: there is none), and what of it was withdrawn.

    `withdrawn` is the epoch that this client has moved to and that does not come, or not with that key.
    """

    manifest: Manifest
    move: Move | None = None
    withdrawn: int | None = None


def choose(published: Manifest, kept: Move | None, *, now: int, is_first: bool, asks: bool = False) -> Choice:
    """Which epoch to use of those in a manifest.

    `kept` is what was kept of a rotation before. `is_first`: this client has seen no manifest of the audience
    before. It uses the next epoch at once, instead of asking for everything twice. `asks` is of its mode.
    """
    ahead = published.ahead()
    withdrawn = None
    if kept is not None and kept.moved and not any(_leads_to(one, kept) for one in (published, ahead)):
        withdrawn = kept.epoch
    if ahead is None or published.next is None:
        return Choice(published, None, withdrawn)
    if kept is None or not _leads_to(ahead, kept):
        wait = max(0, published.next.until - now) * (MARGIN - 1) // MARGIN
        kept = Move(ahead.epoch, ahead.public_key.hex(), now + secrets.randbelow(wait + 1), moved=is_first)
    move = replace(kept, moved=kept.moved or (now >= kept.at and not asks))
    return Choice(ahead if move.moved else published, move, withdrawn)


def _leads_to(manifest: Manifest | None, move: Move) -> bool:
    """Whether it is of the epoch and key that a client moves to, or of a later epoch, to which it led."""
    if manifest is None:
        return False
    of = manifest.epoch, manifest.public_key.hex()
    return of == (move.epoch, move.public_key) or manifest.epoch > move.epoch


def recall_moves(path: Path) -> dict[str, Move]:
    """What is kept of rotations, by audience. Nothing where the file is damaged: another time is drawn."""
    try:
        return {str(who): _move(one) for who, one in json.loads(path.read_bytes())["audiences"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def keep_move(path: Path, audience: str, move: Move | None) -> None:
    """Keep it, durably; None: there is no rotation."""
    before = recall_moves(path)
    after = {who: one for who, one in before.items() if who != audience}
    if move is not None:
        after[audience] = move
    if after != before:
        record = {"version": 1, "audiences": {who: asdict(one) for who, one in after.items()}}
        durable.write(path, json.dumps(record, indent=1).encode())


def _move(value: Any) -> Move:
    move = Move(**value)
    if tuple(map(type, asdict(move).values())) != (int, str, int, bool):
        raise TypeError("not a record of a rotation")
    return move
