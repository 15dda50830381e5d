"""Rows with labels that an operator signed: proven where they are honest, and found where an entry is not."""

import hashlib
from contextlib import ExitStack

import numpy as np
import pytest
import xxhash
from audit_findings import messages, wrong
from server_tools import AMERICAN, GERMAN, numbers

from contactsync.audit import publication
from contactsync.audit.publication import audit_publication
from contactsync.audit.rebuild import audit_rebuild
from contactsync.audit.report import DISPROVEN, PROVEN
from contactsync.audit.sources import FolderSource
from contactsync.directory import open_directory
from contactsync.directory.sidecar import open_sidecar
from contactsync.directory.sidecar_build import build_sidecar
from contactsync.labels import context, seal
from contactsync.lookup.table_file import build_table
from contactsync.publication.manifest import DataFile, PublishedRows
from contactsync.server.row_files import row_file


@pytest.fixture
def looked(new_crook, monkeypatch):
    """A crook who published rows of two partitions, one with labels, in two editions."""
    monkeypatch.setattr(publication, "PROBES", 1 << 12)
    operator = new_crook
    operator.folder.switch_private_lookup(on=True)
    operator.add(*range(GERMAN, GERMAN + 300), *range(AMERICAN, AMERICAN + 90))
    for i in range(60):
        label(operator, GERMAN + i, f"@somebody{i}")
    operator.publish()
    label(operator, GERMAN, "@renamed")
    operator.publish()
    manifest = operator.manifest()
    assert (manifest.edition, manifest.rows.labelled) == (2, True)
    assert manifest.partitions["49"].labels.deltas
    assert manifest.partitions["1"].labels is None
    return operator


def label(operator, number, text):
    operator.registry.label(numbers(number), [text.encode()])


@pytest.fixture
def reports(looked, tmp_path):
    """Both audits of what is published now."""

    def reports():
        found = []
        for audit in (of_the_publication, of_the_registry):
            work = tmp_path / f"work.{audit.__name__}"
            work.mkdir(exist_ok=True)
            found.append(audit(looked, work))
            left = {path.name.partition(".")[0] for path in work.iterdir()}
            assert not left & {"rows", "kept", "sidecar", "base"}, left
        return found

    return reports


def of_the_publication(operator, work):
    return audit_publication(FolderSource(operator.folder.public), work)


def of_the_registry(operator, work):
    return audit_rebuild(operator.folder, operator.registry, operator.keyring, work)


def other_sidecar(operator, path, change):
    """A sidecar of partition 49 in which `change` has had its way with tokens, keys, labels and entries."""
    manifest = operator.manifest()
    partition = manifest.partitions["49"]
    ((tokens, keys, texts),) = operator.registry.outputs("people", manifest.epoch, "49")
    bound = context("people", manifest.epoch)
    texts = list(texts)
    entries = seal(keys, texts, partition.labels.size, bound)
    entries = change(keys, texts, entries, lambda labels: seal(keys, labels, partition.labels.size, bound))
    with open_directory(operator.folder.data / partition.base.sha256, expect=partition.directory) as base:
        return build_sidecar(path, base, [(tokens, entries)], size=partition.labels.size)


def table_of(operator, folder, sidecar_path=None, sidecar_info=None):
    """The table of the published bases with another sidecar, or with none."""
    manifest = operator.manifest()
    with ExitStack() as stack:
        bases = {
            name: stack.enter_context(
                open_directory(operator.folder.data / one.base.sha256, expect=one.directory)
            )
            for name, one in manifest.partitions.items()
        }
        sidecars = {}
        if sidecar_path is not None:
            sidecars["49"] = stack.enter_context(open_sidecar(sidecar_path, expect=sidecar_info))
        return build_table(folder / "forged", bases, sidecars)


def state(operator, made, folder, *, labelled):
    """Sign these rows, and put level and rows where honest ones would be."""
    name = hashlib.sha256(made.level).hexdigest()
    (operator.folder.data / name).write_bytes(made.level)
    file = DataFile(name, len(made.level), xxhash.xxh3_64_hexdigest(made.level))
    rows = PublishedRows(file, made.table.shape.most, labelled)
    (folder / "forged").rename(row_file(operator.folder.rows, "people", rows.root))
    return operator.sign(rows=rows)


def test_honest_rows_are_proven(reports):
    for report in reports():
        assert report.exit_code == PROVEN, list(report.lines())
        assert report.proven["rows"] == 1
        assert report.proven["labels"] >= 1


