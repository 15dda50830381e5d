"""Vectors of whole syncs of small partitions: continued rounds, deltas, epochs, and refused replies."""

from copy import deepcopy
from typing import Any

import sync_twin
from make_epochs import (
    BOOK,
    DOWNLOAD,
    FIRST,
    HELD_EXPECTED,
    LATER,
    SECOND,
    SEED,
    SEED_2,
    TWO_KEYS,
    WRONG,
    after,
    base_held,
    contacts,
    drawn,
    identifiers,
    run,
    served,
)

Json = dict[str, Any]


def syncs() -> list[Json]:
    seed, book = SEED.hex(), identifiers(BOOK)
    bases = [f"{name} in edition 1" for name in ("1", "44", "49")]
    parts = [sorted(book)[i::4] for i in range(4)]
    whole = [drawn(f"first {i}", part, 8) for i, part in enumerate(parts)]
    common = {"seed": seed, "options": DOWNLOAD}
    first = run(
        "first contact: texts that are rejected, one number twice, 18 new ones among 32 points in four "
        "batches; a partition that is not listed, and one that is unusable",
        **common,
        contacts=contacts(BOOK),
        manifest={"of": "people 1.1"},
        served=served(FIRST, *bases),
        drawn=whole,
    )
    assert len(first["expected"]["points"]) == 4
    done = after(
        FIRST,
        first["expected"],
        {
            "1": base_held(FIRST, bases[0], 1),
            "44": base_held(FIRST, bases[1], 1),
            "49": base_held(FIRST, bases[2], 1),
        },
    )
    half = {one: done["tokens"][one] | {"member": False, "edition": -1} for one in [*parts[0], *parts[2]]}
    waiting = [{"points": 8, "identifiers": parts[i]} for i in (1, 3)]
    again = run(
        "it was cut off after two of the four batches: the other two are sent again, blinded anew, and the "
        "one who is new since then has a round of its own",
        **common,
        contacts=contacts(BOOK + LATER),
        manifest={"of": "people 1.1"},
        served=served(FIRST, *bases),
        held={"tokens": half, "files": done["files"], "unfinished": waiting},
        drawn=[
            drawn("again 1", parts[1], 8),
            drawn("again 3", parts[3], 8),
            drawn("again new", identifiers(LATER), 8),
        ],
    )
    held = after(
        FIRST,
        again["expected"],
        {p: base_held(FIRST, n, 1) for p, n in zip(("1", "44", "49"), bases, strict=True)},
    )
    new_edition = run(
        "edition 2: one delta; somebody left and somebody joined; nothing is new, so eight points cover it",
        **common,
        contacts=contacts(BOOK + LATER),
        manifest={"of": "people 1.2"},
        served=served(FIRST, *bases, "49 from 1 to 2"),
        held=held,
        drawn=[drawn("cover", [], 8)],
    )
    two_deltas = run(
        "edition 3 after edition 1: two deltas, a partition that is gone, and no cover round",
        **common | {"options": DOWNLOAD | {"cover": False}},
        contacts=contacts(BOOK + LATER),
        manifest={"of": "people 1.3"},
        served=served(FIRST, *bases, "49 from 1 to 2", "49 from 2 to 3"),
        held=held,
        drawn=[],
    )
    stale = deepcopy(held)
    for one in stale["files"]:
        one["edition"] = {"49": 7}.get(one["partition"], one["edition"])
    no_delta = run(
        "what is held is of an edition that no delta begins at: a base is fetched, all are matched anew",
        **common | {"options": DOWNLOAD | {"cover": False}},
        contacts=contacts(BOOK[:4]),
        manifest={"of": "people 1.2"},
        served=served(FIRST, *bases, "49 in edition 2"),
        held=stale,
        drawn=[],
    )
    names = sorted(book)
    epoch = run(
        "the next epoch: no token of the one before counts, nor a file; larger batches",
        seed=SEED_2.hex(),
        options=DOWNLOAD | {"largest_batch": 4096},
        contacts=contacts(BOOK),
        manifest={"of": "people 2.1"},
        served=served(SECOND, "49 of epoch 2"),
        drawn=[drawn("epoch", names, 32)],
    )
    rotation = run(
        "first contact while the next epoch is announced: it is used at once",
        seed=SEED_2.hex(),
        options=DOWNLOAD,
        uses_next=True,
        contacts=contacts(BOOK[:3]),
        manifest={"of": "people 1.4, rotating"},
        served=served(SECOND, "49 of epoch 2"),
        drawn=[drawn("rotation", identifiers(BOOK[:3]), 8)],
    )
    return [first, again, new_edition, two_deltas, no_delta, epoch, rotation]


def refusals() -> list[Json]:
    book = BOOK[:5]
    mine = identifiers(book)
    batch = drawn("forged", mine, 8)
    body = sync_twin.body_of(batch)
    own = sync_twin.reply_to(body, FIRST.secret, sync_twin.scalar(batch["nonce"]))
    other = sync_twin.reply_to(body, SECOND.secret, sync_twin.scalar(batch["nonce"]))
    another = drawn("another", mine, 8)
    swapped = sync_twin.reply_to(sync_twin.body_of(another), FIRST.secret, sync_twin.scalar(another["nonce"]))
    bases = [f"{name} in edition 1" for name in ("1", "44", "49")]

    def answered(reason: str, effect: str, reply: bytes | None) -> Json:
        more = {} if reply is None else {"reply": reply.hex()}
        return run(
            reason,
            effect,
            seed=SEED.hex(),
            options=DOWNLOAD,
            contacts=contacts(book),
            manifest={"of": "people 1.1"},
            served=served(FIRST, *bases),
            drawn=[batch | more],
        )

    def followed(reason: str, effect: str, manifest: str, *files: str, **more: Any) -> Json:
        held = after(
            FIRST,
            HELD_EXPECTED,
            {p: base_held(FIRST, n, 1) for p, n in zip(("1", "44", "49"), bases, strict=True)},
        )
        return run(
            reason,
            effect,
            seed=SEED.hex(),
            options=DOWNLOAD | {"cover": False},
            contacts=contacts(book[:1]),
            manifest={"of": manifest},
            served=served(FIRST, *bases, *files),
            drawn=[],
            held=held,
            **more,
        )

    swap = own[32:64] + own[:32] + own[64:]
    return [
        answered("an honest reply: accepted", "", None),
        answered("evaluated with the key of another epoch", TWO_KEYS, other),
        answered("the reply to another blinding of the same contacts", WRONG, swapped),
        answered("two elements in each other's place", WRONG, swap),
        answered("the proof's last octet is missing", WRONG, own[:-1]),
        answered(
            "the identity in the place of the first element",
            "every identifier has the same output",
            bytes(32) + own[32:],
        ),
        answered(
            "a scalar of the proof that is not below the order",
            "one proof has several spellings",
            own[:-32] + b"\xff" * 32,
        ),
        followed("a delta that leads on: accepted", "", "people 1.2", "49 from 1 to 2"),
        followed(
            "a delta that is for another directory than the one held",
            WRONG,
            "people 1.2, for others",
            "49 for others",
        ),
        followed(
            "a delta that leads to another directory than the manifest's base",
            WRONG,
            "people 1.2, leading elsewhere",
            "49 from 1 to 2",
        ),
    ]
