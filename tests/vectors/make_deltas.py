"""What delta.json holds: deltas that must be written, read, followed and refused."""

import struct
from collections.abc import Sequence
from typing import Any

import format_twin as twin
from make_directories import EXAMPLE, FORKED, MEMBERS, SOURCE, UNSAFE, WRONG, token
from vector_text import case, changed, document, group, packed

Json = dict[str, Any]
ABOUT = (
    "Deltas (docs/directory-format.md): what a publisher writes, what a reader finds, where a chain of them "
    "leads, and what must be refused. Refused deltas end with the right SHA-256 wherever the reason does not "
    "say otherwise."
)
NEW = [token(f"new member {i}") for i in range(40)]


class Edition:
    """A directory at some width."""

    def __init__(self, tokens: Sequence[bytes], r: int, q: int = 12) -> None:
        self.values = twin.values_of(tokens, q, r)
        self.data = twin.directory(self.values, q, r)


def between(old: Edition, new: Edition, editions: tuple[int, int]) -> bytes:
    left, joined = set(old.values) - set(new.values), set(new.values) - set(old.values)
    return twin.delta(old.data, new.data, editions, sorted(left), sorted(joined))


EDITIONS = {
    "three tokens": Edition(EXAMPLE, 40),
    "two tokens": Edition(EXAMPLE[:2], 40),
    "first": Edition(MEMBERS, 32),
    "second": Edition(MEMBERS[30:] + NEW[:20], 32),
    "third": Edition(MEMBERS[20:] + NEW[5:], 32),  # ten come back, five of the new ones leave again
    "first, 40 bits": Edition(MEMBERS, 40),
    "second, 40 bits": Edition(MEMBERS[30:-20] + NEW[:20], 40),  # twins of 32 bits leave, others stay
    "first, four buckets": Edition(MEMBERS, 32, 14),
    "all new": Edition([token(f"other {i}") for i in range(600)], 32),
}
CHAINS = {
    "three to two": ("three tokens", "two tokens", (1, 2)),
    "two to three": ("two tokens", "three tokens", (2, 5)),
    "first to second": ("first", "second", (3, 4)),
    "second to third": ("second", "third", (4, 9)),
    "first to second, 40 bits": ("first, 40 bits", "second, 40 bits", (3, 4)),
}
DELTAS = {name: between(EDITIONS[a], EDITIONS[b], e) for name, (a, b, e) in CHAINS.items()}
FILES = {name: edition.data for name, edition in EDITIONS.items()} | DELTAS


def writes() -> list[Json]:
    def one(reason: str, old: str, new: str, editions: tuple[int, int], octets: bytes | None) -> Json:
        given = {
            "old": {"of": old},
            "new": {"of": new},
            "from_edition": editions[0],
            "to_edition": editions[1],
        }
        return case(reason, given, {"octets": None if octets is None else octets.hex()})

    reasons = {
        "three to two": "one value leaves, none joins: one set is empty",
        "two to three": "one value joins, none leaves; the editions between changed other partitions",
        "first to second": "30 leave and 20 join",
        "second to third": "some come back, some who had joined leave",
        "first to second, 40 bits": "40 remainder bits: some leave that differ from others in 8 bits only",
    }
    cases = [one(why, *CHAINS[name], DELTAS[name]) for name, why in reasons.items()]
    nobody = between(EDITIONS["first"], EDITIONS["first"], (1, 2))
    return [
        *cases,
        one("nobody leaves or joins: both sets are empty", "first", "first", (1, 2), nobody),
        one("none where it would be as large as the new directory", "first", "all new", (1, 2), None),
        one("none between other slot bits", "first", "first, four buckets", (1, 2), None),
        one("none between other remainder bits", "first", "first, 40 bits", (1, 2), None),
    ]


def read(reason: str, name: str) -> Json:
    data = DELTAS[name]
    a, b, editions = CHAINS[name]
    old, new = EDITIONS[a], EDITIONS[b]
    q, r = new.data[10:12]
    expected = {
        "refusal": None,
        "from_edition": editions[0],
        "to_edition": editions[1],
        "slot_bits": q,
        "remainder_bits": r,
        "old_count": len(old.values),
        "new_count": len(new.values),
        "old_sha256": twin.sha256(old.data),
        "new_sha256": twin.sha256(new.data),
        "left": twin.texts(sorted(set(old.values) - set(new.values)), q, r),
        "joined": twin.texts(sorted(set(new.values) - set(old.values)), q, r),
    }
    return case(reason, {"file": {"of": name}, "info": twin.file_info(data)}, expected)


def reads() -> list[Json]:
    return [
        read("the value fff00000000 15 of the document's example leaves", "three to two"),
        read("and joins again", "two to three"),
        read("sets of 30 and 20", "first to second"),
        read("the next edition of it", "second to third"),
        read("40 remainder bits", "first to second, 40 bits"),
    ]


