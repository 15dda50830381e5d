"""From a pinned root to a verified manifest, and everything that must stop on the way."""

import itertools
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from forger import Forger
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadError
from tuf.api.metadata import Metadata
from tuf.ngclient._internal import trusted_metadata_set

from contactsync.foundation.errors import BadReply, BadSignature, NetworkError, OurError, Refused
from contactsync.publication.tuf.follower import Follower, check_root, newest_root, root_fingerprint
from contactsync.publication.tuf.repository import LIFETIMES
from contactsync.server.keyring import Keyring


def test_follows_editions_and_epochs(operator, make_manifest, tmp_path):
    first = make_manifest(1)
    second = make_manifest(2, previous=first)
    rotated = make_manifest(1, epoch=2, previous=second)
    for manifest in (first, second, rotated):
        operator.publish(manifest)
        assert operator.follow(tmp_path / "state") == manifest
    assert operator.follow(tmp_path / "fresh state") == rotated


def test_state_is_private_and_unchanged_metadata_is_not_fetched_again(operator, make_manifest, tmp_path):
    operator.publish(make_manifest())
    operator.follow(tmp_path / "state")
    modes = {
        path.stat().st_mode & 0o077 for path in [tmp_path / "state", *(tmp_path / "state").rglob("*.json")]
    }
    assert modes == {0}
    operator.fetcher.asked.clear()
    operator.follow(tmp_path / "state")
    fetched = [path for path in operator.fetcher.asked if path.startswith("metadata/")]
    assert fetched == ["metadata/2.root.json", "metadata/timestamp.json"]


@pytest.mark.parametrize("role", ["timestamp", "2.snapshot", "2.targets"])
def test_every_flipped_byte_is_noticed(operator, make_manifest, tmp_path, role):
    first = make_manifest()
    operator.publish(first)
    operator.follow(tmp_path / "state")
    operator.publish(make_manifest(2, previous=first))
    size = (operator.public / "metadata" / f"{role}.json").stat().st_size
    for place in range(0, size, 41):

        def flip(path, data, place=place):
            if path != f"metadata/{role}.json":
                return data
            return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

        operator.fetcher.tamper = flip
        with pytest.raises(BadSignature):
            operator.follow(tmp_path / "state")
    operator.fetcher.tamper = lambda _, data: data
    assert operator.follow(tmp_path / "state").edition == 2


def test_flipped_or_lengthened_manifest(operator, make_manifest, tmp_path):
    operator.publish(make_manifest())
    for change in (
        lambda data: data.replace(b'"epoch":1', b'"epoch":2'),
        lambda data: data + b" ",
        lambda _: b"",
    ):
        operator.fetcher.tamper = lambda path, data, change=change: (
            change(data) if path.startswith("targets/") else data
        )
        with pytest.raises(BadSignature):
            operator.follow(tmp_path / "state")
    assert not list((tmp_path / "state" / "manifests").iterdir())


def test_signed_by_other_keys(operator, make_manifest, tmp_path):
    operator.publish(make_manifest())
    real = operator.root
    operator.signers = {role: CryptoSigner.generate_ed25519() for role in operator.signers}
    shutil.rmtree(operator.public)
    operator.create()
    operator.publish(make_manifest())
    operator.root = real
    with pytest.raises(BadSignature, match="not signed by the keys") as raised:
        operator.follow(tmp_path / "state")
    assert "fingerprint" in raised.value.hint


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_expired(operator, make_manifest, tmp_path, role):
    operator.publish(make_manifest(), now=datetime.now(UTC) - LIFETIMES[role] - timedelta(minutes=1))
    others = {name: signer for name, signer in operator.signers.items() if LIFETIMES[name] < LIFETIMES[role]}
    operator.repository.refresh(others, datetime.now(UTC))
    with pytest.raises(BadSignature, match="expired") as raised:
        operator.follow(tmp_path / "state")
    assert "clock" in raised.value.hint


@pytest.fixture
def gone_back(operator, make_manifest, tmp_path):
    """The first manifest, of a server that went back to it after a client had followed the second."""
    first = make_manifest()
    operator.publish(first)
    shutil.copytree(operator.public, tmp_path / "backup")
    operator.publish(make_manifest(2, previous=first))
    assert operator.follow(tmp_path / "state").edition == 2
    shutil.rmtree(operator.public)
    shutil.copytree(tmp_path / "backup", operator.public)
    return first


def test_rolled_back_metadata(operator, gone_back, tmp_path):
    with pytest.raises(BadSignature, match="rolled back"):
        operator.follow(tmp_path / "state")


