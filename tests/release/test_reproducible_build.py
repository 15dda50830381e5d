"""The same sources give the same wheel and sdist, whoever builds them, where and when; and what is in them
works.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EPOCH = "1767225600"


def checkout(place):
    """A copy of the sources, as git knows them, in a repository of its own."""
    known = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, known.decode().split("\0")):
        if (ROOT / name).is_symlink() or (ROOT / name).exists():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name, follow_symlinks=False)
    subprocess.run(["git", "init", "-q"], cwd=place, check=True)
    subprocess.run(["git", "add", "-A"], cwd=place, check=True)
    return place


def built(place, out, umask, **environment):
    done = subprocess.run(
        ["sh", "-c", f'umask {umask}; exec "$@"', "sh", sys.executable, "release/build.py", str(out)],
        cwd=place,
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """Two builds that have nothing in common but the sources."""
    folder = tmp_path_factory.mktemp("builds")
    one = checkout(folder / "a")
    other = checkout(folder / "another place" / "with ünicode")
    for path in other.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (1, 1))
            path.chmod(path.stat().st_mode & 0o700)
    (other / "contactsync" / "left.py").write_text("# not known to git\n")
    return (
        built(one, folder / "one", "002", LC_ALL="C", TZ="UTC", PYTHONHASHSEED="1"),
        built(other, folder / "other", "077", LC_ALL="C.UTF-8", TZ="Pacific/Kiritimati", PYTHONHASHSEED="2"),
        folder / "one",
    )


@pytest.mark.slow
def test_two_builds_are_the_same_octets(twice):
    one, other, _ = twice
    assert sorted(one) == [
        "contactsync-0.1.0-py3-none-any.whl",
        "contactsync-0.1.0.tar.gz",
        "contactsync-bundle.sha256",
        "contactsync-web.sha256",
    ]
    for name in one:
        assert one[name] == other[name], name


@pytest.mark.slow
def test_they_hold_the_package_and_its_documents_and_nothing_else(twice):
    _, _, folder = twice
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    with tarfile.open(next(folder.glob("*.tar.gz"))) as sdist:
        entries = sdist.getmembers()
    documents = {f"contactsync/docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert documents <= names
    assert {"contactsync/vectors/rfc9497.json", "contactsync/py.typed"} <= names
    assert not any(name.startswith(("tests/", "bench/")) or "left.py" in name for name in names)
    assert all(
        (entry.uid, entry.gid, entry.uname, entry.mtime) == (0, 0, "", int(EPOCH)) for entry in entries
    )


@pytest.mark.slow
def test_the_hashes_of_the_bundle_are_those_of_the_wheel(twice):
    one, _, folder = twice
    prefix = "contactsync/web/bundle/"
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        held = {
            name.removeprefix(prefix): hashlib.sha256(wheel.read(name)).hexdigest()
            for name in wheel.namelist()
            if name.startswith(prefix)
        }
    lines = one["contactsync-bundle.sha256"].decode().splitlines()
    assert {line[66:]: line[:64] for line in lines} == held
    assert len(held) > 9


@pytest.mark.slow
def test_the_wheel_works_without_the_sources(twice, tmp_path):
    _, _, folder = twice
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-m", "contactsync", "docs", "threat-model"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "# Threat model" in done.stdout
