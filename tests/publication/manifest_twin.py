"""Manifests judged by docs/http-api.md and docs/directory-format.md alone; nothing of the package is used.

`honest` makes what a builder would state, `acceptable` says what a client takes. Hashes are made up.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import phonenumbers
from phonenumbers import PhoneMetadata

Json = dict[str, Any]
LARGEST = 2**53
MANIFEST = ["audience", "edition", "epoch", "format", "normalisation"]
MANIFEST += ["partitions", "previous", "public_key", "suite"]
PARTITION = ["base", "count", "deltas", "edition", "false_positive_rate"]
PARTITION += ["remainder_bits", "screen", "slot_bits", "top_sha256"]


def canonical(tree: Any) -> bytes:
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode("ascii")


# --- directory-format.md, "What can have been built" ---


def slot_bits(n: int) -> int:
    return next(q for q in range(12, 99) if n * n <= 1 << (2 * q + 1))


def base_lengths(n: int, q: int, r: int) -> tuple[int, int]:
    """The least and the most."""
    b = 1 << (q - 12)
    p, e = -(-b // 256), min(b, 256)
    fixed = 64 + 32 * p + p * (48 * e + 8) + 544 * b
    lost = {32: 4, 40: 7}[r]
    least = -(-n // 64) + -(-n * r // 64)
    most = (n + 63 * b) // 64 + (n * r // 8 + lost * b) // 8
    return fixed + 8 * least, fixed + 8 * most


def set_length(c: int, q: int, r: int) -> int:
    if not c:
        return 0
    h = c.bit_length()
    words = -(-(c + 2**h) // 64) + -(-c * (q + 32 - h) // 64)
    return 8 * words + (-(-c // 8) * 8 if r == 40 else 0)


def slice_bits(n: int) -> int:
    return math.ceil((n * abs(math.log(0.01))) / (7 * math.log(2) ** 2))


def screen_length(n: int) -> int | None:
    m = slice_bits(n)
    return 40 + -(-7 * m // 8) if n >= 1 << 17 and m < 1 << 31 else None


def delta_is_possible(length: int, q: int, r: int, base: int | None) -> bool:
    """Of a delta that leads to a base of so many octets, or to some base of this width."""
    most = base_lengths(math.isqrt(1 << (2 * q + 1)), q, r)[1] if base is None else base
    return length % 8 == 0 and 168 + set_length(1, q, r) <= length < most


def numbers_of(code: str) -> int:
    """How many numbers a calling code has."""
    region = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[int(code)][0]
    plan = PhoneMetadata.metadata_for_region_or_calling_code(int(code), region)
    return sum(10**d for d in plan.general_desc.possible_length if d + len(code) <= 15)


CODES = frozenset(map(str, phonenumbers.COUNTRY_CODE_TO_REGION_CODE))
CAPACITY = {code: numbers_of(code) for code in sorted(CODES)}


# --- what a builder states ---


def a_file(name: str, length: int) -> Json:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return {"sha256": digest, "length": length, "xxh3_64": digest[:16]}


def sidecar_length(n: int, size: int, q: int) -> int:
    """docs/directory-format.md, "The sidecar"."""
    b = 1 << (q - 12)
    p, e = -(-b // 256), min(b, 256)
    return 64 + 32 * p + p * (4 * (e + 1) + 32 * e) + n * (16 + size)


def honest_labels(name: str, n: int, size: int, *, edition: int, editions: int, of: str = "") -> Json:
    """What is stated of the labels of a partition of `edition`, which had so many `editions` since."""
    q, newest = slot_bits(n), edition + editions - 1
    length = sidecar_length(n, size, q)
    chain = []
    for end in range(edition + 1, newest + 1):
        delta = 168 + 4 * (1 + end % 3) + (20 + size) * (end % 2)
        if delta >= length:
            chain.clear()
            continue
        file = a_file(f"{of}labels delta {name} {end}", delta)
        chain.append({"from": end - 1, "to": end, "file": file})
    return {
        "deltas": chain[-32:],
        "edition": newest,
        "file": a_file(f"{of}labels {name} {n} {size} {newest}", length),
        "size": size,
        "top_sha256": hashlib.sha256(f"labels top {name}".encode()).hexdigest(),
    }


def honest_partition(
    name: str, n: int, r: int = 32, *, spread: float = 0.5, editions: int = 1, of: str = ""
) -> Json:
    """What is stated of `n` members; their base is `spread` of the way from the least length to the most."""
    q = slot_bits(n)
    least, most = base_lengths(n, q, r)
    length = least + int((most - least) * spread) // 8 * 8
    chain = []
    for edition in range(1, editions):
        delta = 168 + set_length(1 + edition % 3, q, r) + set_length(edition % 2, q, r)
        if delta >= length:
            chain.clear()
            continue
        file = a_file(f"{of}delta {name} {edition}", delta)
        chain.append({"from": edition, "to": edition + 1, "file": file})
    screen = screen_length(n)
    return {
        "base": a_file(f"{of}base {name} {n} {editions}", length),
        "count": n,
        "deltas": chain[-32:],
        "edition": editions,
        "false_positive_rate": f"{n / 2.0 ** (q + r):.2e}",
        "remainder_bits": r,
        "screen": None if screen is None else a_file(f"{of}screen {name} {n} {editions}", screen),
        "slot_bits": q,
        "top_sha256": hashlib.sha256(f"top {name}".encode()).hexdigest(),
    }


def honest_patches(name: str, p: Json, editions: int, members: int) -> Json | None:
    """A partition with patches of so many editions after its own, to so many members; None if it has none.

    They stay below a twentieth of the base.
    """
    q, r = p["slot_bits"], p["remainder_bits"]
    lengths = [168 + set_length(end % 3, q, r) + set_length(end % 2, q, r) for end in range(editions)]
    if not lengths or 20 * sum(lengths) > p["base"]["length"] or slot_bits(members) != q:
        return None
    first = p["edition"]
    files = [
        {"from": first + i, "to": first + i + 1, "file": a_file(f"patch {name} {first} {i}", length)}
        for i, length in enumerate(lengths)
    ]
    state = hashlib.sha256(f"state {name} {first} {editions}".encode()).hexdigest()
    stated = {"count": members, "edition": first + editions, "files": files, "state": state}
    return p | {"critical": ["patches"], "patches": stated}


def newest_of(partitions: dict[str, Json]) -> int:
    """The edition of a manifest that states these."""
    more = [p[member] for p in partitions.values() for member in ("labels", "patches") if member in p]
    return max([1, *(p["edition"] for p in partitions.values()), *(one["edition"] for one in more)])


def honest(partitions: dict[str, Json], **members: Any) -> Json:
    return {
        "audience": "people",
        "edition": newest_of(partitions),
        "epoch": 1,
        "format": "contactsync-manifest-2",
        "normalisation": 1,
        "partitions": partitions,
        "previous": None,
        "public_key": "ab" * 32,
        "suite": "ristretto255-SHA512",
    } | members


def can_have_rows(partitions: dict[str, Json]) -> bool:
    total = sum(2 ** (p["slot_bits"] - 6) for p in partitions.values())
    return 0 < total <= 2**26 and len({p["remainder_bits"] for p in partitions.values()}) == 1


def level_length(partitions: dict[str, Json], labelled: bool = False, folded: bool = False) -> int:
    """docs/lookup.md, "The table" and "The tree"."""
    total = sum(2 ** (p["slot_bits"] - 6) for p in partitions.values())
    shape = 7 + folded + 2 + 2 + sum(2 + (labelled or folded) + len(name) for name in partitions)
    return shape + 32 * min(4096, 1 << (total - 1).bit_length())


def rows_bounds(partitions: dict[str, Json]) -> tuple[int, int]:
    """The least and the most that the largest row of an edition can have."""
    least = max(-(-p["count"] // 2 ** (p["slot_bits"] - 6)) for p in partitions.values())
    return least, min(255, max(p["count"] for p in partitions.values()))


def honest_rows(partitions: dict[str, Json], spread: float = 0.2, labelled: bool = False) -> Json:
    """What is stated of the rows of these partitions, which have all the same remainder bits."""
    least, most = rows_bounds(partitions)
    return {
        "level": a_file(f"level {sorted(partitions)}", level_length(partitions, labelled)),
        "most": least + int((most - least) * spread),
    }


def honest_next(partitions: dict[str, Json], epoch: int, **members: Any) -> Json:
    """What is announced of the epoch after this one."""
    return {
        "edition": newest_of(partitions),
        "epoch": epoch + 1,
        "partitions": [partitions[name] | {"name": name} for name in sorted(partitions)],
        "public_key": "cd" * 32,
        "until": 2_000_000_000,
    } | members


# --- what a client takes ---


def acceptable(
    data: bytes,
    *,
    knows_next: bool = True,
    knows_labels: bool = True,
    knows_rows: bool = True,
    knows_patches: bool = True,
) -> bool:
    """Whether a client takes it; an earlier one does not know overlaps, or labels, or rows, or patches."""
    try:
        tree = json.loads(data)
        known = frozenset(
            name for name, knows in (("labels", knows_labels), ("patches", knows_patches)) if knows
        )
        if canonical(tree) != data or not _manifest(tree, knows_next, known):
            return False
        stated = [name for name in ("rows", "labelled_rows", "folded_rows") if name in tree]
        return not knows_rows or not stated or _rows(tree, stated)
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeEncodeError, RecursionError):
        return False


def _whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _hex(value: Any, digits: int) -> bool:
    return isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{digits}}}", value) is not None


def _unknown(value: Any, levels: int = 8) -> bool:
    """The limits of members that are not known."""
    if isinstance(value, dict):
        names = all(re.fullmatch(r"[a-z0-9_.-]{1,64}", name) for name in value)
        inner = all(_unknown(part, levels - 1) for part in value.values())
        return levels > 0 and len(value) <= 64 and names and inner
    if isinstance(value, list):
        return levels > 0 and all(_unknown(part, levels - 1) for part in value)
    if isinstance(value, str):
        return not re.search("[\ud800-\udfff]", value)
    return not isinstance(value, float) and (not isinstance(value, int) or abs(value) <= LARGEST)


def _critical(members: Json, own: list[str], known: frozenset[str] = frozenset()) -> bool | None:
    """None if the list is no proper one, else whether something must be understood that is not known."""
    if "critical" not in members:
        return False
    names = members["critical"]
    good = isinstance(names, list) and names and all(isinstance(name, str) for name in names)
    if not good or names != sorted(set(names)):
        return None
    return bool(set(names) - known) if set(names) <= set(members) - {"critical", *own} else None


def _manifest(tree: Json, knows_next: bool, known: frozenset[str]) -> bool:
    members = [tree[name] for name in MANIFEST]
    extra = {name: value for name, value in tree.items() if name not in MANIFEST}
    audience, edition, epoch, form, profile, partitions, previous, key, suite = members
    figures = all(_whole(number, 1, LARGEST) for number in (edition, epoch, profile))
    words = (form, suite) == ("contactsync-manifest-2", "ristretto255-SHA512")
    words = words and audience in ("people", "business") and _hex(key, 64)
    if not (figures and words and (previous is None or _hex(previous, 64))):
        return False
    own = [*MANIFEST, "next"] if knows_next else MANIFEST
    if _critical(tree, own) is not False or not _unknown(extra):
        return False
    usable = _usable(partitions, edition, known)
    after: list[Json] | None = []
    if knows_next and "next" in tree:
        after = _next(tree["next"], epoch, known)
    if usable is None or after is None:
        return False
    both = usable + after
    files = [f for p in both for f in (p["base"], p["screen"], *(d["file"] for d in p["deltas"])) if f]
    labels = [p["labels"] for p in both if "labels" in known and "labels" in p]
    files += [f for one in labels for f in (one["file"], *(d["file"] for d in one["deltas"]))]
    patches = [p["patches"] for p in usable if "patches" in known and "patches" in p]
    if patches and {"rows", "labelled_rows", "folded_rows"} & set(tree):
        return False
    files += [one["file"] for each in patches for one in each["files"]]
    ways = {tuple(sorted(file.items())) for file in files}
    return len(ways) == len({f["sha256"] for f in files})


def _rows(tree: Json, stated: list[str]) -> bool:
    """Of a manifest that is good without them."""
    partitions, rows, folded = tree["partitions"], tree[stated[0]], stated[0] == "folded_rows"
    unusable = [name for name, p in partitions.items() if not _partition(name, p, tree["edition"])]
    if unusable:
        return True  # then nobody can tell
    if len(stated) > 1:
        return False
    members = {"level", "most", *(("fold", "labels") if folded else ())}
    if not can_have_rows(partitions) or set(rows) != members or not _file(rows["level"]):
        return False
    labelled = rows["labels"] if folded else stated[0] == "labelled_rows"
    bits = (sum(2 ** (p["slot_bits"] - 6) for p in partitions.values()) - 1).bit_length()
    if not isinstance(labelled, bool) or (folded and not _whole(rows["fold"], 1, min(6, bits - 12))):
        return False
    if labelled and not any("labels" in p for p in partitions.values()):
        return False
    others = [file for file in _files(tree) if file["sha256"] == rows["level"]["sha256"]]
    return (
        _whole(rows["most"], *rows_bounds(partitions))
        and rows["level"]["length"] == level_length(partitions, labelled, folded)
        and all(other == rows["level"] for other in others)
    )


def _files(tree: Json) -> list[Json]:
    """All files that the partitions of a good manifest name, those of `next` too."""
    both = [*tree["partitions"].values(), *tree.get("next", {}).get("partitions", ())]
    both = [p for p in both if "base" in p]
    both += [{"base": p["labels"]["file"], "screen": None, **p["labels"]} for p in both if "labels" in p]
    return [f for p in both for f in (p["base"], p["screen"], *(d["file"] for d in p["deltas"])) if f]


def _usable(partitions: Json, edition: int, known: frozenset[str]) -> list[Json] | None:
    """The partitions that can be used; None if they must be refused."""
    verdicts = [_partition(name, partition, edition, known) for name, partition in partitions.items()]
    if None in verdicts or len(partitions) > 999:
        return None
    usable = [p for p, verdict in zip(partitions.values(), verdicts, strict=True) if verdict]
    counts = [p["patches"]["count"] if "patches" in known and "patches" in p else p["count"] for p in usable]
    return usable if sum(counts) <= 2**34 else None


def _next(after: Any, epoch: int, known: frozenset[str]) -> list[Json] | None:
    """The same of what is announced."""
    if set(after) != {"edition", "epoch", "partitions", "public_key", "until"} or not _hex(
        after["public_key"], 64
    ):
        return None
    listed, edition = after["partitions"], after["edition"]
    if not (_whole(after["epoch"], epoch + 1, epoch + 1) and _whole(edition, 1, LARGEST)):
        return None
    if not _whole(after["until"], 1, 253_402_300_799) or not isinstance(listed, list):
        return None
    names = [p["name"] for p in listed]
    if names != sorted(set(names)):
        return None
    found = _usable({p["name"]: {k: v for k, v in p.items() if k != "name"} for p in listed}, edition, known)
    if found is None or ("patches" in known and any("patches" in p for p in found)):
        return None
    return found


def _partition(
    name: str, members: Any, newest: int, known: frozenset[str] = frozenset({"labels", "patches"})
) -> bool | None:
    """None if it must be refused, else whether it can be used."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,31}", name) or not isinstance(members, dict):
        return None
    if name.isdecimal() and name not in CODES:
        clash = any(code.startswith(name) or name.startswith(code) for code in CODES)
        if clash or len(name) > 3 or name[0] == "0":
            return None
    alien = _critical(members, PARTITION, known)
    if alien is None:
        return None
    if alien or name not in CODES:
        return False if _unknown(members) else None
    extra = {key: value for key, value in members.items() if key not in PARTITION}
    if not (_unknown(extra) and _figures(name, members, newest)):
        return None
    more = {"labels": _labels, "patches": partial(_patches, name)}
    return True if all(more[one](members, newest) for one in known.intersection(extra)) else None


