"""What screen.json holds: screens that must be built, asked and refused."""

import math
import struct
from typing import Any

import format_twin as twin
from make_directories import FORKED, SOURCE, UNSAFE, WRONG, token
from vector_text import case, changed, document, group, packed

Json = dict[str, Any]
PRIVACY = "more contacts pass than need to, and the server sees the buckets of all of them"
MISSED = "members do not pass, and are never looked up"
ABOUT = (
    "Screens (docs/directory-format.md): what a publisher builds, who passes, and what must be refused. `of` "
    "is what the manifest says of the directory beside it, `info` what it says of the screen."
)
NAME = "a crowd"
RULE = {"sha512": "crowd ", "count": 1 << 17, "octets": 10}
CROWD = twin.numbered("crowd ", 1 << 17)


def of(count: int, q: int, r: int) -> Json:
    return {"count": count, "slot_bits": q, "remainder_bits": r}


SCREENS = {NAME: twin.screen(twin.values_of(CROWD, 17, 32), 17, 32)}
OF = {NAME: of(1 << 17, 17, 32)}


def builds() -> list[Json]:
    wide = twin.screen(twin.values_of(CROWD, 17, 40), 17, 40)
    return [
        case(why, {"tokens": RULE, "remainder_bits": r}, twin.file_info(octets))
        for why, r, octets in (
            ("the fewest tokens that have a screen; keys of 13 digits", 32, SCREENS[NAME]),
            ("40 remainder bits: keys of 15 digits", 40, wide),
        )
    ]


def ask(reason: str, name: str, tokens: list[bytes]) -> Json:
    figures = OF[name]
    q, r = figures["slot_bits"], figures["remainder_bits"]
    keys = twin.texts([int.from_bytes(t, "big") >> (80 - q - r) for t in tokens], q, r)
    passes = [twin.passes(SCREENS[name], key) for key in keys]
    info = twin.file_info(SCREENS[name])
    given = {"file": {"of": name}, "info": info, "of": figures, "tokens": [t.hex() for t in tokens]}
    return case(reason, given, {"refusal": None, "passes": passes})


def asks() -> list[Json]:
    strangers = [token(f"stranger {i}") for i in range(600)]

    def passing(name: str) -> list[bytes]:
        """Strangers of whom one in some passes: those, and as many who do not."""
        figures = OF[name]
        q, r = figures["slot_bits"], figures["remainder_bits"]
        keys = twin.texts([int.from_bytes(t, "big") >> (80 - q - r) for t in strangers], q, r)
        which = [twin.passes(SCREENS[name], key) for key in keys]
        yes = [t for t, ok in zip(strangers, which, strict=True) if ok]
        assert yes, name
        return yes + [t for t, ok in zip(strangers, which, strict=True) if not ok][:20]

    return [
        ask("members", NAME, CROWD[::500]),
        ask("strangers who pass, and others", NAME, passing(NAME)),
    ]


FEW = struct.pack("<dQQQQ", 0.01, 7, 36, 26, 26) + b"\xff" * 31 + b"\x0f"


