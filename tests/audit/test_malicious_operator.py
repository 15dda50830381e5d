"""An operator who cheats, end to end: who notices, and by which command; the table of docs/threat-model.md.

Each attack has all keys of the operator. What it does is first shown to pass where it is said to pass.
"""

import hashlib
import json
import re
import shutil
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

sys.path.append(str(Path(__file__).parents[1] / "server"))

from server_tools import GERMAN, Process, numbers, run

from contactsync.audit import publication
from contactsync.audit.report import DISPROVEN, PROVEN
from contactsync.commands import main
from contactsync.directory import open_directory
from contactsync.directory.files import write_file
from contactsync.directory.sidecar_build import build_sidecar
from contactsync.labels import context, seal
from contactsync.publication.manifest import Labels
from contactsync.publication.tuf.follower import Follower
from contactsync.tokens import Tokens

PAGE = (Path(__file__).parents[2] / "docs" / "threat-model.md").read_text("utf-8")


@pytest.fixture(autouse=True)
def fewer_probes(monkeypatch):
    monkeypatch.setattr(publication, "PROBES", 1 << 12)


def contactsync(*words, code=None):
    """What a command came to, as JSON or text."""
    done = CliRunner().invoke(main, [*map(str, words)])
    assert code is None or done.exit_code == code, (words, done.output, done.stderr)
    return done


def audited(*words):
    """Exit code of an audit, and the rules that were disproven."""
    done = contactsync("audit", *words, "--json")
    report = json.loads(done.stdout)
    return done.exit_code, {one["rule"] for one in report["findings"] if one["severity"] == "error"}


def test_screen_over_chosen_numbers(crook, tmp_path):
    partition = crook.manifest().partitions["49"]
    octets = bytearray((crook.folder.data / partition.screen.sha256).read_bytes())
    for place in range(100, 110):
        octets[place] |= 0xFF
    made = crook.put(write_file(tmp_path / "screen", [bytes(octets)]), tmp_path / "screen")
    crook.sign_partition("49", edition=2, screen=made)
    assert audited("publication", crook.folder.public) == (DISPROVEN, {"screen"})


def test_planted_token(crook, tmp_path):
    planted = np.random.default_rng(1).integers(0, 256, (1, 10), np.uint8)
    crook.sign_partition(
        "49",
        **crook.base_of(Tokens.concatenate([crook.tokens_of("49"), Tokens.from_bytes(planted)]), tmp_path),
    )
    assert audited("publication", crook.folder.public) == (PROVEN, set())
    assert audited("rebuild", "--data", crook.folder.path) == (DISPROVEN, {"base"})


def test_bucket_swap(crook, tmp_path):
    """Members of one bucket are exchanged for strangers: nobody in it is found any more."""
    rows = crook.tokens_of("49").to_bytes()
    rows[rows[:, 0] == 0x40, 1:] ^= 0x55
    crook.sign_partition("49", **crook.base_of(Tokens.from_bytes(rows), tmp_path))
    assert audited("publication", crook.folder.public) == (PROVEN, set())
    assert audited("rebuild", "--data", crook.folder.path) == (DISPROVEN, {"base"})


def test_bucket_swap_within_a_file(crook):
    """The octets of two buckets are exchanged under the same manifest: another file than was signed."""
    path = crook.folder.data / crook.manifest().partitions["49"].base.sha256
    octets = bytearray(path.read_bytes())
    octets[2000:2040], octets[3000:3040] = octets[3000:3040], octets[2000:2040]
    path.write_bytes(octets)
    code, rules = audited("publication", crook.folder.public)
    assert code == DISPROVEN
    assert "file" in rules


def test_frozen_edition(crook, monkeypatch):
    later = datetime.now(UTC) + timedelta(days=8)
    monkeypatch.setattr(publication, "Follower", lambda *given, **named: Follower(*given, **named, now=later))
    assert audited("publication", crook.folder.public) == (DISPROVEN, {"metadata"})


def give_labels(crook, labels):
    """Members of +49 get these labels, by number, and the edition with them is published."""
    for number, text in labels.items():
        crook.registry.label(numbers(number), [text.encode()])
    crook.publish()


