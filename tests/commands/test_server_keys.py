"""`contactsync server keys …`, `sign` and `finish`: who may sign, on which machine, and what is refused."""

import json
import re
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from contactsync.commands import main
from contactsync.commands.server import publishing
from contactsync.publication.tuf.signed import NOTICE
from contactsync.server.keyring import Keyring
from contactsync.server.settings import DataFolder

PASSPHRASE = "the key's own"
ID = re.compile("[0-9a-f]{64}")

pytestmark = pytest.mark.usefixtures("cheap_passphrases")


@pytest.fixture(autouse=True, scope="module")
def environment():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CONTACTSYNC_PASSPHRASE", "CONTACTSYNC_DATA"):
            patch.delenv(name, raising=False)
        patch.setenv("CONTACTSYNC_KEY_PASSPHRASE", PASSPHRASE)
        yield


def contactsync_server(*words, code=0, given=None):
    """`contactsync server …`; nothing that is secret is ever said."""
    result = CliRunner().invoke(main, ["server", *map(str, words)], input=given)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert PASSPHRASE not in result.output
    if code not in (0, 2):
        lines = result.stderr.splitlines()
        assert [line.split(":")[0] for line in lines[-2:]] == ["error", "hint"], result.stderr
    return result


@pytest.fixture(scope="module")
def run():
    return contactsync_server


@pytest.fixture(scope="module")
def published(tmp_path_factory, run):
    """A server with one member, who is published. Tests get copies."""
    data = tmp_path_factory.mktemp("published") / "server"
    run("init", "--data", data)
    run("members", "add", "+12125550100", "--data", data)
    run("publish", "--data", data)
    return data


@pytest.fixture
def data(published, tmp_path):
    return Path(shutil.copytree(published, tmp_path / "server"))


@pytest.fixture
def away(tmp_path, run):
    """Another machine: `away(role, name)` makes a key there; its file."""

    def away(role, name):
        (tmp_path / "away").mkdir(exist_ok=True)
        file = tmp_path / "away" / f"{name}.json"
        assert ID.match(run("keys", "new", role, file).stdout)
        return file

    return away


def contents(folder):
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".sqlite-shm"
    }


def pub(*files):
    return [word for file in files for word in ("--public", f"{file}.pub")]


def listed(run, data):
    return {
        role["role"]: role
        for role in json.loads(run("keys", "list", "--json", "--data", data).stdout)["roles"]
    }


@pytest.fixture
def shared(run, data, away, tmp_path):
    """The targets by two of two, elsewhere; something is published."""
    files = [away("targets", "anna"), away("targets", "ben")]
    request = tmp_path / "setup"
    run("keys", "rotate", "targets", *pub(*files), "--threshold", 2, "--request", request, "--data", data)
    for file in files:
        run("sign", request, "--keys", file, "--yes")
    run("finish", request, "--data", data)
    return files


# One after the other


def test_list(run, data):
    lines = run("keys", "list", "--data", data).stdout.splitlines()
    assert [line.split(",")[0] for line in lines[::2]] == [
        "root: 1 of 1",
        "targets: 1 of 1",
        "snapshot: 1 of 1",
        "timestamp: 1 of 1",
    ]
    assert re.fullmatch(r"  [0-9a-f]{16}  tuf-root\.json", lines[1])
    (data / "keys" / "tuf-root.json").unlink()
    Keyring.open(data / "keys", None).add_key("targets", b"\7" * 32)
    said = run("keys", "list", "--data", data).stdout
    assert re.search(r"^  [0-9a-f]{16}  elsewhere$", said, re.MULTILINE)
    assert "not in force: not named in the root" in said
    found = listed(run, data)
    assert found["root"]["keys"][0]["file"] is None
    assert len(found["targets"]["not_in_force"]) == 1
    assert set(found["timestamp"]) == {"role", "threshold", "keys", "not_in_force", "expires"}


