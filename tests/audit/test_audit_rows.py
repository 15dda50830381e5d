"""Rows for private look-up that an operator signed and that are not those of the bases."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import xxhash
from audit_findings import messages, wrong
from row_blocks import put_in_blocks
from server_tools import AMERICAN, GERMAN

from contactsync.audit import publication
from contactsync.audit.publication import audit_publication
from contactsync.audit.rebuild import audit_rebuild
from contactsync.audit.report import DISPROVEN, PROVEN
from contactsync.audit.sources import FolderSource
from contactsync.directory import build, open_directory
from contactsync.lookup import table_file
from contactsync.publication.manifest import DataFile, PublishedRows
from contactsync.server.row_files import row_file


@pytest.fixture
def looked(new_crook, monkeypatch):
    """A crook who published rows of two partitions, in two editions."""
    monkeypatch.setattr(publication, "PROBES", 1 << 12)
    operator = new_crook
    operator.folder.switch_private_lookup(on=True)
    operator.add(*range(GERMAN, GERMAN + 500), *range(AMERICAN, AMERICAN + 90))
    operator.publish()
    operator.add(GERMAN + 5000)
    operator.publish()
    return operator


@pytest.fixture
def audit(tmp_path):
    counter = iter(range(10**6))

    def audit(operator):
        work = tmp_path / f"work{next(counter)}"
        work.mkdir()
        report = audit_publication(FolderSource(operator.folder.public), work)
        assert list(work.glob("*rows*")) == list(work.glob("base.*")) == []
        return report

    return audit


def rebuilt(operator, tmp_path):
    work = tmp_path / "rebuilt"
    work.mkdir(exist_ok=True)
    return audit_rebuild(operator.folder, operator.registry, operator.keyring, work)


def state(operator, level, most, fold=0):
    """Sign rows of which this is the level."""
    name = hashlib.sha256(level).hexdigest()
    (operator.folder.data / name).write_bytes(level)
    file = DataFile(name, len(level), xxhash.xxh3_64_hexdigest(level))
    return operator.sign(rows=PublishedRows(file, most, fold_bits=fold))


def directories(operator, folder, changed=None):
    """The bases that are published, or with other tokens in partition 49."""
    opened = {}
    for name, one in operator.manifest().partitions.items():
        if name == "49" and changed is not None:
            info = build(folder / "changed", [changed])
            opened[name] = open_directory(folder / "changed", expect=info)
        else:
            opened[name] = open_directory(operator.folder.data / one.base.sha256, expect=one.directory)
    return opened


def test_honest_rows_are_proven(looked, audit, tmp_path):
    report = audit(looked)
    assert report.exit_code == PROVEN, list(report.lines())
    assert report.proven["rows"] == 1
    report = rebuilt(looked, tmp_path)
    assert report.exit_code == PROVEN, list(report.lines())
    assert report.proven["rows"] == 1


@pytest.fixture
def in_blocks(monkeypatch):
    put_in_blocks(monkeypatch)


def test_rows_in_blocks_are_proven_and_other_ones_are_not(in_blocks, looked, audit, tmp_path):
    """As those of large tables. The level of other blocks is another one, though all rows are right."""
    manifest = looked.manifest()
    assert manifest.rows.fold_bits == 2
    for report in (audit(looked), rebuilt(looked, tmp_path)):
        assert report.exit_code == PROVEN, list(report.lines())
        assert report.proven["rows"] == 1
    other = table_file.build_table(tmp_path / "made", directories(looked, tmp_path), None, 1)
    heading = manifest.rows.table(manifest.partitions).heading
    state(looked, heading + other.level[len(other.table.heading) :], manifest.rows.most, fold=2)
    for report in (audit(looked), rebuilt(looked, tmp_path)):
        assert wrong(report) == {"rows"}
        assert report.exit_code == DISPROVEN
        assert "give another level" in messages(report)


def test_blocks_in_which_more_contacts_wait_than_need_to(in_blocks, looked, audit, tmp_path):
    """Rows and level are right, and the signer has chosen 16 blocks instead of 32."""
    most = looked.manifest().rows.most
    larger = table_file.build_table(tmp_path / "made", directories(looked, tmp_path), None, 3)
    state(looked, larger.level, most, fold=3)
    for report in (audit(looked), rebuilt(looked, tmp_path)):
        assert wrong(report) == {"rows"}
        assert report.exit_code == DISPROVEN
        assert "rows are in blocks of 2^3, and 2^2 is what so many rows have at most" in messages(report)


def test_without_rows_there_is_nothing_to_prove(looked, audit, tmp_path):
    looked.folder.switch_private_lookup(on=False)
    looked.publish()
    for report in (audit(looked), rebuilt(looked, tmp_path)):
        assert report.exit_code == PROVEN, list(report.lines())
        assert "rows" not in report.proven
        assert any("no edition has rows" in one.message for one in report.findings)


def test_a_forged_level(looked, audit, tmp_path):
    """Any octets that have its length."""
    state(
        looked,
        np.random.default_rng(1).bytes(looked.manifest().rows.level.length),
        looked.manifest().rows.most,
    )
    for report in (audit(looked), rebuilt(looked, tmp_path)):
        assert wrong(report) == {"rows"}
        assert report.exit_code == DISPROVEN
        assert "bases and sidecars give another level" in messages(report)


def test_a_member_who_is_hidden_in_the_rows_alone(looked, audit, tmp_path):
    """The base has her, and the rows, well-formed as they are, do not."""
    tokens = looked.tokens_of("49")
    most = looked.manifest().rows.most
    for number in range(len(tokens)):
        fewer = tokens.take(np.delete(np.arange(len(tokens)), number))
        opened = directories(looked, tmp_path, fewer)
        made = table_file.build_table(tmp_path / "made", opened)
        if made.table.shape.most == most:  # else it would show already by that
            break
    state(looked, made.level, most)
    for report in (audit(looked), rebuilt(looked, tmp_path)):
        assert wrong(report) == {"rows"}
        assert "bases and sidecars give another level" in messages(report)


def test_the_level_of_an_earlier_edition(looked, audit, tmp_path):
    """Who left or joined since then would show as before."""
    _, before = looked.repository.history("people", 2)
    rows = looked.manifest().rows
    assert before.rows.level.sha256 != rows.level.sha256
    looked.sign(rows=replace(rows, level=before.rows.level))
    assert wrong(audit(looked)) == wrong(rebuilt(looked, tmp_path)) == {"rows"}


def test_rows_that_are_larger_than_they_must_be(looked, audit, tmp_path, monkeypatch):
    """All of it fits together, and each look-up would cost more than it has to."""
    most = looked.manifest().rows.most + 50
    with monkeypatch.context() as forging:
        forging.setattr(table_file, "_most", lambda _: most)
        made = table_file.build_table(tmp_path / "made", directories(looked, tmp_path))
    assert made.table.shape.most == most
    state(looked, made.level, most)
    for report in (audit(looked), rebuilt(looked, tmp_path)):
        assert wrong(report) == {"rows"}
        assert f"and {most} are stated" in messages(report)


def test_a_level_that_is_not_there(looked, audit, tmp_path):
    (looked.folder.data / looked.manifest().rows.level.sha256).unlink()
    report = audit(looked)
    assert wrong(report) == {"file"}
    assert any(one.rule == "rows" and one.severity == "warning" for one in report.findings)
    assert "their level is not there" in messages(rebuilt(looked, tmp_path))


def test_a_base_that_is_not_there(looked, audit):
    """Then nothing can be said of the rows."""
    (looked.folder.data / looked.manifest().partitions["1"].base.sha256).unlink()
    report = audit(looked)
    assert wrong(report) == {"file"}
    assert any(one.rule == "rows" and one.severity == "warning" for one in report.findings)


def test_rows_beside_the_publication_that_were_changed(looked, audit, tmp_path):
    """Clients would refuse what is answered from them; the public files are right."""
    path = row_file(looked.folder.rows, "people", looked.manifest().rows.root)
    octets = bytearray(path.read_bytes())
    octets[100] ^= 1
    path.write_bytes(octets)
    assert audit(looked).exit_code == PROVEN
    report = rebuilt(looked, tmp_path)
    assert wrong(report) == {"rows"}
    path.unlink()
    assert rebuilt(looked, tmp_path).exit_code == PROVEN
