"""Files that only some clients would refuse: refused by all alike, or by none.

A sync that fails keeps no holdings, so that the next one fetches other files than everybody else's. A server
could sign a file that only a client with a certain contact, or calling code, refuses, and see who that is.
"""

import dataclasses
import hashlib
from datetime import UTC, datetime

import pytest

from contactsync.directory import truncate
from contactsync.directory.delta import HEADER, read_delta
from contactsync.directory.files import write_file
from contactsync.directory.value_sets import encode
from contactsync.foundation.errors import BadDirectory
from contactsync.publication.manifest import DeltaFile
from contactsync.tokens import Tokens
from contactsync.voprf.server import evaluate

MEMBERS = [f"+49151{i:07}" for i in range(200)]
VICTIM = "+491719999999"  # no member
OTHER = "+491718888888"  # no member either


def data_asked(service):
    return sorted(r.path for r in service.requests if "/v1/data/" in r.path)


def republish(service, partitions):
    service.manifest = dataclasses.replace(service.manifest, partitions=partitions)
    service.repository.publish([service.manifest], service.signers, datetime.now(UTC))


def both(service, people, numbers):
    """What each asks for in one sync, and whether it failed."""
    seen = []
    for one, mine in zip(people, numbers, strict=True):
        service.requests.clear()
        try:
            one.sync(*mine)
            failed = ""
        except BadDirectory as error:
            failed = str(error)
        seen.append((data_asked(service), failed))
    return seen


@pytest.mark.slow
def test_a_delta_that_contradicts_one_contact(service, person, other_person):
    """Is VICTIM in the book? The delta 1→2 says that VICTIM left, who was no member."""
    service.crowd = {"49": 20_000}
    people, books = (person, other_person), ([MEMBERS[0], VICTIM], [MEMBERS[0], OTHER])
    service.publish(*MEMBERS)
    both(service, people, books)
    service.publish(*MEMBERS[:-1])  # one member left …
    part = service.manifest.partitions["49"]
    honest = read_delta(service.folder / "data" / part.deltas[0].file.sha256)
    token = Tokens.from_outputs(evaluate(service.key, [f"tel:{VICTIM}".encode()]))
    forged = truncate(token, part.slot_bits, part.remainder_bits)  # … and the delta names another
    assert (len(honest.removed), len(honest.added)) == (1, 0)
    parts = [encode(v, part.slot_bits, part.remainder_bits) for v in (forged, honest.added)]
    length = HEADER.size + sum(map(len, parts)) + 32
    header = HEADER.pack(
        b"CSDLT\r\n\x1a", 1, part.slot_bits, part.remainder_bits, 0, 1, 2, honest.old_count,
        honest.new_count, 1, 0, length, bytes.fromhex(honest.old_sha256), bytes.fromhex(honest.new_sha256),
    )  # fmt: skip
    content = b"".join([header, *parts])
    file = write_file(service.folder / "data" / "x", [content, hashlib.sha256(content).digest()])
    (service.folder / "data" / "x").rename(service.folder / "data" / file.sha256)
    # edition 2 again, with that delta (nobody has followed the first edition 2)
    republish(service, {"49": dataclasses.replace(part, deltas=(DeltaFile(1, 2, file),))})
    first = both(service, people, books)
    assert first[0][0] == first[1][0], "the probe itself looks the same"
    service.publish(*MEMBERS[:-2])
    part = service.manifest.partitions["49"]
    republish(service, {"49": dataclasses.replace(part, deltas=part.deltas[-1:])})  # 2→3 alone
    second = both(service, people, books)
    assert second[0][0] == second[1][0], "only the client with VICTIM in its book fetches the base"


@pytest.mark.slow
def test_a_base_that_only_clients_with_that_calling_code_open(service, person, other_person):
    """Has the book contacts in +44? Its base is signed, and malformed; who has none never opens it."""
    people, books = (person, other_person), ([MEMBERS[0], "+447911123456"], [MEMBERS[0], OTHER])
    service.crowd = {"49": 20_000}
    service.publish(*MEMBERS, "+447911123456", "+447911123457")
    part = service.manifest.partitions["44"]
    garbage = bytearray((service.folder / "data" / part.base.sha256).read_bytes())
    garbage[-20] ^= 1
    file = write_file(service.folder / "data" / "x", [bytes(garbage)])
    (service.folder / "data" / "x").rename(service.folder / "data" / file.sha256)
    bad = dataclasses.replace(part, base=file)
    republish(service, {**service.manifest.partitions, "44": bad})
    both(service, people, books)
    # The operator mends it: the next edition, with a delta that leads on from the malformed base's hash.
    honest = (service.folder / "data" / part.base.sha256).read_bytes()
    (service.folder / "data" / file.sha256).write_bytes(honest)
    service.publish(*MEMBERS[:-1], "+447911123456", "+447911123457", "+447911123458")
    second = both(service, people, books)
    assert second[0][0] == second[1][0], "whole bases for one, a delta for the other"
