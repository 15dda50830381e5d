"""What a malicious operator signs is disproven from public files alone, as far as these can show it."""

import json
import random
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from audit_findings import wrong
from click.testing import CliRunner
from server_tools import GERMAN, Operator, Process, numbers, run

from contactsync.audit import publication
from contactsync.audit.publication import audit_publication
from contactsync.audit.rebuild import audit_rebuild
from contactsync.audit.report import DISPROVEN, PROVEN, UNCHECKED
from contactsync.audit.sources import FolderSource
from contactsync.audit.uniformity import BITS, deviation
from contactsync.commands import main
from contactsync.directory import bounds, build, open_directory
from contactsync.directory.delta import read_delta, write_delta
from contactsync.directory.files import write_file
from contactsync.foundation.errors import BadInput
from contactsync.publication.tuf.follower import Follower
from contactsync.tokens import Tokens


@pytest.fixture
def audit(tmp_path, monkeypatch):
    monkeypatch.setattr(publication, "PROBES", 1 << 12)
    monkeypatch.setattr(bounds, "LEAST_SCREENED", 1000)  # as the publication was made
    counter = iter(range(10**6))

    def audit(public, **options):
        work = tmp_path / f"work{next(counter)}"
        work.mkdir()
        return audit_publication(FolderSource(public), work, **options)

    return audit


def data_of(crook, file):
    return crook.folder.data / file.sha256


@pytest.mark.slow
def test_an_honest_publication_is_proven(honest, audit):
    report = audit(honest)
    assert report.exit_code == PROVEN, list(report.lines())
    assert report.proven["history"] == report.proven["delta"] == report.proven["base"] == 2
    assert report.proven["screen"] == 1
    (people,) = [one for one in report.facts["audiences"] if one["audience"] == "people"]
    assert (people["edition"], people["members"]) == (2, 1592)


def test_the_fingerprint(honest, audit):
    shown = audit(honest).facts["fingerprint"]
    assert audit(honest, fingerprint=shown).exit_code == PROVEN
    assert wrong(audit(honest, fingerprint="0" * 64)) == {"metadata"}


def test_a_screen_over_chosen_numbers(crook, audit, tmp_path):
    """Ten strangers pass a screen that differs in a few bits from what the base gives."""
    partition = crook.manifest().partitions["49"]
    octets = bytearray(data_of(crook, partition.screen).read_bytes())
    for place in range(100, 110):
        octets[place] |= 0xFF
    made = write_file(tmp_path / "screen", [bytes(octets)])
    crook.sign_partition("49", edition=2, screen=crook.put(made, tmp_path / "screen"))
    report = audit(crook.folder.public)
    assert wrong(report) == {"screen"}
    assert report.exit_code == DISPROVEN


def test_a_delta_that_tells_a_client_something_else(crook, audit, tmp_path):
    """It leads to the base, but started from one that was never published."""
    partition = crook.manifest().partitions["49"]
    (one,) = partition.deltas
    tokens = crook.tokens_of("49")
    other = build(tmp_path / "old", [tokens.take(np.arange(len(tokens) - 3))])
    with (
        open_directory(tmp_path / "old", expect=other) as old,
        open_directory(data_of(crook, partition.base), expect=partition.directory) as new,
    ):
        made = write_delta(tmp_path / "delta", old, new, from_edition=1, to_edition=2)
    # It claims to start from the base of edition 1.
    octets = bytearray((tmp_path / "delta").read_bytes())
    before = read_delta(data_of(crook, one.file))
    place = octets.find(bytes.fromhex(other.file.sha256))
    octets[place : place + 32] = bytes.fromhex(before.old_sha256)
    made = write_file(tmp_path / "delta", [bytes(octets)])
    crook.put(made, tmp_path / "delta")
    crook.sign_partition("49", edition=2, deltas=(replace(one, file=made),))
    assert "delta" in wrong(audit(crook.folder.public))


