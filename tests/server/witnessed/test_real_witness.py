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
    log = next(line for line in run("log", "show", data=data).splitlines() if line.startswith("log "))
    witness = begin(vkey := log.split()[1])
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
