"""Keys at rest."""

import json
import os

import pytest

from contactsync.foundation.errors import BadInput, OurError
from contactsync.publication.tuf.repository import ROLES, Repository
from contactsync.server.keyring import Keyring, key_names
from contactsync.server.sealing import read_passphrase
from contactsync.voprf.server import derive_key_pair

PASSPHRASE = b"correct horse"

pytestmark = pytest.mark.usefixtures("cheap_passphrases")


@pytest.fixture(params=[None, PASSPHRASE], ids=["plain", "passphrase"])
def passphrase(request):
    return request.param


def test_keys_come_back(tmp_path, passphrase):
    created = Keyring.create(tmp_path / "keys", passphrase)
    created.new_seed("people", 1)
    opened = Keyring.open(tmp_path / "keys", passphrase)
    assert list(opened.signers()) == list(ROLES)
    for role, signer in opened.signers().items():
        assert signer.public_key == created.signers()[role].public_key
    assert opened.key_pair("people", 1) == created.key_pair("people", 1)
    assert Keyring.is_locked(tmp_path / "keys") == (passphrase is not None)


def test_the_key_is_derived_as_documented(tmp_path):
    keyring = Keyring.create(tmp_path / "keys", None)
    keyring.new_seed("business", 12)
    seed = bytes.fromhex(json.loads((tmp_path / "keys" / "voprf-business-12.json").read_bytes())["secret"])
    assert keyring.key_pair("business", 12) == derive_key_pair(seed, b"contactsync/v1/business/12")


def test_files_are_private(tmp_path, passphrase):
    keyring = Keyring.create(tmp_path / "keys", passphrase)
    keyring.new_seed("people", 1)
    files = list((tmp_path / "keys").iterdir())
    assert len(files) == 6
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_under_a_passphrase_no_secret_is_in_a_file(tmp_path):
    Keyring.create(tmp_path / "keys", PASSPHRASE)
    for path in (tmp_path / "keys").iterdir():
        assert "secret" not in json.loads(path.read_bytes())


def test_no_or_a_wrong_passphrase(tmp_path):
    Keyring.create(tmp_path / "keys", PASSPHRASE)
    with pytest.raises(BadInput, match="encrypted with a passphrase") as raised:
        Keyring.open(tmp_path / "keys", None)
    assert "--passphrase-file" in raised.value.hint
    with pytest.raises(BadInput, match="wrong"):
        Keyring.open(tmp_path / "keys", PASSPHRASE + b"!")


def test_swapped_or_changed_files_are_noticed(tmp_path):
    folder = tmp_path / "keys"
    Keyring.create(folder, PASSPHRASE)
    targets, snapshot = folder / "tuf-targets.json", folder / "tuf-snapshot.json"
    original = targets.read_bytes()
    targets.write_bytes(snapshot.read_bytes())
    with pytest.raises(OurError, match="damaged"):
        Keyring.open(folder, PASSPHRASE).signers()
    body = json.loads(original)
    body["sealed"] = body["sealed"][:-2] + ("00" if body["sealed"][-2:] != "00" else "01")
    targets.write_text(json.dumps(body))
    with pytest.raises(OurError, match=r"tuf-targets\.json is damaged"):
        Keyring.open(folder, PASSPHRASE).signers()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "contactsync-key-1", "secret": "ab"}'])
def test_malformed_key_files(tmp_path, text):
    keyring = Keyring.create(tmp_path / "keys", None)
    (tmp_path / "keys" / "tuf-root.json").write_text(text)
    with pytest.raises(OurError, match="damaged"):
        keyring.signers()


@pytest.mark.parametrize(
    "change", [{"memory_kib": 1 << 30}, {"name": "md5"}, {"salt": "xyz"}, {"lanes": "4"}, {"iterations": 0}]
)
def test_malformed_parameters(tmp_path, change):
    Keyring.create(tmp_path / "keys", PASSPHRASE)
    path = tmp_path / "keys" / "keyring.json"
    body = json.loads(path.read_bytes())
    body["kdf"].update(change)
    path.write_text(json.dumps(body))
    with pytest.raises(OurError, match="damaged"):
        Keyring.open(tmp_path / "keys", PASSPHRASE)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_that_others_can_read_is_refused(tmp_path, mode):
    keyring = Keyring.create(tmp_path / "keys", None)
    (tmp_path / "keys" / "tuf-targets.json").chmod(mode)
    with pytest.raises(OurError, match="can be read by other users") as raised:
        keyring.signers()
    assert "chmod 600" in raised.value.hint
    (tmp_path / "keys" / "tuf-targets.json").chmod(0o600)
    (tmp_path / "keys").chmod(0o750)
    with pytest.raises(OurError, match="can be read by other users") as raised:
        keyring.signers()
    assert "chmod 700" in raised.value.hint


@pytest.mark.parametrize("role", ROLES)
def test_only_the_files_of_the_roles_that_are_asked_for_are_opened(tmp_path, role):
    keyring = Keyring.create(tmp_path / "keys", None)
    keyring.add_key(role, b"\7" * 32)
    for other in set(ROLES) - {role}:
        (tmp_path / "keys" / f"tuf-{other}.json").unlink()
        (tmp_path / "keys" / f"tuf-{other}.json").mkdir(mode=0o755)  # to open it or to look at it is an error
    assert len(keyring.signers([role])) == 2
    with pytest.raises(OurError):
        keyring.signers()


