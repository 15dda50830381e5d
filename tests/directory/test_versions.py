"""Files of another version: each kind is refused with what it is, what is known, and the way out."""

import hashlib
import struct

import numpy as np
import pytest
from directory_forge import fetcher, sealed

from contactsync.directory import RangeReader, build, open_directory
from contactsync.directory.bounds import LEAST_SCREENED
from contactsync.directory.delta import read_delta, write_delta
from contactsync.directory.screen import MAGIC, build_screen, open_screen
from contactsync.foundation.errors import BadDirectory
from contactsync.tokens import Tokens

KNOWN = {"directory": 2, "delta": 1, "screen": 1}
OTHERS = (0, 1, 2, 3, 255, 256, 65_535)


def tokens(count: int) -> Tokens:
    return Tokens.from_bytes(np.random.default_rng(5).integers(0, 256, (count, 10), dtype=np.uint8))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A directory, the delta that leads to it and its screen, as octets, and what the manifest says of it."""
    tmp_path = tmp_path_factory.mktemp("versions")
    info = build(tmp_path / "directory", [tokens(LEAST_SCREENED)])
    build(tmp_path / "before", [tokens(LEAST_SCREENED - 10)])
    with (
        open_directory(tmp_path / "before", expect=None) as old,
        open_directory(tmp_path / "directory", expect=info) as new,
    ):
        write_delta(tmp_path / "delta", old, new, from_edition=1, to_edition=2)
        build_screen(tmp_path / "screen", new)
    names = ("directory", "delta", "screen")
    return {name: (tmp_path / name).read_bytes() for name in names}, info


def reader(kind, path, info):
    if kind == "directory":
        return lambda: open_directory(path, expect=None).close()
    return (lambda: read_delta(path)) if kind == "delta" else (lambda: open_screen(path, info))


def with_version(kind: str, octets: bytes, version: int) -> bytes:
    """The file, whole and consistent, but of another version."""
    if kind == "screen":
        return MAGIC + struct.pack("<H6x", version) + octets
    changed = octets[:8] + struct.pack("<H", version) + octets[10:]
    return changed[:-32] + hashlib.sha256(changed[:-32]).digest() if kind == "delta" else changed


@pytest.mark.parametrize("kind", ["directory", "delta", "screen"])
def test_another_version_is_named_with_the_way_out(tmp_path, files, kind):
    octets, info = files
    path = tmp_path / "f00d"
    path.write_bytes(octets[kind])
    reader(kind, path, info)()
    for version in set(OTHERS) - {KNOWN[kind]}:
        later = with_version(kind, octets[kind], version)
        # Whatever else is new: its header may be shorter, and its content is nothing to judge it by.
        for content in (later, later[:10], later[:10] + b"\xff" * 500):
            path.write_bytes(content)
            with pytest.raises(BadDirectory) as raised:
                reader(kind, path, info)()
            known = f"this program only reads format {KNOWN[kind]}"
            assert str(raised.value) == f"f00d: {kind} format {version}; {known}"
            newer = version > KNOWN[kind]
            assert raised.value.hint.startswith("Update contactsync" if newer else "The publisher must")
            assert raised.value.refusal == "unknown-version"


@pytest.mark.parametrize("kind", ["directory", "delta", "screen"])
def test_too_few_bytes_to_tell(tmp_path, files, kind):
    octets, info = files
    path = tmp_path / "f"
    for length in (0, 1, 8, 9):
        path.write_bytes(with_version(kind, octets[kind], 7)[:length])
        with pytest.raises(BadDirectory, match=f"{length} bytes are too few for a {kind}") as raised:
            reader(kind, path, info)()
        assert raised.value.refusal == "wrong-length"


def test_single_buckets_of_a_later_version(tmp_path, files):
    octets, _ = files
    content, info = sealed(bytearray(with_version("directory", octets["directory"], 3)))
    with pytest.raises(BadDirectory, match="directory format 3; this program only reads format 2"):
        RangeReader(info, fetcher(content)).match(tokens(3), [0])
