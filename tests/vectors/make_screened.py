"""Vectors of whole syncs in screen mode: a partition that is just large enough for it."""

import hashlib
import struct
from typing import Any

import format_twin as twin
import sync_twin
from make_epochs import (
    ALL_FILES,
    DOWNLOAD,
    HELD_EXPECTED,
    LEDGER,
    MANIFESTS,
    Epoch,
    after,
    crowd,
    drawn,
    member,
    run,
    served,
)

Json = dict[str, Any]

SCREEN_OPTIONS = DOWNLOAD | {"privacy": "screen", "buckets": 4, "largest_batch": 4096}
LARGE = Epoch(hashlib.sha256(b"a seed of a large epoch").digest(), 1)


def prepare_large() -> None:
    """Add what the large epoch publishes."""
    large()
    of = LARGE
    screen = twin.file_info(of.files["screen 1"])
    MANIFESTS["large 1.1"] = of.manifest(1, {"49": of.partition("large 1", 1, [], screen)}, None)
    to_2 = of.delta("large delta", "large 1", "large 2", (1, 2))
    newer = twin.file_info(twin.screen(of.values["large 2"], 17, 32))
    MANIFESTS["large 1.2"] = of.manifest(
        2, {"49": of.partition("large 2", 2, [to_2], newer)}, MANIFESTS["large 1.1"]
    )
    ALL_FILES.update(of.files)
    del ALL_FILES["large 2"]


def passer(screen: bytes, q: int) -> str:
    """A stranger who passes the screen."""
    for i in range(1000, 3000):
        value = int.from_bytes(LARGE.token(member(i)), "big") >> (80 - q - 32)
        if twin.passes(screen, twin.texts([value], q, 32)[0]):
            return member(i)
    raise AssertionError


def large() -> None:
    inside = [LARGE.token(member(i)) for i in (1, 2)]
    names = [*inside, *crowd(LARGE, "crowd", (1 << 17) - 2)]
    LARGE.directory("large 1", names)
    LARGE.files["screen 1"] = twin.screen(LARGE.values["large 1"], 17, 32)
    LARGE.directory("large 2", [*names[1:-40], *crowd(LARGE, "newcomers", 40), LARGE.token(member(6))])


def only(whole: bytes, buckets: set[int]) -> bytes:
    """The file with nothing but its top, its index and these buckets: nobody reads more of it."""
    _, pages, page, data = sync_twin.layout(whole[10])
    out = bytearray(len(whole))
    out[:data] = whole[:data]
    first = 64 + 32 * pages
    for number in buckets:
        at = first + number // 256 * page + 8 * (number % 256)
        start, end = struct.unpack_from("<2Q", whole, at)
        out[start:end] = whole[start:end]
    return bytes(out)


def screens() -> list[Json]:
    of = LARGE
    screen, base = of.files["screen 1"], twin.directory_info(of.files["large 1"])
    false = passer(screen, 17)
    first_book = [member(1), false, member(5), member(6)]
    seed = of.seed.hex()

    def book(names: list[str]) -> list[Json]:
        return [{"written": name.removeprefix("tel:"), "region": None} for name in names]

    fetch = served(of, "screen 1", "large 1")
    common = {"seed": seed, "options": SCREEN_OPTIONS, "manifest": {"of": "large 1.1"}}
    one = run(
        "screen mode: a member, a stranger who passes the screen and two others; buckets among decoys",
        **common,
        contacts=book(first_book),
        served=fetch,
        drawn=[drawn("screen", first_book, 8)],
    )
    asked = one["expected"]["lists"][0]
    kept = ("screen", 1, twin.file_info(screen), base)
    tokens = {name: {"token": of.token(name).hex(), "member": False, "edition": -1} for name in first_book}
    held = {"tokens": tokens, "unfinished": []} | {"files": after(of, HELD_EXPECTED, {"49": kept})["files"]}
    ledger = LEDGER | {
        "asked": {"49": {"slot_bits": 17, "edition": 1, "seed": asked["seed"], "buckets": asked["buckets"]}},
        "odds": {"49": 32 / len(asked["buckets"])},
    }
    again = run(
        "cut off before its answer: the same question is the same list",
        **common,
        contacts=book(first_book),
        served=fetch,
        held=held,
        ledger=ledger,
        drawn=[drawn("cover", [], 8)],
    )
    more = [*first_book, member(2)]
    larger = run(
        "cut off, and another contact is new: all of the earlier list, and as many again",
        **common,
        contacts=book(more),
        served=fetch,
        held=held,
        ledger=ledger,
        drawn=[drawn("one more", [member(2)], 8)],
    )
    settled = after(of, larger["expected"], {"49": kept})
    delta = run(
        "edition 2: the delta alone says who left and who joined, and no bucket is fetched",
        **common | {"manifest": {"of": "large 1.2"}},
        contacts=book(more),
        served=served(of, "screen 1", "large delta"),
        held=settled,
        drawn=[drawn("cover", [], 8)],
    )
    whole = set(larger["expected"]["lists"][0]["buckets"])
    of.files["large 1"] = only(of.files["large 1"], whole)
    ALL_FILES["large 1"] = of.files["large 1"]
    return [one, again, larger, delta]
