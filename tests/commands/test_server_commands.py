"""`contactsync server …`: what is printed where, exit codes, and situations that are the operator's."""

import json
import re
import socket
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from contactsync.commands import main
from contactsync.publication.tuf import repository as writer
from contactsync.publication.tuf.repository import Repository
from contactsync.server.keyring import Keyring


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.delenv("CONTACTSYNC_PASSPHRASE", raising=False)
    monkeypatch.delenv("CONTACTSYNC_DATA", raising=False)
    return tmp_path / "server"


@pytest.fixture
def run(data):
    def run(*words, code=0, given=None):
        result = CliRunner().invoke(main, ["server", *words, "--data", str(data)], input=given)
        assert result.exit_code == code, result.stderr
        assert "Traceback" not in result.stderr
        return result

    return run


@pytest.fixture
def ready(run):
    run("init")
    return run


def hint(result):
    lines = result.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    return lines


def test_from_init_to_status(ready, data, tmp_path):
    members = tmp_path / "members.csv"
    members.write_text("name,phone\nA,0151 1234567\nB,junk\nC,+12125550100\n")
    done = ready("members", "import", str(members), "--region", "DE")
    assert done.stdout == "2 added, 0 already there, 1 rejected\n"
    assert done.stderr == f"{members}:3: not a phone number (it contains no digit)\n"
    assert ready("members", "import", str(members), "--region", "DE").stdout.startswith("0 added, 2 already")
    assert ready("members", "count").stdout == "2\n"
    done = ready("publish")
    assert done.stdout == (
        "people: epoch 1, edition 1: 2 members in 2 partitions, 2 changed, 2 evaluated\n"
        "  1: 1 member (new); base 712 bytes\n"
        "  49: 1 member (new); base 712 bytes\n"
        "  clients download 1,424 bytes\n"
    )
    assert "unchanged" in ready("publish").stdout
    state = json.loads(ready("status", "--json").stdout)
    (people,) = state["audiences"]
    assert (people["epoch"], people["edition"], people["members"], people["published"]) == (1, 1, 2, 2)
    assert state["pending"] is False
    assert set(state["expires"]) == {"root", "targets", "snapshot", "timestamp"}
    done = ready("status")
    fingerprint = state["root_fingerprint"]
    assert f"fingerprint {fingerprint}\n" in re.sub(r"(?<=[0-9a-f]{4}) (?=[0-9a-f]{4})", "", done.stdout)
    assert "warning: the root key is on this machine" in done.stderr
    ready("members", "add", "+12125550101")
    assert "unpublished changes: yes" in ready("status").stdout


def test_an_init_that_fails_can_be_run_again(run, data, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Repository, "create", full)
        assert "No space left" in run("init", code=1).stderr
    assert list(data.iterdir()) == []
    run("init")


def test_a_rotation_that_was_cut_short_is_not_forgotten(ready, data):
    ready("members", "add", "+12125550101")
    ready("publish")
    assert "not published" not in ready("status").stderr
    Keyring.open(data / "keys", None).new_seed("people", 2)
    for words in (("publish",), ("status",)):
        assert "warning: a new epoch of people was started but not published" in ready(*words).stderr
    assert ready("publish", "--new-epoch").stdout.startswith("people: epoch 2, edition 1")
    assert "not published" not in ready("status").stderr


@pytest.mark.slow
def test_a_rotation_by_the_command_line(ready):
    assert hint(ready("rotate", code=3))[0] == "error: nothing is published yet"
    ready("members", "add", "+12125550101")
    ready("publish")
    assert hint(ready("rotate", "--undo", code=3))[0] == "error: no rotation is running"
    assert hint(ready("rotate", "--overlap", "900d", code=3))[1] == "hint: such as --overlap 7d"
    assert "not a time" in ready("rotate", "--overlap", "soon", code=2).stderr
    assert "only one of" in ready("rotate", "--undo", "--finish", code=2).stderr
    done = ready("rotate")
    assert re.fullmatch(
        r"people: epoch 1, edition 2: 1 member in 1 partition, 0 changed, 0 evaluated\n"
        r"people: epoch 2, edition 1 \(announced, until \S+ \S+ UTC\): 1 member in 1 partition, 1 changed,"
        r" 1 evaluated\n  1: 1 member \(new\); base 712 bytes\n  clients download 712 bytes\n",
        done.stdout,
    )
    assert "warning" not in done.stderr
    assert "  epoch 2 is announced beside it, until 20" in ready("status").stdout
    (people,) = json.loads(ready("status", "--json").stdout)["audiences"]
    assert people["next_epoch"] == 2
    ends = datetime.fromisoformat(people["overlap_until"]) - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < ends <= timedelta(days=7)
    lines = hint(ready("rotate", "--finish", code=3))
    assert lines[0].startswith("error: the overlap lasts until 20")
    assert ready("rotate", "--undo").stdout.startswith("people: epoch 1, edition 3:")
    assert "a rotation is due 20" in ready("status").stdout
    ready("rotate")
    assert ready("publish", "--new-epoch").stdout.startswith("people: epoch 3, edition 1: 1 member")