def test_export_remove_import(run, data, tmp_path):
    file = tmp_path / "root.json"
    keyid = ID.match(run("keys", "export", "root", file, "--data", data).stdout)[0]
    assert file.stat().st_mode & 0o777 == 0o600
    assert "secret" not in json.loads(file.read_text())
    assert (data / "keys" / "tuf-root.json").exists()
    file.unlink()
    done = run("keys", "export", "root", file, "--remove", "--data", data)
    assert "removed" in done.stderr
    assert not (data / "keys" / "tuf-root.json").exists()
    assert listed(run, data)["root"]["keys"] == [{"keyid": keyid, "file": None}]
    assert "the root key is on this machine" not in run("status", "--data", data).stderr
    run("publish", "--data", data)
    run("keys", "import", file, "--data", data)
    assert listed(run, data)["root"]["keys"][0]["file"].startswith("tuf-root-")
    assert "already here" in run("keys", "import", file, "--data", data, code=3).stderr
    run("keys", "rotate", "root", "--data", data)


def test_export_refuses(run, data, tmp_path, monkeypatch):
    before = contents(data)
    file = tmp_path / "key.json"
    for role in ("snapshot", "timestamp"):
        said = run("keys", "export", role, file, "--remove", "--data", data, code=3).stderr
        assert "`serve` needs the key" in said
    monkeypatch.delenv("CONTACTSYNC_KEY_PASSPHRASE")
    said = run("keys", "export", "root", file, "--remove", "--data", data, code=3).stderr
    assert "an exported key needs a passphrase" in said
    assert "--no-passphrase" in said
    assert not file.exists()
    file.write_text("mine")
    said = run("keys", "export", "root", file, "--no-passphrase", "--remove", "--data", data, code=3).stderr
    assert "already exists" in said
    assert file.read_text() == "mine"
    nowhere = tmp_path / "no" / "such"
    run("keys", "export", "root", nowhere, "--no-passphrase", "--remove", "--data", data, code=3)
    run("keys", "export", "root", file, "--key", "12345678", "--no-passphrase", "--data", data, code=3)
    assert contents(data) == before
    file.unlink()
    run("keys", "export", "root", file, "--no-passphrase", "--data", data)
    assert "secret" in json.loads(file.read_text())


def test_several_keys_of_a_role_here(run, data, tmp_path):
    run("keys", "add", "targets", "--threshold", 2, "--data", data)
    assert listed(run, data)["targets"]["threshold"] == 2
    run("publish", "--data", data)
    said = run("keys", "export", "targets", tmp_path / "x", "--no-passphrase", "--data", data, code=3).stderr
    assert "several keys" in said
    keyid = listed(run, data)["targets"]["keys"][0]["keyid"]
    run("keys", "export", "targets", tmp_path / "x", "--key", keyid[:16], "--remove", "--data", data)
    said = run("publish", "--data", data, code=1).stderr
    assert "2 keys of the role targets must sign, but only 1 of them is here" in said
    assert "--offline-targets" in said
    assert "not enough keys" not in run("status", "--data", data).stderr


def test_import_of_another_servers_key(run, data, tmp_path):
    run("init", "--data", tmp_path / "other")
    file = tmp_path / "key.json"
    run("keys", "export", "root", file, "--data", tmp_path / "other")
    before = contents(data)
    assert "does not name" in run("keys", "import", file, "--data", data, code=3).stderr
    assert contents(data) == before


def test_import_with_a_wrong_passphrase(run, data, tmp_path, monkeypatch):
    file = tmp_path / "key.json"
    run("keys", "export", "root", file, "--remove", "--data", data)
    before = contents(data)
    monkeypatch.setenv("CONTACTSYNC_KEY_PASSPHRASE", "another")
    assert "passphrase of the key" in run("keys", "import", file, "--data", data, code=3).stderr
    monkeypatch.delenv("CONTACTSYNC_KEY_PASSPHRASE")
    assert "--key-passphrase-file" in run("keys", "import", file, "--data", data, code=3).stderr
    assert contents(data) == before
    (tmp_path / "pass").write_text(PASSPHRASE + "\n")
    run("keys", "import", file, "--key-passphrase-file", tmp_path / "pass", "--data", data)


