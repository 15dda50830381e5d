"""What a witness cosigns, and what it refuses: each way in which a log can try to show two trees."""

import base64
import threading
from contextlib import closing

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from growing_log import GrowingLog

from contactsync.foundation.errors import BadInput
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.merkle import verify_consistency
from contactsync.publication.log.notes import (
    COSIGNATURE,
    NoteSigner,
    open_note,
    sign_note,
    signature_lines,
    with_lines,
)
from contactsync.publication.log.witnessing import SIZE_TYPE, AddCheckpoint
from contactsync.witness.cosigning import MAX_STEP_BACK, Witness
from contactsync.witness.folder import MAX_FORKS, WitnessFolder

NAME = "witness.example.org/w1"


@pytest.fixture
def log():
    return GrowingLog(7)


@pytest.fixture
def state(tmp_path):
    with closing(WitnessFolder.create(tmp_path / "witness", NAME)) as folder:
        yield folder


@pytest.fixture
def witness(state, log):
    return Witness(state, [log.signer.verifier])


def seen(state, log):
    """What the witness has cosigned last of a log."""
    last = state.last(log.name)
    return None if last is None else last.checkpoint


def cosigned(state, note, answer):
    """Whether the answer is a cosignature of the note by this witness."""
    assert answer.status == 200
    opened = open_note(with_lines(note, signature_lines(answer.body)), [state.verifier])
    return state.verifier in opened.verified


def test_a_log_that_grows_is_cosigned_at_each_step(state, witness, log):
    old = 0
    for size in (1, 2, 3, 3, 7, 40):
        log.grow(max(0, size - len(log.entries)))
        assert cosigned(state, log.note(size), witness.add_checkpoint(log.request(old, size)))
        assert seen(state, log) == log.checkpoint(size)
        old = size


def test_an_empty_log_is_cosigned_and_then_grows(state, witness, log):
    assert cosigned(state, log.note(0), witness.add_checkpoint(log.request(0, 0)))
    assert cosigned(state, log.note(3), witness.add_checkpoint(log.request(0, 3)))


def test_another_tree_of_the_same_size_is_refused_and_kept_as_evidence(state, witness, log):
    witness.add_checkpoint(log.request(0, 5))
    fork = log.fork(4, 5)
    for old in (5, 0, 2):
        answer = witness.add_checkpoint(AddCheckpoint(old, (), fork.note()).to_bytes())
        assert answer.status == 409
        assert (answer.media_type == SIZE_TYPE) == (old != 5), "to whom knows the size, it is not said again"
    (kept,) = state.forks()
    assert (kept.origin, kept.size) == (log.name, 5)
    ours = open_note(kept.cosigned, [log.signer.verifier, state.verifier])
    assert len(ours.verified) == 2, "the log and this witness have signed the one"
    assert Checkpoint.parse(ours.text) == log.checkpoint(5)
    other = open_note(kept.note, [log.signer.verifier])
    assert other.verified, "and the log has signed the other"
    assert Checkpoint.parse(other.text) == fork.checkpoint()
    assert seen(state, log) == log.checkpoint(5)


def test_evidence_does_not_fill_the_disk(state, witness, log):
    witness.add_checkpoint(log.request(0, 5))
    for number in range(MAX_FORKS + 10):
        assert witness.add_checkpoint(log.fork(4, 5, f"fork {number}").request(5)).status == 409
    assert len(state.forks()) == MAX_FORKS


def test_a_fork_that_has_grown_is_refused(state, witness, log):
    witness.add_checkpoint(log.request(0, 5))
    fork = log.fork(4, 12)
    assert witness.add_checkpoint(fork.request(5)).status == 422
    assert witness.add_checkpoint(fork.request(4)).status == 409
    assert witness.add_checkpoint(fork.request(0)).status == 409
    honest = log.proof(5, 7)
    assert witness.add_checkpoint(AddCheckpoint(5, honest, fork.note(7)).to_bytes()).status == 422
    assert seen(state, log) == log.checkpoint(5)


def test_a_tree_that_was_rolled_back_is_refused(state, witness, log):
    witness.add_checkpoint(log.request(0, 5))
    for old in range(4):
        answer = witness.add_checkpoint(log.request(old, 3))
        assert (answer.status, answer.body, answer.media_type) == (409, b"5\n", SIZE_TYPE)
    assert witness.add_checkpoint(AddCheckpoint(5, (), log.note(3)).to_bytes()).status == 400
    assert seen(state, log) == log.checkpoint(5)


