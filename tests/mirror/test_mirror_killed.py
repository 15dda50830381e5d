"""kill -9 at any moment, and a full disk: what was served still is, and the next look completes it."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import time

import pytest
from mirror_tools import FirstServer, RunningMirror, rows_kept, state_rows

FIRST = ("+4915100000001", "+12125550100", "+447700900123")
KILLS = 15

pytestmark = pytest.mark.slow


@pytest.mark.timeout(900)
def test_it_is_killed_at_any_moment(publisher, tmp_path):
    """Each time an edition has come that it does not have yet."""
    publisher.crowd = {"49": 60_000}
    publisher.publish(*FIRST)
    data, chance, members = tmp_path / "mirror", random.Random(17), list(FIRST)
    with RunningMirror(publisher, data) as mirror:
        mirror.stop()
    members.append("+4915100000100")
    publisher.publish(*members)
    with RunningMirror(publisher, data) as mirror:
        began = time.monotonic()
        mirror.reaches(2)
        took = time.monotonic() - began
        mirror.stop()
    seen = set()
    for place in range(KILLS):
        members.append(f"+49152000{place:05d}")
        publisher.publish(*members)
        with RunningMirror(publisher, data) as mirror:  # it looks at once
            time.sleep(chance.uniform(0, 1.5 * took))
            mirror.kill()
        kept = json.loads((data / "kept.json").read_bytes())["manifests"]
        seen.add(kept[0] == publisher.manifest.sha256())
        with RunningMirror(publisher, data, "--log-format", "json") as mirror:
            mirror.reaches(publisher.manifest.edition)
            FirstServer(publisher, tmp_path / "first").look_up(mirror, [1, 2, 700])
            assert len(mirror.health()[1]["rows"]) == 2
            mirror.stop()
        assert "ERROR" not in mirror.said()
        assert len(rows_kept(data)) == 2
        assert not list((data / "work").iterdir())
    assert seen == {True, False}, "killed before the switch, and after it"


class SmallDisk:
    """A file system of its own, in memory, with a ballast."""

    def __init__(self, path):
        self.path, self.ballast = path, path / "ballast"

    def fill(self):
        with self.ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass

    def empty(self):
        self.ballast.unlink(missing_ok=True)


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m,mode=700", "tmpfs", str(place)]
    if shutil.which("mount") is None or os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("cannot mount a file system here: a full disk is NOT tested")
    yield SmallDisk(place)
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("labelled", [False, True])
def test_a_full_disk_leaves_what_is_served(publisher, tmp_path, small_disk, labelled):
    if labelled:
        publisher.labels = {FIRST[0]: "anna@example"}
        state_rows(publisher, with_labels=True)
    publisher.publish(*FIRST)
    first = FirstServer(publisher, tmp_path / "first")
    with RunningMirror(publisher, small_disk.path / "mirror") as mirror:
        small_disk.fill()
        publisher.publish(*FIRST, "+4915100000002")
        mirror.until(lambda status, body: status == 200 and "own machine" in (body["problem"] or ""))
        assert "free space" in mirror.said()
        first.look_up(mirror, [1, 2])
        small_disk.empty()
        mirror.reaches(2)
        second = FirstServer(publisher, tmp_path / "second")
        second.look_up(mirror, [1, 2])
        if labelled:
            assert second.labels(mirror, publisher, FIRST[0]) == [b"anna@example"]
        mirror.stop()