@pytest.mark.slow
@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_rotate_with_all_keys_here(run, data, role):
    old = listed(run, data)[role]["keys"]
    done = run("keys", "rotate", role, "--data", data)
    assert done.stdout == f"the role {role} has 1 key, of which 1 must sign\n"
    assert "from now on its fingerprint is" in done.stderr
    found = listed(run, data)[role]
    assert found["keys"] != old
    assert found["keys"][0]["file"]
    assert found["not_in_force"] == []
    assert len(list((data / "keys").glob(f"tuf-{role}*.json"))) == 1
    run("members", "add", "+12125550101", "--data", data)
    assert "edition 2" in run("publish", "--data", data).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["add", "root", "--threshold", "3"], "the role root would need 3 signatures"),
        (["remove", "root", "--key", "KEY"], "no keys left"),
        (["remove", "targets", "--key", "12345678"], "names no key"),
        (["remove", "root", "--key", "KE"], "names several keys|names no key"),
        (["remove", "root", "--threshold", "1"], "would change nothing"),
        (["remove", "root", "--threshold", "2"], "the role root would need 2 signatures"),
        (["add", "root", "--public", "TARGETS"], "for the role targets, not root"),
        (["add", "targets", "--public", "TARGETS", "--public", "TARGETS"], "given twice"),
        (["add", "targets", "--public", "nowhere"], "cannot be read"),
        (
            ["rotate", "targets", "--public", "TARGETS", "--threshold", "2"],
            "the role targets would need 2 signatures",
        ),
    ],
)
def test_wrong_changes_change_nothing(run, data, away, words, message):
    file = away("targets", "anna")
    keyid = listed(run, data)["root"]["keys"][0]["keyid"]
    before = contents(data)
    names = {"KEY": keyid[:16], "KE": keyid[:7], "TARGETS": f"{file}.pub"}
    said = run("keys", *(names.get(word, word) for word in words), "--data", data, code=3).stderr
    assert re.search(message, said)
    assert contents(data) == before


def test_a_key_that_is_in_force_is_not_added_again(run, data, away):
    file = away("targets", "anna")
    run("keys", "add", "targets", *pub(file), "--data", data)
    assert (
        "already belongs to the role targets"
        in run("keys", "add", "targets", *pub(file), "--data", data, code=3).stderr
    )
    run("keys", "remove", "targets", "--data", data, code=2)
    run("keys", "remove", "targets", "--key", json.loads(file.read_text())["keyid"], "--data", data)


def test_what_must_be_signed_elsewhere_wants_a_request(run, data, away):
    before = contents(data)
    said = run("keys", "rotate", "root", *pub(away("root", "anna")), "--data", data, code=3).stderr
    assert "give --request FILE" in said
    assert contents(data) == before


@pytest.mark.slow
def test_a_folder_of_version_1(run, version_1, tmp_path):
    data = version_1 / "server"
    assert {role["threshold"] for role in listed(run, data).values()} == {1}
    run("publish", "--data", data)
    run("keys", "rotate", "targets", "--data", data)
    run("keys", "rotate", "timestamp", "--data", data)
    run("publish", "--data", data)
    run("publish", "--offline-targets", tmp_path / "request", "--data", data)
    run("finish", tmp_path / "request", "--data", data)
    assert run("status", "--json", "--data", data).exit_code == 0


# Signed elsewhere


