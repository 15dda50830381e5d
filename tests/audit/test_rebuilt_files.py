"""`audit rebuild` looks at the files that are served, and not at what the manifest says of them alone."""

import pytest
from server_tools import GERMAN, numbers

from contactsync.audit.rebuild import audit_rebuild
from contactsync.audit.report import DISPROVEN, PROVEN


@pytest.fixture
def rebuilt(new_crook, tmp_path):
    operator = new_crook
    operator.add(*range(GERMAN, GERMAN + 50))
    operator.registry.label(numbers(GERMAN), [b"@anna"])
    operator.publish()

    def rebuilt():
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        return audit_rebuild(operator.folder, operator.registry, operator.keyring, work)

    return operator, rebuilt


@pytest.mark.parametrize("how", ["gone", "one bit", "cut"])
@pytest.mark.parametrize("rule", ["base", "labels"])
def test_a_file_that_is_not_the_one_of_the_manifest_is_found(rebuilt, rule, how):
    operator, audit = rebuilt
    assert audit().exit_code == PROVEN
    partition = operator.manifest().partitions["49"]
    path = operator.folder.data / (partition.base if rule == "base" else partition.labels.file).sha256
    octets = bytearray(path.read_bytes())
    path.unlink()
    if how != "gone":
        octets[-1] ^= 1
        path.write_bytes(octets if how == "one bit" else octets[:-1])
    report = audit()
    assert report.exit_code == DISPROVEN
    found = [one for one in report.findings if path.name in one.message]
    assert {one.rule for one in found} == {rule}
    assert "the manifest is right" in found[0].message
