"""`contactsync audit vectors`: all agree on this copy; what differs, is damaged or is missing is named."""

import hashlib
import json
import random
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from contactsync.audit.report import DISPROVEN, PROVEN, UNCHECKED
from contactsync.audit.vectors import checking, layers, primitives
from contactsync.audit.vectors.checking import SHIPPED, check
from contactsync.commands import main
from contactsync.foundation.errors import BadDirectory, BadReply, BadSignature
from contactsync.voprf import wire

FOLDER = Path(__file__).resolve().parents[2] / "contactsync" / "vectors"


@pytest.fixture
def copy(tmp_path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "vectors"))


def seal(folder: Path) -> None:
    """Make the sums right for what is there, as somebody would who changes files on purpose."""
    lines = (
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in sorted(folder.glob("*.json"))
    )
    (folder / "SHA256SUMS").write_text("".join(lines))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))


def run_one(folder: Path, file: str):
    """Run one of the files; that others run before it is another test's affair."""
    report = check(folder, {file: SHIPPED[file]})
    report.rules = {
        rule: text for rule, text in report.rules.items() if rule in report.proven or of(report, rule)
    }
    return report


def of(report, rule: str) -> list:
    return [finding for finding in report.findings if finding.rule == rule]


def test_the_text_has_a_count_for_each_file_and_layer(tmp_path) -> None:
    for name in ("rfc9497.json", "SHA256SUMS"):
        shutil.copyfile(FOLDER / name, tmp_path / name)
    result = CliRunner().invoke(main, ["audit", "vectors", str(tmp_path)])
    assert result.exit_code == UNCHECKED
    assert "   5 agree,   0 of them refusals  rfc9497.json" in result.output
    assert "proven            3  whole exchanges give what RFC 9497 says" in result.output
    assert "warning: log.json: it cannot be read (No such file or directory)" in result.output
    assert result.output.splitlines()[-1] == "the test vectors: not proven, something could not be checked"


@pytest.mark.slow
def test_json_has_every_file_layer_and_group() -> None:
    result = CliRunner().invoke(main, ["audit", "vectors", "--json"])
    assert result.exit_code == PROVEN, result.output
    report = json.loads(result.stdout)
    assert {one["name"]: one["positive"] + one["negative"] for one in report["files"]} == SHIPPED
    assert report["total"] == sum(SHIPPED.values()) == sum(one["count"] for one in report["groups"])
    assert {one["name"] for one in report["layers"]} == set(layers.LAYERS)
    assert {rule["rule"] for rule in report["rules"]} == {"files", *layers.LAYERS}
    assert not report["findings"]
    refusing = {one["name"] for one in report["layers"] if one["negative"]}
    assert refusing == {name for name, layer in layers.LAYERS.items() if layer.errors} | {"ristretto255"}


def test_the_counts_are_those_of_the_files() -> None:
    """Both ways of a vector stand beside each other in every layer that refuses."""
    for name, count in SHIPPED.items():
        groups = json.loads((FOLDER / name).read_bytes())["groups"]
        assert sum(len(group["cases"]) for group in groups) == count
    assert set(SHIPPED) == {path.name for path in FOLDER.glob("*.json")} - {"schema.json"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "place", "message"),
    [
        ("rfc9380.json", "6b9a7312", "6b9a7313", "RFC 9380 K.3", "uniform_bytes differs"),
        ("rfc9496.json", "6a493210", "6a493211", "RFC 9496 A.1", "element differs"),
        ("rfc9496.json", '"valid": false', '"valid": true', "RFC 9496 A.2", "valid differs"),
        ("rfc9497.json", "ddef9377", "ddef9378", "RFC 9497 A.1.2 VOPRF mode, vector 1", "proof differs"),
        ("refusals.json", ': "invalid-element"', ': "x"', "must refuse, vector 7", "refusal differs"),
        ("refusals.json", '"index": 3', '"index": 2', "must refuse, vector 8", "index differs"),
        ("refusals.json", '"refusal": "bad-proof"', '"refusal": null', "vector 18", "refusal differs"),
        ("directory.json", '"refusal": "too-full"', '"refusal": null', "refused, vector 17",
         "refusal differs"),
        ("directory.json", '"found": [true, ', '"found": [false, ', "who matches, vector 7", "found differs"),
        ("delta.json", '"after": [true, true, false]', '"after": [true, true, true]', "lead, vector 1",
         "after differs"),
        ("screen.json", '"passes": [true, ', '"passes": [false, ', "who passes, vector 1", "passes differs"),
        ("manifest.json", '"unknown-critical"', '"x"', "a manifest, vector 8", "unusable differs"),
        ("manifest.json", '"refusal": null,', '"refusal": "x",', "a manifest, vector 1", "refusal differs"),
        ("runs.json", '"members": [true', '"members": [false', "whole syncs, vector 1", "members differs"),
        ("runs.json", '"bytes=0-95', '"bytes=0-96', "whole syncs, vector 8", "lists differs"),
        ("metadata.json", '"refusal": "expired"', '"refusal": "malformed"', "must be refused",
         "refusal differs"),
        ("log.json", '"holds": true', '"holds": false', "is in a tree, vector 1", "holds differs"),
    ],
)  # fmt: skip
def test_each_difference_is_named(copy, file, old, new, place, message) -> None:  # noqa: PLR0917
    edit(copy / file, old, new)
    seal(copy)
    report = run_one(copy, file)
    assert report.exit_code == DISPROVEN
    (finding,) = report.findings
    assert finding.place.startswith(f"{file}: ")
    assert place in finding.place
    assert finding.message.startswith(message)