def test_a_wrong_old_size_is_answered_with_the_right_one(witness, log):
    assert witness.add_checkpoint(log.request(2, 5)).body == b"0\n"
    witness.add_checkpoint(log.request(0, 3))
    assert witness.add_checkpoint(log.request(2, 5)).body == b"3\n"


@pytest.mark.parametrize("change", ["other", "missing", "longer", "swapped", "flipped"])
def test_a_proof_of_another_tree_is_refused(state, witness, log, change):
    witness.add_checkpoint(log.request(0, 3))
    proof = log.proof(3, 7)
    proof = {
        "other": log.proof(2, 7),
        "missing": proof[:-1],
        "longer": [*proof, proof[0]],
        "swapped": [proof[1], proof[0], *proof[2:]],
        "flipped": [bytes([proof[0][0] ^ 1]) + proof[0][1:], *proof[1:]],
    }[change]
    assert witness.add_checkpoint(AddCheckpoint(3, proof, log.note(7)).to_bytes()).status == 422
    assert seen(state, log) == log.checkpoint(3)


def test_logs_do_not_stand_for_each_other(state, log):
    other = GrowingLog(9, name="other.example.org/log", word="other")
    witness = Witness(state, [log.signer.verifier, other.signer.verifier])
    stranger = GrowingLog(3, name="stranger.example.org/log")
    assert witness.add_checkpoint(stranger.request()).status == 404
    as_log = GrowingLog(3, name=log.name)  # its name, and a key of its own
    assert witness.add_checkpoint(as_log.request()).status == 403
    by_other = sign_note(log.checkpoint().text(), [other.signer])
    assert witness.add_checkpoint(AddCheckpoint(0, (), by_other).to_bytes()).status == 403
    assert cosigned(state, log.note(), witness.add_checkpoint(log.request()))
    assert cosigned(state, other.note(), witness.add_checkpoint(other.request())), "its size counts from 0"


def test_a_wrong_signature_is_refused_whatever_else_is_signed(state, witness, log):
    text = log.checkpoint().text()
    wrong = log.signer.line(log.checkpoint(3).text())
    right = log.signer.line(text)
    for lines in ([wrong], [right, wrong], [wrong, right]):
        note = f"{text}\n{''.join(lines)}".encode()
        assert witness.add_checkpoint(AddCheckpoint(0, (), note).to_bytes()).status == 403
    itself = sign_note(text, [state.signer(1)])
    assert witness.add_checkpoint(AddCheckpoint(0, (), itself).to_bytes()).status == 403
    assert seen(state, log) is None


def test_lines_of_strangers_neither_help_nor_stay(state, witness, log):
    stranger = GrowingLog(name="stranger.example.org/log")
    twin = NoteSigner.of(log.name, COSIGNATURE, Ed25519PrivateKey.generate())  # the log's name, another key
    note = with_lines(log.note(), [stranger.signer.line("x\n"), twin.line(log.checkpoint().text())])
    assert cosigned(state, note, witness.add_checkpoint(AddCheckpoint(0, (), note).to_bytes()))
    lines = state.last(log.name).note.decode().splitlines()[-2:]
    assert lines == [log.signer.line(log.checkpoint().text()).strip(), lines[1]]
    assert lines[1].startswith(f"— {NAME} ")


def test_a_log_may_change_its_key_when_the_witness_is_told(state, log):
    second = GrowingLog(name=log.name)
    second.entries = log.entries
    Witness(state, [log.signer.verifier]).add_checkpoint(log.request(0, 4))
    witness = Witness(state, [log.signer.verifier, second.signer.verifier])
    assert cosigned(state, second.note(), witness.add_checkpoint(second.request(4)))


def test_many_signatures_of_one_key_are_kept_as_one(state, witness, log):
    note = log.note() + log.signer.line(log.checkpoint().text()).encode() * 50
    assert cosigned(state, note, witness.add_checkpoint(AddCheckpoint(0, (), note).to_bytes()))
    assert state.last(log.name).note.decode().count("\u2014") == 2
    assert cosigned(state, note, witness.add_checkpoint(AddCheckpoint(7, (), note).to_bytes()))


def test_a_checkpoint_with_too_long_an_extension_is_refused(state, witness, log):
    note = sign_note(log.checkpoint().text() + "x" * 40_000 + "\n", [log.signer])
    assert witness.add_checkpoint(AddCheckpoint(0, (), note).to_bytes()).status == 400
    assert seen(state, log) is None


