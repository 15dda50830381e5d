"""The demo, as somebody who has just cloned the project runs it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from contactsync.client.transcript import read_transcript

README = Path(__file__).resolve().parents[2] / "README.md"
DIFFERENT_EACH_TIME = (
    r"[0-9a-f]{64}|[0-9a-f]{4}( [0-9a-f]{4}){15}",  # fingerprints and points
    r"(?<=127\.0\.0\.1:)\d+",
    r"(?<=log contactsync/)[0-9a-f]{16}",
    r"(?<=takes ).+(?= on one core)|(?<=\().+(?= a second)",
    r"[\d,]+(?= bytes sent)",  # the length of the port's decimal
)


def without_what_differs(said):
    for pattern in DIFFERENT_EACH_TIME:
        said = re.sub(pattern, "…", said)
    return said


@pytest.mark.slow
def test_the_demo_runs_the_main_job_and_shows_what_was_really_sent(tmp_path):
    keep = tmp_path / "kept"
    done = subprocess.run(
        [sys.executable, "-m", "contactsync", "demo", "--keep", keep],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    said = re.sub(r"contactsync: compiling .*\n", "", done.stdout)  # only where it was not done before
    said = said.removesuffix(f"\nEverything is in {keep}.\n")
    session = re.search(r"```console\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[1]
    assert without_what_differs(session) == without_what_differs(said), "README.md shows another session"
    matches, numbers = map(int, re.search(r"(\d+) matches among (\d+) numbers", said).groups())
    assert 5 < matches < numbers / 2
    assert "the server could learn" in said
    assert re.search(r"Of these \d+ numbers and hashes, 0 occur", said)
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
    assert "give a new folder" in again.stderr


@pytest.mark.slow
def test_a_demo_that_is_told_to_stop_leaves_nothing_behind(tmp_path):
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "contactsync", "demo", "--members", "100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        url = next(line.split()[-1] for line in process.stdout if line.startswith("listening on "))
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert not list(tmp_path.glob("contactsync-demo-*"))
    with pytest.raises(OSError, match="refused"):
        urlopen(f"{url}/v1/health", timeout=5)