@pytest.mark.slow
def test_publish_by_two_of_two(run, data, shared, tmp_path):
    anna, ben = shared
    request = tmp_path / "request"
    run("members", "add", "+12125550101", "--data", data)
    said = run("publish", "--data", data, code=1).stderr
    assert "targets is not here" in said
    assert "--offline-targets" in said
    done = run("publish", "--offline-targets", request, "--data", data)
    assert "people: epoch 1, edition 2: 2 members" in done.stdout
    assert "not yet in force" in done.stdout
    status = run("status", "--data", data)
    assert "people: epoch 1, edition 1" in status.stdout
    assert "unpublished changes: yes" in status.stdout
    assert "is not in force: have it signed" in status.stderr
    assert "0 of 2" not in run("sign", request, "--keys", anna, "--yes").stderr
    assert "1 of 2 signatures" in run("finish", request, "--data", data, code=3).stderr
    assert "have already signed it" in run("sign", request, "--keys", anna, "--yes", code=3).stderr
    shown = run("sign", request, "--keys", ben, "--yes").stdout
    assert "people: epoch 1, edition 2 (last signed: epoch 1, edition 1)" in shown
    assert "members: 2 (+1)" in shown
    done = run("finish", request, "--data", data)
    assert done.stdout == "people: epoch 1, edition 2: 2 members in 1 partition\n"
    status = run("status", "--data", data)
    assert "people: epoch 1, edition 2" in status.stdout
    assert "unpublished changes: no" in status.stdout
    assert "nothing is prepared" in run("finish", request, "--data", data, code=3).stderr
    assert not DataFolder(data).prepared.exists()


def test_signed_apart_and_given_together(run, data, shared, tmp_path):
    request, copy = tmp_path / "request", tmp_path / "copy"
    run("publish", "--offline-targets", request, "--data", data)
    shutil.copy(request, copy)
    for file, key in zip((request, copy), shared, strict=True):
        run("sign", file, "--keys", key, "--yes")
    run("finish", request, copy, "--data", data)


def test_a_new_epoch_that_is_signed_elsewhere(run, data, shared, tmp_path):
    request = tmp_path / "request"
    run("publish", "--new-epoch", "--offline-targets", request, "--data", data)
    assert (data / "keys" / "voprf-people-1.json").exists()
    assert "begun" not in run("status", "--data", data).stderr
    assert "new VOPRF key: " in run("sign", request, "--keys", shared[0], "--keys", shared[1], "--yes").stdout
    run("finish", request, "--data", data)
    assert not (data / "keys" / "voprf-people-1.json").exists()
    assert "people: epoch 2, edition 1" in run("status", "--data", data).stdout


def test_members_that_changed_since_wait_for_the_next(run, data, shared, tmp_path):
    request = tmp_path / "request"
    run("members", "add", "+12125550101", "--data", data)
    run("publish", "--offline-targets", request, "--data", data)
    run("members", "add", "+12125550102", "--data", data)
    for key in shared:
        run("sign", request, "--keys", key, "--yes")
    assert "2 members" in run("finish", request, "--data", data).stdout
    assert "unpublished changes: yes" in run("status", "--data", data).stdout
    assert "3 members" in run("publish", "--offline-targets", request, "--data", data).stdout