def test_gone_back_and_published_again(operator, make_manifest, gone_back, tmp_path):
    """The timestamp has the version that the client knows, so TUF looks no further; the manifest is gone."""
    operator.publish(make_manifest(epoch=2, previous=gone_back))
    with pytest.raises(BadSignature, match="gone back to an older state"):
        operator.follow(tmp_path / "state")


def test_a_signer_cannot_rewrite_the_history_a_client_has_seen(operator, make_manifest, tmp_path):
    first, stranger = make_manifest(), replace(make_manifest(), normalisation=2)
    second = make_manifest(2, previous=first)
    operator.publish(second)
    operator.follow(tmp_path / "state")
    for manifest, match in [
        (first, "went back"),
        (replace(second, previous="ab" * 32), "published twice"),
        (make_manifest(3, previous=stranger), "does not continue"),
        (replace(make_manifest(4), previous=None), "has no previous manifest"),
        (replace(make_manifest(3, previous=second), public_key=bytes(32)), "key of epoch 1 changed"),
    ]:
        operator.publish(manifest)
        with pytest.raises(BadSignature, match=match) as raised:
            operator.follow(tmp_path / "state")
        assert "forget" not in raised.value.hint
    third = make_manifest(3, previous=second)
    operator.publish(third)
    assert operator.follow(tmp_path / "state") == third


def test_signed_but_not_a_manifest_of_this_audience(operator, make_manifest, tmp_path):
    operator.publish(replace(make_manifest(), audience="business"))
    with pytest.raises(NetworkError, match="people"):
        operator.follow(tmp_path / "state")
    operator.publish(replace(make_manifest(), normalisation=0))
    with pytest.raises(BadReply):
        operator.follow(tmp_path / "state")


def test_root_rotation_is_followed(operator, make_manifest, tmp_path):
    operator.publish(make_manifest())
    operator.follow(tmp_path / "state")
    metadata = operator.repository.root()
    new = CryptoSigner.generate_ed25519()
    metadata.revoke_key(operator.signers["timestamp"].public_key.keyid, "timestamp")
    metadata.add_key(new.public_key, "timestamp")
    metadata.version = 2
    signed = Metadata(metadata)
    signed.sign(operator.signers["root"])
    (operator.public / "metadata" / "2.root.json").write_bytes(signed.to_bytes())
    with pytest.raises(BadSignature, match="not signed"):
        operator.follow(tmp_path / "state")
    operator.signers["timestamp"] = new
    operator.repository.refresh(operator.signers, datetime.now(UTC), force=True)
    assert operator.follow(tmp_path / "state").edition == 1


def test_nothing_published(operator, tmp_path):
    with pytest.raises(NetworkError, match="nothing yet"):
        operator.follow(tmp_path / "state")


def test_errors_of_the_fetcher_pass_through(operator, make_manifest, tmp_path):
    operator.publish(make_manifest())

    def refuse(url):
        raise Refused("no", status=403)

    operator.fetcher._fetch = refuse
    with pytest.raises(Refused):
        operator.follow(tmp_path / "state")

    def fail(url):
        raise DownloadError("cut")

    operator.fetcher._fetch = fail
    with pytest.raises(NetworkError, match="could not be fetched"):
        operator.follow(tmp_path / "state")


def test_endless_answer_is_cut(operator, make_manifest, tmp_path):
    operator.publish(make_manifest())
    operator.fetcher.tamper = lambda path, data: b" " * (1 << 20) if "timestamp" in path else data
    with pytest.raises(BadSignature, match="longer"):
        operator.follow(tmp_path / "state")


