"""A real server process with members, and a person who asks it by JavaScript, in Node or in a browser."""

import sys
from pathlib import Path

import pytest
from javascript import CREDENTIAL, Person
from visiting import Browser, judged, require

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))

from server_tools import GERMAN, Operator, Process


@pytest.fixture
def operator(tmp_path):
    operator = Operator(tmp_path / "server")
    operator.accounts.add("javascript", "people", CREDENTIAL)
    operator.add(*range(GERMAN, GERMAN + 40))
    operator.publish()
    yield operator
    operator.close()


@pytest.fixture
def served(operator):
    with Process(operator.folder.path) as process:
        yield process


@pytest.fixture
def person(tmp_path, operator, served):
    root = (operator.folder.public / "metadata" / "1.root.json").read_bytes()
    return Person(tmp_path / "person", served.url, root)


@pytest.fixture(scope="session")
def browser():
    require()
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def with_page(operator):
    """The server of `operator`, with the page."""
    with Process(operator.folder.path, "--web") as process:
        yield process


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory):
    """A server with the page, for all tests of a module: none may change it."""
    operator = Operator(tmp_path_factory.mktemp("unchanged") / "server")
    operator.accounts.add("javascript", "people", CREDENTIAL)
    operator.add(*range(GERMAN, GERMAN + 40))
    operator.publish()
    with Process(operator.folder.path, "--web") as process:
        yield process
    operator.close()


@pytest.fixture
def visit(browser):
    yield from judged(browser)
