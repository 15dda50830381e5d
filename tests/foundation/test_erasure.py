"""Erasing: overwritten before it is unlinked, on and on past what cannot be, and nothing outside touched."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from contactsync.foundation import durable, erasure

NOBODY = 65534


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "one").write_bytes(b"1" * 3_000_000)
    (folder / "below" / "two").write_bytes(b"2" * 10)
    (folder / "below" / "empty").touch()
    return folder


def remains(erased):
    return {one.path.name: one.reason for one in erased.remains}


def test_files_are_zeros_before_their_names_go(folder):
    with (folder / "one").open("rb") as one, (folder / "below" / "two").open("rb") as two:
        erased = erasure.erase(folder)
        assert one.read() == bytes(3_000_000)
        assert two.read() == bytes(10)
    assert (erased.files, erased.octets, erased.remains) == (3, 3_000_010, [])
    assert not folder.exists()
    assert erasure.erase(folder) == erasure.Erased()


def test_what_is_spared_stays_as_it_is(folder):
    erased = erasure.erase(folder, spare=frozenset({folder / "one"}))
    assert (erased.files, erased.remains) == (2, [])
    assert [path.name for path in folder.iterdir()] == ["one"]
    assert (folder / "one").read_bytes()[:1] == b"1"


def test_a_single_file(folder):
    assert erasure.erase(folder / "one").octets == 3_000_000
    assert not (folder / "one").exists()


def test_permissions_that_keep_the_owner_out_are_no_reason(folder):
    """As root nothing keeps anybody out: then this is done by somebody else below."""
    (folder / "below" / "two").chmod(0)
    (folder / "below").chmod(0)
    folder.chmod(0o500)
    assert erasure.erase(folder).remains == []
    assert not folder.exists()


def test_no_link_is_followed_out_of_the_folder(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"precious")
    (folder / "to-file").symlink_to(outside / "file")
    (folder / "below" / "to-folder").symlink_to(outside)
    (folder / "hard").hardlink_to(outside / "file")
    (folder / "dangling").symlink_to(tmp_path / "nowhere")
    (folder / "inside").symlink_to("below/two")
    erased = erasure.erase(folder)
    assert set(remains(erased)) == {"to-file", "to-folder", "hard"}
    assert "another name" in remains(erased)["hard"]
    assert "link that leads out of" in remains(erased)["to-file"]
    assert (outside / "file").read_bytes() == b"precious"
    assert erased.files == 3
    (outside / "file").unlink()
    erased = erasure.erase(folder)
    assert (set(remains(erased)), erased.files) == ({"to-folder"}, 1), "the other name is gone, so it is ours"
    (folder / "below" / "to-folder").unlink()
    assert erasure.erase(folder).remains == []
    assert not folder.exists()


def test_a_folder_that_is_a_link_is_not_followed(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert set(remains(erasure.erase(tmp_path / "link"))) == {"link"}
    assert (folder / "one").stat().st_size == 3_000_000


def test_two_names_in_the_folder_are_one_file(folder):
    (folder / "below" / "hard").hardlink_to(folder / "one")
    with (folder / "one").open("rb") as one:
        erased = erasure.erase(folder)
        assert one.read() == bytes(3_000_000)
    assert (erased.files, erased.remains) == (3, [])
    assert not folder.exists()


def test_a_pipe_does_not_hold_it_up(folder):
    os.mkfifo(folder / "pipe")
    assert erasure.erase(folder).remains == []


def test_a_fault_in_the_middle_stops_nothing(folder, monkeypatch):
    real = durable.overwrite

    def overwrite(descriptor):
        if os.fstat(descriptor).st_size == 10:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor)

    monkeypatch.setattr(durable, "overwrite", overwrite)
    erased = erasure.erase(folder)
    assert (erased.files, remains(erased)) == (2, {"two": "Input/output error"})
    assert (folder / "below" / "two").read_bytes() == b"2" * 10, "not removed: that would not erase it"
    monkeypatch.undo()
    assert erasure.erase(folder).remains == []
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_as_somebody_who_may_not_do_everything():
    """Files without permissions are erased by their owner; those of another owner are listed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "folder"
        (folder / "locked").mkdir(parents=True)
        for path in (folder / "of-root", folder / "mine", folder / "locked" / "file"):
            path.write_bytes(b"x" * 100)
            path.chmod(0)
        (folder / "closed").mkdir(mode=0o700)
        (folder / "closed" / "file").touch()
        for path in (Path(name), folder, folder / "mine", folder / "locked", folder / "locked" / "file"):
            os.chown(path, NOBODY, NOBODY)
        (folder / "locked").chmod(0)
        script = f"""
import os, pathlib
from contactsync.foundation import erasure
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
erased = erasure.erase(pathlib.Path({str(folder)!r}))
print(erased.files, *sorted(f"{{one.path.name}}={{one.reason}}" for one in erased.remains), sep=";")
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout == "2;closed=Permission denied;of-root=Operation not permitted\n"
        assert {path.name for path in folder.iterdir()} == {"of-root", "closed"}
        assert (folder / "of-root").read_bytes() == b"x" * 100


def test_blank(tmp_path):
    path = tmp_path / "file"
    assert erasure.is_blank(path)
    erasure.blank(path)
    assert not path.exists()
    path.write_bytes(bytes(2_000_000) + b"x")
    assert not erasure.is_blank(path)
    erasure.blank(path)
    assert erasure.is_blank(path)
    assert path.stat().st_size == 2_000_001
    path.write_bytes(b"x")
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match="symbolic"):
        erasure.blank(tmp_path / "link")
    assert path.read_bytes() == b"x"
