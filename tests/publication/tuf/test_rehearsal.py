"""Nothing is switched to that clients would refuse: the follower runs over it first, from every root."""

import errno
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from contactsync.foundation.errors import OurError
from contactsync.publication.tuf import rehearsal
from contactsync.publication.tuf import repository as writer
from contactsync.publication.tuf.rehearsal import Rehearsal
from contactsync.publication.tuf.repository import Repository
from contactsync.publication.tuf.signed import LIFETIMES

NOW = datetime.now(UTC)


@pytest.fixture
def honest(operator, make_manifest):
    """Something is published; from now on nothing is that was not rehearsed."""
    operator.repository = Repository(operator.public)
    operator.publish(make_manifest())
    return operator


def is_unchanged(operator, publish):
    """The publication is refused, and clients see what they saw before."""
    stamp = operator.repository.stamp()
    with pytest.raises(OurError, match=r"^clients would refuse this publication: ") as raised:
        publish()
    assert "what was served before still is" in raised.value.hint
    assert operator.repository.stamp() == stamp
    return str(raised.value)


def test_a_good_publication_is_rehearsed_from_every_root(honest, make_manifest, monkeypatch, tmp_path):
    for _ in range(3):
        monkeypatch.setitem(LIFETIMES, "root", LIFETIMES["root"] * 3)
        assert honest.repository.renew_root(honest.signers, NOW)
    asked = []
    real = rehearsal._follow

    def follow(*given, **named):
        asked.append(given[2])
        return real(*given, **named)

    monkeypatch.setattr(rehearsal, "_follow", follow)
    honest.publish(make_manifest(2, previous=make_manifest()))
    assert asked == [1, 2, 3, 4, 4, 4], "each root, and a client that goes on"
    assert honest.follow(tmp_path / "state").edition == 2


def test_a_history_that_does_not_go_on(honest, make_manifest):
    other = replace(make_manifest(), normalisation=2)
    said = is_unchanged(honest, lambda: honest.publish(make_manifest(2, previous=other)))
    assert "another history" in said


def test_a_manifest_of_another_audience(honest, make_manifest, monkeypatch):
    wrong = replace(make_manifest(2, previous=make_manifest()), audience="business")
    real = writer.targets_of

    def misnamed(manifests):
        found = real(manifests)
        return {"people.json": next(iter(found.values()))}

    monkeypatch.setattr(writer, "targets_of", misnamed)
    monkeypatch.setattr(
        honest.repository,
        "_keep_manifests",
        lambda _: (honest.public / "targets" / f"{wrong.sha256()}.people.json").write_bytes(wrong.to_bytes()),
    )
    is_unchanged(honest, lambda: honest.publish(wrong))


def test_a_root_that_a_client_cannot_follow(honest, make_manifest):
    """The newest root names other keys, and was not signed by those of the root before it."""
    stranger = {role: CryptoSigner.generate_ed25519() for role in writer.ROLES}
    other = Repository(honest.public.parent / "other")
    other.create({role: one.public_key for role, one in stranger.items()}, stranger["root"], NOW)
    renewed = LIFETIMES["root"] * 2 / 3
    assert other.renew_root(stranger, NOW + renewed)
    (honest.public / "metadata" / "2.root.json").write_bytes(other.root_bytes())
    honest.signers = stranger
    said = is_unchanged(honest, lambda: honest.publish(make_manifest(2, previous=make_manifest())))
    assert "not signed by the keys" in said or "malformed" in said


def test_a_manifest_that_is_not_there(honest, make_manifest, monkeypatch):
    monkeypatch.setattr(honest.repository, "_keep_manifests", lambda _: None)
    is_unchanged(honest, lambda: honest.publish(make_manifest(2, previous=make_manifest())))


def test_signatures_that_have_expired_already(honest, make_manifest, monkeypatch):
    monkeypatch.setitem(LIFETIMES, "snapshot", timedelta(seconds=-1))
    said = is_unchanged(honest, lambda: honest.publish(make_manifest(2, previous=make_manifest())))
    assert "expired" in said


def test_online_roles_are_rehearsed_too(honest, monkeypatch):
    """`serve` signs them again by itself."""
    monkeypatch.setitem(LIFETIMES, "snapshot", timedelta(seconds=-1))
    is_unchanged(honest, lambda: honest.repository.refresh(honest.signers, NOW, force=True))


def test_an_expired_root_is_not_held_against_what_comes_before_its_renewal(honest, make_manifest):
    """Clients refuse what is served before it as well; in a ceremony the switch may come first."""
    late = NOW + LIFETIMES["root"] + timedelta(days=1)
    honest.publish(make_manifest(2, previous=make_manifest()), now=late)
    assert honest.repository.current("people").edition == 2


def test_the_root_of_another_installation_renews_nothing(honest):
    late = NOW + LIFETIMES["root"] * 2 / 3
    mine, honest.signers["root"] = honest.signers["root"], CryptoSigner.generate_ed25519()
    with pytest.raises(OurError, match="key of the role root is not the one named by the root"):
        honest.repository.renew_root(honest.signers, late)
    assert honest.repository.root().version == 1
    del honest.signers["root"]
    assert not honest.repository.renew_root(honest.signers, late), "it is elsewhere"
    honest.signers["root"] = mine
    assert honest.repository.renew_root(honest.signers, late)


def test_no_room_to_check_in_is_not_called_a_refusal(honest, make_manifest, monkeypatch):
    def full(*_given, **_more):
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    monkeypatch.setattr("contactsync.publication.tuf.follower.durable.write", full)
    stamp = honest.repository.stamp()
    timestamp = (honest.public / "metadata" / "timestamp.json").read_bytes()
    root = honest.repository.root()
    with pytest.raises(OurError, match="could not be checked"):
        Rehearsal(honest.public, timestamp, root.version, root.expires).run(["people"], NOW)
    assert honest.repository.stamp() == stamp


HOLD = """
import sys
from contactsync.publication.tuf import rehearsal
with rehearsal._scratch() as name:
    print(name, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_rehearsal_left_in_memory_is_removed(honest, make_manifest):
    """By the next one, once it is old enough to be nobody's; never what a living process works in."""
    command = [sys.executable, "-c", HOLD]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as living, subprocess.Popen(command, **pipes) as killed:
        used, left = (Path(one.stdout.readline().strip()) for one in (living, killed))
        killed.kill()
        killed.wait()
        honest.publish(make_manifest(2, previous=make_manifest()))
        assert left.exists(), "as young as this it may be somebody's who has not locked it yet"
        for path in (used, left):
            os.utime(path, (0, 0))
        honest.repository.refresh(honest.signers, NOW, force=True)
        assert (used.exists(), left.exists()) == (True, False)
        living.stdin.close()
        assert living.wait(20) == 0
    assert not used.exists()
