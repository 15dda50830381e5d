"""Vectors of the log's trees, tiles, proofs and entries."""

import functools
import json
from typing import Any

import log_twin as log
from format_twin import numbered
from tuf_twin import Key
from vector_text import case

Json = dict[str, Any]
SOURCE = "contactsync, computed by tests/vectors/log_twin.py"
SPLIT = "a log can show one client another history than the others"
LOOSE = "one content has several spellings, and two observers disagree about what was signed"
UNSEEN = "a history is accepted that fewer have seen than was demanded"
ORIGIN = "contacts.invalid/log"
LOG = Key("a log")
WITNESSES = {name: Key(name) for name in ("one.invalid/w", "two.invalid/w", "three.invalid/w")}
WHEN = 1_893_456_000


def rule(count: int) -> Json:
    return {"entries": {"sha512": "entry ", "count": count, "octets": 10}, "each": 10}


def entries_of(count: int) -> list[bytes]:
    return numbered("entry ", count)


@functools.cache
def leaves(count: int) -> tuple[bytes, ...]:
    return tuple(log.leaf(entry) for entry in entries_of(count))


def root(count: int) -> bytes:
    return log.tree(list(leaves(count)))


def hexes(hashes: list[bytes]) -> list[str]:
    return [one.hex() for one in hashes]


def files() -> list[Json]:
    def one(reason: str, *sizes: int) -> Json:
        steps, before = [], dict[str, bytes]()
        for size in sizes:
            now = log.tiles(entries_of(size))
            new = {
                path: log.sha256(octets).hex() for path, octets in sorted(now.items()) if path not in before
            }
            steps.append(new)
            before |= now
        listings = ["".join(f"{digest}  {path}\n" for path, digest in step.items()) for step in steps]
        expected = {
            "root": root(sizes[-1]).hex(),
            "listings": [log.sha256(listing.encode()).hex() for listing in listings],
        }
        if sizes[-1] < 2000:
            expected["steps"] = steps
        return case(reason, rule(sizes[-1]) | {"sizes": list(sizes)}, expected)

    return [
        one("one entry", 1),
        one("one after the other", 1, 2, 3),
        one("a full tile", 256),
        one("one more than a full tile: a second level begins", 255, 256, 257),
        one("several full tiles at once", 3, 1000),
        one("nothing is appended", 5, 5),
        one("a full tile of the second level, and a number of four digits", 65_535, 65_537),
    ]


def inclusions() -> list[Json]:
    def made(reason: str, index: int, size: int) -> Json:
        proof = log.path(index, list(leaves(size)))
        return shown(reason, index, size, proof)

    def shown(reason: str, index: int, size: int, proof: list[bytes], changed: Json | None = None) -> Json:
        given = {
            "entry": {"hex": entries_of(size)[min(index, size - 1)].hex()},
            "index": index,
            "size": size,
            "proof": hexes(proof),
            "root": root(size).hex(),
        } | (changed or {})
        right = not changed and index < size and proof == log.path(index, list(leaves(size)))
        return case(
            reason, given, {"leaf": log.leaf(bytes.fromhex(given["entry"]["hex"])).hex(), "holds": right}
        )

    good = log.path(5, list(leaves(7)))
    return [
        made("the only entry: an empty proof", 0, 1),
        *(made(f"entry {index} of 7", index, 7) for index in range(7)),
        made("the last of 257, on the right edge", 256, 257),
        made("entry 200 of 300", 200, 300),
        shown("another entry", 5, 7, good, {"entry": {"hex": entries_of(7)[4].hex()}}),
        shown("another index", 4, 7, good),
        shown("an index beyond the tree", 7, 7, good),
        shown("another size", 5, 7, good, {"size": 6}),
        shown("another root", 5, 7, good, {"root": root(6).hex()}),
        shown("two hashes in each other's place", 5, 7, [good[1], good[0], *good[2:]]),
        shown("one hash less", 5, 7, good[:-1]),
        shown("one hash more", 5, 7, [*good, root(7)]),
        shown("no hash", 5, 7, []),
        shown(
            "a node of the tree as if it were an entry",
            0,
            4,
            log.path(0, list(leaves(4)))[1:],
            {"entry": {"hex": b"".join(leaves(4)[:2]).hex()}, "size": 2},
        ),
    ]


def consistencies() -> list[Json]:
    def made(reason: str, old: int, new: int) -> Json:
        proof = log.subproof(old, list(leaves(new)), whole=True) if 0 < old < new else []
        return shown(reason, old, new, proof, holds=True)

    def shown(
        reason: str, old: int, new: int, proof: list[bytes], *, holds: bool = False, **changed: Any
    ) -> Json:
        given = {
            "old": old,
            "old_root": root(old).hex(),
            "new": new,
            "new_root": root(new).hex(),
            "proof": hexes(proof),
        } | changed
        return case(reason, given, {"holds": holds})

    good = log.subproof(5, list(leaves(9)), whole=True)
    power = log.subproof(4, list(leaves(9)), whole=True)
    forked = log.tree([*leaves(4), log.leaf(b"another entry")])
    return [
        made("from nothing", 0, 9),
        made("to itself", 9, 9),
        made("from one entry", 1, 2),
        made("from 4, a whole subtree, to 9", 4, 9),
        made("from 5 to 9", 5, 9),
        made("from 256 to 300", 256, 300),
        made("from 257 to 300", 257, 300),
        shown("a fork: the old tree has another last entry", 5, 9, good, old_root=forked.hex()),
        shown(
            "a fork: the new tree is not of the same entries",
            5,
            9,
            good,
            new_root=log.tree([*leaves(8), log.leaf(b"another entry")]).hex(),
        ),
        shown("a shorter tree", 9, 5, []),
        shown("the same size with another root", 9, 9, [], new_root=root(8).hex()),
        shown("nothing, with the root of something", 0, 9, [], old_root=root(1).hex()),
        shown("one hash less", 5, 9, good[:-1]),
        shown("one hash more", 5, 9, [*good, root(5)]),
        shown("no hash", 5, 9, []),
        shown("two hashes in each other's place", 5, 9, [good[1], good[0], *good[2:]]),
        shown("a whole subtree with its own root in front, which is not sent", 4, 9, [root(4), *power]),
    ]


