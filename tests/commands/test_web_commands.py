"""`contactsync web`: a server's page is compared with that of this version; the page as an extension."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from json_checks import check

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))

from server_tools import GERMAN, Operator, Process

from contactsync.commands import main
from contactsync.publication.tuf.follower import grouped, root_fingerprint
from contactsync.server.page import FILES, SHELL_FILE, page_files

pytestmark = pytest.mark.slow


def run(*arguments):
    return CliRunner().invoke(main, ["web", *map(str, arguments)])


@pytest.fixture(scope="module")
def operator(tmp_path_factory):
    operator = Operator(tmp_path_factory.mktemp("web") / "server")
    operator.add(GERMAN)
    operator.publish()
    yield operator
    operator.close()


@pytest.fixture(scope="module")
def served(operator):
    with Process(operator.folder.path, "--web") as process:
        yield process


def root_of(operator):
    return (operator.folder.public / "metadata" / "1.root.json").read_bytes()


def test_the_page_of_this_version_is_recognised(served, operator):
    done = run("verify", served.url)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.split() for line in lines[: len(FILES)]] == [
        ["same", "/" if path == "index.html" else f"/{path}"] for path in FILES
    ]
    assert lines[-2] == f"fingerprint {grouped(root_fingerprint(root_of(operator)))}"
    assert lines[-1].startswith("it is the page of contactsync ")


@pytest.mark.parametrize("path", FILES)
def test_one_octet_more_is_noticed(served, monkeypatch, path):
    files = page_files()
    monkeypatch.setattr("contactsync.library.page.page_files", lambda: {**files, path: files[path] + b" "})
    done = run("verify", served.url)
    assert done.exit_code == 5
    assert [line for line in done.stdout.splitlines() if line.startswith("differs")] == [
        f"differs      /{'' if path == 'index.html' else path}"
    ]
    assert "does not serve the page" in done.stderr
    assert "hint: " in done.stderr


def test_another_policy_is_noticed(served, monkeypatch):
    monkeypatch.setattr("contactsync.library.page.CONTENT_SECURITY_POLICY", "default-src 'self'")
    done = run("verify", served.url)
    assert done.exit_code == 5
    assert done.stdout.count("unprotected") == len(FILES)


def test_as_json_it_says_the_same(served, operator, monkeypatch):
    done = run("verify", served.url, "--json")
    assert done.exit_code == 0, done.output
    value = check("web-verify", done.stdout)
    assert (value["same"], value["url"], value["talks_to"]) == (True, served.url, served.url)
    assert [one["path"] for one in value["files"]] == [
        "/" if path == "index.html" else f"/{path}" for path in FILES
    ]
    assert value["fingerprint"] == root_fingerprint(root_of(operator))
    files = page_files()
    monkeypatch.setattr("contactsync.library.page.page_files", lambda: {**files, SHELL_FILE: b""})
    done = run("verify", served.url, "--json")
    assert done.exit_code == 5
    value = check("web-verify", done.stdout)
    assert not value["same"]
    assert [one for one in value["files"] if one["state"] != "same"] == [
        {"path": "/shell.js", "state": "differs"}
    ]
    assert "does not serve the page" in done.stderr
    done = run("verify", "http://contacts.example", "--json")
    assert done.exit_code == 3
    assert check("error", done.stdout)["error"]["kind"] == "bad-input"


def test_a_server_without_a_page_has_none(operator):
    with Process(operator.folder.path) as process:
        done = run("verify", process.url)
    assert done.exit_code == 5
    assert "serves no page" in done.stderr


def test_plain_http_to_elsewhere_is_refused():
    done = run("verify", "http://contacts.example")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "not encrypted" in done.stderr


def test_an_extension_has_the_files_and_the_root_that_was_pinned(tmp_path, served, operator):
    state, folder = tmp_path / "state", tmp_path / "extension"
    done = run("extension", served.url, "--output", folder, "--state", state)
    assert (done.exit_code, folder.exists()) == (3, False)
    assert "is not trusted yet" in done.stderr
    trusted = CliRunner().invoke(main, ["trust", served.url, "--yes", "--state", str(state)])
    assert trusted.exit_code == 0, trusted.output
    done = run("extension", "--output", folder, "--state", state, "--label-link", "xmpp:{label}")
    assert done.exit_code == 0, done.output
    for path, content in page_files().items():
        if path != SHELL_FILE:
            assert (folder / path).read_bytes() == content
    assert not (folder / SHELL_FILE).exists()
    service = json.loads((folder / "page" / "service.json").read_text())
    assert (service["url"], service["label_link"]) == (served.url, "xmpp:{label}")
    assert grouped(root_fingerprint(service["root"].encode())) in done.stdout
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["host_permissions"] == [f"{served.url}/*"]
    assert f"connect-src 'self' {served.url};" in manifest["content_security_policy"]["extension_pages"]
    again = run("extension", "--output", folder, "--state", state)
    assert again.exit_code == 3
    assert "not replaced" in again.stderr
    bad = run("extension", "--output", tmp_path / "x", "--state", state, "--label-link", "data:{label}")
    assert (bad.exit_code, (tmp_path / "x").exists()) == (3, False)
