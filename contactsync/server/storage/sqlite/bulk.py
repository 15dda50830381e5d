"""Keys and tokens between the registry and arrays, a page with each step of SQLite.

A step that gives a row costs more than what SQLite does for it, and each takes and releases the interpreter's
lock, for which the threads that evaluate wait too. So SQLite joins a page of keys, or of tokens, into one
value, and takes the tokens to be stored as one value and their keys as another: while it works, other threads
run.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from contactsync.identifiers.kinds import Kind
from contactsync.labels import KEYED_BYTES
from contactsync.server.storage.labelling import Outputs, split_outputs, without_keys
from contactsync.server.storage.ports import Members
from contactsync.server.storage.sqlite.database import Database
from contactsync.tokens import TOKEN_BYTES, Tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from contactsync.identifiers.kinds import Keys

_AT_ONCE = 1 << 16  # tokens

# ruff: noqa: S608 - the only text put into a statement is the name of a kind, and integers


def read_unevaluated(
    database: Database,
    kind: Kind,
    of: tuple[int, int],
    span: tuple[str, Any, Any],
    limit: int,
    *,
    keyed: bool,
) -> Keys:
    """Up to `limit` keys of members in a span, ascending, who have no token of an audience (bit) and epoch.

    A span is its first key, with the comparison `>=` or `>`, and the key that it ends before. `keyed`: who
    has no token with its label key.
    """
    (audience, epoch), (begin, first, end) = of, span
    tokens = f"SELECT 1 FROM tokens_{kind.name} WHERE audience = {audience:d} AND epoch = {epoch:d}"
    # One question for all of the rest, instead of one for each member, where there is no token at all.
    some = database.one(f"SELECT EXISTS ({tokens} AND key {begin} ? AND key < ?)", first, end)
    whose = f"key = m.key AND length(token) = {KEYED_BYTES:d}" if keyed else "key = m.key"
    keys = (
        f"SELECT key FROM members_{kind.name} AS m WHERE key {begin} ? AND key < ? "
        f"AND audiences & {audience:d} {f'AND NOT EXISTS ({tokens} AND {whose})' if some else ''} "
        "ORDER BY key LIMIT ?"
    )
    if kind.key_type is int:
        text = database.one(f"SELECT group_concat(key) FROM ({keys})", first, end, limit)
        # SQLite does not promise the order in which it joins.
        return np.sort(np.fromstring(text or "", np.uint64, sep=","))
    return Members.from_keys(kind.name, [key for (key,) in database.all(keys, first, end, limit)]).keys


def read_pending(
    database: Database, kind: Kind, of: tuple[int, int], span: tuple[str, Any, Any], limit: int
) -> Keys:
    """Up to `limit` keys in a span, ascending, of members who are pending in an audience (bit) and epoch.

    A row of somebody who is no member of the audience counts for nothing, however it came to be there.
    """
    (audience, epoch), (begin, first, end) = of, span
    rows = database.all(
        # CROSS JOIN: each pending key is looked up among the members, never the other way round.
        f"SELECT p.key FROM pending_{kind.name} AS p CROSS JOIN members_{kind.name} AS m ON m.key = p.key "
        f"WHERE p.audience = {audience:d} AND p.epoch = {epoch:d} AND p.key {begin} ? AND p.key < ? "
        f"AND m.audiences & {audience:d} ORDER BY p.key LIMIT ?",
        *(first, end, limit),
    )
    return Members.from_keys(kind.name, [key for (key,) in rows]).keys


def write_pending(database: Database, kind: Kind, of: tuple[int, int], keys: Keys) -> None:
    """Make keys pending in an audience (bit) and epoch. In the caller's transaction."""
    audience, epoch = of
    into = f"INSERT OR IGNORE INTO pending_{kind.name}"
    if kind.key_type is int:
        for first in range(0, keys.size, _AT_ONCE):
            values = f"SELECT {audience:d}, {epoch:d}, value FROM json_each(?)"
            database.change(f"{into} {values}", str(keys[first : first + _AT_ONCE].tolist()))
        return
    with database.errors():
        database.connection.executemany(
            f"{into} VALUES ({audience:d}, {epoch:d}, ?)", ((key,) for key in keys.tolist())
        )


def write_tokens(
    database: Database, of: tuple[int, int], members: Members, tokens: NDArray[np.uint8], *, known: bool
) -> None:
    """Store tokens, uint8[n, 10 or 42], of those who are members of the audience: `known` says that all are.

    They are not pending any more. In the caller's transaction.
    """
    if not len(members):
        return
    _insert_tokens(database, of, members, tokens, known=known)
    # Who is pending and has a token got it now: their keys need not be named.
    there = f"SELECT 1 FROM tokens_{members.kind} AS t WHERE t.audience = p.audience AND t.epoch = p.epoch"
    database.change(
        f"DELETE FROM pending_{members.kind} AS p WHERE p.audience = ? AND p.epoch = ? AND p.key >= ? "
        f"AND p.key <= ? AND EXISTS ({there} AND t.key = p.key)",
        *(*of, members.keys[:1].tolist()[0], members.last),
    )


