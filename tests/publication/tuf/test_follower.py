"""From a pinned root to a verified manifest, and everything that must stop on the way."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadError
from tuf.api.metadata import Metadata

from contactsync.foundation.errors import BadReply, BadSignature, NetworkError, OurError, Refused
from contactsync.publication.tuf.follower import Follower, check_root, root_fingerprint
from contactsync.publication.tuf.repository import LIFETIMES


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
        (replace(make_manifest(4), previous=None), "does not continue"),
        (replace(make_manifest(3, previous=second), public_key=bytes(32)), "key of epoch 1 changed"),
    ]:
        operator.publish(manifest)
        with pytest.raises(BadSignature, match=match):
            operator.follow(tmp_path / "state")
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


def test_damaged_state(operator, make_manifest, tmp_path):
    operator.publish(make_manifest())
    operator.follow(tmp_path / "state")
    (tmp_path / "state" / "manifests" / "people.json").write_bytes(b"{")
    with pytest.raises(OurError, match="damaged"):
        operator.follow(tmp_path / "state")
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
