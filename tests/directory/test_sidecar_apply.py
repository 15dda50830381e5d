"""A sidecar that is carried on by deltas is the one that was published, byte for byte, or there is none."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from labelled import outputs_of, publish, texts_of

from contactsync.directory import sidecar_writing
from contactsync.directory.format import DataFile
from contactsync.directory.sidecar_apply import apply_to_sidecar
from contactsync.directory.sidecar_delta import read_sidecar_delta, write_sidecar_delta
from contactsync.foundation.errors import BadDirectory, OurError


def chain_of(folder, editions):
    """The deltas from each edition to the next."""
    deltas = []
    for number, (one, other) in enumerate(itertools.pairwise(editions), 1):
        path = folder / f"delta{number}"
        with one.open() as old, other.open() as new:
            assert write_sidecar_delta(path, old, new, from_edition=number, to_edition=number + 1)
        deltas.append(read_sidecar_delta(path))
    return deltas


def carry_on(path, old, deltas, new, reaches=None):
    with old.open() as sidecar, new.directory() as directory:
        apply_to_sidecar(path, sidecar, deltas, directory, reaches or new.info)


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """Five editions: labels change; members join; members leave; both, and some come back as they were."""
    folder = tmp_path_factory.mktemp("history")
    first, texts = outputs_of(20_000), texts_of(20_000)
    renamed = [b"new name" if i % 97 == 0 else text for i, text in enumerate(texts)]
    joined = np.concatenate([first, outputs_of(300, seed=5)])
    more = [*renamed, *texts_of(300, seed=5)]
    left, fewer = joined[400:], more[400:]
    back = np.concatenate([left[:-50], first[:100], outputs_of(20, seed=6)])
    again = [*fewer[:-50], *renamed[:100], *texts_of(20, seed=6)]
    lists = [(first, texts), (first, renamed), (joined, more), (left, fewer), (back, again)]
    editions = [publish(folder, str(i), *members) for i, members in enumerate(lists)]
    return editions, chain_of(folder, editions)


@pytest.mark.parametrize("room", [32 << 20, 600_000, 1])
def test_each_chain_makes_the_sidecar_that_was_published(history, tmp_path, monkeypatch, room):
    """Whatever the parts: all at once, some buckets, one bucket."""
    monkeypatch.setattr(sidecar_writing, "PART_BYTES", room)
    editions, deltas = history
    for start in range(5):
        for end in range(start, 5):
            carry_on(tmp_path / "made", editions[start], deltas[start:end], editions[end])
            assert (tmp_path / "made").read_bytes() == editions[end].sidecar.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("size", [16, 64])
def test_whatever_the_sizes(tmp_path, wide, size):
    outputs, texts = outputs_of(3000), [b"a" if i % 2 else b"" for i in range(3000)]
    lists = [(outputs, texts), (outputs[1:], [*texts[1:-1], b"b"])]
    editions = [publish(tmp_path, str(i), *one, size=size, wide=wide) for i, one in enumerate(lists)]
    carry_on(tmp_path / "made", editions[0], chain_of(tmp_path, editions), editions[1])
    assert (tmp_path / "made").read_bytes() == editions[1].sidecar.read_bytes()


def test_few_members(tmp_path):
    """Fewer than there are slots in a bucket."""
    outputs = outputs_of(30)
    editions = [publish(tmp_path, str(n), outputs[:n], [b""] * n) for n in (30, 7, 3)]
    deltas = chain_of(tmp_path, editions)
    for end in (1, 2):
        carry_on(tmp_path / "made", editions[0], deltas[:end], editions[end])
        assert (tmp_path / "made").read_bytes() == editions[end].sidecar.read_bytes()


def test_parts_are_bounded(history, monkeypatch):
    editions, _ = history
    monkeypatch.setattr(sidecar_writing, "PART_BYTES", 600_000)
    with editions[0].open() as sidecar, editions[4].directory() as directory:
        counts = directory.span.count
        parts = list(sidecar_writing.whole_buckets(sidecar.info.layout, counts))
        width = sidecar.info.layout.entry_bytes
    assert (len(counts), len(parts)) == (4, 2)
    assert max((end - first) * width for _, first, end in parts) <= 600_000
    numbers = [np.arange(len(counts))[which] for which, *_ in parts]
    assert np.array_equal(np.concatenate(numbers), np.arange(len(counts)))
    assert [end for *_, end in parts] == np.cumsum(counts)[[which.stop - 1 for which, *_ in parts]].tolist()


# ---- what is refused --------------------------------------------------------------------------------------


def test_a_chain_that_does_not_lead_there_is_refused(history, tmp_path):
    editions, deltas = history
    for start, some, end in (
        (0, deltas[1:], 4),  # begins elsewhere
        (0, [deltas[0], deltas[2]], 3),  # a gap
        (0, deltas[:2], 3),  # ends before
        (0, [], 1),  # none where one is needed
    ):
        with pytest.raises(BadDirectory) as raised:
            carry_on(tmp_path / "made", editions[start], some, editions[end])
        assert raised.value.refusal == "not-following"
    assert list(tmp_path.iterdir()) == []


def test_another_result_than_the_manifest_names_leaves_no_file(history, tmp_path):
    """A delta with an entry of its own, and figures of the manifest that are not those of the sidecar."""
    editions, deltas = history
    forged = deltas[0].entries.copy()
    forged[0, 0] ^= 1
    old, new = editions[:2]
    info = new.info
    for delta, reaches in (
        (replace(deltas[0], entries=forged), info),
        (replace(deltas[0], dropped=deltas[0].dropped[::-1] * 0 + np.arange(len(forged))), info),
        (deltas[0], replace(info, top_sha256="00" * 32)),
        (deltas[0], replace(info, file=replace(info.file, xxh3_64="00" * 8))),
        (deltas[0], replace(info, file=DataFile(info.file.sha256, info.file.length + 1, info.file.xxh3_64))),
    ):
        with pytest.raises(BadDirectory, match="not the sidecar that the manifest names") as raised:
            carry_on(tmp_path / "made", old, [delta], new, reaches)
        assert raised.value.refusal == "bad-hash"
        assert list(tmp_path.iterdir()) == []


def test_labels_of_another_directory(history, tmp_path):
    editions, deltas = history
    with editions[0].open() as sidecar, editions[2].directory() as directory:
        with pytest.raises(BadDirectory) as raised:
            apply_to_sidecar(tmp_path / "made", sidecar, deltas[:1], directory, editions[1].info)
        assert raised.value.refusal == "not-as-described"
    # As many members, and others: the buckets have other entries.
    other = publish(tmp_path, "other", outputs_of(20_000, seed=9), texts_of(20_000))
    with editions[0].open() as sidecar, other.directory() as directory, pytest.raises(BadDirectory) as raised:
        apply_to_sidecar(tmp_path / "made", sidecar, deltas[:1], directory, editions[1].info)
    assert raised.value.refusal == "bad-hash"
    assert not (tmp_path / "made").exists()


def test_no_delta_leads_to_another_size(history, tmp_path):
    editions, _ = history
    larger = publish(tmp_path, "larger", editions[0].outputs, editions[0].texts, size=48)
    with editions[0].open() as old, larger.open() as new:
        assert not write_sidecar_delta(tmp_path / "delta", old, new, from_edition=1, to_edition=2)
    with pytest.raises(BadDirectory) as raised:
        carry_on(tmp_path / "made", editions[0], [], larger)
    assert raised.value.refusal == "not-following"
    assert not (tmp_path / "made").exists()


# ---- faults -----------------------------------------------------------------------------------------------

CARRIES_ON = """
import resource, signal, sys
from contactsync.directory import open_directory, sidecar_apply, sidecar_writing
from contactsync.directory.sidecar import open_sidecar
from contactsync.directory.sidecar_delta import read_sidecar_delta

