"""What an operator does who shows somebody another history, and how the log stops it."""

import base64
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from forger import Forger
from server_tools import GERMAN, Operator
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata
from witnessed_tools import Client, changes, fork

from contactsync.foundation.errors import BadReply, BadSignature, NetworkError, OurError, PeerError
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.notes import sign_note, with_lines
from contactsync.publication.log.policy import LogPolicy
from contactsync.publication.logged import set_own_policy
from contactsync.publication.tuf.recording import Switch
from contactsync.publication.tuf.signed import renewed_root


def next_edition(operator, *numbers):
    operator.add(*numbers)
    operator.publish()


def checkpoint_of(operator):
    return (operator.folder.public / "log" / "checkpoint").read_bytes()


def resigned(operator, note, checkpoint):
    """Another checkpoint, signed by the log."""
    return sign_note(checkpoint.text(), [operator.keyring.log_signer(operator.log.policy.log)])


def test_news_cost_three_requests_and_none_are_made_without(logged, client):
    client.follow()
    client.asked.clear()
    client.follow()
    assert client.of_log() == []
    next_edition(logged, GERMAN + 1)
    client.asked.clear()
    assert client.follow().edition == 2
    assert [one.partition("/")[0] for one in client.of_log()] == ["checkpoint", "tile", "leaf"]


def test_two_histories_from_one_checkpoint(logged, client, tmp_path):
    """Who has seen one of them accepts nothing of the other one, and cannot be led back to it."""
    client.follow()
    other = fork(logged, tmp_path / "fork")
    next_edition(logged, GERMAN + 1)
    next_edition(other, GERMAN + 2)
    victim = Client(tmp_path / "victim", other)
    assert victim.follow().edition == client.follow().edition == 2
    next_edition(logged, GERMAN + 3)
    next_edition(logged, GERMAN + 4)
    shutil.copytree(victim.state, tmp_path / "again")
    victim.public = logged.folder.public
    with pytest.raises(BadSignature, match="another history"):
        victim.follow()
    # Even if the manifest continues the victim's: the log does not.
    joined = fork(other, tmp_path / "joined")
    next_edition(joined, GERMAN + 5)
    shutil.rmtree(joined.folder.public / "log")
    shutil.copytree(logged.folder.public / "log", joined.folder.public / "log")
    victim.public, victim.state = joined.folder.public, tmp_path / "again"
    with pytest.raises(BadSignature, match="its log does not continue the one of"):
        victim.follow()
    other.close()
    joined.close()


def test_a_manifest_that_is_signed_and_not_logged(logged, client):
    client.follow()
    last = logged.manifest()
    forger = Forger(logged.folder.public)
    forger.publish(
        [replace(last, edition=2, previous=last.sha256())], logged.keyring.signers(), datetime.now(UTC)
    )
    with pytest.raises(BadSignature, match="people, epoch 1 edition 2, is not in its log"):
        client.follow()
    assert json.loads((client.state / "log" / "policy.json").read_bytes())["root"] == 1


def test_a_place_that_another_leaf_has(logged, client):
    client.follow()
    next_edition(logged, GERMAN + 1)
    for place in (b"0\n", b"1\n", b"99\n"):
        client.tamper = lambda name, octets, place=place: place if "/leaf/" in name else octets
        with pytest.raises(BadSignature, match="not in its log"):
            client.follow()
    for place in (b"-1\n", b"", b"01\n", b"\xff\n"):
        client.tamper = lambda name, octets, place=place: place if "/leaf/" in name else octets
        with pytest.raises(BadReply, match="no place"):
            client.follow()
    client.tamper = lambda name, octets: None if "/leaf/" in name else octets
    with pytest.raises(BadSignature, match="not in its log"):
        client.follow()
    client.tamper = lambda _name, octets: octets
    assert client.follow().edition == 2


def test_a_checkpoint_from_before(logged, client):
    client.follow()
    old = checkpoint_of(logged)
    next_edition(logged, GERMAN + 1)
    client.follow()
    next_edition(logged, GERMAN + 2)
    client.tamper = lambda name, octets: old if name == "log/checkpoint" else octets
    with pytest.raises(BadSignature, match="has 2 entries, and had 3 before"):
        client.follow()


