"""What directory.json holds: directories that must be read, matched and refused."""

import hashlib
import struct
from typing import Any

import format_twin as twin
from vector_text import case, changed, document, group, packed

SOURCE = "contactsync, computed by tests/vectors/format_twin.py"
Json = dict[str, Any]
EXAMPLE = list(map(bytes.fromhex, ("00110223344556677889", "0011fffffffeedcba987", "fff00000000155aa55aa")))

UNSAFE = "reads or jumps outside the file, or loops, on octets that somebody else chose"
WRONG = "answers by what the octets happen to say: members are missed, or strangers taken for members"
FORKED = "different clients can be given different members under one manifest"


def token(label: str) -> bytes:
    return hashlib.sha512(label.encode()).digest()[:10]


def with_slot(slot: int, rest: bytes, slot_bits: int = 12) -> bytes:
    """A token in this slot, with these bits behind it."""
    below = int.from_bytes(rest, "big") >> slot_bits
    return (slot << (80 - slot_bits) | below).to_bytes(10, "big")


def several_hundred() -> list[bytes]:
    """600 tokens; some share slots, some lie at the edges of blocks of 256 slots and of words of 64 bits."""
    some = [token(f"member {i}") for i in range(480)]
    for slot in (0, 255, 256, 511, 2047, 2048, 3840, 4095):
        some += [with_slot(slot, token(f"edge {slot} {i}")) for i in range(3)]
    some += [with_slot(1000, token(f"crowd {i}")) for i in range(70)]  # more than a word of ones
    near = token("twins of 32 bits")
    return some + [with_slot(1500, near[:5] + bytes([8 * i]) * 5) for i in range(26)]


MEMBERS = several_hundred()
SHAPES = {
    "no tokens": ([], 12, 32),
    "three tokens": (EXAMPLE, 12, 40),
    "several hundred": (MEMBERS, 12, 32),
    "several hundred, 40 bits": (MEMBERS, 12, 40),
    "four buckets": (MEMBERS, 14, 32),
    "two pages": (MEMBERS[:300], 21, 40),
}
VALUES = {name: (twin.values_of(tokens, q, r), q, r) for name, (tokens, q, r) in SHAPES.items()}
FILES = {name: twin.directory(*of) for name, of in VALUES.items()}
ABOUT = (
    "Directories (docs/directory-format.md): what a builder writes, what a reader finds, who matches, and "
    "what must be refused. Refused files have right hashes wherever the reason does not say otherwise: their "
    "publisher signed them. `info` is what the manifest says."
)


def info(name: str) -> Json:
    return twin.directory_info(FILES[name])


def build(
    reason: str, tokens: list[bytes], r: int, *, octets: bool = False, rule: Json | None = None
) -> Json:
    q = twin.slot_bits_for(len({bytes(t) for t in tokens}))
    while (fewer := twin.slot_bits_for(len(twin.values_of(tokens, q, r)))) != q:
        q = fewer
    data = twin.directory(twin.values_of(tokens, q, r), q, r)
    expected = twin.directory_info(data) | ({"octets": data.hex()} if octets else {})
    return case(reason, {"tokens": rule or [t.hex() for t in tokens], "remainder_bits": r}, expected)


def builds() -> list[Json]:
    twins = [bytes.fromhex("123456789abcd0000000"), bytes.fromhex("123456789abcdfffffff")]
    return [
        build("no token: one empty bucket", [], 32, octets=True),
        build("the example of the document", EXAMPLE, 40, octets=True),
        build("the same three in another order, one of them twice", [*EXAMPLE[::-1], EXAMPLE[1]], 40),
        build("two tokens that agree in the first 52 bits are one value", twins, 40, octets=True),
        build("several hundred", MEMBERS, 32),
        build("several hundred with 40 remainder bits", MEMBERS, 40),
        numbers("the most tokens of 12 slot bits: one bucket", 5792, 32),
        numbers("the fewest tokens of 13 slot bits: two buckets", 5793, 40),
    ]


def numbers(reason: str, count: int, r: int) -> Json:
    text = "token "
    return build(reason, twin.numbered(text, count), r, rule={"sha512": text, "count": count, "octets": 10})


def reads() -> list[Json]:
    reasons = {
        "no tokens": "no value",
        "three tokens": "the example of the document",
        "several hundred": "one bucket; slots of 0, 1, 3 and 70 values",
        "several hundred, 40 bits": "40 remainder bits: 26 values differ in the last 8 of them only",
        "four buckets": "other slot bits than a builder takes: four buckets, one page",
        "two pages": "512 buckets, two pages, most buckets empty",
    }
    return [
        case(
            reason,
            {"file": {"of": name}, "info": info(name)},
            {"refusal": None, "values": twin.texts(*VALUES[name])},
        )
        for name, reason in reasons.items()
    ]


