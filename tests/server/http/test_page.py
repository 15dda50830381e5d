"""The files of the page: which, with which headers, for whom."""

import gzip
import json

import pytest
from server_tools import GERMAN, Operator, Process, ask

from contactsync.foundation.errors import BadInput
from contactsync.server.page import CONTENT_SECURITY_POLICY, FILES, SERVICE_FILE, PageSettings, page_files
from contactsync.server.settings import Settings

PATHS = ["/" if path == "index.html" else f"/{path}" for path in (*FILES, SERVICE_FILE)]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    operator = Operator(tmp_path_factory.mktemp("page") / "server")
    operator.accounts.add("page", "people", "cs_page")
    operator.add(GERMAN)
    operator.publish()
    yield operator
    operator.close()


@pytest.fixture(scope="module")
def served(published):
    with Process(published.folder.path, "--web") as process:
        yield process


@pytest.mark.slow
def test_without_the_option_there_is_no_page(published):
    with Process(published.folder.path) as process:
        for path in PATHS:
            reply, body = ask(process.port, "GET", path)
            assert (reply.status, json.loads(body)["type"]) == (404, "urn:contactsync:problem:not-found")


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one", "workers"])
def test_server_toml_turns_it_on(published, options):
    file = published.folder.settings_file
    before = file.read_text()
    file.write_text('web_page = true\nweb_name = "Beispiel"\nweb_label_link = "xmpp:{label}"\n' + before)
    try:
        with Process(published.folder.path, *options) as process:
            value = json.loads(ask(process.port, "GET", "/page/service.json")[1])
            assert (value["name"], value["label_link"], value["url"]) == ("Beispiel", "xmpp:{label}", "")
    finally:
        file.write_text(before)


@pytest.mark.slow
def test_workers_serve_it_when_the_option_says_so(published):
    with Process(published.folder.path, "--web", "--workers", "2") as process:
        assert ask(process.port, "GET", "/")[0].status == 200


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_every_file_has_the_headers_that_bind_the_page(served, path):
    reply, body = ask(served.port, "GET", path)
    assert reply.status == 200
    assert body
    assert reply.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cross-origin-opener-policy"] == "same-origin"
    assert reply.headers["cache-control"] == "no-cache"
    assert "set-cookie" not in reply.headers
    assert ask(served.port, "HEAD", path)[1] == b""
    assert ask(served.port, "POST", path)[0].status == 405


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere():
    allowed = dict(one.strip().split(" ", 1) for one in CONTENT_SECURITY_POLICY.split(";"))
    assert allowed.pop("default-src") == "'none'"
    assert allowed.pop("require-trusted-types-for") == "'script'"
    assert allowed.pop("trusted-types") == "contactsync-worker"
    assert allowed.pop("script-src") == "'self' 'wasm-unsafe-eval'"  # no 'unsafe-eval', no 'unsafe-inline'
    assert set(allowed.values()) == {"'self'", "'none'"}


@pytest.mark.slow
def test_what_is_served_are_the_files_of_the_release_and_the_first_root(served, published):
    for path, content in page_files().items():
        assert ask(served.port, "GET", "/" if path == "index.html" else f"/{path}")[1] == content
    published.publish(new_epoch=True)
    root = (published.folder.public / "metadata" / "1.root.json").read_text()
    value = json.loads(ask(served.port, "GET", "/page/service.json")[1])
    assert value == {"format": "contactsync-service-1", "name": "", "label_link": "", "url": "", "root": root}


@pytest.mark.slow
def test_a_browser_that_has_a_file_is_sent_nothing(served):
    for encoding in ("identity", "gzip"):
        reply, body = ask(served.port, "GET", "/page/worker.js", accept_encoding=encoding)
        assert reply.headers.get("content-encoding", "identity") == encoding
        plain = gzip.decompress(body) if encoding == "gzip" else body
        assert plain == page_files()["page/worker.js"]
        etag = reply.headers["etag"]
        for field in (etag, f'"other", W/{etag}'):
            reply, body = ask(
                served.port, "GET", "/page/worker.js", accept_encoding=encoding, if_none_match=field
            )
            assert (reply.status, body) == (304, b"")
        assert (
            ask(served.port, "GET", "/page/worker.js", accept_encoding=encoding, if_none_match='"x"')[
                0
            ].status
            == 200
        )


@pytest.mark.parametrize(
    "line",
    [
        "web_page = 1",
        "web_page = 'true'",
        "web_name = 1",
        "web_name = '" + "x" * 81 + "'",
        'web_name = "a\\nb"',
        "web_label_link = 'https://matrix.to/'",
        "web_label_link = 'javascript:{label}'",
        "web_label_link = '{label}'",
        "web_label_link = 'http://app.example/{label}'",
        "web_label_link = 'https://{label}.example/'",
        "web_label_link = 'https://app.example{label}/'",
        "web_label_link = 'data:text/html,{label}'",
        "web_label_link = 'https://app.example/{label}/{label}'",
        "web_label_link = 1",
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, line):
    file = tmp_path / "server.toml"
    file.write_text(line)
    with pytest.raises(BadInput) as raised:
        Settings.read(file)
    assert line.split()[0] in str(raised.value)
    assert raised.value.hint


@pytest.mark.parametrize(
    "link", ["https://matrix.to/#/{label}", "matrix:u/{label}?action=chat", "xmpp:{label}", "mailto:{label}"]
)
def test_links_that_may_be(tmp_path, link):
    file = tmp_path / "server.toml"
    file.write_text(f"web_label_link = '{link}'\n")
    assert Settings.read(file).page == PageSettings(label_link=link)
