"""The data folder."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from contactsync.foundation.errors import BadInput, OurError
from contactsync.server.quota import PointQuota
from contactsync.server.settings import Busy, DataFolder, Settings, table, template

ROOT = Path(__file__).parents[2]


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
    ("text", "said"),
    [
        ("layout", "not TOML"),
        ("layout = 0", "the value of layout must be 1"),
        ("layout = true", "the value of layout must be 1"),
        ("layout = '1'", "the value of layout must be 1"),
        ("surprise = 1", "surprise"),
        ("remainder_bits = 33", "must be 32 or 40"),
        ("remainder_bits = '32'", "must be 32 or 40"),
        ("evaluator_queue = 0", "must be 1 to 65536"),
        ("evaluator_threads = true", "must be 0 to 1024"),
        ("evaluator_threads = -1", "must be 0 to 1024"),
        ("[evaluator_threads]", "must be 0 to 1024"),
        ("quota = 1", "quota must have one table for each class"),
        ("[quota]\nburst = 1", "quota must have one table for each class"),
        ("[quota.default]\nburst = 0", "the value of quota.default.burst must be 1 to 1000000000"),
        ("[quota.default]\nper_day = 1.5", "the value of quota.default.per_day must be 1 to 1000000000"),
        ("[quota.x]\nper_week = 1", "quota.x.per_week"),
        ("[quota.X]", "invalid quota class name, 'X'"),
        ("[quota.none]", "invalid quota class name, 'none'"),
        ("\x00", "not TOML"),
    ],
)
def test_bad_settings(tmp_path, text, said):
    (tmp_path / "server.toml").write_text(text)
    with pytest.raises(BadInput, match=rf"server\.toml.*{said}"):
        Settings.read(tmp_path / "server.toml")


def test_every_allowed_end_is_allowed(tmp_path):
    for setting in (one for one in fields(Settings) if one.metadata):
        for value in (setting.metadata["allowed"][0], setting.metadata["allowed"][-1]):
            (tmp_path / "server.toml").write_text(f"{setting.name} = {value}")
            assert getattr(Settings.read(tmp_path / "server.toml"), setting.name) == value


def test_a_class_of_quotas_takes_what_it_does_not_state_from_the_default(tmp_path):
    path = tmp_path / "server.toml"
    path.write_text("[quota.partner]\nburst = 5\n[quota.business]\nper_day = 6\n")
    assert Settings.read(path).quotas == {
        "default": PointQuota(),
        "partner": PointQuota(5, PointQuota().per_day),
        "business": PointQuota(PointQuota().burst, 6),
    }
    path.write_text("[quota.default]\nburst = 7\n[quota.partner]\nper_day = 8\n")
    assert Settings.read(path).quotas == {"default": PointQuota(7), "partner": PointQuota(7, 8)}


def test_the_document_states_what_the_program_does():
    assert table() in (ROOT / "docs" / "operations.md").read_text("utf-8")


def test_settings_of_a_newer_layout_are_refused_with_a_way_out(tmp_path):
    (tmp_path / "server.toml").write_text("layout = 2\nsomething_new = 1\n")
    with pytest.raises(OurError, match=r"server\.toml has version 2") as raised:
        Settings.read(tmp_path / "server.toml")
    assert "update contactsync" in raised.value.hint


def test_settings_of_an_earlier_layout_are_read_and_the_file_is_left_alone(tmp_path, monkeypatch):
    text = "# ours\nlayout = 1\nbits = 40 # why\n"
    (tmp_path / "server.toml").write_text(text)

    def step(values):
        return {("remainder_bits" if name == "bits" else name): value for name, value in values.items()}

    monkeypatch.setattr("contactsync.server.settings.SETTINGS_STEPS", [step])
    assert Settings.read(tmp_path / "server.toml").remainder_bits == 40
    assert (tmp_path / "server.toml").read_text() == text
    assert template().splitlines()[1] == "layout = 2"


def test_what_version_1_wrote(version_1):
    assert DataFolder.existing(version_1 / "server").settings() == Settings()


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
