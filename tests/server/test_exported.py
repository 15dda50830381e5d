"""A role's key as a file of its own: under a passphrase, and bound to what the file says of it."""

import json

import pytest

from contactsync.foundation.errors import BadInput, OurError
from contactsync.server.exported import ExportedKey, keys_in, new_secret, read_public, write_key, write_public

PASSPHRASE = b"correct horse"

pytestmark = pytest.mark.usefixtures("cheap_passphrases")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "key.json"


@pytest.fixture
def secret():
    return new_secret()


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["plain", "passphrase"])
def test_a_key_comes_back(path, secret, passphrase):
    written = write_key(path, "root", secret, passphrase, "ab" * 32)
    assert path.stat().st_mode & 0o777 == 0o600
    assert written.is_locked == (passphrase is not None)
    assert written.secret(passphrase) == secret
    assert (written.role, written.root) == ("root", "ab" * 32)
    assert written.signer(passphrase).public_key.keyid == written.keyid
    assert (secret.hex() in path.read_text()) == (passphrase is None)


def test_a_file_is_never_overwritten(path, secret):
    write_key(path, "root", secret, None, None)
    before = path.read_bytes()
    with pytest.raises(BadInput, match="already exists"):
        write_key(path, "root", new_secret(), None, None)
    assert path.read_bytes() == before


def test_no_or_a_wrong_passphrase(path, secret):
    written = write_key(path, "root", secret, PASSPHRASE, None)
    with pytest.raises(BadInput, match="is wrong"):
        written.secret(PASSPHRASE + b"!")
    with pytest.raises(BadInput, match="encrypted with a passphrase"):
        written.secret(None)


@pytest.mark.parametrize(
    "change",
    [
        {"role": "targets"},
        {"root": "cd" * 32},
        {"root": None},
        {"kdf": None},
        {"kdf": None, "secret": "11" * 32},
        {"sealed": "00" * 48},
        {"nonce": "00" * 12},
        {"keyid": "00" * 32},
        {"public": "00" * 32},
        {"role": "everything"},
        {"root": 7},
        {"kdf": {"name": "argon2id"}},
        {"kdf": 7},
    ],
)
def test_what_a_file_says_of_its_key_cannot_be_changed(path, secret, change):
    write_key(path, "root", secret, PASSPHRASE, "ab" * 32)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadInput):
        ExportedKey.read(path).secret(PASSPHRASE)


@pytest.mark.parametrize("iterations", [65, 1 << 31])
def test_a_file_that_would_keep_the_machine_busy(path, secret, iterations):
    body = json.loads(write_key(path, "root", secret, PASSPHRASE, None).path.read_text())
    body["kdf"]["iterations"] = iterations
    path.write_text(json.dumps(body))
    with pytest.raises(BadInput, match="damaged"):
        ExportedKey.read(path).secret(PASSPHRASE)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": "contactsync-key-1"}', "\xff", "[" * 10_000])
def test_other_files(path, text):
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(BadInput, match="is not an exported signing key"):
        ExportedKey.read(path)
    with pytest.raises(BadInput, match="is not a public key"):
        read_public(path, "root")


def test_missing_and_newer_files(path, secret):
    with pytest.raises(BadInput, match="cannot be read"):
        ExportedKey.read(path)
    write_key(path, "root", secret, None, None)
    path.write_text(path.read_text().replace("signing-key-1", "signing-key-2"))
    with pytest.raises(OurError, match="newer contactsync"):
        ExportedKey.read(path)


def test_a_key_that_others_can_read_is_refused(path, secret):
    write_key(path, "root", secret, PASSPHRASE, None)
    path.chmod(0o640)
    with pytest.raises(OurError, match="can be read by other users"):
        ExportedKey.read(path)


def test_the_public_half(path, secret, tmp_path):
    written = write_key(path, "targets", secret, PASSPHRASE, None)
    public = tmp_path / "key.pub"
    write_public(public, "targets", secret)
    assert read_public(public, "targets").keyid == written.keyid
    assert secret.hex() not in public.read_text()
    with pytest.raises(BadInput, match="for the role targets, not root"):
        read_public(public, "root")
    with pytest.raises(BadInput, match="is not a public key"):
        read_public(path, "targets")


def test_a_folder_of_keys(tmp_path, secret):
    write_key(tmp_path / "a.json", "root", secret, None, None)
    write_key(tmp_path / "b.json", "targets", new_secret(), None, None)
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "folder.json").mkdir()
    assert [key.role for key in keys_in([tmp_path])] == ["root", "targets"]
    assert [key.role for key in keys_in([tmp_path / "b.json"])] == ["targets"]
