"""The admin API of an operator, in this process."""

import pytest
from admin_tools import InProcess


@pytest.fixture
def admin(operator):
    admin = InProcess(operator)
    yield admin
    admin.close()
