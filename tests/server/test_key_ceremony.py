"""The ceremony of docs/operations.md, command by command, on machines that are folders; a client follows.

Its commands are forks of a process that has loaded what they need (tests/zygote.py), each at a terminal of
its own. What the client runs are new processes, and so is the server.
"""

import json
import os
import re
import select
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zygote
from server_tools import Process

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
BLOCK = re.compile(r"<!-- ceremony: ([a-z -]+) -->\n```console\n(.*?)```", re.DOTALL)
STAGES = dict(BLOCK.findall(DOCUMENT.read_text("utf-8")))
LINE = re.compile(r"(server|anna|ben)\$ (.+)")

WARM_UP = """
import sys
from pathlib import Path
from contactsync.commands import main

folder = Path(sys.argv[1])
folder.mkdir()
(folder / "members").write_text("+491511234567\\n")
for line in ("init", "members import {}/members", "publish", "keys list", "keys rotate timestamp"):
    try:
        main(["server", *line.format(folder).split(), "--data", str(folder / "data")])
    except SystemExit as end:
        assert not end.code, line
"""

ANSWERS = (
    (b"New passphrase of the key: ", "{machine}'s passphrase"),
    (b"Repeat for confirmation: ", "{machine}'s passphrase"),
    (re.compile(rb"Passphrase of \S+: "), "{machine}'s passphrase"),
    (b"Sign it? [y/N]: ", "y"),
)


@pytest.fixture
def machines(tmp_path, monkeypatch):
    """Folders with a stick that goes round."""
    for name in ("CONTACTSYNC_PASSPHRASE", "CONTACTSYNC_KEY_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CONTACTSYNC_DATA", str(tmp_path / "data"))
    (tmp_path / "stick").mkdir()
    for name in ("server", "anna", "ben"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stick").symlink_to(tmp_path / "stick")
    (tmp_path / "anna" / "safe").mkdir()
    return tmp_path


@pytest.fixture
def at_a_terminal(machines):
    """Run a line as somebody at a terminal would, who answers what is asked; what the terminal showed."""
    with zygote.Zygote(zygote.code(WARM_UP, machines / "warm")) as loaded, ThreadPoolExecutor(1) as pool:

        def run(line, machine):
            name, *words = shlex.split(line)
            master, slave = os.openpty()
            if name == "contactsync":
                what = zygote.at_a_terminal(zygote.command(*words), os.ttyname(slave), machines / machine)
                ended = pool.submit(loaded.run, what)
            else:
                ended = pool.submit(subprocess.call, [name, *words], cwd=machines / machine, stdout=slave)
            try:
                text = conversation(master, slave, ended, machine)
            finally:
                os.close(master)  # whoever still waits at the terminal ends
            assert ended.result() == 0, f"{line}\n{text}"
            assert "passphrase\n" not in text, "a passphrase is never shown"
            return text

        yield run


def conversation(master, slave, ended, machine):
    """What a terminal shows until a process has ended, whose questions are answered."""
    shown, answered, end = b"", 0, time.monotonic() + 120
    while True:
        assert time.monotonic() < end, shown.decode()
        if slave is not None and ended.done():
            os.close(slave)
            slave = None
        if not select.select([master], [], [], 0.02)[0]:
            continue
        try:
            chunk = os.read(master, 1 << 16)
        except OSError:  # nobody has the other end any more
            break
        shown += chunk
        for prompt, answer in ANSWERS:
            asked = re.search(
                (prompt.pattern if isinstance(prompt, re.Pattern) else re.escape(prompt)) + b"$",
                shown[answered:],
            )
            if asked:
                answered = len(shown)
                os.write(master, answer.format(machine=machine).encode() + b"\n")
    return shown.decode().replace("\r", "")


@pytest.fixture
def stage(at_a_terminal):
    """Run the commands of a stage of the document; what each showed."""

    def stage(name):
        lines = STAGES[name].splitlines()
        found = [LINE.fullmatch(line) for line in lines]
        assert all(found), lines
        return [at_a_terminal(one[2], one[1]) for one in found]

    return stage


@pytest.fixture
def client(machines):
    """A client that trusts the server once, and what its syncs find."""

    def client(*words, code=0):
        command = [sys.executable, "-m", "contactsync", *words, "--state", str(machines / "state")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout

    return client


@pytest.mark.slow
def test_the_ceremony(machines, at_a_terminal, stage, client):
    assert list(STAGES) == ["keys", "set-up", "publish", "lost keys", "online keys"]
    stage("keys")
    stage("set-up")
    # From the set-up on there is no key on the server that could sign a root or a publication.
    keys = machines / "data" / "keys"
    (of_log,) = (path.name for path in keys.glob("log-*.json"))
    online = {"keyring.json", "tuf-snapshot.json", "tuf-timestamp.json", of_log}
    assert {path.name for path in keys.iterdir()} == online

    members = machines / "server" / "members.csv"
    members.write_text("phone\n0151 1234567\n+12125550100\n")
    shown = stage("publish")
    assert "members: 2 (+2)" in shown[2]
    credential = machines / "credential"
    credential.write_text(at_a_terminal("contactsync server accounts add me", "server"))
    credential.chmod(0o600)
    book = machines / "book.txt"
    book.write_text("+491511234567\n+4915199999\n+12125550100\n+12125550177\n")

    with Process(machines / "data") as process:
        client("trust", process.url, "--yes")

        def sync():
            words = (
                "sync",
                str(book),
                "--credential-file",
                str(credential),
                "--json",
                "--server",
                process.url,
            )
            report = json.loads(client(*words))
            return report["edition"], {one["identifier"] for one in report["matches"]}

        both = {"tel:+491511234567", "tel:+12125550100"}
        assert sync() == (1, both)
        members.write_text("phone\n+12125550177\n")
        assert "members: 3 (+1)" in stage("publish")[3]
        assert sync() == (2, {*both, "tel:+12125550177"})

        stage("lost keys")
        assert sync() == (2, {*both, "tel:+12125550177"})
        client("trust", process.url, "--yes")  # the server is the one that it was
        # The last opens tokens of who left, and signs nothing.
        (of_left,) = (path.name for path in keys.glob("departed-*.json"))
        assert {path.name for path in keys.iterdir()} == online | {"voprf-people-1.json", of_left}

        stage("online keys")
        assert sync() == (2, {*both, "tel:+12125550177"})
        listed = json.loads(at_a_terminal("contactsync server keys list --json", "server"))
        assert [(one["role"], one["threshold"], len(one["keys"])) for one in listed["roles"]] == [
            ("root", 2, 3),
            ("targets", 2, 2),
            ("snapshot", 1, 1),
            ("timestamp", 1, 1),
        ]
        lost = json.loads((machines / "stick" / "ben-targets.json.pub").read_text())["keyid"]
        assert lost not in json.dumps(listed)
        # Ben's old keys turn up again, in somebody else's hands.
        request = "stick/again.json"
        at_a_terminal(f"contactsync server publish --offline-targets {request}", "server")
        with pytest.raises(AssertionError, match="none of these keys may sign this request"):
            at_a_terminal(f"contactsync server sign {request} --keys ben-targets.json", "ben")
        assert process.stop() == 0
    for path in (machines / "stick").iterdir():
        assert "sealed" not in path.read_text()
        assert "secret" not in path.read_text()
