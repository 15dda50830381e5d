"""Vectors of walks: from a manifest back to an earlier one, and histories that do not lead there."""

import hashlib
from typing import Any

from make_manifests import MINIMAL
from make_manifests import canonical as canonical_manifest
from vector_text import case

Json = dict[str, Any]
FORK = "one client is shown a history of its own"
KEY = hashlib.sha256(b"a public key").hexdigest()
OTHER_KEY = hashlib.sha256(b"another public key").hexdigest()


def manifest(at: tuple[int, int], previous: bytes | None, **members: Any) -> bytes:
    named = None if previous is None else hashlib.sha256(previous).hexdigest()
    key = KEY if at[0] == 1 else hashlib.sha256(b"epoch %d" % at[0]).hexdigest()
    whole = MINIMAL | {"epoch": at[0], "edition": at[1], "previous": named, "public_key": key}
    return canonical_manifest(whole | members)


def chain(*places: tuple[int, int], first: bytes | None = None, **members: Any) -> list[bytes]:
    """Manifests at these places, each after the one before it."""
    made: list[bytes] = []
    for at in places:
        made.append(manifest(at, made[-1] if made else first, **members))
    return made


def octets(data: bytes) -> Json:
    name = next((name for name, whole in FILES.items() if whole == data), None)
    return {"of": name} if name else {"text": data.decode("ascii")}


def walk(  # noqa: PLR0917 - what a walk is made of
    reason: str, newest: bytes, seen: bytes | None, kept: list[bytes], expected: Json, effect: str = ""
) -> Json:
    given = {
        "newest": octets(newest),
        "seen": None if seen is None else octets(seen),
        "kept": [octets(one) for one in kept],
    }
    return case(reason, given, expected, effect)


def accepted(  # noqa: PLR0917 - as above
    reason: str,
    newest: bytes,
    seen: bytes | None,
    kept: list[bytes],
    fetched: list[bytes] | None = None,
    gap: list[list[int]] | None = None,
) -> Json:
    names = [hashlib.sha256(one).hexdigest() for one in fetched or []]
    return walk(reason, newest, seen, kept, {"refusal": None, "fetched": names, "gap": gap})


LONG = chain(*((1, edition) for edition in range(1, 37)))
FILES = {f"edition {edition}": data for edition, data in enumerate(LONG, 1)}
"""What cases refer to by name."""

EPOCHS = chain((1, 1), (1, 2), (2, 1), (2, 2), (3, 1))
ROTATION = {"epoch": 2, "edition": 1, "public_key": OTHER_KEY, "until": 1_893_456_000, "partitions": []}


def walks() -> list[Json]:
    announced = manifest((1, 3), LONG[1], next=ROTATION)
    later = manifest((1, 4), announced, next=ROTATION | {"edition": 2})
    without = manifest((1, 5), later)
    anew = manifest((1, 6), without, next=ROTATION | {"public_key": KEY, "until": 1_900_000_000})
    strange = manifest(
        (1, 2), LONG[0], format="contactsync-manifest-7", rows={"anything": [1]}, critical=["rows"]
    )
    after = manifest((1, 3), strange)
    return [
        accepted("first contact: there is nothing to walk to", LONG[9], None, []),
        accepted("the very first manifest", LONG[0], None, []),
        accepted("the manifest that was seen", LONG[4], LONG[4], []),
        accepted("the next one: nothing is fetched", LONG[5], LONG[4], []),
        accepted("three further: the two in between are fetched, from the newest on", LONG[7], LONG[4],
                 LONG[4:8], [LONG[6], LONG[5]]),
        accepted("33 steps: 32 manifests are fetched", LONG[34], LONG[1], LONG[2:], LONG[33:1:-1]),
        accepted("34 steps within an epoch: a gap, seen at once", LONG[35], LONG[1], LONG[3:], [],
                 [[1, 2], [1, 36]]),
        accepted("across two epochs", EPOCHS[4], EPOCHS[1], EPOCHS, [EPOCHS[3], EPOCHS[2]]),
        accepted("editions of an epoch that was never seen, more than can be walked: a gap",
                 *_many_editions(), [[1, 1], [3, 1]]),
        accepted("an announcement that goes on with a later edition", later, LONG[1], [announced],
                 [announced]),
        accepted("an announcement that is taken back, and another one later", anew, later, [without],
                 [without]),
        accepted("a manifest of a later format in between, with critical members", after, LONG[0], [strange],
                 [strange]),
    ]  # fmt: skip


