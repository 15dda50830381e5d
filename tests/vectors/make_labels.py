"""What labels.json holds: texts, entries, sidecars and their deltas, and whose label is found where."""

import hashlib
import struct
from typing import Any

import format_twin
import labels_twin as twin
from make_directories import FORKED, UNSAFE
from siv_twin import openssl, seal_by
from vector_text import case, changed, document, group, packed

Json = dict[str, Any]
SOURCE = "contactsync, computed by tests/vectors/labels_twin.py"
ABOUT = (
    "Labels (docs/protocol.md, docs/directory-format.md): which texts are one, how they are sealed, what an "
    "entry says to whom, and the files that hold entries. Refused files have the right hashes wherever the "
    "reason does not say otherwise."
)
HERE = ("people", 3)
SHOWN = "whatever a publisher seals reaches the reader's terminal"
MISTAKEN = "a member is shown with the label of another one"


def output(label: str) -> bytes:
    return hashlib.sha512(label.encode()).digest()


class Edition:
    """Members with their labels, the directory of their tokens and its sidecar."""

    def __init__(self, members: dict[str, str], size: int, q: int = 12, r: int = 32) -> None:
        self.members, self.size = members, size
        data = twin.context(*HERE)
        sealed = {
            output(who): twin.seal(output(who), text.encode(), size, data) for who, text in members.items()
        }
        self.values, self.entries = twin.ordered(sealed, q, r)
        self.base = format_twin.directory(self.values, q, r)
        self.sidecar = twin.sidecar(self.values, self.entries, size, q, r)


def some(*skipped: int, **changes: str) -> dict[str, str]:
    members = {f"member {i}": f"@{i}:example.org" if i % 3 else "" for i in range(120) if i not in skipped}
    return members | changes


ONE = some()
TWO = some(3, 4, 5, **{"new 1": "@new:example.org", "new 2": "", "member 7": "@seven:example.org"})
THREE = some(4, 5, 6, **{"new 2": "xmpp:new@example.org", "member 7": "@7:example.org", "member 8": ""})
EDITIONS = {
    "first": Edition(ONE, 32),
    "second": Edition(TWO, 32),
    "third": Edition(THREE, 32),
    "one member": Edition({"member 1": "@1:example.org"}, 16),
    "four buckets": Edition(ONE, 48, 14, 40),
    "two pages": Edition({f"member {i}": f"@{i}" for i in range(40)}, 64, 21),
}


def _delta(a: str, b: str, editions: tuple[int, int]) -> bytes:
    old, new = EDITIONS[a], EDITIONS[b]
    dropped, placed = twin.changes(old.entries, new.entries)
    return twin.delta(
        old.sidecar,
        new.sidecar,
        editions,
        dropped=dropped,
        placed=placed,
        entries=[new.entries[i] for i in placed],
    )


def _base_delta(a: str, b: str, editions: tuple[int, int]) -> bytes:
    old, new = EDITIONS[a], EDITIONS[b]
    left, joined = set(old.values) - set(new.values), set(new.values) - set(old.values)
    return format_twin.delta(old.base, new.base, editions, sorted(left), sorted(joined))


PAIRS = {"first to second": ("first", "second", (1, 2)), "second to third": ("second", "third", (2, 5))}
DELTAS = {name: _delta(*pair) for name, pair in PAIRS.items()}
BASE_DELTAS = {name: _base_delta(*pair) for name, pair in PAIRS.items()}
FILES = {
    **{f"base: {name}": edition.base for name, edition in EDITIONS.items()},
    **{f"sidecar: {name}": edition.sidecar for name, edition in EDITIONS.items()},
    **{f"delta: {name}": data for name, data in BASE_DELTAS.items()},
    **{f"delta of labels: {name}": data for name, data in DELTAS.items()},
}


