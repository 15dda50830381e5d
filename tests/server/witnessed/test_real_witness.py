"""A server, a witness and a client: each a process or what its user types, none of them simulated."""

import pytest
from click.testing import CliRunner
from running_witness import RunningWitness
from server_tools import Process, run

from contactsync.commands import main

NAME = "witness.example.org/w1"


def contactsync(*words, code=0):
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == code, done.output
    return done.stdout + done.stderr


def log_key(data):
    """The key of a server's log, as its operator reads it."""
    (line,) = (line for line in run("log", "show", data=data).splitlines() if line.startswith("log "))
    return line.split()[1]


def cosigned(witness, vkey):
    """How many entries of a log the witness has cosigned, by its own record."""
    origin = vkey.partition("+")[0]
    said = contactsync("witness", "show", "--state", witness)
    return next(line for line in said.splitlines() if origin in line)


@pytest.fixture
def begin(tmp_path):
    running = []

    def start(*vkeys):
        running.append(RunningWitness(tmp_path / "witness", *vkeys))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.kill()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["files", "postgresql"])
def test_what_a_witness_must_have_seen(tmp_path, begin, database, kind, monkeypatch):
    data, state = tmp_path / "server", ["--state", tmp_path / "state"]
    if kind == "postgresql":
        monkeypatch.setenv("CONTACTSYNC_DATABASE", database())  # it contains a password
    run("init", data=data)
    assert (data / "registry.sqlite").exists() == (kind == "files")
    witness = begin(vkey := log_key(data))
    run("members", "add", "+4915100000001", data=data)
    add = ("log", "add-witness", witness.verifier.vkey(), "--quorum", "1")
    assert "1 of 1 witness must cosign" in run(*add, "--url", witness.url, data=data)
    run("publish", data=data)
    credential, book = tmp_path / "credential", tmp_path / "book.csv"
    credential.touch(0o600)
    credential.write_text(run("accounts", "add", "anna", data=data).split()[-1] + "\n")
    book.write_text("name,phone\nAnna,+4915100000001\nBodo,+4915100000002\n")
    sync = ["sync", book, "--credential-file", credential, *state]
    with Process(data) as server:
        said = contactsync("trust", server.url, "--yes", *state)
        assert f"1 of 1 must cosign: {NAME}" in said
        said = contactsync(*sync)
        assert "Anna" in said
        assert "Bodo" not in said
        seen = cosigned(tmp_path / "witness", vkey)

        # It is away: nothing is published, and clients go on with what was.
        witness.stop()
        run("members", "add", "+4915100000002", data=data)
        waiting = contactsync("server", "publish", "--data", data, code=4)
        assert f"{NAME} does not answer" in waiting
        assert "Bodo" not in contactsync(*sync)
        assert cosigned(tmp_path / "witness", vkey) == seen

        # It comes back at another address, and has forgotten nothing.
        again = begin(vkey)
        assert again.verifier == witness.verifier
        run(*add, "--url", again.url, data=data)
        assert "1 changed" in run("publish", data=data)
        assert "Bodo" in contactsync(*sync)
        assert cosigned(tmp_path / "witness", vkey) != seen
    run("status", "--check", data=data)
    assert "forked" not in again.stop()


@pytest.mark.slow
def test_a_log_that_begins_anew_is_not_stuck_for_want_of_its_witness(tmp_path, begin):
    """The witness cannot know the key of a log that is about to begin. Another one has gone for good."""
    data, state = tmp_path / "server", ["--state", tmp_path / "state"]

    run("init", data=data)
    old = log_key(data)
    witness = begin(old)
    add = ("log", "add-witness", witness.verifier.vkey(), "--quorum", "1")
    run(*add, "--url", witness.url, data=data)
    run("members", "add", "+4915100000001", data=data)
    run("publish", data=data)
    with Process(data) as server:
        contactsync("trust", server.url, "--yes", *state)
        run("log", "restart", "--yes", data=data)
        assert "0 of 1 witness must cosign" in run("log", "show", data=data)
        new = log_key(data)
        assert new != old
        run("members", "add", "+4915100000002", data=data)
        run("publish", data=data)
        witness.stop()
        again = begin(old, new)
        run("log", "add-witness", again.verifier.vkey(), "--url", again.url, data=data)
        assert "has cosigned" in run("log", "ask", data=data)
        run("log", "quorum", "1", data=data)
        said = contactsync("trust", server.url, "--new-log", *state)
        assert f"1 of 1 must cosign: {NAME}" in said
        run("members", "add", "+4915100000003", data=data)
        run("publish", data=data)
    run("status", "--check", data=data)
