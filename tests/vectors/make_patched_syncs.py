"""Vectors of whole syncs of partitions that keep their base, and have patches."""

import hashlib
import json
from collections.abc import Collection
from typing import Any

import format_twin as twin
from make_epochs import (
    ALL_FILES,
    DOWNLOAD,
    LEDGER,
    MANIFESTS,
    NOTHING,
    WRONG,
    Epoch,
    base_held,
    contacts,
    crowd,
    drawn,
    identifiers,
    member,
    run,
    served,
)
from make_screened import LARGE, SCREEN_OPTIONS, passer

Json = dict[str, Any]
OF = Epoch(hashlib.sha256(b"a seed of an epoch with patches").digest(), 1)
BASE, NEW_BASE, OTHER = "49, the base of patches", "49, a new base in edition 5", "1 beside patches"
LARGE_BASE = "large 1"
BOOK: list[tuple[str, str | None]] = [
    ("0151 1100 7919", "DE"),
    ("+49 151 11015838", None),
    ("0151 11023757", "DE"),
    ("0151 11031676", "DE"),
    ("0151 11055433", "DE"),
    ("112", "DE"),
    ("(212) 555-0131", "US"),
]
STRANGER: list[tuple[str, str | None]] = [("0151 11055433", "DE")]  # to what the refused patches are about
LATER: list[tuple[str, str | None]] = [("0151 11063352", "DE")]
QUIET = DOWNLOAD | {"cover": False, "largest_batch": 4096}


class Content:
    """What is there after a base and patches: how it is called, and its values."""

    def __init__(self, of: Epoch, base: str) -> None:
        self.of, self.q = of, twin.directory_info(of.files[base])["slot_bits"]
        self.values, self.state = frozenset(of.values[base]), twin.sha256(of.files[base])

    def value(self, identifier: str) -> int:
        return int.from_bytes(self.of.token(identifier), "big") >> (80 - self.q - 32)

    def after(self, left: Collection[int], joined: Collection[int]) -> "Content":
        """The content of the next edition in which it changed."""
        one = object.__new__(Content)
        one.of, one.q, one.values = self.of, self.q, (self.values - set(left)) | set(joined)
        one.state = twin.state_after(self.state, sorted(left), sorted(joined), self.q, 32)
        return one


def patch(name: str, old: Content, new: Content, editions: tuple[int, int], **other: Any) -> Json:
    """The patch that leads from one content to another; `other`: what it says instead of what is so."""
    sets = other.get("sets", (sorted(old.values - new.values), sorted(new.values - old.values)))
    counts = other.get("counts", (len(old.values), len(old.values) - len(sets[0]) + len(sets[1])))
    names = other.get("names", (old.state, new.state))
    data = twin.changes(other.get("widths", (old.q, 32)), counts, names, editions, sets)
    old.of.files[name] = data
    return {"file": twin.file_info(data), "from": editions[0], "to": editions[1]}


def with_patches(partition: Json, now: Content, files: list[Json], **other: Any) -> Json:
    stated = {"count": len(now.values), "edition": files[-1]["to"], "files": files, "state": now.state}
    return partition | {"critical": ["patches"], "patches": stated | other}


CONTENTS: list[Content] = []
"""Those of editions 1 to 4."""


def prepare_patched() -> None:
    """Add an epoch of four editions with one base, and two with another one; and a large one with patches."""
    germans = crowd(OF, "germans", 60)
    OF.directory(BASE, [*germans, *(OF.token(member(i)) for i in (1, 2, 3))])
    OF.directory(OTHER, [*crowd(OF, "americans", 12), OF.token("tel:+12125550131")])
    first = Content(OF, BASE)
    own = {i: first.value(member(i)) for i in (1, 2, 3, 4, 7, 8)}
    some = sorted(first.values - set(own.values()))[:4]
    second = first.after([own[1], some[0]], [own[4]])  # one leaves, one joins
    third = second.after([own[4], own[2]], [own[1], own[7]])  # both undone; another one leaves, and joins
    fourth = third.after([some[1], some[2]], [own[2], own[8]])
    CONTENTS[:] = [first, second, third, fourth]
    to_2 = patch("49, a patch from 1 to 2", first, second, (1, 2))
    to_3 = patch("49, a patch from 2 to 3", second, third, (2, 3))
    merged = patch("49, a patch from 1 to 4", first, fourth, (1, 4))
    base, other = OF.partition(BASE, 1, []), OF.partition(OTHER, 1, [])
    publish("patched 1.2", 2, {"1": other, "49": with_patches(base, second, [to_2])}, OF)
    publish("patched 1.3", 3, {"1": other, "49": with_patches(base, third, [to_2, to_3])}, OF)
    publish("patched 1.4", 4, {"1": other, "49": with_patches(base, fourth, [merged])}, OF)
    rebased()
    forged(base, to_2, to_3)
    large()