@pytest.mark.parametrize("back", [1, MAX_STEP_BACK])
def test_a_clock_that_steps_back_a_little_repeats_the_time_before(state, log, back):
    now = [2_000_000_000]
    witness = Witness(state, [log.signer.verifier], lambda: now[0])
    witness.add_checkpoint(log.request(0, 3))
    now[0] -= back
    assert cosigned(state, log.note(5), witness.add_checkpoint(log.request(3, 5)))
    assert state.last(log.name).when == 2_000_000_000


def test_a_clock_that_was_set_back_stops_it(state, log, caplog):
    """At an earlier time, a larger tree: to a reader, the log would have shrunk since."""
    now = [2_000_000_000]
    witness = Witness(state, [log.signer.verifier], lambda: now[0])
    witness.add_checkpoint(log.request(0, 3))
    now[0] -= MAX_STEP_BACK + 1
    answer = witness.add_checkpoint(log.request(3, 5))
    assert (answer.status, answer.body) == (503, b"the clock of this witness is wrong\n")
    assert "it was set back" in caplog.text
    assert seen(state, log) == log.checkpoint(3)
    now[0] = 2_000_000_001
    assert cosigned(state, log.note(5), witness.add_checkpoint(log.request(3, 5)))


def test_extension_lines_are_cosigned_as_they_are(state, witness, log):
    note = sign_note(log.checkpoint().text() + "an extension\n", [log.signer])
    assert cosigned(state, note, witness.add_checkpoint(AddCheckpoint(0, (), note).to_bytes()))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"\n\n",
        b"old 0\n",
        b"old 0\n\n",
        b"old 00\n\n@",
        b"old -1\n\n@",
        b"old +1\n\n@",
        b"old 1 \n\n@",
        b"OLD 0\n\n@",
        b"old 0\r\n\r\n@",
        b"old 99999999999999999999999999\n\n@",
        b"old 0\n" + base64.b64encode(bytes(32)) + b"\n\n@",
        b"old 1\n" + base64.b64encode(bytes(31)) + b"\n\n@",
        b"old 1\n" + base64.b64encode(bytes(32))[:-1] + b"\n\n@",
        b"old 1\n" + (base64.b64encode(bytes(32)) + b"\n") * 64 + b"\n@",
        b"old 1\n\xff\n\n@",
        b"old 0\n\nnot a note\n",
        b"old 0\n\n\xff\xfe\n\n\xe2\x80\x94 a AAAA\n",
        b"old 0\n\na\n1\nb\n\n\xe2\x80\x94 a AAAAAAA=\n",
    ],
)
def test_what_is_no_request_is_a_bad_one(witness, log, body):
    assert witness.add_checkpoint(body.replace(b"@", log.note())).status == 400


def test_every_changed_bit_of_a_request_is_refused(state, witness, log):
    witness.add_checkpoint(log.request(0, 3))
    body = log.request(3)
    for place in range(len(body)):
        for bit in range(8):
            changed = body[:place] + bytes([body[place] ^ (1 << bit)]) + body[place + 1 :]
            assert witness.add_checkpoint(changed).status in {400, 403, 404, 409, 422}
    assert seen(state, log) == log.checkpoint(3)
    assert cosigned(state, log.note(), witness.add_checkpoint(body))


def test_of_two_that_race_one_is_cosigned(state, log):
    """Both continue what was cosigned before; together they are two trees. Each has a process's view."""

    def ask(body, barrier, won):
        with closing(WitnessFolder.open(state.path)) as folder:
            witness = Witness(folder, [log.signer.verifier])
            barrier.wait()
            if witness.add_checkpoint(body).status == 200:
                won.append(body)

    for _ in range(8):
        fork = log.fork(len(log.entries), len(log.entries) + 2, "fork")
        old = 0 if seen(state, log) is None else seen(state, log).size
        log.grow(2)
        requests = [log.request(old), fork.request(old)] * 2
        barrier, won = threading.Barrier(len(requests)), []
        threads = [threading.Thread(target=ask, args=(body, barrier, won)) for body in requests]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert len(won) == 1
        if seen(state, log) != log.checkpoint():
            log.entries = fork.entries
        assert won == [log.request(old)]


def test_a_witness_is_no_log(state):
    with pytest.raises(BadInput, match="key of a witness"):
        Witness(state, [state.verifier])


def test_the_twin_agrees_that_a_fork_has_no_proof(log):
    fork = log.fork(4, 12)
    assert not verify_consistency(5, log.checkpoint(5).root, 12, fork.checkpoint().root, fork.proof(5))
