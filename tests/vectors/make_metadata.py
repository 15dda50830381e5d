"""What metadata.json holds: TUF metadata from a pinned root to a manifest, and what must be refused."""

import functools
import hashlib
import json
from typing import Any

import tuf_twin as tuf
from make_manifests import MINIMAL, put
from make_manifests import canonical as canonical_manifest
from tuf_twin import Key
from vector_text import case, changed, document, group

Json = dict[str, Any]
SOURCE = "contactsync, computed by tests/vectors/tuf_twin.py"
ABOUT = (
    "Signed metadata (docs/http-api.md, TUF 1.0.31), at one moment: from a pinned root to the manifest of an "
    "audience, for each state of the server in turn. All but the last state are good."
)
NOW = 1_893_456_000  # 2030-01-01T00:00:00Z
OLD = "an old state is shown as the current one, and who left is still found"
FORGED = "whoever is between client and server, or has stolen an old key, chooses what the client believes"
MIXED = "parts of two publications are put together as nobody has published them"
FORK = "one client is shown a history of its own"
BURDEN = "memory and time are the sender's to spend"

KEYS = {role: [Key(f"{role} 1")] for role in tuf.ROLES}
NEW = {role: [Key(f"{role} 2")] for role in tuf.ROLES}
THREE = KEYS | {"root": [Key(f"root of three {i}") for i in range(3)]}
STRANGER = Key("nobody knows this key")


def manifest(epoch: int, edition: int, previous: bytes | None, **members: Any) -> bytes:
    named = None if previous is None else hashlib.sha256(previous).hexdigest()
    return canonical_manifest(MINIMAL | {"epoch": epoch, "edition": edition, "previous": named} | members)


M1 = manifest(1, 1, None)
M2 = manifest(1, 2, M1)
M3 = manifest(1, 3, M2)
OTHER = manifest(1, 2, M1, surplus=1)
FORKED = manifest(1, 3, OTHER)
State = dict[str, bytes]


def state(
    number: int,
    data: bytes,
    keys: dict[str, list[Key]] | None = None,
    *,
    audience: str = "people",
    kept: tuple[bytes, ...] = (),
    changes: dict[str, Json] | None = None,
    tell: bytes | None = None,
) -> State:
    """What a server has in its publication `number`; `changes` are members of `signed` by role."""
    keys, changes = keys or KEYS, changes or {}
    told = {audience: data if tell is None else tell}
    targets = tuf.file(tuf.targets(number, told, **changes.get("targets", {})), keys["targets"])
    snapshot = tuf.file(
        tuf.snapshot(number, targets, number, **changes.get("snapshot", {})), keys["snapshot"]
    )
    timestamp = tuf.file(
        tuf.timestamp(number, snapshot, number, **changes.get("timestamp", {})), keys["timestamp"]
    )
    manifests = {f"{hashlib.sha256(one).hexdigest()}.{audience}.json": one for one in (data, *kept)}
    return {
        "timestamp.json": timestamp,
        f"{number}.snapshot.json": snapshot,
        f"{number}.targets.json": targets,
        **manifests,
    }


ROOT = tuf.file(tuf.root(1, KEYS), KEYS["root"])
ROOT_2 = tuf.file(tuf.root(2, NEW), [*KEYS["root"], *NEW["root"]])
ROOT_OF_THREE = tuf.file(tuf.root(1, THREE, {"root": 2}), THREE["root"][:2])
FIRST, SECOND, THIRD = state(1, M1), state(2, M2, kept=(M1,)), state(3, M3, kept=(M2, M1))
NAMED: dict[str, bytes] = {"root": ROOT, "root 2": ROOT_2, "root of three": ROOT_OF_THREE}
for _number, _state in enumerate((FIRST, SECOND, THIRD), 1):
    for _name, _octets in reversed(_state.items()):
        NAMED[f"state {_number}, {_name if len(_name) < 40 else _name.partition('.')[2]}"] = _octets


