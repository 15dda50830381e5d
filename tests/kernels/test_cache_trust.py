"""Who the compile cache trusts: what lies in it is run as code."""

import hashlib
import os
import pickle
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest

from contactsync.kernels import policy

WAYS_IN = {"group": 0o770, "others": 0o707, "sticky": 0o1777}


def triple(numbers):
    for i in range(numbers.size):
        numbers[i] = numbers[i] * 3


class Payload:
    """Unpickling this creates a file."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


@pytest.fixture
def roots(tmp_path, monkeypatch):
    """The named cache folder and that in the temp folder, both fresh."""
    monkeypatch.setenv(policy.CACHE_DIR, str(tmp_path / "named"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    policy.cache_folders.cache_clear()
    yield tmp_path / "named", tmp_path / f"contactsync-{os.getuid()}"
    policy.cache_folders.cache_clear()


@pytest.fixture
def compiled(monkeypatch):
    """Call the kernel in a fresh dispatcher, as a new process would: whether it had to be compiled."""
    announced = []
    monkeypatch.setattr(policy, "_announce", lambda: announced.append(1))

    def call() -> bool:
        announced.clear()
        numbers = np.arange(4, dtype=np.uint64)
        policy.kernel(triple)(numbers)
        assert list(numbers) == [0, 3, 6, 9]
        return bool(announced)

    return call


def give_away(path: Path, monkeypatch) -> None:
    """Make it somebody else's: really, or (who is not root cannot) by becoming somebody else."""
    if os.getuid() == 0:
        os.chown(path, 65534, -1)
    else:
        somebody_else = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: somebody_else)


def file_in(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


@pytest.mark.slow
def test_it_is_kept_and_found_again(roots, compiled) -> None:
    assert compiled()
    first, second = policy.cache_folders()
    assert [folder.parent.parent for folder in (first, second)] == list(roots)
    assert stat.S_IMODE(file_in(first).stat().st_mode) == 0o600
    for part in (first, first.parent, first.parent.parent, second, second.parent):
        assert stat.S_IMODE(part.stat().st_mode) & 0o022 == 0
    assert not list(second.iterdir())
    assert not compiled()


@pytest.mark.parametrize("level", [0, 1, 2], ids=["fingerprint", "kernels", "root"])
@pytest.mark.parametrize("way", [*WAYS_IN, "symlink", "owner"])
def test_a_folder_that_others_can_write_to_is_left_out(roots, monkeypatch, level, way) -> None:
    first, second = policy.cache_folders()
    part = [first, first.parent, first.parent.parent][level]
    if way == "symlink":
        part.rename(part.with_name("elsewhere"))
        part.symlink_to("elsewhere")
    elif way == "owner":
        give_away(part, monkeypatch)
    else:
        part.chmod(WAYS_IN[way])
    policy.cache_folders.cache_clear()
    # Above the last, a sticky folder will do: /tmp is one. In the last, others could add files.
    left = (first, second) if way == "sticky" and level > 0 else (second,)
    if way == "owner" and os.getuid() != 0:
        left = ()
    assert tuple(folder for folder in policy.cache_folders() if folder in (first, second)) == left


@pytest.mark.slow
@pytest.mark.parametrize("way", ["digest", "mode", "symlink", "owner"])
def test_a_file_that_others_can_have_written_is_not_opened(
    roots, compiled, monkeypatch, tmp_path, way
) -> None:
    assert compiled()
    witness = tmp_path / "witness"
    file = file_in(policy.cache_folders()[0])
    payload = pickle.dumps(Payload(witness))
    file.write_bytes(hashlib.sha256(payload + b"!" * (way == "digest")).digest() + payload)
    if way == "mode":
        file.chmod(0o620)
    elif way == "symlink":
        file.rename(tmp_path / "planted")
        file.symlink_to(tmp_path / "planted")
    elif way == "owner":
        give_away(file, monkeypatch)
    assert compiled()
    assert not witness.exists()


@pytest.mark.slow
def test_the_payload_is_one(roots, compiled, tmp_path) -> None:
    """What the test above keeps out would be executed if it were ours."""
    assert compiled()
    payload = pickle.dumps(Payload(tmp_path / "witness"))
    file_in(policy.cache_folders()[0]).write_bytes(hashlib.sha256(payload).digest() + payload)
    assert compiled()
    assert (tmp_path / "witness").exists()


@pytest.mark.slow
def test_where_nothing_can_be_written(monkeypatch, roots, compiled) -> None:
    def nowhere() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setenv(policy.CACHE_DIR, "/dev/null/cache")
    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    assert policy.cache_folders() == ()
    assert compiled()
    assert compiled()
