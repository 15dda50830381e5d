"""A second client, written from docs/ alone: nothing of contactsync is imported or looked at.

libsodium (rbcl) is the group, urllib3 the HTTP, python-tuf the signatures, pybloom-live the screen; the rest
is plain Python. Each part names the page that it follows.
"""

import hashlib
import io
import itertools
import json
import math
import random
import re
import secrets
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pybloom_live
import urllib3
import xxhash
from tuf.ngclient import Updater

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
IDENTITY = bytes(32)
MAX_BATCH, MIN_PADDED, MANIFESTS_KEPT = 4096, 8, 33
Json = dict[str, Any]


class Disbelieved(Exception):
    """The server sent something that the documents say must not be believed."""


def check(holds: object, what: str) -> None:
    if not holds:
        raise Disbelieved(what)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


# --- docs/http-api.md ---


class Problem(Exception):
    """Any answer but 200 and 206."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        check(response.headers["Content-Type"] == "application/problem+json", "an error that is no problem")
        self.status, self.body = response.status, response.json()
        self.slug = self.body["type"].removeprefix("urn:contactsync:problem:")
        super().__init__(f"{self.status} {self.slug}")


class Service:
    def __init__(self, url: str, credential: str = "") -> None:
        self.url, self.http = url, urllib3.PoolManager(retries=False, timeout=60)
        self.headers = {"Authorization": f"Bearer {credential}"} if credential else {}

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        given = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        response = self.http.request(method, f"{self.url}/v1/{path}", body=body, headers=given)
        if response.status not in (200, 206):
            raise Problem(response)
        return response.data

    def evaluate(self, audience: str, epoch: int, body: bytes) -> bytes:
        path = f"evaluate/{audience}/{epoch}"
        return self.request("POST", path, body, Content_Type="application/octet-stream")

    def data(self, file: Json) -> bytes:
        """Return a whole data file, which is what the manifest says it is."""
        data = self.request("GET", f"data/{file['sha256']}")
        check(len(data) == file["length"] and sha256(data).hex() == file["sha256"], "the data file")
        check(xxhash.xxh3_64_hexdigest(data) == file["xxh3_64"], "xxh3_64 of the data file")
        return data

    def part(self, file: Json, start: int, end: int) -> bytes:
        """Return the octets from `start` up to, but without, `end`; unverified."""
        hash_ = file["sha256"]
        part = self.request("GET", f"data/{hash_}", Range=f"bytes={start}-{end - 1}", If_Range=f'"{hash_}"')
        check(len(part) == end - start, "the length of a range")
        return part

    def root(self, fingerprint: str) -> bytes:
        root = self.request("GET", "tuf/metadata/root.json")
        check(sha256(root).hex() == fingerprint, "the fingerprint of the root")
        return root

    def manifest(self, audience: str, root: bytes, state: Path) -> Json:
        """Follow the signatures from the pinned root to the manifest."""
        for folder in (state / "metadata", state / "targets"):
            folder.mkdir(parents=True, exist_ok=True)
        updater = Updater(
            str(state / "metadata"), f"{self.url}/v1/tuf/metadata/",
            str(state / "targets"), f"{self.url}/v1/tuf/targets/", bootstrap=root,
        )  # fmt: skip
        target = updater.get_targetinfo(f"{audience}.json")
        check(target is not None, "no manifest of this audience")
        data = Path(updater.download_target(target)).read_bytes()
        manifest, last = json.loads(data), state / f"{audience}.seen"
        check(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode() == data, "canonical form")
        check(manifest["format"] == "contactsync-manifest-2", "the format")
        check(manifest["suite"] == "ristretto255-SHA512", "the suite")
        check(manifest["normalisation"] == 1, "the normalisation profile")
        check(manifest["audience"] == audience, "the audience")
        check("critical" not in manifest, "something that must be understood")
        whole = self.walk(data, last.read_bytes() if last.exists() else None)
        last.write_bytes(data)
        listed = manifest["partitions"]
        usable = {name: p for name, p in listed.items() if name.isdigit() and understood(p)}
        unusable = sorted(listed.keys() - usable.keys())
        for partition in usable.values():
            check_patches(partition, manifest)
        return manifest | {"partitions": usable, "unusable": unusable, "unchecked": not whole}

    @staticmethod
    def ahead(manifest: Json) -> Json | None:
        """Return the next epoch, read as a manifest; None if none is announced ("The next epoch")."""
        if "next" not in manifest:
            return None
        after = manifest["next"]
        check(set(after) == {"edition", "epoch", "partitions", "public_key", "until"}, "the members of next")
        check(after["epoch"] == manifest["epoch"] + 1, "the epoch of next")
        names = [partition["name"] for partition in after["partitions"]]
        check(names == sorted(set(names)), "the order of partitions in next")
        usable = {p["name"]: p for p in after["partitions"] if p["name"].isdigit() and understood(p)}
        check(not any("patches" in p for p in usable.values()), "patches in next")
        return manifest | after | {"partitions": usable, "unusable": sorted(set(names) - usable.keys())}

    def walk(self, newest: bytes, seen: bytes | None) -> bool:
        """Walk back from the new manifest to the one seen last. False if too many steps lie between."""
        at = read_link(newest)
        if seen in (None, newest):
            return True
        goal = read_link(seen)
        check(at["at"] > goal["at"], "it went back, or was published twice")
        check(at["at"][0] > goal["at"][0] or at["public_key"] == goal["public_key"], "the key changed")
        for left in range(MANIFESTS_KEPT, 0, -1):
            epochs = at["at"][0] - goal["at"][0]
            steps = at["at"][1] + (epochs - 1 if epochs else -goal["at"][1])
            found = at["previous"] == sha256(seen).hex()
            if not found and (steps > left or (left == 1 and epochs)):
                return False
            check(found or epochs or steps > 1, "the step to the manifest seen last")
            try:
                data = seen if found else self.request(
                    "GET", f"tuf/targets/{at['previous']}.{at['audience']}.json"
                )  # fmt: skip
            except Problem as problem:
                check(problem.status != 404, "a manifest that the server has to keep")
                raise
            check(len(data) <= 8_388_608 and sha256(data).hex() == at["previous"], "an older manifest")
            before = read_link(data)
            check(before["audience"] == at["audience"], "the audience of an older manifest")
            epoch, edition = at["at"]
            if edition > 1:
                check(before["at"] == (epoch, edition - 1), "the edition before")
                check(before["public_key"] == at["public_key"], "the key of an epoch")
                check(continues(at["next"], before["next"]), "what was announced")
            else:
                check(before["at"][0] == epoch - 1, "the epoch before")
            if found:
                return True
            check(before["at"] > goal["at"], "a step behind the manifest seen last")
            at = before
        raise AssertionError


def read_link(data: bytes) -> Json:
    """Return what the walk needs of a manifest, of whatever version."""
    value = json.loads(data)
    check(json.dumps(value, sort_keys=True, separators=(",", ":")).encode() == data, "canonical form")
    check(re.fullmatch(r"contactsync-manifest-[0-9]+", value["format"]), "the format of an older manifest")
    link = {name: value[name] for name in ("audience", "public_key", "previous")}
    link["at"], link["next"] = (value["epoch"], value["edition"]), value.get("next")
    check((link["previous"] is None) == (link["at"] == (1, 1)), "the beginning of the history")
    return link


def continues(newer: Json | None, older: Json | None) -> bool:
    """Whether one announcement can come in the edition after another one; either may be missing."""
    if newer is None or older is None:
        return True
    same = all(newer[name] == older[name] for name in ("epoch", "public_key", "until"))
    return same and newer["edition"] >= older["edition"]


def understood(partition: Json) -> bool:
    """Whether this client knows all that it must. Of what may be critical it knows patches alone."""
    return partition.get("critical", ["patches"]) == ["patches"]


def check_patches(partition: Json, manifest: Json) -> None:
    """Check what a manifest says of patches ("The patches"; "What can have been built")."""
    if "patches" not in partition:
        check("critical" not in partition, "patches that are critical, and not there")
        return
    check("critical" in partition, "patches that are not critical")
    check("labels" not in partition, "labels beside patches")
    check(not {"rows", "labelled_rows", "folded_rows"} & manifest.keys(), "rows beside patches")
    stated, base = partition["patches"], partition["base"]
    check(set(stated) == {"count", "edition", "files", "state"}, "the members of patches")
    check(re.fullmatch("[0-9a-f]{64}", stated["state"]), "the state")
    check(partition["edition"] < stated["edition"] <= manifest["edition"], "the edition of patches")
    files = stated["files"]
    check(1 <= len(files) <= 64, "how many patches there are")
    ends = [one["to"] for one in files]
    check([one["from"] for one in files] == [partition["edition"], *ends[:-1]], "where patches begin")
    check(all(one["from"] < one["to"] for one in files) and ends[-1] == stated["edition"], "where they end")
    lengths = [one["file"]["length"] for one in files]
    check(all(length >= 168 and length % 8 == 0 for length in lengths), "the length of a patch")
    check(sum(lengths) < base["length"], "the length of all patches")
    n, q = stated["count"], partition["slot_bits"]
    check(n >= 1 and n * n <= 1 << (2 * q + 1), "more values than these slot bits are for")
    check(q == 12 or n * n > 1 << (2 * q - 1), "fewer values than these slot bits are for")


def partition_of(identifier: bytes, partitions: Json) -> str | None:
    """No calling code begins another one, so at most one of the listed ones fits."""
    digits = identifier.decode().removeprefix("tel:+")
    return next((code for code in partitions if digits.startswith(code)), None)


# --- docs/protocol.md ---


def i2osp(number: int, length: int) -> bytes:
    return number.to_bytes(length, "big")


def prefixed(*strings: bytes) -> bytes:
    return b"".join(i2osp(len(s), 2) + s for s in strings)


class Voprf:
    """The client's half of RFC 9497, mode 0x01, ristretto255-SHA512. Scalars and elements are 32 octets."""

    CONTEXT = b"OPRFV1-\x01-ristretto255-SHA512"

    def __init__(self, libsodium: ModuleType) -> None:
        self.sodium = libsodium
        self.add = libsodium.crypto_core_ristretto255_add
        self.multiply = libsodium.crypto_scalarmult_ristretto255
        self.base = libsodium.crypto_scalarmult_ristretto255_base

    @staticmethod
    def expand(message: bytes, dst: bytes) -> bytes:
        """expand_message_xmd of RFC 9380 §5.3.1 for SHA-512 and 64 octets: one block."""
        dst += i2osp(len(dst), 1)
        first = hashlib.sha512(bytes(128) + message + i2osp(64, 2) + b"\0" + dst).digest()
        return hashlib.sha512(first + b"\1" + dst).digest()

    def hash_to_group(self, message: bytes) -> bytes:
        return self.sodium.crypto_core_ristretto255_from_hash(
            self.expand(message, b"HashToGroup-" + self.CONTEXT)
        )

    def hash_to_scalar(self, message: bytes) -> bytes:
        number = int.from_bytes(self.expand(message, b"HashToScalar-" + self.CONTEXT), "little")
        return (number % ORDER).to_bytes(32, "little")

    def is_element(self, encoding: bytes) -> bool:
        """Not the identity and canonical; this libsodium ignores bit 255, so that is checked here."""
        canonical = encoding != IDENTITY and int.from_bytes(encoding, "little") < P
        return canonical and self.sodium.crypto_core_ristretto255_is_valid_point(encoding)

    def blind(self, input_: bytes) -> tuple[bytes, bytes]:
        blind = (1 + secrets.randbelow(ORDER - 1)).to_bytes(32, "little")
        return blind, self.multiply(blind, self.hash_to_group(input_))

    def sum_of_products(self, scalars: Sequence[bytes], elements: Sequence[bytes]) -> bytes:
        total = IDENTITY
        for scalar, element in zip(scalars, elements, strict=True):
            total = self.add(total, self.multiply(scalar, element))
        return total

    def weights(self, public: bytes, blinded: Sequence[bytes], evaluated: Sequence[bytes]) -> list[bytes]:
        seed = hashlib.sha512(prefixed(public, b"Seed-" + self.CONTEXT)).digest()
        pairs = enumerate(zip(blinded, evaluated, strict=True))
        return [
            self.hash_to_scalar(prefixed(seed) + i2osp(i, 2) + prefixed(c, d) + b"Composite")
            for i, (c, d) in pairs
        ]

    def read_reply(self, public: bytes, blinded: Sequence[bytes], reply: bytes) -> list[bytes]:
        """Check "What a client does with the reply", 1 to 5; return the evaluated elements."""
        check(len(reply) == 32 * len(blinded) + 64, "the length of the reply")
        *evaluated, c, s = (reply[i : i + 32] for i in range(0, len(reply), 32))
        check(self.is_element(public), "pkS")
        check(all(map(self.is_element, evaluated)), "an evaluated element")
        check(all(int.from_bytes(x, "little") < ORDER for x in (c, s)), "a scalar of the proof")
        weights = self.weights(public, blinded, evaluated)
        m, z = self.sum_of_products(weights, blinded), self.sum_of_products(weights, evaluated)
        t2 = self.add(self.base(s), self.multiply(c, public))
        t3 = self.add(self.multiply(s, m), self.multiply(c, z))
        check(self.hash_to_scalar(prefixed(public, m, z, t2, t3) + b"Challenge") == c, "the proof")
        return evaluated

    def finalize(self, input_: bytes, blind: bytes, evaluated: bytes) -> bytes:
        inverse = pow(int.from_bytes(blind, "little"), -1, ORDER).to_bytes(32, "little")
        unblinded = self.multiply(inverse, evaluated)
        return hashlib.sha512(prefixed(input_, unblinded) + b"Finalize").digest()

    def tokens(self, service: Service, manifest: Json, new: Iterable[bytes]) -> dict[bytes, int]:
        """Ask the server about `new` identifiers; their tokens as 80-bit numbers."""
        outputs = self.outputs(service, manifest, new)
        return {one: int.from_bytes(output[:10], "big") for one, output in outputs.items()}

    def outputs(self, service: Service, manifest: Json, new: Iterable[bytes]) -> dict[bytes, bytes]:
        """The same, whole: 64 bytes each."""
        contacts = sorted(set(new))
        if not contacts:
            return {}
        padded = max(MIN_PADDED, 1 << (len(contacts) - 1).bit_length())
        inputs = contacts + [secrets.token_bytes(32) for _ in range(padded - len(contacts))]
        random.SystemRandom().shuffle(inputs)
        public, wanted, found = bytes.fromhex(manifest["public_key"]), set(contacts), {}
        for at in range(0, padded, MAX_BATCH):
            batch = inputs[at : at + MAX_BATCH]
            blinds, blinded = zip(*map(self.blind, batch), strict=True)
            reply = service.evaluate(manifest["audience"], manifest["epoch"], b"".join(blinded))
            for input_, blind, element in zip(
                batch, blinds, self.read_reply(public, blinded, reply), strict=True
            ):
                if input_ in wanted:
                    found[input_] = self.finalize(input_, blind, element)
        return found


