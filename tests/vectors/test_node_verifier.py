"""A second implementation, in JavaScript on @noble/curves, agrees with all vectors of a client."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import make
import pytest

NODE = Path(__file__).parent / "node"
LEFT_OUT = {
    "normalise",
    "normalise_mail",
    "build_directory",
    "write_delta",
    "build_screen",
    "read_manifest",
    "charge",
}

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE / "node_modules").is_dir(),
    reason="needs Node 20, and in tests/vectors/node `npm ci --ignore-scripts`",
)


def verify(folder: Path, *names: str) -> tuple[int, dict]:
    result = subprocess.run(
        ["node", "verify.mjs", str(folder), *names],
        cwd=NODE,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.stdout, result.stderr
    return result.returncode, json.loads(result.stdout)


@needs_node
@pytest.mark.slow
def test_every_vector_of_a_client_is_verified_and_every_refusal_has_its_word() -> None:
    code, report = verify(make.FOLDER)
    assert (code, report["differing"]) == (0, [])
    assert set(report["left_out"]) == LEFT_OUT
    agreed = {one["name"]: one["agree"] for one in report["files"]}
    for path in make.FOLDER.glob("*.json"):
        if path.name != "schema.json":
            groups = json.loads(path.read_bytes())["groups"]
            wanted = sum(len(group["cases"]) for group in groups if group["operation"] not in LEFT_OUT)
            assert agreed.pop(path.name) == wanted, path.name
    assert not agreed


# One digit of what is expected, in the words of each part: a verifier that looks away would not notice.
CHANGES = {
    "rfc9497.json": "proof",
    "refusals.json": "refusal",
    "delta.json": "new_sha256",
    "labels.json": "entry",
    "runs.json": "body",
    "metadata.json": "sha256",
    "log.json": "root",
}


@needs_node
@pytest.mark.slow
@pytest.mark.parametrize(("name", "field"), CHANGES.items())
def test_a_change_of_what_is_expected_is_noticed(tmp_path, name, field) -> None:
    content = json.loads((make.FOLDER / name).read_bytes())
    holder = next(found for group in content["groups"] for case in group["cases"]
                  if (found := first(case["expected"], field)) is not None)  # fmt: skip
    holder[field] = holder[field][:-1] + ("0" if holder[field][-1] != "0" else "1")
    content["groups"] = [
        group | {"cases": [case for case in group["cases"] if contains(case, holder)]}
        for group in content["groups"]
        if contains(group, holder)
    ]
    (tmp_path / name).write_text(json.dumps(content))
    code, report = verify(tmp_path, name)
    assert code == 1
    assert len(report["differing"]) == 1


def first(value, field: str):
    """The first object with a text under this name."""
    if isinstance(value, dict) and isinstance(value.get(field), str):
        return value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((found for part in parts if (found := first(part, field)) is not None), None)


def contains(value, holder) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is holder or any(contains(part, holder) for part in parts)


def test_packages_are_pinned_by_version_and_hash_and_name_no_registry() -> None:
    package = json.loads((NODE / "package.json").read_bytes())
    locked = json.loads((NODE / "package-lock.json").read_bytes())["packages"]
    for name, version in package["dependencies"].items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert locked[f"node_modules/{name}"]["version"] == version
    for place, one in locked.items():
        if place:
            assert one["integrity"].startswith("sha512-")
            assert "resolved" not in one
