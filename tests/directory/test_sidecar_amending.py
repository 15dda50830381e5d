"""A sidecar that is made of an earlier one is, byte for byte, the one that is built from nothing."""

import numpy as np
import pytest
from labelled import CONTEXT, outputs_of, publish, texts_of

from contactsync.directory import sidecar_writing
from contactsync.directory.amending import Changes, Contradicted
from contactsync.directory.sidecar import open_sidecar
from contactsync.directory.sidecar_amending import amend_sidecar, sidecar_changes
from contactsync.directory.sidecar_delta import write_differences, write_sidecar_delta
from contactsync.foundation.errors import BadDirectory
from contactsync.labels import seal
from contactsync.tokens import Tokens

OUTPUTS, TEXTS = outputs_of(21_000), texts_of(21_000)


def made(folder, name, places, others=(), **how):
    """An edition of some places in OUTPUTS; `others` are labels that are not those of TEXTS."""
    others = dict(others)
    return publish(folder, name, OUTPUTS[places], [others.get(i, TEXTS[i]) for i in places], **how)


def changes_of(before, after, directory):
    places = sorted({*before} ^ {*after})
    had, has = (np.array([i in there for i in places], np.bool_) for there in ({*before}, {*after}))
    return Changes.of(Tokens.from_bytes(OUTPUTS[places]), had, has, directory.info)


def amended(path, editions, places, given, others=()):
    """What comes of an edition and the entries of the places `given`, and what changed."""
    (old, new), (before, after), others = editions, places, dict(others)
    outputs = OUTPUTS[given]
    entries = seal(outputs[:, 10:], [others.get(i, TEXTS[i]) for i in given], old.size, CONTEXT)
    with open_sidecar(old.sidecar, expect=old.info, check="xxh3") as sidecar, new.directory() as directory:
        changes = changes_of(before, after, directory)
        found = sidecar_changes(sidecar, directory, changes, Tokens.from_bytes(outputs), entries)
        return amend_sidecar(path, sidecar, directory, found), found


CASES = {
    "one label": (range(20_000), range(20_000), [7]),
    "joined": (range(20_000), range(20_300), []),
    "left": (range(20_000), range(400, 20_000), []),
    "both, and labels": (range(20_000), range(300, 20_500), [*range(300, 9000, 61)]),
    "few": (range(30), range(5, 40), [6, 29]),
    "one": (range(1), range(1, 2), []),
    "all but one join": (range(1), range(90), [0]),
    "the first and the last": (range(1, 3000), range(3001), [1, 2999]),
}


@pytest.mark.parametrize("how", [(32, False, 32 << 20), (64, True, 1), (48, False, 100_000)])
@pytest.mark.parametrize("case", CASES)
def test_the_bytes_are_those_of_all_entries(tmp_path, monkeypatch, case, how):
    (before, after, relabelled), (size, wide, room) = CASES[case], how
    others = dict.fromkeys(relabelled, b"another") | dict.fromkeys(relabelled[::3], b"")
    old = made(tmp_path, "old", before, size=size, wide=wide)
    new = made(tmp_path, "new", after, others, size=size, wide=wide)
    monkeypatch.setattr(sidecar_writing, "PART_BYTES", room)
    # Some that are as they were are given, too, and in any order.
    given = sorted({*after} - {*before} | {*relabelled} | {*list(after)[-2:]}, key=lambda i: i * 7919 % 1009)
    info, found = amended(tmp_path / "made", (old, new), (before, after), given, others)
    assert (info, (tmp_path / "made").read_bytes()) == (new.info, new.sidecar.read_bytes())
    editions = {"from_edition": 3, "to_edition": 5}
    places, entries = (found.dropped, found.placed), found.entries
    mine = write_differences(
        tmp_path / "mine", (old.info, new.info), places, lambda _places: entries, **editions
    )
    with old.open() as one, new.open() as other:
        assert write_sidecar_delta(tmp_path / "theirs", one, other, **editions) == mine
    if mine is not None:
        assert (tmp_path / "mine").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_entries_that_are_as_they_were_change_nothing(tmp_path):
    old = made(tmp_path, "old", range(3000))
    _, found = amended(tmp_path / "made", (old, old), (range(3000), range(3000)), [5, 9])
    assert len(found) == 0
    _, found = amended(tmp_path / "made", (old, old), (range(3000), range(3000)), [])
    assert len(found) == 0
    assert (tmp_path / "made").read_bytes() == old.sidecar.read_bytes()


@pytest.mark.parametrize(
    ("after", "given"),
    [
        (range(3002), [3000]),  # one who joined has no entry
        (range(3000), [3001]),  # an entry of who is not there
        (range(3000), [5, 5]),  # two of one value
        (range(2999), [2999]),  # of who left
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, after, given):
    old, new = made(tmp_path, "old", range(3000)), made(tmp_path, "new", after)
    with pytest.raises(Contradicted):
        amended(tmp_path / "made", (old, new), (range(3000), after), given)
    assert not (tmp_path / "made").exists()


def test_changes_that_are_not_those_of_the_directories_are_refused(tmp_path):
    old, new = made(tmp_path, "old", range(3000)), made(tmp_path, "new", range(1, 3000))
    for before, after in ((range(3000), range(3000)), (range(3000), range(2999)), (range(2999), range(3000))):
        with pytest.raises(Contradicted):
            amended(tmp_path / "made", (old, new), (before, after), [*{*after} - {*before}])


@pytest.mark.parametrize("place", [70, -1, 3000])
def test_a_damaged_sidecar_is_not_copied(tmp_path, place):
    """Not even if it is damaged after it was looked at as a whole."""
    old = made(tmp_path, "old", range(3000))
    whole = old.sidecar.read_bytes()
    octets = bytearray(whole)
    octets[place] ^= 1
    old.sidecar.write_bytes(octets)
    with pytest.raises(BadDirectory):
        amended(tmp_path / "made", (old, old), (range(3000), range(3000)), [5])
    old.sidecar.write_bytes(whole)
    with open_sidecar(old.sidecar, expect=old.info, check="xxh3") as sidecar, old.directory() as directory:
        octets[place] = whole[place]
        octets[-7] ^= 1
        old.sidecar.write_bytes(octets)
        none = changes_of((), (), directory)
        entries = np.zeros((0, 48), np.uint8)
        found = sidecar_changes(sidecar, directory, none, Tokens.from_bytes(OUTPUTS[:0]), entries)
        with pytest.raises(BadDirectory, match="hash in the index"):
            amend_sidecar(tmp_path / "made", sidecar, directory, found)
    assert not (tmp_path / "made").exists()
