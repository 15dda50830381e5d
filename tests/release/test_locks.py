"""requirements/ has what pyproject.toml asks for, each file by its hash, and names no registry."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKS = {
    "runtime.txt": PROJECT["dependencies"],
    "all.txt": [
        *PROJECT["dependencies"],
        *EXTRAS["cloud"],
        *EXTRAS["dask"],
        *EXTRAS["keyring"],
        *EXTRAS["plots"],
        *EXTRAS["postgres"],
    ],
    "build.txt": ["setuptools>=77"],
}


def locked(name):
    """The versions in a lock, by name; every one must have hashes."""
    text = (ROOT / "requirements" / name).read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.match(
            r"([A-Za-z0-9._-]+)(\[[\w,-]+\])?==(\S+)((?:\s+;[^-]*)?)((?:\s+--hash=sha256:[0-9a-f]{64})+)\s*$",
            line,
        )
        assert match, f"{name}: {line[:80]}"
        found[canonicalize_name(match[1])] = match[3]
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_what_the_project_asks_for_is_locked(name):
    found = locked(name)
    for text in LOCKS[name]:
        wanted = Requirement(text)
        version = found.get(canonicalize_name(wanted.name))
        assert version is not None, f"{text} is not in requirements/{name}: run make lock"
        assert wanted.specifier.contains(version), f"requirements/{name} has {version}: run make lock"


@pytest.mark.parametrize("name", LOCKS)
def test_what_these_ask_for_is_locked_too(name):
    """As far as it is installed here: its own requirements tell."""
    found = locked(name)
    for package in found:
        try:
            if metadata.version(package) != str(found[package]):
                continue  # another version, which may ask for something else
            required = metadata.requires(package) or []
        except metadata.PackageNotFoundError:
            continue
        for wanted in map(Requirement, required):
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                assert canonicalize_name(wanted.name) in found, f"{package} needs {wanted}: run make lock"


@pytest.mark.parametrize("name", LOCKS)
def test_no_registry_is_named(name):
    text = (ROOT / "requirements" / name).read_text()
    assert not re.search(
        r"https?://|file:/|--(extra-)?index-url|--find-links|--trusted-host|/opt|/work|/tmp", text
    )
