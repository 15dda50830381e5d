"""What screen.json holds: screens that must be built, asked and refused."""

import math
import struct
from typing import Any

import format_twin as twin
from make_directories import EXAMPLE, FORKED, MEMBERS, SHAPES, SOURCE, UNSAFE, VALUES, WRONG, token
from make_directories import FILES as DIRECTORIES
from vector_text import case, changed, document, group, packed

Json = dict[str, Any]
PRIVACY = "more contacts pass than need to, and the server sees the buckets of all of them"
MISSED = "members do not pass, and are never looked up"
ABOUT = (
    "Screens (docs/directory-format.md): what a publisher builds, who passes, and what must be refused. `of` "
    "is what the manifest says of the directory beside it, `info` what it says of the screen."
)
# The least number of values that takes the second hash function: m is 2^15.
MANY = next(n for n in range(23_000, 25_000) if twin.slice_bits(n) >= 1 << 15)
CROWD = [token(f"crowd {i}") for i in range(MANY)]


def of(count: int, q: int, r: int) -> Json:
    return {"count": count, "slot_bits": q, "remainder_bits": r}


CROWD_SHAPE = twin.slot_bits_for(MANY), 32
SCREENS = {name: twin.screen(*VALUES[name]) for name in SHAPES}
SCREENS["a crowd"] = twin.screen(twin.values_of(CROWD, *CROWD_SHAPE), *CROWD_SHAPE)
OF = {name: of(len(values), q, r) for name, (values, q, r) in VALUES.items()}
OF["a crowd"] = of(MANY, *CROWD_SHAPE)


def builds() -> list[Json]:
    reasons = {
        "no tokens": "no value: a capacity of 1",
        "three tokens": "the example of the document",
        "several hundred": "several hundred",
        "several hundred, 40 bits": "40 remainder bits: keys of 13 digits",
        "two pages": "61 bits: keys of 16 digits, the first one 0 or 1",
    }
    return [
        case(
            why,
            {"directory": {"of": f"directory of {name}"}},
            {"octets": SCREENS[name].hex(), **twin.file_info(SCREENS[name])},
        )
        for name, why in reasons.items()
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
    strangers = [token(f"stranger {i}") for i in range(300)]

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
        ask("no value: nobody passes", "no tokens", [bytes(10), b"\xff" * 10, *strangers[:5]]),
        ask("the example of the document: members", "three tokens", EXAMPLE),
        ask("several hundred: every member passes", "several hundred", MEMBERS[::10]),
        ask("several hundred: strangers who pass, and others", "several hundred", passing("several hundred")),
        ask("40 remainder bits: every member passes", "several hundred, 40 bits", MEMBERS[::10]),
        ask("40 remainder bits: strangers", "several hundred, 40 bits", passing("several hundred, 40 bits")),
        ask("keys of 16 digits", "two pages", MEMBERS[:300:10]),
        ask("SHA-256 instead of xxh128: members", "a crowd", CROWD[::500]),
        ask("SHA-256 instead of xxh128: strangers", "a crowd", passing("a crowd")),
    ]


def refusals() -> list[Json]:
    name = "several hundred"
    good, figures = SCREENS[name], OF[name]
    (m,) = struct.unpack_from("<Q", good, 16)
    n = figures["count"]
    ones = {i for i in range(7 * m) if good[40 + i // 8] >> i % 8 & 1}
    spread = sorted(set(range(7 * m)) - ones)
    slack = math.floor(8 * math.sqrt(7 * m))

    def refuse(reason: str, refusal: str, effect: str, data: bytes, **told: Any) -> Json:
        far = sum(a != b for a, b in zip(good, data, strict=False)) > 300
        file = packed(data) if far else changed(name, good, data)
        info = twin.file_info(data) | told
        return case(
            reason, {"file": file, "info": info, "of": figures, "tokens": []}, {"refusal": refusal}, effect
        )

    def head(at: int, form: str, number: float) -> bytes:
        octets = bytearray(good)
        struct.pack_into(f"<{form}", octets, at, number)
        return bytes(octets)

    fresh = struct.unpack_from("<Q", good, 32)[0]
    own = twin.file_info(good)
    return [
        case("a good screen: accepted", {"file": {"of": name}, "info": own, "of": figures, "tokens": []},
             {"refusal": None, "passes": []}),
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
        refuse("no key that was new, of several hundred", "out-of-range", WRONG, head(32, "Q", 0)),
        refuse("a bit behind the last slice", "not-canonical", "one screen has many spellings",
               good[:-1] + bytes([good[-1] | 0x80])),
        refuse("every bit set: everybody passes", "too-full", PRIVACY,
               twin.screen_of(set(range(7 * m)), n, fresh)),
        refuse("more bits set than so many members can have done", "too-full", PRIVACY,
               twin.screen_of(ones | set(spread[: 2 * slack]), n, fresh)),
        refuse("no bit set: nobody passes", "malformed", MISSED, twin.screen_of(set(), n, fresh)),
        refuse("fewer bits set than so many members can have done", "malformed", MISSED,
               twin.screen_of(set(sorted(ones)[2 * slack :]), n, fresh)),
    ]  # fmt: skip


def screens() -> Json:
    assert 7 * twin.slice_bits(len(MEMBERS)) % 8, "there is a bit behind the last slice"
    directories = {f"directory of {name}": packed(data) for name, data in DIRECTORIES.items()}
    return document(
        ABOUT,
        [
            group("what a publisher builds", "directory.screen", "build_screen", builds(), SOURCE),
            group("who passes", "directory.screen", "read_screen", asks(), SOURCE),
            group("screens that must be refused", "directory.screen", "read_screen", refusals(), SOURCE),
        ],
        directories | {name: packed(data) for name, data in SCREENS.items()},
    )
