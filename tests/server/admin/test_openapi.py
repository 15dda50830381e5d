"""docs/openapi.yaml against the real process: schemathesis sends what it allows and what it does not."""

import copy
import json
import re
from pathlib import Path

import hypothesis
import jsonschema
import pytest
import schemathesis
import yaml
from admin_tools import AdminProcess, member
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
from server_tools import GERMAN, Operator

from contactsync.server.admin.problems import ADMIN_KINDS

DOCS = Path(__file__).parents[3] / "docs"
DOCUMENT = yaml.safe_load((DOCS / "openapi.yaml").read_text())
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


@pytest.mark.slow
@SCHEMA.parametrize()
@EXAMPLES
def test_the_process_does_what_the_document_says(case, process):
    check(case, process)


@pytest.mark.slow
@REAL_NUMBERS.parametrize()
@EXAMPLES
def test_the_process_does_what_the_document_says_of_numbers_that_exist(case, process):
    check(case, process)


def check(case, process):
    headers = {"Authorization": f"Bearer {process.credential}"}
    response = case.call(base_url=process.url, headers=headers, timeout=30)
    case.validate_response(response, checks=CHECKS, headers=headers)


def routes():
    return {
        (method.upper(), path)
        for path, item in DOCUMENT["paths"].items()
        for method in item
        if method != "parameters"
    }


def test_the_document_has_every_route_and_no_other(admin):
    served = {
        (method, f"/v1/{'/'.join(route)}")
        for route, handlers in admin.app._routes.items()
        for method in handlers
    }
    assert {(method, re.sub(r"\{\w+\}", "*", path)) for method, path in routes()} == served


def test_each_problem_is_in_the_document_for_people():
    page = (DOCS / "admin-api.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", page, re.MULTILINE)
    known = {slug: status for slug, (status, _) in ADMIN_KINDS.items()}
    assert {slug: int(status) for slug, status in rows} == known


@pytest.mark.parametrize(
    ("schema", "ask"),
    [
        ("Changed", ("PUT", member(GERMAN))),
        ("Member", ("GET", member(GERMAN))),
        ("BatchResult", ("POST", "/v1/members/batch", {"put": [f"tel:+{GERMAN}", "x"], "partial": True})),
        ("Problem", ("POST", "/v1/members/batch", {"put": [f"tel:+{GERMAN}", "x"]})),
        ("Status", ("GET", "/v1/status")),
        ("Publication", ("POST", "/v1/publications")),
    ],
)
def test_an_answer_has_the_documented_form(admin, schema, ask):
    admin("PUT", member(GERMAN), {"audience": "business"})
    body = admin(*ask).body
    jsonschema.validate(
        json.loads(json.dumps(body)),
        {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]},
    )
    required = DOCUMENT["components"]["schemas"][schema]["required"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            {name: value for name, value in body.items() if name != required[0]},
            {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]},
        )
