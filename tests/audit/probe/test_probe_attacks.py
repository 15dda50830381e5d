"""Servers that break a promise, one each: the probe names the rule that is broken, and no other."""

import copy
import json
import random
import socket
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from probed_site import points_sent, wrong
from tuf.api.metadata import Metadata

from contactsync.audit.probe.server import ProbeOptions, audit_server
from contactsync.audit.report import DISPROVEN, UNCHECKED
from contactsync.foundation.errors import ContactSyncError
from contactsync.ristretto255 import decode
from contactsync.voprf.client import blind
from contactsync.voprf.proof import composite_sum, prove_with_fixed_nonces_for_test_vectors
from contactsync.voprf.server import blind_evaluate, derive_key_pair

pytestmark = pytest.mark.slow

OTHER = derive_key_pair(bytes(32), b"another key")


def evaluation(request, reply):
    """The blinded elements of a request that was evaluated; None for anything else."""
    if "/v1/evaluate/" not in request.path or reply.status != 200:
        return None
    return np.frombuffer(request.body, np.uint8).reshape(-1, 32)


def answered_with(key, rows):
    evaluated, proof = blind_evaluate(key, rows)
    return evaluated.tobytes() + proof


@pytest.fixture
def attacked(site, middleman, probe):
    """Probe a server whose replies go through a function; the rules that are broken, and the report."""

    def attacked(tamper, points=170, **options):
        middleman.tamper = tamper
        report = probe(points, **options)
        return wrong(report), report

    return attacked


# Keys and proofs


def test_another_key_for_one_account(site, attacked):
    accounts = [site.account(), site.account()]

    def tag(request, reply):
        rows = evaluation(request, reply)
        if rows is not None and request.header("authorization") == f"Bearer {accounts[1][1]}":
            reply.body = answered_with(OTHER, rows)

    broken, report = attacked(tag, accounts=accounts)
    assert broken == {"accounts", "determinism"}
    assert any(accounts[1][0] in one.place for one in report.findings if one.rule == "accounts")


def test_another_key_for_large_batches_only(attacked):
    def swap(request, reply):
        rows = evaluation(request, reply)
        if rows is not None and len(rows) > 64:
            reply.body = answered_with(OTHER, rows)

    broken, report = attacked(swap, 260)
    assert broken == {"proof"}
    assert [one.place for one in report.findings if one.rule == "proof" and "65 points" in one.place]


def test_another_key_when_several_ask_at_once(attacked):
    """Each of many batches is judged, so one in eight is found."""
    seen = []

    def swap(request, reply):
        rows = evaluation(request, reply)
        if rows is not None:
            seen.append(rows)
            if len(seen) == 12:
                reply.body = answered_with(OTHER, rows)

    # Each has a point that was evaluated before: that is answered in another way than then.
    assert attacked(swap)[0] == {"parallel", "determinism"}


def test_answers_that_change(attacked):
    """A point that comes again is evaluated to something else; the proof cannot hold, and that is not all."""
    known = set()

    def vary(request, reply):
        rows = evaluation(request, reply)
        if rows is not None:
            points = {row.tobytes() for row in rows}
            if points & known:
                reply.body = answered_with(OTHER, rows)
            known.update(points)

    broken, report = attacked(vary)
    assert "determinism" in broken
    assert "finalize" not in broken
    assert report.proven["proof"] >= 1, "the first answers were good"


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body[:-32] + bytes([body[-32] ^ 1]) + body[-31:],
        lambda body: body[:-64] + b"\xff" * 64,
        lambda body: body[:-1],
        lambda body: bytes(32) + body[32:],
    ],
    ids=["another proof", "no scalars", "an octet short", "the identity"],
)
def test_a_wrong_proof(attacked, damage):
    done = []

    def damaged(request, reply):
        if evaluation(request, reply) is not None and not done:
            done.append(True)
            reply.body = damage(reply.body)

    broken, _ = attacked(damaged, 8)
    assert broken == {"proof"}


