"""docs/openapi.yaml against the real process: schemathesis sends what it allows and what it does not.

To collect the cases takes seconds, so tests/conftest.py leaves this file out of fast runs.
"""

import copy

import hypothesis
import pytest
import schemathesis
from admin_tools import AdminProcess
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from server_tools import Operator
from test_openapi import DOCUMENT

pytestmark = pytest.mark.slow

SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)

# Numbers that exist, so that more of what is sent is carried out.
NARROWED = copy.deepcopy(DOCUMENT)
NARROWED["components"]["schemas"]["Identifier"]["pattern"] = r"^tel:\+491512[0-9]{7}$"
REAL_NUMBERS = schemathesis.openapi.from_dict(NARROWED).include(path_regex="members")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    ignored_auth,
]


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    operator = Operator(tmp_path_factory.mktemp("openapi") / "server")
    with AdminProcess(operator.folder.path, "--port", "0") as process:
        process.credential = (operator.folder.path / "admin.credential").read_text().strip()
        yield process
        assert process.stop() == 0
    operator.close()
    assert "Error" not in process.log.read_text()


EXAMPLES = hypothesis.settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)


@SCHEMA.parametrize()
@EXAMPLES
def test_the_process_does_what_the_document_says(case, process):
    check(case, process)


@REAL_NUMBERS.parametrize()
@EXAMPLES
def test_the_process_does_what_the_document_says_of_numbers_that_exist(case, process):
    check(case, process)


def check(case, process):
    headers = {"Authorization": f"Bearer {process.credential}"}
    response = case.call(base_url=process.url, headers=headers, timeout=30)
    case.validate_response(response, checks=CHECKS, headers=headers)
