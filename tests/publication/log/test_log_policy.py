"""Whose signatures a log needs, what it has for entries, and what it sends a witness."""

import contextlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from growing_log import policy_file
from hypothesis import given
from hypothesis import strategies as st

from contactsync.foundation.errors import BadInput, BadReply, BadSignature
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.entries import MAX_LOGGED, LoggedManifest, LoggedRoot, read_entry
from contactsync.publication.log.merkle import EMPTY
from contactsync.publication.log.notes import COSIGNATURE, ED25519, NoteSigner, sign_note
from contactsync.publication.log.policy import FIELD, MAX_WITNESSES, LogPolicy, read_policy
from contactsync.publication.log.witnessing import MAX_REQUEST, AddCheckpoint, known_size

NAME = "contacts.example.org/log"


def signer(name, kind=COSIGNATURE):
    return NoteSigner.of(name, kind, Ed25519PrivateKey.generate())


LOG = signer(NAME, ED25519)
ONE, TWO, THREE = (signer(f"witness.example.net/w{number}") for number in (1, 2, 3))
POLICY = LogPolicy(LOG.verifier, (ONE.verifier, TWO.verifier, THREE.verifier), 2)
FILE = policy_file(POLICY)
CHECKPOINT = Checkpoint(NAME, 0, EMPTY)
TEXT = CHECKPOINT.text()


def test_a_quorum_is_enough_and_less_is_not():
    for cosigners in ([ONE, TWO], [TWO, THREE], [ONE, TWO, THREE]):
        assert POLICY.accept(sign_note(TEXT, [LOG, *cosigners])) == CHECKPOINT
    for cosigners in ([], [ONE], [ONE, ONE]):
        with pytest.raises(BadReply, match="of the 2 witnesses") as error:
            POLICY.accept(sign_note(TEXT, [LOG, *cosigners]))
        assert TWO.verifier.name in str(error.value)
    none = LogPolicy(LOG.verifier)
    assert none.accept(sign_note(TEXT, [LOG])) == CHECKPOINT


def test_witnesses_do_not_stand_for_the_log_nor_for_each_other():
    with pytest.raises(BadReply, match="not signed"):
        POLICY.accept(sign_note(TEXT, [ONE, TWO, THREE]))
    as_one = NoteSigner.of(ONE.verifier.name, COSIGNATURE, Ed25519PrivateKey.generate())
    with pytest.raises(BadReply, match="1 of the 2"):
        POLICY.accept(sign_note(TEXT, [LOG, TWO, as_one, signer("stranger")]))
    with pytest.raises(BadReply, match="not signed"):
        POLICY.accept(sign_note(Checkpoint("another.example.org", 0, EMPTY).text(), [LOG, ONE, TWO]))
    wrong = f"{TEXT}\n{LOG.line(TEXT)}{ONE.line('other')}{TWO.line(TEXT)}{THREE.line(TEXT)}".encode()
    with pytest.raises(BadSignature):
        POLICY.accept(wrong)