def other_sidecar(crook, folder, change):
    """The published partition with another sidecar, in which `change` has had its way with the labels."""
    manifest = crook.manifest()
    partition = manifest.partitions["49"]
    (tokens, keys, labels), *rest = crook.registry.outputs("people", manifest.epoch, "49")
    assert not rest
    entries = seal(keys, change(labels), partition.labels.size, context("people", manifest.epoch))
    with open_directory(crook.folder.data / partition.base.sha256, expect=partition.directory) as base:
        made = build_sidecar(folder / "sidecar", base, [(tokens, entries)], size=partition.labels.size)
    crook.put(made.file, folder / "sidecar")
    labels = Labels(manifest.edition + 1, made.size, made.top_sha256, made.file)
    partitions = {**manifest.partitions, "49": replace(partition, labels=labels)}
    crook.sign(partitions=partitions)


def test_wrong_sidecar_names_other_people(crook, tmp_path):
    """The labels of two members are exchanged, and signed: whoever finds one would write to the other."""
    give_labels(crook, {GERMAN: "anna", GERMAN + 1: "bert"})
    assert audited("publication", crook.folder.public) == (PROVEN, set())
    swapped = {b"anna": b"bert", b"bert": b"anna"}
    other_sidecar(crook, tmp_path, lambda labels: [swapped.get(one, one) for one in labels])
    assert audited("publication", crook.folder.public) == (PROVEN, set())
    assert audited("rebuild", "--data", crook.folder.path) == (DISPROVEN, {"labels"})


def test_wrong_sidecar_in_plain_text(crook, tmp_path, monkeypatch):
    """Entries that everybody can read, or that tell which members are alike, do not look like ciphertext."""
    give_labels(crook, {GERMAN: "anna"})
    monkeypatch.setattr(
        sys.modules[__name__],
        "seal",
        lambda keys, labels, size, _: np.zeros((len(keys), 16 + size), np.uint8),
    )
    other_sidecar(crook, tmp_path, list)
    code, rules = audited("publication", crook.folder.public)
    assert code == DISPROVEN
    assert "labels-distribution" in rules


def test_wrong_sidecar_within_a_file(crook):
    """An entry is exchanged under the same manifest: another file than was signed."""
    give_labels(crook, {GERMAN: "anna"})
    path = crook.folder.data / crook.manifest().partitions["49"].labels.file.sha256
    octets = bytearray(path.read_bytes())
    octets[-1] ^= 1
    path.write_bytes(octets)
    code, rules = audited("publication", crook.folder.public)
    assert code == DISPROVEN
    assert "file" in rules


def reindexed(octets, layout, change):
    """A file of one index page in which `change` has had its way; hashed above, and its `top_sha256`."""
    octets = bytearray(octets)
    page = slice(layout.index_offset, layout.data_offset)
    record = np.frombuffer(bytes(octets[page]), layout.page_dtype).copy()
    change(record)
    octets[page] = record.tobytes()
    octets[64:96] = hashlib.sha256(record.tobytes()).digest()
    return bytes(octets), hashlib.sha256(octets[: layout.index_offset]).hexdigest()


def other_hash(record):
    record["sha256"][0, 0, 0] ^= 1


def test_bucket_swap_that_only_who_fetches_the_bucket_would_see(crook, tmp_path):
    """The index of a base has another hash for one bucket: who has the whole file never looks at it."""
    partition = crook.manifest().partitions["49"]
    octets = (crook.folder.data / partition.base.sha256).read_bytes()
    octets, top = reindexed(octets, partition.directory.layout, other_hash)
    base = crook.put(write_file(tmp_path / "base", [octets]), tmp_path / "base")
    crook.sign_partition("49", base=base, top_sha256=top, deltas=())
    assert audited("publication", crook.folder.public) == (DISPROVEN, {"base"})


def two_buckets_shifted(record):
    record["first"][0, 1] += 1


@pytest.mark.parametrize("change", [other_hash, two_buckets_shifted])
def test_wrong_sidecar_that_only_who_fetches_the_bucket_would_see(crook, tmp_path, change):
    give_labels(crook, {GERMAN: "anna"})
    manifest, partition = crook.manifest(), crook.manifest().partitions["49"]
    labels = partition.labels
    layout = labels.info(partition).layout
    octets = (crook.folder.data / labels.file.sha256).read_bytes()
    octets, top = reindexed(octets, layout, change)
    file = crook.put(write_file(tmp_path / "sidecar", [octets]), tmp_path / "sidecar")
    wrong = replace(labels, edition=manifest.edition + 1, file=file, top_sha256=top, deltas=())
    crook.sign(partitions={**manifest.partitions, "49": replace(partition, labels=wrong)})
    assert audited("publication", crook.folder.public) == (DISPROVEN, {"labels"})