def _insert_tokens(
    database: Database, of: tuple[int, int], members: Members, tokens: NDArray[np.uint8], *, known: bool
) -> None:
    octets, width, (audience, epoch) = tokens.tobytes(), tokens.shape[1], of
    into = f"INSERT OR REPLACE INTO tokens_{members.kind} SELECT {audience:d}, {epoch:d}"
    if members.keys.dtype != np.object_:
        # CROSS JOIN: in the order of the keys that were given.
        only_members = (
            f"CROSS JOIN members_{members.kind} AS m ON m.key = given.value WHERE m.audiences & {audience:d}"
        )
        database.change(
            f"{into}, given.value, substr(?, given.key * {width:d} + 1, {width:d}) "
            f"FROM json_each(?) AS given {'' if known else only_members}",
            octets,
            str(members.keys.tolist()),
        )
        return
    with database.errors():
        database.connection.executemany(
            f"{into}, key, ? FROM members_{members.kind} WHERE key = ? AND audiences & {audience:d}",
            ((octets[i * width : (i + 1) * width], key) for i, key in enumerate(members.keys.tolist())),
        )


def log_stored(database: Database, of: tuple[int, int, str], kind: str, keys: Keys) -> tuple[int, int]:
    """Keep that the tokens of some keys of a partition were stored, with the serial of now.

    How many of them have a token, and for how many that was kept. In the caller's transaction.
    """
    (audience, epoch, partition), changed, kept = of, 0, 0
    into = (
        "INSERT OR IGNORE INTO token_changes SELECT audience, epoch, ?, "
        f"(SELECT serial FROM changes), substr(token, 1, {TOKEN_BYTES:d})"
    )
    whose = f"audience = {audience:d} AND epoch = {epoch:d}"
    if keys.dtype == np.object_:
        of_key = f"FROM tokens_{kind} WHERE {whose} AND key = ?"
        with database.errors():
            for key in keys.tolist():
                changed += int(database.one(f"SELECT count(*) {of_key}", key))
                kept += database.change(f"{into} {of_key}", partition, key)
        return changed, kept
    for first in range(0, keys.size, _AT_ONCE):
        given = str(keys[first : first + _AT_ONCE].tolist())
        # CROSS JOIN: each key is looked up among the tokens, never the other way round.
        of_keys = (
            f"FROM json_each(?) AS given CROSS JOIN tokens_{kind} AS t ON t.key = given.value WHERE {whose}"
        )
        changed += int(database.one(f"SELECT count(*) {of_keys}", given))
        kept += database.change(f"{into} {of_keys}", partition, given)
    return changed, kept


def read_tokens(
    database: Database, kind: Kind, of: tuple[int, int], span: tuple[Any, Any]
) -> Generator[Tokens, None, None]:
    """The tokens of a span of keys, in pages, each in no order. In a transaction they are of one moment."""
    # `hex`: joined as they are, tokens would be text with zeros in it.
    joined = f"group_concat(hex(substr(token, 1, {TOKEN_BYTES:d})), '')"
    rows = f"SELECT key, token FROM tokens_{kind.name} AS t"
    for _, digits in _pages(database, joined, rows, of, span):
        yield Tokens.from_bytes(np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(-1, TOKEN_BYTES))


def read_outputs(
    database: Database, kind: Kind, of: tuple[int, int], span: tuple[Any, Any], partition: str
) -> Generator[Outputs, None, None]:
    """The same with label keys and labels (`LabelStore.outputs`)."""
    # Labels have no line feeds, and are text: so they need not be written in digits.
    joined = (
        f"sum(length(token) = {KEYED_BYTES:d}), group_concat(hex(token), ''), "
        "group_concat(CAST(ifnull(label, '') AS TEXT), char(10))"
    )
    rows = (
        f"SELECT t.key, token, label FROM tokens_{kind.name} AS t "
        f"LEFT JOIN labels_{kind.name} AS l ON l.key = t.key"
    )
    for count, keyed, digits, labels in _pages(database, joined, rows, of, span):
        if keyed != count:
            raise without_keys(count - keyed, partition)
        yield split_outputs(bytes.fromhex(digits), labels.encode().split(b"\n"))


def _pages(
    database: Database, joined: str, rows: str, of: tuple[int, int], span: tuple[Any, Any]
) -> Iterator[tuple[Any, ...]]:
    """How many rows, and what is `joined` of them, a page of keys of a span at a time. Tokens are `t`."""
    begin, (after, end) = ">=", span
    while True:
        ((count, last, *found),) = database.all(
            f"SELECT count(*), max(key), {joined} FROM ({rows} WHERE audience = ? AND epoch = ? "
            f"AND t.key {begin} ? AND t.key < ? ORDER BY t.key LIMIT {_AT_ONCE})",
            *(*of, after, end),
        )
        if count:
            yield count, *found
        if count < _AT_ONCE:
            return
        begin, after = ">", last