def damage(*paths):
    """What a power cut leaves of files that were not brought to the disk: nothing, a part, zeros."""
    for path, kind in zip(paths, itertools.cycle(range(3))):
        data = path.read_bytes()
        path.write_bytes([b"", data[: len(data) // 2], bytes(len(data))][kind])


@pytest.mark.parametrize(
    "names", [["timestamp"], ["snapshot"], ["targets"], ["timestamp", "snapshot", "targets"]]
)
def test_damaged_metadata_is_fetched_again_and_nothing_can_be_rolled_back(
    operator, make_manifest, gone_back, tmp_path, names
):
    """The server went back to the first manifest, and this client has lost what TUF would notice it by."""
    damage(*(tmp_path / "state" / "metadata" / f"{name}.json" for name in names))
    with pytest.raises(BadSignature):
        operator.follow(tmp_path / "state")
    second = make_manifest(2, previous=gone_back)
    for _ in range(3):  # until its metadata has numbers above those that a client may remember
        operator.publish(second)
    damage(*(tmp_path / "state" / "metadata" / f"{name}.json" for name in names))
    assert operator.follow(tmp_path / "state") == second
    for name in names:
        Metadata.from_file(str(tmp_path / "state" / "metadata" / f"{name}.json"))


def test_a_damaged_manifest_is_replaced_by_what_its_hash_is_remembered_of(operator, make_manifest, tmp_path):
    first = make_manifest(1)
    second, third = make_manifest(2, previous=first), None
    operator.publish(first)
    operator.publish(second)
    operator.follow(tmp_path / "state")
    kept = tmp_path / "state" / "manifests" / "people.json"
    damage(kept)
    assert operator.follow(tmp_path / "state") == second
    assert kept.read_bytes() == second.to_bytes()
    damage(kept)
    third = make_manifest(3, previous=second)
    operator.publish(third)
    assert operator.follow(tmp_path / "state") == third


def test_a_damaged_manifest_is_not_replaced_by_one_of_another_history(operator, make_manifest, tmp_path):
    first = make_manifest(1)
    operator.publish(first)
    operator.follow(tmp_path / "state")
    damage(tmp_path / "state" / "manifests" / "people.json")
    other = replace(make_manifest(), normalisation=2)
    for manifest in (other, make_manifest(2, previous=other)):
        operator.publish(manifest)
        for _ in range(2):  # that it was refused once does not make it known
            with pytest.raises(BadSignature, match="another history") as raised:
                operator.follow(tmp_path / "state")
            assert "forget" not in raised.value.hint
    second = make_manifest(2, previous=first)
    operator.publish(make_manifest(3, previous=second))
    kept = operator.public / "targets" / f"{first.sha256()}.people.json"
    for tamper in (lambda data: data[::-1], lambda data: data + b" ", lambda data: bytes(9 << 20)):
        operator.fetcher.tamper = lambda path, data, tamper=tamper: (
            tamper(data) if kept.name in path else data
        )
        with pytest.raises(OurError, match="damaged"):
            operator.follow(tmp_path / "state")
    operator.fetcher.tamper = lambda _, data: data
    kept.rename(tmp_path / "withheld")
    with pytest.raises(OurError, match="damaged") as raised:
        operator.follow(tmp_path / "state")
    assert "remove that file" in raised.value.hint  # nobody has what this client lost
    (tmp_path / "withheld").rename(kept)
    with pytest.raises(BadSignature, match="it lacks"):
        operator.follow(tmp_path / "state")
    operator.publish(second)
    operator.publish(make_manifest(3, previous=second))
    assert operator.follow(tmp_path / "state").edition == 3


def test_a_manifest_that_is_damaged_together_with_the_metadata_is_final(operator, make_manifest, tmp_path):
    operator.publish(make_manifest())
    operator.follow(tmp_path / "state")
    damage(tmp_path / "state" / "manifests" / "people.json", tmp_path / "state" / "metadata" / "targets.json")
    for _ in range(2):
        with pytest.raises(OurError, match="damaged") as raised:
            operator.follow(tmp_path / "state")
        assert "remove that file" in raised.value.hint
    (tmp_path / "state" / "manifests" / "people.json").unlink()  # as it says
    assert operator.follow(tmp_path / "state").edition == 1


def renew_root(operator):
    """Root version 2, and a server that can go back to version 1."""
    shutil.copytree(operator.public, operator.public.with_name("before"))
    metadata = operator.repository.root()
    metadata.version = 2
    signed = Metadata(metadata)
    signed.sign(operator.signers["root"])
    (operator.public / "metadata" / "2.root.json").write_bytes(signed.to_bytes())
    return signed.to_bytes()


def test_a_damaged_root_is_fetched_again_or_the_server_has_gone_back(operator, make_manifest, tmp_path):
    operator.publish(make_manifest())
    new = renew_root(operator)
    operator.follow(tmp_path / "state")
    kept = tmp_path / "state" / "metadata" / "root_history" / "2.root.json"
    assert newest_root(tmp_path / "state") == new
    damage(kept)
    assert newest_root(tmp_path / "state") == operator.root
    timestamp = tmp_path / "state" / "metadata" / "timestamp.json"
    before = timestamp.read_bytes()
    operator.repository.refresh(operator.signers, datetime.now(UTC), force=True)
    (operator.public / "metadata" / "2.root.json").rename(tmp_path / "withheld")
    with pytest.raises(BadSignature, match="rolled back"):
        operator.follow(tmp_path / "state")
    assert timestamp.read_bytes() == before  # nothing that an older root vouches for is believed
    (tmp_path / "withheld").rename(operator.public / "metadata" / "2.root.json")
    operator.follow(tmp_path / "state")
    assert kept.read_bytes() == new


def test_a_damaged_root_does_not_hide_that_the_server_is_away(operator, make_manifest, tmp_path):
    operator.publish(make_manifest())
    renew_root(operator)
    operator.follow(tmp_path / "state")
    damage(tmp_path / "state" / "metadata" / "root_history" / "2.root.json")

    def fail(url):
        raise DownloadError("cut")

    operator.fetcher._fetch = fail
    with pytest.raises(NetworkError):
        operator.follow(tmp_path / "state")


def test_what_was_verified_before_a_refresh_failed_is_remembered(operator, make_manifest, tmp_path):
    first = make_manifest()
    operator.publish(first)
    shutil.copytree(operator.public, tmp_path / "backup")
    operator.follow(tmp_path / "state")
    operator.publish(make_manifest(2, previous=first))
    operator.fetcher.tamper = lambda path, data: b"" if "snapshot" in path else data
    with pytest.raises(BadSignature):
        operator.follow(tmp_path / "state")
    shutil.rmtree(operator.public)
    shutil.copytree(tmp_path / "backup", operator.public)
    operator.fetcher.tamper = lambda _, data: data
    with pytest.raises(BadSignature, match="rolled back"):
        operator.follow(tmp_path / "state")


def test_what_a_killed_refresh_left_is_in_nobodys_way(operator, make_manifest, tmp_path):
    operator.publish(make_manifest())
    (tmp_path / "state" / "scratch" / "root_history").mkdir(parents=True)
    (tmp_path / "state" / "scratch" / "timestamp.json").write_bytes(b"{")
    operator.follow(tmp_path / "state")
    assert {path.name for path in (tmp_path / "state").iterdir()} == {"metadata", "manifests"}


def test_a_state_folder_that_cannot_be_used(operator, make_manifest, tmp_path):
    operator.publish(make_manifest())
    (tmp_path / "in the way").write_bytes(b"")
    with pytest.raises(OurError, match="cannot be used"):
        operator.follow(tmp_path / "in the way")


def test_check_root(operator):
    check_root(operator.root)
    assert len(root_fingerprint(operator.root)) == 64
    forged = json.loads(operator.root)
    forged["signed"]["version"] = 2
    for root in (b"", b"{}", b"<html>", json.dumps(forged).encode()):
        with pytest.raises(BadSignature, match="root metadata"):
            check_root(root)


def test_a_follower_refreshes_once(operator, make_manifest, tmp_path):
    operator.publish(make_manifest())
    follower = Follower(tmp_path / "state", "http://server.test/", operator.fetcher, operator.root)
    follower.manifest("people")
    asked = len(operator.fetcher.asked)
    follower.manifest("people")
    assert [path.split("/")[0] for path in operator.fetcher.asked[asked:]] == ["targets"]


def test_goes_on_from_what_version_1_wrote(operator, version_1, tmp_path, monkeypatch, make_manifest):
    """The metadata and the manifest that it kept count: the server goes on, and cannot go back."""
    operator.public = operator.fetcher.folder = version_1 / "server" / "public"
    operator.repository = Forger(operator.public)
    operator.root = operator.repository.root_bytes()
    operator.signers = Keyring.open(version_1 / "server" / "keys", None).signers()
    (state,) = (version_1 / "state" / "servers").glob("*/tuf")
    now = operator.repository.expiries()["timestamp"] - timedelta(days=1)

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return now

    monkeypatch.setattr(trusted_metadata_set.datetime, "datetime", Clock)
    with pytest.raises(BadReply, match="published by an earlier version") as raised:
        operator.follow(state)
    assert "ask the operator" in raised.value.hint
    assert newest_root(state) == operator.root
    seen = operator.repository.current("people")
    assert (seen.epoch, seen.edition, seen.is_current) == (1, 2, False)
    new = make_manifest(edition=3, previous=seen)
    new = replace(new, public_key=seen.public_key)
    others = [operator.repository.current("business")]
    shutil.copytree(operator.public, tmp_path / "before")
    operator.publish(new, *others, now=now)
    for forged in (replace(new, previous="ab" * 32), replace(new, public_key=bytes(32))):
        operator.publish(forged, *others, now=now)
        with pytest.raises(BadSignature):
            operator.follow(state)
    operator.publish(new, *others, now=now)
    assert operator.follow(state) == new
    shutil.rmtree(operator.public)
    (tmp_path / "before").rename(operator.public)
    with pytest.raises(BadSignature, match="rolled back"):
        operator.follow(state)
