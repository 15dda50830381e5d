"""Publishing at intervals: the loop by itself, and as the process beside `serve`, however that ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from server_tools import GERMAN, Process, run

from contactsync.commands.server import publish_loop
from contactsync.commands.server.publish_loop import passphrase_from_pipe, publish_every
from contactsync.foundation.errors import OurError


class Rounds:
    """Stands for `Stop`: lets a number of rounds pass."""

    def __init__(self, rounds):
        self.left = rounds
        self.waited = []

    def within(self, seconds):
        self.waited.append(seconds)
        self.left -= 1
        return self.left == 0


def test_it_publishes_at_once_and_then_only_what_has_changed(monkeypatch):
    done, changed = [], iter([False, False, True, False])
    stop = Rounds(4)
    publish_every(600, lambda: done.append(len(stop.waited)), lambda: next(changed), stop)
    assert (done, stop.waited) == ([0, 2], [600] * 4)


def test_signatures_are_renewed_even_if_nobody_joins(monkeypatch):
    monkeypatch.setattr(publish_loop, "SIGNED_EVERY", 0.0)
    done = []
    publish_every(600, lambda: done.append(1), lambda: False, Rounds(3))
    assert len(done) == 3


def test_an_error_ends_it_only_at_the_first_time(capsys):
    failing = iter([False, True, False])
    done = []

    def publish():
        if next(failing):
            raise OurError("the disk is full")
        done.append(1)

    publish_every(600, publish, lambda: True, Rounds(3))
    assert len(done) == 2
    assert "error: the disk is full; trying again in 600 seconds" in capsys.readouterr().err
    failing = iter([True])
    with pytest.raises(OurError):
        publish_every(600, publish, lambda: True, Rounds(1))


def test_a_passphrase_comes_first_in_a_pipe_that_stays_open():
    reading, writing = os.pipe()
    os.write(writing, b"a pass phrase\n\nrest")
    assert passphrase_from_pipe(reading) == b"a pass phrase"
    assert passphrase_from_pipe(reading) is None
    assert os.read(reading, 9) == b"rest"
    os.close(reading)
    os.close(writing)


def manifest_of(operator):
    return operator.repository.current("people")


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def children(pid):
    """Processes that `serve` has started, by what they run."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError, IndexError):
            continue
        if parent == pid:
            found[int(entry.name)] = words
    return found


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_serve_publishes_through_a_process_that_ends_with_it(operator, end):
    operator.add(GERMAN)
    with Process(operator.folder.path, "--publish-every", "1s") as process:
        until(lambda: manifest_of(operator) is not None and manifest_of(operator).count == 1)
        run("members", "add", f"+{GERMAN + 1}", data=operator.folder.path)
        until(lambda: manifest_of(operator).count == 2)
        (child,) = [pid for pid, words in children(process.popen.pid).items() if b"publish" in words]
        os.kill(child, signal.SIGKILL)  # it is started again
        run("members", "add", f"+{GERMAN + 2}", data=operator.folder.path)
        until(lambda: manifest_of(operator).count == 3)
        (again,) = [pid for pid, words in children(process.popen.pid).items() if b"publish" in words]
        assert again != child
        files = [str(path.readlink()) for path in Path(f"/proc/{process.popen.pid}/fd").iterdir()]
        assert not any("registry" in name for name in files), "serve itself never opens the members"
        process.popen.send_signal(end)
        assert process.popen.wait(30) == (0 if end == signal.SIGTERM else -end)
        until(lambda: not is_alive(again), 30)
        assert "starting it again" in process.log.read_text()


@pytest.mark.slow
def test_the_passphrase_goes_through_the_pipe_and_no_argument(tmp_path):
    data, secret = tmp_path / "server", tmp_path / "secret"
    secret.write_text("correct horse\n")
    run("init", "--passphrase-file", str(secret), data=data)
    run("members", "add", f"+{GERMAN}", data=data)
    with Process(data, "--publish-every", "1s", "--passphrase-file", str(secret)) as process:
        until(lambda: json.loads(run("status", "--json", data=data))["audiences"][0]["edition"] == 1)
        for pid in (process.popen.pid, *children(process.popen.pid)):
            for name in ("cmdline", "environ"):
                assert b"correct horse" not in Path(f"/proc/{pid}/{name}").read_bytes()
        assert process.stop() == 0


@pytest.mark.slow
def test_the_loop_alone_ends_by_a_signal(operator):
    operator.add(GERMAN)
    command = [sys.executable, "-m", "contactsync", "server", "publish", "--every", "1h"]
    loop = subprocess.Popen(
        [*command, "--data", str(operator.folder.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert loop.stdout.readline().startswith("people: epoch 1, edition 1: 1 member in 1 partition")
    assert loop.stdout.readline().startswith("  49: 1 member (new)")
    assert loop.stdout.readline().startswith("  clients download ")
    loop.terminate()
    assert loop.wait(30) == 0
    assert loop.communicate() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--every", "0"], ["--every", "0.5s"], ["--every", "1h", "--new-epoch"]])
def test_what_does_not_go(operator, words):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "contactsync",
            "server",
            "publish",
            *words,
            "--data",
            str(operator.folder.path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
