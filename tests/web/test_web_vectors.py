"""The JavaScript client agrees with every vector of a client, and refuses by the right word."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from javascript import ROOT, needs_packages

FOLDER = ROOT / "contactsync" / "vectors"
RUNNER = Path(__file__).parent / "vectors.mjs"
SERVERS = {
    "build_directory",
    "write_delta",
    "build_screen",
    "receive_request",
    "evaluate",
    "key",
    "epoch_key",
}
SERVERS |= {"batch_name", "charge", "oprf"}
BELOW = {"expand_message_xmd"}  # @noble/curves alone
# Of the log: what logs, witnesses and auditors do, and proofs, which this client makes from tiles itself.
SERVERS |= {"log_files", "sign_note", "add_checkpoint", "log_entries", "log_entry"}
SERVERS |= {"inclusion", "consistency"}


def verify(folder: Path, *names: str, group: str = "libsodium"):
    done = subprocess.run(
        ["node", str(RUNNER), str(folder), *names],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"GROUP": group},
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@needs_packages
@pytest.mark.slow
@pytest.mark.parametrize("group", ["libsodium", "noble"])
def test_every_vector_of_a_client_holds(group) -> None:
    code, report = verify(FOLDER, group=group)
    assert (code, report["differing"]) == (0, [])
    assert set(report["left_out"]) == SERVERS | BELOW
    tallies = {one["name"]: (one["agree"], one["refused"]) for one in report["files"] if one["agree"]}
    assert tallies == {
        "delta.json": (47, 35),
        "directory.json": (97, 50),
        "edges.json": (49, 0),
        "forms-1.json": (89, 0),
        "labels.json": (94, 53),
        "log.json": (64, 47),
        "mail-1.json": (105, 0),
        "manifest.json": (198, 167),
        "metadata.json": (84, 60),
        "normalisation-1.json": (139, 0),
        "refusals.json": (34, 32),
        "rfc9496.json": (56, 0),
        "rfc9497.json": (3, 0),
        "runs.json": (52, 23),
        "screen.json": (26, 21),
    }


# One digit of what is expected: a client that looks away would not notice.
CHANGES = (
    ("refusals.json", "refusal"),
    ("delta.json", "new_sha256"),
    ("runs.json", "body"),
    ("runs.json", "seed"),
    ("metadata.json", "sha256"),
    ("manifest.json", "refusal"),
    ("normalisation-1.json", "identifier"),
    ("mail-1.json", "identifier"),
    ("labels.json", "entries_sha256"),
    ("log.json", "signed"),
    ("screen.json", "refusal"),
)


@needs_packages
@pytest.mark.slow
@pytest.mark.parametrize(("name", "field"), CHANGES)
def test_a_change_of_what_is_expected_is_noticed(tmp_path, name, field) -> None:
    content = json.loads((FOLDER / name).read_bytes())
    operations = SERVERS | BELOW
    content["groups"] = [one for one in content["groups"] if one["operation"] not in operations]
    holder = first([[case["expected"] for case in group["cases"]] for group in content["groups"]], field)
    holder[field] = holder[field][:-1] + ("0" if holder[field][-1] != "0" else "1")
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
