"""A whole sync in plain Python, from docs/ alone: what vectors of the operation `sync` must give.

Nothing of the package is imported. reference.py is the VOPRF, tests/interop the reader of files and the
profile of identifiers; both were written from the documents, too.
"""

import functools
import hashlib
import itertools
import json
from typing import Any

import labels_twin
import reference as ref
import second_profile
from second_client import Delta, Directory, Service, open_screen, partition_of, read_delta
from siv_twin import open_by, openssl

Json = dict[str, Any]


class Refused(Exception):
    """With the word of docs/vectors.md."""


def le(value: int) -> bytes:
    return value.to_bytes(32, "little")


def scalar(text: str) -> int:
    return int.from_bytes(bytes.fromhex(text), "little")


def identifier_of(contact: Json) -> str | None:
    try:
        return second_profile.identifier(contact["written"], contact["region"]).decode()
    except second_profile.Rejected:
        return None


# --- the server's half ---


def info_of(audience: str, epoch: int) -> bytes:
    return f"contactsync/v1/{audience}/{epoch}".encode()


def key_of(seed: bytes, audience: str, epoch: int) -> tuple[int, ref.Element]:
    return ref.DeriveKeyPair(seed, info_of(audience, epoch), 1)


@functools.cache
def reply_to(body: bytes, secret: int, nonce: int) -> bytes:
    points = [ref.DeserializeElement(body[i : i + 32]) for i in range(0, len(body), 32)]
    evaluated, (c, s) = ref.BlindEvaluate(secret, ref.multiply(secret, ref.GENERATOR), points, nonce)
    return b"".join(map(ref.encode, evaluated)) + le(c) + le(s)


def token_of(identifier: str, secret: int) -> bytes:
    return ref.Evaluate(secret, identifier.encode(), 1)[:10]


# --- the client's half ---


def padded(count: int) -> int:
    return max(8, 1 << (count - 1).bit_length())


def inputs_of(batch: Json) -> list[bytes]:
    return [
        one["contact"].encode() if "contact" in one else bytes.fromhex(one["padding"])
        for one in batch["inputs"]
    ]


def body_of(batch: Json) -> bytes:
    return b"".join(itertools.starmap(_blinded, zip(inputs_of(batch), batch["blinds"], strict=True)))


@functools.cache
def _blinded(octets: bytes, blind: str) -> bytes:
    return ref.encode(ref.Blind(octets, scalar(blind), 1))


def outputs_of(batch: Json, reply: bytes, public: bytes) -> list[bytes]:
    """Protocol.md, "What a client does with the reply"."""
    inputs, body = inputs_of(batch), body_of(batch)
    if len(reply) != 32 * len(inputs) + 64:
        raise Refused("wrong-length")
    rows = [reply[i : i + 32] for i in range(0, len(reply), 32)]
    try:
        key = ref.DeserializeElement(public)
    except ref.DecodeError:
        raise Refused("invalid-key") from None
    try:
        evaluated = [ref.DeserializeElement(row) for row in rows[:-2]]
    except ref.DecodeError:
        raise Refused("invalid-element") from None
    try:
        proof = ref.DeserializeScalar(rows[-2]), ref.DeserializeScalar(rows[-1])
    except ref.DecodeError:
        raise Refused("invalid-scalar") from None
    points = [ref.decode(body[i : i + 32]) for i in range(0, len(body), 32)]
    try:
        return ref.Finalize(inputs, [scalar(b) for b in batch["blinds"]], evaluated, points, key, proof)
    except ref.VerifyError:
        raise Refused("bad-proof") from None


# --- files ---


class Held:
    """A whole file, and the deltas after it."""

    def __init__(self, spec: Json) -> None:
        self.spec = spec
        self.reached = spec["deltas"][-1]["to"] if spec["deltas"] else spec["edition"]

    def missing(self, partition: Json) -> list[Json] | None:
        """The deltas from here to the partition's edition; None if none lead there."""
        if self.reached == partition["edition"]:
            return []
        chain = partition["deltas"]
        start = next((i for i, one in enumerate(chain) if one["from"] == self.reached), None)
        if start is None or len(self.spec["deltas"]) + len(chain) - start > 64:
            return None
        return chain[start:]


