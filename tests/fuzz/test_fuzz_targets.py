"""Every target, with the same inputs each time: what is kept, and changes of it. `make fuzz` tries others."""

import json
import time

import pytest

from contactsync.foundation.errors import BadInput
from fuzz import corpus, guided, mutation
from fuzz.table import TARGETS, named
from fuzz.target import Finding, Target, check, warm_up

SEED = 14


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_nothing_is_found(target):
    kept = corpus.seeds_of(target)
    assert kept, "a target starts from real data"
    warm_up(target, kept[:20])
    for data in [*kept, *mutation.inputs(target, kept, SEED, target.runs)]:
        check(target, data)


def test_the_inputs_are_the_same_each_time():
    target = named("field")
    kept = corpus.seeds_of(target)
    assert list(mutation.inputs(target, kept, SEED, 20)) == list(mutation.inputs(target, kept, SEED, 20))
    assert list(mutation.inputs(target, kept, SEED, 20)) != list(mutation.inputs(target, kept, SEED + 1, 20))


def test_the_corpus_is_small_and_of_every_target():
    assert corpus.octets() < corpus.MOST_OCTETS
    assert {path.name for path in corpus.FOLDER.iterdir()} == {target.name for target in TARGETS}
    assert all(corpus.kept_of(target) for target in TARGETS)
    assert len({target.name for target in TARGETS}) == len(TARGETS)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_dictionary_is_given_if_there_are_words(target, tmp_path):
    """libFuzzer runs nothing at all with an empty one."""
    options = guided.dictionary(target, tmp_path / "words")
    assert [option.startswith("-dict=") for option in options] == [True] * bool(target.words)
    if target.words:
        lines = (tmp_path / "words").read_text().splitlines()
        assert len(lines) == len(target.words)
        assert all(len(line) > 2 for line in lines)


# --- a target finds what it looks for ------------------------------------------------------------------


def crashes(data):
    json.loads(data)["a"]


def spins(data):
    while data:
        pass


def works_for_long(data):
    ended = time.process_time() + 0.1
    while time.process_time() < ended:
        pass


def takes_memory(data):
    return len(bytearray(b"x") * (100 << 20))


def says_too_much(data):
    raise BadInput(f"not a name: {data.decode()}")


@pytest.mark.parametrize(
    ("run", "data", "signature"),
    [
        (crashes, b"{}", "KeyError"),
        (spins, b"x", "hangs"),
        (works_for_long, b"x" * 3, "slow"),
        (takes_memory, b"x", "memory"),
        (says_too_much, b"\x1b[2J", "words-BadInput"),
    ],
    ids=["crashes", "spins", "works-for-long", "takes-memory", "says-too-much"],
)
def test_a_fault_is_found(run, data, signature):
    seconds = 0.05 if signature in {"slow", "hangs"} else 2
    target = Target("faulty", run, list, (BadInput, ValueError), seconds=seconds, mebibytes=50)
    with pytest.raises(Finding) as found:
        check(target, data)
    assert found.value.signature.startswith(signature)
    assert found.value.data == data


def test_what_is_allowed_is_no_finding():
    check(Target("good", crashes, list, (KeyError,)), b"{}")
    check(Target("good", says_too_much, list, (BadInput,)), b"a name")