def test_a_difference_does_not_end_the_run(copy) -> None:
    content = json.loads((copy / "rfc9497.json").read_bytes())
    for case in content["groups"][1]["cases"][:2]:
        case["expected"]["proof"] = case["expected"]["proof"][::-1]
    (copy / "rfc9497.json").write_text(json.dumps(content))
    seal(copy)
    report = run_one(copy, "rfc9497.json")
    assert len(of(report, "voprf")) == 2
    assert report.proven == {"files": 1, "ristretto255": 2, "voprf": 1}


def test_a_file_that_was_changed_is_not_proven_even_if_all_agrees(copy) -> None:
    edit(copy / "rfc9497.json", '"about": "', '"about": "x')
    report = run_one(copy, "rfc9497.json")
    assert report.exit_code == UNCHECKED
    (finding,) = report.findings
    assert (finding.rule, finding.place) == ("files", "rfc9497.json")
    assert "is not the file of this version" in finding.message
    assert report.proven == {"ristretto255": 2, "voprf": 3}


def test_the_command_exits_with_the_outcome_and_prints_sarif(copy) -> None:
    edit(copy / "rfc9497.json", "ddef9377", "ddef9378")
    for path in copy.glob("*.json"):
        if path.name != "rfc9497.json":
            path.unlink()
    result = CliRunner().invoke(main, ["audit", "vectors", str(copy), "--sarif"])
    assert result.exit_code == DISPROVEN
    results = json.loads(result.stdout)["runs"][0]["results"]
    assert [one["ruleId"] for one in results if one["level"] == "error"] == ["voprf"]
    assert sum(one["ruleId"] == "files" for one in results) == len(SHIPPED)


def one_group(layer: str, cases: str) -> str:
    group = f'"name": "x", "source": "", "layer": "{layer}", "operation": "decode", "cases": {cases}'
    return f'{{"version": 2, "groups": [{{{group}}}]}}'


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        '{"groups": null}',
        '{"version": 2, "groups": null}',
        '{"version": 2, "groups": {"a": 1}}',
        '{"version": 2, "groups": ["x"]}',
        '{"version": 2, "groups": [{"name": "x", "operation": "nonsense", "cases": []}]}',
        one_group("voprf", '["y"]'),
        one_group("nobody", "[{}]"),
        one_group("voprf", '[{"reason": "", "given": {"encoding": 7}, "expected": {"valid": true}}]'),
        one_group("voprf", '[{"reason": "", "given": {"encoding": ""}, "expected": {}}]'),
        '{"version": 2, "files": [], "groups": []}',
        '{"version": 2, "files": {"a": {"zlib": "AAAA"}}, "groups": []}',
        '{"version": 2, "files": {"a": {"of": "b"}}, "groups": []}',
        '{"version": 1, "groups": []}',
        '{"version": 3, "groups": []}',
        "[" * 100_000,
    ],
)
@pytest.mark.parametrize("sealed", [False, True])
def test_a_damaged_file_is_not_proven(copy, damage, sealed) -> None:
    (copy / "rfc9380.json").write_text(damage)
    if sealed:
        seal(copy)
    report = run_one(copy, "rfc9380.json")
    assert report.exit_code == UNCHECKED
    assert all(finding.place.startswith("rfc9380.json") for finding in report.findings)
    assert sum(report.proven.values()) == 0 or (sealed and report.proven == {"files": 1})


@pytest.mark.parametrize("file", SHIPPED)
def test_what_is_missing_is_noticed(copy, file, monkeypatch) -> None:
    monkeypatch.setattr(checking, "OPERATIONS", dict.fromkeys(checking.OPERATIONS, lambda _: {}))
    content = json.loads((copy / file).read_text())
    content["groups"][-1]["cases"].pop()
    (copy / file).write_text(json.dumps(content))
    seal(copy)
    messages = [finding.message for finding in of(run_one(copy, file), "files")]
    assert messages == [f"it holds {SHIPPED[file] - 1} vectors and not {SHIPPED[file]}"]
    (copy / file).unlink()
    report = run_one(copy, file)
    assert report.exit_code == UNCHECKED
    assert [finding.place for finding in report.findings] == [file]