def flipped(of: bytes, bit: int) -> bytes:
    """The token with one bit, counted from the first, the other way round."""
    return (int.from_bytes(of, "big") ^ 1 << (79 - bit)).to_bytes(10, "big")


def match(reason: str, name: str, tokens: list[bytes]) -> Json:
    values, q, r = VALUES[name]
    held = set(values)
    asked = [int.from_bytes(t, "big") >> (80 - q - r) for t in tokens]
    return case(
        reason,
        {"file": {"of": name}, "info": info(name), "tokens": [t.hex() for t in tokens]},
        {"refusal": None, "buckets": [v >> (r + 12) for v in asked], "found": [v in held for v in asked]},
    )


def matches() -> list[Json]:
    strangers = [token(f"stranger {i}") for i in range(30)]
    cases = []
    for name, (tokens, q, r) in SHAPES.items():
        some = (tokens[::20] if len(tokens) > 20 else tokens) or [bytes(10)]
        last = tokens[-26:] if tokens else []
        cases += [
            match(f"{name}: members", name, some),
            match(f"{name}: strangers, most in slots of nobody", name, strangers),
            match(
                f"{name}: strangers in a member's slot: the first bit of the remainder differs",
                name,
                [flipped(t, q) for t in some],
            ),
            match(
                f"{name}: strangers whose value differs in its last bit only",
                name,
                [flipped(t, q + r - 1) for t in [*some, *last]],
            ),
            match(
                f"{name}: tokens that differ behind their value, which no directory can tell apart",
                name,
                [flipped(t, q + r) for t in some],
            ),
            match(
                f"{name}: strangers in a member's bucket: the last bit of the slot differs",
                name,
                [flipped(t, q - 1) for t in some],
            ),
        ]
    edges = [with_slot(slot, token(f"edge {slot} 0")) for slot in (0, 255, 256, 511, 2047, 2048, 3840, 4095)]
    cases.append(match("first and last slots of blocks of 256", "several hundred", edges))
    near = [with_slot(slot, token(f"edge {slot} 0")) for slot in (1, 254, 257, 510, 512, 2046, 2049, 4094)]
    cases.append(match("the same remainders in the slots beside", "several hundred", near))
    return cases


def refuse(reason: str, refusal: str, effect: str, name: str, data: bytes, **told: Any) -> Json:
    """A file that must be refused; `told`: what the manifest says that the file does not."""
    base = twin.directory_info(data) if len(data) >= 64 else info(name)
    given = {"file": changed(name, FILES[name], data), "info": base | told}
    return case(reason, given, {"refusal": refusal}, effect)


def packed_into(name: str, at: int, form: str, *numbers: int) -> bytes:
    octets = bytearray(FILES[name])
    struct.pack_into(f"<{form}", octets, at, *numbers)
    return bytes(octets)


def rebuilt(name: str, *, change: Any, number: int = 0) -> bytes:
    """The file with one bucket changed, and all hashes made right."""
    octets = bytearray(FILES[name])
    _, _, index = struct.unpack_from("<3Q", octets, 24)
    start, end = struct.unpack_from("<2Q", octets, index + 8 * number)
    part = bytearray(octets[start:end])
    change(part)
    assert len(part) == end - start
    octets[start:end] = part
    return twin.resealed(bytes(octets))


