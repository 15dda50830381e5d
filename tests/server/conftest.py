"""A data folder, as `server init` leaves it."""

import pytest
from server_tools import Operator, numbers


@pytest.fixture(name="numbers")
def numbers_fixture():
    return numbers


@pytest.fixture
def operator(tmp_path):
    operator = Operator(tmp_path / "server")
    yield operator
    operator.close()