def _many_editions() -> tuple[bytes, bytes, list[bytes], list[bytes]]:
    """Epoch 2 had 40 editions, as the one before the newest shows: those before it are not fetched."""
    places = [(2, edition) for edition in range(1, 41)]
    made = chain(*places, (3, 1), first=LONG[0])
    return made[-1], LONG[0], made[-2:-1], [made[-2]]


def refusals() -> list[Json]:
    def refuse(
        reason: str, newest: bytes, seen: bytes | None, kept: list[bytes], refusal: str = "another-history"
    ) -> Json:
        return walk(reason, newest, seen, kept, {"refusal": refusal}, FORK)

    other = manifest((1, 5), LONG[3], surplus=1)
    on_other = manifest((1, 6), other)
    further = manifest((1, 7), on_other)
    announced = manifest((1, 3), LONG[1], next=ROTATION)
    key = manifest((1, 4), announced, next=ROTATION | {"public_key": KEY})
    until = manifest((1, 4), announced, next=ROTATION | {"until": 1_893_456_001})
    back = manifest((1, 4), manifest((1, 3), LONG[1], next=ROTATION | {"edition": 2}), next=ROTATION)
    business = manifest((1, 5), LONG[3], audience="business")
    no_json = b'{"audience": "people"}'
    return [
        accepted("a good history: accepted", LONG[7], LONG[4], LONG[4:8], [LONG[6], LONG[5]]),
        refuse("an earlier edition", LONG[3], LONG[4], LONG),
        refuse("an earlier epoch", EPOCHS[1], EPOCHS[2], EPOCHS),
        refuse("the same edition with other octets", other, LONG[4], LONG),
        refuse("the next edition names another one before it", on_other, LONG[4], LONG),
        refuse("one in between names another one than was seen", further, LONG[4], [on_other, other]),
        refuse("one that must be kept is not there", LONG[7], LONG[4], [LONG[6]]),
        refuse("one that must be kept is no manifest", manifest((1, 7), no_json), LONG[4], [no_json],
               "malformed"),
        refuse("another key within the epoch", manifest((1, 6), LONG[4], public_key=OTHER_KEY), LONG[4], []),
        refuse("another key in between, and the right one again",
               *_key_in_between()),
        refuse("an edition is left out", manifest((1, 7), LONG[4]), LONG[3], LONG),
        refuse("an epoch is left out", manifest((3, 1), LONG[4]), LONG[3], LONG),
        refuse("edition 1 after an edition of the same epoch",
               manifest((2, 1), EPOCHS[3]), LONG[0], EPOCHS),
        refuse("a first manifest that names one before it", manifest((1, 1), LONG[4]), None, []),
        refuse("no previous manifest in edition 2", manifest((1, 2), None), None, []),
        refuse("no previous manifest in the first edition of epoch 2", manifest((2, 1), None), None, []),
        refuse("the manifest of another audience", business, LONG[3], []),
        refuse("a manifest of another audience in between", manifest((1, 6), business), LONG[3], [business]),
        refuse("a walk that leads past the one seen", EPOCHS[4], manifest((1, 9), LONG[7]), EPOCHS),
        refuse("another key is announced than before", key, LONG[1], [announced]),
        refuse("another end of the overlap is announced", until, LONG[1], [announced]),
        refuse("an announcement goes back an edition", back, LONG[1],
               [manifest((1, 3), LONG[1], next=ROTATION | {"edition": 2})]),
    ]  # fmt: skip


def _key_in_between() -> tuple[bytes, bytes, list[bytes]]:
    between = manifest((1, 6), LONG[4], public_key=OTHER_KEY)
    return manifest((1, 7), between), LONG[4], [between]