def _patches(name: str, p: Json, newest: int) -> bool:
    stated, base, at = p["patches"], p["base"]["length"], p["edition"]
    files = stated["files"]
    if p.get("critical") != ["patches"] or "labels" in p or not isinstance(files, list):
        return False
    for one in files:
        good = set(one) == {"file", "from", "to"} and _file(one["file"]) and _whole(one["from"], at, at)
        if not good or not _whole(one["to"], at + 1, newest):
            return False
        length, at = one["file"]["length"], one["to"]
        if length % 8 or not 168 <= length < base:
            return False
    return (
        set(stated) == {"count", "edition", "files", "state"}
        and 1 <= len(files) <= 64
        and _hex(stated["state"], 64)
        and _whole(stated["edition"], at, at)
        and sum(one["file"]["length"] for one in files) < base
        and _whole(stated["count"], 1, CAPACITY[name])
        and slot_bits(stated["count"]) == p["slot_bits"]
    )


def _labels(p: Json, newest: int) -> bool:
    labels, n, q = p["labels"], p["count"], p["slot_bits"]
    if set(labels) != {"deltas", "edition", "file", "size", "top_sha256"} or n >= 1 << 32:
        return False
    size = labels["size"]
    if type(size) is not int or size not in (16, 32, 48, 64) or not _file(labels["file"]):
        return False

    def possible(length: int, below: int | None) -> bool:
        most = sidecar_length(min(2 << q, 2**32 - 1), size, q) if below is None else below
        return length % 4 == 0 and 172 <= length < most

    return (
        labels["file"]["length"] == sidecar_length(n, size, q)
        and _hex(labels["top_sha256"], 64)
        and _whole(labels["edition"], p["edition"], newest)
        and _chain(labels, newest, labels["file"]["length"], possible)
    )