def test_a_log_that_another_key_has_signed(logged, client, tmp_path):
    other = Operator(tmp_path / "other", log=True)
    client.follow()
    next_edition(logged, GERMAN + 1)
    there = Checkpoint.parse(checkpoint_of(logged).decode().partition("\n\n")[0] + "\n")
    forged = sign_note(there.text(), [other.keyring.log_signer(other.log.policy.log)])
    client.tamper = lambda name, octets: forged if name == "log/checkpoint" else octets
    with pytest.raises(BadReply, match="has not signed"):
        client.follow()
    head, _space, signature = resigned(logged, None, there).rstrip(b"\n").rpartition(b" ")
    key_and_signature = bytearray(base64.b64decode(signature))
    key_and_signature[-1] ^= 1
    edited = head + b" " + base64.b64encode(key_and_signature) + b"\n"
    client.tamper = lambda name, octets: edited if name == "log/checkpoint" else octets
    with pytest.raises(PeerError):
        client.follow()
    other.close()


def test_a_checkpoint_of_a_tree_that_the_tiles_do_not_have(logged, client):
    client.follow()
    next_edition(logged, GERMAN + 1)
    there = Checkpoint.parse(checkpoint_of(logged).decode().partition("\n\n")[0] + "\n")
    for forged in (Checkpoint(there.origin, there.size, bytes(32)), Checkpoint(there.origin, 4, there.root)):
        note = resigned(logged, None, forged)
        client.tamper = lambda name, octets, note=note: note if name == "log/checkpoint" else octets
        with pytest.raises(PeerError):
            client.follow()


def test_tiles_that_are_cut_edited_endless_or_gone(logged, client):
    client.follow()
    next_edition(logged, GERMAN + 1)
    for change in (
        lambda octets: octets[:-1],
        lambda octets: octets[:-32],
        lambda octets: bytes([octets[0] ^ 1]) + octets[1:],
        lambda octets: octets + bytes(32),
        lambda _: b"",
        lambda _: bytes(100 << 20),
        lambda _: None,
    ):
        client.tamper = lambda name, octets, change=change: change(octets) if "/tile/" in name else octets
        with pytest.raises(PeerError):
            client.follow()
    for name in ("checkpoint", "leaf"):
        client.tamper = lambda at, octets, name=name: bytes(1 << 20) if f"log/{name}" in at else octets
        with pytest.raises(PeerError):
            client.follow()
    client.tamper = lambda _name, octets: octets
    assert client.follow().edition == 2


def test_a_log_that_is_gone(logged, client):
    client.follow()
    next_edition(logged, GERMAN + 1)
    client.tamper = lambda name, octets: None if name.startswith("log/") else octets
    with pytest.raises(BadSignature, match="its log is gone"):
        client.follow()


def cosigned_by(logged, witnesses, quorum):
    for one in witnesses:
        changes(logged).add_witness(one.verifier, one.url, None)
    if quorum:
        changes(logged).set_quorum(quorum)


def test_cosignatures_of_others_and_one_that_comes_twice(logged, client, witnesses):
    """Two of two must have signed: a stranger does not count, nor one of them twice."""
    first, second, stranger = witnesses
    cosigned_by(logged, [first, second], 2)
    assert client.follow().edition == 1
    next_edition(logged, GERMAN + 1)
    note = checkpoint_of(logged)
    text = note.decode().partition("\n\n")[0] + "\n"
    bare = sign_note(text, [logged.keyring.log_signer(logged.log.policy.log)])
    for lines in (
        [],
        [first.signer.line(text)],
        [first.signer.line(text), stranger.signer.line(text)],
        [first.signer.line(text), first.signer.line(text).replace("\n", "") + "\n"],
    ):
        forged = with_lines(bare, lines)
        if len(lines) == 2 and lines[0] == lines[1]:
            forged = bare + "".join(lines).encode()
        client.tamper = lambda name, octets, forged=forged: forged if name == "log/checkpoint" else octets
        with pytest.raises(BadReply, match="of the 2 witnesses"):
            client.follow()
    client.tamper = lambda _name, octets: octets
    assert client.follow().edition == 2


