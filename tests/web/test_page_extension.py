"""The page as an extension: its program and its root are from here, whatever the server serves."""

import json
import os
import subprocess
import sys

import pytest
from javascript import CREDENTIAL
from server_tools import Operator, Process
from visiting import Visitor, cards

pytestmark = pytest.mark.slow
PEOPLE = {"Anna": "+4915100000001", "Nobody": "+4915900000009"}


def contactsync(*arguments):
    command = [sys.executable, "-m", "contactsync", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout


@pytest.fixture
def extension(tmp_path, operator, browser):
    """A server without a page, and the extension for it, in a browser."""
    with Process(operator.folder.path) as process:
        state = ("--state", tmp_path / "state")
        contactsync("trust", process.url, "--yes", *state)
        folder = tmp_path / "extension"
        contactsync("web", "extension", process.url, "--output", folder, "--name", "Club", *state)
        visit, url = browser.call("extension", folder=str(folder))
        person = Visitor(browser, url, visit=visit)
        yield process, person
        seen = person.seen()
        person.close()
        assert seen["violations"] == []
        origins = (url.removesuffix("index.html"), process.url)
        assert [one for one in seen["requests"] if not one.split()[1].startswith(origins)] == []


def test_it_finds_contacts_at_a_server_that_serves_no_page(extension, tmp_path):
    process, person = extension
    assert person.text("#brand") == "Club"
    assert "This program is on your device" in person.text("#trust-why")
    assert process.url in person.text("#trust-who")
    book = cards(tmp_path / "book.vcf", PEOPLE)
    assert person.sync(book, CREDENTIAL) == ["Anna"]
    person.reload()
    assert person.text("#kept").startswith("Since ")
    assert person.sync(book, CREDENTIAL) == ["Anna"]


def test_another_operator_at_the_same_address_is_refused(extension, tmp_path):
    process, person = extension
    process.stop()
    other = Operator(tmp_path / "other")
    other.accounts.add("javascript", "people", CREDENTIAL)
    other.publish()
    other.close()
    with Process(other.folder.path, "--port", str(process.port)):
        person.read(cards(tmp_path / "book.vcf", PEOPLE))
        person.start(CREDENTIAL)
        assert person.refused() == "The service’s signatures are not valid"
        assert person.posts() == 0
        problem = json.dumps(person.text("#problem"))
        assert CREDENTIAL not in problem
