"""A data folder, as `server init` leaves it, and where folders are whose processes are killed."""

import os
import tempfile
from pathlib import Path

import pytest
from power_cut import MEMORY
from server_tools import Operator, numbers


@pytest.fixture(name="numbers")
def numbers_fixture():
    return numbers


@pytest.fixture
def operator(tmp_path):
    operator = Operator(tmp_path / "server")
    yield operator
    operator.close()


@pytest.fixture
def in_memory(tmp_path):
    """A folder in memory, if there is one: what is killed hundreds of times waits for no disk.

    Nor would it come to one before it is looked at: what a killed process has written is in the kernel.
    """
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="contactsync-killed-", dir=MEMORY) as folder:
        yield Path(folder)