def one_octet(_keys, _texts, entries, _sealed):
    """It does not open any more: the member seems to have no label."""
    changed = entries.copy()
    changed[0, -1] ^= 1
    return changed


def another_label(_keys, texts, _entries, sealed):
    """It opens, and names somebody else: whoever finds the member would write to them."""
    return sealed([b"@mallory" if text == b"@somebody7" else text for text in texts])


def a_label_of_nobody(_keys, texts, _entries, sealed):
    number = texts.index(b"")
    return sealed([b"@mallory" if i == number else text for i, text in enumerate(texts)])


@pytest.mark.parametrize("change", [one_octet, another_label, a_label_of_nobody])
def test_a_forged_entry_in_the_rows(looked, reports, tmp_path, change):
    """The sidecar that is published is right; the rows, well-formed as they are, have another entry."""
    honest = looked.manifest().partitions["49"].labels
    same = other_sidecar(looked, tmp_path / "same", lambda _keys, _texts, entries, _sealed: entries)
    assert same.file == honest.file
    path = tmp_path / "changed"
    info = other_sidecar(looked, path, change)
    old, new = (np.frombuffer(one.read_bytes(), np.uint8) for one in (tmp_path / "same", path))
    layout = info.layout
    entries = (old != new)[layout.data_offset :].reshape(-1, layout.entry_bytes)
    assert entries.any(axis=1).sum() == 1
    stated = state(looked, table_of(looked, tmp_path, path, info), tmp_path, labelled=True)
    assert stated.partitions["49"].labels == honest
    for report in reports():
        assert wrong(report) == {"rows"}
        assert report.exit_code == DISPROVEN
        assert "bases and sidecars give another level" in messages(report)
        assert "rows" not in report.proven


def test_rows_of_the_labels_of_an_earlier_edition(looked, reports):
    """Who took a label back would show it as before."""
    _, before = looked.repository.history("people", 2)
    rows = looked.manifest().rows
    assert before.rows.most == rows.most
    assert before.rows.level.sha256 != rows.level.sha256
    looked.sign(rows=before.rows)
    for report in reports():
        assert wrong(report) == {"rows"}


def test_rows_without_labels_beside_labels(looked, reports, tmp_path):
    """An earlier version made such: they are those of the bases, and say so."""
    stated = state(looked, table_of(looked, tmp_path), tmp_path, labelled=False)
    assert stated.partitions["49"].labels is not None
    for report in reports():
        assert report.exit_code == PROVEN, list(report.lines())
        assert report.proven["rows"] == 1


def test_a_sidecar_that_is_not_there(looked, reports):
    """Then nothing can be said of the rows; whoever has the registry says which file it is."""
    name = looked.manifest().partitions["49"].labels.file.sha256
    (looked.folder.data / name).unlink()
    of_files, of_registry = reports()
    assert wrong(of_files) == {"file"}
    assert any(one.rule == "rows" and one.severity == "warning" for one in of_files.findings)
    assert wrong(of_registry) == {"labels", "rows"}
    assert name in messages(of_registry)
    assert "rows" not in {*of_files.proven, *of_registry.proven}


def test_a_sidecar_that_was_changed_under_its_name(looked, reports):
    path = looked.folder.data / looked.manifest().partitions["49"].labels.file.sha256
    octets = bytearray(path.read_bytes())
    octets[-1] ^= 1
    path.write_bytes(octets)
    of_files, of_registry = reports()
    assert wrong(of_files) == {"file"}
    assert any(one.rule == "rows" and one.severity == "warning" for one in of_files.findings)
    assert wrong(of_registry) == {"labels", "rows"}
    assert path.name in messages(of_registry)


def test_an_entry_changed_in_the_rows_beside_the_publication(looked, reports):
    """Clients would refuse what is answered from them; the public files are right."""
    manifest = looked.manifest()
    table = manifest.rows.table(manifest.partitions)
    path = row_file(looked.folder.rows, "people", manifest.rows.root)
    octets = bytearray(path.read_bytes())
    octets[table.first["49"] * table.width + table.shape.entries_at] ^= 1
    path.write_bytes(octets)
    of_files, of_registry = reports()
    assert of_files.exit_code == PROVEN
    assert wrong(of_registry) == {"rows"}
    path.unlink()
    assert all(report.exit_code == PROVEN for report in reports())
