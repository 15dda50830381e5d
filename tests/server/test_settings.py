"""The data folder."""

import subprocess
import sys

import pytest

from contactsync.foundation.errors import BadInput
from contactsync.server.settings import Busy, DataFolder, Settings


def test_defaults_are_what_the_template_says(tmp_path):
    folder = DataFolder(tmp_path / "new" / "server")
    folder.create()
    folder.finish()
    assert DataFolder.existing(folder.path).settings() == Settings()
    assert folder.path.stat().st_mode & 0o777 == 0o700


def test_create_refuses_what_is_in_use(tmp_path):
    folder = DataFolder(tmp_path / "server")
    folder.create()
    with pytest.raises(BadInput, match="not an empty folder"):
        folder.create()
    folder.finish()
    with pytest.raises(BadInput, match="already"):
        folder.create()
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput):
        DataFolder(tmp_path / "file").create()


def test_existing_says_how_to_begin(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BadInput, match="not the data folder") as raised:
            DataFolder.existing(path)
        assert "server init" in raised.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "layout",
        "layout = 2",
        "surprise = 1",
        "remainder_bits = 33",
        "remainder_bits = '32'",
        "evaluator_queue = 0",
        "evaluator_threads = true",
        "evaluator_threads = -1",
        "[evaluator_threads]",
        "\x00",
    ],
)
def test_bad_settings(tmp_path, text):
    (tmp_path / "server.toml").write_text(text)
    with pytest.raises(BadInput, match=r"server\.toml"):
        Settings.read(tmp_path / "server.toml")


HOLDER = """
import pathlib, sys, time
from contactsync.server.settings import DataFolder
with DataFolder(pathlib.Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_is_for_one_and_dies_with_its_process(tmp_path):
    folder = DataFolder(tmp_path)
    with folder.lock(), pytest.raises(Busy, match="another process"), DataFolder(tmp_path).lock():
        pass
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Busy), folder.lock():
            pass
        holder.kill()
        holder.wait()
    with folder.lock():
        pass
