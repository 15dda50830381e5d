"""An operator who signs figures that no members give: refused before anything is planned, priced or asked.

Each of these was an attack that worked. With a screen of 26 members that lets everybody pass, and so many
slots that each bucket is of one contact, two lists told 60 of 60 contacts out of 398,914 candidates.
"""

import struct
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from contactsync.directory.files import write_file
from contactsync.foundation.errors import BadDirectory, BadReply, ChoiceNeeded
from contactsync.publication.manifest import DataFile

MEMBERS = [f"+49151{i:07}" for i in range(26)]
OTHERS = [f"+49171{i:07}" for i in range(60)]
TERABYTE = 1_100_000_000_000


def sign(service, **changes):
    """Publish the current manifest with other figures for +49, as the next edition."""
    old = service.manifest
    partition = replace(old.partitions["49"], edition=old.edition + 1, deltas=(), **changes)
    partitions = dict(old.partitions) | {"49": partition}
    service.manifest = replace(old, edition=old.edition + 1, partitions=partitions, previous=old.sha256())
    service.repository.publish([service.manifest], service.signers, datetime.now(UTC))


def put(service, parts):
    file = write_file(service.folder / "data" / "forged", parts)
    (service.folder / "data" / "forged").rename(service.folder / "data" / file.sha256)
    return file


def screen_of(service, slice_bits, capacity, bitmap):
    """A signed screen with these bits."""
    return put(service, [struct.pack("<dQQQQ", 0.01, 7, slice_bits, capacity, capacity), bitmap])


def refused(service, person, error, *contacts, **options):
    service.requests.clear()
    with pytest.raises(error) as raised:
        person.sync(*contacts, **options)
    assert service.asked("/evaluate/") == []
    assert service.asked("/data/") == []
    assert "--privacy" not in raised.value.hint
    return raised.value


@pytest.mark.parametrize("privacy", ["download", "screen"])
def test_a_base_of_a_terabyte_recommends_nothing(service, person, privacy):
    """Anybody who refuses to download that would be advised to try `--privacy screen`."""
    service.publish(*MEMBERS)
    base = service.manifest.partitions["49"].base
    screen = screen_of(service, 36, 26, b"\xff" * 31 + b"\x0f")
    sign(service, base=replace(base, length=TERABYTE), screen=screen)
    error = refused(service, person, BadReply, *MEMBERS, *OTHERS, privacy=privacy)
    assert error.refusal == "out-of-range"


@pytest.mark.parametrize("privacy", ["download", "screen"])
def test_slots_that_make_a_bucket_for_each_contact(service, person, privacy):
    service.publish(*MEMBERS)
    length = 64 + 32 * 4096 + 4096 * (48 * 256 + 8) + (1 << 20) * 544 + 26 * 16
    screen = screen_of(service, 36, 26, b"\xff" * 31 + b"\x0f")
    sign(service, slot_bits=32, base=DataFile("ab" * 32, length, "cd" * 8), screen=screen)
    error = refused(service, person, BadReply, *MEMBERS, *OTHERS, privacy=privacy)
    assert error.refusal == "out-of-range"


def test_a_screen_for_few_members(service, person):
    """Of a hundred members, a screen that passes 14 % of strangers is no rarer than chance allows."""
    service.publish(*[f"+49151{i:07}" for i in range(100)])
    bits = np.ones(7 * 137, np.uint8)
    bits[::4] = 0
    screen = screen_of(service, 137, 100, np.packbits(bits, bitorder="little").tobytes())
    sign(service, screen=screen)
    refused(service, person, BadReply, *OTHERS, privacy="screen")


def test_a_crowd_that_no_country_has(service, person):
    service.publish(*MEMBERS)
    count = 6_000_000_000
    forged = replace(service.manifest.partitions["49"], count=count, slot_bits=32)
    lengths = forged.directory.layout.lengths
    same = replace(forged, edition=2, base=DataFile("ab" * 32, lengths[0], "cd" * 8))
    partitions = {code: replace(same, name=code) for code in ("1", "44", "49", "55", "86", "91")}
    service.manifest = replace(
        service.manifest, edition=2, partitions=partitions, previous=service.manifest.sha256()
    )
    service.repository.publish([service.manifest], service.signers, datetime.now(UTC))
    assert refused(service, person, BadReply, *OTHERS).refusal == "too-full"


@pytest.mark.parametrize("code", ["491", "4", "12"])
def test_a_partition_that_is_no_country(service, person, code):
    """491 would hold what 49 holds."""
    service.publish(*MEMBERS)
    partition = replace(service.manifest.partitions["49"], name=code, edition=2)
    service.manifest = replace(
        service.manifest, edition=2, partitions={code: partition}, previous=service.manifest.sha256()
    )
    service.repository.publish([service.manifest], service.signers, datetime.now(UTC))
    refused(service, person, BadReply, *MEMBERS)


def test_a_country_of_later_days_does_not_stop_an_older_client(service, person):
    service.publish(*MEMBERS)
    partition = replace(service.manifest.partitions["49"], name="999", edition=2)
    partitions = dict(service.manifest.partitions) | {"999": partition}
    service.manifest = replace(
        service.manifest, edition=2, partitions=partitions, previous=service.manifest.sha256()
    )
    service.repository.publish([service.manifest], service.signers, datetime.now(UTC))
    report = person.sync(*MEMBERS, *OTHERS)
    assert len(report.matches) == 26
    assert report.members == 26


def test_one_that_is_honest_still_has_its_choices(service, person):
    service.crowd = {"49": 400_000}
    service.publish(*MEMBERS)
    with pytest.raises(ChoiceNeeded, match="the download is") as raised:
        person.sync(*MEMBERS, max_download=1000)
    assert "--privacy screen" in raised.value.hint


@pytest.mark.parametrize("fill", ["ones", "one slice", "a little"])
def test_a_screen_that_is_fuller_than_its_members_make_it(service, person, fill):
    service.crowd = {"49": 400_000}
    service.publish(*MEMBERS)
    honest = service.manifest.partitions["49"].screen
    data = bytearray((service.folder / "data" / honest.sha256).read_bytes())
    (slice_bits,) = struct.unpack_from("<Q", data, 16)
    first, end = 40, 40 + slice_bits // 8
    if fill == "ones":
        data[40:-1] = b"\xff" * (len(data) - 41)
    elif fill == "one slice":
        data[first:end] = b"\xff" * (end - first)
    else:  # a hundredth more bits than honest ones have: seven such slices pass 7 % more strangers
        data[first : first + slice_bits // 770] = b"\xff" * (slice_bits // 770)
    sign(service, screen=put(service, [bytes(data)]))
    service.requests.clear()
    with pytest.raises(BadDirectory, match="which 400026 tokens cannot have done") as raised:
        person.sync(*OTHERS, privacy="screen")
    assert raised.value.refusal == "too-full"
    assert [r for r in service.requests if "range" in r.headers] == [], "no bucket was asked for"
