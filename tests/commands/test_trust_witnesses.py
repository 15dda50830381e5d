"""`trust` shows who watches a server's log, and takes the user's own witnesses; a sync follows that."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from simulated_witness import Witness

sys.path.append(str(Path(__file__).parents[1] / "server"))

from server_tools import Process, run

from contactsync.commands import main


@pytest.fixture
def witness():
    witness = Witness("witness.example")
    yield witness
    witness.stop()


def contactsync(*words, code=0):
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == code, done.output
    return done.stdout + done.stderr


@pytest.mark.slow
def test_trust_a_server_with_witnesses_of_ones_own(tmp_path, witness):
    data, state = tmp_path / "server", ["--state", str(tmp_path / "state")]
    run("init", data=data)
    run("members", "add", "+4915100000001", data=data)
    credential = tmp_path / "credential"
    credential.touch(0o600)
    credential.write_text(run("accounts", "add", "anna", data=data).split()[-1] + "\n")
    run("publish", data=data)
    book = tmp_path / "book.csv"
    book.write_text("name,phone\nAnna,+4915100000001\n")
    sync = ["sync", str(book), "--credential-file", str(credential), *state]
    with Process(data) as server:
        assert "0 witnesses: nobody but the operator watches" in contactsync(
            "trust", server.url, "--yes", *state
        )
        assert "Anna" in contactsync(*sync)
        (kept,) = json.loads(contactsync("status", "--json", *state))["servers"]
        assert kept["log"] | {"log": ""} == {
            "log": "", "witnesses": [], "quorum": 0, "own": False, "size": 2
        }  # fmt: skip
        said = contactsync("trust", server.url, "--witness", witness.vkey, *state)
        assert "1 of 1 must cosign: witness.example (as your own policy says)" in said
        assert "1 of 1 must cosign: witness.example (as your own policy says)" in contactsync(
            "status", *state
        )
        assert contactsync(*sync), "nothing new was published"
        run("members", "add", "+4915100000002", data=data)
        run("publish", data=data)
        assert "0 of the 1 witnesses" in contactsync(*sync, code=5)
        run("log", "add-witness", witness.vkey, "--url", witness.url, data=data)
        assert "Anna" in contactsync(*sync)
        policy = tmp_path / "policy"
        policy.write_text(f"witness {witness.vkey}\nquorum 2\n")
        assert "2 of 1 witnesses" in contactsync(
            "trust", server.url, "--witness-policy", str(policy), *state, code=3
        )
        contactsync("trust", server.url, "--witness-policy", "none", *state)
        assert "as the root says" in contactsync("status", *state)
        run("log", "restart", "--yes", data=data)
        assert "another history" in contactsync(*sync, code=5)
        contactsync("trust", server.url, "--new-log", *state)
        assert "Anna" in contactsync(*sync)
        contactsync("forget", "--server", server.url, *state)
        assert not list((tmp_path / "state" / "servers").rglob("checkpoint"))