def test_the_last_preparation_counts(run, data, shared, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    run("publish", "--offline-targets", old, "--data", data)
    run("members", "add", "+12125550101", "--data", data)
    run("publish", "--offline-targets", new, "--data", data)
    run("sign", old, "--keys", shared[0], "--keys", shared[1], "--yes")
    before = contents(data)
    assert (
        "differs from the one that was last prepared here"
        in run("finish", old, "--data", data, code=3).stderr
    )
    assert contents(data) == before


def test_a_publish_in_between(run, data, tmp_path):
    """With all keys here a publish does not wait; what was prepared before is out of date then."""
    request = tmp_path / "request"
    run("publish", "--offline-targets", request, "--data", data)
    run("members", "add", "+12125550101", "--data", data)
    run("publish", "--data", data)
    before = contents(data)
    said = run("finish", request, "--data", data, code=3).stderr
    assert "out of date" in said
    assert "prepare and sign it again" in said
    assert contents(data) == before
    assert "is out of date: prepare it again" in run("status", "--data", data).stderr


def test_files_that_were_lost_meanwhile(run, data, tmp_path):
    request = tmp_path / "request"
    run("members", "add", "+4915100000001", "--data", data)
    run("publish", "--offline-targets", request, "--data", data)
    newest = max((data / "public" / "data").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    newest.unlink()
    assert "are missing" in run("finish", request, "--data", data, code=1).stderr
    assert "edition 1" in run("status", "--data", data).stdout
    run("publish", "--offline-targets", request, "--data", data)
    run("finish", request, "--data", data)


def of_manifests(body):
    (name,) = (name for name, text in body["manifests"].items() if '"edition":2' in text)
    text = body["manifests"].pop(name).replace('"count":2', '"count":9')
    body["manifests"]["00" * 32] = text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_manifests, "cannot be used"),
        (lambda body: body["summary"].append("all is well"), "does not match what is to be signed"),
        (
            lambda body: body["to_sign"][0]["metadata"]["signed"].update(expires="2090-01-01T00:00:00Z"),
            "summary",
        ),
        (lambda body: body.update(format="contactsync-signing-request-2"), "newer contactsync"),
        (lambda body: body.clear(), "not a signing request"),
    ],
)
def test_a_request_that_was_changed_on_the_way(run, data, shared, tmp_path, change, message):  # noqa: PLR0917
    request = tmp_path / "request"
    run("members", "add", "+12125550101", "--data", data)
    run("publish", "--offline-targets", request, "--data", data)
    body = json.loads(request.read_text())
    change(body)
    request.write_text(json.dumps(body))
    forged, before = request.read_bytes(), contents(data)
    assert message in run("sign", request, "--keys", shared[0], "--yes", code=3).stderr
    assert message in run("finish", request, "--data", data, code=3).stderr
    assert request.read_bytes() == forged
    assert contents(data) == before


def test_a_well_made_request_of_another_server(run, data, shared, tmp_path):
    """The attack: whoever carries the request asks for signatures of what the server did not prepare."""
    copy, request, forged = tmp_path / "copy", tmp_path / "request", tmp_path / "forged"
    shutil.copytree(data, copy)
    run("publish", "--offline-targets", request, "--data", data)
    run("members", "add", "+12125550199", "--data", copy)
    run("publish", "--offline-targets", forged, "--data", copy)
    run("sign", forged, "--keys", shared[0], "--keys", shared[1], "--yes")
    before = contents(data)
    assert (
        "differs from the one that was last prepared" in run("finish", forged, "--data", data, code=3).stderr
    )
    assert contents(data) == before


def test_sign_refuses(run, data, shared, away, tmp_path, monkeypatch):  # noqa: PLR0917
    request = tmp_path / "request"
    run("publish", "--offline-targets", request, "--data", data)
    before = request.read_bytes()
    stranger = away("targets", "mallory")
    said = run("sign", request, "--keys", stranger, "--yes", code=3).stderr
    assert "none of these keys may sign this request" in said
    assert "there is no terminal to confirm it" in run("sign", request, "--keys", shared[0], code=3).stderr
    run("sign", request, "--yes", code=2)
    run("sign", request, "--keys", tmp_path / "nowhere", "--yes", code=3)
    run("sign", tmp_path / "nowhere", "--keys", shared[0], "--yes", code=3)
    run("sign", shared[0], "--keys", shared[0], "--yes", code=3)
    monkeypatch.setenv("CONTACTSYNC_KEY_PASSPHRASE", "another")
    assert "is wrong" in run("sign", request, "--keys", shared[0], "--yes", code=3).stderr
    assert request.read_bytes() == before


