"""The harness that cuts the power, on writers that are known to be right or wrong, and on durable.py."""

import pytest
from power_cut import needs_strace, python, record

pytestmark = needs_strace

RIGHT = "durable.write(path, new)"
WRONG = {
    "in place": "path.write_bytes(new)",
    "no fsync of the file": """
scratch.write_bytes(new)
durable.rename(scratch, path)
""",
    "fsync after the rename": """
scratch.write_bytes(new)
scratch.replace(path)
with path.open("rb") as file:
    os.fsync(file.fileno())
durable.sync_folder(path.parent)
""",
    "no fsync of the folder": """
with scratch.open("wb") as file:
    file.write(new)
    file.flush()
    os.fsync(file.fileno())
scratch.replace(path)
""",
    "only the name": """
with scratch.open("wb") as file:
    file.write(new)
    os.fsync(file.fileno()) # what Python still holds is not in it
durable.rename(scratch, path)
""",
}
HEAD = """
import os, sys, pathlib
from contactsync.foundation import durable
path, new = pathlib.Path(sys.argv[1]), b"new" * 1000
scratch = path.with_name("scratch")
"""
OLD, NEW = b"old" * 800, b"new" * 1000


def holds(script, tmp_path):
    """Whether old or new is found after every cut, and new after every one after success was printed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "file").write_bytes(OLD)
    recording = record(disk, python(f"{HEAD}{script}\nprint('done', flush=True)", disk / "file"))
    cuts = recording.cuts()
    found = set()
    for cut in cuts:
        contents = {name: content for name, _, content in cut.tree}
        found.add((contents.get("file", b"missing"), cut.said.strip()))
    assert {(OLD, ""), (NEW, "done")} <= found  # it has cut before and after
    return found <= {(OLD, ""), (NEW, ""), (NEW, "done")}


def test_a_right_writer_holds(tmp_path):
    assert holds(RIGHT, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("script", WRONG.values(), ids=WRONG)
def test_a_wrong_writer_is_caught(tmp_path, script):
    assert not holds(script, tmp_path)
