"""`sync --transcript` and `audit transcript`, as they are used: exit codes, JSON, SARIF, what people see."""

import json
import re
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner
from recorded_syncs import ANNA, BODO
from simulated_service import CREDENTIAL, hurry, person, service
from test_json_schema import check

from contactsync.client.transcript import private_path
from contactsync.commands import main

__all__ = ["hurry", "person", "service"]


def run(*arguments):
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture
def files(service, person, tmp_path):
    """A transcript of the command, with the options that audit it."""
    service.publish(ANNA)
    credential = tmp_path / "credential"
    credential.write_text(CREDENTIAL)
    credential.chmod(0o600)
    person.book(ANNA, BODO)
    book, file = tmp_path / "book.csv", tmp_path / "transcript"
    # Whatever a server says may be shown to somebody.
    service.tamper = lambda _, reply: reply.headers.update({"X-Hello": "<script>alert(1)</script>\x1b[31m"})
    state = ("--state", person.state.folder, "--credential-file", credential)
    done = run("sync", book, "--region", "DE", *state, "--transcript", file)
    assert done.exit_code == 0, done.output
    leak = next(line for line in done.output.splitlines() if line.startswith("the server could learn"))
    return file, ("--private", private_path(file), "--contacts", book, "--region", "DE"), leak


@pytest.mark.slow
def test_a_transcript_is_audited_by_the_fixed_command(files):
    file, explained, leak = files
    done = run("audit", "transcript", file, *explained)
    assert done.exit_code == 0, done.output
    assert leak in done.output, "the same words as those of the sync"
    assert "all of this was proven" in done.output
    outside = run("audit", "transcript", file)
    assert outside.exit_code == 10
    assert "give --private FILE.private" in outside.output
    private_path(file).write_text("{}")
    refused = run("audit", "transcript", file, *explained)
    assert refused.exit_code == 3
    assert "not the private file that was written with this transcript" in refused.output
    file.write_bytes(file.read_bytes().replace(b'"connection":1,', b'"connection":2,', 1))
    cut = run("audit", "transcript", file)
    assert cut.exit_code == 3
    assert "the lines before are not those that were written" in cut.output


@pytest.mark.slow
def test_json_and_sarif(files):
    file, explained, leak = files
    value = check("audit-transcript", run("audit", "transcript", file, *explained, "--json").stdout)
    assert (value["outcome"], value["leak"], value["ended"]) == ("proven", leak, "done")
    more = ("--show", "--by-contact", "--json")
    value = check("audit-transcript", run("audit", "transcript", file, *explained, *more).stdout)
    assert len(value["exchanges"]) == value["requests"]
    assert [len(one["points"]) for one in value["by_contact"]] == [1, 1]
    log = json.loads(run("audit", "transcript", file, "--sarif").stdout)
    assert {one["level"] for one in log["runs"][0]["results"]} == {"note", "warning"}
    assert value["version"] == 1


@pytest.mark.slow
def test_every_request_is_shown_in_words(files):
    file, explained, _ = files
    lines = run("audit", "transcript", file, *explained, "--show", "--by-contact").output.splitlines()
    (points,) = [one for one in lines if "POST" in one]
    assert "sends 8 blinded points, padding included; " in points
    assert re.search(r"; \d+ bytes sent, \d+ received \(200\); tells how many blinded points", points)
    assert re.match(r" {3}1  GET /v1/tuf/metadata/2.root.json: asks for signed metadata; ", lines[0])
    (anna,) = [one for one in lines if ANNA in one]
    assert re.search(r"point \d of the 8 in request \d+, blinded", anna)
    assert not any("\x1b" in one for one in lines)


class Tags(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.slow
def test_the_page_needs_no_script_and_lets_none_in(files, tmp_path):
    file, explained, leak = files
    page = tmp_path / "report.html"
    done = run("audit", "transcript", file, *explained, "--by-contact", "--html", page)
    assert done.exit_code == 0, done.output
    assert page.stat().st_mode & 0o777 == 0o600
    text = page.read_text()
    parser = Tags()
    parser.feed(text)
    assert "<script>alert(1)</script>" in "".join(parser.text), "it is shown, as text"
    assert "script" not in parser.tags
    assert not parser.tags & {"img", "iframe", "link", "object", "embed", "form", "a", "base"}
    assert not parser.attributes & {"src", "href", "style"}
    assert not [name for name in parser.attributes if name.startswith("on")]
    assert "default-src 'none'" in text
    assert "url(" not in text
    assert "\x1b" not in text
    assert leak in "".join(parser.text)
    assert "prefers-color-scheme:dark" in text
    assert "width=device-width" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--private", "x"], "--private and --contacts explain the points together"),
        (["--contacts", "x"], "--private and --contacts explain the points together"),
        (["--by-contact"], "--by-contact needs the contacts"),
        (["--fingerprint", "12"], "64 hexadecimal digits"),
        (["--html", "/nowhere/at/all"], "cannot write"),
    ],
)
def test_what_cannot_be_is_refused_with_a_hint(files, arguments, said):
    done = run("audit", "transcript", files[0], *arguments)
    assert done.exit_code == 3
    assert said in done.output
    assert run("audit", "transcript", "/nowhere").exit_code == 3
