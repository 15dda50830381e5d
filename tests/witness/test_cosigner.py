"""What a witness cosigns, and what it refuses: each way in which a log can try to show two trees."""

import base64
import stat
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from growing_log import GrowingLog
from power_cut import needs_strace, python, record

from contactsync.foundation.errors import BadInput, CallerError, OurError
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
from contactsync.publication.log.witnessing import SIZE_TYPE, AddCheckpoint, known_size
from contactsync.witness.cosigner import Cosigner
from contactsync.witness.state import FORKS_KEPT, WitnessState

NAME = "witness.example.org/w1"


@pytest.fixture
def log():
    return GrowingLog(7)


@pytest.fixture
def state(tmp_path):
    with WitnessState.opened(tmp_path / "witness", NAME) as state:
        yield state


@pytest.fixture
def witness(state, log):
    return Cosigner(state, [log.signer.verifier])


def cosigned(state, note, answer):
    """Whether the answer is a cosignature of the note by this witness."""
    assert answer.status == 200
    opened = open_note(with_lines(note, signature_lines(answer.body.encode())), [state.signer.verifier])
    return state.signer.verifier in opened.verified


def test_a_log_that_grows_is_cosigned_at_each_step(state, witness, log):
    old = 0
    for size in (1, 2, 3, 3, 7, 40):
        log.grow(max(0, size - len(log.entries)))
        assert cosigned(state, log.note(size), witness.add_checkpoint(log.request(old, size)))
        assert state.last(log.name) == log.checkpoint(size)
        old = size


def test_an_empty_log_is_cosigned_and_then_grows(state, witness, log):
    assert cosigned(state, log.note(0), witness.add_checkpoint(log.request(0, 0)))
    assert cosigned(state, log.note(3), witness.add_checkpoint(log.request(0, 3)))


def test_another_tree_of_the_same_size_is_refused_and_kept_as_evidence(state, witness, log, tmp_path):
    witness.add_checkpoint(log.request(0, 5))
    fork = log.fork(4, 5)
    for old in (5, 0, 2):
        answer = witness.add_checkpoint(AddCheckpoint(old, (), fork.note()).to_bytes())
        assert (answer.status, known_size(answer.body.encode())) == (409, 5)
    (kept,) = (tmp_path / "witness" / "forks").iterdir()
    opened = open_note(kept.read_bytes(), [log.signer.verifier])
    assert opened.verified, "the log has signed the one"
    assert Checkpoint.parse(opened.text) == fork.checkpoint()
    (last,) = (tmp_path / "witness" / "logs").iterdir()
    opened = open_note(last.read_bytes(), [log.signer.verifier, state.signer.verifier])
    assert len(opened.verified) == 2, "and the other, which this witness has cosigned"
    assert Checkpoint.parse(opened.text) == log.checkpoint(5)


def test_evidence_does_not_fill_the_disk(witness, log, tmp_path):
    witness.add_checkpoint(log.request(0, 5))
    for number in range(FORKS_KEPT + 10):
        assert witness.add_checkpoint(log.fork(4, 5, f"fork {number}").request(5)).status == 409
    assert len(list((tmp_path / "witness" / "forks").iterdir())) == FORKS_KEPT


def test_a_fork_that_has_grown_is_refused(state, witness, log):
    witness.add_checkpoint(log.request(0, 5))
    fork = log.fork(4, 12)
    assert witness.add_checkpoint(fork.request(5)).status == 422
    assert witness.add_checkpoint(fork.request(4)).status == 409
    assert witness.add_checkpoint(fork.request(0)).status == 409
    honest = log.proof(5, 7)
    assert witness.add_checkpoint(AddCheckpoint(5, honest, fork.note(7)).to_bytes()).status == 422
    assert state.last(log.name) == log.checkpoint(5)


def test_a_tree_that_was_rolled_back_is_refused(state, witness, log):
    witness.add_checkpoint(log.request(0, 5))
    for old in range(4):
        answer = witness.add_checkpoint(log.request(old, 3))
        assert (answer.status, answer.body, answer.media_type) == (409, "5\n", SIZE_TYPE)
    assert witness.add_checkpoint(AddCheckpoint(5, (), log.note(3)).to_bytes()).status == 400
    assert state.last(log.name) == log.checkpoint(5)


