"""The epochs that vectors of whole syncs are about: what was published, and how a case is written."""

import functools
import hashlib
import random
from copy import deepcopy
from typing import Any

import format_twin as twin
import reference as ref
import sync_twin
from make_manifests import canonical, rate
from vector_text import case

Json = dict[str, Any]
SOURCE = "contactsync, computed by tests/vectors/sync_twin.py"
SEED = hashlib.sha256(b"a seed of an epoch").digest()
SEED_2 = hashlib.sha256(b"a seed of the next epoch").digest()
SECRET = hashlib.sha256(b"a secret of a ledger").digest()
TWO_KEYS = "clients are told apart by the keys that they are answered with"
WRONG = "members are missed, or strangers taken for members"


def drawn(label: str, contacts: list[str], points: int, **more: str) -> Json:
    """One batch: contacts among padding, in a fixed order, with fixed blinds and a fixed nonce."""
    padding = [hashlib.sha512(f"{label} padding {i}".encode()).digest()[:17] for i in range(points)]
    inputs = [{"contact": one} for one in contacts]
    inputs += [{"padding": padding[i].hex()} for i in range(points - len(contacts))]
    random.Random(label).shuffle(inputs)
    return {
        "inputs": inputs,
        "blinds": [scalar(f"{label} blind {i}") for i in range(points)],
        "nonce": scalar(f"{label} nonce"),
        **more,
    }


def scalar(label: str) -> str:
    number = int.from_bytes(hashlib.sha512(label.encode()).digest(), "little") % ref.ORDER
    return sync_twin.le(number).hex()


class Epoch:
    """A key, and directories of its tokens by name."""

    def __init__(self, seed: bytes, epoch: int) -> None:
        self.seed, self.number = seed, epoch
        self.secret, public = sync_twin.key_of(seed, "people", epoch)
        self.public = ref.encode(public).hex()
        self.files: dict[str, bytes] = {}
        self.values: dict[str, list[int]] = {}

    @functools.cache  # noqa: B019 - one for each epoch, for as long as this runs
    def token(self, identifier: str) -> bytes:
        return sync_twin.token_of(identifier, self.secret)

    def directory(self, name: str, tokens: list[bytes]) -> None:
        q = twin.slot_bits_for(len(tokens))
        self.values[name] = twin.values_of(tokens, q, 32)
        self.files[name] = twin.directory(self.values[name], q, 32)

    def delta(self, name: str, old: str, new: str, editions: tuple[int, int]) -> Json:
        left = sorted(set(self.values[old]) - set(self.values[new]))
        joined = sorted(set(self.values[new]) - set(self.values[old]))
        self.files[name] = twin.delta(self.files[old], self.files[new], editions, left, joined)
        return {"file": twin.file_info(self.files[name]), "from": editions[0], "to": editions[1]}

    def partition(self, name: str, edition: int, deltas: list[Json], screen: Json | None = None) -> Json:
        figures = twin.directory_info(self.files[name])
        return {
            "base": twin.file_info(self.files[name]),
            "count": figures["count"],
            "deltas": deltas,
            "edition": edition,
            "false_positive_rate": rate(figures["count"], figures["slot_bits"] + 32),
            "remainder_bits": 32,
            "screen": screen,
            "slot_bits": figures["slot_bits"],
            "top_sha256": figures["top_sha256"],
        }

    def manifest(self, edition: int, partitions: Json, previous: bytes | None, **more: Any) -> bytes:
        return canonical(
            {
                "audience": "people",
                "edition": edition,
                "epoch": self.number,
                "format": "contactsync-manifest-2",
                "normalisation": 1,
                "partitions": partitions,
                "previous": None if previous is None else hashlib.sha256(previous).hexdigest(),
                "public_key": self.public,
                "suite": "ristretto255-SHA512",
                **more,
            }
        )


def member(i: int) -> str:
    return f"tel:+491511{1000000 + 7919 * i}"


def crowd(of: Epoch, label: str, count: int) -> list[bytes]:
    return twin.numbered(f"{label} of epoch {of.number} ", count)


# --- an epoch of three small partitions, in three editions, and the epoch after it ---

BOOK: list[tuple[str, str | None]] = [
    ("0151 1100 7919", "DE"),
    ("+49 (151) 1101-5838", None),
    ("tel:+4915111023757", "DE"),
    ("0049 151 11031676", "DE"),
    ("０１５１　１１０３９５９５", "DE"),
    ("030 901820", "DE"),
    ("+493023125014", None),
    ("0176 04069001", "DE"),
    ("0151/11007919", "DE"),  # the first one again
    ("112", "DE"),
    ("nobody", "DE"),
    ("", "DE"),
    ("(212) 555-0131", "US"),
    ("+1 604 555 0137", None),
    ("1-800-FLOWERS", "US"),
    ("020 7946 0125", "GB"),
    ("07700 900128", "GB"),
    ("+33 4 65 71 01 43", None),
    ("+39 06 6982", None),
    ("(415) 555-2671", "US"),
    ("+44 7700 900129", None),
    ("0151 11055433", "DE"),
    ("0151 11063352", "DE"),
]
LATER: list[tuple[str, str | None]] = [("0151 1107 1271", "DE")]
FIRST, SECOND = Epoch(SEED, 1), Epoch(SEED_2, 2)


def contacts(book: list[tuple[str, str | None]]) -> list[Json]:
    return [{"written": text, "region": region} for text, region in book]


def identifiers(book: list[tuple[str, str | None]]) -> list[str]:
    found = [sync_twin.identifier_of(one) for one in contacts(book)]
    return list(dict.fromkeys(one for one in found if one is not None))


