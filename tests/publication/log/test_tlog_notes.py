"""Signed notes, checkpoints and cosignatures: examples of the specifications, and what must be refused."""

import base64
import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from contactsync.foundation.errors import BadInput, BadReply, BadSignature, PeerError
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.merkle import EMPTY
from contactsync.publication.log.notes import (
    COSIGNATURE,
    ED25519,
    MAX_NOTE,
    MAX_SIGNATURES,
    NoteSigner,
    Verifier,
    open_note,
    sign_note,
    signature_lines,
    with_lines,
)

# The key and the note of the documentation of golang.org/x/mod/sumdb/note.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LOG = NoteSigner.of("contacts.example.org/log", ED25519, KEY)
WITNESS = NoteSigner.of(
    "witness.example.net/w1",
    COSIGNATURE,
    Ed25519PrivateKey.from_private_bytes(bytes(32)),
    lambda: 1679315147.9,
)
TEXT = Checkpoint("contacts.example.org/log", 0, EMPTY).text()


def test_the_note_that_others_signed_is_opened():
    verifier = Verifier.parse(PETER)
    assert verifier.vkey() == PETER
    note = open_note(NEUMANN.encode(), [verifier])
    assert note.text == NEUMANN.partition("\n\n")[0] + "\n"
    assert note.verified == {verifier: None}


def test_a_note_is_opened_by_who_knows_its_keys():
    note = sign_note(TEXT, [LOG, WITNESS])
    assert open_note(note, [LOG.verifier]).verified == {LOG.verifier: None}
    both = open_note(note, [WITNESS.verifier, LOG.verifier])
    assert both.verified == {LOG.verifier: None, WITNESS.verifier: 1679315147}
    assert open_note(note, []).verified == {}
    stranger = NoteSigner.of(LOG.verifier.name, ED25519, Ed25519PrivateKey.generate())
    assert open_note(note, [stranger.verifier]).verified == {}


def test_a_cosignature_is_over_time_and_text():
    line = WITNESS.line(TEXT)
    octets = base64.b64decode(line.split()[2])
    key_id, when, signature = octets[:4], octets[4:12], octets[12:]
    assert key_id == WITNESS.verifier.key_id
    assert int.from_bytes(when, "big") == 1679315147
    public = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    public.verify(signature, f"cosignature/v1\ntime 1679315147\n{TEXT}".encode())


def test_the_line_of_a_log_is_no_cosignature_and_the_other_way_round():
    """The same key under both kinds: neither signature can be shown for the other."""
    as_witness = NoteSigner.of(LOG.verifier.name, COSIGNATURE, KEY)
    for signer, other in ((LOG, as_witness), (as_witness, LOG)):
        octets = base64.b64decode(signer.line(TEXT).split()[2])
        moved = base64.b64encode(other.verifier.key_id + octets[4:]).decode()
        note = f"{TEXT}\n— {LOG.verifier.name} {moved}\n".encode()
        with pytest.raises(BadSignature):
            open_note(note, [other.verifier])


def test_every_changed_bit_of_a_note_is_refused_or_leaves_it_unsigned():
    note = sign_note(TEXT, [LOG, WITNESS])
    keys = [LOG.verifier, WITNESS.verifier]
    for place in range(len(note)):
        for bit in range(8):
            changed = note[:place] + bytes([note[place] ^ (1 << bit)]) + note[place + 1 :]
            try:
                opened = open_note(changed, keys)
            except PeerError:
                continue
            assert len(opened.verified) == 1, "a name or a key ID that nobody knows"
            assert opened.text == TEXT


def test_a_wrong_line_of_a_known_key_refuses_the_note():
    right, wrong = LOG.line(TEXT), LOG.line("another text\n")
    for lines in ([wrong], [right, wrong], [wrong, right]):
        with pytest.raises(BadSignature):
            open_note(f"{TEXT}\n{''.join(lines)}".encode(), [LOG.verifier])


def test_a_cosignature_of_a_time_beyond_all_times_is_refused():
    for when, allowed in (((1 << 63) - 1, True), (1 << 63, False)):
        late = NoteSigner(WITNESS.verifier, WITNESS._sign, lambda when=when: when)
        note = sign_note(TEXT, [late])
        if allowed:
            assert open_note(note, [WITNESS.verifier]).verified == {WITNESS.verifier: when}
        else:
            with pytest.raises(BadSignature):
                open_note(note, [WITNESS.verifier])


GOOD = sign_note(TEXT, [LOG]).decode()


