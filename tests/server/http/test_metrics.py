"""The figures for Prometheus: what docs/operations.md lists, and no request makes more labels."""

import re
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from server_tools import GERMAN
from test_app import BLINDED, ask, body_of

from contactsync.lookup.answer import RowLayout
from contactsync.publication.tuf.signed import LIFETIMES
from contactsync.server.breakers import Breakers
from contactsync.server.evaluation import Evaluator
from contactsync.server.http.app import App
from contactsync.server.http.measured import ROUTES, route_of
from contactsync.server.http.metrics import Metrics
from contactsync.server.http.problems import Problem
from contactsync.server.http.rows_served import RowsServed
from contactsync.server.lookups import LookupRoom, OpenRows
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order
from contactsync.server.storage.files import PublicFolder

DOCUMENT = Path(__file__).parents[3] / "docs" / "operations.md"


@pytest.fixture
def measured(operator):
    operator.add(GERMAN)
    operator.publish()
    operator.accounts.add("shop", "people", "cs_shop")
    with closing(Evaluator(1, 1)) as evaluator, closing(LookupRoom(1 << 20)) as room:
        metrics = Metrics(operator.folder, operator.accounts, Breakers())
        metrics.watch(evaluator)
        rows = RowsServed(room, list, lambda: 0)
        metrics.watch_lookups(rows)
        app = App(
            operator.folder,
            operator.accounts,
            PublicFolder(operator.folder.public),
            operator.keyring,
            evaluator,
            metrics=metrics,
            rows=rows,
        )
        yield app, metrics


def figures(metrics):
    text = generate_latest(metrics._registry).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_requests_refusals_and_time(measured, operator):
    app, metrics = measured
    for _ in range(2):
        assert ask(app, "POST", "/v1/evaluate/people/1", receive=body_of(BLINDED))[0]["status"] == 200
    ask(app, "POST", "/v1/evaluate/people/7", receive=body_of(BLINDED))
    ask(app, "POST", "/v1/evaluate/people/1", credential="cs_wrong")
    ask(app, "GET", "/v1/account")
    ask(app, "GET", "/v1/tuf/metadata/timestamp.json")
    ask(app, "GET", f"/v1/data/{operator.manifest().partitions['49'].base.sha256}")
    found = figures(metrics)
    assert found["contactsync_requests_total", "evaluate"] == 4
    assert found["contactsync_requests_total", "account"] == 1
    assert found["contactsync_replies_total", "200"] == 5
    assert found["contactsync_refusals_total", "epoch-changed"] == 1
    assert found["contactsync_refusals_total", "bad-credential"] == 1
    assert found["contactsync_refusals_total", "overloaded"] == 0
    assert found["contactsync_request_seconds_count", "evaluate"] == 4
    assert 0 < found["contactsync_request_seconds_sum", "evaluate"] < 10
    assert found["contactsync_requests_running",] == 0
    assert found["contactsync_company_count",] == 2
    assert found["contactsync_company_sum",] == 2
    assert found["contactsync_points_total", "people", "1"] == 1, "a repetition is free"
    assert found["contactsync_queue_length",] == 0
    assert found["contactsync_queue_limit",] == 4


def test_look_ups(measured):
    app, metrics = measured
    rows = OpenRows(np.zeros((64, 8), np.uint8), RowLayout(6, 0, 8, 0))
    app._rows._sets._open = {("people", bytes(32)): rows}
    keys = bytes(rows.key_bytes(8))
    for body in (keys, keys, keys[1:]):
        ask(app, "POST", f"/v1/lookup/people/{'00' * 32}", receive=body_of(body))
    ask(app, "POST", f"/v1/lookup/people/{'11' * 32}", receive=body_of(keys))
    app._rows.room.close()  # the last pass has been counted
    found = figures(metrics)
    assert found["contactsync_requests_total", "lookup"] == 4
    assert found["contactsync_lookup_company_count",] == found["contactsync_lookup_company_sum",] == 2
    assert found["contactsync_lookup_pass_seconds_count",] == 2
    assert found["contactsync_lookup_refusals_total", "bad-batch"] == 1
    assert found["contactsync_lookup_refusals_total", "unknown-rows"] == 1
    assert found["contactsync_lookup_refusals_total", "overloaded"] == 0
    assert found["contactsync_lookups_waiting",] == 0
    assert found["contactsync_lookup_tables",] == 1


def test_what_is_published(measured, operator):
    app, metrics = measured
    assert ("contactsync_healthy",) not in figures(metrics), "not known yet"
    app._healthy.is_well = True
    found = figures(metrics)
    assert found["contactsync_healthy",] == 1
    assert found["contactsync_edition", "people"] == found["contactsync_epoch", "people"] == 1
    assert found["contactsync_published_members", "people"] == 1
    for role, lifetime in LIFETIMES.items():
        left = found["contactsync_signature_expires_in_seconds", role]
        assert lifetime.total_seconds() - 60 < left <= lifetime.total_seconds()
    assert 0 <= found["contactsync_epoch_age_seconds", "people", "1"] < 60
    (operator.folder.public / "metadata" / "timestamp.json").write_bytes(b"{")
    assert ("contactsync_edition", "people") not in figures(metrics), "the rest is still there"
    assert ("contactsync_points_last_hour", "all") in figures(metrics)


def test_no_request_makes_a_label(measured):
    app, metrics = measured
    before = set(figures(metrics))
    for number in range(30):
        ask(app, "GET", f"/{number}/+4915112345{number:02}", credential=f"cs_{number}")
        ask(app, "GET", f"/v1/data/{number:064x}")
        ask(app, "POST", f"/v1/lookup/people/{number:064x}", credential=f"cs_{number % 2}")
        ask(app, f"M{number}", f"/v1/account/{number}")
    after = set(figures(metrics)) - before
    assert {name for name, *_ in after} <= {"contactsync_replies_total"}
    assert len(after) <= 3


def test_every_route_and_reason_has_its_label():
    assert [route_of(start + "x" * start.endswith("/")) for start in ROUTES] == list(ROUTES.values())
    assert route_of("/v1/accounts") == route_of("/") == route_of("/v1/healthy") == "other"


def test_the_document_lists_every_figure(measured, operator):
    app, metrics = measured
    app._healthy.is_well = True
    Publisher(operator.folder, operator.registry, operator.keyring).publish(order=Order(Aim.ROTATE, 3600))
    ask(app, "POST", "/v1/evaluate/people/1", receive=body_of(BLINDED))
    text = DOCUMENT.read_text("utf-8")
    table = re.findall(r"^\| (`contactsync_.*?) \|(.*?)\|", text, re.MULTILINE)
    listed = {name for names, _ in table for name in re.findall(r"`(contactsync_\w+)`", names)}
    given = {re.sub(r"_(bucket|count|sum)$", "", name) for name, *_ in figures(metrics)}
    assert given == listed
    reasons = {labels[0] for name, *labels in figures(metrics) if name == "contactsync_refusals_total"}
    assert reasons == set(Problem.kinds)