def octets(data: bytes) -> Json:
    """By the name of the file that it is, or that it is most like."""
    same = next((name for name, whole in NAMED.items() if whole == data), None)
    if same is not None:
        return {"of": same}
    bare = data.rstrip(b" ")
    if len(bare) < len(data) and (name := next((n for n, whole in NAMED.items() if whole == bare), None)):
        blanks = {"at": len(bare), "remove": 0, "text": " ", "times": len(data) - len(bare)}
        return {"of": name, "splice": [blanks]}
    try:
        kind = json.loads(data)["signed"]["_type"]
    except (ValueError, KeyError, TypeError):
        return {"text": data.decode("ascii")} if data.isascii() else {"hex": data.hex()}
    like = {"root": "root 2", "timestamp": "state 2, timestamp.json",
            "snapshot": "state 2, 2.snapshot.json", "targets": "state 2, 2.targets.json"}  # fmt: skip
    if kind not in like or not data.isascii():
        return {"hex": data.hex()}
    return changed(like[kind], NAMED[like[kind]], data, text=True)


def follow(
    reason: str, expected: Json, *states: State, effect: str = "", root: bytes = ROOT, **given: Any
) -> Json:
    served = [
        [{"name": name, "octets": octets(data)} for name, data in sorted(one.items())] for one in states
    ]
    whole = {"root": octets(root), "now": NOW, "audience": "people", "states": served}
    return case(reason, whole | given, expected, effect)


def accept(
    reason: str, data: bytes, *states: State, root_version: int = 1, gap: Any = None, **more: Any
) -> Json:
    value = json.loads(data)
    expected = {
        "refusal": None,
        "root_version": root_version,
        "epoch": value["epoch"],
        "edition": value["edition"],
        "sha256": hashlib.sha256(data).hexdigest(),
        "gap": gap,
    }
    return follow(reason, expected, *states, **more)


def refuse(reason: str, refusal: str, effect: str, *states: State, **more: Any) -> Json:
    return follow(reason, {"refusal": refusal}, *states, effect=effect, **more)


def resigned(data: bytes, keys: list[Key], *, over: bytes | None = None, **members: Any) -> bytes:
    """A file with other members, signed by these keys."""
    return tuf.file(json.loads(data)["signed"] | members, keys, over=over)


def with_timestamp(whole: State, timestamp: bytes) -> State:
    return whole | {"timestamp.json": timestamp}


def accepted() -> list[Json]:
    strange = {"x-unknown": 'ä\U0001f600\n"\\', "x-list": [True, None, -1]}
    foreign = json.loads(FIRST["timestamp.json"])
    foreign["signatures"].append({"keyid": STRANGER.id, "sig": STRANGER.sign(b"anything").hex()})
    return [
        accept("first contact", M1, FIRST),
        accept("the next publication: the manifest continues the one seen last", M2, FIRST, SECOND),
        accept("two publications later: one manifest in between is fetched", M3, FIRST, THIRD),
        accept("the same state again", M1, FIRST, FIRST),
        accept("all keys are replaced: a second root, signed by the old keys and by the new ones", M1,
               state(1, M1, NEW) | {"2.root.json": ROOT_2}, root_version=2),
        accept("two of three keys have signed the root", M1, FIRST, root=ROOT_OF_THREE),
        accept("unknown members of `signed`: part of the canonical form, non-ASCII as UTF-8", M1,
               state(1, M1, changes=dict.fromkeys(("targets", "snapshot", "timestamp"), strange))),
        accept("a signature of a key that the root does not name stands beside the right one", M1,
               with_timestamp(FIRST, json.dumps(foreign).encode())),
        accept("a later publication of the same manifest", M1, FIRST, state(2, M1)),
    ]  # fmt: skip


def edited(data: bytes, old: str, new: str) -> bytes:
    text = data.decode()
    assert old in text
    return text.replace(old, new, 1).encode()