def refusals() -> list[Json]:
    three, four, pages = FILES["three tokens"], FILES["four buckets"], FILES["two pages"]
    own = info("three tokens")
    three_bits = (
        32 + 8 * -(-(3 + 4096) // 64),
        0x98 + 32,
    )  # where remainders begin in the bucket; its bitmap
    n_first = struct.unpack_from("<H", four, 296)[0]
    index = 64 + 32 * 2  # of "two pages"

    def ranked(part: bytearray) -> None:
        part[2] += 1

    def lost(part: bytearray) -> None:  # the one of slot 4095
        part[32 + 512] = 0

    def behind(part: bytearray) -> None:
        part[32 + 519] = 0x80

    def ends_with_a_one(part: bytearray) -> None:
        part[32 + 512] = 0b100

    def swapped(part: bytearray) -> None:
        at = three_bits[0]
        part[at : at + 8] = part[at + 4 : at + 8] + part[at : at + 4]
        part[at + 12], part[at + 13] = part[at + 13], part[at + 12]

    def doubled(part: bytearray) -> None:
        at = three_bits[0]
        part[at + 4 : at + 8] = part[at : at + 4]
        part[at + 13] = part[at + 12]

    def more(part: bytearray) -> None:
        struct.pack_into("<H", part, 0, n_first + 64)

    def fewer(part: bytearray) -> None:
        struct.pack_into("<H", part, 0, 2)

    plain = "three tokens"
    over = packed_into(plain, 16, "Q", 8193)
    one_more = packed_into(plain, 16, "Q", 4)
    return [
        case("a good file: accepted", {"file": {"of": plain}, "info": own},
             {"refusal": None, "values": twin.texts(*VALUES[plain])}),
        refuse("an empty file", "wrong-length", UNSAFE, plain, b""),
        refuse("half a header", "wrong-length", UNSAFE, plain, three[:32]),
        refuse("the last 8 octets are missing", "wrong-length", UNSAFE, plain, three[:-8], **own),
        refuse("8 octets too many, which the manifest does not count", "wrong-length", FORKED, plain,
               three + bytes(8), **own),
        refuse("8 octets too many, which the manifest counts and the header does not", "wrong-length", FORKED,
               plain, three + bytes(8)),
        refuse("a delta's magic", "wrong-kind", WRONG, plain, b"CSDLT" + three[5:]),
        refuse("sent as text: the carriage return has become a line feed", "wrong-kind", WRONG, plain,
               three[:5] + b"\n" + three[6:]),
        refuse("version 3", "unknown-version", WRONG, plain, packed_into(plain, 8, "H", 3)),
        refuse("version 1, in which hashes of buckets have 16 octets", "unknown-version", FORKED, plain,
               packed_into(plain, 8, "H", 1)),
        refuse("version 0", "unknown-version", WRONG, plain, packed_into(plain, 8, "H", 0)),
        refuse("version 258: the version has two octets", "unknown-version", WRONG, plain,
               packed_into(plain, 8, "H", 258)),
        refuse("11 slot bits: less than one bucket", "out-of-range", UNSAFE, plain, packed_into(plain, 10,
               "B", 11)),
        refuse("33 slot bits", "out-of-range", UNSAFE, plain, packed_into(plain, 10, "B", 33)),
        refuse("33 remainder bits", "out-of-range", WRONG, plain, packed_into(plain, 11, "B", 33)),
        refuse("no remainder bits", "out-of-range", WRONG, plain, packed_into(plain, 11, "B", 0)),
        refuse("2^(q+1) + 1 values", "too-full",
               "a directory of all values matches everybody: every contact is "
               "shown as a member", plain, over),
        refuse("2048 slots a bucket", "malformed", WRONG, plain, packed_into(plain, 12, "I", 2048)),
        refuse("two buckets with 12 slot bits", "malformed", UNSAFE, plain, packed_into(plain, 24, "Q", 2)),
        refuse("two pages with 12 slot bits", "malformed", UNSAFE, plain, packed_into(plain, 32, "Q", 2)),
        refuse("an index that begins 8 octets later", "malformed", UNSAFE, plain, packed_into(plain, 40, "Q",
               0x68)),
        refuse("a length in the header that three values do not make", "out-of-range", UNSAFE, plain,
               packed_into(plain, 56, "Q", len(three) + 8)),
        refuse("a data section that begins 8 octets later", "malformed", UNSAFE, plain,
               packed_into(plain, 48, "Q", 0xA0)),
        refuse("a header that counts one value more than its length has room for", "out-of-range", WRONG,
               plain, one_more),
        refuse("a header that counts one value more than the buckets hold", "malformed", WRONG,
               "four buckets", packed_into("four buckets", 16, "Q", len(VALUES["four buckets"][0]) + 1)),
        refuse("another count than the manifest's", "not-as-described", FORKED, plain, three, count=4),
        refuse("other slot bits than the manifest's", "not-as-described", FORKED, "four buckets", four,
               slot_bits=13),
        refuse("other remainder bits than the manifest's", "not-as-described", FORKED, plain, three,
               remainder_bits=32),
        refuse("another top table than the manifest's", "bad-hash", FORKED, plain, three,
               top_sha256="00" * 32),
        refuse("another file than the manifest's", "bad-hash", FORKED, plain, three, sha256="00" * 32),
        refuse("one bit of a remainder differs from what the manifest names", "bad-hash", FORKED, plain,
               three[:0x2C0] + bytes([three[0x2C0] ^ 1]) + three[0x2C1:], **own),
        refuse("a page that is not the one in the top table", "bad-hash",
               "single buckets and the whole file can be made to differ", plain,
               packed_into(plain, 0x68, "Q", 0x2D8)),
        refuse("the first bucket begins before the data section", "malformed", UNSAFE, plain,
               twin.resealed(packed_into(plain, 0x60, "Q", 0x90), buckets=False)),
        refuse("the last bucket ends behind the file", "malformed", UNSAFE, plain,
               twin.resealed(packed_into(plain, 0x68, "Q", 0x2D8), buckets=False)),
        refuse("offsets that fall", "malformed", UNSAFE, "four buckets",
               twin.resealed(packed_into("four buckets", 104, "Q", 296), buckets=False)),
        refuse("an offset that is no multiple of 8", "malformed", UNSAFE, "four buckets",
               twin.resealed(packed_into("four buckets", 104, "Q", struct.unpack_from("<Q", four,
               104)[0] + 4),
                             buckets=False)),
        refuse("the second page does not begin where the first one ended", "malformed", UNSAFE, "two pages",
               twin.resealed(packed_into("two pages", index + 8 * 256,
                                         "Q", struct.unpack_from("<Q", pages, index + 8 * 256)[0] + 8),
                             buckets=False)),
        refuse("a bucket that counts 64 values more than fit into it", "malformed", UNSAFE, "four buckets",
               rebuilt("four buckets", change=more)),
        refuse("a bucket that counts one value less than its bitmap has ones", "malformed", WRONG, plain,
               rebuilt(plain, change=fewer)),
        refuse("a rank of one too many", "malformed", WRONG, plain, rebuilt(plain, change=ranked)),
        refuse("a bitmap with a one less", "malformed", UNSAFE, plain, rebuilt(plain, change=lost)),
        refuse("a bitmap that ends with a one", "malformed", UNSAFE, plain, rebuilt(plain,
               change=ends_with_a_one)),
        refuse("a one behind the bitmap", "malformed", UNSAFE, plain, rebuilt(plain, change=behind)),
        refuse("two remainders of a slot swapped", "not-ascending",
               "a reader that searches misses members, and one "
               "set has two spellings", plain, rebuilt(plain, change=swapped)),
        refuse("a value twice", "not-ascending",
               "the count, and with it the stated rate of false positives, is a "
               "lie", plain, rebuilt(plain, change=doubled)),
    ]  # fmt: skip


def ranges() -> list[Json]:
    """Single buckets, verified from `top_sha256` downwards; nothing else of the file is read."""
    name = "four buckets"
    four, own = FILES[name], info(name)
    asked = [MEMBERS[0], token("stranger 0")]
    _, _, index = struct.unpack_from("<3Q", four, 24)
    places = struct.unpack_from("<5Q", four, index)
    wanted = (int.from_bytes(asked[0], "big") >> 66) // 4096
    other = next(b for b in range(4) if b not in {(int.from_bytes(t, "big") >> 66) // 4096 for t in asked})

    def attempt(reason: str, data: bytes, refusal: str | None, effect: str = "", **told: Any) -> Json:
        given = {"file": changed(name, four, data), "info": own | told, "tokens": [t.hex() for t in asked]}
        good = {"refusal": None, "found": [True, False]}
        return case(reason, given, good if refusal is None else {"refusal": refusal}, effect)

    def bit(at: int) -> bytes:
        return four[:at] + bytes([four[at] ^ 1]) + four[at + 1 :]

    return [
        attempt("a good file: accepted", four, None),
        attempt("a bucket that is not asked for is another: nothing of it is read", bit(places[other] + 40),
        None),
        attempt("a bucket that is asked for is another", bit(places[wanted] + 40), "bad-hash", FORKED),
        attempt("an index page is another", bit(index + 8), "bad-hash", UNSAFE),
        attempt("the top table is another", bit(70), "bad-hash", FORKED),
        attempt("the header counts other values than the manifest", bit(16), "not-as-described", FORKED),
        attempt(
            "a later version", packed_into(name, 8, "H", 3), "unknown-version", WRONG,
            **twin.directory_info(packed_into(name, 8, "H", 3)),
        ),
        attempt(
            "a signed bucket whose ranks are wrong", rebuilt(name, change=_rank_15, number=wanted),
            "malformed",
            WRONG, **twin.directory_info(rebuilt(name, change=_rank_15, number=wanted)),
        ),
    ]  # fmt: skip


def _rank_15(part: bytearray) -> None:
    part[30] ^= 1


def directories() -> Json:
    return document(
        ABOUT,
        [
            group("what a builder writes", "directory.build", "build_directory", builds(), SOURCE),
            group("what a reader finds", "directory.reader", "read_directory", reads(), SOURCE),
            group("who matches", "directory.match", "match_directory", matches(), SOURCE),
            group(
                "directories that must be refused", "directory.reader", "read_directory", refusals(), SOURCE
            ),
            group("single buckets", "directory.ranges", "match_buckets", ranges(), SOURCE),
        ],
        {name: packed(data) for name, data in FILES.items()},
    )