def test_a_nonce_that_is_used_twice(site, attacked):
    key = site.operator.keyring.key_pair("people", 1)
    nonce = np.full((1, 32), 7, np.uint8)
    nonce[0, 31] = 0

    def repeat(request, reply):
        rows = evaluation(request, reply)
        if rows is not None and "people" in request.path:
            evaluated = np.frombuffer(reply.body[:-64], np.uint8).reshape(-1, 32)
            composite = composite_sum(key.public, decode(rows)[0], rows, evaluated)
            (proof,) = prove_with_fixed_nonces_for_test_vectors(key.secret, key.public, composite, nonce)
            reply.body = evaluated.tobytes() + proof

    broken, report = attacked(repeat)
    assert broken == {"nonce"}
    assert report.proven["proof"] > 2, "each proof holds by itself"


# Credentials


def test_data_files_without_a_credential(site, attacked):
    """Only the smallest one: each is asked for."""
    files = {file.name: file.read_bytes() for file in site.operator.folder.data.iterdir()}
    name = max(files, key=lambda one: len(files[one]))

    def serve(request, reply):
        if request.path == f"/v1/data/{name}" and reply.status == 401 and not request.header("authorization"):
            reply.status, reply.body = 200, files[name]
            reply.set("content-type", "application/octet-stream")

    broken, report = attacked(serve, 8)
    assert "credential" in broken
    assert {
        one.place.split()[2][:12]
        for one in report.findings
        if one.rule == "credential" and "data" in one.place
    }


def test_a_file_of_another_audience(site, attacked):
    foreign = site.operator.manifest("business").partitions["49"].base.sha256

    def serve(request, reply):
        if foreign in request.path and reply.status == 404:
            reply.status, reply.body = 206, b"x"

    broken, report = attacked(serve, 8)
    assert broken == {"credential"}
    assert any("business" in one.place for one in report.findings if one.rule == "credential")


def test_an_account_without_a_credential(attacked):
    def serve(request, reply):
        if request.path == "/v1/account" and reply.status == 401 and not request.header("authorization"):
            reply.status = 200

    assert attacked(serve, 8)[0] == {"credential", "refusal"}


# Quotas


def test_a_batch_that_is_charged_again(site, middleman, attacked):
    """The server really charges: whoever repeats a batch pays for another one behind it."""
    seen = Counter()

    def charge(request, reply):
        if evaluation(request, reply) is not None:
            seen[request.header("authorization"), request.body] += 1
            if seen[request.header("authorization"), request.body] > 1:
                body = blind([b"x%d" % i for i in range(8)]).blinded.tobytes()
                head = request.head.replace("\r\n\r\n", "") + "\r\n\r\n"
                with socket.create_connection(("127.0.0.1", site.process.port)) as connection:
                    connection.sendall(head.encode() + body)
                    connection.recv(4096)

    broken, report = attacked(charge)
    assert broken == {"quota"}
    assert any("the same batch again" in one.place for one in report.findings if one.rule == "quota")


def test_figures_that_lie(attacked):
    def lie(request, reply):
        if evaluation(request, reply) is not None:
            left = reply.get("ratelimit").partition("r=")[2].partition(";")[0]
            reply.set("ratelimit", f'"points";r={int(left) + 20};t=0')

    assert attacked(lie)[0] == {"quota"}


def test_points_that_are_not_charged(attacked):
    def lie(request, reply):
        if request.path == "/v1/account" and reply.status == 200 and request.method == "GET":
            value = json.loads(reply.body)
            value["quota"]["left"] = value["quota"]["burst"]
            reply.body = json.dumps(value, separators=(",", ":")).encode().ljust(len(reply.body))
            reply.set("ratelimit", f'"points";r={value["quota"]["burst"]};t=0')

    broken, report = attacked(lie)
    assert broken == {"quota"}
    assert any("charged less" in one.hint for one in report.findings)