def refused() -> list[Json]:
    name1 = f"{hashlib.sha256(M1).hexdigest()}.people.json"
    stamp, snap, listed = (FIRST[f] for f in ("timestamp.json", "1.snapshot.json", "1.targets.json"))
    signature = json.loads(stamp)["signatures"][0]["sig"]
    flipped = signature[:-2] + f"{int(signature[-2:], 16) ^ 1:02x}"
    twice = json.loads(ROOT_OF_THREE)
    twice["signatures"] = [twice["signatures"][0]] * 2
    one = tuf.file(tuf.root(2, THREE, {"root": 2}), THREE["root"][:1])
    older = state(1, M1)

    def root_2(*keys: Key, **more: Any) -> State:
        return state(1, M1, NEW) | {"2.root.json": tuf.file(tuf.root(2, NEW) | more, list(keys))}

    def past(role: str) -> State:
        return state(1, M1, changes={role: {"expires": "2029-12-31T23:59:59Z"}})

    return [
        follow("a good state: accepted", {"refusal": None, "root_version": 1}, FIRST),
        # Signatures.
        refuse("one bit of the timestamp's signature", "bad-signature", FORGED,
               with_timestamp(FIRST, edited(stamp, signature, flipped))),
        refuse("the timestamp says something else than what was signed", "bad-signature", FORGED,
               with_timestamp(FIRST, edited(stamp, '"version": 1\n', '"version": 2\n'))),
        refuse("the timestamp is signed by the key of the snapshot", "bad-signature", FORGED,
               with_timestamp(FIRST, resigned(stamp, KEYS["snapshot"]))),
        refuse("a key that the root does not name", "bad-signature", FORGED,
               with_timestamp(FIRST, resigned(stamp, [STRANGER]))),
        refuse("no signature", "bad-signature", FORGED, with_timestamp(FIRST, resigned(stamp, []))),
        refuse("signed over the octets of the file, not over the canonical form", "bad-signature",
               "another spelling of the same metadata has another signature, and clients disagree",
               with_timestamp(FIRST, resigned(stamp, KEYS["timestamp"], over=stamp))),
        refuse("the key of targets has signed the snapshot", "bad-signature", FORGED,
               _lead_to(1, M1, {**KEYS, "snapshot": KEYS["targets"]})),
        refuse("targets signed by the key of the timestamp, which is online", "bad-signature", FORGED,
               _lead_to(1, M1, {**KEYS, "targets": KEYS["timestamp"]})),
        refuse("a second root that only the old keys have signed", "bad-signature",
               "keys are named that nobody has shown to have", root_2(*KEYS["root"])),
        refuse("a second root that only its own keys have signed", "bad-signature", FORGED,
               root_2(*NEW["root"])),
        refuse("a second root with one of the two signatures that the first one demands", "bad-signature",
               FORGED, FIRST | {"2.root.json": one}, root=ROOT_OF_THREE),
        refuse("the old keys after a second root has replaced them", "bad-signature",
               "a stolen key counts although it was replaced", FIRST | {"2.root.json": ROOT_2}),
        # Versions.
        refuse("an older timestamp than the one seen", "rolled-back", OLD, SECOND, older),
        refuse("a newer timestamp of an older snapshot", "rolled-back", OLD, SECOND,
               _republished(3, older, 1)),
        refuse("a second root that says that it is the third", "rolled-back",
               "roots are left out, and with them what they have revoked",
               root_2(*KEYS["root"], *NEW["root"], version=3)),
        # Time.
        refuse("an expired timestamp", "expired", OLD, past("timestamp")),
        refuse("an expired snapshot", "expired", OLD, past("snapshot")),
        refuse("expired targets", "expired", OLD, past("targets")),
        refuse("an expired root", "expired", "keys are used for longer than they were to be", FIRST,
               root=tuf.file(tuf.root(1, KEYS, expires="2029-12-31T23:59:59Z"), KEYS["root"])),
        refuse("the second at which the timestamp ends", "expired", OLD,
               state(1, M1, changes={"timestamp": {"expires": "2030-01-01T00:00:00Z"}})),
        # What one file says of the next.
        refuse("a snapshot that is not the one that the timestamp names", "bad-hash", MIXED,
               FIRST | {"1.snapshot.json": snap.replace(b"\n", b"\n ", 1)[: len(snap)]}),
        refuse("targets that are not the ones that the snapshot names", "bad-hash", MIXED,
               FIRST | {"1.targets.json": resigned(listed, KEYS["targets"], expires="2030-04-02T00:00:00Z")}),
        refuse("a manifest that is not the one that the targets name", "bad-hash", FORK,
               FIRST | {name1: M1.replace(b'"epoch":1', b'"epoch":2')}),
        refuse("a manifest that is longer than signed", "too-large", BURDEN, FIRST | {name1: M1 + b" "}),
        refuse("a manifest that is cut off", "bad-hash", FORK, FIRST | {name1: M1[:-1]}),
        refuse("a timestamp of more than 16,384 octets", "too-large", BURDEN,
               with_timestamp(FIRST, stamp + b" " * 16_384)),
        refuse("the manifest that was signed is not there", "withheld", OLD,
               {name: data for name, data in FIRST.items() if name != name1}),
        refuse("the snapshot of another version than the timestamp names", "rolled-back", MIXED,
               _snapshot_of_another_version()),
        # Form.
        refuse("a timestamp that is no JSON", "malformed", FORGED, with_timestamp(FIRST, b"{")),
        refuse("the snapshot in the place of the timestamp", "malformed", FORGED,
               with_timestamp(FIRST, snap)),
        refuse("one key's signature twice, where two of three must sign", "malformed", FORGED, FIRST,
               root=json.dumps(twice).encode()),
        refuse("a pinned root that its own keys have not signed", "bad-signature", FORGED, FIRST,
               root=resigned(ROOT, [STRANGER])),
        refuse("a second hash of a manifest beside the SHA-256", "out-of-range",
               "clients that look at different hashes take different manifests",
               _with_target(hashes={"sha256": hashlib.sha256(M1).hexdigest(),
                                    "sha512": hashlib.sha512(M1).hexdigest()})),
        refuse("a manifest of more than 8 MiB", "out-of-range", BURDEN, _with_target(length=(8 << 20) + 1)),
        refuse("the manifest of another audience under this one's name", "not-as-described", FORK,
               state(1, canonical_manifest(put(MINIMAL, "audience", "business")))),
    ]  # fmt: skip


