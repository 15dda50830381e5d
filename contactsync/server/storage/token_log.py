"""Which tokens came and went since a base was made, so that the next one need not be made of all of them.

A row of `bases` says that a base of a partition holds exactly the tokens of a serial, and how many there were
(`tokens`); one without a base, that changes are kept since a moment before one is made. With labels it says
so of a base and its sidecar; how these changed is in label_log.py. While there is a row, each token that is
stored leaves a row in `token_changes`, in the same transaction. Of a token that is deleted nothing may stay
here that says whose it was, not even until the next publish: who left is in no file of the register. So its
row in `token_changes` goes, and what is kept is sealed to the publisher (departed.py), in `departed_tokens`.
Rows that all bases have in them go when an edition is settled, so what is kept is what the next publish
needs. Nothing of this is moved to another store: there, the next publish reads all tokens once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from contactsync.publication.manifest import Manifest, Partition
from contactsync.server.storage.departed import DepartedKeys, open_departed, seal_departed
from contactsync.server.storage.records import audience_of, bit_of
from contactsync.server.storage.statements import Statements, StoreDatabase
from contactsync.tokens import TOKEN_BYTES, Tokens

# ruff: noqa: S608 - the only text put into a statement is a condition of this module

OF: Final = "audience = ? AND epoch = ? AND partition = ?"
"""Whose rows of a log these are."""

WORTH: Final = 4
"""A base is made of an earlier one if there are so many times as many tokens as changes."""

MOST: Final = 1 << 19
"""Changes, at most: they are held in memory."""


OPENED: Final = 64
"""What was sealed at once is opened in the time in which so many tokens, or a few more, are read."""

_AT_ONCE: Final = 500  # values in one statement


def most_changes(count: int) -> int:
    """How many changes are worth it to make a base of an earlier one of so many tokens."""
    return min(MOST, count // WORTH)


def noted_as(content: Partition) -> str:
    """What a base is noted as (hex): what it holds, and the sidecar beside it, which may change alone."""
    return content.state + ("" if content.labels is None else content.labels.file.sha256)


@dataclass(frozen=True, slots=True)
class TokenChanges:
    """The tokens that joined and left since a base was made of `count` tokens. All are distinct."""

    count: int
    joined: Tokens
    left: Tokens

    @property
    def count_after(self) -> int:
        """How many tokens there are now."""
        return self.count + len(self.joined) - len(self.left)


class TokenLog(Statements):
    """The part of a `MemberStore` that knows how its tokens changed, as far as it is the same for all."""

    _database: StoreDatabase

    def _write(self) -> AbstractContextManager[int]:
        """A transaction that changes membership. Yields its serial."""
        raise NotImplementedError

    def serial(self) -> int:
        """See `MemberStore.serial`."""
        raise NotImplementedError

    def _keep_counts(self) -> None:
        """Know how many members there are without counting them from now on (counting.py)."""
        raise NotImplementedError

    def _logs(self) -> Sequence[str]:
        """The tables with what changed."""
        return "token_changes", "departed_tokens"

    def begin_log(self, partitions: Mapping[tuple[str, int], Collection[str]], public: bytes | None) -> None:
        """See `TokenStore.begin_log`."""
        with self._database.transaction():
            self._keep_counts()
            self._database.change("DELETE FROM departed_key")
            if public is not None:
                self._database.change(self._sql("INSERT INTO departed_key VALUES (?)"), public)
            there = {(bit, epoch, name) for bit, epoch, name, *_ in self._bases()}
            for (audience, epoch), names in partitions.items():
                of = bit_of(audience), epoch
                for name in names:
                    if (*of, name) not in there:
                        self._database.change(
                            self._sql("INSERT INTO bases VALUES (?, ?, ?, ?, 0, 0)"), *of, name, b""
                        )

    def sealed_to(self) -> set[bytes]:
        """See `TokenStore.sealed_to`."""
        rows = self._database.all("SELECT public FROM departed_key UNION SELECT public FROM departed_tokens")
        return {bytes(public) for (public,) in rows}

    def note_base(
        self, audience: str, epoch: int, partition: str, state: str, *, serial: int, count: int
    ) -> None:
        """See `TokenStore.note_base`."""
        of = bit_of(audience), epoch, partition
        with self._write():  # a serial of its own: what is stored from now on is later than what the base has
            if self._is_logged(*of):  # else its log was given up meanwhile
                self._database.change(
                    self._sql(
                        "INSERT INTO bases VALUES (?, ?, ?, ?, ?, ?) "
                        "ON CONFLICT (audience, epoch, partition, base) "
                        "DO UPDATE SET serial = excluded.serial, tokens = excluded.tokens"
                    ),
                    *(*of, bytes.fromhex(state), serial, count),
                )

    def token_changes(
        self, audience: str, epoch: int, partition: str, state: str, keys: DepartedKeys
    ) -> TokenChanges | None:
        """See `TokenStore.token_changes`."""
        of = bit_of(audience), epoch, partition
        base = self._base(of, state)
        if base is None:
            return None
        serial, count = base
        since = f"WHERE {OF} AND serial > ?"
        stored = int(
            self._database.one(self._sql(f"SELECT count(*) FROM token_changes {since}"), *of, serial)
        )
        ((seals, deleted),) = self._database.all(
            self._sql(f"SELECT count(*), coalesce(sum(tokens), 0) FROM departed_tokens {since}"), *of, serial
        )
        if stored + deleted > most_changes(count) or seals * OPENED > count:
            return None
        left = self._departed(of, serial, keys)
        if left is None:
            return None
        rows = self._database.all(self._sql(f"SELECT token FROM token_changes {since}"), *of, serial)
        joined = {bytes(token) for (token,) in rows}
        return TokenChanges(count, _tokens(joined - left), _tokens(left - joined))

    def _base(self, of: tuple[int, int, str], state: str) -> tuple[int, int] | None:
        """The serial that a base was noted with, and how many tokens it has; None if it was not."""
        query = self._sql(f"SELECT serial, tokens FROM bases WHERE {OF} AND base = ?")
        bases = self._database.all(query, *of, bytes.fromhex(state))
        return (int(bases[0][0]), int(bases[0][1])) if bases else None

    def _departed(self, of: tuple[int, int, str], serial: int, keys: DepartedKeys) -> set[bytes] | None:
        """The tokens that a base of a serial has, and that were deleted since; None if they stay sealed."""
        found = set[bytes]()
        query = self._sql(f"SELECT public, sealed FROM departed_tokens WHERE {OF} AND serial > ?")
        for public, sealed in self._database.all(query, *of, serial):
            try:
                opened = open_departed(keys[bytes(public)], of, bytes(sealed))
            except (KeyError, ValueError):  # a register that was restored, or damage: all tokens are there
                return None
            found.update(token for token, since in opened.items() if since <= serial)
        return found

    def _bases(self) -> list[tuple[int, int, str, bytes, int]]:
        rows = self._database.all("SELECT audience, epoch, partition, base, serial FROM bases")
        return [(bit, epoch, name, bytes(base), serial) for bit, epoch, name, base, serial in rows]

    def _is_logged(self, bit: int, epoch: int, partition: str) -> bool:
        """Whether changes of a partition's tokens are kept."""
        query = f"SELECT EXISTS (SELECT 1 FROM bases WHERE {OF})"
        return bool(self._database.one(self._sql(query), bit, epoch, partition))

    def _check_logged(self, of: tuple[int, int, str], *, changed: int, kept: int) -> None:
        """Give a log up that does not have every change: two members with one token, of 80 bits."""
        if kept != changed:
            self._give_up_log(*of)

    def _log_departed(self, of: tuple[int, int, str], serial: int, tokens: Sequence[bytes]) -> None:
        """Keep for the publisher alone that tokens of a partition are deleted, in the open transaction."""
        if not tokens or not self._is_logged(*of):
            return
        departed = dict.fromkeys(tokens, 0)
        for some, marks in slices(tokens):
            which = f"{OF} AND token IN ({marks})"
            delete = self._sql(f"DELETE FROM token_changes WHERE {which} RETURNING token, serial")
            departed |= {bytes(token): since for token, since in self._database.all(delete, *of, *some)}
        are_distinct = len(departed) == len(tokens)  # else two members have one token, of 80 bits
        sealed = self._sealed(of, departed) if are_distinct else None
        if sealed is None:
            self._give_up_log(*of)
            return
        self._database.change(
            self._sql("INSERT INTO departed_tokens VALUES (?, ?, ?, ?, ?, ?, ?)"),
            *(*of, serial, len(tokens), *sealed),
        )

    def _sealed(self, of: tuple[int, int, str], tokens: Mapping[bytes, int]) -> tuple[bytes, bytes] | None:
        """The publisher's public key, and tokens sealed to it; None if there is none, or what is no key."""
        for (public,) in self._database.all("SELECT public FROM departed_key"):
            with suppress(ValueError):  # somebody removes who has no part in what is wrong with the key
                return bytes(public), seal_departed(bytes(public), of, tokens)
        return None

    def _give_up_log(self, bit: int, epoch: int, partition: str) -> None:
        """Keep nothing of a partition any more, and forget what was kept."""
        self._give_up(OF, bit, epoch, partition)

    def _give_up(self, which: str, *values: object) -> None:
        """Forget some bases and logs: the next publish makes such a base of all tokens."""
        for table in ("bases", *self._logs()):
            self._database.change(self._sql(f"DELETE FROM {table} WHERE {which}"), *values)

    def _settle_logs(self, published: Collection[Manifest]) -> None:
        """Forget bases that are not published, and the changes that all have in them."""
        manifests = {(one.audience, one.epoch): one for one in published}
        manifests |= {(one.audience, one.epoch): one for each in published if (one := each.ahead())}
        logs: dict[tuple[int, int, str], dict[bytes, int]] = {}
        for bit, epoch, name, base, serial in self._bases():
            logs.setdefault((bit, epoch, name), {})[base] = serial
        changed = {
            table: set(self._database.all(f"SELECT DISTINCT audience, epoch, partition FROM {table}"))
            for table in self._logs()
        }
        for of, bases in logs.items():
            bit, epoch, name = of
            manifest = manifests.get((audience_of(bit), epoch))
            partition = None if manifest is None else manifest.partitions.get(name)
            if partition is None:
                if manifest is not None:
                    self._give_up_log(*of)
                continue
            current = bytes.fromhex(noted_as(partition))
            if current not in bases:
                self._give_up_log(*of)
                continue
            if len(bases) > 1:
                self._database.change(self._sql(f"DELETE FROM bases WHERE {OF} AND base <> ?"), *of, current)
            for table in (table for table in self._logs() if of in changed[table]):
                older = self._sql(f"DELETE FROM {table} WHERE {OF} AND serial <= ?")
                self._database.change(older, *of, bases[current])


def slices(values: Sequence[Any]) -> Iterator[tuple[Sequence[Any], str]]:
    """As many values at a time as one statement takes, and the marks that stand for them."""
    for first in range(0, len(values), _AT_ONCE):
        some = values[first : first + _AT_ONCE]
        yield some, ", ".join("?" * len(some))


def _tokens(some: Collection[bytes]) -> Tokens:
    return Tokens.from_bytes(np.frombuffer(b"".join(some), np.uint8).reshape(-1, TOKEN_BYTES))