def test_a_planted_token(crook, audit, tmp_path):
    """No public file shows it; key and members do."""
    tokens = crook.tokens_of("49")
    planted = Tokens.from_bytes(np.frombuffer(random.Random(1).randbytes(10), np.uint8).reshape(1, -1))
    changed = crook.base_of(Tokens.concatenate([tokens, planted]), tmp_path)
    crook.sign_partition("49", **changed)
    assert audit(crook.folder.public).exit_code == PROVEN
    report = audit_rebuild(crook.folder, crook.registry, crook.keyring, tmp_path)
    assert wrong(report) == {"base"}
    (finding,) = [one for one in report.findings if one.severity == "error"]
    assert "1 published tokens belong to no member, 0 members are not published" in finding.message


def test_a_member_who_is_left_out(crook, tmp_path):
    tokens = crook.tokens_of("49")
    crook.sign_partition("49", **crook.base_of(tokens.take(np.arange(2, len(tokens))), tmp_path))
    report = audit_rebuild(crook.folder, crook.registry, crook.keyring, tmp_path)
    (finding,) = [one for one in report.findings if one.severity == "error"]
    assert "0 published tokens belong to no member, 2 members are not published" in finding.message


def test_tokens_that_were_chosen(crook, audit, tmp_path):
    """All of them in a few buckets: each bucket then says whose it is."""
    rows = np.random.default_rng(1).integers(0, 256, (1400, 10), np.uint8)
    rows[:, 0] &= 0x3F
    crook.sign_partition("49", **crook.base_of(Tokens.from_bytes(rows), tmp_path))
    assert wrong(audit(crook.folder.public)) == {"distribution"}


def test_another_key(crook, tmp_path):
    crook.sign(public_key=crook.keyring.key_pair("people", 1).public[::-1])
    report = audit_rebuild(crook.folder, crook.registry, crook.keyring, tmp_path)
    assert wrong(report) == {"key"}


def test_a_history_that_is_cut_or_forked(crook, audit):
    last = crook.manifest()
    old = next((crook.folder.public / "targets").glob(f"{last.previous}.people.json"))
    octets = old.read_bytes()
    old.unlink()
    assert wrong(audit(crook.folder.public)) == {"history"}
    old.write_bytes(octets.replace(b'"edition":1', b'"edition":9'))
    assert wrong(audit(crook.folder.public)) == {"history"}


def test_a_frozen_publication(crook, audit, monkeypatch):
    later = datetime.now(UTC) + timedelta(days=400)
    monkeypatch.setattr(publication, "Follower", lambda *given, **named: Follower(*given, **named, now=later))
    assert wrong(audit(crook.folder.public)) == {"metadata"}


def test_files_that_are_gone(crook, audit):
    for path in crook.folder.data.iterdir():
        if path.is_file():
            path.unlink()
    report = audit(crook.folder.public)
    assert "file" in wrong(report)
    assert report.exit_code == DISPROVEN


def test_a_file_that_nobody_names_is_noted(crook, audit):
    (crook.folder.data / ("0" * 64)).write_bytes(b"left over")
    report = audit(crook.folder.public)
    assert report.exit_code == PROVEN
    assert any("no manifest" in line for line in report.lines())


def test_changes_since_the_publication_are_unchecked(crook, tmp_path):
    crook.add(GERMAN + 7_000_000)
    report = audit_rebuild(crook.folder, crook.registry, crook.keyring, tmp_path)
    assert report.exit_code == UNCHECKED
    assert report.proven["base"] == 1  # the other partition


def test_what_is_no_publication(tmp_path):
    with pytest.raises(BadInput):
        FolderSource(tmp_path)
    (tmp_path / "metadata").mkdir()
    work = tmp_path / "work"
    work.mkdir()
    assert audit_publication(FolderSource(tmp_path), work).exit_code == UNCHECKED


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and "root.json" not in path.name)


