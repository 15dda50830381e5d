"""Private look-ups: keys from any client, and answers, rows and files of rows from servers that may lie."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from contactsync.client.last_table import keep_table, recall_table
from contactsync.directory import build, open_directory
from contactsync.foundation.errors import BadDirectory, BadInput
from contactsync.lookup import dpf
from contactsync.lookup.answer import RowLayout
from contactsync.lookup.batch import Sharing, sharings
from contactsync.lookup.rows import ROW_SLOTS, Places, RowShape, parse
from contactsync.lookup.table import RowTable, check_level, read_records
from contactsync.lookup.table_file import build_table, open_table
from contactsync.server.http.looking_up import LookingUp
from contactsync.server.lookups import OpenRows
from contactsync.tokens import TOKEN_BYTES, Tokens
from fuzz import scratch
from fuzz.target import Target

_WORDS = (b"\0" * 16, b"\xff" * 16, b"\x01", b"\x02", b"\x03", b"\x04", b"\x80")
_ROW_BITS = (6, 8, 12, 16)
_FEW = 40  # rows of the tables that keys are sent to


@functools.cache
def _rows(row_bits: int) -> OpenRows:
    layout = RowLayout(row_bits, 3 if row_bits > 12 else 0, 40, 0)
    shape = _FEW >> layout.fold_bits, layout.block_bytes
    return OpenRows(np.random.default_rng(row_bits).integers(0, 256, shape, np.uint8), layout)


def _honest_keys() -> list[bytes]:
    """Batches as a client sends them, each after the number of the table."""
    found = []
    for which, row_bits in enumerate(_ROW_BITS):
        for sharing in sharings(row_bits)[:2]:
            index = np.arange(sharing.sub_databases, dtype=np.uint32) % (1 << sharing.position_bits)
            randomness = hashlib.shake_256(b"%d" % row_bits).digest(32 * len(index))
            keys, _ = dpf.generate(index, sharing.position_bits, randomness)
            found.append(bytes([which]) + keys.tobytes())
    return [*found, b"", b"\0" + bytes(384), b"\1" + bytes(3072)]


def _keys(data: bytes) -> None:
    """Keys that are accepted expand, by the kernel as by OpenSSL, and are answered in the length that was said."""
    rows = _rows(_ROW_BITS[data[0] % len(_ROW_BITS)] if data else _ROW_BITS[0])
    size, keys = rows.read_keys(data[1:])
    bits = Sharing(size, rows.layout.row_bits).position_bits
    octets = dpf.selection_length(bits)
    slow = dpf.expand_by_openssl(keys, bits)[:, :octets]
    assert np.array_equal(dpf.expand(keys, bits), slow)
    one, other = rows.answer([(size, keys)] * 2)
    assert one.tobytes() == other.tobytes() == rows.answer([(size, keys)])[0].tobytes()
    assert one.nbytes == rows.answer_bytes(size)


def _place(data: bytes) -> None:
    """Whatever stands in the path: rows are asked for by an audience that there is, and 32 octets."""
    audience, _, root = data.decode("latin-1").partition("/")
    found: list[Any] = []

    def find(audience: str, root: bytes) -> None:
        assert audience in {"people", "business"} and len(root) == 32

    async def who(_request: object, _audience: str) -> int:
        return 1

    async def receive() -> Any:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        found.append(message)

    scope = {"type": "http", "headers": [], "path_params": {"audience": audience, "root": root}}
    asyncio.run(LookingUp(None, find, who)(scope, receive, send))
    assert found[0]["status"] == 404


@dataclass(frozen=True)
class _Made:
    table: RowTable
    root: bytes
    level: bytes
    file: bytes

    @property
    def records(self) -> Any:
        return np.frombuffer(self.file, np.uint8).reshape(-1, self.table.width)


@functools.cache
def _made() -> _Made:
    octets = b"".join(hashlib.sha512(b"%d" % i).digest()[:TOKEN_BYTES] for i in range(300))
    tokens = Tokens.from_bytes(np.frombuffer(octets, np.uint8).reshape(-1, TOKEN_BYTES))
    info = build(scratch.folder() / "looked-up", [tokens])
    with open_directory(scratch.folder() / "looked-up", expect=info) as directory:
        built = build_table(scratch.folder() / "rows", {"49": directory})
    return _Made(built.table, built.root, built.level, (scratch.folder() / "rows").read_bytes())


def _lied(right: bytes, data: bytes) -> bytes:
    """What one of two servers makes of an answer: it chooses what is XORed."""
    error = np.frombuffer(data.ljust(len(right), b"\0")[: len(right)], np.uint8)
    return (np.frombuffer(right, np.uint8) ^ error).tobytes()


def _answer(data: bytes) -> None:
    """An answer, and a level, are accepted if they are right, whatever the error is."""
    made = _made()
    if data[:1] == b"\1":
        octets = _lied(made.level, data[1:])
        assert check_level(octets, made.table, made.root).tobytes() == made.level[len(made.table.heading) :]
        return
    level = check_level(made.level, made.table, made.root)
    numbers = np.arange(8, dtype=np.uint32) * 7
    right = made.records[numbers].tobytes()
    octets = _lied(right, data[1:])
    read_records(np.frombuffer(octets, np.uint8).reshape(8, -1), numbers, level, made.table)
    assert octets == right


def _row(data: bytes) -> None:
    """Whatever is signed, a row reads as ascending values within it, or as none."""
    shape = _made().table.shape
    content = np.frombuffer(data.ljust(shape.content_bytes, b"\0")[: shape.content_bytes], np.uint8)[None]
    rows = parse(content, np.zeros(1, np.uint32), shape, np.zeros(1, np.int64))
    count = int(rows.count[0])
    assert 0 <= count <= shape.most
    values = [
        (int(slot), int(remainder))
        for slot, remainder in zip(rows.slot[0][:count], rows.remainder[0][:count], strict=True)
    ]
    assert values == sorted(set(values))
    assert all(slot < ROW_SLOTS for slot, _ in values)


def _labelled_row(data: bytes) -> None:
    """A row of a table with labels, of a partition that has some or none, as its first bit says."""
    shape = RowShape(32, 5, 48)
    own = (data[:1] or b"\0")[0] % 2 * 32
    content = np.frombuffer(data[1:].ljust(shape.content_bytes, b"\0")[: shape.content_bytes], np.uint8)[None]
    rows = parse(content, np.zeros(1, np.uint32), shape, np.array([own]))
    count = int(rows.count[0])
    assert rows.entry.shape == (1, 5, 48)
    if count:
        assert not rows.entry[0, count:].any()
        assert not rows.entry[0, :, own:].any()
    places = Places(np.zeros(5, np.uint32), rows.slot[0], rows.remainder[0])
    taken = rows.take(np.zeros(5, np.int64))
    assert np.array_equal(taken.contains(places)[:count], np.ones(count, np.bool_))
    assert np.array_equal(taken.entries(places)[:count], rows.entry[0, :count])


def _file(data: bytes) -> None:
    """A server answers from the rows of the root, and from no other file."""
    made = _made()
    whole = data[1:] if data[:1] == b"\1" else _lied(made.file, data[1:])
    records = open_table(scratch.written("rows-given", whole), made.table, made.root)
    assert records.tobytes() == made.file


def _last(data: bytes) -> None:
    """What is kept of the last look-up is read, or there was none; then it can be kept again."""
    path = scratch.written("rows.json", data)
    last = recall_table(path, "people")
    if last is not None:
        keep_table(path, "business", last)
        assert recall_table(path, "people") == recall_table(path, "business") == last
    keep_table(path, "people", None)
    assert recall_table(path, "people") is None


_KEPT = b'{"audiences": {"people": {"key": "%s", "epoch": 1, "edition": 2, "waiting": ["tel:+49151"]}}}'

TARGETS = (
    Target(
        "kept-rows",
        _last,
        lambda: [
            _KEPT % (b"0f" * 32),
            _KEPT % b"0f",
            b"",
            b"{}",
            b'{"audiences": []}',
            b'{"audiences": [[1, 2]]}',
        ],
        (),
        words=(b'"people"', b"null", b"1e999", b"[]", b"{}", b'"key"', b'"waiting"', b"-1"),
        longest=400,
    ),
    Target(
        "lookup-place",
        _place,
        lambda: [b"people/" + b"0f" * 32, b"people/" + b"0F" * 32, b"nobody/" + b"00" * 32, b"", b"/"],
        (),
        words=(b"people", b"business", b"/", b"00" * 32, b"0x", b"\xb2"),
        longest=200,
    ),
    Target("lookup-keys", _keys, _honest_keys, (BadInput,), words=_WORDS, longest=3100),
    Target(
        "lookup-answer",
        _answer,
        lambda: [b"", b"\0", b"\1", b"\0" + bytes(40) + b"\1", b"\1" + bytes(40) + b"\1"],
        (BadDirectory,),
        words=_WORDS,
    ),
    Target(
        "lookup-row",
        _row,
        lambda: [record.tobytes()[: _made().table.shape.content_bytes] for record in _made().records[:8]],
        (),
        words=_WORDS,
        longest=600,
        runs=400,
    ),
    Target(
        "lookup-labelled-row",
        _labelled_row,
        lambda: [
            kind + record.tobytes()[: shape.entries_at] + entries
            for shape, kind in ((RowShape(32, 5, 48), b"\1"), (RowShape(32, 5, 48), b"\0"))
            for record in _made().records[:4]
            for entries in (b"", b"e" * 32 + bytes(16))
        ],
        (),
        words=_WORDS,
        longest=400,
        runs=400,
    ),
    Target(
        "lookup-file",
        _file,
        lambda: [b"", b"\0", b"\1", b"\0" + bytes(500) + b"\1", b"\1" + _made().file],
        (BadDirectory, BadInput),
        words=_WORDS,
        runs=60,
    ),
)
