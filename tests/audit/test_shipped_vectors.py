"""`contactsync audit vectors`: all agree on this copy, and a difference is found and named."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from contactsync.audit import vectors
from contactsync.commands import main
from contactsync.foundation.errors import OurError

FOLDER = Path(__file__).resolve().parents[2] / "contactsync" / "vectors"


@pytest.fixture
def copy(tmp_path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "vectors"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))


def run_one(monkeypatch, copy: Path, file: str) -> list[vectors.GroupResult]:
    """Run one of the files; that others run before it is another test's affair."""
    monkeypatch.setattr(vectors, "_SHIPPED", {file: vectors._SHIPPED[file]})
    return list(vectors.run(copy))


@pytest.mark.slow
def test_command_names_each_group_with_its_count() -> None:
    result = CliRunner().invoke(main, ["audit", "vectors"])
    assert result.exit_code == 0, result.output
    assert "  29 agree  RFC 9496 A.2 invalid encodings" in result.output
    assert "   3 agree  RFC 9497 A.1.2 VOPRF mode" in result.output
    as_json = CliRunner().invoke(main, ["audit", "vectors", "--json"])
    report = json.loads(as_json.stdout)
    assert report["total"] == sum(group["count"] for group in report["groups"]) >= 150
    assert result.output.splitlines()[-1].startswith(f"{report['total']:4} in total")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("rfc9380.json", "6b9a7312", "6b9a7313",
         r"RFC 9380 K.3 .*, vector 1: uniform_bytes differs"),
        ("rfc9496.json", "6a493210", "6a493211", r"RFC 9496 A.1 .*, vector 3: element differs"),
        ("rfc9496.json", '"valid": false', '"valid": true', r"RFC 9496 A.2 .*, vector 1: valid differs"),
        ("rfc9497.json", "ddef9377", "ddef9378", r"RFC 9497 A.1.2 VOPRF mode, vector 1: proof differs"),
        ("refusals.json", ': "invalid-element"', ': "x"', r"server must refuse, vector 7: refusal differs"),
        ("refusals.json", '"index": 3', '"index": 2', r"server must refuse, vector 8: index differs"),
        ("refusals.json", '"refusal": "bad-proof"', '"refusal": null',
         r"client must refuse, vector 18: refusal differs"),
        ("directory.json", '"refusal": "too-full"', '"refusal": null',
         r"directories that must be refused, vector 17: refusal differs"),
        ("directory.json", '"found": [true, ', '"found": [false, ', r"who matches, vector 7: found differs"),
        ("delta.json", '"after": [true, true, false]', '"after": [true, true, true]',
         r"where deltas lead, vector 1: after differs"),
        ("screen.json", '"passes": [true, ', '"passes": [false, ', r"who passes, vector 1: passes differs"),
        ("manifest.json", '"unknown-critical"', '"x"', r"takes from a manifest, vector 8: unusable differs"),
        ("manifest.json", '"refusal": null,', '"refusal": "x",', r"a manifest, vector 1: refusal differs"),
    ],
)  # fmt: skip
def test_the_first_difference_is_named(copy, monkeypatch, file, old, new, message) -> None:  # noqa: PLR0917
    edit(copy / file, old, new)
    with pytest.raises(vectors.VectorMismatch, match=message):
        run_one(monkeypatch, copy, file)


def test_a_difference_ends_the_command(copy, monkeypatch) -> None:
    edit(copy / "rfc9497.json", "ddef9377", "ddef9378")
    monkeypatch.setattr(vectors, "files", lambda _: copy.parent)
    result = CliRunner().invoke(main, ["audit", "vectors", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["kind"] == "installation"
    assert "error: RFC 9497 A.1.2 VOPRF mode, vector 1: proof differs" in result.stderr
    assert "hint: " in result.stderr


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "[]",
        '{"groups": null}',
        '{"groups": {"a": 1}}',
        '{"groups": ["x"]}',
        '{"groups": [{"name": "x", "operation": "nonsense", "cases": []}]}',
        '{"groups": [{"name": "x", "operation": "decode", "cases": ["y"]}]}',
        '{"files": [], "groups": []}',
        '{"files": {"a": {"zlib": "AAAA"}}, "groups": []}',
        '{"files": {"a": {"of": "b"}}, "groups": []}',
    ],
)
def test_damaged_files(copy, damage) -> None:
    (copy / "rfc9380.json").write_text(damage)
    with pytest.raises(OurError):
        list(vectors.run(copy))


@pytest.mark.parametrize("file", [path.name for path in FOLDER.glob("*.json") if path.name != "schema.json"])
def test_what_is_missing_is_noticed(copy, monkeypatch, file) -> None:
    content = json.loads((copy / file).read_text())
    content["groups"][-1]["cases"].pop()
    (copy / file).write_text(json.dumps(content))
    with pytest.raises(OurError, match=f"{file} holds"):
        run_one(monkeypatch, copy, file)
    (copy / file).unlink()
    with pytest.raises(OurError, match=f"{file} cannot be read"):
        run_one(monkeypatch, copy, file)
