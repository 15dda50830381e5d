"""The compile cache: found again, never trusted when it is damaged or not ours; and the choice of width."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from contactsync.foundation.errors import BadInput
from contactsync.kernels import policy

# `frame` is the cheapest kernel of the real ones.
PROGRAM = """
import numpy as np
from contactsync.kernels import policy, sha512
rows = np.full(128, 255, np.uint8)
none = np.empty(0, np.uint8)
sha512.frame(np.frombuffer(bytearray(b"abc"), np.uint8), np.array([0, 3]), 0, none, none, 0, rows)
assert rows.tobytes() == b"abc\\x80" + bytes(122) + bytes([0, 24])
print(*policy.cache_folders(), sep="\\n")
"""
SAID = "compiling kernels for this machine (once"


class Machine:
    """A home and a temp folder of its own, and processes that use kernels there."""

    def __init__(self, folder: Path) -> None:
        self.cache, self.temporary = folder / "cache", folder / "tmp"
        self.temporary.mkdir()
        self.environment = os.environ | {policy.CACHE_DIR: str(self.cache), "TMPDIR": str(self.temporary)}

    def start(self, **environment: str) -> subprocess.Popen:
        command, pipe = [sys.executable, "-c", PROGRAM], subprocess.PIPE
        environment = self.environment | environment
        return subprocess.Popen(command, env=environment, text=True, stdout=pipe, stderr=pipe)

    def run(self, **environment: str) -> tuple[bool, list[str]]:
        """Whether it compiled, and the folders it would use."""
        process = self.start(**environment)
        out, error = process.communicate()
        assert process.returncode == 0, error
        assert error == "" or error.count("\n") == error.count(SAID) == 1, error
        return SAID in error, out.split()

    def files(self) -> list[Path]:
        return [path for path in self.cache.rglob("*") if path.is_file()]


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.slow
def test_compiles_once_and_says_so(machine) -> None:
    compiled, folders = machine.run()
    assert compiled
    assert folders[0].startswith(str(machine.cache))
    (file,) = machine.files()
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert machine.run() == (False, folders)


@pytest.mark.slow
def test_another_cpu_has_another_folder(machine) -> None:
    machine.run()
    another = "nehalem" if os.environ.get("NUMBA_CPU_NAME") == "generic" else "generic"
    assert machine.run(NUMBA_CPU_NAME=another)[0]
    assert len({file.parent for file in machine.files()}) == 2
    assert not machine.run()[0]


@pytest.mark.slow
def test_a_damaged_file_is_compiled_anew(machine) -> None:
    machine.run()
    (file,) = machine.files()
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (bytes(flipped), whole[:-100], b"", b"not a kernel\n" * 9):
        file.write_bytes(damaged)
        assert machine.run()[0]
        assert file.read_bytes() not in (damaged, b"")
    assert not machine.run()[0]
    file.unlink()
    file.mkdir()  # cannot be replaced: the next folder takes it
    assert machine.run()[0]
    assert not machine.run()[0]


@pytest.mark.slow
def test_a_folder_that_others_may_write_to_is_not_read(machine) -> None:
    machine.run()
    (file,) = machine.files()
    file.parent.chmod(0o777)
    compiled, folders = machine.run()
    assert compiled
    assert [str(machine.temporary) in folder for folder in folders] == [True]


@pytest.mark.slow
def test_without_any_folder_the_code_stays_in_memory(machine) -> None:
    machine.cache.write_text("in the way")
    (machine.temporary / f"contactsync-{os.getuid()}").write_text("in the way")
    assert machine.run() == (True, [])


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache_is_read(machine) -> None:
    machine.run()
    (file,) = machine.files()
    file.parent.chmod(0o500)
    assert not machine.run()[0]
    file.unlink(missing_ok=True)


@pytest.mark.slow
def test_a_cache_in_a_link_is_not_followed(machine) -> None:
    _, folders = machine.run()
    moved = machine.temporary / "elsewhere"
    shutil.move(folders[0], moved)
    Path(folders[0]).symlink_to(moved)
    compiled, folders = machine.run()
    assert compiled
    assert len(folders) == 1


@pytest.mark.slow
def test_first_processes_do_not_disturb_each_other(machine) -> None:
    for process in [machine.start() for _ in range(3)]:
        _, error = process.communicate()
        assert process.returncode == 0, error
    assert len(machine.files()) == 1
    assert not machine.run()[0]


@pytest.fixture
def width(monkeypatch):
    policy.lanes.cache_clear()

    def choose(value: str) -> int:
        monkeypatch.setenv(policy.LANES, value)
        return policy.lanes()

    yield choose
    policy.lanes.cache_clear()


def test_the_cpu_decides_unless_the_variable_does(width) -> None:
    assert width("") == (8 if policy.has_ifma() else 1)
    policy.lanes.cache_clear()
    assert width("1") == 1


@pytest.mark.parametrize("value", ["0", "4", "eight", "16", " 8"])
def test_other_widths_are_refused(width, value) -> None:
    with pytest.raises(BadInput, match="neither 1 nor 8"):
        width(value)


@pytest.mark.slow
def test_eight_lanes_without_the_unit_are_refused_before_anything_compiles() -> None:
    command = [sys.executable, "-m", "contactsync", "warmup"]
    environment = os.environ | {policy.LANES: "8", "NUMBA_CPU_NAME": "generic"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "error: CONTACTSYNC_LANES=8 needs a CPU with AVX-512 IFMA" in done.stderr
    assert "hint: " in done.stderr