@pytest.fixture
def town(tmp_path):
    """A server with a log, started by commands, and two people who trust it."""
    data = tmp_path / "server"
    run("init", data=data)
    run("members", "add", "+4915100000001", data=data)
    credential = tmp_path / "credential"
    credential.touch(0o600)
    credential.write_text(run("accounts", "add", "anna", data=data))
    run("publish", data=data)
    (tmp_path / "book.csv").write_text("name,phone\nAnna,+4915100000001\n")
    return Town(tmp_path, data)


class Town:
    def __init__(self, folder, data):
        self.folder, self.data = folder, data
        self.port = "0"

    def serve(self, data):
        """The same address, whoever is behind it."""
        process = Process(data, "--port", self.port)
        self.port = str(process.port)
        self.url = process.url
        return process

    def trust(self, *people):
        for person in people:
            contactsync("trust", self.url, "--yes", "--state", self.folder / person, code=0)
            self.sync(person)

    def sync(self, person, code=0):
        credential = ("--credential-file", self.folder / "credential")
        book = self.folder / "book.csv"
        return contactsync("sync", book, *credential, "--state", self.folder / person, code=code)

    def snapshot(self, person):
        out = self.folder / f"{person}.snapshot"
        out.unlink(missing_ok=True)
        contactsync("audit", "snapshot", "--state", self.folder / person, out, code=0)
        return out


@pytest.mark.slow
def test_victims_manifest_and_a_fork_that_rejoins(town):
    """One person is shown an edition of their own, and then again what all others see."""
    with town.serve(town.data):
        town.trust("victim", "other")
    fork = town.folder / "fork"
    shutil.copytree(town.data, fork)
    run("members", "add", "+4915100000002", data=town.data)
    run("publish", data=town.data)
    run("members", "add", "+4915100000003", data=fork)
    run("publish", data=fork)
    with town.serve(fork):
        town.sync("victim")  # a fork is complete in itself: alone, nobody notices
    with town.serve(town.data):
        town.sync("other")
        snapshots = town.snapshot("victim"), town.snapshot("other")
        code, rules = audited("compare", *snapshots)
        assert code == DISPROVEN
        assert {"manifests", "log"} <= rules
        assert "another history" in town.sync("victim", code=5).stderr
        run("members", "add", "+4915100000004", data=town.data)
        run("publish", data=town.data)
        assert "another history" in town.sync("victim", code=5).stderr
        assert town.sync("other")


@pytest.mark.slow
def test_a_sync_with_a_logged_server_is_accounted_for(town):
    """Every octet that left, with the requests to the log among them; and how people are shown it."""
    with town.serve(town.data):
        town.trust("victim")
        run("members", "add", "+4915100000002", data=town.data)
        run("publish", data=town.data)
        file = town.folder / "transcript"
        command = ["sync", town.folder / "book.csv", "--credential-file", town.folder / "credential"]
        contactsync(*command, "--state", town.folder / "victim", "--transcript", file, code=0)
    private = ("--private", f"{file}.private", "--contacts", town.folder / "book.csv")
    assert audited("transcript", file, *private) == (PROVEN, set())
    shown = contactsync("audit", "transcript", file, "--show").stdout
    assert "asks for the log's checkpoint" in shown
    assert "asks for a place in the log" in shown


def test_the_table_says_who_notices_each():
    """Every attack of the issue stands in the table, and every test that it names is there."""
    table = PAGE.partition("### Who notices")[2].partition("\n#")[0]
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", table)
    assert len(named) >= 8
    root = Path(__file__).parents[2]
    for file, test in named:
        assert not test or f"def {test}(" in (root / file).read_text(), (file, test)
    for attack in ("screen over chosen numbers", "planted token", "manifest of their own", "fork", "tagging"):
        assert attack in table
    for attack in ("frozen", "bucket swap", "sidecar"):
        assert attack in table


def test_whoever_notices_by_a_sync_has_a_test_that_syncs():
    table = PAGE.partition("### Who notices")[2].partition("\n#")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    by_sync = [row for row in rows if "`sync`" in row[2]]
    assert len(by_sync) >= 7
    root = Path(__file__).parents[2]
    for row in by_sync:
        files = {file for file, _ in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[3])}
        others = [(root / file).read_text() for file in files if not file.endswith(Path(__file__).name)]
        assert any(".sync(" in one for one in others), row[0]