@pytest.mark.slow
def test_three_hundred_single_changes(crook, audit):
    """Each is noticed, but where it is in what nobody is led to: the file of an older edition."""
    public = crook.folder.public
    manifest = crook.manifest()
    led_to = {file.sha256 for file in manifest.files().values()}
    paths, chance, unnoticed = files_of(public), random.Random(5), []
    for _ in range(300):
        path = chance.choice(paths)
        octets = path.read_bytes()
        place = chance.randrange(len(octets))
        kind = chance.randrange(3)
        if kind == 0:
            changed = (
                octets[:place] + bytes([octets[place] ^ (1 << chance.randrange(8))]) + octets[place + 1 :]
            )
        elif kind == 1:
            changed = octets[:place]
        else:
            changed = octets[:place] + b"x" + octets[place:]
        path.write_bytes(changed)
        if audit(public).exit_code == PROVEN and not _means_the_same(octets, changed):
            unnoticed.append(path)
        path.write_bytes(octets)
    for path in unnoticed:
        older = path.parent.name == "data" and path.name not in led_to
        superseded = path.parent.name == "metadata" and path.name not in _newest(public)
        assert older or superseded, path
    assert len(unnoticed) < 150
    assert audit(public).exit_code == PROVEN


def _means_the_same(octets, changed):
    """Whether a file of metadata says the same: a signature may be written in capitals."""
    try:
        return json.loads(octets.lower()) == json.loads(changed.lower())
    except ValueError:
        return False


def _newest(public):
    """The metadata files that a client is led to."""
    snapshot = json.loads((public / "metadata" / "timestamp.json").read_text())["signed"]["meta"]
    name = f"{snapshot['snapshot.json']['version']}.snapshot.json"
    targets = json.loads((public / "metadata" / name).read_text())["signed"]["meta"]["targets.json"][
        "version"
    ]
    return {"timestamp.json", name, f"{targets}.targets.json"}


def test_a_token_of_another_key_in_the_registry(crook, tmp_path):
    crook.registry.store_tokens("people", 1, numbers(GERMAN), np.full((1, 10), 7, np.uint8))
    report = audit_rebuild(crook.folder, crook.registry, crook.keyring, tmp_path)
    assert wrong(report) == {"token"}  # what is published is right


def test_uniformity():
    chance = np.random.default_rng(3)
    even = np.bincount(chance.integers(0, 1 << BITS, 100_000), minlength=1 << BITS)
    assert deviation(even) < 5
    assert deviation(np.full(1 << BITS, 25)) > 7  # far too even
    skewed = np.bincount(chance.integers(0, 1 << BITS, 100_000) // 2 * 2, minlength=1 << BITS)
    assert deviation(skewed) > 7
    assert deviation(np.zeros(1 << BITS, np.int64)) is None
    few = np.bincount(chance.integers(0, 1 << BITS, 70), minlength=1 << BITS)
    assert deviation(few) < 5


@pytest.mark.slow
def test_the_commands(tmp_path):
    """Over a socket as from the folder; text, JSON and SARIF; exit codes."""
    crook = Operator(tmp_path / "server")
    crook.add(*range(GERMAN, GERMAN + 300))
    data = crook.folder.path
    credential = tmp_path / "credential"
    credential.write_text(run("accounts", "add", "auditor", data=data))
    credential.chmod(0o600)
    crook.publish()
    with Process(data) as process:
        command = ["audit", "publication", process.url]
        result = CliRunner().invoke(main, [*command, "--credential-file", str(credential), "--json"])
        assert result.exit_code == PROVEN, result.output
        over_socket = json.loads(result.stdout)
        without = CliRunner().invoke(main, command)
        assert without.exit_code == UNCHECKED
        assert "credential" in without.stdout
    from_folder = json.loads(CliRunner().invoke(main, ["audit", "publication", str(data), "--json"]).stdout)
    assert over_socket["rules"] == from_folder["rules"]
    assert over_socket["audiences"] == from_folder["audiences"]
    rebuilt = CliRunner().invoke(main, ["audit", "rebuild", "--data", str(data), "--json"])
    assert (rebuilt.exit_code, json.loads(rebuilt.stdout)["outcome"]) == (PROVEN, "proven")
    shutil.rmtree(crook.folder.data)
    broken = CliRunner().invoke(main, ["audit", "publication", str(data), "--sarif"])
    assert broken.exit_code == DISPROVEN
    levels = {one["level"] for one in json.loads(broken.stdout)["runs"][0]["results"]}
    assert "error" in levels
    crook.close()