def publish(name: str, edition: int, partitions: Json, of: Epoch) -> None:
    MANIFESTS[name] = of.manifest(edition, partitions, f"before {name}".encode())
    ALL_FILES.update({file: data for file, data in of.files.items() if file not in {NEW_BASE, *ALL_FILES}})


def rebased() -> None:
    """In edition 5 the base is written anew, by a delta; in edition 6 a patch leads on from that."""
    fourth = CONTENTS[3]
    fifth = (fourth.values | {fourth.value(member(4))}) - {fourth.value(member(2))}
    OF.values[NEW_BASE] = sorted(fifth)
    OF.files[NEW_BASE] = twin.directory(OF.values[NEW_BASE], 12, 32)
    delta = OF.delta("49, a delta from 1 to 5", BASE, NEW_BASE, (1, 5))
    base = Content(OF, NEW_BASE)
    sixth = base.after([base.value(member(4))], [base.value(member(2))])
    to_6 = patch("49, a patch from 5 to 6", base, sixth, (5, 6))
    partition = with_patches(OF.partition(NEW_BASE, 5, [delta]), sixth, [to_6])
    publish("patched 1.6", 6, {"1": OF.partition(OTHER, 1, []), "49": partition}, OF)


def forged(base: Json, to_2: Json, to_3: Json) -> None:
    """Manifests of edition 3 whose second patch, or whose figures, are other ones."""
    first, second, third, fourth = CONTENTS
    stranger, leaver = second.value(member(8)), second.value(member(1))
    seconds: dict[str, Json] = {
        "begins elsewhere": {"names": (first.state, third.state)},
        "counts otherwise": {"counts": (len(second.values) + 1, len(third.values) + 1)},
        "leads elsewhere": {"names": (second.state, fourth.state)},
        "has 40 remainder bits": {"widths": (12, 40), "sets": ([], [1])},
        "who is not there leaves": {"sets": ([stranger], [])},
        "who is there joins": {"sets": ([], [second.value(member(2))])},
        "who has left leaves again": {"sets": ([leaver], [])},
        "who has joined joins again": {"sets": ([], [second.value(member(4))])},
    }
    for name, other in seconds.items():
        file = patch(f"49, a patch that {name}", second, third, (2, 3), **other)
        count = int.from_bytes(OF.files[f"49, a patch that {name}"][40:48], "little")  # by its own header
        publish(f"patched 1.3, {name}", 3, {"49": with_patches(base, third, [to_2, file], count=count)}, OF)
    later = patch("49, a patch of other editions", second, third, (1, 3)) | {"from": 2}
    publish("patched 1.3, of other editions", 3, {"49": with_patches(base, third, [to_2, later])}, OF)
    ours = patch("49, a patch of another base", second, third, (1, 3))
    publish("patched 1.3, of another base", 3, {"49": with_patches(base, third, [ours])}, OF)
    more = with_patches(base, third, [to_2, to_3], count=len(third.values) + 1)
    publish("patched 1.3, of another count", 3, {"49": more}, OF)


