"""The whole log is read and rebuilt: what is not as it must be there is disproven, octet by octet."""

import random
import shutil
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from server_tools import GERMAN, Operator
from simulated_witness import Witness
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata
from tuf.ngclient import FetcherInterface

from contactsync.audit import publication as audited_publication
from contactsync.audit.logged import LOG, LogAudit
from contactsync.audit.publication import audit_publication
from contactsync.audit.report import DISPROVEN, PROVEN, UNCHECKED, AuditReport
from contactsync.audit.sources import FolderSource
from contactsync.publication.history import Link
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.entries import LoggedManifest, LoggedRoot, read_entry
from contactsync.publication.log.notes import sign_note
from contactsync.publication.log.tiles import HashReader, appended
from contactsync.publication.logged import logged_link
from contactsync.publication.tuf.signed import renewed_root
from contactsync.server.witnessed.changing import LogChanges

PUBLIC = {"metadata": "tuf/metadata", "targets": "tuf/targets", "log": "log"}


@pytest.fixture(scope="module")
def publication(tmp_path_factory):
    """A log of three editions and two roots, one witness of which must have cosigned it."""
    witness = Witness("witness.example")
    operator = Operator(tmp_path_factory.mktemp("logged") / "server", log=True)
    operator.add(GERMAN)
    operator.publish()
    LogChanges(operator.folder, operator.keyring).add_witness(witness.verifier, witness.url, 1)
    for number in (1, 2):
        operator.add(GERMAN + number)
        operator.publish()
    yield operator, witness
    operator.close()
    witness.stop()


@pytest.fixture
def files(publication):
    log = publication[0].folder.public / "log"
    return {str(path.relative_to(log)): path.read_bytes() for path in log.rglob("*") if path.is_file()}


class Served(FetcherInterface):
    def __init__(self, files):
        self.files = files
        self.read = set()

    def _fetch(self, url):
        name = url.partition("/v1/log/")[2]
        if name not in self.files:
            raise DownloadHTTPError("not found", 404)
        self.read.add(name)
        yield self.files[name]


def audited(operator, files, *, roots=None, links=None):
    """The report of an audit of these files, and which of them were read."""
    report = AuditReport("a log", {LOG: "the log"})
    served = Served(files)
    metadata = operator.folder.public / "metadata"
    there = {int(path.name.split(".")[0]): path.read_bytes() for path in metadata.glob("*.root.json")}
    log = LogAudit(report, served, "x:", there if roots is None else roots)
    if log.read():
        history = operator.repository.links("people", 40) if links is None else links
        log.check([logged_link(link) for link in history])
    report.close()
    return report, served.read


def said(report):
    return " ".join(f"{one.place}: {one.message}" for one in report.findings)


def test_an_honest_log_is_proven(publication, files):
    report, _ = audited(publication[0], files)
    assert report.exit_code == PROVEN, said(report)
    assert report.facts["log"]["entries"] == 5
    assert report.proven[LOG] >= 10


def test_every_single_change_is_found_or_lies_outside(publication, files):
    """Outside is what no reader of the newest checkpoint is led to: tiles of earlier sizes."""
    _, read = audited(publication[0], files)
    draw, outside, found = random.Random(14), 0, 0
    names = sorted(files)
    for number in range(300):
        name = draw.choice(sorted(read)) if number % 10 else draw.choice(names)
        octets = bytearray(files[name])
        place = draw.randrange(len(octets))
        match number % 4:
            case 0:
                octets[place] ^= 1 << draw.randrange(8)
            case 1:
                del octets[place]
            case 2:
                octets.insert(place, draw.randrange(256))
            case 3:
                octets = octets[:place]
        if bytes(octets) == files[name]:
            continue
        report, _ = audited(publication[0], files | {name: bytes(octets)})
        if report.exit_code == DISPROVEN:
            found += 1
        else:
            # Under the policy before root 2, its checkpoint needed no cosignature.
            assert name not in read or name == "root/2", (name, place, number)
            outside += 1
    assert found > 240
    assert found + outside >= 285


class Watched(FolderSource):
    """A folder that remembers the paths of the files that were read."""

    def __init__(self, folder):
        super().__init__(folder)
        self.read = set()
        usual = self.fetcher.fetch

        def fetch(url):
            self.read.add(url.partition("/v1/")[2].removeprefix("tuf/"))
            return usual(url)

        self.fetcher.fetch = fetch

    def data(self, file, folder):
        self.read.add(f"data/{file.sha256}")
        return super().data(file, folder)


