"""Vectors of whole syncs with labels: a partition of members with and without one."""

import hashlib
from typing import Any

import labels_twin
import reference as ref
from make_epochs import (
    ALL_FILES,
    DOWNLOAD,
    MANIFESTS,
    WRONG,
    Epoch,
    contacts,
    drawn,
    identifiers,
    run,
    served,
)

Json = dict[str, Any]
OF = Epoch(hashlib.sha256(b"a seed of an epoch with labels").digest(), 1)
OPTIONS = DOWNLOAD | {"labels": True, "largest_batch": 4096}
SIZE = 32
BOOK: list[tuple[str, str | None]] = [
    ("0151 1100 7919", "DE"),
    ("+49 151 11015838", None),
    ("0151 11023757", "DE"),
    ("112", "DE"),
    ("+49 151 11031676", None),
    ("0176 04069001", "DE"),
]
# In the order of the book: with a label, without one, with an entry that only another member could open, and
# with one that is no label. Who comes last is no member.
LABELS = ("@ada:example.org", "", None, "a\x1b[2J")


def output(identifier: str) -> bytes:
    return ref.Evaluate(OF.secret, identifier.encode(), 1)


def prepare_labelled() -> None:
    """Add the edition with labels, and one whose sidecar does not fit."""
    data = labels_twin.context("people", OF.number)
    members: dict[bytes, bytes] = {}
    for identifier, label in zip(identifiers(BOOK), LABELS, strict=False):
        key = output(identifier) if label is not None else output("tel:+491719999999")
        members[output(identifier)] = labels_twin.seal(
            key, ("x" if label is None else label).encode(), SIZE, data
        )
    for i in range(30):
        other = hashlib.sha512(f"a labelled member {i}".encode()).digest()
        members[other] = labels_twin.seal(other, f"@{i}".encode(), SIZE, data)
    OF.directory("49 with labels", [one[:10] for one in members])
    values, entries = labels_twin.ordered(members, 12, 32)
    assert values == OF.values["49 with labels"]
    good = labels_twin.sidecar(values, entries, SIZE, 12, 32)
    OF.files["labels of 49"] = good
    OF.files["labels of 49, one changed"] = good[:-1] + bytes([good[-1] ^ 1])
    figures = labels_twin.info(good)
    labels = {
        "edition": 1,
        "size": SIZE,
        "top_sha256": figures["top_sha256"],
        "file": {name: figures[name] for name in ("sha256", "length", "xxh3_64")},
        "deltas": [],
    }
    partition = OF.partition("49 with labels", 1, [])
    MANIFESTS["people 1.1, with labels"] = OF.manifest(1, {"49": partition | {"labels": labels}}, None)
    ALL_FILES.update(OF.files)


def _one(reason: str, effect: str = "", options: Json = OPTIONS, sidecar: Json | None = None) -> Json:
    files = served(OF, "49 with labels")
    return run(
        reason,
        effect,
        seed=OF.seed.hex(),
        options=options,
        contacts=contacts(BOOK),
        manifest={"of": "people 1.1, with labels"},
        served=files if sidecar is None else [*files, sidecar],
        drawn=[drawn("labelled", identifiers(BOOK), 8)],
    )


def labelled() -> list[Json]:
    (sidecar,) = served(OF, "labels of 49")
    without = {name: value for name, value in OPTIONS.items() if name != "labels"}
    return [
        _one(
            "labels: who has one, who has none, one that does not open, one that is no label", sidecar=sidecar
        ),
        _one("the same without labels: no sidecar is fetched", options=without),
    ]


def refused() -> list[Json]:
    (sidecar,) = served(OF, "labels of 49")
    changed = sidecar | {"octets": {"of": "labels of 49, one changed"}}
    return [_one("a sidecar with a good header and one changed entry, of a stranger", WRONG, sidecar=changed)]