def large() -> None:
    """The large base of the vectors of screen mode, whose screen a client asks by."""
    first = Content(LARGE, LARGE_BASE)
    screen = LARGE.files["screen 1"]
    false = first.value(passer(screen, 17))
    second = first.after([first.value(member(1))], [false, first.value(member(6))])
    third = second.after([false, *sorted(first.values)[:3]], [first.value(member(5))])
    to_2 = patch("large patch from 1 to 2", first, second, (1, 2))
    to_3 = patch("large patch from 2 to 3", second, third, (2, 3))
    base = LARGE.partition(LARGE_BASE, 1, [], twin.file_info(screen))
    publish("large 1.2, patched", 2, {"49": with_patches(base, second, [to_2])}, LARGE)
    publish("large 1.3, patched", 3, {"49": with_patches(base, third, [to_2, to_3])}, LARGE)
    again = patch("large patch by which who has joined joins again", second, third, (2, 3),
                  sets=([], [false]))  # fmt: skip
    wrong = with_patches(base, third, [to_2, again], count=len(second.values) + 1)
    publish("large 1.3, contradicting", 3, {"49": wrong}, LARGE)
    del ALL_FILES["large 2"]


def tokens(of: Epoch, names: list[str], base: str, edition: int) -> Json:
    """What is kept of contacts: whether they are in the base, whatever patches say."""
    start = Content(of, base)
    return {
        name: {"token": of.token(name).hex(), "member": start.value(name) in start.values, "edition": edition}
        for name in sorted(names)
    }


def chain(manifest: str) -> list[Json]:
    return json.loads(MANIFESTS[manifest])["partitions"]["49"]["patches"]["files"]


def held(patches: list[Json]) -> Json:
    """What is there after a sync with a book: both bases, and these patches."""
    files = []
    for partition, name in (("1", OTHER), ("49", BASE)):
        kind, edition, whole, base = base_held(OF, name, 1)
        figures = {"kind": kind, "edition": edition, "whole": whole, "base": base, "deltas": []}
        files.append(
            {"partition": partition, **figures, **({"patches": patches} if partition == "49" else {})}
        )
    names = identifiers(BOOK)
    american = [name for name in names if name.startswith("tel:+1")]
    kept = tokens(OF, [name for name in names if name not in american], BASE, 1)
    return {"tokens": kept | tokens(OF, american, OTHER, 1), "files": files, "unfinished": []}


def patched() -> list[Json]:
    seed, book = OF.seed.hex(), identifiers(BOOK)
    to_2, to_3 = "49, a patch from 1 to 2", "49, a patch from 2 to 3"
    first = run(
        "first contact with a base and two patches: who left and came back, who joined and left, who did one",
        seed=seed,
        options=QUIET,
        contacts=contacts(BOOK),
        manifest={"of": "patched 1.3"},
        served=served(OF, OTHER, BASE, to_2, to_3),
        drawn=[drawn("patched", book, 8)],
    )
    newer = run(
        "the base and an older patch are held: only the newer patch is fetched, and nobody is looked up anew",
        seed=seed,
        options=QUIET,
        contacts=contacts(BOOK),
        manifest={"of": "patched 1.3"},
        served=served(OF, OTHER, BASE, to_2, to_3),
        held=held(chain("patched 1.2")),
        drawn=[],
    )
    merged = run(
        "a merged patch takes the place of two that are held; who is new is looked up in the base, too",
        seed=seed,
        options=QUIET,
        contacts=contacts(BOOK + LATER),
        manifest={"of": "patched 1.4"},
        served=served(OF, OTHER, BASE, to_2, to_3, "49, a patch from 1 to 4"),
        held=held(chain("patched 1.3")),
        drawn=[drawn("merged", identifiers(LATER), 8)],
    )
    nothing = run(
        "nothing is new: no file is fetched, and the patches that are held still count",
        seed=seed,
        options=QUIET,
        contacts=contacts(BOOK),
        manifest={"of": "patched 1.3"},
        served=served(OF, OTHER, BASE, to_2, to_3),
        held=held(chain("patched 1.3")),
        drawn=[],
    )
    rebased = run(
        "a new base by a delta that leads from the old base, and not from its patches; a patch after it",
        seed=seed,
        options=QUIET,
        contacts=contacts(BOOK),
        manifest={"of": "patched 1.6"},
        served=served(OF, OTHER, BASE, to_2, to_3, "49, a delta from 1 to 5", "49, a patch from 5 to 6"),
        held=held(chain("patched 1.3")),
        drawn=[],
    )
    return [first, newer, merged, nothing, rebased, *screened()]