def test_a_second_number_on_a_line_is_not_dropped_in_silence(ready, tmp_path):
    members = tmp_path / "members.txt"
    members.write_text("+491761234693;+491761234694\n+4917612346\n+491761234695,,12\n")
    done = ready("members", "import", str(members))
    assert done.stdout == "3 added, 0 already there, 1 rejected\n"
    assert done.stderr == f"{members}:1: two numbers in one field (only the first was read)\n"


@pytest.mark.slow
def test_an_account_whose_credential_nobody_saw_does_not_exist(ready, data):
    command = [sys.executable, "-m", "contactsync", "server", "accounts", "add", "shop", "--data", str(data)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, "No space left" in done.stderr) == (1, True)
    assert ready("accounts", "list").stdout == ""


def test_the_credential_is_alone_on_stdout_and_not_in_the_folder(ready, data):
    done = ready("accounts", "add", "shop")
    assert re.fullmatch(r"cs_[A-Za-z0-9_-]{43}\n", done.stdout)
    assert done.stderr == ""
    credential = done.stdout.strip().encode()
    assert not any(credential in path.read_bytes() for path in data.rglob("*") if path.is_file())
    assert ready("accounts", "add", "other").stdout != done.stdout
    assert "already" in hint(ready("accounts", "add", "shop", code=3))[0]
    assert ready("accounts", "list").stdout.splitlines()[1].startswith("shop\tpeople\t20")
    assert [row["name"] for row in json.loads(ready("accounts", "list", "--json").stdout)] == [
        "other",
        "shop",
    ]
    ready("accounts", "revoke", "shop")
    hint(ready("accounts", "revoke", "shop", code=3))
    for name in ("", "x" * 101, "a\nb"):
        hint(ready("accounts", "add", name, code=3))


def test_remove(ready, tmp_path):
    ready("members", "add", "+12125550100", "+12125550101", "+12125550102")
    assert ready("members", "remove", "+12125550100", "+12125550109").stdout == "1 removed\n"
    (tmp_path / "gone").write_text("+12125550101\n+12125550102\n")
    assert ready("members", "remove", "--file", str(tmp_path / "gone")).stdout == "2 removed\n"
    assert ready("members", "count").stdout == "0\n"
    ready("members", "remove", code=2)
    ready("members", "remove", "+12125550100", "--file", str(tmp_path / "gone"), code=2)


def test_business_is_opted_into(ready):
    ready("members", "add", "+12125550100", "+12125550101")
    ready("members", "add", "+12125550100", "--audience", "business")
    assert ready("members", "count", "--audience", "business").stdout == "1\n"
    assert ready("publish").stdout.count("edition 1") == 2
    ready("members", "remove", "+12125550100", "--audience", "business")
    assert ready("members", "count").stdout == "2\n"


def test_import_from_stdin(ready):
    assert ready("members", "import", "-", given="+12125550100\n").stdout.startswith("1 added")
    done = ready("members", "import", "-", given="phone\nnobody\n", code=3)
    assert done.stderr.splitlines()[0] == "stdin:2: not a phone number (it contains no digit)"
    assert "stdin contains no usable phone number" in done.stderr
    hint(ready("members", "import", "-", given="", code=3))


def test_a_number_that_cannot_be_used_adds_none(ready):
    done = ready("members", "add", "+12125550100", "+4912", code=3)
    assert "number 2 cannot be used" in done.stderr
    assert "4912" not in done.stderr
    assert ready("members", "count").stdout == "0\n"