def texts() -> list[Json]:
    def good(reason: str, text: str) -> Json:
        return case(reason, {"text": text}, {"refusal": None, "octets": text.encode().hex()})

    def bad(reason: str, text: str, effect: str = SHOWN) -> Json:
        return case(reason, {"text": text}, {"refusal": "bad-value"}, effect)

    return [
        good("an address of Matrix", "@ada:example.org"),
        good("one letter", "a"),
        good("64 octets", "x" * 64),
        good("64 octets in 32 characters", "ä" * 32),
        good("a space within", "Ada L"),
        good("another script", "愛"),
        good("what no version of Unicode has assigned: it passes, so that all versions agree", "a\U000e1000"),
        bad("empty", "", "it is taken for a member without label"),
        bad("65 octets", "x" * 65, "it does not fit"),
        bad("33 characters in 66 octets", "ä" * 33, "it does not fit"),
        bad("a space before", " ada"),
        bad("a space after", "ada "),
        bad("a line feed", "ada\n"),
        bad("an escape", "\x1b[2J"),
        bad("a zero, which is padding", "ada\0"),
        bad("text that runs the other way", "ada\u202e"),
        bad("a joiner that is not seen", "a\u200db"),
        bad("a line separator", "a\u2028b"),
        bad("a space that does not break", "a\u00a0b"),
        bad("for private use", "a\ue000b"),
    ]


def seals() -> list[Json]:
    def one(reason: str, who: str, text: str, size: int, of: tuple[str, int] = HERE) -> Json:
        data = twin.context(*of)
        given = {"output": output(who).hex(), "label": text, "size": size, "audience": of[0], "epoch": of[1]}
        entry = twin.seal(output(who), text.encode(), size, data)
        return case(reason, given, {"context": data.hex(), "entry": entry.hex()})

    return [
        one("32 octets", "member 1", "@ada:example.org", 32),
        one(
            "the same label in another epoch has nothing in common",
            "member 1",
            "@ada:example.org",
            32,
            ("people", 4),
        ),
        one("nor for the other audience", "member 1", "@ada:example.org", 32, ("business", 3)),
        one("who has no label has an entry too", "member 1", "", 32),
        one("one block", "member 2", "a", 16),
        one("a label that fills it", "member 2", "x" * 48, 48),
        one("the longest", "member 3", "ä" * 32, 64),
        one("the largest epoch", "member 3", "@ada:example.org", 64, ("people", 2**32 - 1)),
    ]


def opens() -> list[Json]:
    data = twin.context(*HERE)
    good = twin.seal(output("member 1"), b"@ada:example.org", 32, data)

    def one(
        reason: str, entry: bytes, label: str | None, who: str = "member 1", of: tuple[str, int] = HERE
    ) -> Json:
        given = {"output": output(who).hex(), "entry": entry.hex(), "audience": of[0], "epoch": of[1]}
        return case(reason, given, {"label": label})

    def sealed(text: bytes) -> bytes:
        return seal_by(openssl, output("member 1")[10:42], [data], text.ljust(32, b"\0"))

    def flipped(at: int) -> bytes:
        return good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]

    return [
        one("the label", good, "@ada:example.org"),
        one("no label", twin.seal(output("member 1"), b"", 32, data), ""),
        one("an octet of the tag is another", flipped(0), None),
        one("an octet of the text is another", flipped(20), None),
        one("the last octet is another", flipped(47), None),
        one("of another number", good, None, "member 2"),
        one("of another epoch", good, None, of=("people", 4)),
        one("of the other audience", good, None, of=("business", 3)),
        one("cut to another size", good[:32], None),
        one("it opens, and is no UTF-8", sealed(b"\xff"), None),
        one("it opens, and is no label: an escape", sealed(b"\x1b[2J"), None),
        one("it opens, and is no label: a zero within", sealed(b"a\0b"), None),
        one("it opens, and is no label: a space after", sealed(b"ada "), None),
    ]


