"""Entries by ranges: the directory's own list of buckets, each verified from the manifest alone."""

import dataclasses

import numpy as np
import pytest
from labelled import outputs_of, publish, texts_of

from contactsync.directory.ranges import RangeReader, buckets_of
from contactsync.directory.sidecar_ranges import SidecarRangeReader
from contactsync.foundation.errors import BadDirectory

COUNT = 40_000


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("ranges"), "base", outputs_of(COUNT), texts_of(COUNT))


class Served:
    """A file behind `fetch`, and what was asked of it."""

    def __init__(self, data: bytes) -> None:
        self.data, self.asked = bytearray(data), []

    def __call__(self, places):
        self.asked.append(list(places))
        return [bytes(self.data[place.start : place.stop]) for place in places]


def sidecar_of(edition):
    served = Served(edition.sidecar.read_bytes())
    return served, SidecarRangeReader(edition.info, served)


def matched(edition, tokens, extra=()):
    """As a client does: buckets of its tokens, and others."""
    with edition.directory() as directory:
        info = directory.info
    numbers = sorted({*buckets_of(info, tokens).tolist(), *extra})
    return RangeReader(info, Served(edition.base.read_bytes())).match(tokens, numbers), numbers


def test_each_match_reads_the_own_label(edition):
    tokens = edition.tokens.take(np.arange(0, 300))
    match, numbers = matched(edition, tokens, extra=(1, 2))
    assert match.found.all()
    served, reader = sidecar_of(edition)
    part = reader.read(numbers, match.counts)
    entries = part.entries(match.bucket, match.rank)
    some = dataclasses.replace(edition, outputs=edition.outputs[:300], texts=edition.texts[:300])
    assert some.says(entries) == some.texts
    assert part.octets == sum(len(place) for places in served.asked for place in places)


def test_what_is_asked_follows_from_the_list_alone(edition):
    """The same requests whether everybody or nobody matches."""
    everybody, nobody = edition.tokens.take(np.arange(20)), None
    match, numbers = matched(edition, everybody)
    asked = []
    for tokens in (everybody, nobody):
        served, reader = sidecar_of(edition)
        part = reader.read(numbers, match.counts)
        if tokens is not None:
            part.entries(match.bucket, match.rank)
        asked.append(served.asked)
    assert asked[0] == asked[1]
    layout = edition.info.layout
    assert asked[0][0] == [range(layout.index_offset)]
    assert len(asked[0][2]) == len(numbers)


def test_some_of_the_fetched_tokens_do_not_match(edition):
    strangers = outputs_of(30, seed=8)
    both = np.concatenate([edition.outputs[:30], strangers])
    some = dataclasses.replace(edition, outputs=both, texts=[])
    match, numbers = matched(edition, some.tokens)
    assert match.found.tolist() == [True] * 30 + [False] * 30
    _, reader = sidecar_of(edition)
    hit = np.flatnonzero(match.found)
    entries = reader.read(numbers, match.counts).entries(match.bucket[hit], match.rank[hit])
    assert dataclasses.replace(edition, outputs=both[hit]).says(entries) == edition.texts[:30]


ATTACKS = {
    "top table": (lambda e: 70, "bad-hash"),
    "header": (lambda e: 13, "malformed"),
    "index page": (lambda e: e.info.layout.index_offset + 3, "bad-hash"),
    "entry": (lambda e: e.info.layout.data_offset + 5, "bad-hash"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_other_octets_pass(edition, name):
    place, refusal = ATTACKS[name]
    match, _ = matched(edition, edition.tokens.take(np.arange(5)), extra=range(8))
    served, reader = sidecar_of(edition)
    served.data[place(edition)] ^= 1
    with pytest.raises(BadDirectory) as raised:
        reader.read(range(len(match.counts)), match.counts)
    assert raised.value.refusal == refusal


def test_the_sidecar_of_another_edition_is_refused(edition, tmp_path):
    other = publish(tmp_path, "other", edition.outputs, [*edition.texts[1:], b"x"])
    match, numbers = matched(edition, edition.tokens.take(np.arange(5)))
    with pytest.raises(BadDirectory) as raised:
        SidecarRangeReader(edition.info, Served(other.sidecar.read_bytes())).read(numbers, match.counts)
    assert raised.value.refusal == "bad-hash"


def test_a_sidecar_whose_buckets_are_not_the_directorys_is_refused_whatever_matches(edition, tmp_path):
    """Were an entry looked up first, the refusal would tell where a match is."""
    other = publish(tmp_path, "other", outputs_of(COUNT, seed=77), edition.texts)
    match, numbers = matched(edition, edition.tokens.take(np.arange(5)))
    with pytest.raises(BadDirectory, match="entries for") as raised:
        SidecarRangeReader(other.info, Served(other.sidecar.read_bytes())).read(numbers, match.counts)
    assert raised.value.refusal == "not-as-described"


def test_fewer_octets_than_asked_for(edition):
    match, numbers = matched(edition, edition.tokens.take(np.arange(5)))
    for short in range(3):
        served, _ = sidecar_of(edition)
        calls = []

        def fetch(places, served=served, calls=calls, short=short):
            calls.append(1)
            parts = served(places)
            return [part[:-1] for part in parts] if len(calls) == short + 1 else parts

        with pytest.raises(BadDirectory) as raised:
            SidecarRangeReader(edition.info, fetch).read(numbers, match.counts)
        assert raised.value.refusal == "wrong-length"
