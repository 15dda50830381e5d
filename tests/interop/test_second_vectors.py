"""The second client reads the shipped directories, deltas and screens, and refuses what must be refused.

Its own reader, and octets taken from the vector files as their README says: nothing of the package is called.
"""

import base64
import hashlib
import json
import zlib
from pathlib import Path

import pytest
from cases import each
from second_client import Directory, Disbelieved, Service, check, open_screen, read_delta, sha256

VECTORS = Path(__file__).parents[2] / "contactsync" / "vectors"


class Shelf(Service):
    """A server of one file, whatever it is asked for: it is checked as if it had come over the network."""

    def __init__(self, data: bytes) -> None:
        self.file = data

    def request(self, *_: object, **__: object) -> bytes:
        return self.file


def octets(spec, files=None) -> bytes:
    if "of" in spec:
        data = files[spec["of"]]
        for splice in reversed(spec.get("splice", [])):
            at = splice["at"]
            put = bytes.fromhex(splice["hex"]) * splice.get("times", 1)
            data = data[:at] + put + data[at + splice["remove"] :]
        return data
    if "sha512" in spec:
        parts = (hashlib.sha512(f"{spec['sha512']}{i}".encode()).digest() for i in range(spec["count"]))
        return b"".join(part[: spec["octets"]] for part in parts)
    if "zlib" in spec:
        return zlib.decompress(base64.b64decode(spec["zlib"]))
    return bytes.fromhex(spec["hex"]) * spec.get("times", 1)


def hexes(values, partition) -> list[str]:
    digits = -(-(partition["slot_bits"] + partition["remainder_bits"]) // 4)
    return [f"{value:0{digits}x}" for value in sorted(values)]


def directory(data: bytes, info) -> Directory:
    return Directory(info | {"base": info}, lambda start, end: data[start:end])


def described(data: bytes):
    """What the header of a directory that is held says of it; the rest was verified when it came."""
    q, r, count = data[10], data[11], int.from_bytes(data[16:24], "little")
    top = data[: 64 + 32 * -(-(1 << (q - 12)) // 256)]
    figures = {"slot_bits": q, "remainder_bits": r, "count": count, "top_sha256": sha256(top).hex()}
    return figures | {"length": len(data), "sha256": sha256(data).hex()}


def read_directory(given, files):
    data = Shelf(octets(given["file"], files)).data(given["info"])
    return {"values": hexes(directory(data, given["info"]).values(), given["info"])}


def match_directory(given, files):
    reader = directory(octets(given["file"], files), given["info"])
    values = [reader.shape.value(int(token, 16)) for token in given["tokens"]]
    buckets = [value >> (reader.shape.r + 12) for value in values]
    return {"buckets": buckets, "found": [reader.holds(value) for value in values]}


def match_buckets(given, files):
    return {"found": match_directory(given, files)["found"]}


def take_delta(given, files):
    data = Shelf(octets(given["file"], files)).data(given["info"])
    partition = {"slot_bits": data[10], "remainder_bits": data[11]} if len(data) > 11 else {}
    delta = read_delta(data, partition)
    return {
        "from_edition": delta.editions[0],
        "to_edition": delta.editions[1],
        **partition,
        "old_count": delta.counts[0],
        "new_count": delta.counts[1],
        "old_sha256": delta.old_sha256,
        "new_sha256": delta.new_sha256,
        "left": hexes(delta.left, partition),
        "joined": hexes(delta.joined, partition),
    }


def follow_deltas(given, files):
    """As test_second_client.py follows a publication; what it reaches is only named, as nothing is built."""
    base = octets(given["base"], files)
    held = described(base)
    reader = directory(base, held)
    first = values = set(reader.values())
    sha256, count, edition = held["sha256"], held["count"], None
    for spec in given["deltas"]:
        delta = read_delta(octets(spec, files), held)
        check(edition in (None, delta.editions[0]), "the edition of a delta")
        check((count, sha256) == (delta.counts[0], delta.old_sha256), "what a delta starts from")
        check(delta.left <= values, "who left")
        check(not delta.joined & values, "who joined")
        values = values - delta.left | delta.joined
        sha256, count, edition = delta.new_sha256, delta.counts[1], delta.editions[1]
    asked = [reader.shape.value(int(token, 16)) for token in given["tokens"]]
    return {
        "before": [value in first for value in asked],
        "after": [value in values for value in asked],
        "values": hexes(values, held),
        "sha256": sha256,
    }


def read_screen(given, files):
    data = Shelf(octets(given["file"], files)).data(given["info"])
    screen = open_screen(data, given["of"])
    shift = 80 - given["of"]["slot_bits"] - given["of"]["remainder_bits"]
    return {"passes": [screen(int(token, 16) >> shift) for token in given["tokens"]]}


OPERATIONS = {
    "read_directory": read_directory,
    "match_directory": match_directory,
    "match_buckets": match_buckets,
    "read_delta": take_delta,
    "follow_deltas": follow_deltas,
    "read_screen": read_screen,
}
NOT_A_READERS = {"build_directory", "write_delta", "build_screen"}
# Only who builds the directory that a chain leads to can see that it is not the one that is named.
NEEDS_A_BUILDER = {("deltas that must not be followed", "bad-hash")}


def groups():
    for name in ("directory.json", "delta.json", "screen.json"):
        document = json.loads((VECTORS / name).read_bytes())
        files = {key: octets(spec) for key, spec in document["files"].items()}
        for group in document["groups"]:
            if group["operation"] not in NOT_A_READERS:
                yield pytest.param(group, files, id=group["name"])


@pytest.mark.slow
@pytest.mark.parametrize(("group", "files"), list(groups()))
def test_vectors(group, files) -> None:
    each([(case["reason"], group, case, files) for case in group["cases"]], agrees)


def agrees(group, case, files) -> None:
    operation, expected = OPERATIONS[group["operation"]], dict(case["expected"])
    refusal = expected.pop("refusal")
    if (group["name"], refusal) in NEEDS_A_BUILDER:
        assert operation(case["given"], files)["sha256"]
    elif refusal is not None:
        with pytest.raises(Disbelieved):
            operation(case["given"], files)
    else:
        got = operation(case["given"], files)
        assert {field: got[field] for field in expected} == expected