def proofs() -> list[Json]:
    def include(reason: str, index: int, size: int) -> Json:
        given = rule(size) | {"index": index}
        return case(reason, given, {"refusal": None, "proof": hexes(log.path(index, list(leaves(size))))})

    def lead(reason: str, old: int, size: int) -> Json:
        proof = log.subproof(old, list(leaves(size)), whole=True) if 0 < old < size else []
        return case(reason, rule(size) | {"old": old}, {"refusal": None, "proof": hexes(proof)})

    def refuse(reason: str, size: int, path: str, octets: bytes, **asked: int) -> Json:
        changed = [{"path": path, "octets": {"hex": octets.hex()}}]
        return case(reason, rule(size) | {"changed": changed} | asked, {"refusal": "malformed"}, SPLIT)

    tiles = log.tiles(entries_of(300))
    first, right = tiles["tile/0/000"], tiles["tile/0/001.p/44"]
    swapped = right[32:64] + right[:32] + right[64:]
    return [
        include("from one tile", 3, 7),
        include("from tiles of two levels", 3, 300),
        include("on the right edge", 299, 300),
        lead("within one tile", 3, 7),
        lead("across tiles", 100, 300),
        lead("from the end of a tile", 256, 300),
        refuse(
            "a tile of the right edge with one other bit",
            300,
            "tile/0/001.p/44",
            right[:-1] + bytes([right[-1] ^ 1]),
            index=299,
        ),
        refuse(
            "a full tile with one other bit: the tile above it disagrees",
            300,
            "tile/0/000",
            bytes([first[0] ^ 1]) + first[1:],
            index=3,
        ),
        refuse("two hashes of a tile in each other's place", 300, "tile/0/001.p/44", swapped, index=299),
        refuse("a tile that is cut off", 300, "tile/0/001.p/44", right[:-1], index=299),
        refuse("a tile that is too long", 300, "tile/0/001.p/44", right + right[:32], index=299),
        refuse("the tile above with one other bit", 300, "tile/1/000.p/1", bytes(32), old=100),
    ]


def bundles() -> list[Json]:
    def read(reason: str, size: int, start: int, end: int) -> Json:
        given = rule(size) | {"start": start, "end": end}
        return case(reason, given, {"refusal": None, "entries": hexes(entries_of(size)[start:end])})

    def refuse(reason: str, octets: bytes) -> Json:
        changed = [{"path": "tile/entries/000.p/7", "octets": {"hex": octets.hex()}}]
        given = rule(7) | {"changed": changed, "start": 0, "end": 7}
        return case(reason, given, {"refusal": "malformed"}, "an entry is taken for logged that is not")

    good = log.tiles(entries_of(7))["tile/entries/000.p/7"]
    return [
        read("a bundle that is not full", 7, 2, 5),
        read("a full bundle, and the one after it", 300, 256, 300),
        refuse("an entry with one other bit", good[:-1] + bytes([good[-1] ^ 1])),
        refuse("one entry less", good[:-12]),
        refuse("one entry more", good + good[:12]),
        refuse("a length that leads beyond the end", good[:-12] + b"\xff\xff" + good[-10:]),
        refuse("an octet at the end", good + b"\x00"),
    ]


# --- entries ---


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def entries() -> list[Json]:
    manifest = {"audience": "people", "edition": 7, "epoch": 2, "sha256": "ab" * 32, "type": "manifest"}
    first = {"sha256": "cd" * 32, "type": "root", "version": 1}

    def take(reason: str, value: Json) -> Json:
        return case(reason, {"entry": {"text": canonical(value).decode()}}, {"refusal": None, **value})

    def refuse(reason: str, octets: bytes) -> Json:
        given = {"entry": {"text": octets.decode("ascii")}}
        return case(reason, given, {"refusal": "malformed"}, LOOSE)

    return [
        take("an edition", manifest),
        take("a root", first),
        take("the largest numbers", manifest | {"edition": 2**53, "epoch": 2**53}),
        take("the other audience", manifest | {"audience": "business"}),
        refuse("an empty entry", b""),
        refuse("a space after a colon", canonical(manifest).replace(b":", b": ", 1)),
        refuse("members that are not sorted", b'{"version":1,"sha256":"' + b"cd" * 32 + b'","type":"root"}'),
        refuse("a member twice", canonical(first)[:-1] + b',"version":1}'),
        refuse("an unknown member", canonical(manifest | {"x": 1})),
        refuse("an unknown type", canonical(first | {"type": "key"})),
        refuse("an unknown audience", canonical(manifest | {"audience": "everybody"})),
        refuse("edition 0", canonical(manifest | {"edition": 0})),
        refuse("epoch true", canonical(manifest | {"epoch": True})),
        refuse("a version as text", canonical(first | {"version": "1"})),
        refuse("a hash in capitals", canonical(first | {"sha256": "CD" * 32})),
        refuse("a hash of 31 octets", canonical(first | {"sha256": "cd" * 31})),
        refuse("no hash", canonical({"type": "root", "version": 1})),
        refuse("a list", b"[]"),
        refuse("a line feed at the end", canonical(first) + b"\n"),
    ]
