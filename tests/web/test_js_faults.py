"""`contactsync-js sync` against a service that misbehaves or rotates, and what a server sees of it."""

import json
import time

import jsonschema
import pytest
from javascript import ROOT, Person, found, needs_node
from simulated_service import CREDENTIAL, problem, service

__all__ = ["service"]
pytestmark = [needs_node, pytest.mark.slow]
ANNA, BEN, STRANGER = "+4915100000001", "+4915100000002", "+4915900000009"


@pytest.fixture
def person(tmp_path, service):
    service.publish(ANNA, BEN, "+12125550123")
    return Person(tmp_path / "person", service.url, service.repository.root_bytes(), CREDENTIAL)


def asked(service):
    """What was asked since the last call: methods, paths, sizes. The first two come in any order."""
    seen = [(one.method, one.path.split("/")[2:4], len(one.body)) for one in service.requests]
    service.requests.clear()
    return [*sorted(seen[:2]), *seen[2:]]


def evaluations(service):
    return [one.body for one in service.requests if one.method == "POST"]


def test_files_come_before_points_and_nothing_comes_after(person, service):
    person.sync(ANNA, STRANGER)
    kinds = [path[0] for _, path, _ in asked(service)]
    assert kinds == [*["tuf"] * 5, "account", "data", "data", "evaluate"]
    assert kinds.index("account") < kinds.index("data") < kinds.index("evaluate")
    assert kinds.count("data") == 2  # every partition, also of a country where nobody is


def test_a_sync_without_news_looks_like_one_with_up_to_eight(person, service):
    person.sync(ANNA, STRANGER)
    asked(service)
    person.sync(ANNA, STRANGER)
    without = asked(service)
    person.sync(ANNA, STRANGER, BEN, "+4915900000010")
    assert asked(service) == without


def test_points_differ_each_time_and_no_identifier_is_sent(person, service):
    person.sync(ANNA)
    person.sync(ANNA)
    first, second = evaluations(service)
    assert len(first) == len(second) == 256
    rows = [octets[i : i + 32] for octets in (first, second) for i in range(0, 256, 32)]
    assert len(set(rows)) == 16
    heads = json.dumps([one.headers for one in service.requests])
    assert "4915100000001" not in heads + "".join(one.path for one in service.requests)


def test_no_redirect_is_followed(person, service):
    def redirect(request, reply):
        reply.status, reply.body = 302, b""
        reply.headers["Location"] = "http://127.0.0.1:1/"

    service.tamper = redirect
    assert "redirect" in person.sync(ANNA, code=5)["message"]


@pytest.mark.parametrize(
    ("change", "kind", "refusal"),
    [
        (
            lambda body: bytes([body[0] ^ 2]) + body[1:],
            ("bad-proof", "bad-reply"),
            ("bad-proof", "invalid-element"),
        ),
        (lambda body: body[32:64] + body[:32] + body[64:], ("bad-proof",), ("bad-proof",)),
        (lambda body: body[:-1], ("bad-reply",), ("wrong-length",)),
        (lambda body: body + b"\0", ("bad-reply", "network"), ("too-large", "wrong-length")),
        (lambda body: bytes(32) + body[32:], ("bad-reply",), ("invalid-element",)),
        (lambda body: body[:-32] + b"\xff" * 32, ("bad-reply",), ("invalid-scalar",)),
    ],
    ids=["another proof", "swapped", "short", "long", "identity", "scalar"],
)
def test_a_false_evaluation_is_not_used_and_the_batch_goes_on(person, service, change, kind, refusal):
    def falsify(request, reply):
        if request.method == "POST":
            reply.body = change(reply.body)
            reply.headers.pop("Content-Length", None)

    service.tamper = falsify
    error = person.sync(ANNA, BEN, code=5)
    assert error["kind"] in kind
    assert error["refusal"] in refusal
    kept = json.loads(person.kept()["audience-people.json"])["epochs"]["1"]
    assert kept["tokens"] == {}
    assert sorted(kept["unfinished"][0]["identifiers"]) == [f"tel:{ANNA}", f"tel:{BEN}"]
    service.tamper = lambda *_: None
    assert found(person.sync(ANNA, BEN)) == [ANNA, BEN]