def publish(of: Epoch) -> None:
    mine = [of.token(member(i)) for i in (1, 2, 3)]
    germans = crowd(of, "germans", 37)
    of.directory("49 in edition 1", [*germans, *mine, of.token("tel:+493023125014")])
    of.directory("1 in edition 1", [*crowd(of, "americans", 29), of.token("tel:+12125550131")])
    of.directory("44 in edition 1", [*crowd(of, "britons", 8), of.token("tel:+447700900128")])
    # One contact leaves and one joins in edition 2; in edition 3 the first one is back, and +44 is gone.
    of.directory(
        "49 in edition 2", [*germans[3:], *mine[1:], of.token("tel:+493023125014"), of.token(member(4))]
    )
    of.directory("49 in edition 3", [*germans[5:], *mine, of.token(member(4)), of.token(member(7))])


def book_manifests() -> list[bytes]:
    of = FIRST
    publish(of)
    cards = {"39": {"critical": ["cards"], "cards": 1}}
    one = of.partition("1 in edition 1", 1, [])
    britons = of.partition("44 in edition 1", 1, [])
    first = of.manifest(
        1, cards | {"1": one, "44": britons, "49": of.partition("49 in edition 1", 1, [])}, None
    )
    to_2 = of.delta("49 from 1 to 2", "49 in edition 1", "49 in edition 2", (1, 2))
    germans = of.partition("49 in edition 2", 2, [to_2])
    second = of.manifest(2, cards | {"1": one, "44": britons, "49": germans}, first)
    to_3 = of.delta("49 from 2 to 3", "49 in edition 2", "49 in edition 3", (2, 3))
    germans = of.partition("49 in edition 3", 3, [to_2, to_3])
    third = of.manifest(3, cards | {"1": one, "49": germans}, second)
    return [first, second, third]


ALL_FILES: dict[str, bytes] = {}
MANIFESTS: dict[str, bytes] = {}
"""What the cases refer to by name."""


def prepare() -> None:
    """Fill ALL_FILES and MANIFESTS with what the small epochs publish."""
    first, second, third = book_manifests()
    MANIFESTS.update({"people 1.1": first, "people 1.2": second, "people 1.3": third})
    SECOND.directory(
        "49 of epoch 2", [*crowd(SECOND, "germans", 20), *(SECOND.token(member(i)) for i in (2, 3))]
    )
    germans = SECOND.partition("49 of epoch 2", 1, [])
    announced = {
        "edition": 1,
        "epoch": 2,
        "partitions": [germans | {"name": "49"}],
        "public_key": SECOND.public,
        "until": 1_893_456_000,
    }
    rotating = FIRST.manifest(4, {"49": FIRST.partition("49 in edition 3", 3, [])}, third, next=announced)
    MANIFESTS["people 1.4, rotating"] = rotating
    MANIFESTS["people 2.1"] = SECOND.manifest(1, {"49": germans}, rotating)
    forged()
    for one in (FIRST, SECOND):
        ALL_FILES.update(one.files)


def forged() -> None:
    """Manifests whose deltas lead elsewhere."""
    of = FIRST
    first = MANIFESTS["people 1.1"]
    of.directory("49 of others", crowd(of, "others", 41))
    for_others = of.delta("49 for others", "49 of others", "49 in edition 2", (1, 2))
    wrong = of.partition("49 in edition 2", 2, [for_others])
    MANIFESTS["people 1.2, for others"] = of.manifest(2, {"49": wrong}, first)
    elsewhere = of.partition(
        "49 in edition 3", 2, [FIRST.delta("49 from 1 to 2", "49 in edition 1", "49 in edition 2", (1, 2))]
    )
    MANIFESTS["people 1.2, leading elsewhere"] = of.manifest(2, {"49": elsewhere}, first)


DOWNLOAD = {
    "privacy": "download",
    "partitions": "all",
    "buckets": 64,
    "cover": True,
    "largest_batch": 8,
    "leak_budget": 1000,
}
NOTHING: Json = {"tokens": {}, "files": [], "unfinished": []}
LEDGER: Json = {"secret": SECRET.hex(), "asked": {}, "odds": {}}


def served(of: Epoch, *names: str) -> list[Json]:
    return [{"sha256": twin.sha256(of.files[name]), "octets": {"of": name}} for name in names]


def run(reason: str, effect: str = "", **given: Any) -> Json:
    """A case, by the twin; its octets are read as a reader of the vector file reads them."""
    whole = {"uses_next": False, "held": NOTHING, "ledger": LEDGER} | given
    octets = ALL_FILES | MANIFESTS
    resolved = deepcopy(whole)
    resolved["manifest"] = octets[whole["manifest"]["of"]]
    resolved["served"] = [one | {"octets": octets[one["octets"]["of"]]} for one in whole["served"]]
    expected = sync_twin.sync(resolved)
    return case(reason, whole, expected, effect)


def after(of: Epoch, expected: Json, files: Json) -> Json:
    """What is held after a run: tokens with what they matched at, and files."""
    pairs = zip(expected["identifiers"], expected["members"], expected["editions"], strict=True)
    found = {one: (who, edition) for one, who, edition in pairs if one is not None}
    tokens = {
        one: {"token": of.token(one).hex(), "member": bool(who), "edition": edition}
        for one, (who, edition) in sorted(found.items())
    }
    held = [
        {"partition": p, "kind": kind, "edition": edition, "whole": whole, "base": base, "deltas": []}
        for p, (kind, edition, whole, base) in files.items()
    ]
    return {"tokens": tokens, "files": held, "unfinished": []}


def base_held(of: Epoch, name: str, edition: int) -> tuple[str, int, Json, Json]:
    return "base", edition, twin.file_info(of.files[name]), twin.directory_info(of.files[name])


HELD_EXPECTED: Json = {"identifiers": [member(1)], "members": [True], "editions": [1]}
