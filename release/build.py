"""Builds wheel and sdist so that the same commit gives the same octets, wherever and whenever.

`python release/build.py OUT`, by a Python that has the setuptools of requirements/build.txt. What differs
between machines is taken away: only files that git knows are built, from a copy with the time of the commit
(SOURCE_DATE_EPOCH) and plain modes; umask, locale and time zone are fixed; the sdist is packed anew, in
order. Beside them are the hashes of the web client, for who has no Python.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE, PROGRAM = 0o644, 0o755
BUNDLE = "contactsync/web/bundle"


def build(out: Path) -> list[Path]:
    """Build all of it into a folder; the files. Raises CalledProcessError."""
    out.mkdir(parents=True, exist_ok=True)
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct"))
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "contactsync"
        _copy(place, epoch)
        made = [_run_backend(place, hook, epoch) for hook in ("build_sdist", "build_wheel")]
        found = [Path(shutil.copy(one, out / one.name)) for one in made]
        found += _list_hashes(place / BUNDLE, out)
    _repack(found[0], epoch)
    return found


def _list_hashes(bundle: Path, out: Path) -> list[Path]:
    """What `sha256sum --check` reads: of the page by its paths on a server, and of the bundle's files.

    Which files a page has is what its service worker knows. Raises KeyError if that one is of other files.
    """
    sums = {
        str(path.relative_to(bundle)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(bundle.rglob("*"))
        if path.is_file()
    }
    first_line = (bundle / "page" / "shell.js").read_text().partition("\n")[0]
    known = json.loads(first_line.removeprefix("const RELEASE = ").removesuffix(";"))["files"]
    names = {sha256: name for name, sha256 in sums.items()}
    page = {path: sums[names[sha256]] for path, (sha256, _) in known.items()}
    page["shell.js"] = sums["page/shell.js"]
    lists = {"contactsync-web.sha256": page, "contactsync-bundle.sha256": sums}
    for name, hashes in lists.items():
        (out / name).write_text("".join(f"{hashes[path]}  {path}\n" for path in sorted(hashes)))
    return [out / name for name in lists]


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _copy(place: Path, epoch: int) -> None:
    """The files that git knows, as they are now; links stay links."""
    for name in sorted(_git("ls-files", "-z").split("\0")[:-1]):
        source, target = ROOT / name, place / name
        if not source.is_symlink() and not source.exists():
            continue  # removed, and not committed yet
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target, follow_symlinks=False)
        if not source.is_symlink():
            target.chmod(PROGRAM if source.stat().st_mode & 0o100 else FILE)
            os.utime(target, (epoch, epoch))


def _run_backend(place: Path, hook: str, epoch: int) -> Path:
    """One hook of PEP 517, in a process of its own with a fixed environment."""
    script = f"import sys, setuptools.build_meta as b; print('made', b.{hook}(sys.argv[1]))"
    fixed = {
        "SOURCE_DATE_EPOCH": str(epoch),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PATH": os.defpath,
    }
    out = place.parent / "made"
    out.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", script, str(out)],
        cwd=place, env=fixed, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{hook} failed:\n{done.stderr}")
    return out / done.stdout.splitlines()[-1].removeprefix("made ")


def _repack(path: Path, epoch: int) -> None:
    """The same files in order, of nobody, with one time."""
    out = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as new:
        for entry in sorted(old.getmembers(), key=lambda entry: entry.name):
            plain = tarfile.TarInfo(entry.name)
            plain.type, plain.linkname, plain.mtime = entry.type, entry.linkname, epoch
            plain.mode = PROGRAM if entry.isdir() or entry.mode & 0o100 else FILE
            plain.size = entry.size
            new.addfile(plain, old.extractfile(entry) if entry.isreg() else None)
    with path.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=epoch) as packed:
        packed.write(out.getvalue())


if __name__ == "__main__":
    started = time.monotonic()
    for made in build(Path(sys.argv[1])):
        print(made)
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
