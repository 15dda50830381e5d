"""docs/openapi-client.yaml against the real process: schemathesis sends what it allows and what it does not.

To collect the cases takes seconds, so tests/conftest.py leaves this file out of fast runs.
"""

import copy
import re
from contextlib import closing
from pathlib import Path

import hypothesis
import pytest
import schemathesis
import yaml
from hypothesis import strategies
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
from server_tools import AMERICAN, GERMAN, Operator, Process

from contactsync.server.http.problems import Problem
from contactsync.voprf.client import blind

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[3] / "docs"
DOCUMENT = yaml.safe_load((DOCS / "openapi-client.yaml").read_text())
HEAD = {"Authorization": "Bearer cs_a"}
BATCHES = [blind([b"%d %d" % (n, i) for i in range(n)]).blinded.tobytes() for n in (1, 2, 8, 64)]
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

schemathesis.openapi.media_type(
    "application/octet-stream",
    strategies.one_of(
        strategies.sampled_from(BATCHES),
        strategies.binary(max_size=200),
        strategies.integers(1, 5000).map(lambda n: bytes(32 * n)),
    ),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A server with a log."""
    operator = Operator(tmp_path_factory.mktemp("openapi") / "server", log=True)
    operator.add(GERMAN, AMERICAN)
    operator.folder.switch_private_lookup(on=True)
    operator.publish()
    operator.accounts.add("a", "people", "cs_a")
    settings = operator.folder.settings_file
    text = re.sub(r"(?m)^(burst|per_day|points_per_hour) = \d+$", r"\1 = 1000000000", settings.read_text())
    settings.write_text(re.sub(r"(?m)^new_points_per_hour = \d+$", "new_points_per_hour = 0", text))
    with closing(operator), Process(operator.folder.path, "--private-lookup") as process:
        process.operator = operator
        yield process
        assert process.stop() == 0
    log = process.log.read_text()
    assert "Traceback" not in log
    assert "ERROR" not in log


def test_the_document_has_every_route_and_every_status():
    page = (DOCS / "http-api.md").read_text()
    rows = re.findall(r"^\| `(GET|POST) (/v1/\S+)` \|", page, re.MULTILINE)
    paths = {re.sub(r"\{\w+\}", "X", path): item for path, item in DOCUMENT["paths"].items()}
    said = {(m, re.sub(r"[A-Z][A-Z0-9]+(\.[A-Z]+\.json)?", "X", p)) for m, p in rows}
    assert {(method.upper(), path) for path, item in paths.items() for method in item} == said
    answers = [one["responses"] for item in paths.values() for one in item.values()]
    statuses = {int(status) for one in answers for status in one if status.isdigit()}
    # A fault of the server is promised nowhere; 405 is for what is not in the document.
    assert {status for status, _ in Problem.kinds.values()} - {500, 405} <= statuses


EXAMPLES = hypothesis.settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)


@SCHEMA.parametrize()
@EXAMPLES
def test_the_process_does_what_the_document_says(case, site):
    check(case, site)


# The same of the epoch and audience that there are: most batches get to be evaluated.
NARROWED = copy.deepcopy(DOCUMENT)
audience, epoch = NARROWED["paths"]["/v1/evaluate/{audience}/{epoch}"]["post"]["parameters"]
audience["schema"], epoch["schema"] = {"const": "people"}, {"const": 1}
EVALUATED = schemathesis.openapi.from_dict(NARROWED).include(operation_id="evaluate")


@EVALUATED.parametrize()
@EXAMPLES
def test_the_process_evaluates_as_the_document_says(case, site):
    check(case, site)


@pytest.mark.parametrize("name", ["metadata", "manifest", "log", "data"])
def test_what_there_is_has_the_documented_form(site, name):
    """By the same checks; the names are those of files that exist."""
    public = site.operator.folder.public
    folder = {"metadata": "metadata", "manifest": "targets", "log": "log", "data": "data"}[name]
    files = [str(p.relative_to(public / folder)) for p in (public / folder).rglob("*") if p.is_file()]
    files = [one for one in files if not Path(one).name.startswith(".")]
    operation = SCHEMA.find_operation_by_id(name)
    (place,) = [one["name"] for one in operation.definition.raw["parameters"] if one["in"] == "path"]
    pattern = DOCUMENT["paths"][operation.path]["get"]["parameters"][0]["schema"].get("pattern")
    asked = 0
    for one in files:
        if pattern is not None and not re.fullmatch(pattern, one):
            continue
        for extra in ({}, {"Range": "bytes=0-9,20-29"}, {"Range": "bytes=9999999999-"}, {"Range": "bytes=x"}):
            if name != "data" and extra:
                continue
            case = operation.Case(path_parameters={place: one}, headers=extra)
            answer = case.call(base_url=site.url, headers=HEAD, timeout=30)
            case.validate_response(answer, checks=CHECKS[:5], headers=HEAD)
            asked += 1
    assert asked


def check(case, site):
    response = case.call(base_url=site.url, headers=HEAD, timeout=30)
    # Schemathesis does not count 413 among the refusals: the body is not read that far.
    checks = [one for one in CHECKS if one is not negative_data_rejection or response.status_code != 413]
    case.validate_response(response, checks=checks, headers=HEAD)