@pytest.mark.parametrize(
    "lie",
    [
        lambda value, reply: reply.set("retry-after", "1"),
        lambda value, reply: value.update(left=value["left"] + 1),
        lambda value, reply: value.update(needed=1),
        lambda value, reply: reply.set("ratelimit", None),
        lambda value, reply: setattr(reply, "status", 403),
    ],
    ids=["Retry-After", "left", "needed", "no fields", "status"],
)
def test_a_false_word_at_the_end_of_the_quota(site, attacked, lie):
    def tamper(request, reply):
        if reply.status == 429:
            value = json.loads(reply.body)
            lie(value, reply)
            reply.body = json.dumps(value).encode()

    account = site.account(burst=4, per_day=2)
    assert attacked(tamper, 8, accounts=[account])[0] == {"out-of-quota"}


# Refusals


REFUSED = {
    "another status": lambda value, reply: setattr(reply, "status", 410),
    "another kind": lambda value, reply: value.update(type="urn:contactsync:problem:epoch-gone"),
    "no kind": lambda value, reply: value.pop("type"),
    "another status inside": lambda value, reply: value.update(status=400),
    "no epoch": lambda value, reply: value.pop("epoch"),
    "another epoch": lambda value, reply: value.update(epoch=7),
    "no title": lambda value, reply: value.update(title=""),
    "a page": lambda value, reply: reply.set("content-type", "text/html"),
    "it may be cached": lambda value, reply: reply.set("cache-control", "public"),
}


def test_a_refusal_in_another_form(attacked):
    """Each fault alone, on requests of their own: all that say `epoch-changed`."""
    faults, done = iter(REFUSED.items()), []

    def change(request, reply):
        if reply.status == 409:
            name, fault = next(faults, (None, None))
            if name is not None:
                done.append(name)
                value = json.loads(reply.body)
                fault(value, reply)
                reply.body = json.dumps(value).encode()

    for _ in range(len(REFUSED)):
        before = len(done)
        broken, report = attacked(change, 8)
        if len(done) == before:
            break
        assert broken == {"refusal"}
        found = [one for one in report.findings if one.rule == "refusal" and one.severity == "error"]
        assert len(found) == len(done) - before, done[before:]
    assert done == list(REFUSED)


def test_a_refusal_that_is_none(attacked):
    """What must be refused is evaluated, and served."""

    def permit(request, reply):
        if reply.status == 415 or (reply.status == 405 and request.method == "PUT"):
            reply.status = 200

    broken, report = attacked(permit, 8)
    assert broken == {"refusal"}
    assert len([one for one in report.findings if one.severity == "error"]) >= 5


def test_a_refusal_that_repeats_the_credential(attacked):
    def echo(request, reply):
        if reply.status == 401 and reply.body:
            value = json.loads(reply.body)
            value["detail"] += request.header("authorization")
            reply.body = json.dumps(value).encode()

    broken, report = attacked(echo, 8)
    assert broken == {"refusal"}
    assert "cs_" not in str(report.value()), "nor does the report"


# Fields, ranges, health, signatures


def test_fields_that_tell_or_lack_something(attacked):
    def add(request, reply):
        if request.path == "/v1/health":
            reply.set("Server", "nginx/1.22.1")
            reply.headers.append(("Set-Cookie", "id=1"))
        if request.path == "/v1/account":
            reply.set("x-content-type-options", None)
        if "timestamp.json" in request.path and reply.status == 200:
            reply.set("cache-control", "max-age=31536000, immutable")

    broken, report = attacked(add, 8)
    assert broken == {"headers"}
    said = " ".join(one.message for one in report.findings if one.rule == "headers")
    for part in ("version: 'nginx/1.22.1'", "cookie", "nosniff", "Cache-Control lacks no-cache"):
        assert part in said


def test_a_server_that_only_says_its_name(attacked):
    assert attacked(lambda _, reply: reply.set("Server", "nginx"), 8)[0] == set()


def test_ranges_of_other_octets(attacked):
    def shift(request, reply):
        if reply.status == 206 and request.header("range") == "bytes=2-9":
            reply.body = bytes(len(reply.body))

    assert attacked(shift, 8)[0] == {"ranges"}


