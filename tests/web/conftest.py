"""A real server process with members, and a person who asks it by JavaScript."""

import sys
from pathlib import Path

import pytest
from javascript import CREDENTIAL, Person

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