old, delta, base, new, made, limit = sys.argv[1:]
reaches, directory = open_sidecar(new, expect=None).info, open_directory(base, expect=None)
sidecar, chain = open_sidecar(old, expect=None), [read_sidecar_delta(delta)]
sidecar_writing.PART_BYTES = 100_000
if limit == "killed":
    whole = sidecar_apply.entries_through
    def entries_through(*given):
        print("part", flush=True)
        if given[2][0] > 8000:
            signal.pause()
        return whole(*given)
    sidecar_apply.entries_through = entries_through
else:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    sidecar_apply.apply_to_sidecar(made, sidecar, chain, directory, reaches)
except Exception as error:
    print(type(error).__name__, error)
"""


def begin(history, made, limit):
    editions, _ = history
    delta = editions[0].base.parent / "delta1"
    paths = [editions[0].sidecar, delta, editions[1].base, editions[1].sidecar, made]
    words = [sys.executable, "-c", CARRIES_ON, *map(str, paths), limit]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("room", [0, 100_000, 900_000])
def test_a_full_disk_leaves_nothing(history, tmp_path, room):
    with begin(history, tmp_path / "made", str(room)) as process:
        said = process.stdout.read()
    assert said.startswith(OurError.__name__)
    assert "cannot be written" in said
    assert list(tmp_path.iterdir()) == []


def test_a_killed_one_leaves_no_file_and_the_next_one_clears_up(history, tmp_path):
    editions, deltas = history
    made = tmp_path / "made"
    shutil.copy(editions[3].sidecar, made)  # an earlier file of that name stays as it is
    with begin(history, made, "killed") as process:
        for _ in range(3):  # of four
            assert process.stdout.readline() == "part\n"
        os.kill(process.pid, signal.SIGKILL)
    assert made.read_bytes() == editions[3].sidecar.read_bytes()
    assert len(list(tmp_path.iterdir())) == 2
    carry_on(made, editions[0], deltas[:1], editions[1])
    assert made.read_bytes() == editions[1].sidecar.read_bytes()
    assert list(tmp_path.iterdir()) == [made]