def large_served(*names: str) -> list[Json]:
    """Files of the large epoch. Of its base only what is read is there, and zeros for the rest."""
    base = json.loads(MANIFESTS["large 1.1"])["partitions"]["49"]["base"]
    return [*served(LARGE, "screen 1", *names), {"sha256": base["sha256"], "octets": {"of": LARGE_BASE}}]


def large_held(book: list[str], patches: list[Json]) -> Json:
    published = json.loads(MANIFESTS["large 1.1"])["partitions"]["49"]
    figures = {name: published[name] for name in ("count", "slot_bits", "remainder_bits", "top_sha256")}
    file = {
        "partition": "49", "kind": "screen", "edition": 1, "whole": published["screen"],
        "base": published["base"] | figures, "deltas": [], "patches": patches,
    }  # fmt: skip
    kept = {
        name: {"token": LARGE.token(name).hex(), "member": name == member(1), "edition": 1}
        for name in sorted(book)
    }
    return {"tokens": kept, "files": [file], "unfinished": []}


def large_book() -> list[str]:
    """The same as in the first run of screen mode, so that the same buckets are asked for."""
    return [member(1), passer(LARGE.files["screen 1"], 17), member(5), member(6)]


def screened() -> list[Json]:
    book = large_book()
    written = [{"written": name.removeprefix("tel:"), "region": None} for name in book]
    to_2, to_3 = "large patch from 1 to 2", "large patch from 2 to 3"
    common = {"seed": LARGE.seed.hex(), "options": SCREEN_OPTIONS, "contacts": written}
    first = run(
        "screen mode: what screen and buckets say is of the base, and the patch comes after it",
        **common,
        manifest={"of": "large 1.2, patched"},
        served=large_served(to_2),
        drawn=[drawn("screen", book, 8)],
    )
    newer = run(
        "screen mode, with a newer patch: neither the screen nor a bucket is fetched again",
        **common,
        manifest={"of": "large 1.3, patched"},
        served=large_served(to_2, to_3),
        held=large_held(book, chain("large 1.2, patched")),
        drawn=[drawn("cover", [], 8)],
    )
    return [first, newer]


REFUSED = {
    "a patch that begins at another content than the one before it leads to": "begins elsewhere",
    "a patch of other figures than the one before it leads to": "counts otherwise",
    "patches that lead to another content than the manifest's": "leads elsewhere",
    "patches that lead to another count than the manifest's": "of another count",
    "a patch of other editions than the manifest's": "of other editions",
    "a patch that begins at another content than the base": "of another base",
    "a patch of other remainder bits than the base": "has 40 remainder bits",
    "a patch by which somebody leaves who is not in the base": "who is not there leaves",
    "a patch by which somebody joins who is in the base": "who is there joins",
    "a patch by which somebody leaves who has left by the one before it": "who has left leaves again",
    "a patch by which somebody joins who has joined by the one before it": "who has joined joins again",
}


def refused() -> list[Json]:
    def one(reason: str, effect: str, name: str) -> Json:
        files = {twin.sha256(data): file for file, data in OF.files.items()}
        names = [files[patch["file"]["sha256"]] for patch in chain(name)]
        return run(
            reason,
            effect,
            seed=OF.seed.hex(),
            options=QUIET,
            contacts=contacts(STRANGER),
            manifest={"of": name},
            served=served(OF, *([OTHER] if name == "patched 1.3" else []), BASE, *names),
            held=NOTHING | {"tokens": tokens(OF, identifiers(STRANGER), BASE, -1)},
            ledger=LEDGER,
            drawn=[],
        )

    book = large_book()
    contradicting = run(
        "screen mode: a patch by which somebody joins who has joined by the one before it",
        WRONG,
        seed=LARGE.seed.hex(),
        options=SCREEN_OPTIONS | {"cover": False},
        contacts=[{"written": member(1).removeprefix("tel:"), "region": None}],
        manifest={"of": "large 1.3, contradicting"},
        served=large_served("large patch from 1 to 2", "large patch by which who has joined joins again"),
        held=large_held(book, chain("large 1.2, patched")),
        drawn=[],
    )
    return [
        one("two patches that lead on: accepted", "", "patched 1.3"),
        *(one(reason, WRONG, f"patched 1.3, {name}") for reason, name in REFUSED.items()),
        contradicting,
    ]
