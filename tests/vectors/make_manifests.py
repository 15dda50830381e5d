"""What manifest.json holds: manifests that must be read as they are, and manifests that must be refused."""

import hashlib
import json
from copy import deepcopy
from typing import Any

import format_twin as twin
import labels_twin
from make_deltas import DELTAS
from make_directories import FILES as DIRECTORIES
from make_directories import SOURCE, VALUES
from make_screens import CROWD, SCREENS
from vector_text import case, changed, document, group

Json = dict[str, Any]
ABOUT = (
    "Manifests (docs/http-api.md), as octets after their TUF signatures were verified: what a client takes "
    "from them, and what it must refuse. `unusable` are partitions of whose members nothing is known: nobody "
    "may be told that a contact there is no member."
)
STALE = "two observers of one manifest have different hashes of it, and the chain of `previous` does not hold"
HOSTILE = "memory, time or the stack is the sender's to spend"
GUESS = "what the publisher did not say is made up, and differs from client to client"
UNAWARE = "what the publisher says must be understood is passed over in silence"
RANGE = "figures that no file can have are taken for sizes and places in it"
MADE_UP = "downloads are priced, and the user is advised, by figures that somebody made up"
ALONE = "screen mode tells the server each contact: with so many slots, every bucket is of one"
TWO_KEYS = "tokens of two keys are stored as those of one epoch"
MISPLACED = "the entry of one member is opened with the key of another one, and nobody has a label"
UNTOLD = "somebody who has left is taken for a member, and who has joined is not found"
PASSING = "in screen mode more strangers pass than need to, and the server sees their buckets"


ALL = DIRECTORIES | {"a crowd": twin.directory(twin.values_of(CROWD, 17, 32), 17, 32)}


def canonical(tree: Any) -> bytes:
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode("ascii")


def rate(count: int, bits: int) -> str:
    return f"{count / 2.0**bits:.2e}"


def partition(name: str, edition: int, deltas: list[Json]) -> Json:
    figures = twin.directory_info(ALL[name])
    bits = figures["slot_bits"] + figures["remainder_bits"]
    return {
        "base": twin.file_info(ALL[name]),
        "count": figures["count"],
        "deltas": deltas,
        "edition": edition,
        "false_positive_rate": rate(figures["count"], bits),
        "remainder_bits": figures["remainder_bits"],
        "screen": twin.file_info(SCREENS[name]) if name in SCREENS else None,
        "slot_bits": figures["slot_bits"],
        "top_sha256": figures["top_sha256"],
    }


MINIMAL: Json = {
    "audience": "people",
    "edition": 1,
    "epoch": 1,
    "format": "contactsync-manifest-2",
    "normalisation": 1,
    "partitions": {},
    "previous": None,
    "public_key": hashlib.sha256(b"a public key").hexdigest(),
    "suite": "ristretto255-SHA512",
}
CHAIN = [
    {"file": twin.file_info(DELTAS["three to two"]), "from": 1, "to": 2},
    {"file": twin.file_info(DELTAS["two to three"]), "from": 2, "to": 5},
]
FULL: Json = MINIMAL | {
    "edition": 7,
    "epoch": 2,
    "previous": hashlib.sha256(canonical(MINIMAL)).hexdigest(),
    "partitions": {
        "1": partition("several hundred", 7, []),
        "353": partition("several hundred, 40 bits", 1, []),
        "44": partition("a crowd", 2, []),
        "49": partition("three tokens", 5, CHAIN),
    },
}
NEXT: Json = {
    "edition": 3,
    "epoch": 3,
    "partitions": [
        partition("several hundred, 40 bits", 3, []) | {"name": "353"},
        partition("three tokens", 2, []) | {"name": "49"},
    ],
    "public_key": hashlib.sha256(b"the next public key").hexdigest(),
    "until": 1_893_456_000,
}
ROTATING: Json = FULL | {"next": NEXT}
FILES = {"minimal": canonical(MINIMAL), "full": canonical(FULL)}


def put(tree: Json, *path: Any) -> Json:
    """The manifest with the last of `path` in the place that the others lead to; `KeyError` takes it away."""
    *parents, last, value = path
    tree = deepcopy(tree)
    place = tree
    for parent in parents:
        place = place[parent]
    if value is KeyError:
        del place[last]
    else:
        place[last] = value
    return tree


def put_all(tree: Json, *changes: tuple[Any, ...]) -> Json:
    for change in changes:
        tree = put(tree, *change)
    return tree


def octets(data: bytes) -> Json:
    return changed("full", FILES["full"], data, text=True)


P44, P49 = ("partitions", "44"), ("partitions", "49")