def test_a_wrong_old_size_is_answered_with_the_right_one(witness, log):
    assert witness.add_checkpoint(log.request(2, 5)).body == "0\n"
    witness.add_checkpoint(log.request(0, 3))
    assert witness.add_checkpoint(log.request(2, 5)).body == "3\n"


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
    assert state.last(log.name) == log.checkpoint(3)


def test_logs_do_not_stand_for_each_other(state, log):
    other = GrowingLog(9, name="other.example.org/log", word="other")
    witness = Cosigner(state, [log.signer.verifier, other.signer.verifier])
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
    itself = sign_note(text, [state.signer])
    assert witness.add_checkpoint(AddCheckpoint(0, (), itself).to_bytes()).status == 403
    assert state.last(log.name) is None


def test_lines_of_strangers_neither_help_nor_stay(state, witness, log, tmp_path):
    stranger = GrowingLog(name="stranger.example.org/log")
    twin = NoteSigner.of(log.name, COSIGNATURE, Ed25519PrivateKey.generate())  # the log's name, another key
    note = with_lines(log.note(), [stranger.signer.line("x\n"), twin.line(log.checkpoint().text())])
    assert cosigned(state, note, witness.add_checkpoint(AddCheckpoint(0, (), note).to_bytes()))
    (kept,) = (tmp_path / "witness" / "logs").iterdir()
    lines = kept.read_text().splitlines()[-2:]
    assert lines == [log.signer.line(log.checkpoint().text()).strip(), lines[1]]
    assert lines[1].startswith(f"— {NAME} ")


def test_a_log_may_change_its_key_when_the_witness_is_told(state, log):
    second = GrowingLog(name=log.name)
    second.entries = log.entries
    Cosigner(state, [log.signer.verifier]).add_checkpoint(log.request(0, 4))
    witness = Cosigner(state, [log.signer.verifier, second.signer.verifier])
    assert cosigned(state, second.note(), witness.add_checkpoint(second.request(4)))


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
    assert state.last(log.name) == log.checkpoint(3)
    assert cosigned(state, log.note(), witness.add_checkpoint(body))


def test_of_two_that_race_one_is_cosigned(state, log):
    """Both continue what was cosigned before; together they are two trees."""
    for _ in range(20):
        with_fork = log.fork(len(log.entries), len(log.entries) + 2, "fork")
        old = 0 if state.last(log.name) is None else state.last(log.name).size
        log.grow(2)
        witness = Cosigner(state, [log.signer.verifier])
        requests = [log.request(old), with_fork.request(old)] * 4
        barrier, statuses = threading.Barrier(len(requests)), []

        def ask(body, witness=witness, barrier=barrier, statuses=statuses):
            barrier.wait()
            statuses.append((body, witness.add_checkpoint(body).status))

        threads = [threading.Thread(target=ask, args=(body,)) for body in requests]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert len({body for body, status in statuses if status == 200}) == 1
        if state.last(log.name) != log.checkpoint():
            log.entries = with_fork.entries


def test_nothing_is_cosigned_that_cannot_be_kept(state, witness, log, monkeypatch):
    witness.add_checkpoint(log.request(0, 3))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(state, "keep", full)
        with pytest.raises(OSError, match="No space"):
            witness.add_checkpoint(log.request(3, 5))
    assert cosigned(state, log.note(7), witness.add_checkpoint(log.request(3, 7)))


def test_what_was_cosigned_outlives_the_process(tmp_path, log):
    with WitnessState.opened(tmp_path / "witness", NAME) as state:
        Cosigner(state, [log.signer.verifier]).add_checkpoint(log.request(0, 5))
        key = state.signer.verifier
    with WitnessState.opened(tmp_path / "witness", None) as state:
        assert state.signer.verifier == key
        witness = Cosigner(state, [log.signer.verifier])
        assert witness.add_checkpoint(log.fork(3, 5).request(0)).status == 409
        assert cosigned(state, log.note(7), witness.add_checkpoint(log.request(5, 7)))


