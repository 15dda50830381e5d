"""Somebody is removed while a publish runs; files are taken out of service while a client fetches them."""

import json
import subprocess
import time

import numpy as np
import pytest
from server_tools import AMERICAN, GERMAN, Process, command, numbers, run

from contactsync.directory import match, open_directory
from contactsync.foundation.errors import ContactSyncError
from contactsync.library.books import book_of_numbers
from contactsync.library.client import Client
from contactsync.server.presence import presences
from contactsync.tokens import Tokens

pytestmark = pytest.mark.slow

CROWD = 60_000


def tokens_of(operator, who):
    (record,) = operator.registry.show(who)
    return Tokens.from_bytes(np.stack([np.frombuffer(token, np.uint8) for token in record.tokens.values()]))


def served(operator, tokens):
    """The partitions of what is published that hold one of these tokens."""
    found = set()
    for name, partition in operator.manifest().partitions.items():
        path = operator.folder.data / partition.base.sha256
        with open_directory(path, expect=partition.directory) as directory:
            if match(tokens, directory).any():
                found.add(name)
    return found


@pytest.mark.parametrize("wait", [0.0, 0.4, 0.8, 1.2, 1.6, 2.0])
def test_a_removal_while_a_publish_runs(operator, wait):
    """They are in the edition that was being made, or not: `status` says so, and the receipt is right."""
    data = operator.folder.path
    operator.add(GERMAN, *range(GERMAN + 1, GERMAN + CROWD))
    operator.publish()
    tokens = tokens_of(operator, numbers(GERMAN))
    assert served(operator, tokens) == {"49"}
    operator.add(*range(GERMAN + CROWD, GERMAN + 2 * CROWD))
    with subprocess.Popen(command("publish", data=data), stdout=subprocess.DEVNULL) as publishing:
        time.sleep(wait)
        removal = subprocess.run(
            [*command("members", "remove", "-", "--json", data=data)],
            input=f"+{GERMAN}\n",
            capture_output=True,
            text=True,
            check=False,
        )
        receipt = json.loads(removal.stdout)
        assert receipt["removed"] == 1
        # Where the publish still reads, nothing is claimed to be erased.
        assert (removal.returncode == 0) == receipt["registry"]["erased"]
        assert publishing.wait(120) == 0
    status = json.loads(run("status", "--json", data=data))
    # A publish may have read later than it knows: then nothing is served, and `status` asks for one in vain.
    assert status["pending"] or not served(operator, tokens)
    run("publish", "--expunge", data=data)
    assert served(operator, tokens) == set()
    assert not operator.registry.unerased()
    octets = b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())
    for needle in (str(GERMAN).encode(), GERMAN.to_bytes(6, "big"), *map(bytes, tokens.to_bytes())):
        assert needle not in octets
    assert operator.registry.show(numbers(GERMAN)) == []


def test_files_go_while_a_client_fetches_them(operator, tmp_path):
    """The client may end with an error that says to sync again; it never has a wrong result."""
    people = [GERMAN, GERMAN + 5, AMERICAN]
    operator.add(*range(GERMAN, GERMAN + CROWD), AMERICAN)
    operator.publish()
    run_out = []
    credential = run("accounts", "add", "me", data=operator.folder.path).strip()
    with Process(operator.folder.path) as process:
        client = Client(tmp_path / "state")
        client.introduce(process.url).accept()

        def expunge(stage, done, total):
            if stage == "downloading" and not run_out:
                run_out.append(done)
                operator.registry.remove(numbers(GERMAN))
                run("publish", "--expunge", data=operator.folder.path)

        book = book_of_numbers(np.array(people, np.uint64))
        told = None
        try:
            first = client.sync(book, credential=credential, progress=expunge)
        except ContactSyncError as error:
            told = f"{error} {error.hint}"
        assert run_out
        assert "again" in told if told else set(first.numbers.tolist()) <= set(people)
        again = client.sync(book, credential=credential)
        assert again.numbers.tolist() == sorted({*people} - {GERMAN})
    (record,) = operator.registry.show(numbers(AMERICAN))
    assert [one.state for one in presences(operator.registry, operator.repository, record)]
