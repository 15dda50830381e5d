"""What a partition with patches met that nobody had thought of: each test says what must hold."""

import pytest
from test_publish_patching import (
    GERMAN,
    NUMBERS,
    german,
    members,
    patch_from,
    patched,  # noqa: F401
    small,  # noqa: F401
    stated,
    true,
)

from contactsync.publication.manifest import Manifest
from contactsync.server.publishing import patching
from contactsync.server.publishing.looked_up import state_rows
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order, withdrawn


def test_a_base_stays_for_so_many_editions_whatever_else_changes(patched, monkeypatch):  # noqa: F811
    """privacy-officer.md: a base that has patches is there for 1,000 editions at most. It names who left."""
    monkeypatch.setattr(patching, "MOST_EDITIONS", 3)
    patched.registry.remove(members(GERMAN))
    patched.publish()
    base = german(patched).base
    for turn in range(6):  # elsewhere
        patched.registry.remove(members(NUMBERS[-1 - turn]))
        patched.publish()
    assert patched.manifest().edition > 6
    assert german(patched).base != base


def test_no_manifest_has_rows_and_patches(patched):  # noqa: F811
    """As where a rotation is taken back and begun again, after private look-up was switched on."""
    patched.registry.remove(members(GERMAN))
    patched.publish()
    before = patched.manifest()
    assert before.partitions["49"].patches is not None
    patched.folder.switch_private_lookup(on=True)
    after = state_rows(patched.folder, before, withdrawn(before))
    assert Manifest.from_bytes(after.to_bytes()) == after


def test_a_rotation_begun_again_after_private_lookup_was_switched_on(patched, tmp_path):  # noqa: F811
    """It was being taken back, and killed before the manifest without it was published."""
    publisher = Publisher(patched.folder, patched.registry, patched.keyring)
    publisher.publish(order=Order(Aim.ROTATE, 999_999))
    patched.registry.remove(members(GERMAN))
    patched.publish()
    assert german(patched).patches is not None
    patched.keyring.take_back("people", 2)  # the mark of a publish that was killed
    patched.folder.switch_private_lookup(on=True)
    Publisher(patched.folder, patched.registry, patched.keyring).publish(order=Order(Aim.ROTATE, 999_999))
    for manifest in patched.repository.history("people", 5):
        assert manifest.rows is None or all(one.patches is None for one in manifest.partitions.values())
    assert stated(patched, tmp_path) == true(patched, tmp_path)


@pytest.mark.parametrize("number", [0, -1], ids=["first", "last"])
def test_a_delta_that_was_lost_does_not_stop_the_next_publish(patched, tmp_path, number):  # noqa: F811
    """The chain of deltas begins anew, as it does where nothing has changed."""
    patch_from(patched, 0)
    for turn in range(3):
        patched.registry.remove(members(GERMAN + turn))
        patched.publish()
    (patched.folder.data / german(patched).deltas[number].file.sha256).unlink()
    patched.registry.remove(members(GERMAN + 10))
    patched.publish()
    assert stated(patched, tmp_path) == true(patched, tmp_path)
