"""That `ghosts` finds what a raw disk holds: each way to lose a file, with and without zeros before."""

import pytest
from power_cut import needs_strace, python, record
from raw_disk import created, ghosts, readable

pytestmark = needs_strace
SECRET = b"+4915100000001"

HEAD = f"""
import os, sys
def at(name):
    return os.path.join(sys.argv[1], name)
def unlink(name):
    os.unlink(at(name))
def put(name, octets, sync=True, flags=0):
    file = os.open(at(name), os.O_WRONLY | os.O_CREAT | flags)
    os.write(file, octets)
    if sync:
        os.fsync(file)
    os.close(file)
secret, zeros = {SECRET!r} * 3, bytes({3 * len(SECRET)})
put("file", secret)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "found"),
    [
        ('unlink("file")', True),
        ('put("file", zeros); unlink("file")', False),
        ('put("file", zeros, sync=False); unlink("file")', True),
        ('put("file", b"", flags=os.O_TRUNC)', True),
        ('put("file", zeros); put("file", b"", flags=os.O_TRUNC)', False),
        ('put("other", b"x"); os.rename(at("other"), at("file"))', True),
        ('os.rename(at("file"), at("other")); put("other", zeros); unlink("other")', False),
        ('put("new", secret, sync=False); unlink("new"); put("file", zeros); unlink("file")', True),
        ("pass", False),
    ],
)
def test_what_is_freed(tmp_path, script, found):
    disk = tmp_path / "disk"
    disk.mkdir()
    recording = record(disk, python(HEAD + script, disk))
    assert any(readable({SECRET}, octets) for _, octets in ghosts(recording)) is found
    assert "file" in created(recording)