def test_without_sums_nothing_is_proven_of_the_files(copy) -> None:
    (copy / "SHA256SUMS").unlink()
    report = run_one(copy, "rfc9497.json")
    assert report.exit_code == UNCHECKED
    assert {finding.place for finding in report.findings} == {"SHA256SUMS", "rfc9497.json"}


@pytest.mark.parametrize("file", SHIPPED)
def test_every_change_of_a_file_is_noticed(copy, file, monkeypatch) -> None:
    """25 single changes and cuts of each file, wherever they are: 325 in all."""
    monkeypatch.setattr(checking, "OPERATIONS", dict.fromkeys(checking.OPERATIONS, lambda _: {}))
    chosen = random.Random(file)
    good = (copy / file).read_bytes()
    for number in range(25):
        place = chosen.randrange(len(good))
        changed = good[:place] if number % 5 == 0 else flipped(good, place, chosen)
        (copy / file).write_bytes(changed)
        findings = of(check(copy, {file: SHIPPED[file]}), "files")
        assert findings, place
        assert all(finding.place.startswith(file) for finding in findings)


def flipped(octets: bytes, place: int, chosen: random.Random) -> bytes:
    return octets[:place] + bytes([octets[place] ^ chosen.randrange(1, 256)]) + octets[place + 1 :]


def digits(value, path=()):
    """Where hex digits stand in what is expected: paths to texts of nothing else."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from digits(part, (*path, name))
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from digits(part, (*path, place))
    elif isinstance(value, str) and value and set(value) <= set("0123456789abcdef"):
        yield path


@pytest.mark.slow
@pytest.mark.parametrize(
    "file", [name for name in SHIPPED if name not in {"screen.json", "normalisation-1.json", "mail-1.json"}]
)
def test_every_changed_digit_of_what_is_expected_is_noticed_without_the_sums(tmp_path, file) -> None:
    """Of each file a dozen digits, in a file with nothing but that one vector, whose sum is right."""
    chosen = random.Random(file)
    content = json.loads((FOLDER / file).read_bytes())
    places = [
        (group, case, path)
        for group in content["groups"]
        for case in group["cases"]
        for path in digits(case["expected"])
    ]
    for group, case, path in chosen.sample(places, min(12, len(places))):
        changed = json.loads(json.dumps(case))
        *parents, last = ["expected", *path]
        holder = changed
        for name in parents:
            holder = holder[name]
        text, at = holder[last], chosen.randrange(len(holder[last]))
        other = chosen.choice([digit for digit in "0123456789abcdef" if digit != text[at]])
        holder[last] = text[:at] + other + text[at + 1 :]
        (tmp_path / file).write_text(json.dumps(content | {"groups": [group | {"cases": [changed]}]}))
        seal(tmp_path)
        report = check(tmp_path, {file: 1})
        (finding,) = report.findings
        assert (finding.rule, str(finding.severity)) == (group["layer"], "error")
        assert finding.place == f"{file}: {group['name']}, vector 1, {path[0]}"


def elsewhere(error):
    """An operation that fails with the right word, but not where it must."""

    def refuse(_given):
        raise error

    return refuse


def test_a_refusal_by_another_layer_proves_nothing(copy, monkeypatch) -> None:
    """The word is right, and the class of the error too: but nobody knows what the layer itself says."""
    error = BadReply("it was not the reply that was looked at", refusal="wrong-length")
    monkeypatch.setitem(checking.OPERATIONS, "receive_reply", elsewhere(error))
    findings = of(run_one(copy, "refusals.json"), "voprf.client")
    assert any("refused by no part of contactsync" in finding.message for finding in findings)


def test_a_refusal_by_a_layer_that_is_not_named_proves_nothing(copy) -> None:
    edit(copy / "refusals.json", '"layer": "voprf.client"', '"layer": "directory.reader"')
    seal(copy)
    report = run_one(copy, "refusals.json")
    assert report.exit_code == DISPROVEN
    assert "refused by voprf." in report.findings[0].message


@pytest.mark.parametrize("error", [BadDirectory, BadSignature])
def test_a_refusal_with_another_class_of_error_proves_nothing(copy, monkeypatch, error) -> None:
    source = (
        "def parse_reply(reply, n):\n    raise error('not what callers expect', refusal='wrong-length')\n"
    )
    scope = {"__name__": "contactsync.voprf.wire", "error": error}
    exec(source, scope)
    monkeypatch.setattr(primitives.wire, "parse_reply", scope["parse_reply"])
    assert wire.parse_reply is scope["parse_reply"]
    findings = of(run_one(copy, "refusals.json"), "voprf.client")
    assert any(f"refused with the error class {error.__name__}" in finding.message for finding in findings)


def test_what_must_be_refused_and_is_accepted_is_disproven(copy, monkeypatch) -> None:
    monkeypatch.setitem(checking.OPERATIONS, "receive_reply", lambda _given: {})
    findings = of(run_one(copy, "refusals.json"), "voprf.client")
    assert len(findings) > 20
    assert all(finding.message.startswith("refusal differs") for finding in findings)