def test_a_root_that_asks_for_fewer_witnesses_and_is_not_logged(logged, client, witnesses):
    cosigned_by(logged, witnesses[:1], 1)
    client.follow()
    known = (client.state / "log" / "policy.json").read_bytes()
    victim = fork(logged, logged.folder.path.parent / "fork")
    # The thief has all keys of the operator, and no witness.
    victim.log._bring = lambda *_: None
    changes_of = changes(victim)
    changes_of._log = victim.log
    changes_of.set_quorum(0)
    client.public = victim.folder.public
    with pytest.raises(BadSignature, match="has no root/4"):
        client.follow()
    forged = resigned(victim, None, victim.log.checkpoint())
    client.tamper = lambda name, octets: forged if name in {"log/root/4", "log/checkpoint"} else octets
    with pytest.raises(BadReply, match="0 of the 1 witnesses"):
        client.follow()
    assert (client.state / "log" / "policy.json").read_bytes() == known, "the policy before stays in force"
    victim.close()


def test_a_root_without_a_log_changes_no_policy(logged, client):
    client.follow()
    root = renewed_root(logged.repository.root(), datetime.now(UTC))
    root.unrecognized_fields = {}
    metadata = Metadata(root)
    metadata.sign(logged.keyring.signers()["root"])
    forger = Forger(logged.folder.public)
    forger.add_root(metadata)
    with pytest.raises(BadSignature, match="has no root/2"):
        client.follow()


def test_the_users_own_policy_outranks_that_of_the_root(logged, client, witnesses):
    cosigned_by(logged, witnesses[:2], 0)
    log = logged.log.policy.log
    mine = LogPolicy(log, (witnesses[0].verifier, witnesses[2].verifier), 1)
    set_own_policy(client.state / "log", mine)
    assert client.follow().edition == 1
    witnesses[0].answer = (500, b"")
    next_edition(logged, GERMAN + 1)
    with pytest.raises(BadReply, match="0 of the 1 witnesses"):
        client.follow()
    set_own_policy(client.state / "log", None)
    assert client.follow().edition == 2


def test_own_witnesses_of_a_server_without_a_log(operator, tmp_path, witnesses, logged):
    operator.add(GERMAN)
    operator.publish()
    client = Client(tmp_path / "c", operator)
    set_own_policy(client.state / "log", LogPolicy(logged.log.policy.log, (witnesses[0].verifier,), 1))
    with pytest.raises(BadSignature, match="names no log"):
        client.follow()


def test_damaged_state_is_said_and_a_damaged_tile_is_fetched_again(logged, client):
    client.follow()
    next_edition(logged, GERMAN + 1)
    for name in ("checkpoint", "policy.json"):
        path = client.state / "log" / name
        octets = path.read_bytes()
        path.write_bytes(octets[: len(octets) // 2] if name == "policy.json" else b"\xff")
        with pytest.raises(OurError, match="damaged"):
            client.follow()
        path.write_bytes(octets)
    assert client.follow().edition == 2


def test_no_answer_is_no_attack(logged, client):
    client.follow()
    next_edition(logged, GERMAN + 1)

    def away(name, octets):
        if name.startswith("log/"):
            raise DownloadHTTPError("away", 502)
        return octets

    client.tamper = away
    with pytest.raises(NetworkError):
        client.follow()


@pytest.mark.parametrize("status", [500, 503, 429])
@pytest.mark.parametrize("part", ["checkpoint", "tile/", "leaf/"])
def test_a_part_of_the_log_that_cannot_be_had_now_is_no_fork(logged, client, part, status):
    client.follow()
    next_edition(logged, GERMAN + 1)

    def away(name, octets):
        if name.startswith(f"log/{part}"):
            raise DownloadHTTPError("away", status)
        return octets

    client.tamper = away
    with pytest.raises(NetworkError):
        client.follow()
    client.tamper = lambda _name, octets: octets
    assert client.follow().edition == 2


def test_full_tiles_of_the_log_that_cannot_be_had_now_are_no_fork(logged, client):
    manifest = replace(logged.manifest(), audience="business")
    more = [replace(manifest, edition=2 + number, previous="0" * 64).to_bytes() for number in range(260)]
    logged.log.record(Switch(earlier=tuple(more)))
    logged.log.settle()
    next_edition(logged, GERMAN + 1)

    def away(name, octets):
        if name == "log/tile/0/000":
            raise DownloadHTTPError("away", 502)
        return octets

    client.tamper = away
    with pytest.raises(NetworkError):
        client.follow()
    client.tamper = lambda name, octets: None if name == "log/tile/0/000" else octets
    with pytest.raises(BadSignature, match="has no tile/0/000"):
        client.follow()
