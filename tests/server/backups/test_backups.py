"""Backups: whole or refused, of one moment, without a secret in the open; and who would return with them."""

import io
import json
import shutil
import subprocess
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from server_tools import AMERICAN, GERMAN, Operator, numbers

from contactsync.foundation.errors import BadInput, ChoiceNeeded, OurError
from contactsync.publication.tuf.repository import Repository
from contactsync.server.backups import archive, making, restoring
from contactsync.server.backups.making import SCRATCH, back_up
from contactsync.server.backups.restoring import restore, undo
from contactsync.server.belonging import doubts_of
from contactsync.server.keyring import DEPARTED, Keyring
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.settings import Busy, DataFolder
from contactsync.server.storage.opening import open_accounts, open_members
from contactsync.server.storage.records import Origin

needs_age = pytest.mark.skipif(shutil.which("age") is None, reason="age is not installed (apt install age)")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A published server with two members and an account, and its backup. Tests get copies."""
    folder = tmp_path_factory.mktemp("made")
    operator = Operator(folder / "server")
    operator.add(GERMAN, AMERICAN)
    operator.accounts.add("shop", "people", "cs_secret")
    operator.publish()
    operator.close()
    back_up(operator.folder, folder / "backup", "0", with_keys=True)
    return folder


@pytest.fixture
def data(made, tmp_path):
    return Path(shutil.copytree(made / "server", tmp_path / "server"))


@pytest.fixture
def backup(made, tmp_path):
    return Path(shutil.copy(made / "backup", tmp_path / "backup"))


@pytest.fixture
def identity(tmp_path):
    subprocess.run(["age-keygen", "-o", tmp_path / "id"], check=True, capture_output=True)
    done = subprocess.run(["age-keygen", "-y", tmp_path / "id"], check=True, capture_output=True, text=True)
    return tmp_path / "id", done.stdout.strip()


def contents(folder):
    """Every file that an operator would miss, by place. Databases by their rows."""
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name != "publish.lock" and ".sqlite" not in path.name
        if not path.name.startswith(DEPARTED)
    }
    with (
        closing(open_members(DataFolder(folder))) as members,
        closing(open_accounts(DataFolder(folder))) as accounts,
    ):
        found["members"] = [repr(one) for one in members.show(numbers(GERMAN, AMERICAN))]
        found["tokens"] = [chunk.to_bytes().tobytes() for chunk in members.tokens("people", 1, "49")]
        found["accounts"] = [(one.name, one.audience) for one in accounts.list()]
        assert doubts_of(members, Repository(Path(folder) / "public")) == {}
    return found


def modes(folder):
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in Path(folder).rglob("*")}


def change(data, *remove, add=()):
    operator_folder = DataFolder(data)
    with closing(open_members(operator_folder)) as members:
        if add:
            members.add(numbers(*add))
        if remove:
            members.remove(numbers(*remove))


def publish(data):
    folder = DataFolder(data)
    with closing(open_members(folder)) as members:
        return Publisher(folder, members, Keyring.open(folder.keys, None)).publish()


def test_what_comes_back_is_what_was_there(made, backup, tmp_path):
    assert backup.stat().st_mode & 0o777 == 0o600
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "new", tmp_path / "empty"):
        done = restore(backup, place)
        assert (done.about.published, done.returning, done.damaged) == ({"people": (1, 1)}, None, ())
        assert contents(place) == contents(made / "server")
        assert place.stat().st_mode & 0o777 == 0o700
        left_out = "publish.lock", DEPARTED
        there = modes(made / "server").items()
        wanted = {name: mode for name, mode in there if not any(one in name for one in left_out)}
        assert {name: mode for name, mode in modes(place).items() if ".sqlite-" not in name} == wanted
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "empty", "new"]
    assert not (made / "server" / SCRATCH).exists()


def test_where_a_server_or_anything_else_is_nothing_is_restored(backup, data, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    before = contents(data)
    for place, message in (
        (data, "is the data folder"),
        (tmp_path / "full", "not an empty"),
        (tmp_path / "a/b", "no folder"),
    ):
        with pytest.raises(BadInput, match=message):
            restore(backup, place)
    assert contents(data) == before
    with pytest.raises(BadInput, match="is not the data folder"):
        restore(backup, tmp_path / "full", replace=True)
    with pytest.raises(BadInput, match="no backup at"):
        restore(tmp_path / "missing", tmp_path / "new")


@pytest.mark.slow
def test_a_backup_that_is_cut_off_or_changed_is_refused(backup, tmp_path):
    whole = backup.read_bytes()
    end = len(whole.rstrip(b"\0"))
    step = len(whole) // 30
    damaged = [whole[:length] for length in (0, 1, 511, *range(step, end, step), end - 1)]
    damaged += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(600, end, end // 40)]
    harmless, reasons = 0, set()
    for octets in damaged:
        backup.write_bytes(octets)
        try:
            restore(backup, tmp_path / "new", dry_run=True)
            harmless += 1  # the padding of a file in the archive is nobody's
        except BadInput as error:
            reasons.add(str(error).partition(":")[0])
    assert harmless < 12
    assert reasons == {"the backup is damaged", "this is no backup of contactsync"}
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]


@pytest.mark.parametrize(
    "name", ["../server.toml", "/etc/x", "keys/../../x", "public/data/.work", "keys/a/b", "x"]
)
def test_a_name_that_no_backup_has_is_refused(name, backup, tmp_path):
    with tarfile.open(backup) as tar:
        about = tar.extractfile("contactsync-backup.json").read()
    for kind in (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE):
        with tarfile.open(backup, "w") as tar:
            for entry, octets in (("contactsync-backup.json", about), (name, b"")):
                info = tarfile.TarInfo(entry)
                info.size = len(octets)
                if entry == name:
                    info.type, info.linkname = kind, "/etc/passwd"
                tar.addfile(info, io.BytesIO(octets))
        with pytest.raises(BadInput, match="which no backup has"):
            restore(backup, tmp_path / "new")
        assert [path.name for path in tmp_path.iterdir()] == ["backup"]


def test_another_file_and_a_newer_backup_are_refused(backup, tmp_path, monkeypatch, data):
    backup.write_bytes(b"no tar at all" * 1000)
    with pytest.raises(BadInput, match="no backup of contactsync"):
        restore(backup, tmp_path / "new")
    monkeypatch.setattr(archive, "FORMAT", "contactsync-backup-3")
    back_up(DataFolder(data), tmp_path / "newer", "9", with_keys=True)
    monkeypatch.undo()
    with pytest.raises(BadInput, match="a newer contactsync"):
        restore(tmp_path / "newer", tmp_path / "new")
    back_up(DataFolder(data), tmp_path / "b", "0", with_keys=True)
    monkeypatch.setattr(restoring, "REGISTRY_STEPS", ())
    with pytest.raises(OurError, match="version"):
        restore(tmp_path / "b", tmp_path / "new")
    assert not (tmp_path / "new").exists()


# Keys and encryption


def test_keys_in_the_open_are_there_only_if_somebody_says_so(data, tmp_path):
    folder, target = DataFolder(data), tmp_path / "b"
    with pytest.raises(BadInput, match="no passphrase"):
        back_up(folder, target, "0")
    assert not target.exists()
    assert not back_up(folder, target, "0", with_keys=False).about.keys
    seed = json.loads((data / "keys" / "voprf-people-1.json").read_text())["secret"]
    assert seed.encode() not in target.read_bytes()
    done = restore(target, tmp_path / "new")
    assert not (tmp_path / "new" / "keys").exists()
    assert not done.about.keys
    with pytest.raises(BadInput, match="is there already"):
        back_up(folder, target, "0", with_keys=False)


@pytest.mark.usefixtures("cheap_passphrases")
def test_no_key_for_who_left_is_in_it(data, tmp_path):
    """It would open tokens of who has left, in the copy of the registry that is in it."""
    change(data, GERMAN)
    assert list((data / "keys").glob(f"{DEPARTED}*"))
    back_up(DataFolder(data), tmp_path / "later", "0", with_keys=True)
    restore(tmp_path / "later", tmp_path / "new")
    assert not list((tmp_path / "new" / "keys").glob(f"{DEPARTED}*"))
    (outcome,) = publish(tmp_path / "new")
    assert outcome.changed == ("49",)
    assert list(Repository(tmp_path / "new" / "public").current("people").partitions) == ["1"]


def test_keys_under_a_passphrase_are_there(tmp_path):
    shutil.rmtree(tmp_path / "server", ignore_errors=True)
    operator = Operator(tmp_path / "server")
    shutil.rmtree(operator.folder.keys)
    Keyring.create(operator.folder.keys, b"long")
    operator.close()
    assert back_up(operator.folder, tmp_path / "b", "0").about.keys


@needs_age
def test_encrypted_it_tells_nothing_and_opens_for_its_identity_alone(data, made, identity, tmp_path):
    file, recipient = identity
    target = tmp_path / "b"
    assert back_up(DataFolder(data), target, "0", recipients=[recipient]).about.keys
    octets = target.read_bytes()
    seed = json.loads((data / "keys" / "voprf-people-1.json").read_text())["secret"]
    for secret in (seed.encode(), b"SQLite", b"voprf", GERMAN.to_bytes(6, "big")):
        assert secret not in octets
    with pytest.raises(BadInput, match="is encrypted"):
        restore(target, tmp_path / "new")
    subprocess.run(["age-keygen", "-o", tmp_path / "other"], check=True, capture_output=True)
    with pytest.raises(BadInput, match="age cannot decrypt"):
        restore(target, tmp_path / "new", identity=tmp_path / "other")
    for length in (len(octets) // 2, len(octets) - 1):
        (tmp_path / "cut").write_bytes(octets[:length])
        with pytest.raises(BadInput, match="age cannot decrypt"):
            restore(tmp_path / "cut", tmp_path / "new", identity=file)
    assert not (tmp_path / "new").exists()
    restore(target, tmp_path / "new", identity=file)
    assert contents(tmp_path / "new") == contents(made / "server")


@needs_age
def test_a_recipient_that_is_none_leaves_nothing(data, tmp_path):
    with pytest.raises(BadInput, match="cannot encrypt"):
        back_up(DataFolder(data), tmp_path / "b", "0", recipients=["nonsense"])
    assert [path.name for path in tmp_path.iterdir()] == ["server"]


def test_without_the_program_it_says_so(data, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="age is not installed"):
        back_up(DataFolder(data), tmp_path / "b", "0", recipients=["age1x"])


# One moment


def test_a_publish_that_switches_in_the_middle_does_not_mix_two_editions(data, tmp_path, monkeypatch):
    copy, turns = making.copy_database, []

    def slow(source, target, what):
        if what == "registry" and not turns:
            turns.append(1)
            change(data, add=[GERMAN + 1])
            publish(data)
        copy(source, target, what)
        turns.append(1)

    monkeypatch.setattr(making, "copy_database", slow)
    made = back_up(DataFolder(data), tmp_path / "b", "0", with_keys=True)
    assert len(turns) == 5  # it was captured twice
    assert made.about.published == {"people": (1, 2)}
    restore(tmp_path / "b", tmp_path / "new")
    with closing(open_members(DataFolder(tmp_path / "new"))) as members:
        assert members.count("people") == 3
        assert doubts_of(members, Repository(tmp_path / "new" / "public")) == {}


def test_what_a_killed_backup_left_is_erased_and_only_one_runs(data, tmp_path):
    left = data / SCRATCH
    left.mkdir()
    (left / "registry.sqlite").write_bytes(b"numbers")
    back_up(DataFolder(data), tmp_path / "b", "0", with_keys=True)
    assert not left.exists()
    with making.scratch(left, "backup"), pytest.raises(Busy):
        back_up(DataFolder(data), tmp_path / "c", "0", with_keys=True)
    assert not (tmp_path / "c").exists()


def test_a_damaged_registry_is_not_backed_up_for_good(data, tmp_path):
    with (data / "registry.sqlite").open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 4096)
    with pytest.raises(OurError, match=r"damaged|malformed"):
        back_up(DataFolder(data), tmp_path / "b", "0", with_keys=True)
    assert not (tmp_path / "b").exists()


def test_an_earlier_version_is_backed_up_as_it_is(version_1, tmp_path):
    old = DataFolder(version_1 / "server")
    before = old.registry.read_bytes()
    made = back_up(old, tmp_path / "b", "0", with_keys=True)
    assert made.about.databases == {"registry": 1}
    assert old.registry.read_bytes() == before
    restore(tmp_path / "b", tmp_path / "new")
    with closing(open_members(DataFolder(tmp_path / "new"))) as members:
        assert members.count("people") > 0


# In the place of a server


def test_who_was_removed_does_not_return_in_silence(data, backup):
    change(data, AMERICAN, add=[GERMAN + 7])
    with closing(open_members(DataFolder(data))) as members:
        members.consent(numbers(GERMAN), "people", granted=False, origin=Origin("letter"))
    with closing(open_accounts(DataFolder(data))) as accounts:
        accounts.revoke("shop")
    before = sorted(modes(data))
    with pytest.raises(ChoiceNeeded, match=r"2 members .* and 1 accounts"):
        restore(backup, data, replace=True)
    assert sorted(modes(data)) == before
    done = restore(backup, data, replace=True, people="remove")
    assert (done.returning.people, done.returning.joined, done.returning.accounts) == (2, 1, ["shop"])
    with (
        closing(open_members(DataFolder(data))) as members,
        closing(open_accounts(DataFolder(data))) as accounts,
    ):
        (record,) = members.show(numbers(GERMAN, AMERICAN))
        assert "people" in record.entry.objections
        assert members.count("people") == 0
        assert not members.unerased()
        assert accounts.list() == []


def test_they_return_if_somebody_says_so_and_it_can_be_undone(data, backup):
    change(data, AMERICAN)
    done = restore(backup, data, replace=True, people="return")
    assert done.before == data.with_name("server.before-restore")
    with closing(open_members(DataFolder(data))) as members:
        assert members.count("people") == 2
    with pytest.raises(BadInput, match="from an earlier restore"):
        restore(backup, data, replace=True, people="return")
    assert undo(data) == done.before
    with closing(open_members(DataFolder(data))) as members:
        assert members.count("people") == 1


def test_what_is_published_stays_if_it_is_newer(data, backup):
    change(data, add=[GERMAN + 1])
    publish(data)
    newest = {path: path.read_bytes() for path in (data / "public").rglob("*") if path.is_file()}
    done = restore(backup, data, replace=True)
    assert done.public_kept
    assert {path: path.read_bytes() for path in (data / "public").rglob("*") if path.is_file()} == newest
    publish(data)  # puts right what belongs together
    assert Repository(data / "public").current("people").edition == 3
    shutil.rmtree(done.before)
    done = restore(backup, data, replace=True, old_public=True)
    assert not done.public_kept
    assert {audience: place.edition for audience, place in done.seen.items()} == {"people": 3}
    assert Repository(data / "public").current("people").edition == 1


def test_a_damaged_server_is_replaced_too(data, backup):
    (data / "registry.sqlite").write_bytes(b"no database" * 500)
    done = restore(backup, data, replace=True)
    assert done.returning is None
    assert "cannot be used" in done.unreadable
    assert contents(data)["members"]


def test_a_dry_run_changes_nothing(data, backup, tmp_path):
    change(data, add=[GERMAN + 1])
    before = contents(data)
    assert restore(backup, data, replace=True, dry_run=True).returning.joined == 1
    assert contents(data) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "server"]


def test_the_log_comes_back_and_the_longer_one_stays(tmp_path):
    """A restore does not make a log shorter than clients and witnesses have seen it, if it can help it."""
    operator = Operator(tmp_path / "server", log=True)
    operator.add(GERMAN)
    operator.publish()
    back_up(operator.folder, tmp_path / "backup", "0", with_keys=True)
    before = operator.log.checkpoint()
    restore(tmp_path / "backup", tmp_path / "new")
    assert contents_of_log(tmp_path / "new") == contents_of_log(operator.folder.path)
    publish(tmp_path / "new")
    operator.add(AMERICAN)
    operator.publish()
    assert operator.log.checkpoint().size == before.size + 1
    operator.close()
    restore(tmp_path / "backup", operator.folder.path, replace=True, people="return", old_public=True)
    assert operator.log.checkpoint().size == before.size + 1
    change(operator.folder.path, add=[GERMAN + 7])
    with pytest.raises(OurError, match="the log already has people, epoch 1 edition 2"):
        publish(operator.folder.path)


def contents_of_log(data):
    log = data / "public" / "log"
    return {str(path.relative_to(log)): path.read_bytes() for path in log.rglob("*") if path.is_file()}
