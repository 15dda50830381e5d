"""The process that serves holds what an online server must, and no keys of the root and the targets."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from power_cut import needs_strace
from server_tools import GERMAN, Operator, Process

OFFLINE = ("tuf-root.json", "tuf-targets.json")


@pytest.fixture
def old(tmp_path):
    """A folder whose signatures are all due, the root's included."""
    operator = Operator(tmp_path / "server", now=datetime.now(UTC) - timedelta(days=300))
    operator.add(GERMAN)
    operator.publish()
    long_ago = datetime.now(UTC) - timedelta(days=60)
    operator.repository.publish([operator.manifest()], operator.keyring.signers(), long_ago)
    yield operator
    operator.close()


def is_renewed(operator):
    return operator.repository.expiries()["timestamp"] > datetime.now(UTC) + timedelta(days=6)


def wait_for_renewal(operator):
    end = time.monotonic() + 20
    while not is_renewed(operator):
        assert time.monotonic() < end, "the timestamp was not renewed"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["absent", "folders", "mode 000", "junk", "open to all"])
def test_serve_without_the_offline_keys(old, case):
    """Whatever became of their files, the online roles are renewed and nothing is said about the others."""
    for name in OFFLINE:
        path = old.folder.keys / name
        match case:
            case "absent":
                path.unlink()
            case "folders":  # no user, root included, can read these
                path.unlink()
                path.mkdir(mode=0o700)
            case "mode 000":
                path.chmod(0)
            case "junk":
                path.write_bytes(b"junk")
            case "open to all":
                path.chmod(0o644)
    before = old.repository.root_bytes(), old.repository.expiries()["targets"]
    with Process(old.folder.path) as process:
        wait_for_renewal(old)
        assert process.stop() == 0
        said = process.log.read_text()
    assert "signed anew: snapshot, timestamp" in said
    assert "could not be renewed" not in said
    assert (old.repository.root_bytes(), old.repository.expiries()["targets"]) == before


@needs_strace
@pytest.mark.slow
def test_the_key_files_that_the_serving_process_opens(old, tmp_path):
    trace = tmp_path / "trace"
    calls = "trace=open,openat,openat2,name_to_handle_at,link,linkat,rename,renameat,renameat2"
    serve = [sys.executable, "-m", "contactsync", "server", "serve", "--data", str(old.folder.path)]
    command = [shutil.which("strace"), "-f", "-qq", "-o", str(trace), "-e", calls, *serve, "--port", "0"]
    popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert popen.stdout.readline().startswith("listening on ")
        wait_for_renewal(old)
    finally:
        os.kill(int(trace.read_text().split(None, 1)[0]), signal.SIGTERM)  # the server: strace follows it
        popen.wait(30)
        popen.stdout.close()
    opened = set(re.findall(r'"[^"]*/keys/([^"/]+)"', trace.read_text()))
    assert opened == {"keyring.json", "tuf-snapshot.json", "tuf-timestamp.json", "voprf-people-1.json"}