def carried_on(partition: Json, kind: str, whole: Json, held: Json) -> tuple[list[Json], Json]:
    """Which files are fetched for a kind, and what is held then: protocol.md, "Large partitions"."""
    have = held.get(kind)
    deltas = None if have is None else Held(have).missing(partition)
    if deltas is None or sum(one["file"]["length"] for one in deltas) >= whole["length"]:
        return [whole], {"kind": kind, "edition": partition["edition"], "whole": whole, "deltas": []}
    return [one["file"] for one in deltas], have | {"deltas": [*have["deltas"], *deltas]}


def layout(q: int) -> tuple[int, int, int, int]:
    """Buckets, pages, the size of a page, the data offset."""
    buckets = 1 << (q - 12)
    entries = min(buckets, 256)
    pages = -(-buckets // 256)
    return buckets, pages, 48 * entries + 8, 64 + 32 * pages + pages * (48 * entries + 8)


def ranges_cost(partition: Json, k: int) -> int:
    buckets, pages, page, data = layout(partition["slot_bits"])
    k = min(k, buckets)
    return 64 + 32 * pages + page * min(k, pages) + (partition["base"]["length"] - data) * k // buckets


def plan(partition: Json, held: Json, options: Json) -> tuple[list[Json], Json]:
    files, after = carried_on(partition, "base", partition["base"], held)
    if options["privacy"] == "download" or partition["screen"] is None:
        return files, after
    screened, then = carried_on(partition, "screen", partition["screen"], held)
    cost = sum(file["length"] for file in screened) + ranges_cost(partition, options["buckets"])
    return (screened, then) if cost < sum(file["length"] for file in files) else (files, after)


def unheld(partition: Json, held: Json) -> list[Json]:
    """The patches that are fetched: http-api.md, "The patches"."""
    there = {one["file"]["sha256"] for kind in held.values() for one in kind.get("patches", [])}
    listed = partition["patches"]["files"] if "patches" in partition else []
    return [one["file"] for one in listed if one["file"]["sha256"] not in there]


class Sync:
    """One case of the operation `sync`. `octets` in `given` are bytes."""

    def __init__(self, given: Json) -> None:
        self.given = given
        published = json.loads(given["manifest"])
        unusable = {
            name
            for name, one in published["partitions"].items()
            if one.get("critical", ["patches"]) != ["patches"] or not name.isdigit()
        }
        usable = {name: one for name, one in published["partitions"].items() if name not in unusable}
        self.manifest = published | {"partitions": usable, "unusable": sorted(unusable)}
        if given["uses_next"]:
            self.manifest = Service.ahead(published)
        self.served = {one["sha256"]: one["octets"] for one in given["served"]}
        self.out: Json = {}
        self.outputs: dict[str, bytes] = {}

    def run(self) -> Json:
        given, manifest = self.given, self.manifest
        identifiers = [identifier_of(one) for one in given["contacts"]]
        book = list(dict.fromkeys(one for one in identifiers if one is not None))
        held: dict[str, Json] = {}
        for one in given["held"]["files"]:
            held.setdefault(one["partition"], {})[one["kind"]] = one
        plans = {
            name: plan(partition, held.get(name, {}), given["options"])
            for name, partition in sorted(manifest["partitions"].items())
        }
        sidecars = self.sidecars()
        fetched = []
        for name, (files, _) in plans.items():
            later = unheld(manifest["partitions"][name], held.get(name, {}))
            fetched += [file["sha256"] for file in (*files, *later)]
            if name in sidecars:
                fetched.append(manifest["partitions"][name]["labels"]["file"]["sha256"])
        chains = {name: self.chain(name, after) for name, (_, after) in plans.items()}
        patches = {name: self.patches(name) for name in plans}
        for name, (_, after) in plans.items():
            self.uncontradicted(name, after, [*chains[name], *patches[name]])
        tokens = {name: one["token"] for name, one in given["held"]["tokens"].items()}
        tokens |= self.evaluated([one for one in book if one not in tokens])
        self.out["lists"] = []
        found: dict[str, tuple[bool | None, int]] = {}
        for name in sorted({self.partition(one) for one in book}):
            mine = [one for one in book if self.partition(one) == name]
            if name in manifest["partitions"]:
                by_base = self.settled(name, plans[name][1], chains[name], mine, tokens)
                found |= self.patched(name, patches[name], by_base, tokens)
            else:
                unknown = name in manifest["unusable"]
                found |= dict.fromkeys(mine, (None if unknown else False, -1))
        if given["options"].get("labels"):
            self.out["labels"] = [
                self.label(one, sidecars, found[one][0]) if one is not None else None for one in identifiers
            ]
        return self.out | {
            "identifiers": identifiers,
            "fetched": fetched,
            "members": [None if one is None else found[one][0] for one in identifiers],
            "editions": [-1 if one is None else found[one][1] for one in identifiers],
        }

    # Labels, which no vector has from an earlier sync

    def sidecars(self) -> dict[str, list[bytes]]:
        """The entries of each partition with labels, in their order, if labels are wanted."""
        found = {}
        for name, one in self.manifest["partitions"].items():
            if "labels" not in one or not self.given["options"].get("labels"):
                continue
            data = self.served[one["labels"]["file"]["sha256"]]
            if hashlib.sha256(data).hexdigest() != one["labels"]["file"]["sha256"]:
                raise Refused("bad-hash")
            width = 16 + one["labels"]["size"]
            start = len(data) - one["count"] * width
            found[name] = [data[at : at + width] for at in range(start, len(data), width)]
        return found

    def label(self, identifier: str, sidecars: dict[str, list[bytes]], member: bool | None) -> str | None:
        name = self.partition(identifier)
        if not member or name not in sidecars:
            return None
        partition, output = self.manifest["partitions"][name], self.outputs[identifier]
        whole = self.served[partition["base"]["sha256"]]
        values = Directory(partition, lambda a, b: whole[a:b]).values()
        place = values.index(
            int(output[:10].hex(), 16) >> (80 - partition["slot_bits"] - partition["remainder_bits"])
        )
        data = labels_twin.context(self.manifest["audience"], self.manifest["epoch"])
        text = open_by(openssl, output[10:42], [data], sidecars[name][place])
        label = None if text is None else text.rstrip(b"\0").decode()
        return label if label and label.isprintable() else None

    def partition(self, identifier: str) -> str:
        """The calling code, whether it is listed or not."""
        every = dict.fromkeys([*self.manifest["partitions"], *self.manifest["unusable"]])
        return partition_of(identifier.encode(), every) or identifier.removeprefix("tel:+")[:2]

    # Evaluation

    def evaluated(self, new: list[str]) -> Json:
        given, manifest = self.given, self.manifest
        options, unfinished = given["options"], given["held"]["unfinished"]
        waiting = {one for batch in unfinished for one in batch["identifiers"]}
        fresh = [one for one in new if one not in waiting]
        size = padded(len(fresh)) if fresh else 8 * options["cover"]
        most = min(4096, max(8, 1 << (options["largest_batch"].bit_length() - 1)))
        points = [batch["points"] for batch in unfinished]
        points += [min(most, size - at) for at in range(0, size, most)]
        assert points == [len(batch["inputs"]) for batch in given["drawn"]]
        secret, public = key_of(bytes.fromhex(given["seed"]), manifest["audience"], manifest["epoch"])
        assert ref.encode(public).hex() == manifest["public_key"]
        self.out |= {"points": points, "new": sorted(fresh), "requests": []}
        tokens: Json = {}
        for batch in given["drawn"]:
            body = body_of(batch)
            honest = reply_to(body, secret, scalar(batch["nonce"]))
            reply = bytes.fromhex(batch["reply"]) if "reply" in batch else honest
            outputs = outputs_of(batch, reply, bytes.fromhex(manifest["public_key"]))
            self.out["requests"].append(
                {
                    "path": f"/v1/evaluate/{manifest['audience']}/{manifest['epoch']}",
                    "body": body.hex(),
                    "reply": honest.hex(),
                }
            )
            for one, output in zip(batch["inputs"], outputs, strict=True):
                if "contact" in one:
                    tokens[one["contact"]] = output[:10].hex()
                    self.outputs[one["contact"]] = output
        self.out["tokens"] = dict(sorted(tokens.items()))
        return tokens

    # Files

    def chain(self, name: str, after: Json) -> list[Delta]:
        partition = self.manifest["partitions"][name]
        start = after.get("base", partition["base"] | {"count": partition["count"]})
        sha256, count = start["sha256"], start["count"]
        deltas = []
        for one in after["deltas"]:
            delta = read_delta(self.served[one["file"]["sha256"]], partition)
            here = (*delta.editions, delta.old_sha256, delta.counts[0])
            if here != (one["from"], one["to"], sha256, count):
                raise Refused("not-following")
            sha256, count = delta.new_sha256, delta.counts[1]
            deltas.append(delta)
        if (sha256, count) != (partition["base"]["sha256"], partition["count"]):
            raise Refused("not-following")
        return deltas

    def patches(self, name: str) -> list[Delta]:
        """What leads on from the base of the manifest."""
        partition, found = self.manifest["partitions"][name], []
        if "patches" not in partition:
            return []
        stated = partition["patches"]
        state, count = partition["base"]["sha256"], partition["count"]
        for one in stated["files"]:
            data = self.served[one["file"]["sha256"]]
            if (data[10], data[11]) != (partition["slot_bits"], partition["remainder_bits"]):
                raise Refused("not-following")
            patch = read_delta(data, partition)
            if (*patch.editions, patch.old_sha256, patch.counts[0]) != (one["from"], one["to"], state, count):
                raise Refused("not-following")
            state, count = patch.new_sha256, patch.counts[1]
            found.append(patch)
        if (state, count) != (stated["state"], stated["count"]):
            raise Refused("not-following")
        return found

    def uncontradicted(self, name: str, after: Json, deltas: list[Delta]) -> None:
        """Nobody joins who is there, or leaves who is not: as far as can be told without the base."""
        there: dict[int, bool] = {}
        if after["kind"] == "base" and deltas:
            partition, whole = self.manifest["partitions"][name], self.served[after["whole"]["sha256"]]
            start = after.get("base") or partition["base"] | partition
            held = Directory(start | {"base": after["whole"]}, lambda a, b: whole[a:b]).values()
            touched = {value for delta in deltas for value in delta.joined | delta.left}
            there = dict.fromkeys(touched, False) | dict.fromkeys(touched & set(held), True)
        for delta in deltas:
            for values, now in ((delta.left, False), (delta.joined, True)):
                if any(there.get(value) is now for value in values):
                    raise Refused("contradicting")
                there |= dict.fromkeys(values, now)

    def patched(
        self, name: str, patches: list[Delta], by_base: dict[str, tuple[bool, int]], tokens: Json
    ) -> dict[str, tuple[bool, int]]:
        """Who is a member now. The edition stays that of the base."""
        partition = self.manifest["partitions"][name]
        shift = 80 - partition["slot_bits"] - partition["remainder_bits"]
        now = {int(tokens[one], 16) >> shift for one, (member, _) in by_base.items() if member}
        for patch in patches:
            now = (now | patch.joined) - patch.left
        return {one: (int(tokens[one], 16) >> shift in now, edition) for one, (_, edition) in by_base.items()}

    def settled(
        self, name: str, after: Json, deltas: list[Delta], mine: list[str], tokens: Json
    ) -> dict[str, tuple[bool, int]]:
        """Who is a member, and by which edition."""
        partition = self.manifest["partitions"][name]
        shift = 80 - partition["slot_bits"] - partition["remainder_bits"]
        values = {one: int(tokens[one], 16) >> shift for one in mine}
        before = {one: self.given["held"]["tokens"].get(one, {"edition": -1}) for one in mine}
        steps = {after["edition"], *(delta.editions[1] for delta in deltas)}
        sure = {one: before[one]["member"] for one in mine if before[one]["edition"] in steps}
        at = {one: before[one]["edition"] if one in sure else after["edition"] for one in mine}
        tested = [one for one in mine if one not in sure]
        maybe: set[str] = set()
        if tested and after["kind"] == "base":
            whole = self.served[after["whole"]["sha256"]]
            start = after.get("base") or partition["base"] | partition
            members = set(Directory(start | {"base": after["whole"]}, lambda a, b: whole[a:b]).values())
            sure |= {one: values[one] in members for one in tested}
            tested = []
        elif tested:
            figures = after.get("base", partition)
            passes = open_screen(self.served[after["whole"]["sha256"]], figures)
            maybe = {one for one in tested if passes(values[one])}
            sure |= dict.fromkeys(tested, False)
        for delta in deltas:
            for one in mine:
                if at[one] == delta.editions[0]:
                    joined, left = values[one] in delta.joined, values[one] in delta.left
                    sure[one] = (sure[one] or joined) and not left
                    if left or joined:
                        maybe.discard(one)
                    at[one] = delta.editions[1]
        if tested:
            asked = self.asked(
                partition, name, [values[one] for one in maybe], [tokens[one] for one in tested]
            )
            self.look_up(partition, name, asked)
            whole = self.served[partition["base"]["sha256"]]
            directory = Directory(partition, lambda a, b: whole[a:b])
            sure |= {one: directory.holds(values[one]) for one in maybe}
        return {one: (sure[one], partition["edition"]) for one in mine}

    # Protocol.md, "Buckets and decoys"

    def asked(self, partition: Json, name: str, candidates: list[int], tested: list[str]) -> Json:
        ledger, t = self.given["ledger"], self.given["options"]["buckets"]
        q, b = partition["slot_bits"], 1 << (partition["slot_bits"] - 12)
        question = b"".join(sorted(map(bytes.fromhex, tested)))
        secret = bytes.fromhex(ledger["secret"])
        seed = hashlib.blake2b(question, key=secret, digest_size=32).digest()
        earlier = ledger["asked"].get(name)
        if earlier and (earlier["seed"], earlier["slot_bits"], earlier["edition"]) == (
            seed.hex(), q, partition["edition"],
        ):  # fmt: skip
            return {"seed": seed.hex(), "buckets": earlier["buckets"]}
        a = set()
        for number in earlier["buckets"] if earlier else []:
            more = q - earlier["slot_bits"]
            a |= {number >> -more} if more <= 0 else {(number << more) + i for i in range(1 << more)}
        wanted = {value >> (12 + partition["remainder_bits"]) for value in candidates}
        k = min(b, len(a) + t * max(1, -(-len(wanted - a) // t)))
        chosen = a | wanted
        for i in itertools.count():
            if len(chosen) >= k:
                break
            digest = hashlib.blake2b(i.to_bytes(8, "little"), key=seed, digest_size=8).digest()
            chosen.add(int.from_bytes(digest, "big") >> (64 - (q - 12)))
        return {"seed": seed.hex(), "buckets": sorted(chosen)}

    def look_up(self, partition: Json, name: str, asked: Json) -> None:
        """The ranges: head and top table, index pages, buckets; adjacent ones joined."""
        whole = self.served[partition["base"]["sha256"]]
        _, _, page, _ = layout(partition["slot_bits"])
        top = 64 + 32 * layout(partition["slot_bits"])[1]
        directory = Directory(partition, lambda a, b: whole[a:b])
        pages = sorted({number // 256 for number in asked["buckets"]})
        spans = []
        for number in asked["buckets"]:
            offsets, _, _ = directory.page(number // 256)
            spans.append((offsets[number % 256], offsets[number % 256 + 1]))
        requests = [[(0, top)], [(top + p * page, top + (p + 1) * page) for p in pages], spans]
        self.out["lists"].append({"partition": name, **asked, "ranges": [_listed(r) for r in requests]})


def _listed(spans: list[tuple[int, int]]) -> str:
    joined: list[list[int]] = []
    for start, end in sorted(spans):
        if joined and joined[-1][1] == start:
            joined[-1][1] = end
        else:
            joined.append([start, end])
    return "bytes=" + ",".join(f"{start}-{end - 1}" for start, end in joined)


def sync(given: Json) -> Json:
    """What is expected of a case: its result, or the word with which it is refused."""
    try:
        return {"refusal": None} | Sync(given).run()
    except Refused as refused:
        return {"refusal": str(refused)}