def reads() -> list[Json]:
    def one(reason: str, name: str) -> Json:
        edition, data = EDITIONS[name], EDITIONS[name].sidecar
        first = [
            sum(v >> (r_of(edition) + 12) < b for v in edition.values)
            for b in range((1 << (data[10] - 12)) + 1)
        ]
        expected = {
            "refusal": None,
            "first": first,
            "entries_sha256": format_twin.sha256(b"".join(edition.entries)),
        }
        return case(reason, {"file": {"of": f"sidecar: {name}"}, "info": twin.info(data)}, expected)

    return [
        one("one bucket", "first"),
        one("one member", "one member"),
        one("four buckets, 40 remainder bits, 48 octets", "four buckets"),
    ]


def r_of(edition: Edition) -> int:
    return edition.base[11]


def refusals() -> list[Json]:
    name = "four buckets"
    good = EDITIONS[name].sidecar
    own, start = twin.info(good), int.from_bytes(good[48:56], "little")

    def refuse(reason: str, refusal: str, effect: str, data: bytes, **told: Any) -> Json:
        stated = own | format_twin.file_info(data) | told
        return case(
            reason,
            {"file": changed(f"sidecar: {name}", good, data), "info": stated},
            {"refusal": refusal},
            effect,
        )

    def put(at: int, form: str, *numbers: int) -> bytes:
        octets = bytearray(good)
        struct.pack_into(f"<{form}", octets, at, *numbers)
        return bytes(octets)

    def indexed(at: int, number: int) -> tuple[bytes, dict[str, str]]:
        """Another number in the index, with the right hashes above it."""
        octets = bytearray(good)
        struct.pack_into("<I", octets, 96 + at, number)
        octets[64:96] = hashlib.sha256(octets[96:start]).digest()
        return bytes(octets), {"top_sha256": format_twin.sha256(bytes(octets[:96]))}

    swapped = good[:start] + good[start + 64 : start + 128] + good[start : start + 64] + good[start + 128 :]
    falls, top_of_falls = indexed(4, 121)
    late, top_of_late = indexed(0, 1)
    short, top_of_short = indexed(16, 119)
    return [
        case(
            "a good sidecar: accepted", {"file": {"of": f"sidecar: {name}"}, "info": own}, {"refusal": None}
        ),
        refuse("an empty file", "wrong-length", UNSAFE, b""),
        refuse("the last octet is missing", "wrong-length", UNSAFE, good[:-1], **own),
        refuse("an entry is missing", "wrong-length", UNSAFE, good[:-64], **own),
        refuse("a directory's magic", "wrong-kind", MISTAKEN, b"CSDIR" + good[5:]),
        refuse("version 2", "unknown-version", MISTAKEN, put(8, "H", 2)),
        refuse("33 slot bits", "out-of-range", UNSAFE, put(10, "B", 33)),
        refuse("labels of 40 octets", "out-of-range", UNSAFE, put(11, "B", 40)),
        refuse("2^(q+1) + 1 entries", "too-full", UNSAFE, put(16, "Q", 32_769)),
        refuse("one entry more than there are octets", "malformed", UNSAFE, put(16, "Q", 121)),
        refuse("entries that begin elsewhere", "malformed", UNSAFE, put(48, "Q", start + 64)),
        refuse(
            "the four octets that are zero are not",
            "malformed",
            "a meaning that a later version gives them is overlooked",
            put(12, "I", 1),
        ),
        refuse("a size that the manifest does not state", "not-as-described", FORKED, good, size=32),
        refuse("a count that the manifest does not state", "not-as-described", FORKED, good, count=119),
        refuse("another top table", "bad-hash", FORKED, put(64, "B", good[64] ^ 1)),
        refuse(
            "two entries changed places, and the manifest names another file",
            "bad-hash",
            MISTAKEN,
            swapped,
            sha256=own["sha256"],
        ),
        refuse("a bucket that ends before it begins", "malformed", UNSAFE, falls, **top_of_falls),
        refuse(
            "the first bucket does not begin with the first entry", "malformed", MISTAKEN, late, **top_of_late
        ),
        refuse(
            "the last bucket does not end with the last entry", "malformed", MISTAKEN, short, **top_of_short
        ),
    ]