def test_a_server_that_is_not_well_afterwards(attacked):
    asked = []

    def fall(request, reply):
        if reply.status == 413:
            asked.append(request)
        if request.path == "/v1/health" and len(asked) > 1 and reply.status == 200:
            reply.status = 503
            reply.body = b'{"type": "urn:contactsync:problem:expired", "role": "timestamp"}'

    broken, _ = attacked(fall, 8)
    assert broken == {"health"}


def test_a_timestamp_that_has_expired(site, attacked):
    """Validly signed, and over: the rest of the server is probed all the same."""
    metadata = Metadata.from_bytes((site.operator.folder.public / "metadata" / "timestamp.json").read_bytes())
    old = copy.deepcopy(metadata)
    old.signed.expires = (datetime.now(UTC) - timedelta(days=1)).replace(microsecond=0)
    old.sign(site.operator.keyring.signers()["timestamp"])
    octets = old.to_bytes()

    def serve(request, reply):
        if request.path.endswith("/timestamp.json") and reply.status == 200:
            reply.set("content-length", str(len(octets)))
            reply.body = octets if request.method == "GET" else b""

    broken, report = attacked(serve, 8)
    assert broken == {"freshness"}
    assert report.proven["proof"] == 1


def test_another_root_than_the_one_that_is_known(attacked):
    assert attacked(lambda *_: None, 8, fingerprint="0" * 64)[0] == {"metadata"}


def test_a_clock_that_is_wrong_is_not_proven(attacked):
    def late(request, reply):
        reply.set("date", "Mon, 01 Jan 2024 00:00:00 GMT")

    broken, report = attacked(late, 8)
    assert broken == set()
    assert any("seconds apart" in one.message for one in report.findings)


def mangled(draw, request, reply):
    """One change of a reply, of the kind that a broken or hostile server makes."""
    value = json.loads(reply.body) if reply.body[:1] == b"{" else {}
    match draw.randrange(9):
        case 0:
            reply.status = draw.choice([200, 204, 206, 301, 404, 429, 500, 503])
        case 1:
            reply.body = reply.body[: draw.randrange(len(reply.body) + 1)]
        case 2:
            reply.body = bytes(draw.randrange(256) for _ in range(draw.randrange(200)))
        case 3 if value:
            value[draw.choice(list(value))] = draw.choice([None, -1, float("nan"), "\x1b[2J", [], {}, 1e400])
            reply.body = json.dumps(value).encode()
        case 4 if reply.headers:
            reply.set(draw.choice(reply.headers)[0].lower(), None)
        case 5 if reply.headers:
            reply.set(
                draw.choice(reply.headers)[0].lower(), draw.choice(["", "-1", "\xff", "9" * 30, "\x1b[2J"])
            )
        case 6:
            reply.body = b"[" * 50_000
        case 7:
            reply.body = reply.body[::-1]
        case 8 if reply.headers:
            reply.headers.append(draw.choice(reply.headers))


@pytest.mark.parametrize("seed", range(6))
def test_no_reply_breaks_the_probe_itself(site, middleman, seed):
    """Whatever comes back is a finding, or an error with its place: no traceback, nothing for a terminal."""
    draw = random.Random(seed)
    rate = [0.02, 0.1, 0.3][seed % 3]

    def tamper(request, reply):
        # Little at first, so that the probe comes far.
        if draw.random() < rate and "/metadata/" not in request.path:
            mangled(draw, request, reply)

    middleman.tamper = tamper
    try:
        report = audit_server(
            middleman.url, [site.account(), site.account()], 170, ProbeOptions(pace=0, wait=0)
        )
    except ContactSyncError as error:
        text = f"{error} {error.hint}"
    else:
        text = "\n".join(report.lines()) + json.dumps(report.value())
        assert report.exit_code in {DISPROVEN, UNCHECKED}
    assert "\x1b" not in text
    assert points_sent(middleman.requests) <= 170