def sidecar(name: str, size: int) -> tuple[bytes, Json]:
    """Labels of the members of a directory: the sidecar, and what a manifest says of it but editions."""
    values, q, r = VALUES[name]
    entries = [hashlib.sha512(f"label {i}".encode()).digest()[: 16 + size] for i in range(len(values))]
    data = labels_twin.sidecar(values, entries, size, q, r)
    top = labels_twin.info(data)["top_sha256"]
    return data, {"deltas": [], "file": twin.file_info(data), "size": size, "top_sha256": top}


SIDECAR, THREE = sidecar("three tokens", 32)
RENAMED = labels_twin.delta(SIDECAR, SIDECAR, (5, 7), dropped=[1], placed=[1], entries=[bytes(48)])
THREE |= {"edition": 7, "deltas": [{"file": twin.file_info(RENAMED), "from": 5, "to": 7}]}
LABELLED = put(FULL, *P49, "labels", THREE)
NEXT_LABELS = {"labels": sidecar("three tokens", 16)[1] | {"edition": 3}}


def patch(name: str, editions: tuple[int, int], state: str, left: list[int], joined: list[int]) -> Json:
    """A patch of a directory, alone after it, and what a manifest says of it."""
    figures = twin.directory_info(ALL[name])
    q, r, count = (figures[one] for one in ("slot_bits", "remainder_bits", "count"))
    counts = (count, count - len(left) + len(joined))
    data = twin.changes((q, r), counts, (figures["sha256"], state), editions, (left, joined))
    return {"file": twin.file_info(data), "from": editions[0], "to": editions[1]}


def patches(edition: int, count: int, files: list[Json], state: str = "") -> Json:
    """The two members of a partition with patches."""
    stated = {"count": count, "edition": edition, "files": files, "state": state or twin.sha256(b"a state")}
    return {"critical": ["patches"], "patches": stated}


THREE_VALUES = VALUES["three tokens"][0]
LEVEL_OF_ONE = 15 + 64 * 32
"""The length of the level of the rows of one partition with 12 slot bits: docs/lookup.md, "The table"."""

GIANT = 21_250_000_000
"""An octet count that a base of five thousand million members can have."""
ONE_PATCH = patch("three tokens", (5, 6), twin.sha256(b"a state"), THREE_VALUES[:1], [7, 8])
NO_CHANGE = patch("three tokens", (5, 7), twin.sha256(b"a state"), [], [])
PATCHED = put(FULL, *P49, FULL["partitions"]["49"] | patches(6, 4, [ONE_PATCH]))
SEVERAL = [
    {"file": twin.file_info(f"patch {i}".encode()) | {"length": length}, "from": start, "to": end}
    for i, (length, start, end) in enumerate([(4096, 2, 4), (256, 4, 5), (168, 5, 7)])
]


def _of_patches(partition: Json) -> list[Json]:
    return [one["file"] for one in partition["patches"]["files"]] if "patches" in partition else []


def _members(partition: Json) -> int:
    return partition.get("patches", partition)["count"]


def _of_labels(partition: Json) -> list[Json]:
    labels = partition.get("labels")
    return (
        [labels["file"], *(d["file"] for d in labels["deltas"])]
        if isinstance(labels, dict) and "file" in labels
        else []
    )