# --- docs/directory-format.md ---


def words(data: bytes, start: int, count: int, width: int = 8) -> tuple[int, ...]:
    return struct.unpack_from(f"<{count}{ {1: 'B', 2: 'H', 4: 'I', 8: 'Q'}[width] }", data, start)


def bits(data: bytes) -> str:
    """Bit 0 first."""
    return f"{int.from_bytes(data, 'little'):0{8 * len(data)}b}"[::-1] if data else ""


def ones(bitmap: str) -> list[int]:
    return [match.start() for match in re.finditer("1", bitmap)]


@dataclass(frozen=True)
class Shape:
    """What q gives: the sizes of all that comes before the buckets."""

    q: int
    r: int
    n: int

    @property
    def buckets(self) -> int:
        return 1 << (self.q - 12)

    @property
    def entries(self) -> int:
        return min(self.buckets, 256)

    @property
    def top_end(self) -> int:
        return 64 + 32 * (self.buckets // self.entries)

    @property
    def data(self) -> int:
        return self.top_end + self.buckets // self.entries * self.page_size

    @property
    def page_size(self) -> int:
        return 48 * self.entries + 8

    @property
    def lengths(self) -> tuple[int, int]:
        """The least and the most that N values take."""
        b, w, fill = self.buckets, self.r // 8, {32: 4, 40: 7}[self.r]
        least = -(-self.n // 64) + -(-self.n * w // 8)
        most = (self.n + 63 * b) // 64 + (self.n * w + fill * b) // 8
        return self.data + 544 * b + 8 * least, self.data + 544 * b + 8 * most

    def value(self, token: int) -> int:
        return token >> (80 - self.q - self.r)


class Directory:
    """Reads a directory through `part(start, end)`: a slice of a file, or a range over HTTP."""

    def __init__(self, partition: Json, part: Callable[[int, int], bytes]) -> None:
        self.shape = shape = Shape(partition["slot_bits"], partition["remainder_bits"], partition["count"])
        self.part, self.length, self.pages = part, partition["base"]["length"], {}
        check(12 <= shape.q <= 32 and shape.r in (32, 40) and shape.n <= 2 << shape.q, "q, r or N")
        self.top = top = part(0, shape.top_end)
        check(sha256(top).hex() == partition["top_sha256"], "top_sha256")
        magic, rest = top[:8], struct.unpack_from("<HBBIQQQQQQ", top, 8)
        check(magic == bytes.fromhex("43534449520d0a1a"), "the magic")
        least, most = shape.lengths
        check(least <= self.length <= most and self.length % 8 == 0, "the length")
        pages = shape.buckets // shape.entries
        expected = (2, shape.q, shape.r, 4096, shape.n, shape.buckets, pages)
        check(rest == (*expected, shape.top_end, shape.data, self.length), "the header")

    def page(self, number: int) -> tuple[tuple[int, ...], tuple[int, ...], bytes]:
        """Offsets, xxh3_64 and SHA-256 of the buckets of one index page."""
        if number not in self.pages:
            e, size = self.shape.entries, self.shape.page_size
            start = self.shape.top_end + number * size
            page = self.part(start, start + size)
            check(sha256(page) == self.top[64 + 32 * number : 96 + 32 * number], "an index page")
            offsets = words(page, 0, e + 1)
            check(all(a < b and b % 8 == 0 for a, b in itertools.pairwise(offsets)), "offsets")
            check(number or offsets[0] == self.shape.data, "the first offset")
            check(number < self.shape.buckets // e - 1 or offsets[-1] == self.length, "the last offset")
            self.pages[number] = offsets, words(page, 8 * (e + 1), e), page[8 * (2 * e + 1) :]
        return self.pages[number]

    def bucket(self, number: int) -> list[int]:
        """Return the values of one bucket, ascending."""
        page, entry = divmod(number, self.shape.entries)
        offsets, fast, slow = self.page(page)
        data = self.part(offsets[entry], offsets[entry + 1])
        check(sha256(data) == slow[32 * entry : 32 * entry + 32], "SHA-256 of a bucket")
        check(xxhash.xxh3_64_intdigest(data) == fast[entry], "xxh3_64 of a bucket")
        n, *ranks = words(data, 0, 16, 2)
        r, w = self.shape.r, -(-(n + 4096) // 64)
        size = 32 + 8 * w + n * r // 8
        check(len(data) == -(-size // 8) * 8, "the size of a bucket")
        bitmap = bits(data[32 : 32 + 8 * w])
        check(bitmap[: n + 4096].count("1") == n and bitmap[n + 4095] == "0", "a bitmap")
        check("1" not in bitmap[n + 4096 :], "a one behind the bitmap")
        check(ranks == sorted(ranks), "ranks fall")
        for i, rank in enumerate(ranks, 1):
            at = rank + 256 * i
            check(bitmap[:at].count("1") == rank and bitmap[at - 1] == "0", "a rank")
        high = words(data, 32 + 8 * w, n, 4)
        low = words(data, 32 + 8 * w + 4 * n, n, 1) if r == 40 else ()
        remainders = [h << 8 | l for h, l in zip(high, low, strict=True)] if r == 40 else high
        slots = (number * 4096 + p - j for j, p in enumerate(ones(bitmap)))
        return [slot << r | remainder for slot, remainder in zip(slots, remainders, strict=True)]

    def values(self) -> list[int]:
        found = [value for b in range(self.shape.buckets) for value in self.bucket(b)]
        last = [self.page(p)[0] for p in range(self.shape.buckets // self.shape.entries)]
        check(all(a[-1] == b[0] for a, b in itertools.pairwise(last)), "pages do not join")
        check(all(a < b for a, b in itertools.pairwise(found)), "values do not ascend")
        check(len(found) == self.shape.n, "the n of all buckets")
        return found

    def holds(self, value: int) -> bool:
        """Three small ranges, the first two of them kept."""
        return value in self.bucket(value >> self.shape.r >> 12)


def open_screen(data: bytes, partition: Json) -> Callable[[int], bool]:
    check(len(data) > 40, "the length of the screen")
    rate, k, m, capacity, new = struct.unpack_from("<dQQQQ", data)
    n = partition["count"]
    check(1 << 17 <= n <= 1_568_314_447, "a screen of few members, or of very many")
    check(capacity == n and rate == 0.01 and k == 7, "the head of the screen")
    check(0 < new <= n, "how many keys were new")
    check(m == math.ceil((capacity * abs(math.log(0.01))) / (7 * math.log(2) ** 2)), "m")
    bitmap = bits(data[40:])
    check(len(data) == 40 + -(-7 * m // 8) and "1" not in bitmap[7 * m :], "the size of the screen")
    a, b = 2**32 // m, 2**32 % m
    loads = {n * (a + 1) / 2**32: b, n * a / 2**32: m - b}
    zeros = sum(places * math.exp(-load) for load, places in loads.items())
    variance = sum(places * math.exp(-load) * (1 - math.exp(-load)) for load, places in loads.items())
    variance -= sum(places * load * math.exp(-load) for load, places in loads.items()) ** 2 / n
    for start in range(0, 7 * m, m):
        ones = bitmap.count("1", start, start + m)
        check(abs(ones - (m - zeros)) <= 8 * math.sqrt(variance), "how full a slice of the screen is")
    bloom = pybloom_live.BloomFilter.fromfile(io.BytesIO(data))
    digits = -(-(partition["slot_bits"] + partition["remainder_bits"]) // 4)
    return lambda value: f"{value:0{digits}x}" in bloom


def read_set(data: bytes, at: int, count: int, q: int, r: int) -> tuple[list[int], int]:
    """Return one set of a delta, and where it ends."""
    if not count:
        return [], at
    h = count.bit_length()
    width = q + 32 - h
    end = at + 8 * -(-(count + 2**h) // 64)
    bitmap = bits(data[at:end])
    starts = [p - j for j, p in enumerate(ones(bitmap))]
    check(len(starts) == count and all(start < 2**h for start in starts), "the bitmap of a set")
    at, end = end, end + 8 * -(-count * width // 64)
    packed = int.from_bytes(data[at:end], "little")
    check(packed >> (count * width) == 0, "padding of a set")
    keys = [start << width | packed >> (j * width) & (1 << width) - 1 for j, start in enumerate(starts)]
    if r == 40:
        keys = [key << 8 | low for key, low in zip(keys, words(data, end, count, 1), strict=True)]
        at, end = end + count, end + -(-count // 8) * 8
        check(not any(data[at:end]), "padding of a set")
    check(all(a < b for a, b in itertools.pairwise(keys)), "the values of a set")
    return keys, end


@dataclass(frozen=True)
class Delta:
    editions: tuple[int, int]
    counts: tuple[int, int]
    old_sha256: str
    new_sha256: str
    left: frozenset[int]
    joined: frozenset[int]


def read_delta(data: bytes, partition: Json) -> Delta:
    check(len(data) >= 168 and data[:8] == bytes.fromhex("4353444c540d0a1a"), "the magic")
    version, q, r, zero, old, new, n_old, n_new, left, joined, length = struct.unpack_from("<HBBI7Q", data, 8)
    check((version, zero, length) == (1, 0, len(data)), "the head of a delta")
    check((q, r) == (partition["slot_bits"], partition["remainder_bits"]), "q and r of a delta")
    check(12 <= q <= 32 and r in (32, 40), "q or r out of range")
    check(data[-32:] == sha256(data[:-32]), "the last 32 bytes of a delta")
    check(old < new and max(n_old, n_new) <= 2 << q and n_old - left + joined == n_new, "editions or N")
    leaving, end = read_set(data, 136, left, q, r)
    joining, end = read_set(data, end, joined, q, r)
    check(end + 32 == len(data) and not set(leaving) & set(joining), "the sets of a delta")
    hashes = data[72:104].hex(), data[104:136].hex()
    return Delta((old, new), (n_old, n_new), *hashes, frozenset(leaving), frozenset(joining))


def read_patches(partition: Json, read: Callable[[Json], bytes]) -> list[Delta]:
    """The patches of a partition ("Patches"), each of which leads on from the base or the one before it."""
    if "patches" not in partition:
        return []
    state, count, found = partition["base"]["sha256"], partition["count"], []
    for listed in partition["patches"]["files"]:
        patch = read_delta(read(listed["file"]), partition)
        check(patch.editions == (listed["from"], listed["to"]), "the editions of a patch")
        check((patch.old_sha256, patch.counts[0]) == (state, count), "what a patch begins at")
        state, count = patch.new_sha256, patch.counts[1]
        found.append(patch)
    check((state, count) == (partition["patches"]["state"], partition["patches"]["count"]), "the last patch")
    return found


def patched(values: Iterable[int], patches: Iterable[Delta]) -> set[int]:
    """The values that are there now, of all that are in the base."""
    now = set(values)
    for patch in patches:
        check(patch.left <= now, "who left by a patch")
        check(not patch.joined & now, "who joined by a patch")
        now = now - patch.left | patch.joined
    return now
