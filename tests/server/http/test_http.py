"""The HTTP API over a real socket, from a real process: docs/http-api.md, line by line."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import urllib3
from server_tools import AMERICAN, GERMAN, Operator, Process

from contactsync.identifiers import normalise
from contactsync.server.http.problems import _KINDS
from contactsync.voprf.client import blind, finalize
from contactsync.voprf.server import evaluate

DOCUMENT = Path(__file__).parents[3] / "docs" / "http-api.md"
BINARY = {"Content-Type": "application/octet-stream"}


class Site:
    """An operator with a running server and a client of it."""

    def __init__(self, folder, *members):
        self.operator = Operator(folder / "server")
        if members:
            self.operator.add(*members)
            self.operator.add(members[0], audience="business")
            self.operator.publish()
        for audience in ("people", "business"):
            self.operator.accounts.add(audience, audience, f"cs_{audience}")
        self.process = Process(self.operator.folder.path)
        self.http = urllib3.PoolManager(retries=False, timeout=20)

    def __call__(self, method, path, *, credential="cs_people", headers=None, body=None, **options):
        head = {**({"Authorization": f"Bearer {credential}"} if credential else {}), **(headers or {})}
        return self.http.request(method, self.process.url + path, headers=head, body=body, **options)

    def evaluate(self, body, path="/v1/evaluate/people/1", **options):
        return self("POST", path, headers=options.pop("headers", BINARY), body=body, **options)

    def raw(self, data):
        with socket.create_connection(("127.0.0.1", self.process.port), timeout=20) as connection:
            connection.sendall(data)
            answer = b""
            while part := connection.recv(1 << 16):
                answer += part
            return answer


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("http"), *range(GERMAN, GERMAN + 1000), AMERICAN)
    with site.process, closing(site.operator):
        yield site
        site.http.clear()
        assert site.process.stop() == 0
    log = site.process.log.read_text()
    assert "ERROR" not in log
    assert "Traceback" not in log
    # Whatever the tests of this file did, nothing of it is in the log.
    assert not re.search(r"cs_|4915100|/v1/|[0-9a-f]{32}", log)


def problem(response, status, slug):
    assert response.status == status
    assert response.headers["content-type"] == "application/problem+json"
    body = json.loads(response.data)
    assert body["type"] == f"urn:contactsync:problem:{slug}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body


def base(site, audience="people"):
    partition = site.operator.manifest(audience).partitions["49"]
    return partition.base, (site.operator.folder.data / partition.base.sha256).read_bytes()


def test_the_document_lists_exactly_the_problems_that_exist():
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", DOCUMENT.read_text(), re.MULTILINE)
    assert {slug: int(status) for slug, status in rows} == {slug: kind[0] for slug, kind in _KINDS.items()}


# Without a credential


FIELDS = {  # what docs/http-api.md says of each reply: path, status, field, what it has
    ("/v1/health", 200, "cache-control", "no-store"),
    ("/v1/tuf/metadata/timestamp.json", 200, "cache-control", "no-cache"),
    ("/v1/tuf/metadata/root.json", 200, "cache-control", "no-cache"),
    ("/v1/tuf/metadata/1.root.json", 200, "cache-control", "max-age=31536000, immutable"),
    ("/v1/account", 200, "cache-control", "no-store"),
    ("/v1/nothing", 404, "cache-control", "no-store"),
    ("/v1/data/x", 404, "cache-control", "no-store"),
}


@pytest.mark.slow
def test_the_fields_that_the_document_names(site):
    text = " ".join(DOCUMENT.read_text().split())
    for path, status, name, value in FIELDS:
        response = site("GET", path)
        assert (response.status, value in response.headers[name]) == (status, True), path
        assert response.headers["x-content-type-options"] == "nosniff"
        assert not {"server", "set-cookie", "content-encoding"} & {one.lower() for one in response.headers}
        assert value in text
    refused = site("GET", "/v1/account", credential=None)
    assert refused.headers["www-authenticate"] == "Bearer"
    for said in (
        "401 `bad-credential` with `WWW-Authenticate: Bearer`",
        "416 if a range begins beyond the end, with `Content-Range: bytes */LENGTH`",
        "`application/problem+json` (RFC 9457) and `Cache-Control: no-store`",
        "`X-Content-Type-Options: nosniff`",
    ):
        assert said in text


@pytest.mark.slow
def test_health(site):
    response = site("GET", "/v1/health", credential=None)
    assert (response.status, json.loads(response.data)) == (200, {"status": "ok"})
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "server" not in response.headers


@pytest.mark.slow
def test_metadata_and_manifest(site):
    for path in site.operator.folder.public.glob("metadata/*.json"):
        response = site("GET", f"/v1/tuf/metadata/{path.name}", credential=None)
        assert (response.status, response.data) == (200, path.read_bytes())
        assert ("immutable" in response.headers["cache-control"]) == (path.name != "timestamp.json")
    root = site("GET", "/v1/tuf/metadata/root.json", credential=None)
    assert root.data == site.operator.repository.root_bytes()
    assert root.headers["cache-control"] == "no-cache"
    data = site.operator.manifest().to_bytes()
    name = f"{hashlib.sha256(data).hexdigest()}.people.json"
    assert site("GET", f"/v1/tuf/targets/{name}", credential=None).data == data
    ranged = site("GET", f"/v1/tuf/targets/{name}", credential=None, headers={"Range": "bytes=9999999-"})
    assert (ranged.status, ranged.data) == (200, data)
    head = site("HEAD", f"/v1/tuf/targets/{name}", credential=None)
    assert (head.status, head.data, head.headers["content-length"]) == (200, b"", str(len(data)))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v1/health/",
        "/v2/health",
        "/v1/tuf/metadata/",
        "/v1/tuf/metadata/2.root.json",
        "/v1/tuf/metadata/01.root.json",
        "/v1/tuf/metadata/1.timestamp.json",
        "/v1/tuf/metadata/targets.json",
        "/v1/tuf/metadata/.timestamp.json.part",
        "/v1/tuf/metadata/..%2f..%2fserver.toml",
        "/v1/tuf/metadata/%2e%2e/%2e%2e/server.toml",
        "/v1/tuf/targets/people.json",
        f"/v1/tuf/targets/{'0' * 64}.people.json",
        "/v1/tuf/targets/..%2fdata",
    ],
)
def test_nothing_there(site, path):
    problem(site("GET", path, credential=None), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/health", "GET"),
        ("GET", "/v1/evaluate/people/1", "POST"),
        ("DELETE", "/v1/data/x", "GET"),
    ],
)
def test_other_methods(site, method, path, allowed):
    response = site(method, path)
    problem(response, 405, "method-not-allowed")
    assert allowed in response.headers["allow"]


# Credentials


@pytest.mark.parametrize(
    "value",
    [None, "", "Bearer", "Bearer ", "Bearer cs_other", "Basic cs_people", "cs_people", "Bearer cs_people x"],
)
def test_bad_credential(site, value):
    headers = {} if value is None else {"Authorization": value}
    for method, path in (("GET", f"/v1/data/{base(site)[0].sha256}"), ("POST", "/v1/evaluate/people/1")):
        response = site(method, path, credential=None, headers=headers)
        problem(response, 401, "bad-credential")
        assert response.headers["www-authenticate"] == "Bearer"


def test_an_account_reaches_its_own_audience_only(site):
    problem(site.evaluate(bytes(32), credential="cs_business"), 403, "wrong-audience")
    people, business = base(site)[0].sha256, base(site, "business")[0].sha256
    problem(site("GET", f"/v1/data/{people}", credential="cs_business"), 404, "not-found")
    assert site("GET", f"/v1/data/{business}", credential="cs_business").status == 200


def test_revoked_at_once(site):
    site.operator.accounts.add("short", "people", "cs_short")
    path = f"/v1/data/{base(site)[0].sha256}"
    assert site("GET", path, credential="cs_short").status == 200
    assert site.evaluate(GOOD, credential="cs_short").status == 200
    site.operator.accounts.revoke("short")
    problem(site("GET", path, credential="cs_short"), 401, "bad-credential")
    problem(site.evaluate(GOOD, credential="cs_short"), 401, "bad-credential")
    site.operator.accounts.add("short", "business", "cs_short")
    problem(site.evaluate(GOOD, credential="cs_short"), 403, "wrong-audience")


# Data


def test_data_whole(site):
    file, data = base(site)
    for method in ("GET", "HEAD"):
        response = site(method, f"/v1/data/{file.sha256}")
        assert response.status == 200
        assert response.data == (data if method == "GET" else b"")
        assert response.headers["etag"] == f'"{file.sha256}"'
        assert response.headers["content-length"] == str(file.length)
        assert response.headers["accept-ranges"] == "bytes"
        assert "private" in response.headers["cache-control"]
        assert "immutable" in response.headers["cache-control"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=100-199", slice(100, 200)),
        ("bytes=5-", slice(5, None)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=10-99999999", slice(10, None)),
        ("bytes=-99999999", slice(None)),
        ("bytes = 3 - 4", slice(3, 5)),
    ],
)
def test_range(site, value, expected):
    file, data = base(site)
    for extra in ({}, {"If-Range": f'"{file.sha256}"'}):
        response = site("GET", f"/v1/data/{file.sha256}", headers={"Range": value, **extra})
        assert (response.status, response.data) == (206, data[expected])
        first, last, total = re.fullmatch(
            r"bytes (\d+)-(\d+)/(\d+)", response.headers["content-range"]
        ).groups()
        assert data[int(first) : int(last) + 1] == response.data
        assert int(total) == file.length


def test_if_range_of_another_file_gives_the_whole(site):
    file, data = base(site)
    headers = {"Range": "bytes=5-9", "If-Range": f'"{"0" * 64}"'}
    response = site("GET", f"/v1/data/{file.sha256}", headers=headers)
    assert (response.status, response.data) == (200, data)


def test_range_that_has_to_be_ignored(site):
    """RFC 9110 §14.2: an unknown unit, and a method other than GET."""
    file, data = base(site)
    path = f"/v1/data/{file.sha256}"
    for value in ("lines=1-2", "lines", "="):
        response = site("GET", path, headers={"Range": value})
        assert (response.status, response.data) == (200, data)
    for value in ("bytes=0-3", "bytes=9999999-"):
        response = site("HEAD", path, headers={"Range": value})
        assert (response.status, response.headers["content-length"]) == (200, str(file.length))


def test_several_ranges(site):
    file, data = base(site)
    response = site("GET", f"/v1/data/{file.sha256}", headers={"Range": "bytes=0-9,50-59"})
    assert response.status == 206
    assert int(response.headers["content-length"]) == len(response.data)
    boundary = re.fullmatch(r"multipart/byteranges; boundary=(\w+)", response.headers["content-type"])[1]
    head = f"Content-Type: application/octet-stream\r\nContent-Range: bytes %d-%d/{file.length}\r\n\r\n"
    first, second = ((head % span).encode() for span in ((0, 9), (50, 59)))
    between = f"--{boundary}".encode()
    assert response.data == (
        between + b"\r\n" + first + data[:10] + b"\r\n"
        + between + b"\r\n" + second + data[50:60] + b"\r\n"
        + between + b"--"
    )  # fmt: skip


def test_ranges_that_touch_are_joined_and_too_many_give_the_whole(site):
    file, data = base(site)
    path = f"/v1/data/{file.sha256}"
    response = site("GET", path, headers={"Range": "bytes=20-29,0-9,5-19"})
    assert (response.status, response.data) == (206, data[:30])
    assert response.headers["content-range"] == f"bytes 0-29/{file.length}"
    many = ",".join(f"{2 * i}-{2 * i}" for i in range(100))
    assert site("GET", path, headers={"Range": f"bytes={many}"}).status == 206
    response = site("GET", path, headers={"Range": f"bytes={many},300-300"})
    assert (response.status, response.data) == (200, data)


def test_if_range_with_the_date(site):
    file, data = base(site)
    path = f"/v1/data/{file.sha256}"
    date = site("HEAD", path).headers["last-modified"]
    response = site("GET", path, headers={"Range": "bytes=5-9", "If-Range": date})
    assert (response.status, response.data) == (206, data[5:10])
    problem(site("GET", path, headers={"Range": "bytes=9-5", "If-Range": date}), 400, "bad-range")


@pytest.mark.parametrize(
    ("value", "slug"),
    [
        ("bytes=9999999-", "range-not-satisfiable"),
        ("bytes=0-1,9999999-", "range-not-satisfiable"),
        ("bytes=-0", "range-not-satisfiable"),
        ("bytes=", "bad-range"),
        ("bytes=-", "bad-range"),
        ("bytes=9-3", "bad-range"),
        ("bytes=a-b", "bad-range"),
        ("bytes=" + "9" * 5000 + "-", "bad-range"),
    ],
)
def test_bad_range(site, value, slug):
    file, _ = base(site)
    response = site("GET", f"/v1/data/{file.sha256}", headers={"Range": value})
    problem(response, 416 if slug == "range-not-satisfiable" else 400, slug)
    if response.status == 416:
        assert response.headers["content-range"] == f"bytes */{file.length}"


def test_no_such_data(site):
    for name in ("0" * 64, "x", ".building", base(site)[0].sha256.upper()):
        problem(site("GET", f"/v1/data/{name}"), 404, "not-found")


# Evaluate


@pytest.mark.parametrize("n", [1, 8, 100])
def test_evaluate_agrees_with_the_key(site, n, numbers):
    inputs = numbers(*range(GERMAN, GERMAN + n)).identifiers()
    blinding = blind(inputs)
    response = site.evaluate(blinding.blinded.tobytes())
    assert response.status == 200
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["cache-control"] == "no-store"
    assert len(response.data) == n * 32 + 64
    evaluated = np.frombuffer(response.data[:-64], np.uint8).reshape(-1, 32)
    outputs = finalize(blinding, evaluated, response.data[-64:], site.operator.manifest().public_key)
    assert (outputs == evaluate(site.operator.keyring.key_pair("people", 1), inputs)).all()


GOOD = blind([normalise("+491511234567", None)] * 2).blinded.tobytes()


HEAD = (
    b"POST /v1/evaluate/people/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer cs_people\r\n"
    b"Content-Type: application/octet-stream\r\nContent-Length: 64\r\n\r\n"
)


@pytest.mark.parametrize(
    ("body", "status", "slug", "members"),
    [
        (b"", 400, "bad-batch", {}),
        (GOOD[:-1], 400, "bad-batch", {}),
        (GOOD + b"\0", 400, "bad-batch", {}),
        (GOOD[:32] + bytes(32), 400, "invalid-element", {"index": 1}),
        (b"\xff" * 32 + GOOD, 400, "invalid-element", {"index": 0}),
        (GOOD[:32] * 4097, 413, "batch-too-large", {"limit": 4096}),
    ],
    ids=["empty", "one octet short", "one octet more", "identity", "not canonical", "4097 elements"],
)
def test_bad_batch(site, body, status, slug, members):
    answer = problem(site.evaluate(body), status, slug)
    assert {name: answer.get(name) for name in members} == members


def test_a_chunked_body_is_counted_as_it_comes(site):
    assert site.evaluate(iter([GOOD[:40], GOOD[40:]]), chunked=True).status == 200
    sent = 0

    def endless():
        nonlocal sent
        while True:
            sent += 1
            yield b"\1" * 65536

    try:
        response = site.evaluate(endless(), chunked=True)
    except urllib3.exceptions.ProtocolError:
        pass  # the server closed the connection while we went on sending
    else:
        assert problem(response, 413, "body-too-large")["limit"] == 131072
    assert sent < 1000
    over = site.evaluate(iter([b"\1" * 131072, b"\1"]), chunked=True)
    assert problem(over, 413, "body-too-large")["limit"] == 131072


def test_media_type(site):
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": ""}):
        problem(site.evaluate(GOOD, headers=headers), 415, "wrong-media-type")
    assert site.evaluate(GOOD, headers={"Content-Type": "Application/Octet-Stream; x=y"}).status == 200


def test_epochs(site):
    assert problem(site.evaluate(GOOD, "/v1/evaluate/people/2"), 409, "epoch-changed")["epoch"] == 1
    assert problem(site.evaluate(GOOD, f"/v1/evaluate/people/{'9' * 16}"), 409, "epoch-changed")["epoch"] == 1
    # What no epoch can ever be is no route, whoever asks.
    long = "9" * 17
    for path in ("people/0", "people/01", "people/-1", "people/x", "nobody/1", f"people/{long}"):
        problem(site.evaluate(GOOD, f"/v1/evaluate/{path}"), 404, "not-found")


def test_what_is_judged_first(site):
    problem(site.evaluate(b"", "/v1/evaluate/nobody/1", credential=None), 404, "not-found")
    problem(site.evaluate(b"", "/v1/evaluate/people/0", credential=None), 404, "not-found")
    problem(site.evaluate(b"", "/v1/evaluate/people/9", credential=None), 401, "bad-credential")
    problem(site.evaluate(b"", "/v1/evaluate/people/9", headers={}), 409, "epoch-changed")
    problem(site.evaluate(b"", headers={}), 415, "wrong-media-type")


def test_a_client_that_goes_away_in_the_middle_disturbs_nobody(site):
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", site.process.port)) as connection:
            connection.sendall(HEAD + GOOD[:40])
    with socket.create_connection(("127.0.0.1", site.process.port)) as connection:
        connection.sendall(HEAD + GOOD)
    assert site.evaluate(GOOD).status == 200


@pytest.mark.parametrize("request_line", [b"\0\1\2\r\n\r\n", b"GET\r\n\r\n"])
def test_what_is_not_http_is_refused(site, request_line):
    assert site.raw(request_line).startswith(b"HTTP/1.1 400 ")


def test_an_endless_head_is_cut(site):
    assert site.raw(b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000).startswith(b"HTTP/1.1 400 ")


@pytest.mark.slow
def test_many_at_once(site):
    body = blind([b"tel:+4915100%06d" % i for i in range(16)]).blinded.tobytes()
    statuses = []

    def ask():
        statuses.extend(site.evaluate(body).status for _ in range(3))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 24


# Things that change while it runs. These come last: they move the module's server on.


@pytest.mark.slow
def test_a_new_edition_and_epoch_are_picked_up(site):
    old = base(site)[0]
    site.operator.add(GERMAN + 5000)
    site.operator.publish()
    new = base(site)[0]
    assert old != new
    for file in (old, new):
        assert site("GET", f"/v1/data/{file.sha256}").status == 200
    site.operator.publish(new_epoch=True)
    assert problem(site.evaluate(GOOD), 409, "epoch-changed")["epoch"] == 2
    assert site.evaluate(GOOD, "/v1/evaluate/people/2").status == 200
    assert site("GET", f"/v1/data/{base(site)[0].sha256}").status == 200
    site.operator.add(GERMAN + 5001)
    site.operator.publish()
    problem(site("GET", f"/v1/data/{old.sha256}"), 404, "not-found")


@pytest.mark.slow
def test_older_manifests_are_served_by_their_hash_across_epochs(site):
    """As docs/http-api.md tells another client to walk: without a credential, each named by the next."""
    for number in range(3):
        site.operator.add(GERMAN + 6000 + number)
        site.operator.publish(new_epoch=number == 1)
    manifests = list(site.operator.repository.history("people", 99))
    assert len({manifest.epoch for manifest in manifests}) > 1
    name = manifests[0].sha256()
    for manifest in manifests:
        reply = site("GET", f"/v1/tuf/targets/{name}.people.json", credential=None)
        assert (reply.status, reply.data) == (200, manifest.to_bytes())
        assert "immutable" in reply.headers["cache-control"]
        name = json.loads(reply.data)["previous"]
    assert name is None


@pytest.mark.slow
def test_before_the_first_publish_and_without_a_key(tmp_path):
    site = Site(tmp_path)
    operator = site.operator
    with site.process, closing(operator):
        for method, path in (
            ("GET", "/v1/health"),
            ("GET", "/v1/tuf/metadata/timestamp.json"),
            ("POST", "/v1/evaluate/people/1"),
        ):
            problem(site(method, path), 503, "not-published")
        assert site("GET", "/v1/tuf/metadata/root.json").status == 200
        operator.publish()
        assert site("GET", "/v1/health").status == 200
        # A key that the server cannot read is said as that, and the manifest is still served.
        operator.publish(new_epoch=True)
        (operator.folder.keys / "voprf-people-2.json").chmod(0o644)
        problem(site("GET", "/v1/health"), 503, "key-unavailable")
        problem(site.evaluate(GOOD, "/v1/evaluate/people/2"), 503, "key-unavailable")
        # Damage on the disk: the last good state goes on being served, and the log says what is wrong.
        (operator.folder.public / "metadata" / "timestamp.json").write_bytes(b"{}")
        problem(site.evaluate(GOOD, "/v1/evaluate/people/1"), 409, "epoch-changed")
        site.http.clear()
        assert site.process.stop() == 0
    log = site.process.log.read_text()
    assert "can be read by other users" in log
    assert "damaged" in log
    assert "Traceback" not in log


@pytest.mark.slow
def test_an_audience_that_nothing_is_published_for(tmp_path):
    """Its epoch is not a wrong one, and it may come: `not-published`, as before the first publish."""
    site = Site(tmp_path)
    operator = site.operator
    operator.add(GERMAN)
    operator.publish()
    with site.process, closing(operator):
        answer = site.evaluate(GOOD, "/v1/evaluate/business/1", credential="cs_business")
        answer = problem(answer, 503, "not-published")
        assert "business" in answer["detail"]
        problem(site("GET", f"/v1/data/{base(site)[0].sha256}", credential="cs_business"), 404, "not-found")
        assert site("GET", "/v1/health").status == 200
        site.http.clear()


@pytest.mark.slow
def test_the_members_are_out_of_reach_of_the_serving_process(tmp_path):
    """It opens neither their file nor asks whether there is one: it may stay on another machine."""
    site = Site(tmp_path, GERMAN)
    operator = site.operator
    with site.process, closing(operator):
        assert site.evaluate(GOOD).status == 200
        opened = {path.resolve().name for path in Path(f"/proc/{site.process.popen.pid}/fd").iterdir()}
        assert "accounts.sqlite" in opened
        assert not any(name.startswith("registry") for name in opened)
        site.http.clear()
        site.process.stop()
    for path in operator.folder.path.glob("registry.sqlite*"):
        path.unlink()
    with Process(operator.folder.path) as site.process:
        assert site.evaluate(GOOD).status == 200
        assert site("GET", f"/v1/data/{base(site)[0].sha256}").status == 200
        site.http.clear()
        assert site.process.stop() == 0
    operator.folder.registry.mkdir()  # what cannot be opened by anybody, not even by root
    with Process(operator.folder.path) as site.process:
        assert site.evaluate(GOOD).status == 200
        site.http.clear()


# Root reads everything; but not what is another's, after it has given up these two capabilities.
WITHOUT_PRIVILEGE = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.slow
def test_it_serves_as_a_user_who_may_not_read_the_members(tmp_path):
    site = Site(tmp_path, GERMAN)
    with site.process:
        assert site.process.stop() == 0
    with closing(site.operator):
        for path in site.operator.folder.path.glob("registry.sqlite*"):
            path.chmod(0)
            if os.geteuid() == 0:
                os.chown(path, 65534, 65534)
        reads = f"open({str(site.operator.folder.registry)!r})"
        command = [sys.executable, "-c", WITHOUT_PRIVILEGE, "-c", reads]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "PermissionError" in done.stderr
        program = ("-c", WITHOUT_PRIVILEGE, "-m", "contactsync")
        with Process(site.operator.folder.path, program=program) as site.process:
            assert site("GET", "/v1/account").status == 200
            assert site.evaluate(GOOD).status == 200
            assert site("GET", f"/v1/data/{base(site)[0].sha256}").status == 200
            site.http.clear()
            assert site.process.stop() == 0


@pytest.mark.slow
def test_a_stop_lets_a_request_finish(tmp_path):
    site = Site(tmp_path, GERMAN)
    with site.process, closing(site.operator):
        address = ("127.0.0.1", site.process.port)
        with socket.create_connection(address, timeout=20) as connection:
            connection.sendall(HEAD + GOOD[:40])
            time.sleep(0.3)
            site.process.popen.terminate()
            time.sleep(0.3)
            connection.sendall(GOOD[40:])
            answer = b""
            while part := connection.recv(65536):
                answer += part
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert site.process.stop() == 0
