"""The repository on disk."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from securesystemslib.signer import CryptoSigner

from contactsync.foundation.errors import OurError
from contactsync.publication.tuf.repository import LIFETIMES


def test_only_the_timestamp_is_ever_replaced(operator, make_manifest):
    operator.publish(make_manifest())
    before = {path: path.read_bytes() for path in operator.public.rglob("*.json")}
    stamp = operator.repository.stamp()
    operator.publish(make_manifest(2))
    changed = {path.name for path, data in before.items() if path.read_bytes() != data}
    assert changed == {"timestamp.json"}
    assert operator.repository.stamp() != stamp


def test_history_goes_back_as_far_as_it_is_kept(operator, make_manifest):
    manifests = [make_manifest()]
    operator.publish(manifests[0])
    for edition in range(2, 6):
        manifests.append(make_manifest(edition, previous=manifests[-1]))
        operator.publish(manifests[-1])
    assert list(operator.repository.history("people", 99)) == manifests[::-1]
    operator.repository.prune(list(operator.repository.links("people", 2)))
    assert list(operator.repository.history("people", 99)) == manifests[:-3:-1]
    assert list(operator.repository.history("people", 1)) == [manifests[-1]]
    assert operator.repository.current("business") is None


def test_manifests_of_another_version_are_links_all_the_same(operator, make_manifest):
    """A client that saw one of them walks back to it, whatever this program writes today."""
    old = make_manifest().to_bytes().replace(b"contactsync-manifest-2", b"contactsync-manifest-98765")
    sha256 = hashlib.sha256(old).hexdigest()
    (operator.public / "targets" / f"{sha256}.people.json").write_bytes(old)
    new = replace(make_manifest(2), previous=sha256)
    operator.publish(new)
    links = list(operator.repository.links("people", 99))
    assert [link.sha256 for link in links] == [new.sha256(), sha256]
    operator.repository.prune(links)
    assert list(operator.repository.links("people", 99)) == links


def test_prune_keeps_the_last_versions(operator, make_manifest):
    manifest = make_manifest()
    for _ in range(13):
        operator.publish(manifest)
    operator.repository.prune(list(operator.repository.links("people", 99)))
    versions = sorted(
        int(path.name.split(".")[0]) for path in operator.public.glob("metadata/*.targets.json")
    )
    assert versions == list(range(4, 14))
    assert operator.repository.current("people") == manifest


def test_all_audiences_in_one_switch(operator, make_manifest):
    business = replace(make_manifest(), audience="business")
    operator.publish(make_manifest(), business)
    assert operator.repository.current("people") == make_manifest()
    assert operator.repository.current("business") == business


def test_refresh_signs_what_is_due_with_the_keys_that_are_here(operator, make_manifest):
    repository, now = operator.repository, datetime.now(UTC)
    operator.publish(make_manifest())
    assert repository.refresh(operator.signers, now) == []
    online = {role: operator.signers[role] for role in ("snapshot", "timestamp")}
    week = now + timedelta(days=6)
    assert repository.refresh(online, week) == ["timestamp"]
    assert repository.expiries()["timestamp"] == (week + LIFETIMES["timestamp"]).replace(microsecond=0)
    month = now + timedelta(days=60)
    assert repository.refresh({"snapshot": operator.signers["snapshot"]}, month) == []
    assert repository.refresh(online, month) == ["snapshot", "timestamp"]
    year = now + timedelta(days=300)
    assert repository.refresh(operator.signers, year) == ["root", "snapshot", "targets", "timestamp"]
    assert repository.root().version == 2
    assert repository.current("people") == make_manifest()
    assert min(repository.expiries().values()) > year


def test_wrong_or_missing_keys_change_nothing(operator, make_manifest):
    operator.publish(make_manifest())
    stamp = operator.repository.stamp()
    signers = operator.signers
    for role in ("targets", "snapshot", "timestamp"):
        operator.signers = {name: signer for name, signer in signers.items() if name != role}
        with pytest.raises(OurError, match=f"role {role} is not here"):
            operator.publish(make_manifest(2))
        operator.signers = {**signers, role: CryptoSigner.generate_ed25519()}
        with pytest.raises(OurError, match="not the one named by the root"):
            operator.publish(make_manifest(2))
    assert operator.repository.stamp() == stamp


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_damaged_metadata_is_said_not_signed(operator, make_manifest, name):
    operator.publish(make_manifest())
    path = operator.public / "metadata" / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(OurError, match="damaged"):
        operator.repository.current("people")
    with pytest.raises(OurError, match="damaged"):
        operator.publish(make_manifest(2))


def test_missing_root_or_manifest(operator, make_manifest):
    operator.publish(make_manifest())
    next(operator.public.glob("targets/*.people.json")).write_bytes(b"{}")
    with pytest.raises(OurError, match="missing or damaged"):
        operator.repository.current("people")
    (operator.public / "metadata" / "1.root.json").unlink()
    with pytest.raises(OurError, match="no root"):
        operator.repository.root()