def refusals() -> list[Json]:
    """Of one file, whatever is held."""
    name = "first to second"
    good = DELTAS[name]
    old, new = EDITIONS["first"], EDITIONS["second"]
    left, joined = sorted(set(old.values) - set(new.values)), sorted(set(new.values) - set(old.values))

    def refuse(reason: str, refusal: str, effect: str, data: bytes, **told: Any) -> Json:
        given = {"file": changed(name, good, data), "info": twin.file_info(data) | told}
        return case(reason, given, {"refusal": refusal}, effect)

    def figures(at: int, form: str, *numbers: int) -> bytes:
        octets = bytearray(good[:-32])
        struct.pack_into(f"<{form}", octets, at, *numbers)
        return twin.signed(bytes(octets))

    def sets(those: Sequence[int], others: Sequence[int]) -> bytes:
        return twin.delta(old.data, new.data, (3, 4), those, others)

    def set_bit(at: int, bit: int) -> bytes:
        octets = bytearray(good[:-32])
        octets[at] ^= 1 << bit
        return twin.signed(bytes(octets))

    # 30 values: h = 5, a bitmap of 62 bits in one word; the 39 low bits of each in 19 words, 46 bits more.
    low_end = 136 + 8 + 19 * 8
    own = twin.file_info(good)
    return [
        case("a good delta: accepted", {"file": {"of": name}, "info": own}, {"refusal": None,
             "from_edition": 3}),
        refuse("an empty file", "wrong-length", UNSAFE, b""),
        refuse("the last octet is missing", "wrong-length", UNSAFE, good[:-1], **own),
        refuse("one octet too many, which the manifest counts", "wrong-length", UNSAFE, good + b"\0"),
        refuse("not the file that the manifest names", "bad-hash", FORKED, set_bit(140, 0),
               sha256=own["sha256"]),
        refuse("its last 32 octets are another SHA-256", "bad-hash", WRONG,
               good[:-1] + bytes([good[-1] ^ 1])),
        refuse("a directory's magic", "wrong-kind", WRONG, twin.signed(b"CSDIR" + good[5:-32])),
        refuse("version 2", "unknown-version", WRONG, figures(8, "H", 2)),
        refuse("version 2 with a header that is shorter than that of version 1", "unknown-version", WRONG,
               twin.signed(figures(8, "H", 2)[:64])),
        refuse("33 slot bits", "out-of-range", UNSAFE, figures(10, "B", 33)),
        refuse("11 slot bits", "out-of-range", UNSAFE, figures(10, "B", 11)),
        refuse("24 remainder bits", "out-of-range", WRONG, figures(11, "B", 24)),
        refuse("the four octets that are zero are not", "out-of-range",
               "a meaning that a later version gives them is overlooked", figures(12, "I", 1)),
        refuse("from an edition to itself", "out-of-range", "a chain of deltas never ends", figures(16, "2Q",
               4, 4)),
        refuse("from an edition to an earlier one", "out-of-range", "an old state is taken for a new one",
               figures(16, "2Q", 4, 3)),
        refuse("2^(q+1) + 1 new values", "too-full", "a directory of all values matches everybody",
               figures(40, "Q", 8193)),
        refuse("more leave than there were", "malformed", UNSAFE, figures(32, "Q", 29)),
        refuse("old, left and joined are not new", "malformed", WRONG, figures(40, "Q", len(new.values) + 1)),
        refuse("a length that the sets do not have", "malformed", UNSAFE,
               twin.signed(figures(64, "Q", len(good) + 8)[:-32] + bytes(8))),
        refuse("a bitmap with a one too many", "malformed", UNSAFE, set_bit(136 + 7, 6)),
        refuse("a one in the padding of the low bits", "not-canonical",
               "one delta has many spellings, and octets "
               "for somebody else's use", set_bit(low_end - 1, 7)),
        refuse("two values of a set swapped", "not-ascending", "a reader that searches overlooks who left",
               sets(_swapped_low(left), joined)),
        refuse("a value twice", "not-ascending", "the count is a lie", sets([left[0], *left[:-1]], joined)),
        refuse("a value that leaves and joins", "contradicting",
               "whether it is a member depends on the reader's "
               "order", sets(left, sorted([left[0], *joined[1:]]))),
    ]  # fmt: skip


def _swapped_low(values: Sequence[int]) -> list[int]:
    """The values with the low bits of two that begin alike swapped, so that only the order is wrong."""
    width = 12 + 32 - len(values).bit_length()
    at = next(i for i in range(len(values) - 1) if values[i] >> width == values[i + 1] >> width)
    return [*values[:at], values[at + 1], values[at], *values[at + 2 :]]


def follow(reason: str, base: str, chain: list[str], tokens: list[bytes]) -> Json:
    old, new = EDITIONS[base], EDITIONS[CHAINS[chain[-1]][1]]
    q, r = new.data[10:12]
    values = [int.from_bytes(t, "big") >> (80 - q - r) for t in tokens]
    given = {
        "base": {"of": base},
        "deltas": [{"of": name} for name in chain],
        "tokens": [t.hex() for t in tokens],
    }
    expected = {
        "refusal": None,
        "before": [v in set(old.values) for v in values],
        "after": [v in set(new.values) for v in values],
        "values": twin.texts(new.values, q, r),
        "sha256": twin.sha256(new.data),
    }
    return case(reason, given, expected)


