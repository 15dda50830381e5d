"""An operator whose publications are logged, a client of it, and witnesses on sockets."""

import pytest
from server_tools import GERMAN, Operator
from simulated_witness import Witness
from witnessed_tools import Client


@pytest.fixture
def logged(tmp_path):
    operator = Operator(tmp_path / "logged", log=True)
    operator.add(GERMAN)
    operator.publish()
    yield operator
    operator.close()


@pytest.fixture
def client(tmp_path, logged):
    return Client(tmp_path / "client", logged)


@pytest.fixture
def witnesses():
    made = [Witness(f"witness{number}.example") for number in range(3)]
    yield made
    for one in made:
        one.stop()