def _lead_to(number: int, data: bytes, keys: dict[str, list[Key]]) -> State:
    return state(number, data, keys)


def _republished(number: int, whole: State, of: int) -> State:
    snap = whole[f"{of}.snapshot.json"]
    return with_timestamp(whole, tuf.file(tuf.timestamp(number, snap, of), KEYS["timestamp"]))


def _snapshot_of_another_version() -> State:
    """The timestamp names version 2 with the hash of a file that says that it is version 1."""
    snap = FIRST["1.snapshot.json"]
    stamp = tuf.file(tuf.timestamp(2, snap, 2), KEYS["timestamp"])
    return with_timestamp(FIRST, stamp) | {"2.snapshot.json": snap}


def _with_target(**members: Any) -> State:
    signed = tuf.targets(1, {"people": M1})
    signed["targets"]["people.json"] |= members
    return state(1, M1, changes={"targets": {"targets": signed["targets"]}})


def another_history() -> list[Json]:
    """What is signed and current, and not what this client has seen before."""
    return [
        follow("the next manifest: accepted", {"refusal": None, "edition": 2}, FIRST, SECOND),
        refuse("the same epoch and edition with other octets", "another-history", FORK, SECOND,
               state(3, OTHER, kept=(M1,))),
        refuse("the next edition of a history in which the one seen is not", "another-history", FORK, SECOND,
               state(3, FORKED, kept=(OTHER, M1))),
        refuse("an older manifest under newer signatures", "another-history", OLD, SECOND, state(3, M1)),
        refuse("another key within the epoch", "another-history", "clients are told apart by their keys",
               FIRST, state(2, manifest(1, 2, M1, public_key="ab" * 32), kept=(M1,))),
    ]  # fmt: skip


@functools.cache
def metadata() -> Json:
    groups = [
        group("what signed metadata leads to", "publication.metadata", "follow", accepted(), SOURCE),
        group("metadata that must be refused", "publication.metadata", "follow", refused(), SOURCE),
        group(
            "signed manifests of another history", "publication.history", "follow", another_history(), SOURCE
        ),
        *histories(),
    ]
    from make_histories import FILES

    files = {name: {"text": data.decode()} for name, data in (NAMED | FILES).items()}
    return document(ABOUT, groups, files)


def histories() -> list[Json]:
    from make_histories import refusals, walks

    return [
        group("walks back through manifests", "publication.history", "walk", walks(), SOURCE),
        group("walks that must end", "publication.history", "walk", refusals(), SOURCE),
    ]