def test_a_person_looks_before_they_sign(run, data, shared, tmp_path, monkeypatch):
    request = tmp_path / "request"
    run("publish", "--offline-targets", request, "--data", data)
    before = request.read_bytes()
    monkeypatch.setattr(publishing, "somebody_is_there", lambda: True)
    assert "not signed" in run("sign", request, "--keys", shared[0], given="n\n", code=3).stderr
    assert request.read_bytes() == before
    done = run("sign", request, "--keys", shared[0], given="y\n")
    assert "fingerprint of the request" in done.stdout
    assert "signed targets with" in done.stdout


def test_an_exported_key_knows_its_server(run, data, tmp_path):
    """The attack: the same key is named by a root that its owner has never heard of."""
    key, request = tmp_path / "key.json", tmp_path / "request"
    run("keys", "export", "targets", key, "--data", data)
    run("publish", "--offline-targets", request, "--data", data)
    run("sign", request, "--keys", key, "--yes", code=3)  # the server has signed it itself
    other = tmp_path / "other"
    run("init", "--data", other)
    secret = Keyring.open(data / "keys", None).signers(["targets"])["targets"]
    public = tmp_path / "key.pub"
    keyid, text = secret.public_key.keyid, secret.public_key.keyval["public"]
    public.write_text(
        json.dumps({"format": "contactsync-public-key-1", "role": "targets", "keyid": keyid, "public": text})
    )
    run("keys", "add", "targets", "--public", public, "--data", other)
    run("publish", "--offline-targets", request, "--data", other)
    said = run("sign", request, "--keys", key, "--yes", code=3).stderr
    assert "under a root that does not precede this request's" in said


def test_the_fingerprint_that_is_shown_is_the_servers(run, data, shared, tmp_path):
    request = tmp_path / "request"
    run("publish", "--offline-targets", request, "--data", data)
    shown = re.search(
        "fingerprint of the server (.*)", run("sign", request, "--keys", shared[0], "--yes").stdout
    )
    assert f"fingerprint {shown[1]}\n" in run("status", "--data", data).stdout


def test_the_drawn_key_of_a_change_that_was_given_up_goes(run, data, away, tmp_path):
    """Drawn here, prepared, and prepared anew: no key stays that nothing will ever name."""
    root = away("root", "anna")
    request = tmp_path / "request"
    run("keys", "rotate", "root", *pub(root), "--request", request, "--data", data)
    run("sign", request, "--keys", root, "--yes")
    run("finish", request, "--data", data)
    for _ in range(2):
        run("keys", "rotate", "timestamp", "--request", request, "--data", data)
        assert len(list((data / "keys").glob("tuf-timestamp-*.json"))) == 1
    run("sign", request, "--keys", root, "--yes")
    run("finish", request, "--data", data)
    assert [path.name.split("-")[1] for path in (data / "keys").glob("tuf-timestamp*")] == ["timestamp"]
    run("publish", "--data", data)


def test_status_of_what_runs_out(run, data, monkeypatch):
    assert "expires on" not in run("status", "--data", data).stderr
    monkeypatch.setitem(NOTICE, "targets", timedelta(days=91))
    assert re.search(r"the targets metadata expires on \S+: publish\n", run("status", "--data", data).stderr)
    (data / "keys" / "tuf-targets.json").unlink()
    assert "--offline-targets" in run("status", "--data", data).stderr
    (data / "keys" / "tuf-timestamp.json").unlink()
    assert "`serve` cannot renew" in run("status", "--data", data).stderr


def test_a_damaged_or_newer_preparation(run, data, tmp_path):
    request = tmp_path / "request"
    run("publish", "--offline-targets", request, "--data", data)
    prepared = DataFolder(data).prepared
    assert prepared.stat().st_mode & 0o777 == 0o600
    text = prepared.read_text()
    prepared.write_text(text.replace("contactsync-prepared-1", "contactsync-prepared-2"))
    assert "newer contactsync" in run("finish", request, "--data", data, code=1).stderr
    prepared.write_text(text[:-9])
    assert "is damaged" in run("finish", request, "--data", data, code=1).stderr
    run("publish", "--offline-targets", request, "--data", data)
    run("finish", request, "--data", data)