def follows() -> list[Json]:
    some = [*MEMBERS[:40:3], *MEMBERS[-26::3], *NEW[::4], token("stranger 0")]
    return [
        follow("one leaves", "three tokens", ["three to two"], EXAMPLE),
        follow("one leaves and comes back: the first directory again", "three tokens",
               ["three to two", "two to three"], EXAMPLE),
        follow("who was there, who left, who joined, who never was", "first", ["first to second"], some),
        follow("a chain of two: the same as one delta", "first", ["first to second", "second to third"],
               some),
        follow("40 remainder bits", "first, 40 bits", ["first to second, 40 bits"], some),
    ]  # fmt: skip


def follow_refusals() -> list[Json]:
    """Of deltas that are good for themselves."""
    name = "first to second"
    good = DELTAS[name]
    old, new = EDITIONS["first"], EDITIONS["second"]
    left, joined = sorted(set(old.values) - set(new.values)), sorted(set(new.values) - set(old.values))
    stays = next(v for v in old.values if v not in left)
    stranger = int.from_bytes(token("stranger 0"), "big") >> 36

    def refuse(reason: str, refusal: str, effect: str, base: str, *deltas: bytes | str) -> Json:
        chain = [{"of": d} if isinstance(d, str) else changed(name, good, d) for d in deltas]
        given = {"base": {"of": base}, "deltas": chain, "tokens": []}
        return case(reason, given, {"refusal": refusal}, effect)

    def figures(at: int, form: str, *numbers: Any) -> bytes:
        octets = bytearray(good[:-32])
        struct.pack_into(f"<{form}", octets, at, *numbers)
        return twin.signed(bytes(octets))

    adds = twin.delta(old.data, new.data, (3, 4), left, sorted([stays, *joined[1:]]))
    removes = twin.delta(old.data, new.data, (3, 4), sorted([stranger, *left[1:]]), joined)
    again = twin.delta(new.data, old.data, (4, 5), joined, left)
    other = twin.delta(old.data, new.data, (3, 4), left, sorted([stranger, *joined[1:]]))
    twice = twin.delta(new.data, old.data, (4, 5), joined, sorted([*left[1:], joined[0] ^ 1]))
    adds_twice = twin.delta(new.data, EDITIONS["third"].data, (4, 5), *_with_one_that_joined(new, joined))
    return [
        refuse("a delta for another directory", "not-following", WRONG, "second", name),
        refuse("the same count and widths, another SHA-256", "not-following", WRONG, "all new", name),
        refuse("a delta that is left out", "not-following", "who left with it stays a member", "first",
               "second to third"),
        refuse("a chain with a gap in its editions", "not-following", WRONG, "first", name,
               twin.delta(new.data, EDITIONS["third"].data, (5, 9), *_sets("second", "third"))),
        refuse("a chain in the wrong order", "not-following", WRONG, "first", "second to third", name),
        refuse("a delta twice", "not-following", WRONG, "first", name, name),
        refuse("a delta of 40 remainder bits for a directory of 32", "not-following", WRONG, "first",
               "first to second, 40 bits"),
        refuse("a value joins that is there", "contradicting",
               "it goes away with the first of two departures",
               "first", adds),
        refuse("a value leaves that is not there", "contradicting",
               "the publisher's members are not those of the "
               "client", "first", removes),
        refuse("a value joins that joined in the delta before", "contradicting", WRONG, "first", name,
               adds_twice),
        refuse("it leads to another directory than it names", "bad-hash",
               "clients that follow deltas and clients that fetch the whole see different members", "first",
               other),
        refuse("the second one of a chain leads elsewhere", "bad-hash", FORKED, "first", name, twice),
        case("there and back: accepted", {"base": {"of": "first"}, "deltas": [{"of": name},
             changed(name, good, again)], "tokens": []}, {"refusal": None, "sha256": twin.sha256(old.data)}),
    ]  # fmt: skip


def _sets(old: str, new: str) -> tuple[list[int], list[int]]:
    a, b = set(EDITIONS[old].values), set(EDITIONS[new].values)
    return sorted(a - b), sorted(b - a)


def _with_one_that_joined(new: Edition, joined: list[int]) -> tuple[list[int], list[int]]:
    """What leads from `new` on to the third edition, with one that is there already among those who join."""
    left, more = _sets("second", "third")
    there = next(v for v in joined if v not in left)
    assert there in new.values
    return left, sorted([there, *more[1:]])


def deltas() -> Json:
    return document(
        ABOUT,
        [
            group("what a publisher writes", "directory.delta", "write_delta", writes(), SOURCE),
            group("what a delta says", "directory.delta", "read_delta", reads(), SOURCE),
            group("deltas that must be refused", "directory.delta", "read_delta", refusals(), SOURCE),
            group("where deltas lead", "directory.delta", "follow_deltas", follows(), SOURCE),
            group(
                "deltas that must not be followed",
                "directory.delta",
                "follow_deltas",
                follow_refusals(),
                SOURCE,
            ),
        ],
        {name: packed(data) for name, data in FILES.items()},
    )
