"""docs/openapi.yaml and docs/admin-api.md against the routes, problems and answers of the API."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from admin_tools import member
from server_tools import GERMAN

from contactsync.server.admin.problems import ADMIN_KINDS

DOCS = Path(__file__).parents[3] / "docs"
DOCUMENT = yaml.safe_load((DOCS / "openapi.yaml").read_text())


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


@pytest.mark.slow
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