@pytest.mark.parametrize(
    ("log", "witnesses", "quorum"),
    [
        (ONE, (), 0), (LOG, (LOG,), 1), (LOG, (ONE, ONE), 1), (LOG, (ONE,), 2), (LOG, (ONE,), -1),
        (LOG, tuple(signer(f"w{number}") for number in range(MAX_WITNESSES + 1)), 1),
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_meant_is_refused(log, witnesses, quorum):
    with pytest.raises(BadInput):
        LogPolicy(log.verifier, tuple(one.verifier for one in witnesses), quorum)


def test_the_same_key_under_two_names_is_one_witness():
    key = Ed25519PrivateKey.generate()
    twice = tuple(NoteSigner.of(name, COSIGNATURE, key).verifier for name in ("a", "b"))
    with pytest.raises(BadInput, match="twice"):
        LogPolicy(LOG.verifier, twice, 2)


def test_a_policy_survives_the_root_and_the_file():
    assert LogPolicy.from_value(json.loads(json.dumps(POLICY.to_value()))) == POLICY
    assert LogPolicy.of_root({FIELD: POLICY.to_value(), "other": 1}) == POLICY
    assert LogPolicy.of_root({"other": 1}) is None
    assert read_policy(FILE) == POLICY
    assert read_policy(f"# ours\n\nwitness {ONE.verifier.vkey()} # one\n", LOG.verifier).quorum == 1


@pytest.mark.parametrize(
    "change",
    [
        {"quorum": True}, {"quorum": "2"}, {"quorum": 4}, {"quorum": -1}, {"quorum": 1.0}, {"log": None},
        {"log": ONE.verifier.vkey()}, {"witnesses": "x"}, {"witnesses": [1]}, {"witnesses": None},
        {"more": 1},
    ],
)  # fmt: skip
def test_a_root_that_states_nonsense_is_refused(change):
    with pytest.raises(BadReply):
        LogPolicy.from_value(POLICY.to_value() | change)


@pytest.mark.parametrize("value", [None, [], "x", 1, {}])
def test_a_root_that_states_no_policy_is_refused(value):
    with pytest.raises(BadReply):
        LogPolicy.of_root({FIELD: value})


@pytest.mark.parametrize(
    "text",
    [
        "", "log\n", "log a b\n", "nonsense\n", "quorum 1\n", "log x\n",
        FILE + "quorum 1\n", FILE + f"log {LOG.verifier.vkey()}\n", FILE.replace("quorum 2", "quorum -2"),
        FILE.replace("quorum 2", "quorum ²"), FILE.replace("quorum 2", "quorum 9999"),
    ],
)  # fmt: skip
def test_a_policy_file_with_a_fault_is_refused(text):
    with pytest.raises(BadInput):
        read_policy(text)


SHA256 = "5d" * 32
ENTRIES = [LoggedManifest("people", 1, 2, SHA256), LoggedRoot(3, SHA256)]


@pytest.mark.parametrize("entry", ENTRIES)
def test_entries_are_read_as_they_were_written_and_in_no_other_spelling(entry):
    octets = entry.to_bytes()
    assert read_entry(octets) == entry
    for place in range(len(octets)):
        for bit in range(8):
            changed = octets[:place] + bytes([octets[place] ^ (1 << bit)]) + octets[place + 1 :]
            try:
                assert read_entry(changed).to_bytes() == changed != octets
            except BadReply:
                continue
    for bad in (octets + b"\n", b" " + octets, octets[:-1], octets.replace(b'":', b'": ', 1), b"", b"[]"):
        with pytest.raises(BadReply):
            read_entry(bad)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 0}, {"epoch": -1}, {"edition": True}, {"edition": 1 << 54}, {"audience": "nobody"},
        {"sha256": SHA256.upper().replace("D", "E")}, {"sha256": SHA256[:-1]}, {"type": "other"}, {"more": 1},
        {"sha256": "x" * MAX_LOGGED},
    ],
)  # fmt: skip
def test_entries_of_other_contents_are_refused(change):
    value = json.loads(ENTRIES[0].to_bytes()) | change
    octets = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(BadReply):
        read_entry(octets)


@given(st.binary(max_size=100))
def test_any_octets_are_an_entry_or_refused(octets):
    with contextlib.suppress(BadReply):
        assert read_entry(octets).to_bytes() == octets


@given(
    st.integers(1, 1 << 62),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.binary(min_size=1, max_size=99),
)
def test_requests_are_read_as_they_were_written(old, proof, note):
    request = AddCheckpoint(old, proof, note)
    assert AddCheckpoint.parse(request.to_bytes()) == request


@given(st.binary(max_size=200))
def test_any_octets_are_a_request_or_refused(octets):
    for body in (octets, b"old 1\n" + octets):
        with contextlib.suppress(BadReply):
            assert AddCheckpoint.parse(body).to_bytes() == body


def test_requests_are_bounded():
    note = sign_note(TEXT, [LOG])
    with pytest.raises(BadReply):
        AddCheckpoint.parse(AddCheckpoint(1, [bytes(32)] * 64, note).to_bytes())
    with pytest.raises(BadReply):
        AddCheckpoint.parse(AddCheckpoint(1, [], b"x" * MAX_REQUEST).to_bytes())


def test_what_a_witness_knows_is_a_number_on_a_line():
    assert known_size(b"20852014\n") == 20852014
    for octets in (b"", b"1", b"01\n", b"1\n\n", b"-1\n", b"x\n", b"\xff\n", b"9" * 30 + b"\n", b"1 \n"):
        with pytest.raises(BadReply):
            known_size(octets)