def reads() -> list[Json]:
    def taken(partitions: Json, unusable: dict[str, str]) -> Json:
        usable = {name: p for name, p in partitions.items() if name not in unusable}
        files = [
            file
            for p in usable.values()
            for file in (
                *(p["base"], p["screen"]),
                *(delta["file"] for delta in p["deltas"]),
                *(*_of_labels(p), *_of_patches(p)),
            )
            if file
        ]
        return {
            "count": sum(map(_members, usable.values())),
            "usable": sorted(usable),
            "unusable": unusable,
            "files": sorted({file["sha256"] for file in files}),
        }

    def read(
        reason: str,
        tree: Json,
        unusable: dict[str, str] | None = None,
        unusable_next: dict[str, str] | None = None,
    ) -> Json:
        data = canonical(tree)
        expected = {
            "refusal": None,
            **{name: tree[name] for name in ("audience", "epoch", "edition", "public_key", "previous")},
            "sha256": hashlib.sha256(data).hexdigest(),
            **taken(tree["partitions"], unusable or {}),
        }
        if "next" in tree:
            expected["next"] = {
                **{name: tree["next"][name] for name in ("epoch", "edition", "public_key", "until")},
                **taken({p["name"]: p for p in tree["next"]["partitions"]}, unusable_next or {}),
            }
        return case(reason, {"file": octets(data)}, expected)

    labels = {"cards": {"serial": 4, "sidecars": ["00ff"]}}
    other_kind = {"anything": [{"it": None}, True, -5]}
    return [
        read("the least that there is: nobody is a member", MINIMAL),
        read("four partitions; one with a chain of two deltas, one with a screen", FULL),
        read("the other audience", put(FULL, "audience", "business")),
        read("the largest number", put(FULL, "epoch", 2**53)),
        read(
            "unknown members, which are part of the hash", FULL | labels | {"z": '\u00e4\U0001f600\n"\\\x7f'}
        ),
        read("unknown members within the limits: eight levels", put(FULL, "surplus", [[[[[[[]]]]]]])),
        read("unknown members of a partition", put(FULL, *P49, "cards", labels)),
        read(
            "a partition that must be understood: unusable, not empty",
            put_all(FULL, (*P49, "cards", 1), (*P49, "critical", ["cards"])),
            {"49": "unknown-critical"},
        ),
        read(
            "a partition that must be understood, of which nothing else is as it was",
            put(FULL, *P49, {"critical": ["rows"], "rows": [1, 2]}),
            {"49": "unknown-critical"},
        ),
        read(
            "partitions of kinds that are not known: unusable",
            put_all(FULL, ("partitions", "mailto.example", other_kind), ("partitions", "x", {})),
            {"mailto.example": "unknown-family", "x": "unknown-family"},
        ),
        read(
            "a calling code that nobody has yet: unusable, and its figures are not looked at",
            put(FULL, "partitions", "999", {"base": {"length": 2**53}, "count": 2**53}),
            {"999": "unknown-family"},
        ),
        read(
            "a partition of an unknown kind that has something critical",
            put(FULL, "partitions", "mailto", {"critical": ["rows"], "rows": 1}),
            {"mailto": "unknown-family"},
        ),
        read("the next epoch, announced", ROTATING),
        read("the next epoch, announced without members", put(ROTATING, "next", "partitions", [])),
        read(
            "what is unknown in the next epoch is treated as in this one",
            put(
                ROTATING,
                "next",
                "partitions",
                [NEXT["partitions"][0] | {"cards": 1}, {"anything": [], "name": "mailto"}],
            ),
            None,
            {"mailto": "unknown-family"},
        ),
        read(
            "the latest end of an overlap",
            put(ROTATING, "next", "until", 253_402_300_799),
        ),
        read("labels: their files are among the others", LABELLED),
        read("labels that must be understood, and are", put(LABELLED, *P49, "critical", ["labels"])),
        read(
            "labels in a partition that cannot be used are not looked at",
            put_all(LABELLED, (*P49, "labels", 1), (*P49, "rows", 1), (*P49, "critical", ["rows"])),
            {"49": "unknown-critical"},
        ),
        read(
            "labels in the next epoch",
            put(ROTATING, "next", "partitions", [NEXT["partitions"][0], NEXT["partitions"][1] | NEXT_LABELS]),
        ),
        *patched_reads(read),
    ]


def patched_reads(read: Any) -> list[Json]:
    crowd = FULL["partitions"]["44"]
    later = FULL | {"edition": 66}
    most = [
        {"file": twin.file_info(f"patch {i}".encode()) | {"length": 168}, "from": i, "to": i + 1}
        for i in range(2, 66)
    ]
    return [
        read("one patch: its file is among the others, and the members are those that it leads to", PATCHED),
        read(
            "several patches beside a screen, the last one empty; and a patch beside deltas",
            put(PATCHED, *P44, crowd | patches(7, 131_080, SEVERAL)),
        ),
        read(
            "an empty patch alone",
            put(PATCHED, *P49, PATCHED["partitions"]["49"] | patches(7, 3, [NO_CHANGE])),
        ),
        read("64 patches", put(later, *P44, crowd | patches(66, 131_072, most))),
        read(
            "patches to the most members of these slot bits",
            put(FULL, *P44, crowd | patches(7, 185_363, SEVERAL)),
        ),
        read(
            "patches to so few that no screen would be made of them; the one of the base stays",
            put(FULL, *P44, crowd | patches(7, 131_000, SEVERAL)),
        ),
        read(
            "patches, and something else that must be understood: unusable, and no patch is looked at",
            put_all(
                PATCHED, (*P49, "cards", 1), (*P49, "critical", ["cards", "patches"]), (*P49, "patches", 1)
            ),
            {"49": "unknown-critical"},
        ),
    ]