def _file(file: Any) -> bool:
    return (
        set(file) == {"sha256", "length", "xxh3_64"}
        and _hex(file["sha256"], 64)
        and _hex(file["xxh3_64"], 16)
        and _whole(file["length"], 1, LARGEST)
    )


def _figures(name: str, p: Json, newest: int) -> bool:
    n, q, r, base, screen = (p[key] for key in ("count", "slot_bits", "remainder_bits", "base", "screen"))
    if not (_whole(n, 1, CAPACITY[name]) and _whole(q, 12, 32) and r in (32, 40) and type(r) is int):
        return False
    if q != slot_bits(n) or not (_file(base) and (screen is None or _file(screen))):
        return False
    least, most = base_lengths(n, q, r)
    return (
        least <= base["length"] <= most
        and base["length"] % 8 == 0
        and (None if screen is None else screen["length"]) == screen_length(n)
        and _hex(p["top_sha256"], 64)
        and _whole(p["edition"], 1, newest)
        and _chain(p, newest, base["length"], lambda length, below: delta_is_possible(length, q, r, below))
        and p["false_positive_rate"] == f"{n / 2.0 ** (q + r):.2e}"
    )


def _chain(p: Json, newest: int, last: int, possible: Callable[[int, int | None], bool]) -> bool:
    """Of deltas that lead to a file of `last` octets."""
    deltas = p["deltas"]
    if not isinstance(deltas, list) or len(deltas) > 32:
        return False
    for place, delta in enumerate(deltas):
        is_last = place == len(deltas) - 1
        follows = p["edition"] if is_last else deltas[place + 1]["from"]
        if set(delta) != {"file", "from", "to"} or not _file(delta["file"]) or delta["to"] != follows:
            return False
        if not (_whole(delta["to"], 2, newest) and _whole(delta["from"], 1, delta["to"] - 1)):
            return False
        if not possible(delta["file"]["length"], last if is_last else None):
            return False
    return True
