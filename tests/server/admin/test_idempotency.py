"""Idempotency-Key: a request is carried out once, whoever was killed in between, and its answer stays."""

import json
import sqlite3

import pytest
from admin_tools import InProcess, account, member
from server_tools import GERMAN

KEY = '"6f0c1c9e-7d5f-4f0e-9a51-0123456789ab"'
OTHER = '"6f0c1c9e-7d5f-4f0e-9a51-000000000000"'


class Watch:
    """A clock that is set by hand."""

    now = 1_800_000_000_000

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Watch()


@pytest.fixture
def admin(operator, clock):
    admin = InProcess(operator, clock=clock)
    yield admin
    admin.close()


def put(admin, number=GERMAN, key=KEY, **headers):
    return admin("PUT", member(number), idempotency_key=key, **headers)


def test_the_same_request_gives_the_same_answer_and_changes_nothing_again(admin, operator):
    first = put(admin)
    assert (first.status, first.body["changed"]) == (201, True)
    admin("DELETE", member(GERMAN))  # who withdrew meanwhile does not come back
    admin("POST", "/v1/publications", prefer="wait=60")
    again = put(admin)
    assert (again.status, again.body) == (first.status, first.body)
    assert operator.registry.count("people") == 0
    assert put(admin, key=OTHER).body["changed"] is True


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", member(GERMAN), None),
        ("PUT", member(GERMAN + 1), None),
        ("PUT", member(GERMAN), {"audience": "business"}),
        ("POST", "/v1/members/batch", {"put": [f"tel:+{GERMAN}"]}),
        ("POST", "/v1/accounts", {"accounts": [{"name": "shop"}]}),
    ],
)
def test_another_request_with_the_same_key_is_refused(admin, operator, method, path, body):
    put(admin)
    refused = admin(method, path, body, idempotency_key=KEY)
    assert (refused.status, refused.slug) == (422, "key-reused")
    assert (operator.registry.count("people"), len(operator.accounts.list())) == (1, 0)


def test_an_answer_is_kept_for_24_hours(admin, clock):
    put(admin)
    admin("DELETE", member(GERMAN))
    clock.now += 24 * 3_600_000 - 1000
    assert put(admin).body["changed"] is True
    admin("GET", "/v1/status")
    clock.now += 2000
    fresh = put(admin, GERMAN + 1)  # as if the key had never come before
    assert (fresh.status, fresh.body["changed"]) == (201, True)


def test_an_answer_outlives_the_process(operator, clock):
    admin = InProcess(operator, clock=clock)
    first, made = (
        put(admin),
        admin("POST", "/v1/accounts", {"accounts": [{"name": "a"}]}, idempotency_key=OTHER),
    )
    admin.close()
    admin = InProcess(operator, clock=clock)
    again = admin("POST", "/v1/accounts", {"accounts": [{"name": "a"}]}, idempotency_key=OTHER)
    assert (put(admin).body, again.body) == (first.body, made.body)
    assert operator.accounts.find(again.body["accounts"][0]["credential"]).name == "a"
    admin.close()


def test_requests_with_one_key_at_the_same_time_are_carried_out_once(admin, operator):
    keyed = {"idempotency-key": KEY}
    asked = ("POST", "/v1/accounts", {"accounts": [{"name": "shop"}]}, keyed)
    statuses = sorted(reply.status for reply in admin.together(*[asked] * 5))
    assert statuses == [201, 409, 409, 409, 409]
    assert len(operator.accounts.list()) == 1


def test_a_refusal_is_not_kept(admin):
    body = {"put": ["tel:+49"]}
    assert admin("POST", "/v1/members/batch", body, idempotency_key=KEY).slug == "identifier-refused"
    taken = admin("POST", "/v1/accounts", {"accounts": [{"name": ""}]}, idempotency_key=KEY)
    assert taken.slug == "not-valid"
    admin("POST", "/v1/accounts", {"accounts": [{"name": "shop"}]})
    made = ("POST", "/v1/accounts", {"accounts": [{"name": "shop"}]})
    assert admin(*made, idempotency_key=KEY).slug == "account-exists"
    admin("DELETE", account("shop"))
    assert admin(*made, idempotency_key=KEY).status == 201