@pytest.mark.parametrize("damage", ["empty", "zeros", "torn", "another", "unsigned"])
def test_a_damaged_state_is_an_error_and_no_new_beginning(tmp_path, log, damage):
    with WitnessState.opened(tmp_path / "witness", NAME) as state:
        Cosigner(state, [log.signer.verifier]).add_checkpoint(log.request(0, 5))
    (path,) = (tmp_path / "witness" / "logs").iterdir()
    good = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "zeros": bytes(len(good)),
            "torn": good[: len(good) // 2],
            "another": good.replace(b"\n5\n", b"\n4\n"),
            "unsigned": log.note(3),
        }[damage]
    )
    with WitnessState.opened(tmp_path / "witness", None) as state, pytest.raises(OurError, match="damaged"):
        Cosigner(state, [log.signer.verifier])


def test_the_key_is_private_and_is_never_made_twice(tmp_path, log):
    folder = tmp_path / "witness"
    with pytest.raises(BadInput, match="no name"), WitnessState.opened(folder, None):
        pass
    for name in ("two words", "a+b", "", "x" * 300):
        with pytest.raises(BadInput, match="name"), WitnessState.opened(folder, name):
            pass
    with WitnessState.opened(folder, NAME) as state:
        assert stat.S_IMODE((folder / "witness.key").stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with pytest.raises(CallerError, match="another witness"), WitnessState.opened(folder, NAME):
            pass
        Cosigner(state, [log.signer.verifier]).add_checkpoint(log.request())
    with pytest.raises(BadInput, match="not other"), WitnessState.opened(folder, "other"):
        pass
    key = (folder / "witness.key").read_bytes()
    for broken in (key[:-9] + b"AAAAAAA=\n", key[:40], b"", key.replace(b"w1", b"w2")):
        (folder / "witness.key").write_bytes(broken)
        with pytest.raises(OurError, match="damaged") as error, WitnessState.opened(folder, None):
            pass
        assert key.decode().strip().rpartition("+")[2] not in f"{error.value} {error.value.hint}"
    (folder / "witness.key").unlink()
    with pytest.raises(OurError, match="gone"), WitnessState.opened(folder, NAME):
        pass
    (folder / "witness.key").write_bytes(key)
    (folder / "witness.key").chmod(0o644)
    with pytest.raises(BadInput, match="others can read"), WitnessState.opened(folder, None):
        pass


def test_a_witness_is_no_log(state):
    with pytest.raises(BadInput, match="key of a witness"):
        Cosigner(state, [state.signer.verifier])


COSIGN = """
import sys
from pathlib import Path
from contactsync.publication.log.notes import Verifier
from contactsync.witness.cosigner import Cosigner
from contactsync.witness.state import WitnessState

folder, vkey = Path(sys.argv[1]), sys.argv[2]
with WitnessState.opened(folder, sys.argv[3]) as state:
    witness = Cosigner(state, [Verifier.parse(vkey)])
    for path in sys.argv[4:]:
        answer = witness.add_checkpoint(Path(path).read_bytes())
        assert answer.status == 200, answer
        print(answer.body, flush=True)
"""


@needs_strace
@pytest.mark.slow
def test_a_power_cut_takes_no_cosigned_tree_back(tmp_path, log):
    disk = tmp_path / "disk"
    disk.mkdir()
    steps = [(0, 2), (2, 5), (5, 7)]
    bodies = []
    for old, size in steps:
        bodies.append(tmp_path / f"{size}")
        bodies[-1].write_bytes(log.request(old, size))
    recording = record(disk, python(COSIGN, disk / "witness", log.vkey, NAME, *bodies))
    cuts = 0
    for cut in recording.cuts(most=150):
        with cut.at() as found:
            said = cut.said
            lines = [line for line in said.splitlines() if line.startswith("—")]
            cosigned_sizes = [size for (_, size), _ in zip(steps, lines, strict=False)]
            if not (found / "witness" / "witness.key").exists():
                assert not lines, "a key that signed is there"
                continue
            with WitnessState.opened(found / "witness", NAME) as state:
                last = state.last(log.name)
                known = 0 if last is None else last.size
                assert known >= max(cosigned_sizes, default=0)
                assert last is None or last == log.checkpoint(known)
                if known:
                    fork = log.fork(known - 1, known)
                    witness = Cosigner(state, [log.signer.verifier])
                    assert witness.add_checkpoint(fork.request(0)).status == 409
            cuts += 1
    assert cuts > 20


def test_the_twin_agrees_that_a_fork_has_no_proof(log):
    fork = log.fork(4, 12)
    assert not verify_consistency(5, log.checkpoint(5).root, 12, fork.checkpoint().root, fork.proof(5))