@pytest.mark.parametrize(
    "note",
    [
        "", "\n", "\n\n", TEXT, TEXT + "\n", GOOD[:-1], GOOD + "\n", GOOD.replace("\n\n", "\n"),
        GOOD.replace("—", "-"), GOOD.replace("— ", "—"), GOOD.replace("— ", "—  "), GOOD + "more\n",
        GOOD.replace("\n", "\r\n"), GOOD + "\t\n", GOOD + "— a b+c AAAAAAA=\n", GOOD + "— a AAAAAA==\n",
        GOOD + "— a AAAAAAB=\n", GOOD + "— a\u00a0b AAAAAAA=\n", GOOD + "— a\u2028b AAAAAAA=\n",
        GOOD + "— a+b AAAAAAA=\n", GOOD + "— a !!!!\n", GOOD + "—  AAAAAAA=\n", "\n" + GOOD.split("\n\n")[1],
    ],
)  # fmt: skip
def test_what_is_no_note_is_refused(note):
    with pytest.raises(BadReply):
        open_note(note.encode(), [LOG.verifier])


def test_notes_are_bounded():
    many = GOOD + "— other AAAAAAA=\n" * (MAX_SIGNATURES - 1)
    assert open_note(many.encode(), [LOG.verifier]).verified
    with pytest.raises(BadReply):
        open_note((many + "— other AAAAAAA=\n").encode(), [LOG.verifier])
    with pytest.raises(BadReply):
        open_note(GOOD.encode().replace(b"\n", b"\n" + b"x" * MAX_NOTE, 1), [LOG.verifier])
    with pytest.raises(BadReply):
        open_note(b"\xff" + GOOD.encode(), [LOG.verifier])


def test_a_text_may_have_empty_lines_and_ends_before_the_last_one():
    text = "a\n\nb\n\n— c\n"
    assert open_note(sign_note(text, [LOG]), [LOG.verifier]).text == text


@given(st.binary(max_size=300))
def test_any_octets_are_a_note_or_refused(octets):
    with contextlib.suppress(PeerError):
        open_note(octets, [LOG.verifier])


def test_lines_of_witnesses_are_added_once():
    note, line = sign_note(TEXT, [LOG]), WITNESS.line(TEXT)
    added = with_lines(with_lines(note, signature_lines(line.encode())), [line])
    assert added == sign_note(TEXT, [LOG, WITNESS])
    for octets in (
        b"",
        b"\n",
        line.encode()[:-1],
        b"x\n" + line.encode(),
        line.encode() * (MAX_SIGNATURES + 1),
    ):
        with pytest.raises(BadReply):
            signature_lines(octets)


@pytest.mark.parametrize(
    "vkey",
    [
        "", "a", "a+b", "a+b+c", PETER[:-1], PETER + "=", PETER.replace("c74f20a3", "C74F20A3"),
        PETER.replace("c74f20a3", "c74f20a4"), PETER.replace("Peter", "Paul"), PETER.replace("+A", "+B"),
        PETER.replace("PeterNeumann", "Peter Neumann"), PETER + "\n", " " + PETER, "+" + PETER,
    ],
)  # fmt: skip
def test_a_damaged_key_is_refused(vkey):
    with pytest.raises(BadInput):
        Verifier.parse(vkey)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\nb", "\u0085", "x" * 256])
def test_what_cannot_be_the_name_of_a_key(name):
    with pytest.raises(BadInput):
        NoteSigner.of(name, ED25519, KEY)


def test_a_checkpoint_is_read_as_it_was_written():
    checkpoint = Checkpoint("example.com/behind-the-sofa", 20852163, base64.b64decode(
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="))  # fmt: skip
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert checkpoint.text() == text
    assert Checkpoint.parse(text) == checkpoint
    assert Checkpoint.parse(text + "an extension\nanother\n") == checkpoint


HASH = base64.b64encode(EMPTY).decode()


@pytest.mark.parametrize(
    "text",
    [
        "", "a\n", "a\n1\n", f"a\n1\n{HASH}", f"\n1\n{HASH}\n", f"a\n01\n{HASH}\n", f"a\n-1\n{HASH}\n",
        f"a\n+1\n{HASH}\n", f"a\n 1\n{HASH}\n", f"a\n1\n{HASH[:-4]}\n", f"a\n1\n{HASH}{HASH}\n", "a\n1\n\n",
        f"a\n1\n{HASH}\n\n", f"a\n1\n{HASH}\n\nb\n", f"a\n{1 << 63}\n{HASH}\n", f"a\n٣\n{HASH}\n",
        f"a\n1\n{HASH[:-2]}V=\n", f"a\n1\n {HASH}\n", f"a\n0\n{base64.b64encode(bytes(32)).decode()}\n",
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(text):
    with pytest.raises(BadReply):
        Checkpoint.parse(text)