def delta_reads() -> list[Json]:
    def one(reason: str, name: str) -> Json:
        a, b, editions = PAIRS[name]
        old, new, data = EDITIONS[a], EDITIONS[b], DELTAS[name]
        dropped, placed = twin.changes(old.entries, new.entries)
        expected = {
            "refusal": None,
            "from_edition": editions[0],
            "to_edition": editions[1],
            "size": new.size,
            "slot_bits": data[10],
            "old_count": len(old.entries),
            "new_count": len(new.entries),
            "old_sha256": format_twin.sha256(old.sidecar),
            "new_sha256": format_twin.sha256(new.sidecar),
            "dropped": dropped,
            "placed": placed,
            "entries": [new.entries[i].hex() for i in placed],
        }
        given = {"file": {"of": f"delta of labels: {name}"}, "info": format_twin.file_info(data)}
        return case(reason, given, expected)

    return [
        one("three leave, two come, one is renamed", "first to second"),
        one("one comes back, some are renamed", "second to third"),
    ]


def delta_refusals() -> list[Json]:
    name = "first to second"
    good, old, new = DELTAS[name], EDITIONS["first"], EDITIONS["second"]
    own = format_twin.file_info(good)
    dropped, placed = twin.changes(old.entries, new.entries)

    def refuse(reason: str, refusal: str, effect: str, data: bytes, **told: Any) -> Json:
        given = {"file": changed(f"delta of labels: {name}", good, data)}
        return case(
            reason, given | {"info": format_twin.file_info(data) | told}, {"refusal": refusal}, effect
        )

    def put(at: int, form: str, *numbers: int) -> bytes:
        octets = bytearray(good[:-32])
        struct.pack_into(f"<{form}", octets, at, *numbers)
        return twin.signed(bytes(octets))

    first_placed = 136 + 4 * len(dropped)
    return [
        case(
            "a good delta: accepted",
            {"file": {"of": f"delta of labels: {name}"}, "info": own},
            {"refusal": None},
        ),
        refuse("an empty file", "wrong-length", UNSAFE, b""),
        refuse("the last octet is missing", "wrong-length", UNSAFE, good[:-1], **own),
        refuse(
            "not the file that the manifest names", "bad-hash", FORKED, put(-40, "B", 0), sha256=own["sha256"]
        ),
        refuse(
            "its last 32 octets are another SHA-256", "bad-hash", MISTAKEN, good[:-1] + bytes([good[-1] ^ 1])
        ),
        refuse("the magic of a delta of tokens", "wrong-kind", MISTAKEN, twin.signed(b"CSDLT" + good[5:-32])),
        refuse("version 2", "unknown-version", MISTAKEN, put(8, "H", 2)),
        refuse("labels of 20 octets", "out-of-range", UNSAFE, put(11, "B", 20)),
        refuse(
            "the four octets that are zero are not",
            "out-of-range",
            "a meaning that a later version gives them is overlooked",
            put(12, "I", 1),
        ),
        refuse(
            "from an edition to itself", "out-of-range", "a chain of deltas never ends", put(16, "2Q", 2, 2)
        ),
        refuse("2^(q+1) + 1 new entries", "too-full", UNSAFE, put(40, "Q", 8193)),
        refuse("more are dropped than there were", "malformed", UNSAFE, put(48, "Q", 121)),
        refuse(
            "old, dropped and placed are not new", "malformed", UNSAFE, put(40, "Q", len(new.entries) + 1)
        ),
        refuse("another size, with other lengths", "malformed", UNSAFE, put(11, "B", 48)),
        refuse("a place is dropped twice", "not-ascending", MISTAKEN, put(140, "I", dropped[0])),
        refuse(
            "a place is dropped that there was not",
            "not-ascending",
            UNSAFE,
            put(first_placed - 4, "I", len(old.entries)),
        ),
        refuse(
            "a place that there is not",
            "not-ascending",
            UNSAFE,
            put(first_placed + 4 * len(placed) - 4, "I", len(new.entries)),
        ),
        refuse(
            "two places changed places",
            "not-ascending",
            MISTAKEN,
            put(first_placed, "2I", placed[1], placed[0]),
        ),
    ]