def test_a_reply_that_was_cut_is_asked_for_again_with_the_same_octets(person, service):
    cut = []

    def once(request, reply):
        if request.method == "POST" and not cut:
            cut.append(request.body)
            reply.cut = 100

    service.tamper = once
    assert found(person.sync(ANNA)) == [ANNA]
    bodies = evaluations(service)
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]


def test_a_busy_server_is_waited_for(person, service):
    busy = []

    def once(request, reply):
        if request.method == "POST" and not busy:
            busy.append(1)
            instead = problem(503, "overloaded", "wait")
            reply.status, reply.body = 503, instead.body
            reply.headers.update(
                instead.headers | {"Retry-After": "0", "Content-Length": str(len(instead.body))}
            )

    service.tamper = once
    assert found(person.sync(ANNA)) == [ANNA]
    assert len(set(evaluations(service))) == 1


def test_an_epoch_that_begins_in_the_middle_is_followed(person, service):
    person.sync(ANNA)
    rotated = []

    def rotate(request, reply):
        if request.path.startswith("/v1/account") and not rotated:
            rotated.append(1)
            service.rotate(ANNA, BEN)

    service.tamper = rotate
    done = person.sync(ANNA, BEN)
    assert (found(done), done["epoch"]) == ([ANNA, BEN], 2)


def test_an_announced_epoch_is_used_at_once_on_first_contact_and_its_tokens_stay(person, service):
    service.announce(ANNA, BEN, until=int(time.time()) + 10_000)
    first = person.sync(ANNA, STRANGER)
    assert (found(first), first["epoch"]) == ([ANNA], 2)
    service.promote()
    again = person.sync(ANNA, STRANGER)
    assert (found(again), again["epoch"], again["new_identifiers"]) == ([ANNA], 2, 0)
    assert again["withdrawn_epoch"] is None


def test_a_client_that_knows_the_epoch_moves_at_its_time_and_returns_if_it_is_taken_back(person, service):
    assert person.sync(ANNA)["epoch"] == 1
    service.announce(ANNA, BEN, until=int(time.time()) - 10)  # over: the time that is drawn is now
    moved = person.sync(ANNA, BEN)
    assert (found(moved), moved["epoch"]) == ([ANNA, BEN], 2)
    service.take_back(ANNA, BEN)
    back = person.sync(ANNA, BEN)
    assert (found(back), back["epoch"], back["withdrawn_epoch"]) == ([ANNA, BEN], 1, 2)


def test_a_gap_in_the_history_is_told_once_and_files_come_anew(person, service):
    person.sync(ANNA)
    for i in range(35):
        service.publish(ANNA, BEN, f"+49151000001{i:02d}")
    done = person.sync(ANNA, BEN)
    assert done["unchecked_history"] == {
        "since": {"epoch": 1, "edition": 1},
        "until": {"epoch": 1, "edition": 36},
    }
    assert found(done) == [ANNA, BEN]
    assert person.sync(ANNA, BEN)["unchecked_history"] is None


def test_another_history_of_the_same_server_is_refused(person, service):
    service.publish(ANNA)
    person.sync(ANNA)
    service.manifest = None
    service.publish(BEN)
    service.publish(BEN, ANNA)
    service.publish(BEN, ANNA, STRANGER)
    error = person.sync(ANNA, code=5)
    assert (error["kind"], error["refusal"]) == ("bad-signature", "another-history")


def test_what_is_printed_is_what_the_schema_of_the_python_client_says(person, service):
    schema = json.loads((ROOT / "docs" / "json-schema.json").read_text())

    def check(name, text):
        jsonschema.validate(json.loads(text), {"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]})

    service.quota = {"left": 8, "burst": 64, "per_day": 64}
    check("sync-one", person.run(ANNA, "12", more=["--json"]).stdout)
    check("error", person.run(ANNA, BEN, more=["--json"], code=8).stdout)
    service.tamper = lambda _, reply: reply.headers.update({"Content-Length": "0"})
    check("error", person.run(ANNA, more=["--json"], code=5).stdout)