def refusals() -> list[Json]:
    good = FILES["full"]

    def refuse(reason: str, refusal: str, effect: str, data: bytes | Json) -> Json:
        file = data if isinstance(data, dict) else octets(data)
        return case(reason, {"file": file}, {"refusal": refusal}, effect)

    def wrong(reason: str, refusal: str, effect: str, *path: Any) -> Json:
        return refuse(reason, refusal, effect, canonical(put(FULL, *path)))

    def critical(reason: str, refusal: str, effect: str, names: Any, **members: Any) -> Json:
        return refuse(reason, refusal, effect, canonical(FULL | members | {"critical": names}))

    def after(reason: str, refusal: str, effect: str, value: Any) -> Json:
        """Another announcement."""
        return refuse(reason, refusal, effect, canonical(FULL | {"next": value}))

    def bounds(reason: str, effect: str, name: str, refusal: str = "out-of-range", **members: Any) -> Json:
        """A partition with other figures, and the rate that belongs to them."""
        changed = FULL["partitions"].get(name, FULL["partitions"]["1"]) | members
        bits = changed["slot_bits"] + changed["remainder_bits"]
        changed["false_positive_rate"] = rate(changed["count"], bits)
        return refuse(reason, refusal, effect, canonical(put(FULL, "partitions", name, changed)))

    def length(octets: int) -> Json:
        return twin.file_info(b"") | {"length": octets}

    def longer(delta: Json, octets: int) -> Json:
        return delta | {"file": delta["file"] | {"length": octets}}

    def huge() -> Json:
        """The most members that a partition can have."""
        count, base = 6_074_000_999, length(25_680_000_000)
        return FULL["partitions"]["1"] | {
            "base": base, "count": count, "slot_bits": 32, "false_positive_rate": rate(count, 64),
        }  # fmt: skip

    def labelled(reason: str, refusal: str, effect: str, **members: Any) -> Json:
        """Other labels."""
        return wrong(reason, refusal, effect, *P49, "labels", {**THREE, **members})

    one_delta, sidecar_length = THREE["deltas"][0], len(SIDECAR)
    many = {f"m{i}": i for i in range(65)}
    file = twin.file_info(DIRECTORIES["three tokens"])
    return [
        case("a good manifest: accepted", {"file": octets(good)}, {"refusal": None}),
        # Labels.
        wrong("labels that are no object", "wrong-members", GUESS, *P49, "labels", 1),
        wrong("labels without a size", "wrong-members", GUESS, *P49, "labels",
              {k: v for k, v in THREE.items() if k != "size"}),
        labelled("an unknown member of labels", "wrong-members", STALE, rows=1),
        labelled("labels of 33 octets", "bad-value", RANGE, size=33),
        labelled("labels of 0 octets", "bad-value", RANGE, size=0),
        labelled("labels of a later edition than the manifest", "bad-value", GUESS, edition=8, deltas=[]),
        labelled("labels that are older than the tokens", "malformed", MISPLACED, edition=4, deltas=[]),
        labelled("a sidecar of another length", "out-of-range", RANGE,
                 file=length(sidecar_length + 48)),
        labelled("a sidecar of labels of another size", "out-of-range", RANGE, size=48),
        labelled("a chain of deltas of labels that ends before", "malformed", GUESS,
                 deltas=[one_delta | {"to": 6}]),
        labelled("33 deltas of labels", "bad-value", HOSTILE, deltas=[one_delta] * 33),
        labelled("a delta of labels of nothing", "out-of-range", MADE_UP, deltas=[longer(one_delta, 168)]),
        labelled("a delta of labels as large as the sidecar", "out-of-range", MADE_UP,
                 deltas=[longer(one_delta, sidecar_length)]),
        labelled("a sidecar that is the base", "malformed", RANGE,
                 file=THREE["file"] | {"sha256": FULL["partitions"]["49"]["base"]["sha256"]}),
        # Not JSON, or not canonical.
        refuse("an empty file", "not-json", GUESS, {"text": ""}),
        refuse("cut off", "not-json", GUESS, good[:-1]),
        refuse("a list", "wrong-members", GUESS, {"text": "[]"}),
        refuse("100,000 open brackets", "not-json", HOSTILE, {"text": "[", "times": 100_000}),
        refuse("9 MiB of white space", "too-large", HOSTILE, {"text": " ", "times": 9 << 20}),
        refuse("octets that are no ASCII", "not-json", STALE,
               {"hex": (good[:-1] + b',"z":"\xc3\xa4"}').hex()}),
        refuse("a fraction", "not-json", STALE, good[:-1] + b',"z":0.5}'),
        refuse("a number with an exponent", "not-json", STALE, good.replace(b'"edition":7',
               b'"edition":7e0')),
        refuse("NaN", "not-json", STALE, good[:-1] + b',"z":NaN}'),
        refuse("a line feed at the end", "not-canonical", STALE, good + b"\n"),
        refuse("a space after a colon", "not-canonical", STALE, good.replace(b'"epoch":', b'"epoch": ', 1)),
        refuse("members that are not sorted", "not-canonical", STALE,
               good.replace(b'"audience":"people",', b"", 1)[:-1] + b',"audience":"people"}'),
        refuse("a member twice", "not-canonical", "one reader takes the first, another one the last",
               good.replace(b'"epoch":2', b'"epoch":1,"epoch":2')),
        refuse("an escape that is not needed", "not-canonical", STALE, good.replace(b"people",
               b"peo\\u0070le")),
        refuse("an escape in capitals", "not-canonical", STALE, good[:-1] + b',"z":"\\u00E4"}'),
        refuse("a zero with a sign", "not-canonical", STALE, good[:-1] + b',"z":-0}'),
        refuse("an unknown member twice", "not-canonical", "one reader takes the first, another one the last",
               good[:-1] + b',"z":1,"z":2}'),
        # What tells whether the rest can be judged.
        wrong("a later format", "unknown-version", UNAWARE, "format", "contactsync-manifest-3"),
        refuse("a later format with nothing else that is known", "unknown-version", UNAWARE,
               canonical({"format": "contactsync-manifest-3"})),
        wrong("the earlier format, which had no bounds", "unknown-version", MADE_UP, "format",
              "contactsync-manifest-1"),
        wrong("no format", "wrong-members", GUESS, "format", KeyError),
        wrong("another suite", "unknown-suite", "what comes back of the server is misread", "suite",
              "P256-SHA256"),
        critical("an unknown member that must be understood", "unknown-critical", UNAWARE, ["rows"], rows=1),
        critical("one that must be understood, another one that need not be", "unknown-critical", UNAWARE,
                 ["rows"],
                 cards=1, rows=1),
        critical("critical names what is not there", "bad-value", UNAWARE, ["rows"]),
        critical("critical names what everybody knows", "bad-value", STALE, ["epoch"]),
        critical("critical names itself", "bad-value", STALE, ["critical"]),
        critical("an empty critical: it has to be left out", "bad-value", STALE, []),
        critical("critical is null", "bad-value", UNAWARE, None),
        critical("critical is a string", "bad-value", UNAWARE, "rows", rows=1),
        critical("critical is not sorted", "bad-value", STALE, ["rows", "cards"], cards=1, rows=1),
        critical("critical names one twice", "bad-value", STALE, ["rows", "rows"], rows=1),
        wrong("an empty critical in a partition", "bad-value", STALE, *P49, "critical", []),
        wrong("critical names what is not in the partition", "bad-value", UNAWARE, *P49, "critical",
              ["rows"]),
        # Limits of what is unknown.
        wrong("nine levels", "too-large", HOSTILE, "surplus", [[[[[[[[1]]]]]]]]),
        wrong("nine levels in an unusable partition", "too-large", HOSTILE, "partitions", "x",
              {"a": [[[[[[[[1]]]]]]]]}),
        wrong("65 members", "too-large", HOSTILE, "surplus", many),
        refuse("65 unknown members", "too-large", HOSTILE, canonical(FULL | many)),
        wrong("1000 partitions", "too-large", HOSTILE, "partitions", {f"p{i}": {} for i in range(1000)}),
        wrong("a number beyond 2^53", "bad-value", STALE, "surplus", 2**53 + 1),
        wrong("half a surrogate pair", "bad-value", STALE, "surplus", "\ud83d"),
        wrong("a name with a capital letter", "bad-value", STALE, "Surplus", 1),
        # Members of format 2.
        wrong("no epoch", "wrong-members", GUESS, "epoch", KeyError),
        wrong("another audience", "bad-value", GUESS, "audience", "everybody"),
        wrong("epoch 0", "bad-value", GUESS, "epoch", 0),
        wrong("epoch true", "bad-value", GUESS, "epoch", True),
        wrong("edition a string", "bad-value", GUESS, "edition", "7"),
        wrong("edition beyond 2^53", "bad-value", STALE, "edition", 2**53 + 1),
        wrong("a public key of 31 octets", "bad-value", GUESS, "public_key", "ab" * 31),
        wrong("a public key in capitals", "bad-value", STALE, "public_key", "AB" * 32),
        wrong("previous of 16 octets", "bad-value", GUESS, "previous", "ab" * 16),
        wrong("partitions in a list", "bad-value", GUESS, "partitions", []),
        wrong("a calling code with a leading zero", "bad-value", GUESS, "partitions", "049", {}),
        wrong("a calling code of four digits", "bad-value", GUESS, "partitions", "4915", {}),
        wrong("a name that begins with a calling code: it would hold what 49 holds", "bad-value", GUESS,
              "partitions", "491", FULL["partitions"]["49"]),
        wrong("a name that calling codes begin with", "bad-value", GUESS, "partitions", "4",
              FULL["partitions"]["49"]),
        wrong("the name of a partition in capitals", "bad-value", GUESS, "partitions", "Mail", {}),
        wrong("the name of a partition that is a path", "bad-value", "a file elsewhere is written or read",
              "partitions", "../49", {}),
        wrong("the name of a partition of 33 letters", "bad-value", HOSTILE, "partitions", "a" * 33, {}),
        wrong("a partition that is null", "bad-value", GUESS, *P49, None),
        wrong("a partition of an unknown kind that is null", "bad-value", GUESS, "partitions", "x", None),
        wrong("a partition without a base", "wrong-members", GUESS, *P49, "base", KeyError),
        wrong("an unknown member of a file", "wrong-members", STALE, *P49, "base", file | {"surplus": 1}),
        wrong("a partition of a later edition than the manifest's", "bad-value", GUESS, *P49, "edition", 8),
        wrong("a partition without members, which has to be left out", "bad-value", STALE, *P49, "count", 0),
        wrong("a count beyond 2^53", "bad-value", RANGE, *P49, "count", 2**53 + 1),
        wrong("more tokens than 12 slot bits may have", "too-full",
              "a directory of all values matches everybody",
              *P49, "count", 8193),
        wrong("33 remainder bits", "out-of-range", RANGE, *P49, "remainder_bits", 33),
        wrong("11 slot bits", "out-of-range", RANGE, *P49, "slot_bits", 11),
        wrong("more slots than the base has octets for", "out-of-range", RANGE, *P49, "slot_bits", 20),
        # What no builder can have made of so many members.
        bounds("one slot bit more than 131,072 members take, and a base to match", ALONE, "44", slot_bits=18,
               base=length(579_000)),
        bounds("one slot bit less than 131,072 members take, and a base to match", MADE_UP, "44",
               slot_bits=16, base=length(550_344)),
        bounds("26 members with 32 slot bits, and a base to match", ALONE, "44", count=26, slot_bits=32,
               base=length(620_921_008)),
        bounds("a base of 1.1 TB", MADE_UP, "49", base=length(1_100_000_000_000)),
        bounds("a base of 8 octets more than three tokens make", MADE_UP, "49", base=length(728)),
        bounds("a base of 8 octets less than the shortest of 131,072 tokens", MADE_UP, "44",
               base=length(559_712)),
        bounds("a base of 8 octets more than the longest of 131,072 tokens", MADE_UP, "44",
               base=length(560_104)),
        bounds("a base of no multiple of 8 octets", MADE_UP, "44", base=length(559_724)),
        bounds("a screen of three tokens", PASSING, "49", screen=length(42)),
        bounds("no screen of 131,072 tokens", MADE_UP, "44", screen=None),
        bounds("a screen of one octet more than 131,072 tokens make", MADE_UP, "44", screen=length(157_084)),
        bounds("a last delta as long as the base", MADE_UP, "49", deltas=[CHAIN[0], longer(CHAIN[1], 720)]),
        bounds("a first delta longer than any base of 12 slot bits", MADE_UP, "49",
               deltas=[longer(CHAIN[0], 30_608), CHAIN[1]]),
        bounds("a delta in which nobody joined or left", MADE_UP, "49",
               deltas=[CHAIN[0], longer(CHAIN[1], 168)]),
        bounds("a delta of no multiple of 8 octets", MADE_UP, "49", deltas=[CHAIN[0], longer(CHAIN[1], 196)]),
        bounds("more members than the calling code has numbers", MADE_UP, "290", "too-full", count=110_001,
               slot_bits=17, base=length(473_152), screen=None),
        refuse("more members in all than there are numbers", "too-full", MADE_UP, canonical(put_all(FULL,
               *(("partitions", name, huge()) for name in ("1", "44", "86"))))),
        wrong("one file with two lengths", "malformed", "which one is taken for true depends on the order",
              "partitions", "353", "base", FULL["partitions"]["353"]["base"] | {
                  "sha256": FULL["partitions"]["1"]["base"]["sha256"]}),
        wrong("a rate of another count", "malformed",
              "the user is told another chance of a false match than there is",
              *P49, "false_positive_rate", rate(4, 52)),
        wrong("a rate as a number", "malformed", STALE, *P49, "false_positive_rate", 0),
        wrong("a hash that is a path", "bad-value", "a file elsewhere is written or read", *P49, "base",
              file | {"sha256": "../../../../etc/passwd"}),
        wrong("a hash in capitals", "bad-value", STALE, *P49, "base",
              file | {"sha256": file["sha256"].upper()}),
        wrong("an xxh3_64 without its leading zeros", "bad-value", STALE, *P49, "base",
              file | {"xxh3_64": "1"}),
        wrong("a file of no octets", "bad-value", RANGE, *P49, "base", file | {"length": 0}),
        wrong("a file of more than 2^53 octets", "bad-value", HOSTILE, *P49, "base",
              file | {"length": 2**53 + 1}),
        wrong("deltas that are null", "bad-value", GUESS, *P49, "deltas", None),
        wrong("33 deltas", "bad-value", HOSTILE, "partitions", "1",
              FULL["partitions"]["1"] | {"deltas": [{"file": file, "from": 6, "to": 7}] * 33}),
        wrong("a gap between two deltas", "malformed", "who joined or left in the gap is wrong for good",
              *P49, "deltas", [CHAIN[0], CHAIN[1] | {"from": 3}]),
        wrong("a chain that ends before the edition", "malformed",
              "an old state is taken for the current one",
              *P49, "deltas", CHAIN[:1]),
        wrong("a delta that leads backwards", "bad-value", "a chain that never ends", *P49, "deltas",
              [CHAIN[0] | {"from": 5, "to": 2}, CHAIN[1]]),
        wrong("a screen that is a string", "wrong-members", GUESS, *P49, "screen", "screen"),
        # The next epoch.
        after("next is null", "wrong-members", GUESS, None),
        after("next without its key", "wrong-members", GUESS,
              {name: NEXT[name] for name in NEXT if name != "public_key"}),
        after("an unknown member of next", "wrong-members", STALE, NEXT | {"cards": 1}),
        after("next is this epoch", "malformed", TWO_KEYS, NEXT | {"epoch": 2}),
        after("next is an epoch further", "malformed", TWO_KEYS, NEXT | {"epoch": 4}),
        after("edition 0 of next", "bad-value", GUESS, NEXT | {"edition": 0}),
        after("a key of 31 octets in next", "bad-value", GUESS, NEXT | {"public_key": "ab" * 31}),
        after("an overlap that ended in 1970", "bad-value", GUESS, NEXT | {"until": 0}),
        after("an overlap that ends after the year 9999", "bad-value", "a date that few programs can show",
              NEXT | {"until": 253_402_300_800}),
        after("partitions of next as an object", "bad-value", "older clients refuse more than 64 of them",
              NEXT | {"partitions": {}}),
        after("a partition of next without a name", "wrong-members", GUESS,
              NEXT | {"partitions": [partition("three tokens", 2, [])]}),
        after("partitions of next that are not in order", "not-ascending", STALE,
              NEXT | {"partitions": NEXT["partitions"][::-1]}),
        after("a partition twice in next", "not-ascending", "one reader takes the first, another the last",
              NEXT | {"partitions": [NEXT["partitions"][0]] * 2}),
        after("a partition of a later edition than that of next", "bad-value", GUESS, NEXT | {"edition": 2}),
        after("more members in next than the calling code has numbers", "too-full", MADE_UP,
              NEXT | {"partitions": [FULL["partitions"]["1"] | {
                  "base": length(473_152), "count": 110_001, "edition": 1, "name": "290", "slot_bits": 17,
                  "false_positive_rate": rate(110_001, 17 + 32)}]}),
        after("one file with two lengths, one in each epoch", "malformed",
              "which one is taken for true depends on the order",
              NEXT | {"partitions": [NEXT["partitions"][1] | {
                  "base": NEXT["partitions"][1]["base"] | {
                      "sha256": FULL["partitions"]["1"]["base"]["sha256"]}}]}),
        refuse("critical names next, which everybody knows", "bad-value", STALE,
               canonical(ROTATING | {"critical": ["next"]})),
        *patched_refusals(refuse),
    ]  # fmt: skip