def _found(of: str, chain: list[str], who: list[str]) -> Json:
    reached = EDITIONS[PAIRS[chain[-1]][1] if chain else of]
    return {
        "base": {"of": f"base: {of}"},
        "deltas": [{"of": f"delta: {name}"} for name in chain],
        "sidecar": {"of": f"sidecar: {of}"},
        "label_deltas": [{"of": f"delta of labels: {name}"} for name in chain],
        "info": twin.info(reached.sidecar),
        "outputs": [output(one)[:42].hex() for one in who],
        "audience": HERE[0],
        "epoch": HERE[1],
    }


def finds() -> list[Json]:
    def one(reason: str, of: str, chain: list[str], who: list[str]) -> Json:
        reached = EDITIONS[PAIRS[chain[-1]][1] if chain else of]
        q, r = reached.base[10:12]
        values = [format_twin.values_of([output(name)[:10]], q, r)[0] for name in who]
        place = [reached.values.index(v) if v in reached.values else -1 for v in values]
        labels = [reached.members.get(name) for name in who]
        return case(reason, _found(of, chain, who), {"refusal": None, "places": place, "labels": labels})

    who = [f"member {i}" for i in range(12)] + ["new 1", "new 2", "stranger"]
    return [
        one("in the sidecar of the edition that is held", "first", [], who),
        one("through a delta: who left, who came, who was renamed", "first", ["first to second"], who),
        one("through two deltas", "first", ["first to second", "second to third"], who),
        one("in one of four buckets", "four buckets", [], who),
        one("in one of 512 buckets", "two pages", [], who),
    ]


def find_refusals() -> list[Json]:
    who, effect = ["member 1"], MISTAKEN

    def refuse(reason: str, of: str, chain: list[str], **other: Any) -> Json:
        return case(reason, _found(of, chain, who) | other, {"refusal": "not-following"}, effect)

    both = ["first to second", "second to third"]
    given = _found("first", both, who)
    return [
        case("a good chain: accepted", given, {"refusal": None}),
        refuse("it begins with another edition", "first", both, label_deltas=given["label_deltas"][1:]),
        refuse(
            "it ends before the edition of the manifest",
            "first",
            both,
            label_deltas=given["label_deltas"][:1],
        ),
        refuse("in another order", "first", both, label_deltas=given["label_deltas"][::-1]),
        refuse("none, where one is needed", "first", both, label_deltas=[]),
        refuse(
            "the manifest names another sidecar",
            "first",
            both,
            info=given["info"] | {"sha256": twin.info(EDITIONS["second"].sidecar)["sha256"]},
        ),
    ]


def labels() -> Json:
    return document(
        ABOUT,
        [
            group("which texts are a label", "labels", "check_label", texts(), SOURCE),
            group("how labels are sealed", "labels", "seal_label", seals(), SOURCE),
            group("what an entry says to whom", "labels", "open_label", opens(), SOURCE),
            group("what a sidecar holds", "directory.sidecar", "read_sidecar", reads(), SOURCE),
            group("sidecars that must be refused", "directory.sidecar", "read_sidecar", refusals(), SOURCE),
            group(
                "what a delta of labels says", "directory.sidecar", "read_label_delta", delta_reads(), SOURCE
            ),
            group(
                "deltas of labels that must be refused",
                "directory.sidecar",
                "read_label_delta",
                delta_refusals(),
                SOURCE,
            ),
            group("whose label is where", "directory.sidecar", "find_labels", finds(), SOURCE),
            group(
                "chains that must not be followed",
                "directory.sidecar",
                "find_labels",
                find_refusals(),
                SOURCE,
            ),
        ],
        {name: packed(data) for name, data in FILES.items()},
    )