def test_files_that_cannot_be_read(ready, tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        assert str(path) in hint(ready("members", "import", str(path), code=3))[0]


def test_permissions_of_a_new_folder(ready, data):
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    for path in [*(data / "keys").iterdir(), data / "registry.sqlite"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_init_twice_changes_nothing(ready, data):
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert "already" in hint(ready("init", code=3))[0]
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "words",
    [
        ("publish",),
        ("serve", "--port", "0"),
        ("status",),
        ("members", "count"),
        ("members", "add", "+12125550100"),
        ("accounts", "list"),
    ],
)
def test_without_init(run, words):
    assert "server init" in hint(run(*words, code=3))[1]


@pytest.mark.slow
def test_passphrase(run, data, tmp_path, monkeypatch):
    file = tmp_path / "passphrase"
    file.write_text("correct horse\n")
    run("init", "--passphrase-file", str(file))
    run("members", "add", "+12125550100")
    assert "encrypted with a passphrase" in hint(run("publish", code=3))[0]
    monkeypatch.setenv("CONTACTSYNC_PASSPHRASE", "wrong")
    assert "wrong" in hint(run("publish", code=3))[0]
    monkeypatch.setenv("CONTACTSYNC_PASSPHRASE", "correct horse")
    run("publish")
    monkeypatch.delenv("CONTACTSYNC_PASSPHRASE")
    assert json.loads(run("status", "--json").stdout)["keys_under_passphrase"] is True


def test_keys_that_others_can_read(ready, data):
    (data / "keys" / "tuf-targets.json").chmod(0o644)
    done = hint(ready("publish", code=1))
    assert "can be read by other users" in done[0]
    assert "chmod 600" in done[1]


def test_damaged_registry_or_settings(ready, data):
    (data / "server.toml").write_text("remainder_bits = 31\n")
    hint(ready("publish", code=3))
    (data / "registry.sqlite").write_bytes(b"junk" * 999)
    hint(ready("members", "count", code=1))


@pytest.mark.slow
def test_serve_on_a_port_in_use(ready):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = ready("serve", "--port", str(taken.getsockname()[1]), code=3)
    assert "is in use" in hint(done)[0]
    assert done.stdout == ""


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.host.invalid"])
def test_serve_on_an_address_that_is_not_ours(ready, host):
    assert host in hint(ready("serve", "--port", "0", "--host", host, code=3))[0]


def test_many_lines_that_cannot_be_used_are_summed_up(ready):
    lines = ["nobody"] * 15 + ["0151 1234567"] * 15 + ["+12125550100"]
    done = ready("members", "import", "-", "--max-rejected", "30", given="\n".join(lines))
    said = done.stderr.splitlines()
    assert said[:2] == [
        "stdin:1: not a phone number (it contains no digit)",
        "stdin:2: not a phone number",
    ], "what to do is said once for each reason"
    assert said[19:21] == ["stdin:20: no country code", "stdin: and 10 more. In total:"]
    assert min(said[21:]).startswith("          15  no country code (give --region")
    assert len(said) == 23
    assert done.stdout == "1 added, 0 already there, 30 rejected\n"
    refused = ready("members", "import", "-", given="\n".join(lines), code=3)
    assert refused.stderr.splitlines()[:23] == said, "the list comes even if nothing was changed"


def test_vcards_are_not_taken_for_a_list(ready, tmp_path):
    cards = tmp_path / "cards.vcf"
    cards.write_text("BEGIN:VCARD\nTEL:+4930123456\nEND:VCARD\n")
    assert "vCards" in hint(ready("members", "import", str(cards), code=3))[0]
    assert ready("members", "count").stdout == "0\n"


def test_a_renewal_of_the_root_is_said_and_so_is_its_end(ready, data, monkeypatch):
    ready("publish")
    key = (data / "keys" / "tuf-root.json").rename(data / "root-key-elsewhere")
    monkeypatch.setitem(writer.LIFETIMES, "root", timedelta(days=1000))
    assert ready("publish").stderr == "", "without the root key nothing is renewed"
    key.rename(data / "keys" / "tuf-root.json")
    said = re.fullmatch(r"the root was renewed; .* fingerprint is (.*)\n", ready("publish").stderr)
    assert said
    assert said[1] in ready("status").stdout
    monkeypatch.setitem(writer.LIFETIMES, "root", timedelta(days=-1))
    for path in (data / "public" / "metadata").glob("*.root.json"):
        path.unlink()
    signers = Keyring.open(data / "keys", None).signers()
    keys = {role: signer.public_key for role, signer in signers.items()}
    Repository(data / "public").create(keys, signers["root"], datetime.now(UTC))
    (data / "keys" / "tuf-root.json").rename(key)
    assert "root metadata has expired" in ready("publish").stderr
    said = ready("status").stderr
    assert "the root metadata has expired: `server publish --offline-targets REQUEST`" in said


def test_status_sees_keys_that_are_missing_or_open(ready, data):
    ready("publish")
    assert "missing" not in ready("status").stderr
    (data / "keys" / "voprf-people-1.json").rename(data / "elsewhere")
    (data / "keys" / "tuf-targets.json").chmod(0o640)
    said = ready("status").stderr
    assert "keys/voprf-people-1.json is missing" in said
    assert "other users can read the data folder or its keys" in said