@pytest.mark.slow
def test_changes_of_a_publication_with_its_log(publication, tmp_path, monkeypatch):
    """All of it is audited, as by the command: every second change is in the log. Outside: not read."""
    monkeypatch.setattr(audited_publication, "PROBES", 1 << 8)
    public = tmp_path / "public"
    shutil.copytree(publication[0].folder.public, public)
    counter = iter(range(1000))

    def audit():
        work = tmp_path / f"work{next(counter)}"
        work.mkdir()
        source = Watched(public)
        return audit_publication(source, work), source.read

    good, read = audit()
    assert good.exit_code == PROVEN, said(good)
    assert good.proven["log"] >= 10
    paths = sorted(str(path.relative_to(public)) for path in public.rglob("*") if path.is_file())
    paths = [name for name in paths if "root.json" not in name]
    draw, found, outside = random.Random(15), 0, []
    for number in range(100):
        some = [name for name in paths if name.startswith("log/") == (number % 2 == 0)]
        name = draw.choice(some if number % 10 in {0, 1} else [one for one in some if one in read])
        path = public / name
        octets = path.read_bytes()
        place = draw.randrange(len(octets))
        changed = [
            octets[:place] + bytes([octets[place] ^ 1 << draw.randrange(8)]) + octets[place + 1 :],
            octets[:place],
            octets[:place] + b"x" + octets[place:],
        ][draw.randrange(3)]
        path.write_bytes(changed)
        report, _ = audit()
        path.write_bytes(octets)
        if report.exit_code != PROVEN:
            found += 1
        elif name in read and name != "log/root/2":  # needs no cosignature, as above
            assert name.startswith("metadata/"), (name, place)
            assert octets.lower() == changed.lower(), (name, place)  # a signature in capitals
        else:
            outside.append(name)
    assert found >= 75, outside
    assert audit()[0].exit_code == PROVEN


def test_files_that_are_missing(publication, files):
    _, read = audited(publication[0], files)
    for name in read:
        report, _ = audited(publication[0], {one: files[one] for one in files if one != name})
        assert report.exit_code == DISPROVEN, name


def appended_to(operator, witness, files, *entries):
    """The log with more entries, which its key and the witness have signed."""
    old = Checkpoint.parse(files["checkpoint"].decode().partition("\n\n")[0] + "\n")
    new, more = appended(lambda path: files[path], old, [one.to_bytes() for one in entries])
    signers = [operator.keyring.log_signer(operator.log.policy.log), witness.signer]
    reader = HashReader(lambda path: (files | more)[path], new)
    assert reader.tree(new.size) == new.root
    places = {f"leaf/{one.sha256}": b"%d\n" % place for place, one in enumerate(entries, old.size)}
    return files | more | places | {"checkpoint": sign_note(new.text(), signers)}


def test_an_edition_that_was_logged_with_two_contents(publication, files):
    other = LoggedManifest("people", 1, 3, "0" * 64)
    report, _ = audited(publication[0], appended_to(*publication, files, other))
    assert report.exit_code == DISPROVEN
    assert "people, epoch 1 edition 3 was logged with two contents" in said(report)


def test_an_edition_or_a_root_that_is_logged_and_withheld(publication, files):
    for one in (LoggedManifest("people", 1, 4, "0" * 64), LoggedRoot(3, "0" * 64)):
        report, _ = audited(publication[0], appended_to(*publication, files, one))
        assert report.exit_code == UNCHECKED
        assert "it is in the log and is not served to you" in said(report)


def test_editions_out_of_order_and_entries_of_no_kind(publication, files):
    report, _ = audited(
        publication[0], appended_to(*publication, files, LoggedManifest("people", 1, 1, "0" * 64))
    )
    assert "comes after epoch 1 edition 3" in said(report)

    class Strange:
        sha256 = "0" * 64

        @staticmethod
        def to_bytes():
            return b"{}"

    report, _ = audited(publication[0], appended_to(*publication, files, Strange))
    assert "neither a manifest nor a root" in said(report)


def test_what_is_served_and_not_logged(publication, files):
    operator, _ = publication
    first, *others = list(operator.repository.links("people", 40))
    forged = [replace(first, sha256="f" * 64), *others]
    report, _ = audited(operator, files, links=forged)
    assert report.exit_code == DISPROVEN
    assert "people, epoch 1 edition 3: it is served, and is not in the log" in said(report)


def test_a_root_that_is_not_logged(publication, files):
    operator, _ = publication
    root = Metadata(renewed_root(operator.repository.root(), datetime.now(UTC)))
    metadata = operator.folder.public / "metadata"
    roots = {int(path.name.split(".")[0]): path.read_bytes() for path in metadata.glob("*.root.json")}
    report, _ = audited(operator, files, roots=roots | {3: root.to_bytes()})
    assert "root version 3: it is served, and is not in the log" in said(report)
    swapped = Metadata(operator.repository.root())
    report, _ = audited(operator, files, roots=roots | {2: swapped.to_bytes()})
    assert "another root than the one that is served" in said(report)


def test_too_few_cosignatures(publication, files):
    operator, _ = publication
    text = files["checkpoint"].decode().partition("\n\n")[0] + "\n"
    bare = sign_note(text, [operator.keyring.log_signer(operator.log.policy.log)])
    report, _ = audited(operator, files | {"checkpoint": bare})
    assert report.exit_code == DISPROVEN
    assert "0 of the 1 witnesses" in said(report)


def test_a_publication_without_a_log_is_said_and_not_failed(tmp_path):
    operator = Operator(tmp_path / "server")
    operator.add(GERMAN)
    operator.publish()
    report, read = audited(operator, {})
    assert report.exit_code == PROVEN
    assert not read
    assert "no log shows" in said(report)
    operator.close()


def test_an_entry_reads_back(publication):
    link = next(publication[0].repository.links("people", 1))
    assert isinstance(link, Link)
    assert read_entry(logged_link(link).to_bytes()) == logged_link(link)