def test_what_is_not_known_is_not_done_twice(admin, operator):
    """The process was killed after it had begun, and before it knew what came of it."""
    made = ("POST", "/v1/accounts", {"accounts": [{"name": "shop"}]})
    admin(*made, idempotency_key=KEY)
    with sqlite3.connect(operator.folder.registry) as registry:
        registry.execute("UPDATE answers SET answer = NULL")
    registry.close()
    admin("DELETE", account("shop"))
    refused = admin(*made, idempotency_key=KEY)
    assert (refused.status, refused.slug) == (409, "outcome-unknown")
    assert operator.accounts.list() == []


@pytest.mark.parametrize(
    "key", ["short", '"fifteen-letters"', '"no\x7fcontrol-characters-here"', '""', '"' + "x" * 256]
)
def test_a_key_that_can_be_guessed_or_is_none_is_refused(admin, operator, key):
    assert put(admin, key=key).slug == "bad-idempotency-key"
    assert operator.registry.count("people") == 0


def test_quotation_marks_may_be_left_out(admin):
    assert put(admin).body == put(admin, key=KEY.strip('"')).body


def test_nothing_of_a_request_or_an_answer_can_be_read_on_the_disk(operator, clock):
    """Not the number after the member is gone, not the credential, and not the key that opens them."""
    admin = InProcess(operator, clock=clock)
    put(admin)
    credential = admin("POST", "/v1/accounts", {"accounts": [{"name": "shop"}]}, idempotency_key=OTHER).body[
        "accounts"
    ][0]["credential"]
    admin("DELETE", member(GERMAN))
    admin.close()
    for path in operator.folder.path.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        for secret in (str(GERMAN), credential, KEY.strip('"'), OTHER.strip('"')):
            assert secret.encode() not in data, path
    with sqlite3.connect(operator.folder.registry) as registry:
        rows = registry.execute("SELECT request, answer FROM answers").fetchall()
    registry.close()
    groups = [json.loads(answer) for request, answer in rows if not request]
    assert groups == [{audience: {"epoch": 1, "edition": 1} for audience in ("people", "business")}]
    rows = [row for row in rows if row[0]]
    assert len(rows) == 2
    assert all(len(request) == 16 for request, _ in rows)


def keyed_puts(count):
    return [
        ("PUT", member(GERMAN + n), None, {"idempotency-key": f'"6f0c1c9e-7d5f-4f0e-9a51-{n:012}"'})
        for n in range(count)
    ]


def test_requests_that_come_together_ask_and_keep_together(admin, operator):
    """One look-up and one insertion for all of them: each of its own made keyed writes half as fast."""
    admin.together(*keyed_puts(2))
    statements = []
    admin.app._writer._store._database.connection.set_trace_callback(statements.append)
    assert {reply.status for reply in admin.together(*keyed_puts(100)[2:])} == {201}
    admin.app._writer._store._database.connection.set_trace_callback(None)
    assert sum("FROM answers WHERE name" in one for one in statements) <= 6
    assert sum(one == "COMMIT" for one in statements) <= 6
    again = admin.together(*keyed_puts(100))
    assert [reply.body["changed"] for reply in again] == [True] * 100
    assert operator.registry.count("people") == 100


def test_if_the_editions_of_an_answer_were_lost_a_repeat_names_later_ones(admin, operator):
    """Killed between the change and the note on its editions."""
    first = put(admin)
    assert put(admin).body == first.body
    with sqlite3.connect(operator.folder.registry) as registry:
        assert registry.execute("DELETE FROM answers WHERE request = x''").rowcount == 1
    registry.close()
    admin("POST", "/v1/publications", prefer="wait=60")
    again = put(admin)
    assert again.body["edition"]["people"] == {"epoch": 1, "edition": 2}
    assert again.body["edition"]["business"]["edition"] >= first.body["edition"]["business"]["edition"]
    assert again.body | {"edition": 0} == first.body | {"edition": 0}