def test_a_role_may_have_several_keys(tmp_path, passphrase):
    keyring = Keyring.create(tmp_path / "keys", passphrase)
    name = keyring.add_key("targets", b"\7" * 32)
    first, second = keyring.signers(["targets"]).values()
    assert name == f"targets-{second.public_key.keyid[:16]}"
    assert key_names(tmp_path / "keys", "targets") == ["targets", name]
    assert (tmp_path / "keys" / f"tuf-{name}.json").stat().st_mode & 0o777 == 0o600
    opened = Keyring.open(tmp_path / "keys", passphrase)
    assert opened.secret_of("targets", second.public_key.keyid) == b"\7" * 32
    with pytest.raises(BadInput, match="already here"):
        opened.add_key("targets", b"\7" * 32)
    opened.remove_keys("targets", [first.public_key.keyid, "no such"])
    assert [signer.public_key for signer in opened.signers(["targets"]).values()] == [second.public_key]
    with pytest.raises(BadInput, match="is not here"):
        opened.secret_of("targets", first.public_key.keyid)


def test_a_missing_seed_is_not_drawn_anew(tmp_path):
    keyring = Keyring.create(tmp_path / "keys", None)
    with pytest.raises(OurError, match="no key") as raised:
        keyring.key_pair("people", 3)
    assert "backup" in raised.value.hint


def test_old_seeds_are_destroyed(tmp_path):
    keyring = Keyring.create(tmp_path / "keys", None)
    for epoch in (1, 2, 10):
        keyring.new_seed("people", epoch)
        keyring.new_seed("business", epoch)
    keyring.destroy_seeds("people", 10)
    assert [keyring.has_seed("people", epoch) for epoch in (1, 2, 10)] == [False, False, True]
    assert keyring.has_seed("business", 1)


def test_keys_for_who_left_live_as_long_as_they_are_needed(tmp_path, passphrase):
    keyring = Keyring.create(tmp_path / "keys", passphrase)
    assert keyring.departed_keys() == {}
    first, second = keyring.new_departed_key(), keyring.new_departed_key()
    found = Keyring.open(tmp_path / "keys", passphrase).departed_keys()
    assert {key.public_key().public_bytes_raw() for key in found.values()} == set(found) == {first, second}
    files = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "keys").glob("departed-*")}
    assert files == {f"departed-{public.hex()[:16]}.json": 0o600 for public in (first, second)}
    keyring.destroy_departed_keys({second, bytes(32)})
    assert set(keyring.departed_keys()) == {second}
    keyring.destroy_departed_keys(())
    assert list((tmp_path / "keys").glob("departed-*")) == []


def test_a_damaged_key_for_who_left_is_as_none(tmp_path):
    """It is in no backup from which it could be restored, and a publish does without."""
    keyring = Keyring.create(tmp_path / "keys", None)
    keyring.new_departed_key()
    (path,) = (tmp_path / "keys").glob("departed-*")
    path.write_text("{")
    assert keyring.departed_keys() == {}
    with pytest.raises(OurError, match="damaged") as caught:
        keyring.copy_to(tmp_path / "other", PASSPHRASE)
    assert caught.value.hint == "delete it"
    public = keyring.new_departed_key()
    assert set(keyring.departed_keys()) == {public}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_where_keys_cannot_be_written_there_is_none(tmp_path):
    keyring = Keyring.create(tmp_path / "keys", None)
    (tmp_path / "keys").chmod(0o500)
    assert keyring.new_departed_key() is None


def test_read_passphrase(tmp_path, monkeypatch):
    monkeypatch.delenv("CONTACTSYNC_PASSPHRASE", raising=False)
    assert read_passphrase(None) is None
    monkeypatch.setenv("CONTACTSYNC_PASSPHRASE", "from the environment")
    assert read_passphrase(None) == b"from the environment"
    file = tmp_path / "passphrase"
    file.write_bytes(b"from a file\nsecond line\n")
    assert read_passphrase(file) == b"from a file"
    file.write_bytes(b"\n")
    for bad in (file, tmp_path / "missing"):
        with pytest.raises(BadInput):
            read_passphrase(bad)
    monkeypatch.setenv("CONTACTSYNC_PASSPHRASE", "")
    with pytest.raises(BadInput):
        read_passphrase(None)


def test_nothing_secret_in_repr_or_errors(tmp_path):
    keyring = Keyring.create(tmp_path / "keys", None)
    keyring.new_seed("people", 1)
    pair = keyring.key_pair("people", 1)
    assert pair.secret.hex() not in repr(pair)
    assert repr(pair.secret) not in repr(pair)


def test_what_version_1_wrote(version_1):
    keyring = Keyring.open(version_1 / "server" / "keys", None)
    repository = Repository(version_1 / "server" / "public")
    repository.check_signers(keyring.signers(), ROLES)
    for audience in ("people", "business"):
        assert keyring.key_pair(audience, 1).public == repository.current(audience).public_key


def test_keys_of_another_version_are_refused(tmp_path):
    keyring = Keyring.create(tmp_path / "keys", None)
    path = tmp_path / "keys" / "tuf-root.json"
    path.write_text(path.read_text().replace("contactsync-key-1", "contactsync-key-2"))
    with pytest.raises(OurError, match="newer contactsync") as raised:
        keyring.signers()
    assert "update contactsync" in raised.value.hint