def refusals() -> list[Json]:
    name = NAME
    good, figures = SCREENS[name], OF[name]
    (m,) = struct.unpack_from("<Q", good, 16)
    n = figures["count"]
    least, most = twin.slice_ones(n)

    def with_ones(wanted: int, number: int = 3) -> bytes:
        """The screen with so many ones in one slice, by bits beside each other."""
        octets, first = bytearray(good), number * m
        ones = sum(octets[40 + i // 8] >> i % 8 & 1 for i in range(first, first + m))
        step = 1 if wanted > ones else -1
        for i in range(first, first + m):
            place, bit = 40 + i // 8, 1 << i % 8
            if ones != wanted and bool(octets[place] & bit) is (step < 0):
                octets[place] ^= bit
                ones += step
        return bytes(octets)

    def filled(octet: int) -> Json:
        """The screen with this octet in place of all but the last one of the bitmap."""
        splice = {"at": 40, "remove": len(good) - 41}
        many = {"hex": f"{octet:02x}", "times": len(good) - 41}
        return {"of": name, "splice": [splice | many]}

    def refuse(
        reason: str, refusal: str, effect: str, data: bytes, *, file: Json | None = None, **told: Any
    ) -> Json:
        given = {"file": file or changed(name, good, data), "of": figures | told.pop("of", {}), "tokens": []}
        return case(reason, given | {"info": twin.file_info(data) | told}, {"refusal": refusal}, effect)

    def accept(reason: str, data: bytes) -> Json:
        given = {"file": changed(name, good, data), "info": twin.file_info(data), "of": figures, "tokens": []}
        return case(reason, given, {"refusal": None, "passes": []})

    def all_of(octet: int) -> bytes:
        return good[:40] + bytes([octet]) * (len(good) - 41) + good[-1:]

    def head(at: int, form: str, number: float) -> bytes:
        octets = bytearray(good)
        struct.pack_into(f"<{form}", octets, at, number)
        return bytes(octets)

    own = twin.file_info(good)
    return [
        accept("a good screen: accepted", good),
        accept("one slice as full as chance may make it: accepted", with_ones(math.floor(most - 0.5))),
        accept("one slice as empty as chance may leave it: accepted", with_ones(math.ceil(least + 0.5))),
        refuse("an empty file", "wrong-length", UNSAFE, b""),
        refuse("the last octet is missing", "wrong-length", UNSAFE, good[:-1]),
        refuse("one octet too many", "wrong-length", UNSAFE, good + b"\0"),
        refuse("one octet too few for the manifest", "wrong-length", FORKED, good[:-1], **own),
        refuse("not the file that the manifest names", "bad-hash", FORKED, head(40, "B", good[40] ^ 1),
               **own),
        refuse("a later format: its magic and version 2", "unknown-version", WRONG,
               b"CSSCR\r\n\x1a\x02\x00" + bytes(6) + good),
        refuse("an error rate of 2 %", "wrong-kind", WRONG, head(0, "d", 0.02)),
        refuse("an error rate that is no number", "wrong-kind", WRONG, head(0, "d", math.nan)),
        refuse("eight slices", "wrong-kind", WRONG, head(8, "Q", 8)),
        refuse("one bit a slice more than the members take", "out-of-range", WRONG, head(16, "Q", m + 1)),
        refuse("slices of no bits", "out-of-range", "divides by zero", head(16, "Q", 0)),
        refuse("a capacity of one more than the directory holds", "not-as-described", FORKED, head(24, "Q",
               n + 1)),
        refuse("more keys that were new than members", "out-of-range", WRONG, head(32, "Q", n + 1)),
        refuse("no key that was new", "out-of-range", WRONG, head(32, "Q", 0)),
        refuse("a bit behind the last slice", "not-canonical", "one screen has many spellings",
               good[:-1] + bytes([good[-1] | 0x80])),
        refuse("every bit set: everybody passes", "too-full", PRIVACY, all_of(0xFF), file=filled(0xFF)),
        refuse("one slice fuller than so many members can make it", "too-full", PRIVACY,
               with_ones(math.ceil(most + 0.5))),
        refuse("no bit set: nobody passes", "malformed", MISSED, all_of(0), file=filled(0)),
        refuse("one slice emptier than so many members can leave it", "malformed", MISSED,
               with_ones(math.floor(least - 0.5))),
        refuse("a screen of a directory of one member less, which has none", "out-of-range", PRIVACY,
               head(24, "Q", n - 1), of={"count": n - 1}),
        refuse("26 members, and a screen of ones", "out-of-range", PRIVACY, FEW, file={"hex": FEW.hex()},
               of=of(26, 12, 32)),
    ]  # fmt: skip


def screens() -> Json:
    assert 7 * twin.slice_bits(1 << 17) % 8, "there is a bit behind the last slice"
    return document(
        ABOUT,
        [
            group("what a publisher builds", "directory.screen", "build_screen", builds(), SOURCE),
            group("who passes", "directory.screen", "read_screen", asks(), SOURCE),
            group("screens that must be refused", "directory.screen", "read_screen", refusals(), SOURCE),
        ],
        {name: packed(data) for name, data in SCREENS.items()},
    )
