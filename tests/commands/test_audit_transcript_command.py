"""`sync --transcript` and `audit transcript`, as they are used: exit codes, JSON, SARIF, what people see."""

import hashlib
import json
import re
from html import escape
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner
from recorded_syncs import ANNA, BODO
from simulated_service import CREDENTIAL, hurry, person, service
from test_json_schema import check

from contactsync.client.transcript import line_of, private_path
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


def cut(octets):
    return octets[: len(octets) // 2]


def edited(octets):
    return octets.replace(b'"connection":1,', b'"connection":2,', 1)


def of_another_version(octets):
    return octets.replace(b"-transcript-2", b"-transcript-9", 1)


def of_the_first_version(octets):
    return octets.replace(b"-transcript-2", b"-transcript-1", 1)


def of_other_options(octets):
    """Of a version with another option, and all sums are right."""
    first, *rest, _ = octets.replace(b'"options":{', b'"options":{"new":1,', 1).splitlines(keepends=True)
    ending = json.loads(octets.splitlines()[-1])
    ending["sha256"] = hashlib.sha256(first + b"".join(rest)).hexdigest()
    return first + b"".join(rest) + line_of(ending)


DAMAGED = {
    "cut": (cut, r"transcript, line \d+", "not a line of a transcript"),
    "cut at a line": (
        lambda octets: b"".join(octets.splitlines(keepends=True)[:-1]),
        r"transcript, line \d+",
        "the end is missing: the transcript was cut",
    ),
    "edited": (edited, r"transcript, line \d+", "the lines before are not those that were written"),
    "another version": (of_another_version, "transcript", "another version ('contactsync-transcript-9')"),
    "the first version": (of_the_first_version, "transcript", "it contains the credential"),
    "other options": (of_other_options, "transcript, line 1", "options that this version does not know"),
    "another file": (lambda _: b"\x89PNG\r\n\x1a\n", "transcript, line 1", "not a line of a transcript"),
    "empty": (lambda _: b"", "transcript, line 1", "the end is missing"),
}


@pytest.mark.slow
def test_a_transcript_that_is_not_as_it_was_written_is_not_proven(files, tmp_path):
    """With reason and place, in every form of the report, and never as an error of the caller."""
    file, explained, _ = files
    good = file.read_bytes()
    for what, (change, place, why) in DAMAGED.items():
        file.write_bytes(change(good))
        for given in ((), explained):
            value = check("audit-transcript", run("audit", "transcript", file, *given, "--json").stdout)
            assert value["outcome"] == "unchecked", what
            (found,) = [one for one in value["findings"] if one["rule"] == "record"]
            assert re.fullmatch(f"{tmp_path}/{place}", found["place"]), (what, found)
            assert why in found["message"], (what, found)
            assert found["hint"], what
            assert not any(one["proven"] for one in value["rules"]), what
        done = run("audit", "transcript", file, "--show", "--html", tmp_path / "page")
        assert done.exit_code == 10, (what, done.output)
        assert re.search(f"^warning: {tmp_path}/{place}: ", done.output, re.MULTILINE), done.output
        assert "not proven, something could not be checked" in done.output
        page = (tmp_path / "page").read_text()
        assert escape(why) in page
        assert "Not proven: something could not be checked" in page
        assert "did not come to its end" not in page, "nobody knows that"
        log = json.loads(run("audit", "transcript", file, "--sarif").stdout)
        results = log["runs"][0]["results"]
        (found,) = [one for one in results if one["ruleId"] == "record"]
        assert found["level"] == "warning"
        assert re.fullmatch(
            f"{tmp_path}/{place}", found["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]
        )


@pytest.mark.slow
def test_a_private_file_that_is_not_as_it_was_written_is_not_proven(files):
    file, explained, _ = files
    private = private_path(file)
    good, transcript = private.read_bytes(), file.read_bytes()
    changes = (good[:-100], b"{}", good.replace(b"true", b"false", 1), b"", transcript)
    for octets in changes:
        private.write_bytes(octets)
        value = check("audit-transcript", run("audit", "transcript", file, *explained, "--json").stdout)
        assert value["outcome"] == "unchecked"
        (found,) = [one for one in value["findings"] if one["rule"] == "record"]
        assert found["place"] == str(private)
        assert "not the private file that was written with this transcript" in found["message"]
        proven = {one["rule"]: one["proven"] for one in value["rules"]}
        assert proven["record"] == 1, "the transcript itself is whole, and is checked as by an outsider"
        assert proven["requests"]
        assert not proven["points"]
    done = run("audit", "transcript", file, *explained, "--by-contact")
    assert done.exit_code == 10, done.output
    assert f"warning: {private}: it is not the private file" in done.output


@pytest.mark.slow
def test_files_of_another_version_whose_sums_are_right(files):
    """The private file is that of the transcript, and this version does not know what it says."""
    file, explained, _ = files
    private = private_path(file)
    good, transcript = private.read_bytes(), file.read_bytes()
    for old, new, why in (
        (b"-private-2", b"-private-9", "another version ('contactsync-transcript-private-9')"),
        (b'"forms":1', b'"forms":9', "further forms of numbers by table 9"),
        (b'"rounds":', b'"sounds":', "it is not written as a private file is"),
    ):
        octets = good.replace(old, new, 1)
        assert octets != good
        private.write_bytes(octets)
        sums = [hashlib.sha256(one).hexdigest().encode() for one in (good, octets)]
        file.write_bytes(transcript.replace(*sums))
        done = run("audit", "transcript", file, *explained)
        assert done.exit_code == 10, done.output
        assert f"warning: {private}: " in done.output
        assert why in done.output


@pytest.mark.slow
def test_what_is_disproven_stays_so_without_the_private_file(files):
    file, explained, _ = files
    private_path(file).write_text("{}")
    done = run("audit", "transcript", file, *explained, "--fingerprint", "0" * 64)
    assert done.exit_code == 9, done.output
    assert "it is not the private file" in done.output


@pytest.mark.slow
def test_a_file_that_cannot_be_opened_is_the_callers(files, tmp_path):
    file, (_, private, _, book, *region), _ = files
    missing = tmp_path / "missing.csv"
    for given in (
        (missing,),
        (file, "--private", missing, "--contacts", book, *region),
        (file, "--private", private, "--contacts", missing, *region),
    ):
        done = run("audit", "transcript", *given)
        assert done.exit_code == 3, done.output
        assert f"error: cannot read {missing}: " in done.output


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
