"""CORS: pages of named origins may read replies, and no other page may."""

import http.client
import secrets

import pytest
from server_tools import GERMAN, Operator, Process, ask

from contactsync.foundation.errors import BadInput
from contactsync.server.origins import check_origin
from contactsync.server.settings import Settings

PAGE, OTHER = "https://app.example", "https://evil.example"
EXPOSED = "accept-ranges, content-range, etag, ratelimit, ratelimit-policy, retry-after"


def asked_for(*request, **fields):
    reply, _ = ask(*request, **fields)
    return reply


def allowed(reply):
    return {name.lower(): value for name, value in reply.getheaders() if name.lower().startswith("access-")}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    operator = Operator(tmp_path_factory.mktemp("pages") / "server")
    operator.accounts.add("page", "people", "cs_page")
    operator.add(GERMAN)
    operator.publish()
    yield operator
    operator.close()


@pytest.fixture(scope="module")
def served(published):
    file = published.folder.settings_file
    before = file.read_text()
    file.write_text('web_origins = ["https://app.example"]\n' + before)
    with Process(published.folder.path, "--web-origin", "http://localhost:8080") as process:
        file.write_text(before)
        yield process


def element() -> bytes:
    from contactsync.voprf.client import blind

    return blind([secrets.token_bytes(17)]).blinded.tobytes()


def test_pages_that_are_named_may_read_every_reply(served):
    port, bearer = served.port, {"authorization": "Bearer cs_page"}
    for origin in (PAGE, "http://localhost:8080"):
        asked = [
            asked_for(port, "GET", "/v1/tuf/metadata/timestamp.json", origin=origin),
            asked_for(port, "GET", "/v1/account", origin=origin, **bearer),
            asked_for(port, "GET", "/v1/account", origin=origin),  # 401
            asked_for(port, "GET", "/v1/nothing", origin=origin),
            asked_for(port, "POST", "/v1/evaluate/people/9", b"", origin=origin, **bearer),  # 409 or 415
            asked_for(port, "POST", "/v1/evaluate/people/1", element(), origin=origin,
                content_type="application/octet-stream", **bearer),
        ]  # fmt: skip
        assert [one.status for one in asked] == [200, 200, 401, 404, 409, 200]
        for one in asked:
            expected = {"access-control-allow-origin": origin, "access-control-expose-headers": EXPOSED}
            assert allowed(one) == expected
            assert "Origin" in one.headers.get_all("vary")
            assert one.headers.get_all("x-content-type-options") == ["nosniff"]


@pytest.mark.parametrize(
    "origin",
    [
        OTHER,
        "null",
        "*",
        "https://app.example.evil.example",
        "https://app.example:444",
        "http://app.example",
        "https://APP.example",
        "https://app.example, https://evil.example",
        "https://sub.app.example",
    ],
)
def test_no_other_page_is_told_anything(served, origin):
    for method, path in (
        ("GET", "/v1/account"),
        ("GET", "/v1/tuf/metadata/root.json"),
        ("OPTIONS", "/v1/account"),
    ):
        reply = asked_for(served.port, method, path, origin=origin, access_control_request_method="GET")
        assert allowed(reply) == {}
        assert "Origin" in reply.headers.get_all("vary")
        assert reply.status != 204


def test_a_preflight_is_answered_without_a_credential_and_changes_nothing(served, published):
    fields = {
        "access_control_request_method": "POST",
        "access_control_request_headers": "authorization,content-type",
    }
    reply = asked_for(served.port, "OPTIONS", "/v1/evaluate/people/1", origin=PAGE, **fields)
    assert reply.status == 204
    assert allowed(reply) == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-methods": "GET, HEAD, POST",
        "access-control-allow-headers": "authorization, content-type, if-range, range",
        "access-control-max-age": "7200",
    }
    assert reply.headers["vary"].startswith("Origin")
    assert (
        asked_for(served.port, "OPTIONS", "/v1/evaluate/people/1", origin=PAGE).status == 405
    )  # no preflight


def test_two_origins_in_one_request_are_none(served):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.putrequest("GET", "/v1/account")
    connection.putheader("Origin", PAGE)
    connection.putheader("Origin", OTHER)
    connection.endheaders()
    assert allowed(connection.getresponse()) == {}
    connection.close()


def test_without_origins_nothing_is_said(published):
    with Process(published.folder.path) as process:
        for method in ("GET", "OPTIONS"):
            reply = asked_for(
                process.port, method, "/v1/account", origin=PAGE, access_control_request_method="GET"
            )
            assert allowed(reply) == {}
            assert reply.headers["vary"] is None


def test_workers_are_told_too(published):
    with Process(published.folder.path, "--workers", "1", "--web-origin", PAGE) as process:
        reply = asked_for(process.port, "GET", "/v1/health", origin=PAGE)
        assert allowed(reply)["access-control-allow-origin"] == PAGE
        process.stop()


@pytest.mark.parametrize(
    "text",
    ["*", "null", "", "app.example", "https://", "https://app.example/", "https://App.example", "http://app.example",
     "https://app.example:443", "https://app.example:0", "https://a b", "https://*.app.example", "ftp://app.example",
     "https://app.example\n"],
)  # fmt: skip
def test_what_is_no_origin_is_refused_where_it_is_written(tmp_path, text):
    with pytest.raises(BadInput, match="not the origin of a page"):
        check_origin(text)
    (tmp_path / "server.toml").write_text(f"web_origins = {[text]!r}".replace("\\n", "\\\\n"))
    with pytest.raises(BadInput, match="web_origins"):
        Settings.read(tmp_path / "server.toml")


@pytest.mark.parametrize("value", ['"https://app.example"', "[1]", "{}", "3", "true"])
def test_the_setting_is_a_list_of_texts(tmp_path, value):
    (tmp_path / "server.toml").write_text(f"web_origins = {value}")
    with pytest.raises(BadInput, match="must be a list of texts"):
        Settings.read(tmp_path / "server.toml")


@pytest.mark.parametrize(
    "text",
    ["https://app.example", "https://app.example:8443", "https://[2001:db8::1]", "http://127.0.0.1:8000"],
)
def test_origins_as_browsers_write_them(text):
    assert check_origin(text) == text
