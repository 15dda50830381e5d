"""The demo, as somebody who has just cloned the project runs it."""

import re
import subprocess
import sys

import pytest

from contactsync.client.transcript import read_transcript


@pytest.mark.slow
def test_the_demo_runs_the_main_job_and_shows_what_was_really_sent(tmp_path):
    keep = tmp_path / "kept"
    done = subprocess.run(
        [sys.executable, "-m", "contactsync", "demo", "--members", "300", "--keep", keep],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "1 edition 1: 300 members" in said.replace(",", "")
    matches, numbers = map(int, re.search(r"(\d+) matches among (\d+) numbers", said).groups())
    assert 5 < matches < numbers / 2
    assert "the server could learn" in said
    assert re.search(r"Of \d+ numbers and hashes, 0 occur", said)
    sent = b"".join(piece.data for piece in read_transcript(keep / "transcript") if piece.sent)
    point = bytes.fromhex(re.search(r"this protocol +([0-9a-f]{64})", said)[1])
    assert sent.count(point) == 1
    assert len(re.findall(r"^\$ contactsync ", said, re.MULTILINE)) == 7
    assert (keep / "credential").stat().st_mode & 0o777 == 0o600
    again = subprocess.run(
        [sys.executable, "-m", "contactsync", "demo", "--keep", keep],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert again.returncode == 3
    assert "name a new folder" in again.stderr