def patched_refusals(refuse: Any) -> list[Json]:
    def other(reason: str, refusal: str, effect: str, *path: Any, of: str = "49") -> Json:
        """Another member of a partition with one patch, or with several."""
        tree = PATCHED if of == "49" else several
        return refuse(reason, refusal, effect, canonical(put(tree, "partitions", of, *path)))

    def listed(reason: str, refusal: str, effect: str, files: Any, **more: Any) -> Json:
        """Other patches of three tokens."""
        stated = PATCHED["partitions"]["49"]["patches"] | {"files": files} | more
        return other(reason, refusal, effect, "patches", stated)

    def long(octets: int, start: int = 5, end: int = 6) -> Json:
        sha256 = twin.sha256(f"{octets} {start} {end}".encode())
        return {"file": ONE_PATCH["file"] | {"length": octets, "sha256": sha256}, "from": start, "to": end}

    several = put(FULL, *P44, FULL["partitions"]["44"] | patches(7, 131_080, SEVERAL))
    three = FULL["partitions"]["49"]
    labelled = three | {"labels": THREE} | patches(6, 4, [ONE_PATCH])
    ahead = NEXT["partitions"][1] | patches(3, 4, [ONE_PATCH | {"from": 2, "to": 3}])
    stated, base = PATCHED["partitions"]["49"]["patches"], three["base"]
    alone = PATCHED | {"partitions": {"49": PATCHED["partitions"]["49"]}}
    rows = {"level": twin.file_info(b"") | {"length": LEVEL_OF_ONE}, "most": 3}
    helena = FULL["partitions"]["1"] | {
        "base": twin.file_info(b"") | {"length": 473_152},
        "count": 110_000,
        "edition": 6,
        "slot_bits": 17,
        "false_positive_rate": rate(110_000, 49),
    }
    giant = FULL["partitions"]["1"] | {
        "base": twin.file_info(b"") | {"length": GIANT},
        "count": 5_000_000_000,
        "edition": 6,
        "slot_bits": 32,
        "false_positive_rate": rate(5_000_000_000, 64),
    }

    def grown(partition: Json, count: int) -> Json:
        return partition | patches(7, count, [long(4096, 6, 7)])

    return [
        refuse("one patch: accepted", None, "", canonical(PATCHED)),
        refuse("several patches: accepted", None, "", canonical(several)),
        # What must be understood, and what is beside it.
        other("patches that nothing says must be understood", "malformed", UNAWARE, "critical", KeyError),
        refuse("patches and labels, both of which must be understood", "malformed", UNAWARE,
               canonical(put(FULL, *P49, labelled | {"critical": ["labels", "patches"]}))),
        refuse("labels that must be understood, and patches", "malformed", UNAWARE,
               canonical(put(FULL, *P49, labelled | {"critical": ["labels"]}))),
        refuse("patches in a partition with labels", "malformed", MISPLACED,
               canonical(put(FULL, *P49, labelled))),
        refuse("no patches, which must be understood", "bad-value", UNAWARE,
               canonical(put(FULL, *P49, "critical", ["patches"]))),
        refuse("patches in a manifest with rows", "malformed", UNTOLD, canonical(alone | {"rows": rows})),
        refuse("patches in a manifest with rows, of which a partition cannot be used", "malformed", UNTOLD,
               canonical(put(alone | {"rows": rows}, "partitions", "mailto", {}))),
        refuse("patches in the next epoch", "malformed", UNTOLD,
               canonical(FULL | {"next": NEXT | {"partitions": [NEXT["partitions"][0], ahead]}})),
        # Their members.
        other("patches as a list", "wrong-members", GUESS, "patches", [ONE_PATCH]),
        other("patches without a state", "wrong-members", GUESS, "patches", "state", KeyError),
        other("an unknown member of patches", "wrong-members", STALE, "patches", "cards", 1),
        other("patches of the edition of the base", "bad-value", GUESS, "patches", "edition", 5),
        other("patches of a later edition than the manifest", "bad-value", GUESS, "patches",
              stated | {"edition": 8, "files": [ONE_PATCH | {"to": 8}]}),
        other("patches to nobody", "bad-value", GUESS, "patches", "count", 0),
        other("a state in capitals", "bad-value", STALE, "patches", "state", stated["state"].upper()),
        other("a state of 31 octets", "bad-value", STALE, "patches", "state", stated["state"][2:]),
        # Their files.
        listed("patches that are null", "bad-value", GUESS, None),
        listed("an empty list of patches", "bad-value", GUESS, []),
        other("65 patches", "bad-value", HOSTILE, "patches", "files", [SEVERAL[-1]] * 65, of="44"),
        listed("a patch that begins before its base", "malformed", UNTOLD, [ONE_PATCH | {"from": 4}]),
        other("patches that begin after their base", "malformed", UNTOLD, "patches", "files", SEVERAL[1:],
              of="44"),
        other("a gap between two patches", "malformed", UNTOLD, "patches", "files",
              [SEVERAL[0], SEVERAL[2]], of="44"),
        listed("a patch that ends before the edition", "malformed", UNTOLD, [ONE_PATCH], edition=7),
        listed("a patch that leads backwards", "bad-value", "a chain that never ends",
               [ONE_PATCH | {"from": 6, "to": 5}]),
        listed("an unknown member of a patch", "wrong-members", STALE, [ONE_PATCH | {"cards": 1}]),
        # What no builder can have made.
        listed("a patch of 160 octets", "out-of-range", RANGE, [long(160)]),
        listed("a patch of no multiple of 8 octets", "out-of-range", MADE_UP, [long(196)]),
        listed("a patch as long as the base", "out-of-range", MADE_UP, [long(base["length"])]),
        listed("two patches that are together as long as the base", "out-of-range", MADE_UP,
               [long(360), long(360, 6, 7)], edition=7),
        listed("two patches that are together 8 octets shorter: accepted", None, "",
               [long(360), long(352, 6, 7)], edition=7),
        listed("patches to more members than these slot bits are for", "out-of-range", ALONE, [ONE_PATCH],
               count=5793),
        other("patches to fewer members than these slot bits are for", "out-of-range", ALONE, "patches",
              "count", 92_681, of="44"),
        refuse("patches to more members than the calling code has numbers", "too-full", MADE_UP,
               canonical(put(FULL, "partitions", "290", grown(helena, 110_001)))),
        refuse("patches to more members in all than there are numbers", "too-full", MADE_UP,
               canonical(FULL | {"partitions": {
                   name: grown(giant, 6_074_000_999) for name in ("1", "44", "86")}})),
        other("the rate of what the patches lead to", "malformed",
              "the user is told another chance of a false match than there is", "false_positive_rate",
              rate(4, 52)),
        listed("a patch that is the base", "malformed", "which one is taken for true depends on the order",
               [ONE_PATCH | {"file": ONE_PATCH["file"] | {"sha256": base["sha256"]}}]),
    ]  # fmt: skip


def manifests() -> Json:
    return document(
        ABOUT,
        [
            group(
                "what a client takes from a manifest",
                "publication.manifest",
                "read_manifest",
                reads(),
                SOURCE,
            ),
            group(
                "manifests that must be refused", "publication.manifest", "read_manifest", refusals(), SOURCE
            ),
        ],
        {name: {"text": data.decode()} for name, data in FILES.items()},
    )
